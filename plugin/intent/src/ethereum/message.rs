//! Messages for `personal_sign` (EIP-191, version 0x45).
//!
//! What is signed is `keccak256("\x19Ethereum Signed Message:\n" ‖ length ‖ message)`, the length in bytes, in decimal,
//! without leading zeros. A message that people can read is shown as it is. All else is shown in hex and is opaque: contract
//! wallets accept a signed 32-byte digest in place of what it stands for, so a digest is a digest in whatever form it comes.

use super::{hex, keccak256};
use crate::model::{Detail, Intent, Kind, Warning};
use countersign_wire::reason::Reason;

pub use countersign_wire::client::MESSAGE_MAX_BYTES;

/// Whatever is as long as this may be a digest.
const DIGEST_BYTES: usize = 32;

const PREFIX: &[u8] = b"\x19Ethereum Signed Message:\n";

/// A message that was read. Holding one proves that the digest is that of the message with its prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    digest: [u8; 32],
    bytes: Vec<u8>,
}

impl Message {
    /// The one constructor: takes the message without any prefix, and refuses one that is too long.
    pub fn read(bytes: &[u8]) -> Result<Self, Reason> {
        if bytes.len() > MESSAGE_MAX_BYTES {
            return Err(Reason::MalformedMessage);
        }
        let length = bytes.len().to_string();
        let digest = keccak256(&[PREFIX, length.as_bytes(), bytes].concat());
        Ok(Self { digest, bytes: bytes.to_vec() })
    }

    /// What is signed.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// What people and policies are told of it.
    pub fn intent(&self) -> Intent {
        let readable = core::str::from_utf8(&self.bytes).ok().filter(|text| is_for_people(text));
        let shown = match readable {
            Some(text) => Detail { label: "message", text: text.to_owned() },
            None => Detail { label: "message in hex", text: hex(&self.bytes) },
        };
        // A digest can be searched for until it passes as text.
        let opaque = self.bytes.len() == DIGEST_BYTES || readable.is_none_or(is_a_digest);
        Intent {
            kind: Kind::Message,
            chain: None,
            moves: Vec::new(),
            fee_most: None,
            nonce: None,
            opaque,
            warnings: if opaque { vec![Warning::Opaque] } else { Vec::new() },
            details: vec![shown],
        }
    }
}

/// Text without control characters other than line ends and tabs.
fn is_for_people(text: &str) -> bool {
    !text.chars().any(|character| character.is_control() && !matches!(character, '\n' | '\r' | '\t'))
}

/// A digest written in hex is as blind as its bytes.
fn is_a_digest(text: &str) -> bool {
    let digits = text.trim().trim_start_matches("0x").trim_start_matches("0X");
    digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests;
