//! The machine: deliveries in, outputs out, tasks in between.
//!
//! One thread, no I/O. Each request is an `async` task that waits for HAL calls, for its account's turn and for
//! commits. [`Plugin::turn`] runs every task until none can go on, starts one commit for all that was staged, and
//! gives what is to be sent; [`Plugin::step`] does so piece by piece. Whoever drives it (the image's socket loop, a
//! test, a simulation) decides what comes when; the machine itself has no timers, no randomness and no iteration order
//! that depends on addresses.

use crate::VERSION;
use crate::audit::{Event as AuditEvent, What};
use crate::audit_log::LogKey;
use crate::clock::{Clock, Moment};
use crate::enrolment;
use crate::gate;
use crate::grant::OpenGrants;
use crate::hal::Hal;
use crate::identity::Identity;
use crate::record::{PolicyMark, Terms};
use crate::retry::Retries;
use crate::room::{self, Room};
use crate::staged::StagedIntents;
use crate::store::{Change, Store, StoreError, Watermarks};
use crate::tenants::Tenants;
use crate::turns::Turns;
use core::cell::{Cell, OnceCell, RefCell};
use core::fmt;
use countersign_policy::Policy;
use countersign_wire::hal::{Boot, Delivery, Event, Fault, Output, Secret, Tenant, Time, Value};
use countersign_wire::names::{AccountName, TenantName};
use countersign_wire::reason::Reason;
use futures_executor::LocalPool;
use futures_util::task::LocalSpawnExt;
use serde_bytes::{ByteArray, ByteBuf};
use sha2::{Digest, Sha256};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use zeroize::Zeroizing;

/// Requests under way at the most; beyond it the answer is `busy`.
pub const IN_FLIGHT_MAX: usize = 1024;

/// What all tasks share, once the store is open.
pub(crate) struct Core {
    pub(crate) hal: Rc<Hal>,
    pub(crate) boot: Boot,
    pub(crate) store: Store,
    pub(crate) tenants: Tenants,
    pub(crate) turns: Turns,
    pub(crate) grants: RefCell<OpenGrants>,
    pub(crate) identity: Identity,
    pub(crate) log_key: LogKey,
    pub(crate) room: Room,
    pub(crate) staged: RefCell<StagedIntents>,
    pub(crate) retries: RefCell<Retries>,
    pub(crate) retry_salt: Secret,
    clock: Rc<RefCell<Clock>>,
    unreadable: Cell<u64>,
    counts_told_secs: Cell<u64>,
}

/// What is counted over all tenants is told at most this often: each of them reads it, and is not to see when others commit.
const COUNTS_TOLD_EVERY_SECS: u64 = 60;

impl Core {
    /// The present.
    pub(crate) fn now(&self) -> Moment {
        self.clock.borrow().now()
    }

    /// An audit event of now.
    pub(crate) fn event(
        &self,
        tenant: Option<&TenantName>,
        account: Option<&AccountName>,
        what: What,
    ) -> AuditEvent {
        AuditEvent {
            unix_secs: self.now().unix_secs,
            tenant: tenant.cloned(),
            account: account.cloned(),
            names: tenant.map(|tenant| self.tenants.log_names(tenant)).unwrap_or_default(),
            what,
        }
    }

    /// Counts a request that could not be read or named no good API key. Recorded in aggregate.
    pub(crate) fn count_unreadable(&self) {
        self.unreadable.set(self.unreadable.get().saturating_add(1));
    }

    fn watermarks(&self) -> Watermarks {
        let now = self.now();
        Watermarks { unix_floor_secs: now.unix_secs, elapsed_secs: now.elapsed_secs }
    }

    /// What was counted over all tenants, if it is time to tell it.
    fn counts(&self) -> Counts {
        let elapsed_secs = self.now().elapsed_secs;
        if elapsed_secs.saturating_sub(self.counts_told_secs.get()) < COUNTS_TOLD_EVERY_SECS {
            return Counts::default();
        }
        self.counts_told_secs.set(elapsed_secs);
        Counts { unreadable: self.unreadable.take(), no_room: self.room.take_unrecorded() }
    }

    async fn commit_staged(&self) {
        let counts = self.counts();
        let mut aggregates = Vec::new();
        if counts.unreadable > 0 {
            aggregates.push(self.event(None, None, What::Unreadable { count: counts.unreadable }));
        }
        if counts.no_room > 0 {
            aggregates.push(self.event(None, None, What::NoRoom { count: counts.no_room }));
        }
        let state = |tenant: &TenantName| self.tenants.state(tenant);
        if self.store.commit_staged(&self.hal, self.watermarks(), aggregates, state).await.is_err() {
            self.unreadable.set(self.unreadable.get().saturating_add(counts.unreadable));
            self.room.give_back(counts.no_room);
        }
    }
}

/// Requests that were refused before it was clear whose they are, or whoever's they are.
#[derive(Default)]
struct Counts {
    unreadable: u64,
    no_room: u64,
}

/// The plugin, as the image or a test drives it.
pub struct Plugin {
    pool: LocalPool,
    hal: Rc<Hal>,
    core: Rc<OnceCell<Core>>,
    clock: Option<Rc<RefCell<Clock>>>,
    in_flight: Rc<Cell<usize>>,
    /// Signatures that came from the keystore and were not taken up yet.
    signatures: VecDeque<(u64, Value)>,
    /// The last step took none up because something else was to be sent at once.
    put_off: bool,
}

impl Default for Plugin {
    fn default() -> Self {
        Self::new()
    }
}

impl Plugin {
    /// A plugin that waits for [`Event::Boot`].
    pub fn new() -> Self {
        Self {
            pool: LocalPool::new(),
            hal: Rc::default(),
            core: Rc::default(),
            clock: None,
            in_flight: Rc::default(),
            signatures: VecDeque::new(),
            put_off: false,
        }
    }

    /// Takes one delivery in. Nothing is decided before [`Self::turn`].
    pub fn deliver(&mut self, delivery: Delivery) {
        if let Some(clock) = &self.clock {
            clock.borrow_mut().observe(delivery.time);
        }
        match delivery.event {
            Event::Boot(boot) if self.clock.is_none() => {
                let clock = Rc::new(RefCell::new(Clock::start(0, 0, delivery.time)));
                self.clock = Some(Rc::clone(&clock));
                let (hal, core) = (Rc::clone(&self.hal), Rc::clone(&self.core));
                let first = delivery.time;
                self.spawn(async move { open(hal, core, clock, *boot, first).await });
            }
            Event::Boot(_) => self.halt("the firmware booted the plugin twice"),
            Event::Request { ticket, payload } => self.request(ticket, payload),
            Event::Done { call, result: Ok(signature @ Value::Signature(_)) } => {
                self.signatures.push_back((call, signature));
            }
            Event::Done { call, result } => self.finish(call, result),
        }
    }

    fn finish(&self, call: u64, result: Result<Value, Fault>) {
        if !self.hal.finish(call, result) {
            self.halt("the firmware answered a call that was not made");
        }
    }

    /// Works until nothing can go on, and gives what is to be sent, in order.
    pub fn turn(&mut self) -> Vec<Output> {
        let mut outputs = self.step();
        while self.has_more() {
            outputs.append(&mut self.step());
        }
        outputs
    }

    /// A part of a turn, and what of it is to be sent at once. Verifying a signature takes longer than all else, so that
    /// what came from the keystore is taken up last and one at a time: meanwhile the disk works on the next commit, and
    /// whoever drives the plugin may look whether something came that is more urgent. It is put off once, not for ever.
    pub fn step(&mut self) -> Vec<Output> {
        let mut outputs = self.run();
        if !outputs.is_empty() && !core::mem::take(&mut self.put_off) {
            self.put_off = self.has_more();
        } else if let Some((call, signature)) = self.signatures.pop_front() {
            self.finish(call, Ok(signature));
            outputs.append(&mut self.run());
        }
        outputs
    }

    /// Whether there is more to do without anything more being delivered.
    pub fn has_more(&self) -> bool {
        !self.signatures.is_empty()
    }

    /// Runs every task until none can go on.
    fn run(&mut self) -> Vec<Output> {
        loop {
            self.pool.run_until_stalled();
            let store = self.core.get().map(|core| &core.store);
            if let Some(error) = store.and_then(Store::broken) {
                // Whoever waited has been refused; nothing better can come before the next boot.
                self.halt(&error.to_string());
                return self.hal.take_outputs();
            }
            let (commit, clean) =
                (store.is_some_and(Store::wants_commit), store.is_some_and(Store::wants_cleaning));
            let ask = self.core.get().is_some_and(|core| core.room.is_outdated(core.store.grown_bytes()));
            if !commit && !clean && !ask {
                return self.hal.take_outputs();
            }
            let core = Rc::clone(&self.core);
            self.spawn(async move {
                match core.get() {
                    Some(core) if commit => core.commit_staged().await,
                    Some(core) if clean => core.store.clean(&core.hal).await,
                    Some(core) => room::ask(core).await,
                    None => {}
                }
            });
        }
    }

    fn request(&mut self, ticket: u64, payload: ByteBuf) {
        let reply = |payload: Vec<u8>| Output::Reply { ticket, payload: payload.into() };
        if self.core.get().is_none() {
            self.hal.send(reply(gate::refuse(&payload, Reason::HsmNotReady)));
            return;
        }
        if self.in_flight.get() >= IN_FLIGHT_MAX {
            self.hal.send(reply(gate::refuse(&payload, Reason::Busy)));
            return;
        }
        self.in_flight.set(self.in_flight.get() + 1);
        let (core, hal, in_flight) =
            (Rc::clone(&self.core), Rc::clone(&self.hal), Rc::clone(&self.in_flight));
        let task = async move {
            if let Some(core) = core.get() {
                let payload = Zeroizing::new(payload.into_vec());
                let answer = gate::handle(core, &payload).await;
                hal.send(Output::Reply { ticket, payload: answer.into() });
            }
            in_flight.set(in_flight.get().saturating_sub(1));
        };
        self.spawn(Hal::for_request(Rc::clone(&self.hal), ticket, task));
    }

    fn spawn(&mut self, task: impl Future<Output = ()> + 'static) {
        self.pool.spawner().spawn_local(task).expect("the pool lives as long as the plugin");
    }

    fn halt(&self, why: &str) {
        self.hal.send(Output::Halt { why: why.to_owned() });
    }
}

/// Opens the store and makes the plugin ready, or halts it.
async fn open(hal: Rc<Hal>, core: Rc<OnceCell<Core>>, clock: Rc<RefCell<Clock>>, boot: Boot, first: Time) {
    match try_open(&hal, &clock, boot, first).await {
        Ok((opened, new)) => {
            let event = opened.event(None, None, booted(&opened));
            if core.set(opened).is_err() {
                return hal.send(Output::Halt { why: "the store was opened twice".to_owned() });
            }
            let Some(core) = core.get() else { return };
            let mut changes = open_logs(core);
            changes.push(Change { account: None, tenant: None, event });
            changes.extend(new.into_iter().map(|(tenant, what)| {
                let event = core.event(Some(&tenant), None, what);
                Change { account: None, tenant: Some(tenant), event }
            }));
            // In one commit, which all of them wait for.
            let commits = changes.into_iter().map(|change| core.store.commit(change));
            let started = match futures_util::future::try_join_all(commits).await {
                Ok(_) => enrolment::lift_freezes(core).await,
                Err(error) => Err(Reason::from(error)),
            };
            match started {
                Ok(()) => {
                    room::ask(core).await;
                    hal.send(Output::Ready);
                }
                Err(reason) => {
                    let fault = if reason == Reason::StoreFull { Fault::StoreFull } else { Fault::Store };
                    hal.send(Output::Halt { why: StoreError::Hal(fault).to_string() });
                }
            }
        }
        Err(error) => hal.send(Output::Halt { why: error.to_string() }),
    }
}

fn booted(core: &Core) -> What {
    What::Booted {
        boot_count: core.store.boot_count(),
        version: VERSION.to_owned(),
        measurement: core.boot.measurement,
        clock: core.boot.clock,
    }
}

/// The first entry of each tenant's audit log that has none yet.
fn open_logs(core: &Core) -> Vec<Change> {
    let tenants = core.boot.tenants.iter().map(|tenant| &tenant.name);
    let new = tenants.filter(|tenant| core.store.tree(tenant).is_none());
    let opened = |tenant| core.event(Some(tenant), None, What::LogOpened { hsm: core.boot.hsm_id });
    new.map(|tenant| Change { account: None, tenant: None, event: opened(tenant) }).collect()
}

/// Why the plugin does not become ready.
enum StartError {
    Store(StoreError),
    Policy { tenant: TenantName, why: String },
}

impl<E: Into<StoreError>> From<E> for StartError {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Policy { tenant, why } => {
                write!(f, "the policy of tenant {tenant} is refused: {why} (policy-refused)")
            }
        }
    }
}

/// The policies that were read, by the hash of their documents: tenants often share one, and reading takes milliseconds.
type ReadPolicies = BTreeMap<Option<[u8; 32]>, Rc<Policy>>;

/// Reads a tenant's policy. Versions never fall, and a tenant that was given a policy has one ever after.
fn read_policy(
    tenant: &Tenant,
    known: Option<PolicyMark>,
    read: &mut ReadPolicies,
) -> Result<(Rc<Policy>, Option<PolicyMark>), StartError> {
    let refused = |why: String| StartError::Policy { tenant: tenant.name.clone(), why };
    let Some(document) = &tenant.policy else {
        return match known {
            None => {
                let development = read.entry(None).or_insert_with(|| Rc::new(Policy::development()));
                Ok((Rc::clone(development), None))
            }
            Some(PolicyMark { version, .. }) => {
                Err(refused(format!("it is gone; version {version} was in force")))
            }
        };
    };
    let sha256: [u8; 32] = Sha256::digest(document).into();
    let policy = match read.entry(Some(sha256)) {
        Entry::Occupied(read) => Rc::clone(read.get()),
        Entry::Vacant(unread) => {
            let policy = Policy::read(document).map_err(|problem| refused(problem.to_string()))?;
            Rc::clone(unread.insert(Rc::new(policy)))
        }
    };
    let version = policy.document().version;
    let mark = PolicyMark { version, sha256: ByteArray::new(sha256) };
    match known {
        Some(known) if known.version > version => Err(refused(format!(
            "version {version} is older than version {}, which was in force",
            known.version
        ))),
        Some(known) if known.version == version && known.sha256 != mark.sha256 => {
            Err(refused(format!("it is another version {version} than the one that was in force")))
        }
        _ => Ok((policy, Some(mark))),
    }
}

async fn try_open(
    hal: &Rc<Hal>,
    clock: &Rc<RefCell<Clock>>,
    boot: Boot,
    first: Time,
) -> Result<(Core, Vec<(TenantName, What)>), StartError> {
    let (store, watermarks) = Store::open(hal, &boot).await?;
    *clock.borrow_mut() = Clock::start(watermarks.unix_floor_secs, watermarks.elapsed_secs, first);
    let (mut tenants, mut new) = (Vec::new(), Vec::new());
    let mut policies = ReadPolicies::new();
    for tenant in &boot.tenants {
        let mut state = store.load_tenant(hal, &tenant.name).await?;
        let (policy, mark) = read_policy(tenant, state.policy, &mut policies)?;
        if let Some(mark) = mark.filter(|mark| state.policy != Some(*mark)) {
            state.policy = Some(mark);
            let PolicyMark { version, sha256 } = mark;
            new.push((tenant.name.clone(), What::PolicyChanged { version, sha256 }));
        }
        let terms = Terms::of(tenant);
        if state.terms.as_ref() != Some(&terms) {
            state.terms = Some(terms.clone());
            new.push((tenant.name.clone(), What::TermsChanged(terms)));
        }
        tenants.push((tenant.clone(), state, policy));
    }
    let identity = Identity::endorse(hal, &boot.sealing_key).await?;
    let log_key = LogKey::derive(&boot.sealing_key);
    let retry_salt = hal.random(32).await?;
    let started_secs = clock.borrow().now().elapsed_secs;
    let core = Core {
        hal: Rc::clone(hal),
        boot,
        store,
        tenants: Tenants::new(tenants),
        turns: Turns::default(),
        grants: RefCell::default(),
        identity,
        log_key,
        room: Room::default(),
        staged: RefCell::default(),
        retries: RefCell::default(),
        retry_salt,
        clock: Rc::clone(clock),
        unreadable: Cell::new(0),
        counts_told_secs: Cell::new(started_secs),
    };
    Ok((core, new))
}

#[cfg(test)]
mod tests;
