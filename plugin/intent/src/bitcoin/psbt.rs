//! The container of a PSBT: maps of fields, kept in the order in which they were read.

mod fields;
mod lock_time;
mod map;
mod taproot;

use super::reader::{MALFORMED, Reader};
use super::transaction::{Input, Outpoint, Output, SEQUENCE_FINAL, Transaction};
use super::{FIELDS_MAX, INPUTS_MAX, MONEY_MAX_SAT, OUTPUTS_MAX, PSBT_MAX_BYTES};
use countersign_wire::reason::Reason;
pub(crate) use fields::{global, input, output, witness_utxo};
#[cfg(test)]
pub(crate) use map::Field;
pub(crate) use map::Map;

/// "psbt" and a separator.
const MAGIC: &[u8] = b"psbt\xff";

/// The version of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// BIP-174: one unsigned transaction.
    V0,
    /// BIP-370: the transaction spread over the maps.
    V2,
}

/// A PSBT. Holding one proves that it was read strictly: its fields are unique and in their format, its transaction
/// is complete, and it encodes to the bytes that were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Psbt {
    version: Version,
    pub(super) global: Map,
    pub(super) inputs: Vec<Map>,
    pub(super) outputs: Vec<Map>,
    transaction: Transaction,
}

impl Psbt {
    /// The one constructor: reads the binary form (not base64), or refuses it.
    pub fn read(bytes: &[u8]) -> Result<Self, Reason> {
        if bytes.len() > PSBT_MAX_BYTES {
            return Err(MALFORMED);
        }
        let mut reader = Reader::new(bytes);
        if reader.take(MAGIC.len())? != MAGIC {
            return Err(MALFORMED);
        }
        let mut left = FIELDS_MAX;
        let global = Map::read(&mut reader, &mut left)?;
        let version = version_of(&global)?;
        fields::check_global(&global, version)?;
        let (input_count, output_count) = counts(&global, version)?;
        let mut maps = |count: usize| -> Result<Vec<Map>, Reason> {
            (0..count).map(|_| Map::read(&mut reader, &mut left)).collect()
        };
        let inputs = maps(input_count)?;
        let outputs = maps(output_count)?;
        reader.end()?;
        inputs.iter().try_for_each(|map| fields::check_input(map, version))?;
        outputs.iter().try_for_each(|map| fields::check_output(map, version))?;
        let transaction = match version {
            Version::V0 => unsigned_transaction(&global)?,
            Version::V2 => assembled(&global, &inputs, &outputs)?,
        };
        Ok(Self { version, global, inputs, outputs, transaction })
    }

    /// The binary form: the same bytes that were read, and the signatures that were added.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        self.global.write(&mut out);
        self.inputs.iter().chain(&self.outputs).for_each(|map| map.write(&mut out));
        out
    }

    /// Which version of the format it is in.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The transaction that would be signed.
    pub fn transaction(&self) -> &Transaction {
        &self.transaction
    }
}

/// BIP-174: "If omitted, the version number is 0." There is no version 1.
fn version_of(global: &Map) -> Result<Version, Reason> {
    match global.get(global::VERSION) {
        None => Ok(Version::V0),
        Some(value) => match value {
            [0, 0, 0, 0] => Ok(Version::V0),
            [2, 0, 0, 0] => Ok(Version::V2),
            _ => Err(MALFORMED),
        },
    }
}

fn unsigned_transaction(global: &Map) -> Result<Transaction, Reason> {
    Transaction::read_unsigned(global.get(global::UNSIGNED_TX).ok_or(MALFORMED)?)
}

/// How many maps for inputs and outputs follow the global one.
fn counts(global: &Map, version: Version) -> Result<(usize, usize), Reason> {
    if version == Version::V0 {
        let transaction = unsigned_transaction(global)?;
        return Ok((transaction.inputs.len(), transaction.outputs.len()));
    }
    let count = |kind, most| {
        let mut reader = Reader::new(global.get(kind).ok_or(MALFORMED)?);
        let count = reader.count(most)?;
        reader.end().map(|()| count)
    };
    Ok((count(global::INPUT_COUNT, INPUTS_MAX)?, count(global::OUTPUT_COUNT, OUTPUTS_MAX)?))
}

/// BIP-370, "Transaction Extractor": the transaction of a version 2 PSBT.
fn assembled(global: &Map, inputs: &[Map], outputs: &[Map]) -> Result<Transaction, Reason> {
    Ok(Transaction {
        version: global.u32(global::TX_VERSION)?.ok_or(MALFORMED)?,
        inputs: inputs.iter().map(assembled_input).collect::<Result<_, _>>()?,
        outputs: outputs.iter().map(assembled_output).collect::<Result<_, _>>()?,
        lock_time: lock_time::determined(global, inputs)?,
    })
}

fn assembled_input(map: &Map) -> Result<Input, Reason> {
    let txid = map.get(input::PREVIOUS_TXID).ok_or(MALFORMED)?;
    let index = map.u32(input::OUTPUT_INDEX)?.ok_or(MALFORMED)?;
    let txid = txid.try_into().map_err(|_| MALFORMED)?;
    // "If omitted, the sequence number is assumed to be the final sequence number (0xffffffff)."
    let sequence = map.u32(input::SEQUENCE)?.unwrap_or(SEQUENCE_FINAL);
    Ok(Input { outpoint: Outpoint { txid, index }, sequence })
}

/// A silent payment's output without a script (BIP-375) is refused: what it pays is not decided yet.
fn assembled_output(map: &Map) -> Result<Output, Reason> {
    let value = map.get(output::AMOUNT).ok_or(MALFORMED)?;
    let value_sat = u64::from_le_bytes(value.try_into().map_err(|_| MALFORMED)?);
    let script = map.get(output::SCRIPT).ok_or(MALFORMED)?.to_vec();
    if value_sat > MONEY_MAX_SAT { Err(MALFORMED) } else { Ok(Output { value_sat, script }) }
}
