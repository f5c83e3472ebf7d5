//! The sealed state: an append-only log of sealed records on the untrusted disk, a table of where each record's
//! newest version lies, and the head of the log in NVRAM.
//!
//! * [`log`]: the entry format and the chain of hashes over it, byte by byte.
//! * [`seal`]: how a record is sealed, and why no nonce repeats.
//! * [`nvram`]: what NVRAM holds, byte by byte.
//!
//! One change is one [`Change`]: it may span an account, its tenant and the audit log, and it becomes durable whole
//! or not at all. Changes that are staged while a commit is under way share the next one (group commit). The order
//! is store synced, NVRAM synced, then whoever staged the change goes on; so nothing is ever reported that a crash
//! could take back, and what a crash leaves beyond the head was never reported.
//!
//! "No such account" is answered from the table, never from the disk: a host that hides a record gets a refusal,
//! not a second enrolment. A fault in a commit poisons the store until the next boot.

pub mod log;
pub mod nvram;
pub mod seal;

use crate::audit::Event;
use crate::hal::{Hal, HalError};
use crate::limits::Bucket;
use crate::record::{Account, FORMAT, TenantState};
use core::cell::RefCell;
use countersign_wire::hal::{APPEND_MAX_BYTES, Boot, Fault, Op, READ_MAX_BYTES};
use countersign_wire::names::{AccountName, TenantName};
use countersign_wire::reason::Reason;
use futures_channel::oneshot;
use log::{Chain, EntryBuilder, Kind};
use nvram::Nvram;
use seal::{Name, Position, Sealer};
use std::collections::{BTreeMap, VecDeque};
use zeroize::Zeroizing;

/// What a record is called on the disk: keyed hashes, so that the host learns no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId {
    /// The tenant's fingerprint.
    pub tenant: [u8; 8],
    /// The account's fingerprint within the tenant; all zero for the tenant's own record and the audit log.
    pub account: [u8; 8],
}

/// One atomic change.
pub(crate) struct Change {
    /// The account's new record, if it changes. Its version is one above the one it replaces.
    pub(crate) account: Option<Account>,
    /// Whether the tenant's record changes with it.
    pub(crate) tenant: Option<TenantName>,
    /// What is recorded of it.
    pub(crate) event: Event,
}

/// Why a change was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommitError {
    /// The account changed since it was loaded: load it again.
    Conflict,
    /// It could not be made durable.
    Failed,
}

/// Where a record's newest version lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    offset: u64,
    length_bytes: u32,
    version: u64,
    position: Position,
}

#[derive(Default)]
struct Staged {
    changes: Vec<Change>,
    waiters: Vec<oneshot::Sender<Result<(), CommitError>>>,
}

/// Why the store was not opened. The text is for the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// NVRAM holds something that this version did not write.
    NvramUnreadable,
    /// The store ends before the head.
    Short,
    /// The store is not the one that NVRAM remembers.
    HeadMismatch,
    /// The store's bytes are not entries.
    NotALog,
    /// NVRAM is empty but the store is not.
    Foreign,
    /// A record does not open.
    Record,
    /// The firmware failed.
    Hal(Fault),
}

impl core::fmt::Display for OpenError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::NvramUnreadable => "store refused: NVRAM holds something that this version did not write",
            Self::Short => "store refused: it is shorter than NVRAM remembers; it was truncated or an older copy put back",
            Self::HeadMismatch => "store refused: it is not what NVRAM remembers; it was edited or an older copy put back",
            Self::NotALog => "store refused: it holds bytes that are not log entries; it was edited or replaced",
            Self::Foreign => "store refused: this HSM has never written a store, but there is one",
            Self::Record => "store refused: a record does not open under this HSM's key",
            Self::Hal(_) => "store refused: the firmware could not read or write it; see the lines above",
        })
    }
}

impl From<HalError> for OpenError {
    fn from(error: HalError) -> Self {
        Self::Hal(error.0)
    }
}

/// Keys of accounts that are kept opened, so that a request seldom reads the disk. It is keys that an account's size
/// depends on: this is about 4 MiB at the most.
const CACHED_KEYS_MAX: usize = 4096;

#[derive(Default)]
struct Cache {
    accounts: BTreeMap<RecordId, Account>,
    order: VecDeque<RecordId>,
    keys: usize,
}

impl Cache {
    fn put(&mut self, id: RecordId, account: Account) {
        self.keys += account.keys.len();
        match self.accounts.insert(id, account) {
            Some(old) => self.keys -= old.keys.len(),
            None => self.order.push_back(id),
        }
        while self.keys > CACHED_KEYS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.keys -= self.accounts.remove(&oldest).map_or(0, |account| account.keys.len());
        }
    }
}

/// The store as the plugin uses it.
pub(crate) struct Store {
    sealer: RefCell<Sealer>,
    state: RefCell<State>,
}

struct State {
    chain: Chain,
    boot_count: u64,
    sequence: u64,
    accounts: BTreeMap<[u8; 8], BTreeMap<[u8; 8], Row>>,
    tenants: BTreeMap<[u8; 8], Row>,
    cache: Cache,
    staged: Staged,
    under_way: bool,
    poisoned: bool,
}

/// What NVRAM is told with every commit besides the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Watermarks {
    pub(crate) unix_floor_secs: u64,
    pub(crate) elapsed_secs: u64,
}

impl Store {
    /// Opens the store that NVRAM remembers: checks every byte up to the head, discards what lies beyond, and
    /// raises the boot count in NVRAM before anything is appended.
    pub(crate) async fn open(hal: &Hal, boot: &Boot) -> Result<(Self, Watermarks), OpenError> {
        let hsm_id = boot.hsm_id.into_array();
        let nvram = match &boot.nvram {
            Some(bytes) => Nvram::decode(bytes).ok_or(OpenError::NvramUnreadable)?,
            None if boot.store_bytes == 0 => Nvram::first(Self::first_head(boot)),
            None => return Err(OpenError::Foreign),
        };
        let mut state = State {
            chain: Chain::start(Self::first_head(boot)),
            boot_count: nvram.boot_count + 1,
            sequence: nvram.sequence,
            accounts: BTreeMap::new(),
            tenants: BTreeMap::new(),
            cache: Cache::default(),
            staged: Staged::default(),
            under_way: false,
            poisoned: false,
        };
        if boot.store_bytes < nvram.log_bytes {
            return Err(OpenError::Short);
        }
        state.read_log(hal, &nvram).await?;
        if state.chain.head() != nvram.head || state.chain.length_bytes() != nvram.log_bytes {
            return Err(OpenError::HeadMismatch);
        }
        if boot.store_bytes > nvram.log_bytes {
            hal.call(Op::TruncateStore { length_bytes: nvram.log_bytes }).await?;
        }
        let watermarks =
            Watermarks { unix_floor_secs: nvram.unix_floor_secs, elapsed_secs: nvram.elapsed_secs };
        let bump = state.nvram(watermarks).encode().into();
        hal.call(Op::Commit { offset: nvram.log_bytes, append: Vec::new().into(), nvram: bump }).await?;
        let sealer = Sealer::new(boot.sealing_key.expose(), hsm_id, state.boot_count);
        Ok((Self { sealer: RefCell::new(sealer), state: RefCell::new(state) }, watermarks))
    }

    fn first_head(boot: &Boot) -> [u8; 32] {
        Sealer::new(boot.sealing_key.expose(), boot.hsm_id.into_array(), 0).first_head()
    }

    /// How often the plugin was started on this store.
    pub(crate) fn boot_count(&self) -> u64 {
        self.state.borrow().boot_count
    }

    /// The name of a tenant's record on the disk.
    pub(crate) fn tenant_id(&self, tenant: &TenantName) -> [u8; 8] {
        self.sealer.borrow().fingerprint(b"tenant", tenant.as_str(), "")
    }

    /// The name of an account's record on the disk.
    pub(crate) fn account_id(&self, tenant: &TenantName, account: &AccountName) -> RecordId {
        RecordId {
            tenant: self.tenant_id(tenant),
            account: self.sealer.borrow().fingerprint(b"account", tenant.as_str(), account.as_str()),
        }
    }

    /// A new key id for this account: its fingerprint and eight random bytes, under the tenant's cipher, so that an
    /// id leads to the account without an index and means nothing under another tenant.
    pub(crate) fn key_id(&self, account: RecordId, random: [u8; 8]) -> [u8; 16] {
        self.sealer.borrow().hide_key_id(account, random)
    }

    /// The account that a key id would belong to in this tenant. A foreign or invented id gives one that is not there.
    pub(crate) fn account_of_key(&self, tenant: &TenantName, key_id: &[u8; 16]) -> RecordId {
        let tenant = self.tenant_id(tenant);
        RecordId { tenant, account: self.sealer.borrow().reveal_key_id(tenant, key_id) }
    }

    /// How many accounts a tenant has.
    pub(crate) fn account_count(&self, tenant: &TenantName) -> usize {
        let id = self.tenant_id(tenant);
        self.state.borrow().accounts.get(&id).map_or(0, BTreeMap::len)
    }

    /// The next accounts of a tenant after a cursor, in the order of their fingerprints.
    pub(crate) fn accounts_after(
        &self,
        tenant: &TenantName,
        after: Option<[u8; 8]>,
        most: usize,
    ) -> Vec<RecordId> {
        use core::ops::Bound::{Excluded, Unbounded};
        let tenant = self.tenant_id(tenant);
        let state = self.state.borrow();
        let Some(rows) = state.accounts.get(&tenant) else { return Vec::new() };
        let from = after.map_or(Unbounded, Excluded);
        rows.range((from, Unbounded))
            .take(most)
            .map(|(account, _)| RecordId { tenant, account: *account })
            .collect()
    }

    /// An account as it was last made durable. `Ok(None)`: the table has no such account.
    pub(crate) async fn load(&self, hal: &Hal, id: RecordId) -> Result<Option<Account>, Reason> {
        let row = {
            let state = self.state.borrow();
            if state.poisoned {
                return Err(Reason::StoreRefused);
            }
            if let Some(account) = state.cache.accounts.get(&id) {
                return Ok(Some(account.clone()));
            }
            match state.account_row(id) {
                Some(row) => row,
                None => return Ok(None),
            }
        };
        let sealed = hal.read_store(row.offset, row.length_bytes).await.map_err(Reason::from)?;
        let name = Name { kind: Kind::Account, id, version: row.version };
        let plain = self.sealer.borrow_mut().open(name, row.position, &sealed);
        let account: Account = plain
            .and_then(|plain| countersign_wire::decode_packed(&plain).ok())
            .filter(|account: &Account| {
                account.format == FORMAT
                    && account.version == row.version
                    && self.account_id(&account.tenant, &account.name) == id
            })
            .ok_or(Reason::StoreRefused)?;
        let mut state = self.state.borrow_mut();
        // A newer version may have been committed while this one was read: never cache an old one over it.
        if state.account_row(id) == Some(row) {
            state.cache.put(id, account.clone());
        }
        Ok(Some(account))
    }

    /// A tenant's state, or a fresh one if it never changed.
    pub(crate) async fn load_tenant(&self, hal: &Hal, name: &TenantName) -> Result<TenantState, OpenError> {
        let tenant = self.tenant_id(name);
        let row = self.state.borrow().tenants.get(&tenant).copied();
        let Some(row) = row else {
            return Ok(TenantState { format: FORMAT, tenant: name.clone(), failures: Bucket::default() });
        };
        let sealed = hal.read_store(row.offset, row.length_bytes).await?;
        let id = RecordId { tenant, account: [0; 8] };
        let record = Name { kind: Kind::Tenant, id, version: row.version };
        let plain = self.sealer.borrow_mut().open(record, row.position, &sealed);
        plain
            .and_then(|plain| countersign_wire::decode_packed(&plain).ok())
            .filter(|state: &TenantState| state.format == FORMAT && state.tenant == *name)
            .ok_or(OpenError::Record)
    }

    /// Stages a change and waits until it is durable.
    pub(crate) async fn commit(&self, change: Change) -> Result<(), CommitError> {
        let done = {
            let mut state = self.state.borrow_mut();
            if state.poisoned {
                return Err(CommitError::Failed);
            }
            let (waiter, done) = oneshot::channel();
            state.staged.changes.push(change);
            state.staged.waiters.push(waiter);
            done
        };
        done.await.unwrap_or(Err(CommitError::Failed))
    }

    /// Whether a commit failed: nothing is known of the disk until the next boot.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.state.borrow().poisoned
    }

    /// Whether something is staged and no commit is under way.
    pub(crate) fn wants_commit(&self) -> bool {
        let state = self.state.borrow();
        !state.staged.changes.is_empty() && !state.under_way
    }

    /// Makes all that is staged durable as one entry, then lets those who staged it go on. If the firmware fails, the
    /// store is poisoned until the next boot.
    pub(crate) async fn commit_staged(
        &self,
        hal: &Hal,
        watermarks: Watermarks,
        aggregate: Option<Event>,
        tenant_state: impl Fn(&TenantName) -> Option<TenantState>,
    ) {
        let mut group = self.build_group(aggregate, &tenant_state);
        let (offset, nvram) = {
            let mut state = self.state.borrow_mut();
            state.under_way = true;
            let offset = state.chain.length_bytes();
            state.chain.append(&group.entry);
            state.sequence += 1;
            (offset, state.nvram(watermarks).encode())
        };
        let append = core::mem::take(&mut group.entry).into();
        let result = hal.call(Op::Commit { offset, append, nvram: nvram.into() }).await;
        let mut state = self.state.borrow_mut();
        state.under_way = false;
        let outcome = if result.is_ok() {
            for (name, placed) in group.rows {
                state.place(name, placed, offset);
            }
            for (id, account) in group.accounts {
                state.cache.put(id, account);
            }
            Ok(())
        } else {
            state.poisoned = true;
            let staged = core::mem::take(&mut state.staged);
            group.waiters.extend(staged.waiters);
            Err(CommitError::Failed)
        };
        for waiter in group.waiters {
            // A task that is gone needs no answer.
            let _ = waiter.send(outcome);
        }
    }

    /// Seals as much of what is staged as fits one entry; the rest stays staged.
    fn build_group(
        &self,
        aggregate: Option<Event>,
        tenant_state: &impl Fn(&TenantName) -> Option<TenantState>,
    ) -> Group {
        let mut state = self.state.borrow_mut();
        let mut sealer = self.sealer.borrow_mut();
        let sequence = state.sequence + 1;
        let mut entry = EntryBuilder::new(state.boot_count, sequence);
        let mut group = Group::default();
        let (mut tenants, mut events) = (Vec::<TenantName>::new(), Vec::from_iter(aggregate));
        let staged = core::mem::take(&mut state.staged);
        for (change, waiter) in staged.changes.into_iter().zip(staged.waiters) {
            if entry.length_bytes() > APPEND_MAX_BYTES / 2 {
                state.staged.changes.push(change);
                state.staged.waiters.push(waiter);
                continue;
            }
            if let Some(account) = change.account {
                let id = RecordId {
                    tenant: sealer.fingerprint(b"tenant", account.tenant.as_str(), ""),
                    account: sealer.fingerprint(b"account", account.tenant.as_str(), account.name.as_str()),
                };
                // Compare and set: the record must be the one that this change was made from, and no other change
                // of this group may replace it. No commit is under way while a group is built.
                let held = state.account_row(id).map_or(0, |row| row.version);
                if held + 1 != account.version || group.accounts.iter().any(|(other, _)| *other == id) {
                    let _ = waiter.send(Err(CommitError::Conflict));
                    continue;
                }
                let plain = Zeroizing::new(countersign_wire::encode_packed(&account));
                let name = Name { kind: Kind::Account, id, version: account.version };
                group.rows.push((name, entry.push(name, &mut sealer, &plain)));
                group.accounts.push((id, account));
            }
            if let Some(tenant) = change.tenant
                && !tenants.contains(&tenant)
            {
                tenants.push(tenant);
            }
            events.push(change.event);
            group.waiters.push(waiter);
        }
        for tenant in tenants {
            let Some(record) = tenant_state(&tenant) else { continue };
            let id = RecordId { tenant: sealer.fingerprint(b"tenant", tenant.as_str(), ""), account: [0; 8] };
            let name = Name { kind: Kind::Tenant, id, version: sequence };
            let plain = countersign_wire::encode_packed(&record);
            group.rows.push((name, entry.push(name, &mut sealer, &plain)));
        }
        let id = RecordId { tenant: [0; 8], account: [0; 8] };
        let name = Name { kind: Kind::Audit, id, version: sequence };
        entry.push(name, &mut sealer, &countersign_wire::encode_packed(&events));
        group.entry = entry.finish();
        group
    }
}

#[derive(Default)]
struct Group {
    entry: Vec<u8>,
    rows: Vec<(Name, log::Placed)>,
    accounts: Vec<(RecordId, Account)>,
    waiters: Vec<oneshot::Sender<Result<(), CommitError>>>,
}

impl State {
    async fn read_log(&mut self, hal: &Hal, nvram: &Nvram) -> Result<(), OpenError> {
        let (mut buffer, mut used, mut read_to) = (Vec::new(), 0, 0u64);
        while self.chain.length_bytes() < nvram.log_bytes {
            match log::split_first(&buffer[used..]).map_err(|_| OpenError::NotALog)? {
                Some(entry) => {
                    let offset = self.chain.length_bytes();
                    self.chain.append(entry.bytes);
                    used += entry.bytes.len();
                    for (name, placed) in entry.records {
                        self.place(name, placed, offset);
                    }
                }
                None if read_to < nvram.log_bytes => {
                    buffer.drain(..core::mem::take(&mut used));
                    let most = u64::from(READ_MAX_BYTES).min(nvram.log_bytes - read_to);
                    let length_bytes = u32::try_from(most).unwrap_or(READ_MAX_BYTES);
                    buffer.extend_from_slice(&hal.read_store(read_to, length_bytes).await?);
                    read_to += u64::from(length_bytes);
                }
                // The head lies inside an entry: these are not the bytes it was computed over.
                None => return Err(OpenError::HeadMismatch),
            }
        }
        Ok(())
    }

    fn account_row(&self, id: RecordId) -> Option<Row> {
        self.accounts.get(&id.tenant)?.get(&id.account).copied()
    }

    fn place(&mut self, name: Name, placed: log::Placed, entry_offset: u64) {
        let row = Row {
            offset: entry_offset + placed.offset,
            length_bytes: placed.length_bytes,
            version: name.version,
            position: placed.position,
        };
        match name.kind {
            Kind::Account => {
                self.accounts.entry(name.id.tenant).or_default().insert(name.id.account, row);
            }
            Kind::Tenant => {
                self.tenants.insert(name.id.tenant, row);
            }
            Kind::Audit => {}
        }
    }

    fn nvram(&self, watermarks: Watermarks) -> Nvram {
        Nvram {
            boot_count: self.boot_count,
            sequence: self.sequence,
            head: self.chain.head(),
            log_bytes: self.chain.length_bytes(),
            unix_floor_secs: watermarks.unix_floor_secs,
            elapsed_secs: watermarks.elapsed_secs,
        }
    }
}
