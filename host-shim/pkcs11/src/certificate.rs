//! The certificate of a key, for clients that show a private key only beside one of the same `CKA_ID` (Java's
//! `KeyStore`).
//!
//! It certifies nothing: it is an unsigned certificate (RFC 9925) around the public key, made here of what the HSM says
//! of the key, the same bytes each time. Whoever wants to know whose key it is asks the HSM.

use countersign_wire::client::KeyInfo;
use countersign_wire::names::KeyLabel;

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// The version's own tag: `[0] EXPLICIT`.
const VERSION: u8 = 0xa0;

/// v3, which is written as 2 (RFC 5280 section 4.1.2.1).
const V3: u8 = 2;

/// id-alg-unsigned, 1.3.6.1.5.5.7.6.36 (RFC 9925 section 3.1).
const UNSIGNED: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 6, 36];

/// id-rdna-unsigned, 1.3.6.1.5.5.7.25.1 (RFC 9925 section 3.2): the name of an issuer where there is none.
const NO_ISSUER: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 25, 1];

/// id-at-commonName, 2.5.4.3 (RFC 5280 appendix A.1).
const COMMON_NAME: &[u8] = &[0x55, 4, 3];

/// The beginning of 1970. Dates through 2049 are in `UTCTime` (RFC 5280 section 4.1.2.5).
const NOT_BEFORE: &[u8] = b"700101000000Z";

/// > To indicate that a certificate has no well-defined expiration date, the notAfter SHOULD be assigned the
/// > GeneralizedTime value of 99991231235959Z. (RFC 5280 section 4.1.2.5)
const NOT_AFTER: &[u8] = b"99991231235959Z";

/// DER in front of the 65 bytes of a point: `SubjectPublicKeyInfo` of an EC key on secp256k1 (RFC 5480 section 2).
const PUBLIC_KEY_INFO_PREFIX: &[u8] = &[
    0x30, 0x56, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81,
    0x04, 0x00, 0x0a, 0x03, 0x42, 0x00,
];

/// `SubjectPublicKeyInfo` of the key: `CKA_PUBLIC_KEY_INFO`.
pub(crate) fn public_key_info(key: &KeyInfo) -> Vec<u8> {
    [PUBLIC_KEY_INFO_PREFIX, key.public_key.as_slice()].concat()
}

/// The whole certificate (RFC 5280 section 4.1): `CKA_VALUE`.
pub(crate) fn certificate(key: &KeyInfo) -> Vec<u8> {
    let algorithm = der(SEQUENCE, &[&der(OBJECT_IDENTIFIER, &[UNSIGNED])]);
    let validity = der(SEQUENCE, &[&der(UTC_TIME, &[NOT_BEFORE]), &der(GENERALIZED_TIME, &[NOT_AFTER])]);
    let to_be_signed = der(
        SEQUENCE,
        &[
            &der(VERSION, &[&der(INTEGER, &[&[V3]])]),
            &serial_number(key),
            &algorithm,
            &issuer(),
            &validity,
            &subject(&key.label),
            &public_key_info(key),
        ],
    );
    // > The Certificate's signatureValue field MUST be a BIT STRING of length zero. (RFC 9925 section 3.1)
    let signature = der(BIT_STRING, &[&[0]]);
    der(SEQUENCE, &[&to_be_signed, &algorithm, &signature])
}

/// The key's id as a positive INTEGER of at most 20 bytes (RFC 5280 section 4.1.2.2): `CKA_SERIAL_NUMBER`.
pub(crate) fn serial_number(key: &KeyInfo) -> Vec<u8> {
    let id = key.id.as_slice();
    let first = id.iter().position(|byte| *byte != 0).unwrap_or(id.len() - 1);
    let sign: &[u8] = if id[first] < 0x80 { &[] } else { &[0] };
    der(INTEGER, &[sign, &id[first..]])
}

/// The name of no issuer, so that nobody takes the certificate for one that signed itself: `CKA_ISSUER`.
pub(crate) fn issuer() -> Vec<u8> {
    name(NO_ISSUER, b"")
}

/// The common name is the key's label: `CKA_SUBJECT`.
pub(crate) fn subject(label: &KeyLabel) -> Vec<u8> {
    name(COMMON_NAME, label.to_string().as_bytes())
}

/// The label whose [`subject`] this is, where it is one. Clients look for an issuer's certificate by its subject.
pub(crate) fn label_of(name: &[u8]) -> Option<KeyLabel> {
    let before_text = [&der(OBJECT_IDENTIFIER, &[COMMON_NAME])[..], &[UTF8_STRING]].concat();
    let at = name.windows(before_text.len()).position(|window| window == before_text)?;
    let ([0x81, _, text @ ..] | [_, text @ ..]) = &name[at + before_text.len()..] else { return None };
    let label: KeyLabel = core::str::from_utf8(text).ok()?.parse().ok()?;
    // There is one way to write it.
    (subject(&label) == name).then_some(label)
}

/// A distinguished name of one attribute (RFC 5280 section 4.1.2.4).
fn name(attribute: &[u8], text: &[u8]) -> Vec<u8> {
    let attribute = [der(OBJECT_IDENTIFIER, &[attribute]), der(UTF8_STRING, &[text])].concat();
    der(SEQUENCE, &[&der(SET, &[&der(SEQUENCE, &[&attribute])])])
}

/// One element in DER (X.690 section 8.1.3 and 10.1): tag, length in its shortest form, contents.
fn der(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
    let length: usize = contents.iter().map(|part| part.len()).sum();
    let mut element = vec![tag];
    match u16::try_from(length).expect("a certificate is a few hundred bytes").to_be_bytes() {
        [0, low @ ..=0x7f] => element.push(low),
        [0, low] => element.extend([0x81, low]),
        both => element.extend([&[0x82][..], &both].concat()),
    }
    element.extend(contents.concat());
    element
}

#[cfg(test)]
mod tests;
