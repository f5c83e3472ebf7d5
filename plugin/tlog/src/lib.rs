//! The Merkle log: its trees, and the texts in which it is told. Both sides use it: inside, trees grow and checkpoints are
//! signed; outside, whoever holds an export checks it. It has no I/O, no clock and no state of its own.
//!
//! * [`tree`]: RFC 6962 section 2.1: the hashes of leaves and nodes, and a tree as its right edge alone;
//! * [`proof`]: RFC 6962 sections 2.1.1 and 2.1.2: inclusion and consistency, made and checked; the text of a proof
//!   ([c2sp.org/tlog-proof](https://c2sp.org/tlog-proof));
//! * [`note`]: texts signed by keys that have names ([c2sp.org/signed-note](https://c2sp.org/signed-note)), and what witnesses
//!   sign ([c2sp.org/tlog-cosignature](https://c2sp.org/tlog-cosignature));
//! * [`checkpoint`]: what a signed note says of a tree ([c2sp.org/tlog-checkpoint](https://c2sp.org/tlog-checkpoint));
//! * [`tile`]: how a tree and its entries lie in files ([c2sp.org/tlog-tiles](https://c2sp.org/tlog-tiles)).
//!
//! Everything that is read has one form: it is written again and compared.

#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod note;
pub mod proof;
#[cfg(any(test, feature = "properties"))]
pub mod properties;
pub mod tile;
pub mod tree;

pub use checkpoint::Checkpoint;
pub use note::{Note, SigningKey, VerifierKey};
pub use tree::{Frontier, Hash};

#[cfg(test)]
mod tests;
