//! Whether a folder holds exactly the log that a checkpoint was signed over, and goes on from what was seen before.

use super::folder::{Folder, Tree, read, write};
use super::{LogFault, SignedCheckpoint};
use countersign_tlog::proof;
use countersign_tlog::tile::{Content, TILE_HEIGHT, TILE_WIDTH, Tile, subtree_root, unbundle};
use countersign_tlog::tree::{Frontier, Hash, leaf_hash};
use countersign_tlog::{Checkpoint, VerifierKey};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What is trusted beforehand.
#[derive(Clone, Debug)]
pub struct Trusted {
    /// The log's key, from somewhere else than the log.
    pub key: VerifierKey,
    /// Witnesses that must have signed the checkpoint.
    pub witnesses: Vec<VerifierKey>,
    /// Where the last checkpoint that was verified is kept; it is read before, and written after.
    pub seen: Option<PathBuf>,
}

/// A folder that was verified whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Its checkpoint.
    pub checkpoint: Checkpoint,
    /// The witnesses that signed it, and when.
    pub witnesses: Vec<(String, u64)>,
    /// How many entries had been seen before.
    pub seen_before: Option<u64>,
}

/// Verifies all of a folder. The first thing that is wrong is told by name.
pub fn verify(folder: &Folder, trusted: &Trusted) -> Result<Verified, LogFault> {
    let signed = SignedCheckpoint::verify(&folder.checkpoint()?, &trusted.key)?;
    let mut witnesses = Vec::new();
    for witness in &trusted.witnesses {
        let verified = signed.note.verify(witness).and_then(|verified| verified.unix_secs);
        let at = verified.ok_or_else(|| LogFault::WitnessMissing(witness.name().to_owned()))?;
        witnesses.push((witness.name().to_owned(), at));
    }
    let seen = seen_before(trusted)?;
    let Checkpoint { size, root, .. } = signed.checkpoint;
    match &seen {
        Some(seen) if seen.size > size => return Err(LogFault::RolledBack { seen: seen.size, now: size }),
        Some(seen) if seen.size == size && seen.root != root => {
            return Err(LogFault::Forked { seen: seen.size });
        }
        _ => {}
    }
    let leaves = entries_as_signed(folder, size, &root)?;
    tiles_as_entries(folder, &leaves)?;
    if let Some(seen) = seen.as_ref().filter(|seen| root_of(&leaves, seen.size) != Some(seen.root)) {
        return Err(LogFault::Forked { seen: seen.size });
    }
    if let Some(path) = &trusted.seen {
        write(path, signed.note.to_text().as_bytes())?;
    }
    Ok(Verified { checkpoint: signed.checkpoint, witnesses, seen_before: seen.map(|seen| seen.size) })
}

/// The checkpoint that was verified last, if there is one. It is signed by the same key, or it is not believed.
fn seen_before(trusted: &Trusted) -> Result<Option<Checkpoint>, LogFault> {
    let Some(path) = &trusted.seen else { return Ok(None) };
    let Some(bytes) = read(path)? else { return Ok(None) };
    let malformed = || LogFault::MalformedState(path.clone());
    let note = String::from_utf8(bytes).map_err(|_| malformed())?;
    let signed = SignedCheckpoint::verify(&note, &trusted.key).map_err(|_| malformed())?;
    Ok(Some(signed.checkpoint))
}

fn root_of(leaves: &[Hash], size: u64) -> Option<Hash> {
    let mut frontier = Frontier::default();
    for leaf in leaves.get(..usize::try_from(size).ok()?)? {
        frontier.append(*leaf);
    }
    Some(frontier.root())
}

/// The hashes of the entries, if they are those of this tree.
fn entries_as_signed(folder: &Folder, size: u64, root: &Hash) -> Result<Vec<Hash>, LogFault> {
    let found = entries(folder, size)?;
    if !found.damaged && found.leaves.len() as u64 == size && root_of(&found.leaves, size) == Some(*root) {
        return Ok(found.leaves);
    }
    // The tiles may still say what the entries were.
    let mut signed = Vec::new();
    for tile in Tile::of_level(Content::Hashes(0), 0, size) {
        signed.append(&mut folder.hashes(tile)?.unwrap_or_default());
    }
    let is_signed = signed.len() as u64 == size && root_of(&signed, size) == Some(*root);
    Err(if is_signed { difference(&found, &signed) } else { guess(&found, size) })
}

/// The entries of a folder, as far as they can be read.
struct Found {
    leaves: Vec<Hash>,
    /// A bundle is not one.
    damaged: bool,
}

fn entries(folder: &Folder, size: u64) -> Result<Found, LogFault> {
    let (mut leaves, mut damaged) = (Vec::new(), false);
    for tile in Tile::of_level(Content::Entries, 0, size) {
        let Some(bytes) = folder.tile(tile)? else { continue };
        let is_partial = folder.read(&tile.path())?.is_none();
        match unbundle(&bytes) {
            // Where the partial bundle gave way to the full one, the tree has its beginning.
            Some(entries) if is_partial => {
                leaves.extend(entries.into_iter().take(tile.width.into()).map(leaf_hash));
            }
            Some(entries) => leaves.extend(entries.into_iter().map(leaf_hash)),
            None => damaged = true,
        }
    }
    Ok(Found { leaves, damaged })
}

/// In what the entries that were found differ from those that were signed.
fn difference(found: &Found, signed: &[Hash]) -> LogFault {
    let leaves = &found.leaves;
    let same = leaves.iter().zip(signed).take_while(|(found, signed)| found == signed).count();
    let index = same as u64;
    if found.damaged {
        return LogFault::Edited { index: Some(index) };
    }
    if same == leaves.len() {
        return LogFault::Truncated { left: index };
    }
    let mut left = BTreeMap::<&Hash, u64>::new();
    for hash in signed {
        *left.entry(hash).or_default() += 1;
    }
    let unknown = leaves.iter().position(|hash| match left.get_mut(hash) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        _ => true,
    });
    match (unknown, leaves.len().cmp(&signed.len())) {
        (Some(unknown), core::cmp::Ordering::Greater) => LogFault::Inserted { index: unknown as u64 },
        (Some(unknown), _) => LogFault::Edited { index: Some(unknown as u64) },
        (None, core::cmp::Ordering::Less) if is_subsequence(leaves, signed) => LogFault::Deleted { index },
        (None, _) => LogFault::Reordered { index },
    }
}

fn is_subsequence(part: &[Hash], whole: &[Hash]) -> bool {
    let mut whole = whole.iter();
    part.iter().all(|hash| whole.any(|other| other == hash))
}

/// Where the tiles were changed as well, no more can be said than how many entries there are.
fn guess(found: &Found, size: u64) -> LogFault {
    let left = found.leaves.len() as u64;
    if left < size && !found.damaged {
        LogFault::Truncated { left }
    } else {
        LogFault::Edited { index: None }
    }
}

/// Every tile is what the entries make it.
fn tiles_as_entries(folder: &Folder, leaves: &[Hash]) -> Result<(), LogFault> {
    let mut hashes = leaves.to_vec();
    for level in 0..8 {
        for tile in Tile::of_level(Content::Hashes(level), 0, hashes.len() as u64) {
            let begin = usize::try_from(tile.index * TILE_WIDTH).expect("it is held in memory");
            let expected = &hashes[begin..begin + usize::from(tile.width)];
            if folder.hashes(tile)?.is_none_or(|found| found != expected) {
                return Err(LogFault::TileDamaged(tile.path()));
            }
        }
        hashes = hashes.chunks_exact(1 << TILE_HEIGHT).filter_map(subtree_root).collect();
    }
    Ok(())
}

/// The root of a tree of the folder at an earlier size, out of its tiles.
pub(super) fn root_at(folder: &Folder, size: u64, at: u64) -> Result<Hash, LogFault> {
    proof::root(&Tree::new(folder, size), at)
}
