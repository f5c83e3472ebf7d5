//! Bitcoin: partially signed transactions (BIP-174 version 0, BIP-370 version 2), read strictly, and what signing
//! one does.
//!
//! The way of a PSBT: [`Psbt::read`], then [`Psbt::review`] by the one who would sign it, then, when the review was
//! approved, a signature for each digest of [`Review::to_sign`] and [`Psbt::with_signatures`].
//!
//! * **Canonical.** Keys are unique within a map, lengths exact, compact sizes shortest, known fields in their
//!   format and in a version that has them. The order of fields is kept as read: wallets differ in it and it means
//!   nothing. Unknown fields are given back byte for byte; none of them can change what a signature signs. So a
//!   PSBT that is read is given back as the same bytes.
//! * **Amounts are proven.** By the whole previous transaction, whose hash is the txid that is signed. A BIP-143
//!   signature commits to the amount of its own input alone, so two rounds over the same transaction, each with
//!   another false amount, would give signatures that together pay a fee that nobody saw (CVE-2020-14199).
//!   Therefore *at most one* input may rest on its witness UTXO alone, and only where no signature but ours, made
//!   in this round, can make it valid: a single-key input of ours, or the only input of all. If that amount is
//!   false, our signature is void.
//! * **Bounded.** 128 KiB, 256 inputs, 256 outputs, 4,096 fields; nothing is nested, and nothing is allocated for a
//!   count before its items are there.
//! * **`SIGHASH_ALL` alone.** All inputs and outputs are signed; a PSBT that asks for anything else on an input of
//!   ours is refused.
//! * **Ours** is what the plugin itself derives; see [`Signer`]. Everything that is not ours is a move to somebody.
//! * **Partial signatures** are what is given back; finalising is the wallet's work.
//!
//! | module | holds |
//! | --- | --- |
//! | `psbt` | maps of fields, the formats of the fields, lock times |
//! | `transaction`, `script`, `address` | what is inside |
//! | `signer`, `descriptor` | whose an input or output is, and how wallets are told |
//! | `proof`, `fee`, `sighash`, `review` | what is spent, what it costs, what is signed |

mod address;
mod descriptor;
mod fee;
mod proof;
#[cfg(any(test, feature = "properties"))]
pub mod properties;
mod psbt;
mod reader;
mod review;
mod script;
mod sighash;
mod signature;
mod signer;
#[cfg(test)]
mod tests;
mod transaction;

pub use address::{address, is_address};
pub use descriptor::{NotASigner, read_signer, with_checksum};
pub use fee::{FEE_MOST_SAT, RATE_MODEST_SAT, RATE_MOST_SAT};
pub use psbt::{Psbt, Version};
pub use review::{Review, ToSign};
use ripemd::Ripemd160;
use sha2::{Digest, Sha256};
pub use signer::{Account, NotAnAccount, OWN_OUTPUT_INDEX_END, Purpose, Signer, SingleKey};
pub use transaction::{Input, Outpoint, Output, Previous, Transaction};

/// The largest PSBT that is read, in bytes. What is given back is at most 109 bytes longer for each input,
/// less than 156 KiB in all.
pub const PSBT_MAX_BYTES: usize = 128 * 1024;

/// The most inputs of a transaction.
pub const INPUTS_MAX: usize = 256;

/// The most outputs of a transaction.
pub const OUTPUTS_MAX: usize = 256;

/// The most fields of a PSBT, over all its maps.
pub const FIELDS_MAX: usize = 4096;

/// The most satoshi there can be (`MAX_MONEY`): 21 million coins.
pub const MONEY_MAX_SAT: u64 = 21_000_000 * 100_000_000;

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// SHA-256 of SHA-256: transaction ids, signature digests, checksums.
pub(crate) fn sha256d(bytes: &[u8]) -> [u8; 32] {
    sha256(&sha256(bytes))
}

/// RIPEMD-160 of SHA-256: what addresses hold of a key or a script.
pub(crate) fn hash160(bytes: &[u8]) -> [u8; 20] {
    Ripemd160::digest(sha256(bytes)).into()
}
