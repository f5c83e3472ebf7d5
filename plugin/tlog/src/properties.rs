//! What must hold of whatever is read, for property tests and fuzzers: they panic when one is breached, and say whether anything was
//! read.

use crate::note::KeyType;
use crate::proof::InclusionProof;
use crate::tile::{bundle, unbundle};
use crate::tree::leaf_hash;
use crate::{Checkpoint, Frontier, Note, SigningKey, VerifierKey};

/// The texts: one form each, and the parts of what is read are read again by themselves.
pub fn check_text(text: &str) -> bool {
    let checkpoint = Checkpoint::parse(text).map(|found| found.to_text());
    let note = Note::parse(text).map(|found| found.to_text());
    let verifier = VerifierKey::parse(text).map(|found| found.to_text());
    let signer = SigningKey::parse_secret(text).map(|found| found.to_secret_text());
    let proof = InclusionProof::parse(text).map(|found| {
        assert!(Note::parse(&found.note.to_text()).is_some(), "a proof ends with a note");
        found.to_text()
    });
    let read: Vec<String> = [checkpoint, note, verifier, signer, proof].into_iter().flatten().collect();
    for again in &read {
        assert_eq!(again, text);
    }
    !read.is_empty()
}

/// Bundles of entries: one form.
pub fn check_bundle(bytes: &[u8]) -> bool {
    let Some(entries) = unbundle(bytes) else { return false };
    assert_eq!(bundle(entries).as_deref(), Some(bytes));
    true
}

/// One of each that is read.
pub fn texts() -> Vec<Vec<u8>> {
    let key = SigningKey::new("countersign/00/default", KeyType::Log, &[3; 32]).expect("a name");
    let witness = SigningKey::new("witness.example/a", KeyType::Witness, &[4; 32]).expect("a name");
    let mut tree = Frontier::default();
    for leaf in [b"one", b"two"] {
        tree.append(leaf_hash(leaf));
    }
    let text = Checkpoint {
        origin: key.verifier().name().to_owned(),
        size: tree.size(),
        root: tree.root(),
        extension: vec!["countersign-store-head AAAA".to_owned()],
    }
    .to_text();
    let note = Note::new(text.clone(), vec![key.sign(&text), witness.cosign(&text, 1_800_000_000)]);
    let proof = InclusionProof { index: 1, path: vec![leaf_hash(b"one")], note: note.clone() };
    vec![
        text.into_bytes(),
        note.to_text().into_bytes(),
        key.verifier().to_text().into_bytes(),
        witness.to_secret_text().into_bytes(),
        proof.to_text().into_bytes(),
        bundle([&b"one"[..], b"", b"three"]).expect("short entries"),
    ]
}
