//! The expected bytes were made with `openssl asn1parse -genconf` (OpenSSL 3.0) from a description of the fields, and
//! `openssl x509 -text` reads them.

use super::*;
use countersign_wire::client::{KeyPlan, Mechanism};
use data_encoding::HEXLOWER;
use serde_bytes::ByteArray;

/// The generator of secp256k1 (SEC 2 section 2.4.1).
const POINT: &str = "0479be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798483ada7726a3c4655da4fbfc0e1108a8\
                     fd17b448a68554199c47d08ffb10d4b8";

fn key(label: &str, id: [u8; 16]) -> KeyInfo {
    let point = HEXLOWER.decode(POINT.as_bytes()).unwrap();
    KeyInfo {
        label: label.parse().unwrap(),
        id: ByteArray::new(id),
        public_key: ByteArray::new(point.try_into().unwrap()),
        ethereum_address: String::new(),
        plan: KeyPlan::of(vec![Mechanism::Digest]),
        watch: None,
    }
}

fn longest_label() -> String {
    format!("{}/{}", "a".repeat(64), "k".repeat(64))
}

#[test]
fn the_certificate_is_the_one_that_openssl_makes_of_its_fields() {
    let expected = "3081dd3081cba003020102021100abababababababababababababababab300a06082b06010505070624301031\
                    0e300c06082b060105050719010c003020170d3730303130313030303030305a180f3939393931323331323335\
                    3935395a30193117301506035504030c0e616c6963652f657468657265756d3056301006072a8648ce3d020106\
                    052b8104000a0342000479be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798483ada\
                    7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8300a06082b06010505070624030100";
    let key = key("alice/ethereum", [0xab; 16]);
    assert_eq!(HEXLOWER.encode(&certificate(&key)), expected);
    assert_eq!(certificate(&key), certificate(&key), "the same bytes each time");
}

#[test]
fn the_longest_label_has_long_lengths() {
    let mut id = [0; 16];
    id[14..].copy_from_slice(&[0x7f, 0x02]);
    let expected = "3082014630820133a00302010202027f02300a06082b060105050706243010310e300c06082b060105050719010c00\
                    3020170d3730303130313030303030305a180f39393939313233313233353935395a\
                    30818f31818c30818906035504030c8181";
    let certificate = HEXLOWER.encode(&certificate(&key(&longest_label(), id)));
    let rest = certificate.strip_prefix(expected).expect("as OpenSSL begins it");
    assert!(rest.starts_with(&HEXLOWER.encode(longest_label().as_bytes())));
}

#[test]
fn a_serial_number_is_positive_and_in_its_shortest_form() {
    let serial = |id: &[u8]| {
        let mut whole = [0; 16];
        whole[16 - id.len()..].copy_from_slice(id);
        serial_number(&key("alice/digest", whole))
    };
    assert_eq!(serial(&[0x80]), [2, 2, 0, 0x80]);
    assert_eq!(serial(&[0x7f]), [2, 1, 0x7f]);
    assert_eq!(serial(&[1, 0]), [2, 2, 1, 0]);
    assert_eq!(serial(&[]), [2, 1, 0]);
    assert_eq!(serial(&[0xff; 16]).len(), 19);
}

#[test]
fn a_subject_leads_back_to_its_label_and_nothing_else_does() {
    // Lengths on either side of where the head grows, and such as are letters themselves.
    let of_length = |bytes: usize| format!("a/{}", "k".repeat(bytes - 2));
    let lengths = [3, 12, 13, 45, 47, 64].map(of_length);
    let long =
        [100, 116, 117, 127, 128].map(|bytes| format!("{}/{}", "a".repeat(64), "k".repeat(bytes - 65)));
    for label in lengths.into_iter().chain(long).chain([longest_label()]) {
        let label: KeyLabel = label.parse().unwrap();
        assert_eq!(label_of(&subject(&label)), Some(label));
    }
    let good = subject(&"alice/digest".parse().unwrap());
    for bad in [&issuer()[..], &good[..good.len() - 1], &good[1..], &[&good[..], b"x"].concat(), b"", b"0"] {
        assert_eq!(label_of(bad), None);
    }
    assert_eq!(label_of(&name(COMMON_NAME, b"no label")), None);
    assert_eq!(label_of(&name(COMMON_NAME, b"")), None);
}
