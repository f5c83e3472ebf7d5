//! Notes and checkpoints, against the vectors of Go's `note` package and against `signed_note` and `tlog_tiles`.

use crate::Checkpoint;
use crate::note::{
    KeyType, NOTE_MAX_BYTES, Note, SIGNATURES_MAX, SigningKey, Verified, VerifierKey, is_key_name,
};
use ed25519_dalek::{Signature, Verifier};
use proptest::prelude::*;
use signed_note::{StandardVerifier, VerifierList};

/// golang.org/x/mod/sumdb/note, the package's documentation.
const SECRET: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
const PUBLIC: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const TEXT: &str =
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
const LINE: &str = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

fn log_key() -> SigningKey {
    SigningKey::new("example.com/log", KeyType::Log, &[1; 32]).unwrap()
}

fn witness_key() -> SigningKey {
    SigningKey::new("witness.example/w1", KeyType::Witness, &[2; 32]).unwrap()
}

fn checkpoint() -> Checkpoint {
    Checkpoint {
        origin: "example.com/log".to_owned(),
        size: 20_852_163,
        root: [7; 32],
        extension: vec!["one line".to_owned(), "another".to_owned()],
    }
}

fn signed() -> Note {
    let text = checkpoint().to_text();
    Note::new(text.clone(), vec![log_key().sign(&text), witness_key().cosign(&text, 1_679_315_147)])
}

#[test]
fn the_published_note_is_made_and_verified() {
    let (signing, verifying) =
        (SigningKey::parse_secret(SECRET).unwrap(), VerifierKey::parse(PUBLIC).unwrap());
    assert_eq!((signing.to_secret_text().as_str(), verifying.to_text().as_str()), (SECRET, PUBLIC));
    assert_eq!(*signing.verifier(), verifying);
    let note = Note::new(TEXT.to_owned(), vec![signing.sign(TEXT)]);
    assert_eq!(note.to_text(), format!("{TEXT}\n{LINE}"));
    let read = Note::parse(&note.to_text()).unwrap();
    assert_eq!(read, note);
    assert_eq!(read.verify(&verifying), Some(Verified { unix_secs: None }));
    let other = Note::parse(&note.to_text().replace("your problem is", "your problem was")).unwrap();
    assert_eq!(other.verify(&verifying), None);
}

#[test]
fn another_library_verifies_what_is_signed_here_and_reads_the_same_checkpoint() {
    let text = signed().to_text();
    let theirs = signed_note::Note::from_bytes(text.as_bytes()).unwrap();
    let key = StandardVerifier::new(&log_key().verifier().to_text()).unwrap();
    let (verified, unknown) = theirs.verify(&VerifierList::new(vec![Box::new(key)])).unwrap();
    assert_eq!((verified.len(), unknown.len()), (1, 1), "the witness is unknown to it");
    let read = tlog_tiles::Checkpoint::from_bytes(theirs.text()).unwrap();
    assert_eq!((read.origin(), read.size(), read.hash().0), ("example.com/log", 20_852_163, [7; 32]));
    assert_eq!(read.extension(), "one line\nanother\n");
    assert_eq!(read.to_bytes(), checkpoint().to_text().as_bytes());
}

#[test]
fn a_witness_signs_the_time_with_the_text() {
    let note = Note::parse(&signed().to_text()).unwrap();
    let verified = note.verify(witness_key().verifier()).unwrap();
    assert_eq!(verified.unix_secs, Some(1_679_315_147));
    // c2sp.org/tlog-cosignature, "Ed25519 signed message", put together by hand.
    let message = format!("cosignature/v1\ntime 1679315147\n{}", checkpoint().to_text());
    let line = note.to_text().lines().last().unwrap().to_owned();
    let bytes = data_encoding::BASE64.decode(line.rsplit(' ').next().unwrap().as_bytes()).unwrap();
    assert_eq!((bytes.len(), &bytes[4..12]), (4 + 8 + 64, &1_679_315_147_u64.to_be_bytes()[..]));
    let key = ed25519_dalek::SigningKey::from_bytes(&[2; 32]).verifying_key();
    assert!(key.verify(message.as_bytes(), &Signature::from_slice(&bytes[12..]).unwrap()).is_ok());
    // The key id of type 4.
    let id = sha2::Digest::chain_update(<sha2::Sha256 as sha2::Digest>::new(), b"witness.example/w1\n\x04");
    let id = sha2::Digest::finalize(sha2::Digest::chain_update(id, key.as_bytes()));
    assert_eq!(bytes[..4], id[..4]);
}

#[test]
fn a_signature_counts_for_its_own_key_name_kind_and_text_alone() {
    let note = signed();
    let log_as_witness = SigningKey::new("example.com/log", KeyType::Witness, &[1; 32]).unwrap();
    let renamed = SigningKey::new("example.com/other", KeyType::Log, &[1; 32]).unwrap();
    let another = SigningKey::new("example.com/log", KeyType::Log, &[3; 32]).unwrap();
    for key in [&log_as_witness, &renamed, &another] {
        assert_eq!(note.verify(key.verifier()), None, "{key:?}");
    }
    let mut twice = note.clone();
    twice.add(log_key().sign("something else\n"));
    assert_eq!(twice.signatures().len(), 2, "one line for each key");
    assert_eq!(twice.verify(log_key().verifier()), None);
    let text = checkpoint().to_text();
    let lines = vec![log_key().sign(&text), log_key().sign("something else\n")];
    assert_eq!(Note::new(text, lines).verify(log_key().verifier()), None, "one of them is wrong");
}

/// The point of order 1, as a key with its right id: any signature would do.
fn weak_key() -> String {
    let mut key = [0; 33];
    key[..2].copy_from_slice(&[1, 1]);
    let id = <sha2::Sha256 as sha2::Digest>::digest([&b"w\n"[..], &key].concat());
    let (id, key) = (data_encoding::HEXLOWER.encode(&id[..4]), data_encoding::BASE64.encode(&key));
    format!("w+{id}+{key}")
}

#[test]
fn refuses_keys_and_names_that_are_none() {
    let good = log_key().verifier().to_text();
    assert!(VerifierKey::parse(&good).is_some());
    for bad in [
        good.replace("example", "exbmple"),
        good.replace('+', " "),
        format!("{good}A"),
        good.to_uppercase(),
        String::new(),
        weak_key(),
    ] {
        assert_eq!(VerifierKey::parse(&bad), None, "{bad}");
    }
    for name in ["", "a b", "a+b", "a\u{a0}b", "a\nb"] {
        assert!(!is_key_name(name) && SigningKey::new(name, KeyType::Log, &[1; 32]).is_none(), "{name:?}");
    }
    assert!(SigningKey::parse_secret(&SECRET.replace("c74f20a3", "c74f20a4")).is_none());
    assert!(!format!("{:?}", SigningKey::parse_secret(SECRET).unwrap()).contains("AYEK"));
}

#[test]
fn a_key_of_a_log_is_made_from_its_name_and_its_bytes() {
    let key = log_key().verifier().clone();
    assert_eq!(VerifierKey::of_log("example.com/log", &key.public_key()), Some(key.clone()));
    assert_eq!(VerifierKey::of_log("a b", &key.public_key()), None);
    let mut order_one = [0; 32];
    order_one[0] = 1;
    assert_eq!(VerifierKey::of_log("example.com/log", &order_one), None, "it would sign anything");
}

#[test]
fn refuses_checkpoints_in_any_other_form() {
    let text = checkpoint().to_text();
    assert_eq!(Checkpoint::parse(&text), Some(checkpoint()));
    for bad in [
        text.replace("20852163", "020852163"),
        text.replace("20852163", "+20852163"),
        text.replace("20852163", "18446744073709551616"),
        text.replace("one line\n", "\n"),
        text.replace("example.com/log\n", "\n"),
        text.replace("Bwc=", "Bwd="),
        text[..text.len() - 1].to_owned(),
        format!("{text}\n"),
    ] {
        assert_eq!(Checkpoint::parse(&bad), None, "{bad}");
    }
}

#[test]
fn i14_notes_are_bounded() {
    let many = |count: usize| {
        let text = checkpoint().to_text();
        Note::new(text.clone(), vec![log_key().sign(&text); count]).to_text()
    };
    assert!(Note::parse(&many(SIGNATURES_MAX)).is_some());
    assert_eq!(Note::parse(&many(SIGNATURES_MAX + 1)), None);
    assert_eq!(Note::parse(&format!("{}{}", "x".repeat(NOTE_MAX_BYTES), signed().to_text())), None);
}

proptest! {
    #[test]
    fn i14_what_is_read_is_written_as_the_same(text in any::<String>(), at: prop::sample::Index, byte in 0_u8..128) {
        if let Some(note) = Note::parse(&text) {
            prop_assert_eq!(note.to_text(), text);
        }
        let mut changed = signed().to_text().into_bytes();
        let at = at.index(changed.len());
        changed[at] = byte;
        let Ok(changed) = String::from_utf8(changed) else { return Ok(()) };
        if let Some(note) = Note::parse(&changed) {
            prop_assert_eq!(note.to_text(), changed.clone());
            let good = note.verify(log_key().verifier()).is_some() && note.verify(witness_key().verifier()).is_some();
            prop_assert_eq!(good, changed == signed().to_text());
        }
    }
}
