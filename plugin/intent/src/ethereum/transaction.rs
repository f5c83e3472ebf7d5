//! Unsigned transactions of the types 0 to 4, as the bytes whose Keccak-256 is signed (EIP-2718):
//!
//! | type | standard | payload |
//! | --- | --- | --- |
//! | 0 | EIP-155 | `rlp([nonce, gasPrice, gasLimit, to, value, data, chainId, 0, 0])` |
//! | 1 | EIP-2930 | `0x01 ‖ rlp([chainId, nonce, gasPrice, gasLimit, to, value, data, accessList])` |
//! | 2 | EIP-1559 | `0x02 ‖ rlp([chainId, nonce, maxPriorityFeePerGas, maxFeePerGas, gasLimit, to, value, data, accessList])` |
//! | 3 | EIP-4844 | `0x03 ‖ rlp([…as 2…, maxFeePerBlobGas, blobVersionedHashes])`; blobs themselves are not part of it |
//! | 4 | EIP-7702 | `0x04 ‖ rlp([…as 2…, authorizationList])` |
//!
//! Each has one form; whatever else would mean the same is refused. So no two inputs mean the same transaction, and what is
//! signed is what was read.

use super::keccak256;
use super::rlp::Fields;
use crate::model::Amount;
use alloy_rlp::{Encodable, Header};
use countersign_wire::reason::Reason;

mod intent;
mod parts;

use parts::{AccessList, Authorization, Blobs};

/// The largest transaction that is read, in bytes: what nodes relay (go-ethereum's `txMaxSize`).
pub const TRANSACTION_MAX_BYTES: usize = 128 * 1024;

/// The largest chain id whose `v` fits 64 bits (EIP-2294).
const CHAIN_ID_MAX_LEGACY: u64 = u64::MAX / 2 - 36;

/// A transaction that was read strictly. Holding one proves that its bytes are the one form of what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    form: Form,
    /// EIP-155 chain id, never 0.
    chain_id: u64,
    nonce: u64,
    gas: Gas,
    /// The recipient; `None` creates a contract.
    to: Option<[u8; 20]>,
    value: Amount,
    data: Vec<u8>,
    access_list: AccessList,
    /// Of type 3 alone.
    blobs: Option<Blobs>,
    /// Of type 4 alone.
    authorizations: Vec<Authorization>,
    /// All that it can cost in fees, in wei.
    fee_most: Amount,
    /// The fields up to the signature, as they were written.
    fields: Vec<u8>,
    digest: [u8; 32],
}

/// The types of EIP-2718.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Legacy,
    AccessList,
    DynamicFee,
    Blob,
    SetCode,
}

impl Form {
    /// The type byte; what stands before the list, unless it is 0.
    const fn number(self) -> u8 {
        match self {
            Form::Legacy => 0,
            Form::AccessList => 1,
            Form::DynamicFee => 2,
            Form::Blob => 3,
            Form::SetCode => 4,
        }
    }
}

/// What execution may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gas {
    limit: u64,
    /// The most that is paid for each, in wei.
    price_most: u128,
    /// What of it goes to the block's builder at most, in wei; from type 2 on.
    tip_most: Option<u128>,
}

/// A signed transaction, ready to broadcast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Its bytes. Those of type 3 are without the blobs, which a node wants beside them.
    pub raw: Vec<u8>,
    /// Its hash, by which the chain knows it.
    pub hash: [u8; 32],
    /// The `v` that stands in it: of type 0 that of EIP-155, of all others 0 or 1 (the parity of y).
    pub v: u64,
}

impl Transaction {
    /// The one constructor: reads an unsigned transaction, or says why not.
    pub fn read(bytes: &[u8]) -> Result<Self, Reason> {
        if bytes.len() > TRANSACTION_MAX_BYTES {
            return Err(Reason::MalformedTransaction);
        }
        let transaction = match bytes {
            [0x01, rest @ ..] => Self::read_typed(Form::AccessList, rest),
            [0x02, rest @ ..] => Self::read_typed(Form::DynamicFee, rest),
            [0x03, rest @ ..] => Self::read_typed(Form::Blob, rest),
            [0x04, rest @ ..] => Self::read_typed(Form::SetCode, rest),
            // EIP-2718: a first byte up to 0x7f is a type, from 0xc0 on a legacy transaction's list.
            [0..=0x7f, ..] => Err(Reason::UnsupportedTransaction),
            [0xc0..=0xff, ..] => Self::read_legacy(bytes),
            _ => Err(Reason::MalformedTransaction),
        }?;
        Ok(Self { digest: keccak256(bytes), ..transaction })
    }

    /// Type 0, with the chain id that EIP-155 added.
    fn read_legacy(bytes: &[u8]) -> Result<Self, Reason> {
        let mut list = Fields::of_list(bytes)?;
        let all = list.rest();
        let nonce = list.nonce()?;
        let gas = Gas { price_most: list.u128()?, tip_most: None, limit: list.u64()? };
        let to = list.recipient()?;
        let value = list.u256()?;
        let data = list.string()?.to_vec();
        let fields = all[..all.len() - list.rest().len()].to_vec();
        if list.is_empty() {
            // Six fields: from before EIP-155, valid on every chain.
            return Err(Reason::ChainIdMissing);
        }
        let chain_id = list.u64()?;
        let (r, s) = (list.string()?, list.string()?);
        list.end()?;
        if !r.is_empty() || !s.is_empty() || chain_id > CHAIN_ID_MAX_LEGACY {
            // Signed already, or the chain id is really a `v`.
            return Err(Reason::MalformedTransaction);
        }
        Self {
            form: Form::Legacy,
            chain_id,
            nonce,
            gas,
            to,
            value,
            data,
            access_list: AccessList::default(),
            blobs: None,
            authorizations: Vec::new(),
            fee_most: Amount::ZERO,
            fields,
            digest: [0; 32],
        }
        .checked()
    }

    /// The types 1 to 4, whose fields stand in the same order.
    fn read_typed(form: Form, bytes: &[u8]) -> Result<Self, Reason> {
        let mut list = Fields::of_list(bytes)?;
        let fields = list.rest().to_vec();
        let chain_id = list.u64()?;
        let nonce = list.nonce()?;
        let tip_most = if form == Form::AccessList { None } else { Some(list.u128()?) };
        let gas = Gas { tip_most, price_most: list.u128()?, limit: list.u64()? };
        let to = list.recipient()?;
        let value = list.u256()?;
        let data = list.string()?.to_vec();
        let access_list = AccessList::read(&mut list)?;
        let blobs = if form == Form::Blob { Some(Blobs::read(&mut list)?) } else { None };
        let authorizations =
            if form == Form::SetCode { Authorization::read_list(&mut list, chain_id)? } else { Vec::new() };
        list.end()?;
        Self {
            form,
            chain_id,
            nonce,
            gas,
            to,
            value,
            data,
            access_list,
            blobs,
            authorizations,
            fee_most: Amount::ZERO,
            fields,
            digest: [0; 32],
        }
        .checked()
    }

    /// What the standards say of the fields together.
    fn checked(mut self) -> Result<Self, Reason> {
        if self.chain_id == 0 {
            return Err(Reason::ChainIdMissing);
        }
        // EIP-1559: "assert transaction.max_fee_per_gas >= transaction.max_priority_fee_per_gas".
        if self.gas.tip_most.is_some_and(|tip| tip > self.gas.price_most) {
            return Err(Reason::MalformedTransaction);
        }
        // EIP-4844 and EIP-7702: the destination is never null.
        if self.to.is_none() && matches!(self.form, Form::Blob | Form::SetCode) {
            return Err(Reason::MalformedTransaction);
        }
        // A price of at most 2^128 times a limit of at most 2^64 fits 256 bits.
        let execution = Amount::from(self.gas.price_most).wrapping_mul(Amount::from(self.gas.limit));
        let blobs = self.blobs.as_ref().map_or(Amount::ZERO, Blobs::fee_most);
        // What the sender can lose at most must be a 256-bit integer.
        let lost = execution.checked_add(blobs).and_then(|fee| Some((fee, fee.checked_add(self.value)?)));
        let (fee_most, _) = lost.ok_or(Reason::MalformedTransaction)?;
        self.fee_most = fee_most;
        Ok(self)
    }

    /// What is signed: Keccak-256 of the bytes that were read.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The signed transaction. `signature` is r‖s; `y_parity` is 0 or 1, anything else is refused.
    pub fn with_signature(&self, signature: &[u8; 64], y_parity: u8) -> Result<Signed, Reason> {
        if y_parity > 1 {
            return Err(Reason::InternalError);
        }
        let v = match self.form {
            // EIP-155: v = {0,1} + CHAIN_ID * 2 + 35. The chain id was checked to leave room for it.
            Form::Legacy => self.chain_id * 2 + 35 + u64::from(y_parity),
            _ => u64::from(y_parity),
        };
        let mut tail = Vec::with_capacity(80);
        v.encode(&mut tail);
        let (r, s) = signature.split_at(32);
        for scalar in [r, s] {
            let zeros = scalar.iter().take_while(|byte| **byte == 0).count();
            scalar[zeros..].encode(&mut tail);
        }
        let mut raw = Vec::with_capacity(self.fields.len() + tail.len() + 10);
        if self.form != Form::Legacy {
            raw.push(self.form.number());
        }
        Header { list: true, payload_length: self.fields.len() + tail.len() }.encode(&mut raw);
        raw.extend_from_slice(&self.fields);
        raw.extend_from_slice(&tail);
        let hash = keccak256(&raw);
        Ok(Signed { raw, hash, v })
    }
}

#[cfg(test)]
mod tests;
