//! The formats of the fields that BIP-174, BIP-370 and BIP-371 define, and which version has them. "If any key or
//! value does not match the specified format for that type, the PSBT must be considered invalid." Types that are
//! not listed here are unknown and kept as they are.

use super::super::reader::{MALFORMED, Reader};
use super::super::signature::is_signature_with_sighash;
use super::super::transaction::{Output, Previous, skip_stack};
use super::super::{hash160, sha256, sha256d};
use super::Version;
use super::map::{Field, Map};
use super::taproot;
use crate::bip32::ExtendedPublicKey;
use countersign_wire::reason::Reason;
use k256::PublicKey;
use ripemd::{Digest, Ripemd160};

/// Types of global fields.
pub(crate) mod global {
    pub(crate) const UNSIGNED_TX: u64 = 0x00;
    pub(crate) const XPUB: u64 = 0x01;
    pub(crate) const TX_VERSION: u64 = 0x02;
    pub(crate) const FALLBACK_LOCKTIME: u64 = 0x03;
    pub(crate) const INPUT_COUNT: u64 = 0x04;
    pub(crate) const OUTPUT_COUNT: u64 = 0x05;
    pub(crate) const TX_MODIFIABLE: u64 = 0x06;
    pub(crate) const VERSION: u64 = 0xfb;
}

/// Types of an input's fields.
pub(crate) mod input {
    pub(crate) const NON_WITNESS_UTXO: u64 = 0x00;
    pub(crate) const WITNESS_UTXO: u64 = 0x01;
    pub(crate) const PARTIAL_SIG: u8 = 0x02;
    pub(crate) const SIGHASH_TYPE: u64 = 0x03;
    pub(crate) const REDEEM_SCRIPT: u64 = 0x04;
    pub(crate) const WITNESS_SCRIPT: u64 = 0x05;
    pub(crate) const BIP32_DERIVATION: u64 = 0x06;
    pub(crate) const FINAL_SCRIPTSIG: u64 = 0x07;
    pub(crate) const FINAL_SCRIPTWITNESS: u64 = 0x08;
    pub(crate) const POR_COMMITMENT: u64 = 0x09;
    pub(crate) const PREVIOUS_TXID: u64 = 0x0e;
    pub(crate) const OUTPUT_INDEX: u64 = 0x0f;
    pub(crate) const SEQUENCE: u64 = 0x10;
    pub(crate) const REQUIRED_TIME_LOCKTIME: u64 = 0x11;
    pub(crate) const REQUIRED_HEIGHT_LOCKTIME: u64 = 0x12;
    pub(crate) const TAP_BIP32_DERIVATION: u64 = 0x16;
    pub(crate) const TAP_INTERNAL_KEY: u64 = 0x17;
}

/// Types of an output's fields.
pub(crate) mod output {
    pub(crate) const REDEEM_SCRIPT: u64 = 0x00;
    pub(crate) const WITNESS_SCRIPT: u64 = 0x01;
    pub(crate) const BIP32_DERIVATION: u64 = 0x02;
    pub(crate) const AMOUNT: u64 = 0x03;
    pub(crate) const SCRIPT: u64 = 0x04;
}

/// The type that is for private use in every map.
const PROPRIETARY: u64 = 0xfc;

/// Required lock times below are heights, from here on times (as for nLockTime).
const LOCK_TIME_THRESHOLD: u32 = 500_000_000;

fn check(holds: bool) -> Result<(), Reason> {
    if holds { Ok(()) } else { Err(MALFORMED) }
}

/// A key without data, and a value that passes.
fn plain(field: &Field, value: impl FnOnce(&[u8]) -> bool) -> Result<(), Reason> {
    check(field.data().is_empty() && value(&field.value))
}

fn plain_in_v2(field: &Field, version: Version, value: impl FnOnce(&[u8]) -> bool) -> Result<(), Reason> {
    check(version == Version::V2).and_then(|()| plain(field, value))
}

pub(super) fn check_global(map: &Map, version: Version) -> Result<(), Reason> {
    for field in map.fields() {
        match field.kind() {
            // Its value is read in full later.
            global::UNSIGNED_TX => check(version == Version::V0).and_then(|()| plain(field, |_| true))?,
            global::XPUB => extended_key(field)?,
            global::TX_VERSION | global::FALLBACK_LOCKTIME => {
                plain_in_v2(field, version, |value| value.len() == 4)?;
            }
            global::INPUT_COUNT | global::OUTPUT_COUNT => plain_in_v2(field, version, |_| true)?,
            global::TX_MODIFIABLE => plain_in_v2(field, version, |value| value.len() == 1)?,
            global::VERSION => plain(field, |value| value.len() == 4)?,
            PROPRIETARY => proprietary(field)?,
            _ => (),
        }
    }
    Ok(())
}

pub(super) fn check_input(map: &Map, version: Version) -> Result<(), Reason> {
    map.fields().iter().try_for_each(|field| match field.kind() {
        input::NON_WITNESS_UTXO => plain(field, |value| Previous::read(value).is_ok()),
        input::WITNESS_UTXO => plain(field, |value| witness_utxo(value).is_ok()),
        0x02 => check(is_public_key(field.data()) && is_signature_with_sighash(&field.value)),
        input::SIGHASH_TYPE => plain(field, |value| value.len() == 4),
        input::REDEEM_SCRIPT | input::WITNESS_SCRIPT | input::FINAL_SCRIPTSIG => plain(field, |_| true),
        input::BIP32_DERIVATION => derivation(field),
        input::FINAL_SCRIPTWITNESS => plain(field, is_stack),
        input::POR_COMMITMENT => plain(field, |value| core::str::from_utf8(value).is_ok()),
        0x0a => check(field.data() == Ripemd160::digest(&field.value).as_slice()),
        0x0b => check(field.data() == sha256(&field.value)),
        0x0c => check(field.data() == hash160(&field.value)),
        0x0d => check(field.data() == sha256d(&field.value)),
        input::PREVIOUS_TXID => plain_in_v2(field, version, |value| value.len() == 32),
        input::OUTPUT_INDEX | input::SEQUENCE => plain_in_v2(field, version, |value| value.len() == 4),
        input::REQUIRED_TIME_LOCKTIME => {
            plain_in_v2(field, version, |value| u32_of(value).is_some_and(|time| time >= LOCK_TIME_THRESHOLD))
        }
        // BIP-370: "greater than 0 and less than 500000000".
        input::REQUIRED_HEIGHT_LOCKTIME => plain_in_v2(field, version, |value| {
            u32_of(value).is_some_and(|height| (1..LOCK_TIME_THRESHOLD).contains(&height))
        }),
        0x13..=0x18 => taproot::check_input_field(field),
        PROPRIETARY => proprietary(field),
        _ => Ok(()),
    })
}

pub(super) fn check_output(map: &Map, version: Version) -> Result<(), Reason> {
    map.fields().iter().try_for_each(|field| match field.kind() {
        output::REDEEM_SCRIPT | output::WITNESS_SCRIPT => plain(field, |_| true),
        output::BIP32_DERIVATION => derivation(field),
        output::AMOUNT => plain_in_v2(field, version, |value| value.len() == 8),
        output::SCRIPT => plain_in_v2(field, version, |_| true),
        0x05..=0x07 => taproot::check_output_field(field),
        PROPRIETARY => proprietary(field),
        _ => Ok(()),
    })
}

fn u32_of(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_le_bytes)
}

/// The value of a witness UTXO: one output and nothing else.
pub(crate) fn witness_utxo(value: &[u8]) -> Result<Output, Reason> {
    let mut reader = Reader::new(value);
    let output = Output::read(&mut reader)?;
    reader.end().map(|()| output)
}

/// A point of the curve, compressed (33 bytes) or not (65).
fn is_public_key(bytes: &[u8]) -> bool {
    let form = matches!((bytes.len(), bytes.first()), (33, Some(2 | 3)) | (65, Some(4)));
    form && PublicKey::from_sec1_bytes(bytes).is_ok()
}

fn is_stack(value: &[u8]) -> bool {
    let mut reader = Reader::new(value);
    skip_stack(&mut reader).is_ok() && reader.is_empty()
}

/// A fingerprint and the steps of a path, little endian.
pub(crate) fn is_origin(value: &[u8]) -> bool {
    value.len() >= 4 && value.len().is_multiple_of(4)
}

fn derivation(field: &Field) -> Result<(), Reason> {
    check(is_public_key(field.data()) && is_origin(&field.value))
}

/// "The number of 32 bit unsigned integer indexes must match the depth provided in the extended public key."
fn extended_key(field: &Field) -> Result<(), Reason> {
    let bytes = field.data().try_into().map_err(|_| MALFORMED)?;
    let (key, _) = ExtendedPublicKey::of_bytes(bytes).map_err(|_| MALFORMED)?;
    check(is_origin(&field.value) && field.value.len() / 4 == 1 + usize::from(key.depth()))
}

/// `<compact size identifier length> <identifier> <compact size subtype> <data>`.
fn proprietary(field: &Field) -> Result<(), Reason> {
    let mut reader = Reader::new(field.data());
    reader.string()?;
    reader.compact_size().map(|_| ())
}
