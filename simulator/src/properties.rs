//! What must hold of every file of the boundary that is taken, whoever wrote it. The functions panic when a property is
//! breached, and say whether the bytes were taken; tests and fuzzers call them.
//!
//! No fuzzer guesses a hash, so what carries one is tried twice: as it is, and with the right hash put in its place.

use crate::fuses::{CHECKSUM_AT, FUSES_BYTES, Fuses};
use crate::nvram::{CLOCK_SLOT_BYTES, LINEAGE_SLOT_BYTES, STATE_SLOT_BYTES};
use crate::{ceremony, nvram};
use sha2::{Digest, Sha256};

const SLOTS: [usize; 3] = [STATE_SLOT_BYTES, LINEAGE_SLOT_BYTES, CLOCK_SLOT_BYTES];

/// A slot of NVRAM that is taken is in its one encoding, and its content fits it.
pub fn check_slot(bytes: &[u8]) -> bool {
    SLOTS.map(|slot_bytes| check_slot_of(bytes, slot_bytes)).contains(&true)
}

fn check_slot_of(bytes: &[u8], slot_bytes: usize) -> bool {
    let mut patched = bytes.to_vec();
    patched.resize(slot_bytes - 32, 0);
    let checksum = Sha256::digest(&patched);
    patched.extend_from_slice(&checksum);
    [bytes, &patched].map(|slot| match nvram::decode(slot, slot_bytes) {
        Some((sequence, content)) => {
            assert_eq!(nvram::encode(slot_bytes, sequence, content), slot, "a slot has one encoding");
            true
        }
        None => false,
    }) != [false, false]
}

/// Fuses that are taken are written as the same bytes.
pub fn check_fuses(bytes: &[u8]) -> bool {
    let mut patched = bytes.to_vec();
    if patched.len() == FUSES_BYTES {
        let checksum = Sha256::digest(&bytes[..CHECKSUM_AT]);
        patched[CHECKSUM_AT..].copy_from_slice(&checksum);
    }
    [bytes, &patched].map(|bytes| match Fuses::decode(bytes) {
        Some(fuses) => {
            assert_eq!(fuses.encode().as_slice(), bytes, "fuses have one encoding");
            assert!(!format!("{fuses:?}").contains("secret"));
            true
        }
        None => false,
    }) != [false, false]
}

/// `tenants.toml`: what is read is written and read again as the same.
pub fn check_tenants_toml(text: &str) -> bool {
    let Ok(file) = ceremony::from_text(text) else { return false };
    let again = ceremony::to_text(&file).expect("what was read is written");
    assert_eq!(ceremony::from_text(&again).as_ref(), Ok(&file));
    true
}

/// A slot of each size and fuses, for a fuzzer to begin with.
pub fn files() -> Vec<Vec<u8>> {
    let slots = SLOTS.map(|bytes| nvram::encode(bytes, 7, b"content"));
    let mut fuses = b"CSFUSES3".to_vec();
    fuses.resize(CHECKSUM_AT, 0);
    let checksum = Sha256::digest(&fuses);
    fuses.extend_from_slice(&checksum);
    [vec![fuses], slots.to_vec()].concat()
}
