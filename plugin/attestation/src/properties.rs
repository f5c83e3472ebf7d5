//! What must hold of whatever is read, for property tests and fuzzers: they panic when one is breached.

use crate::claims::Claims;
use crate::token::{issue, verify};
use countersign_approvals::es256::SigningKey;

/// Claims that are read are written again as they were.
pub fn claims_have_one_encoding(bytes: &[u8]) -> bool {
    let Ok(claims) = Claims::parse(bytes) else { return false };
    assert_eq!(claims.to_bytes(), bytes);
    true
}

/// Whatever is signed properly verifies, and no token with another byte does.
pub fn no_byte_of_a_token_can_change(claims: &Claims, at: usize, by: u8) {
    let (key, root) = (SigningKey::derive(&[1; 32], "attestation"), SigningKey::derive(&[2; 32], "root"));
    let token = issue(claims, &key, &root);
    let fingerprint = root.public_key().fingerprint();
    assert_eq!(verify(&token, &fingerprint).map(|found| found.claims).as_ref(), Ok(claims));
    let mut changed = token.clone();
    let at = at % changed.len();
    changed[at] ^= by.max(1);
    assert!(verify(&changed, &fingerprint).is_err(), "byte {at} by {by}");
}

/// The root that [`tokens`] are of.
const ROOT_SEED: [u8; 32] = [2; 32];

/// Whatever verifies under that root says what was issued under it: nobody else has its key.
pub fn check_token(bytes: &[u8]) -> bool {
    let root = SigningKey::derive(&ROOT_SEED, "root").public_key().fingerprint();
    let Ok(found) = verify(bytes, &root) else { return false };
    assert_eq!(found.claims, good());
    true
}

/// A token, and the claims in it.
pub fn tokens() -> Vec<Vec<u8>> {
    let (key, root) = (SigningKey::derive(&[1; 32], "attestation"), SigningKey::derive(&ROOT_SEED, "root"));
    let claims = good();
    vec![issue(&claims, &key, &root), claims.to_bytes()]
}

/// No bytes make the verifier panic, and what it takes is small.
pub fn tokens_are_read_safely(bytes: &[u8]) {
    if let Ok(found) = verify(bytes, &[0; 32]) {
        panic!("a root of this fingerprint is not known to anybody: {found:?}");
    }
}
