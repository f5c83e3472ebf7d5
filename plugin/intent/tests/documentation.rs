//! Every value of "Mechanisms byte by byte" in `docs/pkcs11.md` is what the HSM reads, hashes and gives back.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use countersign_intent::Network;
use countersign_intent::bitcoin::{Psbt, Signer, SingleKey};
use countersign_intent::ethereum::{Message, Transaction, TypedData, address_of, keccak256};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use k256::ecdsa::signature::hazmat::PrehashVerifier;
use k256::ecdsa::{RecoveryId, Signature, SigningKey, VerifyingKey};
use serde_bytes::ByteArray;
use std::collections::BTreeMap;

const DOCUMENT: &str = include_str!("../../../docs/pkcs11.md");

/// The blocks of one kind in the part on a mechanism.
fn blocks(mechanism: &str, kind: &str) -> Vec<&'static str> {
    let (_, section) = DOCUMENT.split_once("\n## Mechanisms byte by byte\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let (_, part) = section.split_once(&format!("\n### `{mechanism}`\n")).unwrap();
    let part = part.split("\n### ").next().unwrap();
    let opening = format!("\n```{kind}\n");
    part.split(opening.as_str()).skip(1).map(|rest| rest.split_once("\n```").unwrap().0).collect()
}

/// One example: values by their names.
struct Example(BTreeMap<&'static str, Vec<u8>>);

impl Example {
    /// Each line is a name and hex, or more hex of the name above.
    fn of_block(block: &'static str) -> Self {
        let mut hex: BTreeMap<&str, String> = BTreeMap::new();
        let mut name = "";
        for line in block.lines() {
            let value = if line.starts_with(' ') {
                line
            } else {
                let (first, value) = line.split_once(' ').unwrap();
                assert!(!hex.contains_key(first), "{first} stands twice");
                name = first;
                value
            };
            hex.entry(name).or_default().push_str(value.trim());
        }
        let bytes = |text: String| HEXLOWER.decode(text.as_bytes()).unwrap();
        Self(hex.into_iter().map(|(name, text)| (name, bytes(text))).collect())
    }

    fn all(mechanism: &str) -> Vec<Self> {
        blocks(mechanism, "text").into_iter().map(Self::of_block).collect()
    }

    fn only(mechanism: &str) -> Self {
        let mut all = Self::all(mechanism);
        assert_eq!(all.len(), 1, "{mechanism}");
        all.remove(0)
    }

    fn has_only(&self, names: &[&str]) {
        assert_eq!(self.0.keys().copied().collect::<Vec<_>>(), names, "in alphabetical order");
    }

    #[track_caller]
    fn is(&self, name: &str, bytes: &[u8]) {
        assert_eq!(HEXLOWER.encode(&self.0[name]), HEXLOWER.encode(bytes), "{name}");
    }

    fn signature(&self) -> [u8; 64] {
        self.0["signature"].as_slice().try_into().unwrap()
    }

    /// The parity with which the low-S signature over `digest` recovers the address.
    fn parity(&self, digest: &[u8]) -> u8 {
        let signature = Signature::from_slice(&self.signature()).unwrap();
        assert_eq!(signature.normalize_s(), signature, "s is in the lower half");
        let recovers = |parity: &u8| {
            let recovery = RecoveryId::from_byte(*parity).unwrap();
            let key = VerifyingKey::recover_from_prehash(digest, &signature, recovery).unwrap();
            address(&key) == self.0["address"]
        };
        [0, 1].into_iter().find(recovers).expect("the signature is of the address")
    }
}

fn address(key: &VerifyingKey) -> Vec<u8> {
    let point: [u8; 65] = key.to_sec1_point(false).as_bytes().try_into().unwrap();
    let text = address_of(&ByteArray::new(point));
    HEXLOWER_PERMISSIVE.decode(text.as_str().strip_prefix("0x").unwrap().as_bytes()).unwrap()
}

fn address_of_private(key: &[u8; 32]) -> Vec<u8> {
    address(SigningKey::from_slice(key).unwrap().verifying_key())
}

#[test]
fn ckm_ecdsa_signs_the_digest_that_it_is_given() {
    let example = Example::only("CKM_ECDSA");
    example.has_only(&["address", "data", "signature"]);
    assert_eq!(example.0["data"].len(), 32);
    example.parity(&example.0["data"]);
    example.is("address", &address_of_private(&[0x46; 32]));
}

#[test]
fn ckm_countersign_ethereum_has_these_digests_and_becomes_these_transactions() {
    let examples = Example::all("CKM_COUNTERSIGN_ETHEREUM");
    let kinds: Vec<_> = examples.iter().map(|example| example.0["data"][0]).collect();
    assert_eq!(kinds, [0x02, 0xec], "one of type 2, one of type 0");
    for example in &examples {
        example.has_only(&["address", "data", "digest", "hash", "raw", "signature", "y_parity"]);
        let transaction = Transaction::read(&example.0["data"]).unwrap();
        example.is("digest", &transaction.digest());
        let parity = example.parity(&transaction.digest());
        example.is("y_parity", &[parity]);
        let signed = transaction.with_signature(&example.signature(), parity).unwrap();
        example.is("raw", &signed.raw);
        example.is("hash", &signed.hash);
    }
}

#[test]
fn ckm_countersign_typed_data_has_this_digest() {
    let example = Example::only("CKM_COUNTERSIGN_TYPED_DATA");
    example.has_only(&["address", "digest", "signature", "y_parity"]);
    let documents = blocks("CKM_COUNTERSIGN_TYPED_DATA", "json");
    let [document] = documents[..] else { panic!("one document") };
    let digest = TypedData::read(document.as_bytes()).unwrap().digest();
    example.is("digest", &digest);
    example.is("y_parity", &[example.parity(&digest)]);
    example.is("address", &address_of_private(&keccak256(b"cow")));
}

#[test]
fn ckm_countersign_message_has_this_digest() {
    let example = Example::only("CKM_COUNTERSIGN_MESSAGE");
    example.has_only(&["address", "data", "digest", "signature", "y_parity"]);
    example.is("data", b"hello world");
    let digest = Message::read(&example.0["data"]).unwrap().digest();
    example.is("digest", &digest);
    example.is("y_parity", &[example.parity(&digest)]);
    example.is("address", &address_of_private(&[0x69; 32]));
}

/// BIP-143, "P2SH-P2WPKH": r and s of its signature.
const BIP_143_SIGNATURE: &str = concat!(
    "47ac8e878352d3ebbde1c94ce3a10d057c24175747116f8288e5d794d12d482f",
    "217f36a485cae903c713331d877c1f64677e3622ad4010726870540656fe9dcb",
);

#[test]
fn ckm_countersign_psbt_gives_this_psbt_back() {
    let example = Example::only("CKM_COUNTERSIGN_PSBT");
    example.has_only(&["data", "digest", "public_key", "signature"]);
    let psbt = Psbt::read(&example.0["data"]).unwrap();
    let public_key = example.0["public_key"].as_slice().try_into().unwrap();
    let review = psbt.review(&Signer::Key(SingleKey::new(public_key, Network::Main).unwrap())).unwrap();
    let [asked] = review.to_sign.as_slice() else { panic!("one input") };
    example.is("digest", &asked.digest);
    let signature: [u8; 64] = HEXLOWER.decode(BIP_143_SIGNATURE.as_bytes()).unwrap().try_into().unwrap();
    let key = VerifyingKey::from_sec1_bytes(&public_key).unwrap();
    key.verify_prehash(&asked.digest, &Signature::from_slice(&signature).unwrap()).unwrap();
    example.is("signature", &psbt.with_signatures(&review, &[signature]).unwrap());
}
