//! What must hold of passkeys' data, as in [`crate::properties`].

use super::authenticator_data::AuthenticatorData;
use super::client_data::ClientData;
use super::{AUTHENTICATOR_DATA_MAX_BYTES, CLIENT_DATA_MAX_BYTES, Origin, assert, hash, register};
use crate::es256::SigningKey;
use crate::webauthn::Registered;
use serde_json::Value;

/// Client data that is read says the same to `serde_json`'s own values; an origin that is taken speaks for its host.
pub fn check_client_data(bytes: &[u8]) -> bool {
    let Ok(read) = ClientData::read(bytes) else { return false };
    assert!(bytes.len() <= CLIENT_DATA_MAX_BYTES);
    let other: Value = serde_json::from_slice(bytes).expect("JSON");
    let (kind, challenge) = read.texts();
    assert_eq!([kind, challenge, &read.origin], ["type", "challenge", "origin"].map(|name| &other[name]));
    let crosses = other.get("crossOrigin").is_some_and(|crosses| crosses == true);
    assert_eq!(read.crosses(), crosses || other.get("topOrigin").is_some());
    if let Some(origin) = Origin::parse(&read.origin) {
        let host = read.origin.split("//").nth(1).and_then(|rest| rest.split(':').next()).expect("a host");
        assert_eq!(origin.rp_id(&hash(host.as_bytes())), Some(host));
    }
    true
}

/// Authenticator data that is read is its parts and nothing else; it registers or it asserts, or neither, but never both.
pub fn check_authenticator_data(bytes: &[u8]) -> bool {
    let registers = ["webauthn.create"].map(|kind| register(&client_data(kind), bytes, &[0; 32]));
    let key = SigningKey::derive(&[1; 32], "properties");
    let client = client_data("webauthn.get");
    let signature = crate::es256::raw_to_der(&key.sign(&[bytes, &hash(&client)].concat()));
    let passkey = Registered {
        public_key: &key.public_key(),
        rp_id: "example.org",
        origin: "https://example.org",
        sign_count: 0,
        backup_eligible: bytes.get(32).is_some_and(|flags| flags & 8 != 0),
    };
    let asserts = assert(&passkey, &client, bytes, &signature, &[0; 32]);
    assert!(!(registers[0].is_ok() && asserts.is_ok()), "never both");
    let Ok(read) = AuthenticatorData::parse(bytes) else {
        assert!(registers[0].is_err() && asserts.is_err());
        return false;
    };
    assert!(bytes.len() <= AUTHENTICATOR_DATA_MAX_BYTES);
    let mut again = [&read.rp_id_hash[..], &bytes[32..33], &read.sign_count.to_be_bytes()].concat();
    if let Some(credential) = &read.credential {
        again.extend_from_slice(&bytes[37..53]);
        again.extend_from_slice(&u16::try_from(credential.id.len()).expect("at most 255").to_be_bytes());
        again.extend_from_slice(credential.id);
        let (x, y) = credential.public_key.as_bytes()[1..].split_at(32);
        let parts = [&[0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 0x20], x, &[0x22, 0x58, 0x20], y];
        again.extend_from_slice(&parts.concat());
    }
    let more = bytes.strip_prefix(&again[..]).expect("nothing is read that is not there");
    let is_extended = bytes[32] & 0x80 != 0;
    assert_eq!(more.first().map(|head| head >> 5), is_extended.then_some(5), "a map, where there is more");
    true
}

/// Client data of `https://example.org`, with a challenge of zeros.
fn client_data(kind: &str) -> Vec<u8> {
    let challenge = "A".repeat(43);
    format!(r#"{{"type":"{kind}","challenge":"{challenge}","origin":"https://example.org"}}"#).into_bytes()
}
