use super::*;
use crate::tests::bytes;
use serde_json::Value;

/// All hex of one name in the vectors, of one kind.
fn saved(kind: &str, name: &str) -> Vec<Vec<u8>> {
    let document: Value =
        serde_json::from_str(include_str!("../../../../docs/approvals-vectors.json")).unwrap();
    let vectors = document["vectors"].as_array().unwrap().iter().filter(|vector| vector["kind"] == kind);
    let found = vectors.filter_map(|vector| vector.get(name).or_else(|| vector["fields"].get(name)));
    found.map(|hex| bytes(hex.as_str().unwrap())).collect()
}

/// A check holds for all that is saved, and for what little changes make of it. How many were read, as saved and changed.
fn holds(check: fn(&[u8]) -> bool, saved: &[Vec<u8>], seed: u64) -> (usize, usize) {
    let mut random = fastrand::Rng::with_seed(seed);
    let read = saved.iter().filter(|bytes| check(bytes)).count();
    let mut changed_read = 0;
    for _ in 0..5_000 {
        let good = &saved[random.usize(..saved.len())];
        let mut changed = good.clone();
        for _ in 0..random.usize(1..3) {
            let at = random.usize(..changed.len());
            match random.u8(..6) {
                0 => drop(changed.remove(at)),
                1 => changed.insert(at, random.u8(..)),
                2 => changed.truncate(at.max(1)),
                _ => changed[at] ^= 1 << random.u8(..8),
            }
        }
        changed_read += usize::from(check(&changed) && changed != *good);
    }
    (read, changed_read)
}

#[test]
fn statements_hold() {
    let (read, changed) = holds(check_statement, &saved("statement", "bytes"), 20);
    // Eleven that are accepted, four with a bad signature alone or of another kind.
    assert_eq!(read, 15);
    assert!(changed > 500, "{changed}");
}

#[test]
fn codes_hold() {
    let digest = saved("message", "digest");
    let with_digest: Vec<_> = saved("message", "bytes")
        .iter()
        .zip(&digest)
        .map(|(bytes, digest)| [&digest[..], bytes].concat())
        .collect();
    let (read, changed) = holds(check_codes, &with_digest, 21);
    assert_eq!(read, 2);
    assert!(changed > 20, "{changed}");
}

#[test]
fn client_data_holds() {
    let all = [saved("registration", "client_data_json"), saved("assertion", "client_data_json")].concat();
    let (read, changed) = holds(check_client_data, &all, 22);
    assert!(read > 20 && changed > 1000, "{read} {changed}");
}

#[test]
fn authenticator_data_holds() {
    let all =
        [saved("registration", "authenticator_data"), saved("assertion", "authenticator_data")].concat();
    let (read, changed) = holds(check_authenticator_data, &all, 23);
    assert!(read > 20 && changed > 1000, "{read} {changed}");
}

#[test]
fn signatures_hold() {
    let (read, changed) = holds(check_der, &saved("assertion", "signature"), 24);
    assert!(read > 10 && changed > 1000, "{read} {changed}");
}

#[test]
fn public_keys_hold() {
    let (read, changed) = holds(check_public_key, &saved("assertion", "public_key"), 25);
    assert!(read > 10 && changed == 0, "a neighbour of a point of the curve is none: {read} {changed}");
}
