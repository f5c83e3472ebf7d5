//! Reading a store from outside, for whoever holds its sealing key: what each entry holds, and the audit trail as one
//! list. It changes nothing and trusts nothing: a trail is what NVRAM's chains say it is, or an error.

use super::log::{Chain, Kind, RECORD_HEADER_BYTES, split_first};
use super::nvram::Nvram;
use super::seal::Sealer;
pub use crate::audit::{Event, Signs, Used, What};
use crate::record::{Account, TenantState};

/// What a sealed record holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// An account.
    Account(Box<Account>),
    /// A tenant's state.
    Tenant(TenantState),
    /// The audit events of one commit, in order.
    Events(Vec<Event>),
}

/// One record of an entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Opened {
    /// Where its nonce stands: boot and counter.
    pub position: u64,
    /// Its ciphertext and tag.
    pub sealed: Vec<u8>,
    /// What it holds.
    pub content: Content,
}

/// Why a store cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// These bytes are no entry.
    NotAnEntry,
    /// A record does not open, or does not hold what it says.
    Record,
    /// Entries or blocks are missing, out of order or changed: the chain does not end where NVRAM says.
    Chain,
}

/// Opens records of one HSM.
pub struct Reader {
    sealer: Sealer,
}

impl Reader {
    /// For the HSM with this id and sealing key.
    pub fn new(sealing_key: &[u8], hsm_id: [u8; 16]) -> Self {
        Self { sealer: Sealer::new(sealing_key, hsm_id, 0) }
    }

    /// The records of the first entry in `bytes`, and its length.
    pub fn entry(&mut self, bytes: &[u8]) -> Result<(Vec<Opened>, usize), Unreadable> {
        let entry = split_first(bytes).ok().flatten().ok_or(Unreadable::NotAnEntry)?;
        let mut records = Vec::with_capacity(entry.records.len());
        for (name, placed) in entry.records {
            let begin = usize::try_from(placed.offset + u64::from(RECORD_HEADER_BYTES));
            let rest = begin.ok().and_then(|begin| entry.bytes.get(begin..));
            let sealed = rest.and_then(|rest| rest.get(..placed.sealed_bytes as usize));
            let sealed = sealed.ok_or(Unreadable::NotAnEntry)?;
            let plain = self.sealer.open(name, placed.position, sealed).ok_or(Unreadable::Record)?;
            let content = match name.kind {
                Kind::Account => countersign_wire::decode_packed(&plain).map(Content::Account),
                Kind::Tenant => countersign_wire::decode_packed(&plain).map(Content::Tenant),
                Kind::Audit => countersign_wire::decode_packed(&plain).map(Content::Events),
            };
            let position = u64::from_be_bytes(placed.position.to_bytes());
            let content = content.map_err(|_| Unreadable::Record)?;
            records.push(Opened { position, sealed: sealed.to_vec(), content });
        }
        Ok((records, entry.bytes.len()))
    }

    /// Every audit event since the HSM's first start, in order: those in the archive, then those in the log from its
    /// tail on. Both must be exactly what `nvram` says.
    pub fn trail(&mut self, nvram: &Nvram, archive: &[u8], log: &[u8]) -> Result<Vec<Event>, Unreadable> {
        let first = Chain::from(self.sealer.first_archive_head(), 0);
        let mut events = self.events(first, &nvram.archive, archive)?;
        events.append(&mut self.events(nvram.tail.clone(), &nvram.head, log)?);
        Ok(events)
    }

    fn events(
        &mut self,
        mut chain: Chain,
        until: &Chain,
        mut bytes: &[u8],
    ) -> Result<Vec<Event>, Unreadable> {
        let mut events = Vec::new();
        while chain.length_bytes() < until.length_bytes() {
            let (records, length) = self.entry(bytes)?;
            chain.append(bytes.get(..length).ok_or(Unreadable::NotAnEntry)?);
            bytes = bytes.get(length..).unwrap_or_default();
            for record in records {
                if let Content::Events(mut more) = record.content {
                    events.append(&mut more);
                }
            }
        }
        if chain == *until { Ok(events) } else { Err(Unreadable::Chain) }
    }
}
