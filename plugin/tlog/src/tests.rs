//! What the log is made of, against the vectors of others and against libraries that share no code with it.

mod notes;
mod proofs;
mod trees;

use crate::proof::Hashes;
use crate::tree::{Hash, leaf_hash};

/// A tree with every leaf at hand.
pub(crate) struct Whole(pub(crate) Vec<Hash>);

impl Whole {
    /// Of so many different leaves.
    pub(crate) fn of(size: u64) -> Self {
        Self((0..size).map(|number| leaf_hash(&entry(number))).collect())
    }

    /// RFC 6962 section 2.1, word by word.
    pub(crate) fn root(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => crate::tree::empty_hash(),
            [one] => *one,
            many => {
                let (left, right) = many.split_at(many.len().next_power_of_two() / 2);
                crate::tree::node_hash(&Self::root(left), &Self::root(right))
            }
        }
    }
}

pub(crate) fn entry(number: u64) -> Vec<u8> {
    format!("entry {number}").into_bytes()
}

impl Hashes for Whole {
    type Error = core::convert::Infallible;

    fn subtree(&self, level: u32, index: u64) -> Result<Hash, Self::Error> {
        let begin = usize::try_from(index << level).unwrap();
        Ok(Self::root(&self.0[begin..begin + (1 << level)]))
    }
}
