//! Trees as RFC 6962 section 2.1 has them: `MTH({d}) = SHA-256(0x00 ‖ d)`, `MTH(D[n]) = SHA-256(0x01 ‖ MTH(D[0:k]) ‖
//! MTH(D[k:n]))` with `k` the largest power of two below `n`, and the hash of nothing is that of the empty string.

use sha2::{Digest, Sha256};

/// A hash of the tree.
pub type Hash = [u8; 32];

/// The hash of a leaf with this content.
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    let mut hash = Sha256::new();
    hash.update([0]);
    hash.update(leaf);
    hash.finalize().into()
}

/// The hash of the node above these two.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut hash = Sha256::new();
    hash.update([1]);
    hash.update(left);
    hash.update(right);
    hash.finalize().into()
}

/// The hash of the empty tree.
pub fn empty_hash() -> Hash {
    Sha256::digest([]).into()
}

/// A tree as its right edge alone: the roots of the full subtrees that it consists of, largest first (a "compact range" that
/// begins at 0). It is all that is needed to append and to know the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

impl Frontier {
    /// A tree of so many leaves with these full subtrees, largest first: one for each bit of the size that is set.
    pub fn from_parts(size: u64, peaks: Vec<Hash>) -> Option<Self> {
        (peaks.len() == size.count_ones() as usize).then_some(Self { size, peaks })
    }

    /// How many leaves it has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of its full subtrees, largest first.
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Puts a leaf with this hash at the end. In the mean this takes one hash.
    pub fn append(&mut self, leaf: Hash) {
        let mut top = leaf;
        for _ in 0..self.size.trailing_ones() {
            let Some(left) = self.peaks.pop() else { break };
            top = node_hash(&left, &top);
        }
        self.peaks.push(top);
        self.size += 1;
    }

    /// The root.
    pub fn root(&self) -> Hash {
        let fold = |right: Hash, left: &Hash| node_hash(left, &right);
        match self.peaks.split_last() {
            Some((last, rest)) => rest.iter().rev().fold(*last, fold),
            None => empty_hash(),
        }
    }
}
