//! What is to be signed: read strictly inside the boundary, its digest computed here, and told in one small model.
//!
//! * Nothing here has I/O, state, a clock or secrets: bytes go in, an [`Intent`] and digests come out, or a refusal.
//! * Each kind of transaction has one form that is read; whatever else would mean the same is refused. So what is signed
//!   is what was read, and re-encoding what was read gives the same bytes.
//! * What cannot be decoded is *opaque* ([`Intent::opaque`]) and counts as blind.
//! * Sizes, counts and depths are bounded; no input panics.
//!
//! | module | holds |
//! | --- | --- |
//! | [`model`] | intents, amounts, assets, addresses |
//! | [`summary`] | the exact text that people are shown |
//! | [`ethereum`] | transactions, calldata, messages, typed data |
//! | [`bitcoin`] | PSBTs, wallets, addresses, descriptors |
//! | [`bip32`] | keys that derive keys |

#![forbid(unsafe_code)]

mod base58;
pub mod bip32;
pub mod bitcoin;
pub mod ethereum;
pub mod model;
pub mod summary;

/// Whether a text is an address in the one form that intents have: of Ethereum with its checksum (EIP-55), of Bitcoin as
/// [`bitcoin::address`] writes it on some network.
pub fn is_address(text: &str) -> bool {
    ethereum::is_address(text) || bitcoin::is_address(text)
}

pub use model::{Address, Amount, Asset, Chain, Detail, Intent, Kind, Move, Network, Warning};
