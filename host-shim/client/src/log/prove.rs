//! Proofs out of a folder. Each is checked against the signed checkpoint before it is given.

use super::folder::{Folder, Tree};
use super::verify::root_at;
use super::{LogFault, SignedCheckpoint};
use countersign_tlog::proof::{self, InclusionProof, is_consistent, is_included};
use countersign_tlog::tile::{Content, TILE_WIDTH, Tile, unbundle};
use countersign_tlog::tree::{Hash, leaf_hash};
use countersign_tlog::{Checkpoint, VerifierKey};

/// Proves that entry `index` is in the log: the entry, and the proof ([c2sp.org/tlog-proof](https://c2sp.org/tlog-proof)).
pub fn prove_inclusion(
    folder: &Folder,
    key: &VerifierKey,
    index: u64,
) -> Result<(Vec<u8>, InclusionProof), LogFault> {
    let SignedCheckpoint { note, checkpoint } = SignedCheckpoint::verify(&folder.checkpoint()?, key)?;
    let Checkpoint { size, root, .. } = checkpoint;
    let path = proof::inclusion(&Tree::new(folder, size), index, size)?.ok_or(LogFault::NoSuchEntry)?;
    let entry = entry(folder, index, size)?;
    if !is_included(&leaf_hash(&entry), index, size, &path, &root) {
        return Err(LogFault::Edited { index: Some(index) });
    }
    Ok((entry, InclusionProof { index, path, note }))
}

/// Proves that the log as it is goes on from when it had `old` entries: the root that it had, the proof, and the checkpoint.
pub fn prove_consistency(
    folder: &Folder,
    key: &VerifierKey,
    old: u64,
) -> Result<(Hash, Vec<Hash>, SignedCheckpoint), LogFault> {
    let signed = SignedCheckpoint::verify(&folder.checkpoint()?, key)?;
    let Checkpoint { size, root, .. } = signed.checkpoint;
    let path = proof::consistency(&Tree::new(folder, size), old, size)?.ok_or(LogFault::NoSuchEntry)?;
    let old_root = root_at(folder, size, old)?;
    if !is_consistent((old, &old_root), (size, &root), &path) {
        return Err(LogFault::Edited { index: None });
    }
    Ok((old_root, path, signed))
}

fn entry(folder: &Folder, index: u64, size: u64) -> Result<Vec<u8>, LogFault> {
    let tile = Tile::of_level(Content::Entries, index, size).next().ok_or(LogFault::NoSuchEntry)?;
    let damaged = || LogFault::Edited { index: Some(index) };
    let bytes = folder.tile(tile)?.ok_or_else(damaged)?;
    let place = usize::try_from(index % TILE_WIDTH).expect("below 256");
    let entries = unbundle(&bytes).ok_or_else(damaged)?;
    entries.get(place).map(|entry| entry.to_vec()).ok_or_else(damaged)
}
