//! Bitcoin transactions, as far as signing needs them: the unsigned one in full, a previous one by its txid and
//! outputs.

use super::reader::{MALFORMED, Reader, write_compact_size, write_string};
use super::{INPUTS_MAX, MONEY_MAX_SAT, OUTPUTS_MAX, sha256d};
use countersign_wire::reason::Reason;

/// The sequence number that neither locks nor signals anything.
pub(super) const SEQUENCE_FINAL: u32 = u32::MAX;

/// An output of an earlier transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Outpoint {
    /// The transaction's id as it is serialised (people read it backwards).
    pub txid: [u8; 32],
    /// Which of its outputs, from 0.
    pub index: u32,
}

/// An input that is not signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input {
    /// What it spends.
    pub outpoint: Outpoint,
    /// nSequence.
    pub sequence: u32,
}

/// An output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its amount in satoshi, at most [`MONEY_MAX_SAT`].
    pub value_sat: u64,
    /// scriptPubKey.
    pub script: Vec<u8>,
}

/// An unsigned transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// nVersion, as the four bytes it is serialised in.
    pub version: u32,
    /// In order.
    pub inputs: Vec<Input>,
    /// In order.
    pub outputs: Vec<Output>,
    /// nLockTime.
    pub lock_time: u32,
}

impl Output {
    /// `amount (8 bytes, little endian) ‖ scriptPubKey behind its length`.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Reason> {
        let value_sat = reader.u64()?;
        let script = reader.string()?.to_vec();
        if value_sat > MONEY_MAX_SAT { Err(MALFORMED) } else { Ok(Self { value_sat, script }) }
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.value_sat.to_le_bytes());
        write_string(out, &self.script);
    }
}

impl Outpoint {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Reason> {
        Ok(Self { txid: reader.array()?, index: reader.u32()? })
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.txid);
        out.extend_from_slice(&self.index.to_le_bytes());
    }
}

impl Transaction {
    /// BIP-174: "The scriptSigs and witnesses for each input must be empty. The transaction must be in the old
    /// serialization format (without witnesses)."
    pub fn read_unsigned(bytes: &[u8]) -> Result<Self, Reason> {
        let mut reader = Reader::new(bytes);
        let version = reader.u32()?;
        let mut inputs = Vec::new();
        for _ in 0..reader.count(INPUTS_MAX)? {
            let outpoint = Outpoint::read(&mut reader)?;
            if !reader.string()?.is_empty() {
                return Err(MALFORMED);
            }
            inputs.push(Input { outpoint, sequence: reader.u32()? });
        }
        let mut outputs = Vec::new();
        for _ in 0..reader.count(OUTPUTS_MAX)? {
            outputs.push(Output::read(&mut reader)?);
        }
        let lock_time = reader.u32()?;
        reader.end()?;
        Ok(Self { version, inputs, outputs, lock_time })
    }

    /// The old serialisation, with empty scriptSigs.
    pub fn encode(&self) -> Vec<u8> {
        self.encode_with(None)
    }

    /// The old serialisation with a script in the place of one scriptSig, as legacy signatures need it.
    pub(crate) fn encode_with(&self, script_sig: Option<(usize, &[u8])>) -> Vec<u8> {
        let mut out = self.version.to_le_bytes().to_vec();
        write_compact_size(&mut out, self.inputs.len());
        for (at, input) in self.inputs.iter().enumerate() {
            input.outpoint.write(&mut out);
            let script = script_sig.filter(|(index, _)| *index == at).map_or(&[][..], |(_, script)| script);
            write_string(&mut out, script);
            out.extend_from_slice(&input.sequence.to_le_bytes());
        }
        write_compact_size(&mut out, self.outputs.len());
        self.outputs.iter().for_each(|output| output.write(&mut out));
        out.extend_from_slice(&self.lock_time.to_le_bytes());
        out
    }
}

/// A transaction that an input spends from, in either serialisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Previous {
    /// The double SHA-256 of its old serialisation.
    pub txid: [u8; 32],
    /// Its outputs, in order.
    pub outputs: Vec<Output>,
}

impl Previous {
    /// Reads a whole transaction, old form or BIP-144's. The two forms share the bytes of inputs and outputs, so
    /// the txid is taken over them as they were read.
    pub fn read(bytes: &[u8]) -> Result<Self, Reason> {
        let mut reader = Reader::new(bytes);
        let version = reader.take(4)?;
        // BIP-144: marker 0x00 stands where the old form has the number of inputs, which is never 0; flag 0x01.
        let has_witness = reader.rest().starts_with(&[0]);
        if has_witness && reader.take(2)? != [0, 1] {
            return Err(MALFORMED);
        }
        let body = reader.rest();
        let inputs = reader.count(bytes.len())?;
        if inputs == 0 {
            return Err(MALFORMED);
        }
        for _ in 0..inputs {
            Outpoint::read(&mut reader)?;
            reader.string()?;
            reader.u32()?;
        }
        let mut outputs = Vec::new();
        for _ in 0..reader.count(bytes.len())? {
            outputs.push(Output::read(&mut reader)?);
        }
        let body = &body[..body.len() - reader.rest().len()];
        if has_witness {
            skip_witnesses(&mut reader, inputs)?;
        }
        let lock_time = reader.take(4)?;
        reader.end()?;
        Ok(Self { txid: sha256d(&[version, body, lock_time].concat()), outputs })
    }
}

/// One stack for each input; not all of them empty, or the old form would be the one.
fn skip_witnesses(reader: &mut Reader<'_>, inputs: usize) -> Result<(), Reason> {
    let mut items = 0;
    for _ in 0..inputs {
        items += skip_stack(reader)?;
    }
    if items == 0 { Err(MALFORMED) } else { Ok(()) }
}

/// A witness stack: its count, then each item behind its length. Says how many there were.
pub(crate) fn skip_stack(reader: &mut Reader<'_>) -> Result<usize, Reason> {
    let count = reader.count(reader.rest().len())?;
    for _ in 0..count {
        reader.string()?;
    }
    Ok(count)
}
