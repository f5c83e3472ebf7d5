//! What every keystore must do, run against each.

use super::softhsm_token::{CONFIGURATION_VARIABLE, TokenFiles};
use super::*;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use k256::ecdsa::signature::hazmat::PrehashVerifier;
use k256::ecdsa::{Signature, VerifyingKey};
use std::collections::BTreeSet;

const DIGEST: [u8; 32] = [0x5a; 32];

fn verify(pair: &KeyPair, digest: &[u8; 32], signature: &[u8; 64]) {
    let key = VerifyingKey::from_sec1_bytes(&pair.public_key).unwrap();
    let signature = Signature::from_slice(signature).unwrap().normalize_s();
    key.verify_prehash(digest, &signature).unwrap();
}

fn signatures_verify_under_the_public_key(keystore: &dyn Keystore) {
    for _ in 0..8 {
        let pair = keystore.generate_key_pair().unwrap();
        assert_eq!(pair.public_key[0], 4);
        assert!(pair.wrapped.len() <= WRAPPED_MAX_BYTES);
        for _ in 0..3 {
            verify(&pair, &DIGEST, &keystore.sign_digest(&pair.wrapped, &DIGEST).unwrap());
        }
    }
}

fn generated_keys_differ(keystore: &dyn Keystore) {
    let keys: BTreeSet<_> =
        (0..8).map(|_| keystore.generate_key_pair().unwrap().public_key.to_vec()).collect();
    assert_eq!(keys.len(), 8);
}

/// RFC 4226 appendix D: the intermediate HMAC values of the secret "12345678901234567890".
fn macs_are_those_of_rfc_4226_appendix_d(keystore: &dyn Keystore) {
    let wrapped = keystore.wrap_mac_key(TotpHash::Sha1, b"12345678901234567890").unwrap();
    assert!(wrapped.len() <= WRAPPED_MAX_BYTES);
    let macs = keystore.mac(&wrapped, TotpHash::Sha1, &[0, 1, 9]).unwrap();
    let macs: Vec<_> = macs.iter().map(|mac| HEXLOWER.encode(mac.expose())).collect();
    assert_eq!(
        macs,
        [
            "cc93cf18508d94934c64b65d8ba7667fb7cde4b0",
            "75a48a19d4cbe100644e8ac1397eea747a2d33ab",
            "1637409809a679dc698207310c8c7fc07290d9e5"
        ]
    );
}

/// RFC 6238 appendix B: the codes at 59 seconds, which is counter 1, in 8 digits.
fn macs_give_the_codes_of_rfc_6238_appendix_b(keystore: &dyn Keystore) {
    let digits = b"1234567890".repeat(7);
    for (hash, code) in
        [(TotpHash::Sha1, 94_287_082), (TotpHash::Sha256, 46_119_246), (TotpHash::Sha512, 90_693_936)]
    {
        let wrapped = keystore.wrap_mac_key(hash, &digits[..hash.secret_bytes()]).unwrap();
        let macs = keystore.mac(&wrapped, hash, &[1]).unwrap();
        let mac = macs[0].expose();
        assert_eq!(mac.len(), hash.secret_bytes());
        let at = usize::from(mac[mac.len() - 1] & 0xf);
        let word = u32::from_be_bytes(mac[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
        assert_eq!(word % 100_000_000, code, "{hash:?}");
    }
}

fn refuses_a_secret_that_is_not_as_long_as_its_hash(keystore: &dyn Keystore) {
    for hash in [TotpHash::Sha1, TotpHash::Sha256, TotpHash::Sha512] {
        for length in [0, 10, hash.secret_bytes() - 1, hash.secret_bytes() + 1] {
            let refused = keystore.wrap_mac_key(hash, &vec![1; length]);
            assert!(matches!(refused, Err(KeystoreError::SecretLength)), "{hash:?} {length}");
        }
    }
}

fn a_blob_opens_only_as_the_kind_it_was_made_as(keystore: &dyn Keystore) {
    let pair = keystore.generate_key_pair().unwrap();
    let mac = keystore.wrap_mac_key(TotpHash::Sha256, &[7; 32]).unwrap();
    assert!(keystore.mac(&mac, TotpHash::Sha256, &[1]).is_ok());
    for hash in [TotpHash::Sha1, TotpHash::Sha256, TotpHash::Sha512] {
        assert!(matches!(keystore.mac(&pair.wrapped, hash, &[1]), Err(KeystoreError::NotOurs)), "{hash:?}");
    }
    assert!(matches!(keystore.sign_digest(&mac, &DIGEST), Err(KeystoreError::NotOurs)));
    assert!(matches!(keystore.mac(&mac, TotpHash::Sha1, &[1]), Err(KeystoreError::NotOurs)));
    // Neither does one that is open at the moment.
    assert!(keystore.sign_digest(&pair.wrapped, &DIGEST).is_ok());
    assert!(keystore.mac(&pair.wrapped, TotpHash::Sha1, &[1]).is_err());
}

fn refuses_a_blob_with_any_byte_changed_cut_or_added(keystore: &dyn Keystore) {
    let pair = keystore.generate_key_pair().unwrap();
    assert!(keystore.sign_digest(&pair.wrapped, &DIGEST).is_ok());
    for at in 0..pair.wrapped.len() {
        let mut changed = pair.wrapped.clone();
        changed[at] ^= 1;
        assert!(keystore.sign_digest(&changed, &DIGEST).is_err(), "byte {at}");
        assert!(keystore.sign_digest(&pair.wrapped[..at], &DIGEST).is_err(), "cut at {at}");
    }
    let longer = [pair.wrapped.as_slice(), &[0; 8]].concat();
    assert!(keystore.sign_digest(&longer, &DIGEST).is_err());
    verify(&pair, &DIGEST, &keystore.sign_digest(&pair.wrapped, &DIGEST).unwrap());
}

fn threads_use_it_at_once(keystore: &dyn Keystore) {
    let pairs: Vec<_> = (0..4).map(|_| keystore.generate_key_pair().unwrap()).collect();
    let mac = keystore.wrap_mac_key(TotpHash::Sha1, &[9; 20]).unwrap();
    let expected = keystore.mac(&mac, TotpHash::Sha1, &[1, 2, 3]).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let (pairs, mac, expected) = (&pairs, &mac, &expected);
            scope.spawn(move || {
                for round in 0..25_u8 {
                    let pair = &pairs[usize::from((thread + round) % 4)];
                    let digest = [thread ^ round; 32];
                    verify(pair, &digest, &keystore.sign_digest(&pair.wrapped, &digest).unwrap());
                    assert_eq!(&keystore.mac(mac, TotpHash::Sha1, &[1, 2, 3]).unwrap(), expected);
                }
            });
        }
    });
}

fn suite(keystore: &dyn Keystore) {
    signatures_verify_under_the_public_key(keystore);
    generated_keys_differ(keystore);
    macs_are_those_of_rfc_4226_appendix_d(keystore);
    macs_give_the_codes_of_rfc_6238_appendix_b(keystore);
    refuses_a_secret_that_is_not_as_long_as_its_hash(keystore);
    a_blob_opens_only_as_the_kind_it_was_made_as(keystore);
    refuses_a_blob_with_any_byte_changed_cut_or_added(keystore);
    threads_use_it_at_once(keystore);
}

#[test]
fn embedded_keystore_does_what_every_keystore_must() {
    let folder = tempfile::tempdir().unwrap();
    create(KeystoreKind::Embedded, folder.path(), None).unwrap();
    suite(&*open(KeystoreKind::Embedded, folder.path()).unwrap());
}

#[test]
fn embedded_keystore_opens_again_and_refuses_the_blobs_of_another() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for folder in [&folder, &other] {
        create(KeystoreKind::Embedded, folder.path(), None).unwrap();
    }
    let pair = open(KeystoreKind::Embedded, folder.path()).unwrap().generate_key_pair().unwrap();
    let again = open(KeystoreKind::Embedded, folder.path()).unwrap();
    verify(&pair, &DIGEST, &again.sign_digest(&pair.wrapped, &DIGEST).unwrap());
    let foreign = open(KeystoreKind::Embedded, other.path()).unwrap();
    assert!(matches!(foreign.sign_digest(&pair.wrapped, &DIGEST), Err(KeystoreError::NotOurs)));
}

/// SoftHSM reads its configuration from the environment and is initialised once in a process. So each test on it
/// runs in a process of its own: this test program, started again for that one test.
fn in_own_process(test: &str, body: impl FnOnce(&Path)) {
    const FOLDER: &str = "COUNTERSIGN_TEST_KEYSTORE";
    if let Some(folder) = std::env::var_os(FOLDER) {
        return body(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([&format!("keystore::tests::{test}"), "--exact", "--nocapture"])
        .env(FOLDER, folder.path())
        .env(CONFIGURATION_VARIABLE, TokenFiles::in_folder(folder.path()).configuration())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.contains("1 passed"), "{test}: {}: {said}", output.status);
}

#[test]
fn softhsm_keystore_does_what_every_keystore_must() {
    in_own_process("softhsm_keystore_does_what_every_keystore_must", |folder| {
        create(KeystoreKind::Softhsm, folder, None).unwrap();
        suite(&*open(KeystoreKind::Softhsm, folder).unwrap());
    });
}

#[test]
fn softhsm_token_opens_whatever_a_crash_left_of_it() {
    in_own_process("softhsm_token_opens_whatever_a_crash_left_of_it", |folder| {
        create(KeystoreKind::Softhsm, folder, None).unwrap();
        let token = std::fs::read_dir(folder.join("tokens")).unwrap().next().unwrap().unwrap().path();
        // What a kill inside C_Login leaves: SoftHSM truncates the file before it writes it.
        std::fs::write(token.join("token.object"), b"").unwrap();
        let keystore = open(KeystoreKind::Softhsm, folder).unwrap();
        let pair = keystore.generate_key_pair().unwrap();
        verify(&pair, &DIGEST, &keystore.sign_digest(&pair.wrapped, &DIGEST).unwrap());
    });
}

#[test]
fn softhsm_keeps_signing_when_more_keys_are_used_than_it_keeps_open() {
    in_own_process("softhsm_keeps_signing_when_more_keys_are_used_than_it_keeps_open", |folder| {
        create(KeystoreKind::Softhsm, folder, None).unwrap();
        let keystore = softhsm::SoftHsm::open(folder).unwrap().with_open_keys(2);
        let pairs: Vec<_> = (0..5).map(|_| keystore.generate_key_pair().unwrap()).collect();
        for round in 0..3_u8 {
            for pair in &pairs {
                let digest = [round; 32];
                verify(pair, &digest, &keystore.sign_digest(&pair.wrapped, &digest).unwrap());
            }
        }
        // Only what is kept open is there: nothing was left behind.
        assert_eq!(keystore.objects_in_sessions(), 2);
    });
}

#[test]
fn refuses_softhsm_without_its_configuration_in_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let refused = create(KeystoreKind::Softhsm, folder.path(), None).unwrap_err();
    assert!(refused.to_string().contains(CONFIGURATION_VARIABLE), "{refused}");
    assert!(
        HEXLOWER_PERMISSIVE.decode(TokenFiles::in_folder(folder.path()).pin().unwrap().as_bytes()).is_ok()
    );
}
