//! Ethereum: what a key of an Ethereum account can sign, each read strictly from the one form that is accepted.
//!
//! The three never collide: a transaction's payload begins with a type byte from 1 to 4 or with a list from 0xc0 on, a
//! message's and typed data's with 0x19 (EIP-191). What an EIP-7702 authorization signs begins with 0x05; nothing here reads it.
//!
//! | module | holds |
//! | --- | --- |
//! | [`transaction`] | the types 0 to 4, as the bytes whose Keccak-256 is signed |
//! | `calldata` | the calls of token contracts that are understood |
//! | [`message`] | `personal_sign` (EIP-191) |
//! | [`typed_data`] | typed data (EIP-712) from its JSON |
//! | `rlp`, `abi`, `json` | the encodings, in their canonical forms alone |

use crate::model::{Address, Amount, Warning};
use serde_bytes::ByteArray;
use sha3::{Digest, Keccak256};

mod abi;
mod calldata;
mod deadline;
mod json;
pub mod message;
#[cfg(any(test, feature = "properties"))]
pub mod properties;
mod rlp;
pub mod transaction;
pub mod typed_data;

pub use message::Message;
pub use transaction::{Signed, Transaction};
pub use typed_data::TypedData;

/// From here on an allowance has no practical limit, in base units: 2^96 - 1, which the contracts of UNI and COMP
/// store as "without limit". Of a token with 18 decimals it is 79 billion.
const UNLIMITED: Amount = Amount::from_limbs([u64::MAX, u32::MAX as u64, 0, 0]);

/// Keccak-256.
pub fn keccak256(bytes: &[u8]) -> [u8; 32] {
    Keccak256::digest(bytes).into()
}

/// The address of a public key (SEC 1 uncompressed, 65 bytes) with the checksum of EIP-55.
pub fn address_of(public_key: &ByteArray<65>) -> Address {
    let hash = keccak256(&public_key[1..]);
    address(hash.last_chunk().expect("32 bytes hold 20"))
}

/// An address with the checksum of EIP-55.
pub fn address(bytes: &[u8; 20]) -> Address {
    let lower = data_encoding::HEXLOWER.encode(bytes);
    let check = keccak256(lower.as_bytes());
    let mut text = String::with_capacity(42);
    text.push_str("0x");
    for (at, character) in lower.chars().enumerate() {
        let nibble = check.get(at / 2).map_or(0, |byte| if at % 2 == 0 { byte >> 4 } else { byte & 0x0f });
        text.push(if nibble >= 8 { character.to_ascii_uppercase() } else { character });
    }
    Address::canonical(text)
}

/// Whether a text is an address with the checksum of EIP-55.
pub fn is_address(text: &str) -> bool {
    let hex = text.strip_prefix("0x").unwrap_or_default().to_ascii_lowercase();
    let bytes = data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap_or_default();
    bytes.first_chunk::<20>().is_some_and(|bytes| address(bytes).as_str() == text)
}

/// `0x` and lower-case hex.
fn hex(bytes: &[u8]) -> String {
    format!("0x{}", data_encoding::HEXLOWER.encode(bytes))
}

/// Bytes too long to show: how many they are, and their hash.
fn fingerprint(bytes: &[u8]) -> String {
    format!("{} bytes, keccak-256 {}", bytes.len(), hex(&keccak256(bytes)))
}

/// Warnings in the order and without the repeats that an intent promises.
fn ascending(mut warnings: Vec<Warning>) -> Vec<Warning> {
    warnings.sort_unstable();
    warnings.dedup();
    warnings
}

#[cfg(test)]
mod tests;
