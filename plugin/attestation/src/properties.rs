//! What must hold of whatever is read, for property tests and fuzzers: they panic when one is breached.

use crate::claims::{Claims, DebugStatus, Lineage, PluginClaims, ReleaseKeys, SIMULATOR};
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

/// Claims without a weakness.
pub fn good() -> Claims {
    Claims {
        nonce: vec![7; 32],
        hsm_id: [1; 16],
        issued_unix_secs: 1_790_000_000,
        hardware_model: SIMULATOR.to_owned(),
        firmware_version: "0.1.0".to_owned(),
        debug: DebugStatus::DisabledPermanently,
        measurement: [2; 48],
        image_version: "0.1.0".to_owned(),
        clock: "system".to_owned(),
        keystore: "embedded".to_owned(),
        layers: ["seccomp", "landlock"].map(str::to_owned).to_vec(),
        missing_layers: Vec::new(),
        boundary: "process".to_owned(),
        platform: None,
        lineage: Lineage { first: [3; 48], upgrades: 2, head: [0x13; 32] },
        release_keys: Some(ReleaseKeys { sha256: [4; 32], threshold: 2 }),
        plugin: PluginClaims {
            version: "0.1.0".to_owned(),
            boot_count: 9,
            tenant: "acme".to_owned(),
            policy: Some((3, [5; 32])),
            officers: None,
            statement_key: [6; 65],
            sealing_key: [7; 65],
            log_key: Some([8; 32]),
            store_head: [9; 32],
            clock_sure: true,
        },
    }
}
