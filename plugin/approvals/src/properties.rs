//! What must hold of everything that is read, whoever made it. Each function takes any bytes, panics when a property is
//! breached, and says whether the bytes were read; tests and fuzzers call them. Never part of an image.
//!
//! The other opinion is that of `ciborium` on statements, of `serde_json`'s own values on client data, and of the `der`
//! crate on signatures.

use crate::es256::{self, PublicKey};
use crate::sealed::{decode_codes, encode_codes};
use crate::statement::{
    AccountRequest, AccountView, Enrolment, EnrolmentRequest, Identity, Receipt, Statement, View,
};
use crate::webauthn::properties;
use ciborium::Value;
use p256::ecdsa::Signature;

pub use properties::{check_authenticator_data, check_client_data};

/// A statement that is read is read by one kind alone, encodes to the same bytes, and is the same array to `ciborium`.
pub fn check_statement(bytes: &[u8]) -> bool {
    let read = [
        check_kind::<Identity>(bytes),
        check_kind::<View>(bytes),
        check_kind::<EnrolmentRequest>(bytes),
        check_kind::<Enrolment>(bytes),
        check_kind::<AccountRequest>(bytes),
        check_kind::<AccountView>(bytes),
        check_kind::<Receipt>(bytes),
    ];
    let kinds = read.into_iter().filter(|read| *read).count();
    assert!(kinds <= 1, "no bytes are two kinds of statement");
    kinds == 1
}

fn check_kind<S: Statement>(bytes: &[u8]) -> bool {
    match S::parse(bytes) {
        Ok(statement) => {
            assert_eq!(statement.to_bytes(), bytes, "one statement, one encoding");
            let other: Value = ciborium::from_reader(bytes).expect("the other one reads it");
            let elements = other.as_array().expect("as an array");
            assert_eq!(elements.first(), Some(&Value::from(S::KIND)));
            let mut again = Vec::new();
            ciborium::into_writer(&other, &mut again).expect("a Vec takes every write");
            assert_eq!(again, bytes, "canonical to the other one");
            true
        }
        Err(_) => false,
    }
}

/// Codes that are read encode to the same bytes. The first 32 bytes are the digest that is expected.
pub fn check_codes(bytes: &[u8]) -> bool {
    let Some((digest, plaintext)) = bytes.split_first_chunk() else { return false };
    let Ok(codes) = decode_codes(plaintext, digest) else { return false };
    let codes: Vec<&str> = codes.iter().map(|code| code.as_str()).collect();
    assert!((1..=2).contains(&codes.len()));
    assert_eq!(encode_codes(digest, &codes).as_slice(), plaintext);
    assert!(decode_codes(plaintext, &digest.map(|byte| !byte)).is_err(), "for this digest alone");
    true
}

/// A signature in DER that is read is written in the same bytes, and is the same to the `der` crate. And the other way:
/// what is read there with s in the lower half, and written again in the same bytes, is read.
pub fn check_der(bytes: &[u8]) -> bool {
    let other = Signature::from_der(bytes).ok().filter(|other| {
        let again = other.to_der();
        *other == other.normalize_s() && again.as_bytes() == bytes
    });
    let raw = es256::der_to_raw(bytes).ok();
    assert_eq!(raw, other.map(|other| other.to_bytes().into()));
    let Some(raw) = raw else { return false };
    assert_eq!(es256::raw_to_der(&raw), bytes, "one signature, one encoding");
    assert_eq!(es256::low_s(raw), raw);
    true
}

/// A public key that is read is the point that it is to `p256`.
pub fn check_public_key(bytes: &[u8]) -> bool {
    let Ok(key) = PublicKey::parse(bytes) else { return false };
    let other = p256::PublicKey::from_sec1_bytes(bytes).expect("a point");
    assert_eq!(p256::Sec1Point::from(other).as_bytes(), key.as_bytes());
    assert_eq!(key.as_bytes().as_slice(), bytes);
    true
}

#[cfg(test)]
mod tests;
