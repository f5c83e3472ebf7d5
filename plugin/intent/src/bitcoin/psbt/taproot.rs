//! The formats of the taproot fields (BIP-371). Nothing is signed with them; they are checked because a field that
//! is not in its format makes the PSBT invalid, and given back as they are.

use super::super::reader::{MALFORMED, Reader};
use super::fields::is_origin;
use super::map::Field;
use countersign_wire::reason::Reason;
use k256::PublicKey;

/// The depth of a taproot tree (BIP-341: "up to 128").
const DEPTH_MAX: usize = 128;

pub(super) fn check_input_field(field: &Field) -> Result<(), Reason> {
    let (data, value) = (field.data(), field.value.as_slice());
    let holds = match field.kind() {
        // Key and script spend signatures.
        0x13 => data.is_empty() && is_schnorr(value),
        0x14 => data.len() == 64 && is_x_only(&data[..32]) && is_schnorr(value),
        0x15 => {
            is_control_block(data) && value.split_last().is_some_and(|(version, _)| is_leaf_version(*version))
        }
        0x16 => is_x_only(data) && is_leaf_origin(value),
        0x17 => data.is_empty() && is_x_only(value),
        // The merkle root, 0x18.
        _ => data.is_empty() && value.len() == 32,
    };
    if holds { Ok(()) } else { Err(MALFORMED) }
}

pub(super) fn check_output_field(field: &Field) -> Result<(), Reason> {
    let (data, value) = (field.data(), field.value.as_slice());
    let holds = match field.kind() {
        0x05 => data.is_empty() && is_x_only(value),
        0x06 => data.is_empty() && is_tree(value).unwrap_or(false),
        // The derivation, 0x07.
        _ => is_x_only(data) && is_leaf_origin(value),
    };
    if holds { Ok(()) } else { Err(MALFORMED) }
}

/// `lift_x` of BIP-340 succeeds.
fn is_x_only(bytes: &[u8]) -> bool {
    bytes.len() == 32 && PublicKey::from_sec1_bytes(&[&[2][..], bytes].concat()).is_ok()
}

/// 64 bytes, or 65 with a sighash type other than the default (BIP-341, "Common signature message").
fn is_schnorr(bytes: &[u8]) -> bool {
    match bytes.len() {
        64 => true,
        65 => matches!(bytes[64], 1..=3 | 0x81..=0x83),
        _ => false,
    }
}

/// BIP-341: a leaf version is even and is not the annex's tag.
fn is_leaf_version(version: u8) -> bool {
    version.is_multiple_of(2) && version != 0x50
}

/// BIP-341: `33 + 32m` bytes, the first with leaf version and parity, then the internal key, then a path of m
/// hashes.
fn is_control_block(bytes: &[u8]) -> bool {
    let path = bytes.len().saturating_sub(33);
    bytes.len() >= 33
        && path.is_multiple_of(32)
        && path / 32 <= DEPTH_MAX
        && is_leaf_version(bytes[0] & 0xfe)
        && is_x_only(&bytes[1..33])
}

/// `<compact size number of hashes> <32 byte leaf hash>* <fingerprint> <path>`.
fn is_leaf_origin(value: &[u8]) -> bool {
    let mut reader = Reader::new(value);
    let hashes = reader.count(value.len() / 32);
    hashes.and_then(|hashes| reader.take(hashes * 32)).is_ok() && is_origin(reader.rest())
}

/// `{<depth> <leaf version> <script behind its length>}*` in depth-first order: two subtrees of one depth are one
/// of the depth above, and in the end one tree of depth 0 is left.
fn is_tree(value: &[u8]) -> Result<bool, Reason> {
    let mut reader = Reader::new(value);
    let mut open: Vec<u8> = Vec::new();
    while !reader.is_empty() {
        let mut depth = reader.u8()?;
        let version = reader.u8()?;
        reader.string()?;
        let fits = open.last().is_none_or(|above| *above <= depth);
        if usize::from(depth) > DEPTH_MAX || !is_leaf_version(version) || !fits || open.first() == Some(&0) {
            return Ok(false);
        }
        while open.last() == Some(&depth) {
            open.pop();
            depth -= 1;
        }
        open.push(depth);
    }
    Ok(open == [0])
}
