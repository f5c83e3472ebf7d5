//! What a signature signs, for `SIGHASH_ALL` alone: all inputs and all outputs.

use super::sha256d;
use super::transaction::Transaction;

/// `SIGHASH_ALL`, as the byte behind a signature.
pub(crate) const SIGHASH_ALL: u8 = 1;

/// The three hashes that all inputs of a transaction share (BIP-143), computed once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shared {
    pub(crate) prevouts: [u8; 32],
    pub(crate) sequences: [u8; 32],
    pub(crate) outputs: [u8; 32],
}

impl Shared {
    pub(crate) fn of(transaction: &Transaction) -> Self {
        let (mut prevouts, mut sequences, mut outputs) = (Vec::new(), Vec::new(), Vec::new());
        for input in &transaction.inputs {
            input.outpoint.write(&mut prevouts);
            sequences.extend_from_slice(&input.sequence.to_le_bytes());
        }
        transaction.outputs.iter().for_each(|output| output.write(&mut outputs));
        Self { prevouts: sha256d(&prevouts), sequences: sha256d(&sequences), outputs: sha256d(&outputs) }
    }
}

/// BIP-143, "Specification": the digest for witness version 0, which commits to the amount that the input spends.
/// `None` if there is no such input.
pub(crate) fn witness_v0(
    transaction: &Transaction,
    shared: &Shared,
    input: usize,
    script_code: &[u8],
    value_sat: u64,
) -> Option<[u8; 32]> {
    let spent = transaction.inputs.get(input)?;
    let mut preimage = transaction.version.to_le_bytes().to_vec();
    preimage.extend_from_slice(&shared.prevouts);
    preimage.extend_from_slice(&shared.sequences);
    spent.outpoint.write(&mut preimage);
    super::reader::write_string(&mut preimage, script_code);
    preimage.extend_from_slice(&value_sat.to_le_bytes());
    preimage.extend_from_slice(&spent.sequence.to_le_bytes());
    preimage.extend_from_slice(&shared.outputs);
    preimage.extend_from_slice(&transaction.lock_time.to_le_bytes());
    preimage.extend_from_slice(&u32::from(SIGHASH_ALL).to_le_bytes());
    Some(sha256d(&preimage))
}

/// The digest from before BIP-143: the transaction with the scriptPubKey in the place of the input's scriptSig.
/// `None` if there is no such input.
pub(crate) fn legacy(transaction: &Transaction, input: usize, script_code: &[u8]) -> Option<[u8; 32]> {
    transaction.inputs.get(input)?;
    let mut preimage = transaction.encode_with(Some((input, script_code)));
    preimage.extend_from_slice(&u32::from(SIGHASH_ALL).to_le_bytes());
    Some(sha256d(&preimage))
}
