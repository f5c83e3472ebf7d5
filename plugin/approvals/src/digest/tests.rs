use super::*;
use crate::tests::hex;
use ciborium::Value;

/// SHA-256 of an array, written by another encoder.
fn hash(elements: Vec<Value>) -> [u8; 32] {
    Sha256::digest(encoded(elements)).into()
}

fn encoded(elements: Vec<Value>) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(&Value::Array(elements), &mut bytes).unwrap();
    bytes
}

fn blob(bytes: &[u8]) -> Value {
    Value::Bytes(bytes.to_vec())
}

const APPROVED: Approved<'_> = Approved {
    purpose: Purpose::Sign,
    hsm: &[1; 16],
    tenant: "acme",
    account: "alice",
    key_id: &[2; 16],
    intent_hash: &[3; 32],
    expires_unix_secs: 1_790_000_600,
    nonce: &[4; 32],
};

#[test]
fn the_digest_is_that_of_the_array() {
    for purpose in Purpose::ALL {
        let array = vec![
            "countersign approval v1".into(),
            purpose.word().into(),
            blob(&[1; 16]),
            "acme".into(),
            "alice".into(),
            blob(&[2; 16]),
            blob(&[3; 32]),
            1_790_000_600_u64.into(),
            blob(&[4; 32]),
        ];
        assert_eq!(Approved { purpose, ..APPROVED }.digest(), hash(array));
    }
}

#[test]
fn whatever_changes_gives_another_digest() {
    let mut digests = vec![
        APPROVED.digest(),
        Approved { hsm: &[9; 16], ..APPROVED }.digest(),
        Approved { tenant: "acmf", ..APPROVED }.digest(),
        Approved { tenant: "acmealice", account: "", ..APPROVED }.digest(),
        Approved { account: "alicf", ..APPROVED }.digest(),
        Approved { key_id: &[], ..APPROVED }.digest(),
        Approved { key_id: &[9; 16], ..APPROVED }.digest(),
        Approved { intent_hash: &[], ..APPROVED }.digest(),
        Approved { intent_hash: &[9; 32], ..APPROVED }.digest(),
        Approved { expires_unix_secs: 1_790_000_601, ..APPROVED }.digest(),
        Approved { nonce: &[9; 32], ..APPROVED }.digest(),
    ];
    digests
        .extend(Purpose::ALL[1..].iter().map(|purpose| Approved { purpose: *purpose, ..APPROVED }.digest()));
    digests.extend([
        intent_hash("ethereum", &[[1; 32]], "a"),
        intent_hash("ethereum", &[[1; 32]], "b"),
        intent_hash("ethereum", &[[2; 32]], "a"),
        intent_hash("ethereum", &[[1; 32], [1; 32]], "a"),
        intent_hash("ethereum", &[], "a"),
        intent_hash("bitcoin", &[[1; 32]], "a"),
    ]);
    let count = digests.len();
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), count);
}

#[test]
fn the_intent_hash_is_that_of_the_array() {
    let many: Vec<[u8; 32]> = (0..30).map(|byte| [byte; 32]).collect();
    for digests in [&[][..], &many[..1], &many] {
        let list = Value::Array(digests.iter().map(|digest| blob(digest)).collect());
        let array = vec!["countersign intent v1".into(), "bitcoin".into(), list, "pays: é".into()];
        assert_eq!(intent_hash("bitcoin", digests, "pays: é"), hash(array));
    }
}

#[test]
fn what_a_device_signs_is_the_array() {
    for sealed in [&[][..], &[5; 32]] {
        let array = vec!["countersign device v1".into(), blob(&[6; 32]), blob(sealed)];
        assert_eq!(hex(device_message(&[6; 32], sealed)), hex(encoded(array)));
    }
}

#[test]
fn the_registration_challenge_is_the_hash_of_the_array() {
    let array = vec![
        "countersign passkey registration v1".into(),
        blob(&[1; 16]),
        "acme".into(),
        "alice".into(),
        blob(&[2; 16]),
        blob(&[3; 65]),
    ];
    assert_eq!(registration_challenge(&[1; 16], "acme", "alice", &[2; 16], &[3; 65]), hash(array));
}

#[test]
fn every_purpose_has_its_word() {
    for purpose in Purpose::ALL {
        assert_eq!(Purpose::of_word(purpose.word()), Some(purpose));
    }
    for other in ["", "Sign", "sign ", "cancel_recovery", "signs"] {
        assert_eq!(Purpose::of_word(other), None);
    }
}
