//! Proofs: that a leaf is in a tree (RFC 6962 section 2.1.1), and that a tree is the beginning of a larger one (section
//! 2.1.2). They are made from the hashes of full subtrees and checked as RFC 9162 sections 2.1.3.2 and 2.1.4.2 say.

use crate::checkpoint::{Checkpoint, hash_of};
use crate::note::{NOTE_MAX_BYTES, Note};
use crate::tree::{Frontier, Hash, empty_hash, node_hash};
use core::fmt::Write;
use data_encoding::BASE64;

/// The longest proof, in hashes: a tree has at most 2^63 leaves.
pub const PROOF_MAX: usize = 64;

/// Where the hashes of a tree are to be had.
pub trait Hashes {
    /// Why one is not.
    type Error;

    /// The root of the full subtree of `2^level` leaves whose first is number `index · 2^level`. Only what lies within the tree
    /// is asked for.
    fn subtree(&self, level: u32, index: u64) -> Result<Hash, Self::Error>;
}

/// The root over the leaves from `begin` to `end`, as RFC 6962 splits them. `begin` is a multiple of the largest power of two that is
/// at most `end - begin`.
fn range_root<H: Hashes>(hashes: &H, begin: u64, end: u64) -> Result<Hash, H::Error> {
    let (mut peaks, mut at) = (Vec::new(), begin);
    while at < end {
        let level = (end - at).ilog2();
        peaks.push(hashes.subtree(level, at >> level)?);
        at += 1 << level;
    }
    let frontier = Frontier::from_parts(end - begin, peaks).expect("one for each bit of the length");
    Ok(frontier.root())
}

/// The root of the tree of this size.
pub fn root<H: Hashes>(hashes: &H, size: u64) -> Result<Hash, H::Error> {
    range_root(hashes, 0, size)
}

/// The largest power of two below `n`, which is above 1.
fn split(n: u64) -> u64 {
    1 << (n - 1).ilog2()
}

/// Proves that leaf `index` is in the tree of this size: the hashes from the leaf's sibling up. `None`: it has no such leaf.
pub fn inclusion<H: Hashes>(hashes: &H, index: u64, size: u64) -> Result<Option<Vec<Hash>>, H::Error> {
    if index >= size {
        return Ok(None);
    }
    let (mut begin, mut end, mut path) = (0, size, Vec::new());
    while end - begin > 1 {
        let middle = begin + split(end - begin);
        if index < middle {
            path.push(range_root(hashes, middle, end)?);
            end = middle;
        } else {
            path.push(range_root(hashes, begin, middle)?);
            begin = middle;
        }
    }
    path.reverse();
    Ok(Some(path))
}

/// Proves that the tree of size `old` is the beginning of the one of size `new`. `None`: it is larger, or empty.
pub fn consistency<H: Hashes>(hashes: &H, old: u64, new: u64) -> Result<Option<Vec<Hash>>, H::Error> {
    if old == 0 || old > new {
        return Ok(None);
    }
    // SUBPROOF(m, D[n], b) of section 2.1.2, from the top down.
    let (mut begin, mut end, mut is_whole, mut path) = (0, new, true, Vec::new());
    while old < end {
        let middle = begin + split(end - begin);
        if old <= middle {
            path.push(range_root(hashes, middle, end)?);
            end = middle;
        } else {
            path.push(range_root(hashes, begin, middle)?);
            (begin, is_whole) = (middle, false);
        }
    }
    if !is_whole {
        path.push(range_root(hashes, begin, end)?);
    }
    path.reverse();
    Ok(Some(path))
}

/// Whether the proof shows that a leaf with this hash is number `index` in the tree (RFC 9162 section 2.1.3.2).
pub fn is_included(leaf: &Hash, index: u64, size: u64, path: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    last == 0 && hash == *root
}

/// Whether the proof shows that the old tree is the beginning of the new one (RFC 9162 section 2.1.4.2). The empty tree is the
/// beginning of every one, without a proof.
pub fn is_consistent(old: (u64, &Hash), new: (u64, &Hash), path: &[Hash]) -> bool {
    let ((old_size, old_root), (new_size, new_root)) = (old, new);
    if old_size == 0 {
        return path.is_empty() && *old_root == empty_hash();
    }
    if old_size == new_size {
        return path.is_empty() && old_root == new_root;
    }
    if old_size > new_size {
        return false;
    }
    let (first, rest) = if old_size.is_power_of_two() {
        (*old_root, path)
    } else {
        let Some((first, rest)) = path.split_first() else { return false };
        (*first, rest)
    };
    let (mut node, mut last) = (old_size - 1, new_size - 1);
    while node & 1 == 1 {
        (node, last) = (node >> 1, last >> 1);
    }
    let (mut old_hash, mut new_hash) = (first, first);
    for sibling in rest {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            while node & 1 == 0 && node != 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    last == 0 && old_hash == *old_root && new_hash == *new_root
}

/// A proof of inclusion with the checkpoint that it is for ([c2sp.org/tlog-proof](https://c2sp.org/tlog-proof)), without extra data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InclusionProof {
    /// Which leaf.
    pub index: u64,
    /// The hashes from its sibling up.
    pub path: Vec<Hash>,
    /// The checkpoint, signed.
    pub note: Note,
}

const PROOF_HEADER: &str = "c2sp.org/tlog-proof@v1";

impl InclusionProof {
    /// As text.
    pub fn to_text(&self) -> String {
        let mut text = format!("{PROOF_HEADER}\nindex {}\n", self.index);
        write_hashes(&mut text, &self.path);
        text.push('\n');
        text.push_str(&self.note.to_text());
        text
    }

    /// Reads exactly what [`Self::to_text`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > NOTE_MAX_BYTES + PROOF_MAX * 45 + 64 {
            return None;
        }
        let rest = text.strip_prefix(PROOF_HEADER)?.strip_prefix("\nindex ")?;
        let (head, note) = rest.split_once("\n\n")?;
        let mut lines = head.split('\n');
        let index = lines.next()?.parse().ok()?;
        let path = lines.take(PROOF_MAX + 1).map(hash_of).collect::<Option<Vec<_>>>()?;
        let note = Note::parse(note)?;
        Checkpoint::parse(note.text())?;
        let proof = Self { index, path, note };
        (proof.path.len() <= PROOF_MAX && proof.to_text() == text).then_some(proof)
    }
}

/// Each hash as base64 on a line of its own.
pub fn write_hashes(out: &mut String, hashes: &[Hash]) {
    for hash in hashes {
        writeln!(out, "{}", BASE64.encode(hash)).expect("a string takes everything");
    }
}
