//! RLP by hand for the tests beside this one, and the addresses of EIP-55.

use super::*;
use alloy_rlp::{Encodable, Header};
use data_encoding::HEXLOWER_PERMISSIVE;

/// Bytes of hex, with or without `0x`.
pub(super) fn unhex(text: &str) -> Vec<u8> {
    HEXLOWER_PERMISSIVE.decode(text.strip_prefix("0x").unwrap_or(text).as_bytes()).unwrap()
}

/// An RLP list of items that are encoded already.
pub(super) fn list(items: &[Vec<u8>]) -> Vec<u8> {
    let payload: Vec<u8> = items.concat();
    let mut out = Vec::new();
    Header { list: true, payload_length: payload.len() }.encode(&mut out);
    out.extend(payload);
    out
}

/// An RLP string.
pub(super) fn string(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    bytes.encode(&mut out);
    out
}

/// An RLP integer.
pub(super) fn integer(value: u128) -> Vec<u8> {
    let mut out = Vec::new();
    value.encode(&mut out);
    out
}

/// The items of an RLP list, each as it is encoded.
pub(super) fn items(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut payload = Header::decode_bytes(&mut bytes, true).unwrap();
    assert!(bytes.is_empty());
    let mut items = Vec::new();
    while !payload.is_empty() {
        let before = payload;
        let header = Header::decode(&mut payload).unwrap();
        payload = &payload[header.payload_length..];
        items.push(before[..before.len() - payload.len()].to_vec());
    }
    items
}

/// The bytes that were signed of a signed transaction, its r‖s, and its v.
pub(super) fn unsigned(raw: &[u8]) -> (Vec<u8>, [u8; 64], u64) {
    let is_typed = raw[0] < 0x80;
    let mut fields = items(if is_typed { &raw[1..] } else { raw });
    let mut scalar = || {
        let field = fields.pop().unwrap();
        let bytes = Header::decode_bytes(&mut &field[..], false).unwrap().to_vec();
        let mut word = [0; 32];
        word[32 - bytes.len()..].copy_from_slice(&bytes);
        word
    };
    let (s, r, v) = (scalar(), scalar(), scalar());
    let v = u64::from_be_bytes(*v.last_chunk().unwrap());
    let signature = [r, s].concat().try_into().unwrap();
    if is_typed {
        return ([&raw[..1], &list(&fields)].concat(), signature, v);
    }
    fields.extend([integer(u128::from((v - 35) / 2)), integer(0), integer(0)]);
    (list(&fields), signature, v)
}

/// EIP-55, "Test Cases".
const EIP_55: &[&str] = &[
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
];

#[test]
fn eip_55_test_cases_have_their_checksum() {
    for text in EIP_55 {
        assert_eq!(address(&unhex(text).try_into().unwrap()).as_str(), *text);
    }
}

#[test]
fn eip_155_key_has_its_address() {
    // The private key 0x4646…46 of EIP-155 has the address 0x9d8A62f656a8d1615C1294fd71e9CFb3E4855A4F.
    let key = k256::ecdsa::SigningKey::from_slice(&[0x46; 32]).unwrap();
    let point: [u8; 65] = key.verifying_key().to_sec1_point(false).as_bytes().try_into().unwrap();
    assert_eq!(address_of(&ByteArray::new(point)).as_str(), "0x9d8A62f656a8d1615C1294fd71e9CFb3E4855A4F");
}

#[test]
fn warnings_are_ascending_without_repeats() {
    let mixed = vec![Warning::NoExpiry, Warning::Opaque, Warning::NoExpiry];
    assert_eq!(ascending(mixed), [Warning::Opaque, Warning::NoExpiry]);
}

#[test]
fn unlimited_begins_at_two_to_the_96_minus_one() {
    assert_eq!(UNLIMITED, (Amount::ONE << 96) - Amount::ONE);
}
