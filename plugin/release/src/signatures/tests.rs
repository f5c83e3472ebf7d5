use super::*;
use crate::test_people::{Person, hardware_signature};
use proptest::prelude::*;
use ssh_key::Algorithm;

/// PROTOCOL.sshsig, 1: its example, a signature for the namespace `foo`.
const EXAMPLE: &str = "\
-----BEGIN SSH SIGNATURE-----
U1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAgJKxoLBJBivUPNTUJUSslQTt2hD
jozKvHarKeN8uYFqgAAAADZm9vAAAAAAAAAFMAAAALc3NoLWVkMjU1MTkAAABAKNC4IEbt
Tq0Fb56xhtuE1/lK9H9RZJfON4o6hE9R4ZGFX98gy0+fFJ/1d2/RxnZky0Y7GojwrZkrHT
FgCqVWAQ==
-----END SSH SIGNATURE-----
";

const MESSAGE: &[u8] = b"what is signed";

fn word(file: &[u8]) -> &'static str {
    parse(file).unwrap_err().word()
}

#[test]
fn the_example_of_the_specification_is_no_whole_signature_and_is_refused() {
    // It lacks the hash algorithm: the field before the signature is empty.
    assert_eq!(word(EXAMPLE.as_bytes()), "signatures-damaged");
}

#[test]
fn reads_several_signatures_in_the_form_that_ssh_keygen_writes() {
    let [alice, bob] = [Person::with_key("alice", "ed25519"), Person::with_key("bob", "ecdsa")];
    let file = [alice.sign(MESSAGE), bob.sign(MESSAGE)].concat();
    let signatures = parse(&file).unwrap();
    assert_eq!(signatures.len(), 2);
    for signature in &signatures {
        let key = PublicKey::from(signature.public_key().clone());
        assert_eq!(verify(signature, &key, MESSAGE), Ok(()));
        assert!(verify(signature, &key, b"something else").is_err());
    }
    assert!(made_now(&file, MESSAGE).is_err(), "one at a time");
    assert!(made_now(&alice.sign(MESSAGE), MESSAGE).is_ok());
    assert!(made_now(&alice.sign(MESSAGE), b"something else").is_err());
}

#[test]
fn refuses_signatures_cut_anywhere_changed_anywhere_or_with_something_around_them() {
    let alice = Person::with_key("alice", "ed25519");
    let good = alice.sign(MESSAGE);
    let key = PublicKey::from(parse(&good).unwrap()[0].public_key().clone());
    for at in 1..good.len() {
        assert_eq!(word(&good[..at]), "signatures-damaged", "cut at {at}");
        let mut changed = good.clone();
        changed[at] ^= 1;
        let counts = parse(&changed).is_ok_and(|all| verify(&all[0], &key, MESSAGE).is_ok());
        assert!(!counts, "byte {at}");
    }
    let text = String::from_utf8(good).unwrap();
    for other in [
        format!("\n{text}"),
        format!("{text}\n"),
        format!("{text}and more"),
        text.replace('\n', "\r\n"),
        text.replacen('\n', "\nHeader: x\n\n", 1),
        text.replace("SSH SIGNATURE", "SSH SIGNATURES"),
        text.to_lowercase(),
    ] {
        assert_eq!(word(other.as_bytes()), "signatures-damaged", "{other}");
    }
}

#[test]
fn refuses_files_beyond_their_bounds() {
    let one = Person::with_key("alice", "ed25519").sign(MESSAGE);
    assert_eq!(parse(&one.repeat(SIGNATURES_MAX)).unwrap().len(), SIGNATURES_MAX);
    assert_eq!(word(&one.repeat(SIGNATURES_MAX + 1)), "signatures-damaged");
    assert_eq!(word(&vec![b'x'; SIGNATURES_MAX_BYTES + 1]), "signatures-damaged");
    assert_eq!(word(b"\xff"), "signatures-damaged");
    assert_eq!(word(b""), "image-unsigned");
}

#[test]
fn takes_hardware_keys_that_were_touched_and_refuses_those_that_were_not() {
    for algorithm in [Algorithm::SkEd25519, Algorithm::SkEcdsaSha2NistP256] {
        for (flags, outcome) in [(0x01, Ok(())), (0x05, Ok(())), (0x00, Err(())), (0x04, Err(()))] {
            let (key, armored) = hardware_signature(&algorithm, flags, MESSAGE);
            let signature = parse(armored.as_bytes()).unwrap().pop().unwrap();
            let verified = verify(&signature, &key, MESSAGE);
            assert_eq!(verified.map_err(drop), outcome, "{algorithm} with flags {flags}: {verified:?}");
            assert!(verify(&signature, &key, b"something else").is_err());
        }
    }
}

#[test]
fn a_touch_cannot_be_claimed_afterwards() {
    let (key, armored) = hardware_signature(&Algorithm::SkEd25519, 0, MESSAGE);
    let signature = parse(armored.as_bytes()).unwrap().pop().unwrap();
    let mut raw = signature.signature_bytes().to_vec();
    let flags = raw.len() - SK_TRAILER_BYTES;
    raw[flags] = USER_PRESENT;
    let claimed = ssh_key::Signature::new(Algorithm::SkEd25519, raw).unwrap();
    let claimed = SshSig::new(key.key_data().clone(), NAMESPACE, HashAlg::Sha512, claimed).unwrap();
    assert_eq!(verify(&claimed, &key, MESSAGE), Err("it is not of this image, version and channel"));
}

#[test]
fn refuses_rsa() {
    let rsa = Person::with_key("alice", "rsa").sign(MESSAGE);
    assert!(made_now(&rsa, MESSAGE).unwrap_err().to_string().contains("kind"));
}

proptest! {
    #[test]
    fn any_text_is_refused_or_written_as_it_was_read(text in "(-----BEGIN SSH SIGNATURE-----\n)?[A-Za-z0-9+/=\n]{0,300}(-----END SSH SIGNATURE-----\n)?") {
        if let Ok(signatures) = parse(text.as_bytes()) {
            let again: String = signatures.iter().map(|one| one.to_pem(LineEnding::LF).unwrap()).collect();
            prop_assert_eq!(again, text);
        }
    }
}
