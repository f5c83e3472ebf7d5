//! Ethereum transactions, read strictly: legacy with a chain id (EIP-155) and type 2 (EIP-1559), as the bytes
//! whose Keccak-256 is signed. Everything else is refused.
//!
//! RLP is read with `alloy-rlp`, which accepts only the shortest form of every header; integers must have no
//! leading zeros, the outer list must span the input, and every field must have its type. So no two inputs mean
//! the same transaction, and what is signed is what was read.

use crate::model::{Address, Amount, Asset, Chain, Intent, Kind, Move, Warning};
use alloy_rlp::{Encodable, Header};
use countersign_wire::reason::Reason;
use serde_bytes::ByteArray;
use sha3::{Digest, Keccak256};

/// The largest transaction that is read, in bytes: what nodes relay (go-ethereum's `txMaxSize`).
pub const TRANSACTION_MAX_BYTES: usize = 128 * 1024;

/// The largest chain id whose `v` fits 64 bits (EIP-2294).
const CHAIN_ID_MAX_LEGACY: u64 = u64::MAX / 2 - 36;

/// The type byte of EIP-1559.
const TYPE_DYNAMIC_FEE: u8 = 2;

/// A transaction that was read strictly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// EIP-155 chain id, never 0.
    pub chain_id: u64,
    /// The sender's transaction count.
    pub nonce: u64,
    /// The recipient; `None` creates a contract.
    pub to: Option<[u8; 20]>,
    /// What is transferred.
    pub value_wei: Amount,
    /// Gas limit times the highest gas price.
    pub max_fee_wei: Amount,
    /// Whether there is calldata or init code, which this version does not decode.
    pub opaque: bool,
    form: Form,
    digest: [u8; 32],
    /// The fields up to the signature, as they were written.
    fields: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Legacy,
    DynamicFee,
}

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

impl Transaction {
    /// The one constructor: reads an unsigned transaction, or says why not.
    pub fn read(bytes: &[u8]) -> Result<Self, Reason> {
        if bytes.len() > TRANSACTION_MAX_BYTES {
            return Err(Reason::MalformedTransaction);
        }
        let read = match bytes.first() {
            Some(&TYPE_DYNAMIC_FEE) => Self::read_dynamic_fee(&bytes[1..])?,
            // EIP-2718: a first byte up to 0x7f is a type, from 0xc0 on a legacy transaction's list.
            Some(0..=0x7f) => return Err(Reason::UnsupportedTransaction),
            Some(0xc0..) => Self::read_legacy(bytes)?,
            Some(_) | None => return Err(Reason::MalformedTransaction),
        };
        Ok(Self { digest: keccak256(bytes), ..read })
    }

    /// EIP-155: `rlp([nonce, gasPrice, gasLimit, to, value, data, chainId, 0, 0])`.
    fn read_legacy(bytes: &[u8]) -> Result<Self, Reason> {
        let mut list = Fields::of_list(bytes)?;
        let all = list.rest;
        let nonce = list.nonce()?;
        let gas_price = list.u128()?;
        let gas_limit = list.u64()?;
        let to = list.recipient()?;
        let value_wei = list.u256()?;
        let data = list.string()?;
        let fields = all[..all.len() - list.rest.len()].to_vec();
        if list.rest.is_empty() {
            // Six fields: from before EIP-155, valid on every chain.
            return Err(Reason::ChainIdMissing);
        }
        let chain_id = list.u64()?;
        let (r, s) = (list.string()?, list.string()?);
        list.end()?;
        if chain_id == 0 {
            return Err(Reason::ChainIdMissing);
        }
        if !r.is_empty() || !s.is_empty() {
            // Signed already, or the chain id is really a `v`.
            return Err(Reason::MalformedTransaction);
        }
        if chain_id > CHAIN_ID_MAX_LEGACY {
            return Err(Reason::MalformedTransaction);
        }
        let max_fee_wei = fee(gas_price, gas_limit);
        let opaque = !data.is_empty() || to.is_none();
        Self {
            chain_id,
            nonce,
            to,
            value_wei,
            max_fee_wei,
            opaque,
            form: Form::Legacy,
            digest: [0; 32],
            fields,
        }
        .checked()
    }

    /// EIP-1559: `0x02 ‖ rlp([chain_id, nonce, max_priority_fee_per_gas, max_fee_per_gas, gas_limit, destination,
    /// amount, data, access_list])`.
    fn read_dynamic_fee(bytes: &[u8]) -> Result<Self, Reason> {
        let mut list = Fields::of_list(bytes)?;
        let fields = list.rest.to_vec();
        let chain_id = list.u64()?;
        let nonce = list.nonce()?;
        let priority_fee = list.u128()?;
        let max_fee = list.u128()?;
        let gas_limit = list.u64()?;
        let to = list.recipient()?;
        let value_wei = list.u256()?;
        let data = list.string()?;
        list.access_list()?;
        list.end()?;
        if chain_id == 0 {
            return Err(Reason::ChainIdMissing);
        }
        if priority_fee > max_fee {
            // EIP-1559: "assert transaction.max_fee_per_gas >= transaction.max_priority_fee_per_gas".
            return Err(Reason::MalformedTransaction);
        }
        let max_fee_wei = fee(max_fee, gas_limit);
        let opaque = !data.is_empty() || to.is_none();
        Self {
            chain_id,
            nonce,
            to,
            value_wei,
            max_fee_wei,
            opaque,
            form: Form::DynamicFee,
            digest: [0; 32],
            fields,
        }
        .checked()
    }

    /// What is signed.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// What people and policies are told of it.
    pub fn intent(&self) -> Intent {
        let kind = match (self.to, self.opaque) {
            (None, _) => Kind::Creation,
            (Some(_), true) => Kind::Call,
            (Some(_), false) => Kind::Transfer,
        };
        let sent = self.to.map(|to| Move {
            from: None,
            to: address(&to),
            asset: Asset::Native,
            amount: self.value_wei,
            own: false,
        });
        Intent {
            kind,
            chain: Some(Chain::Ethereum(self.chain_id)),
            moves: sent.into_iter().collect(),
            fee_most: Some(self.max_fee_wei),
            nonce: Some(self.nonce),
            opaque: self.opaque,
            warnings: if self.opaque { vec![Warning::Opaque] } else { Vec::new() },
            details: Vec::new(),
        }
    }

    /// What the sender can lose at most must be a 256-bit integer.
    fn checked(self) -> Result<Self, Reason> {
        if self.value_wei.checked_add(self.max_fee_wei).is_some() {
            Ok(self)
        } else {
            Err(Reason::MalformedTransaction)
        }
    }

    /// The signed transaction, ready to broadcast.
    pub fn with_signature(&self, signature: &[u8; 64], y_parity: u8) -> Vec<u8> {
        let mut tail = Vec::with_capacity(80);
        match self.form {
            // EIP-155: v = {0,1} + CHAIN_ID * 2 + 35.
            Form::Legacy => (u128::from(self.chain_id) * 2 + 35 + u128::from(y_parity)).encode(&mut tail),
            Form::DynamicFee => y_parity.encode(&mut tail),
        }
        let (r, s) = signature.split_at(32);
        for scalar in [r, s] {
            let zeros = scalar.iter().take_while(|byte| **byte == 0).count();
            scalar[zeros..].encode(&mut tail);
        }
        let mut raw = Vec::with_capacity(self.fields.len() + tail.len() + 10);
        if self.form == Form::DynamicFee {
            raw.push(TYPE_DYNAMIC_FEE);
        }
        Header { list: true, payload_length: self.fields.len() + tail.len() }.encode(&mut raw);
        raw.extend_from_slice(&self.fields);
        raw.extend_from_slice(&tail);
        raw
    }
}

/// A price of at most 2^128 times a limit of at most 2^64 fits 256 bits.
fn fee(price: u128, limit: u64) -> Amount {
    Amount::from(price).wrapping_mul(Amount::from(limit))
}

/// Reads the fields of one RLP list, one after the other.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// A list that spans the whole input.
    fn of_list(mut bytes: &'a [u8]) -> Result<Self, Reason> {
        let rest = Header::decode_bytes(&mut bytes, true).map_err(|_| Reason::MalformedTransaction)?;
        if bytes.is_empty() { Ok(Self { rest }) } else { Err(Reason::MalformedTransaction) }
    }

    fn end(&self) -> Result<(), Reason> {
        if self.rest.is_empty() { Ok(()) } else { Err(Reason::MalformedTransaction) }
    }

    fn string(&mut self) -> Result<&'a [u8], Reason> {
        Header::decode_bytes(&mut self.rest, false).map_err(|_| Reason::MalformedTransaction)
    }

    fn list(&mut self) -> Result<Self, Reason> {
        let rest = Header::decode_bytes(&mut self.rest, true).map_err(|_| Reason::MalformedTransaction)?;
        Ok(Self { rest })
    }

    /// A positive integer: big-endian without leading zeros, zero as the empty string (Yellow Paper appendix B).
    fn integer<const N: usize>(&mut self) -> Result<[u8; N], Reason> {
        let bytes = self.string()?;
        if bytes.len() > N || bytes.first() == Some(&0) {
            return Err(Reason::MalformedTransaction);
        }
        let mut integer = [0; N];
        integer[N - bytes.len()..].copy_from_slice(bytes);
        Ok(integer)
    }

    fn u64(&mut self) -> Result<u64, Reason> {
        self.integer().map(u64::from_be_bytes)
    }

    /// EIP-2681: a nonce is below 2^64-1.
    fn nonce(&mut self) -> Result<u64, Reason> {
        self.u64()
            .and_then(|nonce| if nonce == u64::MAX { Err(Reason::MalformedTransaction) } else { Ok(nonce) })
    }

    /// Gas prices fit 128 bits by far; a larger one is refused rather than computed with.
    fn u128(&mut self) -> Result<u128, Reason> {
        self.integer().map(u128::from_be_bytes)
    }

    fn u256(&mut self) -> Result<Amount, Reason> {
        self.integer().map(Amount::from_be_bytes::<32>)
    }

    fn recipient(&mut self) -> Result<Option<[u8; 20]>, Reason> {
        match self.string()? {
            [] => Ok(None),
            bytes => bytes.try_into().map(Some).map_err(|_| Reason::MalformedTransaction),
        }
    }

    /// EIP-2930: `[[{20 bytes}, [{32 bytes}...]]...]`.
    fn access_list(&mut self) -> Result<(), Reason> {
        let mut entries = self.list()?;
        while !entries.rest.is_empty() {
            let mut entry = entries.list()?;
            let address = entry.string()?;
            let mut keys = entry.list()?;
            entry.end()?;
            if address.len() != 20 {
                return Err(Reason::MalformedTransaction);
            }
            while !keys.rest.is_empty() {
                if keys.string()?.len() != 32 {
                    return Err(Reason::MalformedTransaction);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
