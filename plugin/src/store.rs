//! The sealed state: an append-only log of sealed records on the untrusted disk, a table of where each record's
//! newest version lies, and the head of the log in NVRAM.
//!
//! * [`log`]: the entry format and the chain of hashes over it, byte by byte;
//! * [`seal`]: how a record is sealed, and why no nonce repeats;
//! * [`nvram`]: what NVRAM holds, byte by byte;
//! * [`table`]: where each record's newest version lies;
//! * [`regions`]: the log piece by piece, each checked by itself;
//! * [`opening`]: what is checked when the plugin starts;
//! * [`cleaning`]: how the log is kept short;
//! * [`trees`]: the trees of the tenants' audit logs, kept in step with it;
//! * [`reading`]: the entries of an audit log, page by page, for its tenant;
//! * [`refused`]: why the store is not used;
//! * [`cache`]: accounts that are kept opened;
//! * [`trail`]: reading a store and its audit trail from outside.
//!
//! One change is one [`Change`]: it may span an account, its tenant and the audit log, and it becomes durable whole
//! or not at all. Changes that are staged while a commit is under way share the next one (group commit). The order
//! is store synced, NVRAM synced, then whoever staged the change goes on; so nothing is ever reported that a crash
//! could take back, and what a crash leaves beyond the head was never reported.
//!
//! "No such account" is answered from the table, never from the disk: a host that hides a record gets a refusal,
//! not a second enrolment. A full disk refuses what was staged and changes nothing; any other fault in a commit poisons
//! the store until the next boot.

mod cache;
mod cleaning;
pub mod log;
pub mod nvram;
mod opening;
#[cfg(feature = "properties")]
pub mod properties;
mod reading;
mod refused;
mod regions;
pub mod seal;
pub(crate) mod table;
#[cfg(test)]
mod tests;
pub mod trail;
mod trees;

use crate::audit::leaf::LogNamer;
use crate::audit::{EVENT_MAX_BYTES, Event};
use crate::hal::{Hal, HalError};
use crate::record::{Account, FORMAT, TenantState};
use cache::Cache;
use cleaning::{Moved, Region};
use core::cell::RefCell;
use countersign_wire::hal::{APPEND_MAX_BYTES, Fault, LogNames, Op};
use countersign_wire::names::{AccountName, TenantName};
use countersign_wire::reason::Reason;
use futures_channel::oneshot;
use log::{Chain, EntryBuilder, Kind, Owner, Placed};
use nvram::{Nvram, Seal};
pub(crate) use refused::CommitError;
pub use refused::StoreError;
use refused::reason_of;
use regions::Marks;
use seal::{Name, Sealer};
use std::collections::BTreeMap;
use table::{Row, Table};
pub(crate) use trees::Tree;
use trees::{Leaf, Place, TreeRecord, Trees};
use zeroize::Zeroizing;

/// What a record is called on the disk: keyed hashes, so that the host learns no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId {
    /// The tenant's fingerprint.
    pub tenant: [u8; 8],
    /// The account's fingerprint within the tenant; all zero for the tenant's own record and the audit log.
    pub account: [u8; 8],
}

impl RecordId {
    const AUDIT: Self = Self { tenant: [0; 8], account: [0; 8] };
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

#[derive(Default)]
struct Staged {
    changes: Vec<Change>,
    /// The leaf of each change's event.
    leaves: Vec<Leaf>,
    waiters: Vec<oneshot::Sender<Result<(), CommitError>>>,
}

/// What the changes of one commit may come to, in bytes: what is staged beyond waits for the next one.
const CHANGES_MAX_BYTES: usize = 256 * 1024;

/// What the audit events of one commit may come to.
pub(crate) const EVENTS_MAX_BYTES: usize = 256 * 1024;

const _: () =
    assert!(CHANGES_MAX_BYTES + EVENTS_MAX_BYTES + 240 * 1024 <= APPEND_MAX_BYTES, "the rest fits as well");

/// The store as the plugin uses it.
pub(crate) struct Store {
    sealer: RefCell<Sealer>,
    namer: LogNamer,
    state: RefCell<State>,
}

struct State {
    owner: Owner,
    seal: Seal,
    boot_count: u64,
    sequence: u64,
    tail: Chain,
    head: Chain,
    marks: Marks,
    archive: Chain,
    archive_blocks: u64,
    table: Table,
    cache: Cache,
    staged: Staged,
    commit_under_way: bool,
    cleaning: Cleaning,
    trees: Trees,
    broken: Option<StoreError>,
}

/// How far cleaning is.
enum Cleaning {
    /// Nothing is under way; nothing is begun before the log is this long.
    Idle { not_before: u64 },
    /// A region is being read and archived.
    Reading,
    /// Its records are being moved, some with each commit.
    Moving(Region),
}

/// After a full disk, cleaning waits until the log has grown by this much.
const CLEANING_PAUSE_BYTES: u64 = 1024 * 1024;

/// What NVRAM is told with every commit besides the chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Watermarks {
    pub(crate) unix_floor_secs: u64,
    pub(crate) elapsed_secs: u64,
}

impl Store {
    /// How often the plugin was started on this store.
    pub(crate) fn boot_count(&self) -> u64 {
        self.state.borrow().boot_count
    }

    /// The newest head of the chain that is durable, and how many entries it has.
    pub(crate) fn head(&self) -> ([u8; 32], u64) {
        let state = self.state.borrow();
        (state.head.head(), state.sequence)
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
        self.state.borrow().table.account_count(id)
    }

    /// The next accounts of a tenant after a cursor, in the order of their fingerprints.
    pub(crate) fn accounts_after(
        &self,
        tenant: &TenantName,
        after: Option<[u8; 8]>,
        most: usize,
    ) -> Vec<RecordId> {
        let tenant = self.tenant_id(tenant);
        self.state.borrow().table.accounts_after(tenant, after, most)
    }

    /// An account as it was last made durable. `Ok(None)`: the table has no such account.
    pub(crate) async fn load(&self, hal: &Hal, id: RecordId) -> Result<Option<Account>, Reason> {
        loop {
            let row = {
                let state = self.state.borrow();
                if state.broken.is_some() {
                    return Err(Reason::StoreRefused);
                }
                if let Some(account) = state.cache.accounts.get(&id) {
                    return Ok(Some(account.clone()));
                }
                match state.table.row(Kind::Account, id) {
                    Some(row) => row,
                    None => return Ok(None),
                }
            };
            let read = self.read_record(hal, Kind::Account, id, row).await;
            let mut state = self.state.borrow_mut();
            // While it was read, a newer version may have been committed, or this one moved away by cleaning.
            if state.table.row(Kind::Account, id) != Some(row) {
                continue;
            }
            let (version, plain) = read.map_err(reason_of)?;
            let account: Account = countersign_wire::decode_packed(&plain)
                .ok()
                .filter(|account: &Account| {
                    account.format == FORMAT
                        && account.version == version
                        && self.account_id(&account.tenant, &account.name) == id
                })
                .ok_or(Reason::StoreRefused)?;
            state.cache.put(id, account.clone());
            return Ok(Some(account));
        }
    }

    /// A tenant's state, or a fresh one if it never changed.
    pub(crate) async fn load_tenant(&self, hal: &Hal, name: &TenantName) -> Result<TenantState, StoreError> {
        let id = RecordId { tenant: self.tenant_id(name), account: [0; 8] };
        let row = self.state.borrow().table.row(Kind::Tenant, id);
        let Some(row) = row else {
            return Ok(TenantState::new(name.clone()));
        };
        let (_, plain) = self.read_record(hal, Kind::Tenant, id, row).await?;
        read_tenant(&plain, name)
    }

    /// The version and the content of the record in this row; exactly the one that was placed there.
    async fn read_record(
        &self,
        hal: &Hal,
        kind: Kind,
        id: RecordId,
        row: Row,
    ) -> Result<(u64, Zeroizing<Vec<u8>>), StoreError> {
        let bytes = hal.read_store(row.offset, row.length_bytes).await?;
        open_record(&mut self.sealer.borrow_mut(), &bytes, kind, id, row)
    }

    /// The tenant's audit log as far as it is durable.
    pub(crate) fn tree(&self, tenant: &TenantName) -> Option<Tree> {
        self.state.borrow().trees.get(tenant).cloned()
    }

    /// What the tenant's audit log calls an account.
    pub(crate) fn log_name(&self, names: LogNames, tenant: &TenantName, account: &AccountName) -> String {
        self.namer.name(names, tenant, account)
    }

    /// How long log and archive are together: every byte that was ever appended moves this up.
    pub(crate) fn grown_bytes(&self) -> u64 {
        let state = self.state.borrow();
        state.head.length_bytes() + state.archive.length_bytes()
    }

    /// Stages a change and waits until it is durable.
    pub(crate) async fn commit(&self, change: Change) -> Result<(), CommitError> {
        let done = {
            let mut state = self.state.borrow_mut();
            if state.broken.is_some() {
                return Err(CommitError::Failed);
            }
            let (waiter, done) = oneshot::channel();
            // Hashed here: while a commit is under way there is nothing better to do.
            state.staged.leaves.push(Leaf::of(&change.event, &self.namer));
            state.staged.changes.push(change);
            state.staged.waiters.push(waiter);
            done
        };
        done.await.unwrap_or(Err(CommitError::Failed))
    }

    /// Why nothing is known of the disk until the next boot, if that is so.
    pub(crate) fn broken(&self) -> Option<StoreError> {
        self.state.borrow().broken
    }

    /// Whether something is staged and no commit is under way.
    pub(crate) fn wants_commit(&self) -> bool {
        let state = self.state.borrow();
        !state.staged.changes.is_empty() && !state.commit_under_way
    }

    /// Makes all that is staged durable as one entry, then lets those who staged it go on.
    ///
    /// If the disk is full, everything is as it was before, and the error says so. If the firmware fails otherwise, the
    /// store is broken until the next boot.
    pub(crate) async fn commit_staged(
        &self,
        hal: &Hal,
        watermarks: Watermarks,
        aggregates: Vec<Event>,
        tenant_state: impl Fn(&TenantName) -> Option<TenantState>,
    ) -> Result<(), CommitError> {
        let mut group = match self.build_group(aggregates, &tenant_state) {
            Ok(group) => group,
            Err(error) => {
                self.state.borrow_mut().fail(error, Vec::new());
                return Err(CommitError::Failed);
            }
        };
        let (offset, next) = {
            let mut state = self.state.borrow_mut();
            state.commit_under_way = true;
            let mut next = state.nvram(watermarks);
            next.sequence += 1;
            next.head.append(&group.entry);
            if let (true, Cleaning::Moving(region)) = (group.finishes_region, &state.cleaning) {
                next.tail = region.tail.clone();
                next.archive = region.archive.clone();
                next.archive_blocks = region.archive_blocks;
            }
            (state.head.length_bytes(), next)
        };
        let append = core::mem::take(&mut group.entry).into();
        let (nvram, discard_before) = (next.encode().into(), next.tail.length_bytes());
        let result = hal.call(Op::Commit { offset, append, nvram, discard_before }).await;
        let mut state = self.state.borrow_mut();
        state.commit_under_way = false;
        let outcome = match result {
            Ok(_) => state.apply(next, offset, &mut group),
            Err(HalError(Fault::StoreFull)) => {
                state.undo(&mut group);
                Err(CommitError::Full)
            }
            Err(error) => {
                state.fail(error.into(), core::mem::take(&mut group.waiters));
                return Err(CommitError::Failed);
            }
        };
        for waiter in group.waiters {
            // A task that is gone needs no answer.
            let _ = waiter.send(outcome);
        }
        outcome
    }

    /// Whether the front of the log should be cleaned now.
    pub(crate) fn wants_cleaning(&self) -> bool {
        let state = self.state.borrow();
        let length = state.head.length_bytes();
        matches!(state.cleaning, Cleaning::Idle { not_before } if not_before <= length)
            && state.broken.is_none()
            && cleaning::is_due(length - state.tail.length_bytes(), state.table.live_bytes())
            && state.marks.first().is_some()
    }

    /// Reads and archives the first region of the log; its records are moved by the commits that follow.
    pub(crate) async fn clean(&self, hal: &Hal) {
        let region = {
            let mut state = self.state.borrow_mut();
            let Some(until) = state.marks.first().cloned() else { return };
            let start = cleaning::Start {
                owner: state.owner,
                boot_count: state.boot_count,
                tail: state.tail.clone(),
                until,
                archive: state.archive.clone(),
                archive_blocks: state.archive_blocks,
            };
            state.cleaning = Cleaning::Reading;
            start.take(hal)
        };
        let region = region.await;
        let mut state = self.state.borrow_mut();
        match region {
            Ok(region) => state.cleaning = Cleaning::Moving(region),
            Err(error) if cleaning::is_passing(error) => {
                let not_before = state.head.length_bytes() + CLEANING_PAUSE_BYTES;
                state.cleaning = Cleaning::Idle { not_before };
            }
            Err(error) => state.fail(error, Vec::new()),
        }
    }

    /// Seals as much of what is staged as fits one entry; the rest stays staged.
    fn build_group(
        &self,
        aggregates: Vec<Event>,
        tenant_state: &impl Fn(&TenantName) -> Option<TenantState>,
    ) -> Result<Group, StoreError> {
        let mut state = self.state.borrow_mut();
        let mut sealer = self.sealer.borrow_mut();
        let sequence = state.sequence + 1;
        let mut entry = EntryBuilder::new(state.owner, state.boot_count, sequence);
        let mut group = Group {
            leaves: aggregates.iter().map(|event| Leaf::of(event, &self.namer)).collect(),
            ..Group::default()
        };
        let (mut tenants, mut events) = (BTreeMap::<TenantName, Vec<u8>>::new(), aggregates);
        let mut tenants_bytes = 0;
        let mut events_bytes: usize = events.iter().map(Event::size_bound_bytes).sum();
        let staged = core::mem::take(&mut state.staged);
        let waiters = staged.leaves.into_iter().zip(staged.waiters);
        for (change, (leaf, waiter)) in staged.changes.into_iter().zip(waiters) {
            if entry.length_bytes() + tenants_bytes > CHANGES_MAX_BYTES
                || events_bytes > EVENTS_MAX_BYTES - EVENT_MAX_BYTES
            {
                state.staged.changes.push(change);
                state.staged.leaves.push(leaf);
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
                let held = state.table.row(Kind::Account, id).map_or(0, |row| row.version);
                let next = held.wrapping_add(1);
                if table::low_version(account.version) != next || group.changes(Kind::Account, id) {
                    let _ = waiter.send(Err(CommitError::Conflict));
                    continue;
                }
                let plain = Zeroizing::new(countersign_wire::encode_packed(&account));
                let name = Name { kind: Kind::Account, id, version: account.version };
                group.rows.push((name, seal_into(&mut entry, &mut sealer, name, &plain)?));
                group.accounts.push((id, account));
            }
            // Nothing changes a tenant while a group is built.
            if let Some(tenant) = change.tenant
                && !tenants.contains_key(&tenant)
                && let Some(record) = tenant_state(&tenant)
            {
                let plain = countersign_wire::encode_packed(&record);
                tenants_bytes += plain.len();
                tenants.insert(tenant, plain);
            }
            events_bytes += change.event.size_bound_bytes();
            events.push(change.event);
            tenants_bytes += leaf.opened_bytes();
            group.leaves.push(leaf);
            group.waiters.push(waiter);
        }
        for (tenant, plain) in tenants {
            let id = RecordId { tenant: sealer.fingerprint(b"tenant", tenant.as_str(), ""), account: [0; 8] };
            let name = Name { kind: Kind::Tenant, id, version: sequence };
            group.rows.push((name, seal_into(&mut entry, &mut sealer, name, &plain)?));
        }
        let name = Name { kind: Kind::Audit, id: RecordId::AUDIT, version: sequence };
        seal_into(&mut entry, &mut sealer, name, &countersign_wire::encode_packed(&events))?;
        state.write_trees(&mut entry, &mut sealer, &mut group)?;
        state.move_into(&mut entry, &mut group);
        group.entry = entry.finish();
        Ok(group)
    }
}

/// What is sealed of a tenant.
fn read_tenant(plain: &[u8], name: &TenantName) -> Result<TenantState, StoreError> {
    let state: TenantState = countersign_wire::decode_packed(plain).map_err(|_| StoreError::Record)?;
    if state.format == FORMAT && state.tenant == *name { Ok(state) } else { Err(StoreError::Record) }
}

/// The version and the content of a record as it was read from the disk; exactly the one that was placed there.
fn open_record(
    sealer: &mut Sealer,
    bytes: &[u8],
    kind: Kind,
    id: RecordId,
    row: Row,
) -> Result<(u64, Zeroizing<Vec<u8>>), StoreError> {
    let (name, position, ciphertext) = log::read_record(bytes).map_err(|_| StoreError::Record)?;
    let is_it = name.kind == kind
        && name.id == id
        && table::low_version(name.version) == row.version
        && position == row.position;
    let plain = if is_it { sealer.open(name, position, ciphertext) } else { None };
    plain.map(|plain| (name.version, plain)).ok_or(StoreError::Record)
}

fn seal_into(
    entry: &mut EntryBuilder,
    sealer: &mut Sealer,
    name: Name,
    plain: &[u8],
) -> Result<Placed, StoreError> {
    let (position, ciphertext) = sealer.seal(name, plain)?;
    if name.kind != Kind::Audit && u16::try_from(ciphertext.len()).is_err() {
        // The table could not hold it, and the log would never open again.
        return Err(StoreError::Record);
    }
    Ok(entry.push(name, position, &ciphertext))
}

#[derive(Default)]
struct Group {
    entry: Vec<u8>,
    rows: Vec<(Name, Placed)>,
    accounts: Vec<(RecordId, Account)>,
    waiters: Vec<oneshot::Sender<Result<(), CommitError>>>,
    moved: Vec<Moved>,
    finishes_region: bool,
    /// The leaves of its events, in order.
    leaves: Vec<Leaf>,
    /// What it writes of a round of trees.
    trees: Vec<TreeRecord>,
}

impl Group {
    fn changes(&self, kind: Kind, id: RecordId) -> bool {
        self.rows.iter().any(|(name, _)| name.kind == kind && name.id == id)
    }
}

impl State {
    /// Moves as much of the region that is being cleaned as the entry may carry.
    fn move_into(&mut self, entry: &mut EntryBuilder, group: &mut Group) {
        let Cleaning::Moving(region) = &mut self.cleaning else { return };
        let until = entry.length_bytes() + cleaning::allowance(entry.length_bytes());
        while entry.length_bytes() < until && entry.has_room() {
            let Some(moved) = region.next(&self.table) else { break };
            // What this entry replaces anyway need not be moved.
            if !group.changes(moved.name.kind, moved.name.id) {
                let placed = region.push_into(entry, &moved);
                group.rows.push((moved.name, placed));
            }
            group.moved.push(moved);
        }
        // What a tree still has to be grown from stays.
        group.finishes_region = region.is_done() && self.trees.covers(region.tail.length_bytes());
    }

    /// Where the next entry will lie.
    fn next_place(&self) -> Place {
        Place { at: self.head.length_bytes(), sequence: self.sequence + 1, size: 0 }
    }

    /// Writes trees down, where that is due.
    fn write_trees(
        &mut self,
        entry: &mut EntryBuilder,
        sealer: &mut Sealer,
        group: &mut Group,
    ) -> Result<(), StoreError> {
        let place = self.next_place();
        let needed_from = match &self.cleaning {
            Cleaning::Moving(region) => region.tail.length_bytes(),
            Cleaning::Idle { .. } | Cleaning::Reading => 0,
        };
        self.trees.begin_round(place.at, place.sequence, needed_from);
        let (of_round, opened) = self.trees.take_to_write(place, &group.leaves);
        for record in of_round.iter().chain(&opened) {
            let tenant = sealer.fingerprint(b"tenant", record.tenant.as_str(), "");
            let id = RecordId { tenant, account: [0; 8] };
            let name = Name { kind: Kind::Tree, id, version: place.sequence };
            let plain = countersign_wire::encode_packed(record);
            group.rows.push((name, seal_into(entry, sealer, name, &plain)?));
        }
        group.trees = of_round;
        Ok(())
    }

    /// The group is durable.
    fn apply(&mut self, next: Nvram, offset: u64, group: &mut Group) -> Result<(), CommitError> {
        for (name, placed) in group.rows.drain(..) {
            if self.table.place(name, placed, offset).is_err() {
                self.broken = Some(StoreError::Record);
                return Err(CommitError::Failed);
            }
        }
        for (id, account) in group.accounts.drain(..) {
            self.cache.put(id, account);
        }
        let place = self.next_place();
        self.trees.take_in(place, next.head.head(), &group.leaves);
        self.trees.written();
        self.sequence = next.sequence;
        self.head = next.head;
        self.marks.note(&next.tail, &self.head);
        if group.finishes_region {
            (self.tail, self.archive, self.archive_blocks) = (next.tail, next.archive, next.archive_blocks);
            self.marks.forget_first();
            self.cleaning = Cleaning::Idle { not_before: 0 };
        }
        Ok(())
    }

    /// The group was not written: what it moved is moved another time.
    fn undo(&mut self, group: &mut Group) {
        self.trees.put_back(core::mem::take(&mut group.trees));
        if let Cleaning::Moving(region) = &mut self.cleaning {
            for moved in group.moved.drain(..).rev() {
                region.put_back(moved);
            }
        }
    }

    /// Nothing is known of the disk any more: refuses these, and all that is staged.
    fn fail(&mut self, error: StoreError, waiters: Vec<oneshot::Sender<Result<(), CommitError>>>) {
        self.broken = Some(error);
        for waiter in waiters.into_iter().chain(core::mem::take(&mut self.staged).waiters) {
            // A task that is gone needs no answer.
            let _ = waiter.send(Err(CommitError::Failed));
        }
    }

    fn nvram(&self, watermarks: Watermarks) -> Nvram {
        Nvram {
            boot_count: self.boot_count,
            sequence: self.sequence,
            tail: self.tail.clone(),
            head: self.head.clone(),
            archive: self.archive.clone(),
            archive_blocks: self.archive_blocks,
            unix_floor_secs: watermarks.unix_floor_secs,
            elapsed_secs: watermarks.elapsed_secs,
            seal: self.seal,
        }
    }
}
