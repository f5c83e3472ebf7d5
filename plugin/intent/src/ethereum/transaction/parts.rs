//! The lists that the newer types carry.

use super::super::rlp::Fields;
use crate::ethereum::{address, fingerprint, hex, keccak256};
use crate::model::Amount;
use countersign_wire::reason::Reason;

/// What one blob uses, in blob gas: `GAS_PER_BLOB` of EIP-4844.
const GAS_PER_BLOB: u64 = 131_072;

/// "A limit of 6 blobs per transaction is introduced" (EIP-7594).
const BLOBS_MAX: usize = 6;

/// `VERSIONED_HASH_VERSION_KZG` of EIP-4844.
const VERSIONED_HASH_VERSION: u8 = 0x01;

/// How many authorizations a transaction may carry. EIP-7702 sets no limit; somebody has to read them all.
const AUTHORIZATIONS_MAX: usize = 64;

/// What a transaction says it will touch (EIP-2930). It changes what gas is charged and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AccessList {
    addresses: usize,
    storage_keys: usize,
    bytes: Vec<u8>,
}

impl AccessList {
    /// EIP-2930: `[[{20 bytes}, [{32 bytes}...]]...]`.
    pub(super) fn read(list: &mut Fields<'_>) -> Result<Self, Reason> {
        let mut entries = list.list()?;
        let mut read = Self { bytes: entries.rest().to_vec(), ..Self::default() };
        while !entries.is_empty() {
            let mut entry = entries.list()?;
            let _address: [u8; 20] = entry.exactly()?;
            let mut keys = entry.list()?;
            entry.end()?;
            while !keys.is_empty() {
                let _key: [u8; 32] = keys.exactly()?;
                read.storage_keys += 1;
            }
            read.addresses += 1;
        }
        Ok(read)
    }

    /// One line for people; `None` if it is empty.
    pub(super) fn text(&self) -> Option<String> {
        let Self { addresses, storage_keys, bytes } = self;
        (*addresses > 0)
            .then(|| format!("{addresses} addresses, {storage_keys} storage keys, {}", fingerprint(bytes)))
    }
}

/// The blobs that go with a transaction, by their commitments (EIP-4844).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blobs {
    /// The most that is paid for each blob gas, in wei.
    price_most: u128,
    versioned_hashes: Vec<[u8; 32]>,
}

impl Blobs {
    /// EIP-4844: `max_fee_per_blob_gas, blob_versioned_hashes`.
    pub(super) fn read(list: &mut Fields<'_>) -> Result<Self, Reason> {
        let price_most = list.u128()?;
        let mut hashes = list.list()?;
        let mut versioned_hashes = Vec::new();
        while !hashes.is_empty() {
            let hash: [u8; 32] = hashes.exactly()?;
            // EIP-4844: "assert h[0] == VERSIONED_HASH_VERSION_KZG".
            if hash[0] != VERSIONED_HASH_VERSION || versioned_hashes.len() == BLOBS_MAX {
                return Err(Reason::MalformedTransaction);
            }
            versioned_hashes.push(hash);
        }
        // EIP-4844: "there must be at least one blob".
        if versioned_hashes.is_empty() {
            return Err(Reason::MalformedTransaction);
        }
        Ok(Self { price_most, versioned_hashes })
    }

    /// What the blobs cost at most, in wei; at most 2^128 times 6 times 2^17.
    pub(super) fn fee_most(&self) -> Amount {
        let gas = u64::try_from(self.versioned_hashes.len()).unwrap_or(u64::MAX).saturating_mul(GAS_PER_BLOB);
        Amount::from(self.price_most).saturating_mul(Amount::from(gas))
    }

    /// One line for people, about all of them, then one for each.
    pub(super) fn lines(&self) -> impl Iterator<Item = String> {
        let all = format!("{}, at most {} wei each gas", self.versioned_hashes.len(), self.price_most);
        core::iter::once(all).chain(self.versioned_hashes.iter().map(|hash| hex(hash)))
    }
}

/// Somebody's signed word that code may act for his account (EIP-7702). Whose it is follows from the signature alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Authorization {
    /// It is not bound to a chain.
    pub(super) any_chain: bool,
    code: [u8; 20],
    nonce: u64,
    tuple: Vec<u8>,
}

impl Authorization {
    /// EIP-7702: `[[chain_id, address, nonce, y_parity, r, s], ...]`, not empty. One that has no effect on the transaction's
    /// own chain is refused, since it is for another.
    pub(super) fn read_list(list: &mut Fields<'_>, chain_id: u64) -> Result<Vec<Self>, Reason> {
        let mut tuples = list.list()?;
        let mut read = Vec::new();
        while !tuples.is_empty() {
            if read.len() == AUTHORIZATIONS_MAX {
                return Err(Reason::MalformedTransaction);
            }
            read.push(Self::read(tuples.list()?, chain_id)?);
        }
        if read.is_empty() { Err(Reason::MalformedTransaction) } else { Ok(read) }
    }

    fn read(mut tuple: Fields<'_>, chain_id: u64) -> Result<Self, Reason> {
        let bytes = tuple.rest().to_vec();
        let own_chain = tuple.u64()?;
        let code = tuple.exactly()?;
        let nonce = tuple.nonce()?;
        let y_parity = tuple.u64()?;
        let (_r, _s) = (tuple.u256()?, tuple.u256()?);
        tuple.end()?;
        if (own_chain != 0 && own_chain != chain_id) || y_parity > 1 {
            return Err(Reason::MalformedTransaction);
        }
        Ok(Self { any_chain: own_chain == 0, code, nonce, tuple: bytes })
    }

    /// One line for people.
    pub(super) fn text(&self) -> String {
        let place = if self.any_chain { "on every chain" } else { "on this chain" };
        let what = if self.code == [0; 20] {
            "to nobody: an earlier delegation ends".to_owned()
        } else {
            format!("to {}", address(&self.code))
        };
        let hash = hex(&keccak256(&self.tuple));
        format!("{what}, {place}, by whoever signed authorization {hash} with nonce {}", self.nonce)
    }
}
