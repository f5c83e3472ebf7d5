use super::*;
use crate::ethereum::address_of;
use crate::ethereum::properties::check_message;
use crate::ethereum::tests::unhex;
use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
use proptest::prelude::*;
use serde_bytes::ByteArray;

fn intent(bytes: &[u8]) -> Intent {
    Message::read(bytes).unwrap().intent()
}

/// MetaMask/eth-sig-util, src/personal-sign.test.ts: made with go-ethereum, and with Parity.
const SIGNED: &[(&[u8], &str, &str)] = &[
    (
        b"hello world",
        "ce909e8ea6851bc36c007a0072d0524b07a3ff8d4e623aca4c71ca8e57250c4d0a3fc38fa8fbaaa81ead4b9f6bd03356b6f8bf18bccad167d78891636e1d69561b",
        "be93f9bacbcffc8ee6663f2647917ed7a20a57bb",
    ),
    (
        b"\x0c\xc1\x75\xb9\xc0\xf1\xb6\xa8\x31\xc3\x99\xe2\x69\x77\x26\x61\x92\xeb\x5f\xfe\xe6\xae\x2f\xec\x3a\xd7\x1c\x77\x75\x31\x57\x8f",
        "9ff8350cc7354b80740a3580d0e0fd4f1f02062040bc06b893d70906f8728bb5163837fd376bf77ce03b55e9bd092b32af60e86abce48f7b8d3539988ee5a9be1c",
        "be93f9bacbcffc8ee6663f2647917ed7a20a57bb",
    ),
    (
        b"\x0c\xc1\x75\xb9\xc0\xf1\xb6\xa8\x31\xc3\x99\xe2\x69\x77\x26\x61\x92\xeb\x5f\xfe\xe6\xae\x2f\xec\x3a\xd7\x1c\x77\x75\x31\x57\x8f",
        "a2870db1d0c26ef93c7b72d2a0830fa6b841e0593f7186bc6c7cc317af8cf3a42fda03bd589a49949aa05db83300cdb553116274518dbe9d90c65d0213f4af491b",
        "e0da1edcea030875cd0f199d96eb70f6ab78faf2",
    ),
];

#[test]
fn eip_191_messages_that_others_signed_have_their_signer() {
    for (message, signature, address) in SIGNED {
        let digest = Message::read(message).unwrap().digest();
        let bytes = unhex(signature);
        let recovery = RecoveryId::from_byte(bytes[64] - 27).unwrap();
        let signature = Signature::from_slice(&bytes[..64]).unwrap();
        let key = VerifyingKey::recover_from_prehash(&digest, &signature, recovery).unwrap();
        let point: [u8; 65] = key.to_sec1_point(false).as_bytes().try_into().unwrap();
        assert_eq!(address_of(&ByteArray::new(point)).as_str().to_lowercase(), format!("0x{address}"));
    }
}

/// EIP-191 and EIP-712: the length is "non-zero-padded" decimal.
#[test]
fn eip_191_lengths_are_decimal_without_padding() {
    for (length, text) in [(0_usize, "0"), (9, "9"), (10, "10"), (1000, "1000")] {
        let message = vec![b'a'; length];
        let signed = [b"\x19Ethereum Signed Message:\n", text.as_bytes(), &message].concat();
        assert_eq!(Message::read(&message).unwrap().digest(), keccak256(&signed));
    }
}

#[test]
fn a_readable_message_is_shown_as_it_is() {
    let told = intent("Sign in to example.org,\n\u{fc}ber TLS".as_bytes());
    assert_eq!((told.kind, told.opaque, told.chain, told.warnings), (Kind::Message, false, None, vec![]));
    assert_eq!(
        told.details,
        [Detail { label: "message", text: "Sign in to example.org,\n\u{fc}ber TLS".to_owned() }]
    );
    assert!(!intent(b"").opaque);
}

#[test]
fn i15_what_is_not_text_is_opaque_and_shown_in_hex() {
    for bytes in [&b"\xff\xfe"[..], b"a\0b", b"\x1b[2J", &[0xc3; 65]] {
        let told = intent(bytes);
        assert!(told.opaque && told.warnings == [Warning::Opaque], "{bytes:?}");
        assert_eq!(told.details, [Detail { label: "message in hex", text: hex(bytes) }]);
    }
}

#[test]
fn i15_a_digest_is_opaque_in_whatever_form_it_comes() {
    assert!(intent(&[0xaa; 32]).opaque, "binary");
    let passes_as_text = "\u{e9}".repeat(16);
    assert_eq!(passes_as_text.len(), 32);
    assert!(intent(passes_as_text.as_bytes()).opaque, "32 bytes of UTF-8 that are not ASCII");
    let digits = "0123456789abcdef".repeat(4);
    for text in [digits.clone(), format!("0x{digits}"), format!(" 0X{}\n", digits.to_uppercase())] {
        let told = intent(text.as_bytes());
        assert!(told.opaque, "{text}");
        assert_eq!(told.details[0].text, text);
    }
    // Whoever asks for the signature may have searched for a digest that passes as text.
    let told = intent(b"exactly thirty-two bytes of text");
    assert!(told.opaque);
    assert_eq!(told.details[0].text, "exactly thirty-two bytes of text");
    assert!(!intent(b"some thirty-three bytes of a text").opaque);
    assert!(!intent(&digits.as_bytes()[1..]).opaque);
}

#[test]
fn hex_that_is_text_and_bytes_in_hex_are_told_apart() {
    assert_ne!(intent(b"0xff"), intent(&[0xff]));
    assert_eq!(intent(b"0xff").details[0].text, intent(&[0xff]).details[0].text);
}

#[test]
fn refuses_a_message_that_is_too_long() {
    assert!(Message::read(&vec![b'a'; MESSAGE_MAX_BYTES]).is_ok());
    assert_eq!(Message::read(&vec![b'a'; MESSAGE_MAX_BYTES + 1]), Err(Reason::MalformedMessage));
}

proptest! {
    #[test]
    fn messages_have_the_digest_that_others_compute(bytes: Vec<u8>, text: String) {
        check_message(&bytes);
        check_message(text.as_bytes());
    }

    #[test]
    fn different_messages_are_told_differently(one: Vec<u8>, other: Vec<u8>) {
        prop_assert_eq!(one == other, intent(&one) == intent(&other));
        prop_assert_eq!(one == other, Message::read(&one).unwrap().digest() == Message::read(&other).unwrap().digest());
    }
}
