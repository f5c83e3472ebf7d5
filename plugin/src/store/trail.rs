//! Reading a store from outside, for whoever holds its sealing key: what each entry holds, and the audit trail as one
//! list. It changes nothing and trusts nothing: a trail is what NVRAM's chains say it is, or an error.

use super::log::{Chain, Kind, sealed_at, split_first};
use super::nvram::Nvram;
use super::seal::Sealer;
pub use super::trees::{Place, TreeRecord};
use crate::audit::leaf::LogNamer;
pub use crate::audit::{Event, Signs, Used, What};
use crate::record::{Account, TenantState};
use countersign_wire::names::{AccountName, TenantName};

/// What a sealed record holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// An account.
    Account(Box<Account>),
    /// A tenant's state.
    Tenant(TenantState),
    /// The audit events of one commit, in order.
    Events(Vec<Event>),
    /// The tree of a tenant's audit log, as it was somewhere.
    Tree(Box<TreeRecord>),
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
    namer: LogNamer,
}

impl Reader {
    /// For the HSM with this id and sealing key.
    pub fn new(sealing_key: &[u8], hsm_id: [u8; 16]) -> Self {
        let sealer = Sealer::new(sealing_key, hsm_id, 0);
        let namer = LogNamer::new(sealer.log_names_key());
        Self { sealer, namer }
    }

    /// The leaves of a tenant's audit log, out of the whole trail: what the tenant can read, and its tree is made of.
    pub fn leaves(&self, tenant: &TenantName, trail: &[Event]) -> Vec<Vec<u8>> {
        let opens = |event: &Event| {
            event.tenant.as_ref() == Some(tenant) && matches!(event.what, What::LogOpened { .. })
        };
        let opened = trail.iter().skip_while(|event| !opens(event));
        let of_it = opened.filter(|event| event.tenant.as_ref().is_none_or(|whose| whose == tenant));
        of_it.map(|event| self.namer.leaf(event)).collect()
    }

    /// The leaf of one event.
    pub fn leaf(&self, event: &Event) -> Vec<u8> {
        self.namer.leaf(event)
    }

    /// What the tenant's audit log calls an account where names are hashed.
    pub fn pseudonym(&self, tenant: &TenantName, account: &AccountName) -> String {
        self.namer.name(countersign_wire::hal::LogNames::Hashed, tenant, account)
    }

    /// The records of the first entry in `bytes`, and its length.
    pub fn entry(&mut self, bytes: &[u8]) -> Result<(Vec<Opened>, usize), Unreadable> {
        let entry = split_first(bytes).ok().flatten().ok_or(Unreadable::NotAnEntry)?;
        let mut records = Vec::with_capacity(entry.records.len());
        for (name, placed) in entry.records {
            let sealed = sealed_at(entry.bytes, placed).ok_or(Unreadable::NotAnEntry)?;
            let plain = self.sealer.open(name, placed.position, sealed).ok_or(Unreadable::Record)?;
            let content = match name.kind {
                Kind::Account => countersign_wire::decode_packed(&plain).map(Content::Account),
                Kind::Tenant => countersign_wire::decode_packed(&plain).map(Content::Tenant),
                Kind::Audit => countersign_wire::decode_packed(&plain).map(Content::Events),
                Kind::Tree => countersign_wire::decode_packed(&plain).map(Content::Tree),
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
