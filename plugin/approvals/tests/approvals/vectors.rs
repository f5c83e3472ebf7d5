//! `docs/approvals-vectors.json` is what this crate makes of fixed keys, and each vector is accepted or refused as it says.
//!
//! `COUNTERSIGN_WRITE_VECTORS=1 cargo test -p countersign-approvals --test approvals` writes the file anew.

mod check;
mod fields;
mod make;

use crate::json::{Json, hex, text};
use crate::samples;
use serde_json::Value;
use std::path::PathBuf;

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/approvals-vectors.json")
}

/// What the kinds of vectors hold; it stands in the file.
const KINDS: &[(&str, &str)] = &[
    (
        "statement",
        "bytes: the statement; signature: by the key signed_by; statement: the first element that the reader expects",
    ),
    ("digest", "an approval digest. preimage: the array that is hashed; bytes: its SHA-256"),
    ("intent-hash", "likewise"),
    ("registration-challenge", "likewise"),
    ("message", "the plaintext of sealed codes, read for fields.digest. bytes: the plaintext"),
    (
        "evidence",
        "with a signature: what a device signs (bytes) and its signature; else: bytes = encapsulated || ciphertext, opened with \
         the private key (fields.to)_scalar; random is ikmE of RFC 9180, ephemeral_scalar the ephemeral private key that follows from it",
    ),
    ("registration", "a passkey's registration, read with fields.challenge. bytes: the authenticator data"),
    (
        "assertion",
        "a passkey's assertion, checked with the challenge, key, RP id, origin, counter and backup_eligible in fields. bytes: \
         what is signed; signature: DER",
    ),
];

/// The keys by their names in the file and in the samples.
const KEYS: &[(&str, &str, &str)] = &[
    ("root_scalar", "root_public", "root"),
    ("signing_scalar", "signing_public", "signing"),
    ("sealing_scalar", "sealing_public", "sealing"),
    ("device_scalar", "device_public", "device"),
    ("device_sealing_scalar", "device_sealing_public", "device sealing"),
    ("passkey_scalar", "passkey_public", "passkey"),
];

fn document() -> Json {
    let keys = KEYS.iter().flat_map(|(scalar, public, name)| {
        [(*scalar, hex(samples::scalar(name))), (*public, hex(samples::public_key(name).as_bytes()))]
    });
    let ids = [
        ("root_fingerprint", hex(samples::public_key("root").fingerprint())),
        ("device_id", hex(samples::public_key("device").device_id())),
    ];
    let kinds = KINDS.iter().map(|(kind, about)| (*kind, text(*about))).collect();
    Json::Object(vec![
        (
            "about",
            text("Made by plugin/approvals/tests/approvals/vectors.rs from the keys below. Bytes are hex."),
        ),
        ("kinds", Json::Object(kinds)),
        ("keys", Json::Object(keys.chain(ids).collect())),
        ("vectors", Json::List(make::vectors())),
    ])
}

#[test]
fn the_document_is_what_the_code_makes() {
    let made = document().to_text();
    if std::env::var_os("COUNTERSIGN_WRITE_VECTORS").is_some() {
        std::fs::write(file(), &made).unwrap();
    }
    let written = std::fs::read_to_string(file()).unwrap();
    assert!(written == made, "docs/approvals-vectors.json is not what the code makes");
}

#[test]
fn every_vector_is_accepted_or_refused_as_it_says() {
    let document: Value = serde_json::from_str(&document().to_text()).unwrap();
    let vectors = document["vectors"].as_array().unwrap();
    assert!(vectors.len() > 50, "{}", vectors.len());
    let mut names = std::collections::BTreeSet::new();
    for vector in vectors {
        let name = vector["name"].as_str().unwrap();
        assert!(names.insert(name), "{name} stands twice");
        let expected = match vector["must"].as_str().unwrap() {
            "accept" => Ok(()),
            "refuse" => Err(vector["reason"].as_str().unwrap()),
            other => panic!("{other}"),
        };
        assert_eq!(check::check(vector, &document["keys"]), expected, "{name}");
    }
}
