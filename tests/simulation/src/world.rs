//! One history: the real plugin core between simulated hardware and simulated clients, driven by one seed.
//!
//! # The fault model
//! What is trusted, and keeps its promises always:
//! * **NVRAM** holds what was last written to it. A write happens whole or not at all, and is never lost.
//! * **The keystore** makes keys and MACs as asked, or fails. A signature may come out wrong.
//! * **The RNG** gives fresh bytes, or fails. **The running clock** never jumps while the firmware runs.
//!
//! What may happen, between any two steps of any call, in any combination, as the seed's weather has it:
//! * **Crashes.** The plugin is killed; or the power goes, and of what was not synced any part is lost, torn at sectors.
//! * **Lying syncs** of the store: the plugin is told that a commit or a block of the archive is durable, and it is not.
//! * **Writes that fail**, before, in the middle or after; a full disk; reads that fail or come with a bit flipped.
//! * **The attacker at the disk**, while the HSM is down or while it runs: bits flipped, log or archive truncated, the
//!   whole disk or either part or a range of it rolled back, entries and records swapped, another HSM's, another clock
//!   mode's, an older version's, a random, an empty, a beheaded store, bytes after the end.
//! * **A firmware that is not the right one**: another sealing key, another clock mode, an NVRAM that was lost.
//! * **Slow calls**, which finish in any order; at most one commit and one append to the archive are under way.
//! * **Clock jumps** of the real-time clock, back and forth, while it runs and while it is off.
//! * **Clients** that send anything at any time, with the right or a wrong API key.
//! * **Devices** of users, in histories that have such, and somebody on their way who changes and repeats what they say.
//!
//! When the disk does not hold what NVRAM names, the plugin must refuse; then the operator puts the replica back, and
//! the history goes on. At the end the faults stop, all must be answered, and a right code must sign.

mod aging;
mod ending;

use crate::checkers::{Judge, Knowledge, Violation};
use crate::choices::Choices;
use crate::clients::{self, Ask, Clients, TENANTS};
use crate::clock::Clock;
use crate::damage::{self, Copy};
use crate::disk::Disk;
use crate::firmware::{Call, Done, Hardware};
use crate::history::{BootFacts, Condition, Coverage, Event, History, Moment};
use crate::money::{self, LIMITED_TENANT};
use crate::owners::Owners;
use crate::weather::{Weather, strikes};
use countersign_plugin::machine::Plugin;
use countersign_plugin::store::nvram::Nvram;
use countersign_wire::client::{Answer, ClockMode, Outcome, Reply};
use countersign_wire::hal::{
    APPEND_MAX_BYTES, Boot, Delivery, Event as Happened, Extent, LogNames, NVRAM_MAX_BYTES, Op, Output,
    READ_MAX_BYTES, Secret, Tenant,
};
use countersign_wire::names::TenantName;
use countersign_wire::{decode, encode};
use serde_bytes::ByteArray;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// The HSM's id.
pub const HSM_ID: [u8; 16] = [7; 16];

/// The image that it runs.
pub const MEASUREMENT: [u8; 48] = [5; 48];
/// Its sealing key.
pub const SEALING_KEY: [u8; 32] = [9; 32];

/// A longer read than this is one of a region that is cleaned.
const REGION_READ_BYTES: u32 = 50_000;

/// Requests that clients keep under way.
const UNDER_WAY_MAX: usize = 12;

/// What is left when nothing runs: a history goes on from here.
#[derive(Clone, Default)]
pub struct Beginning {
    disk: Disk,
    nvram: Option<Vec<u8>>,
    clock: Clock,
    clients: Clients,
    knowledge: Knowledge,
}

/// What a tenant's operator allows.
pub fn tenant_failures_per_hour(tenant: &str) -> u32 {
    if tenant == "b" { 3 } else { 100 }
}

fn tenant(name: &str) -> Tenant {
    Tenant {
        name: TenantName::parse(name).expect("tenants have names"),
        api_key_sha256: ByteArray::new(Sha256::digest(clients::api_key(name).expose()).into()),
        plain_enrolment: true,
        failures_per_hour: Some(tenant_failures_per_hour(name)),
        accounts_max: (name == "b").then_some(3),
        policy: (name == LIMITED_TENANT).then(|| money::policy().into()),
        lifted: Vec::new(),
        log_names: if name == "b" { LogNames::Hashed } else { LogNames::Plain },
    }
}

/// How a history went.
pub struct Ran {
    /// The hash over all of it.
    pub hash: [u8; 32],
    /// What happened how often.
    pub coverage: Coverage,
}

/// A history that went wrong.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What does not hold.
    pub violation: Violation,
    /// The last events.
    pub tail: String,
}

/// One HSM and its clients.
pub struct World {
    rng: Choices,
    weather: Weather,
    disk: Disk,
    nvram: Option<Vec<u8>>,
    clock: Clock,
    clients: Clients,
    owners: Option<Owners>,
    judge: Judge,
    history: History,
    coverage: Coverage,
    plugin: Option<Plugin>,
    ready: bool,
    halted: bool,
    calls: BTreeMap<u64, Call>,
    open: BTreeSet<u64>,
    last_ticket: u64,
    last_reply: Option<(u64, Reply)>,
    copies: Vec<Copy>,
    tampered: bool,
    step: u64,
    room_at: u64,
}

type Checked<T = ()> = Result<T, Violation>;

fn liveness(seen: impl Into<String>) -> Violation {
    Violation { invariant: "it-goes-on-when-faults-stop", seen: seen.into() }
}

impl World {
    /// A world that goes on from a beginning.
    pub fn new(mut rng: Choices, beginning: Beginning, weather: Option<Weather>) -> Self {
        let drawn = Weather::draw(&mut rng);
        let Beginning { disk, nvram, clock, clients, knowledge } = beginning;
        Self {
            rng,
            weather: weather.unwrap_or(drawn),
            disk,
            nvram,
            clock,
            clients,
            owners: None,
            judge: Judge::new(&SEALING_KEY, HSM_ID, knowledge),
            history: History::new(),
            coverage: Coverage::default(),
            plugin: None,
            ready: false,
            halted: false,
            calls: BTreeMap::new(),
            open: BTreeSet::new(),
            last_ticket: 0,
            last_reply: None,
            copies: Vec::new(),
            tampered: false,
            step: 0,
            room_at: 0,
        }
    }

    /// Some users have devices.
    #[must_use]
    pub fn with_devices(mut self) -> Self {
        self.owners = Some(Owners::default());
        self
    }

    /// Runs a whole history of so many steps.
    pub fn run(self, steps: u64) -> Result<Ran, Failure> {
        self.run_while(|world| world.step < steps)
    }

    /// Runs a history for as long as its script says something.
    pub fn run_script(self) -> Result<Ran, Failure> {
        self.run_while(|world| world.rng.has_more())
    }

    fn run_while(mut self, goes_on: impl Fn(&Self) -> bool) -> Result<Ran, Failure> {
        match self.live(goes_on).and_then(|()| self.end()) {
            Ok(()) => Ok(Ran { hash: self.history.hash(), coverage: self.coverage }),
            Err(violation) => Err(Failure { violation, tail: self.history.tail() }),
        }
    }

    fn live(&mut self, goes_on: impl Fn(&Self) -> bool) -> Checked {
        self.boot()?;
        while goes_on(self) {
            self.step += 1;
            self.turn_of_events()?;
        }
        Ok(())
    }

    /// One step of the history.
    fn turn_of_events(&mut self) -> Checked {
        if self.halted {
            let power = self.rng.u8(..3) == 0;
            return self.crash(power);
        }
        self.misfortune()?;
        match self.rng.u8(..100) {
            0..60 if !self.calls.is_empty() => self.work(),
            60..66 => {
                let secs = [1, 5, 20, 30, 30, 45][self.rng.usize(..6)];
                self.clock.advance(secs);
                Ok(())
            }
            66 if self.rng.u8(..3) == 0 => {
                let secs = self.rng.u64(..3000);
                self.clock.advance(secs);
                Ok(())
            }
            _ if self.open.len() < UNDER_WAY_MAX && (self.ready || self.rng.u8(..20) == 0) => self.request(),
            _ => self.work(),
        }
    }

    /// What may go wrong at any step.
    fn misfortune(&mut self) -> Checked {
        if strikes(&mut self.rng, self.weather.crash) {
            let power = self.rng.bool();
            return self.crash(power);
        }
        if self.disk.full && self.step >= self.room_at {
            self.disk.full = false;
        }
        if strikes(&mut self.rng, self.weather.full_disk) {
            self.disk.full = true;
            self.room_at = self.step + self.rng.u64(1..60);
        }
        if strikes(&mut self.rng, self.weather.clock_jump) {
            let secs = [-100_000, -60, -2, 3, 60, 590, 700, 100_000][self.rng.usize(..8)];
            self.clock.jump(secs);
            self.happened(if secs < 0 { "fault: clock jumped back" } else { "fault: clock jumped ahead" })?;
        }
        if strikes(&mut self.rng, self.weather.tampering_while_running) {
            let bytes = self.disk.log.bytes_mut();
            if !bytes.is_empty() {
                let at = self.rng.usize(..bytes.len());
                bytes[at] ^= 1 << self.rng.u8(..8);
                self.tampered = true;
                self.happened("damage: bit flipped while running")?;
            }
        }
        Ok(())
    }

    fn happened(&mut self, what: &'static str) -> Checked {
        self.coverage.count(what);
        self.note(Event::Fault(what))
    }

    fn note(&mut self, event: Event) -> Checked {
        let moment = Moment { unix_secs: self.clock.unix_secs, powered_secs: self.clock.powered_secs, event };
        let judged = self.judge.see(&moment);
        self.history.note(moment);
        judged
    }

    /// A client asks something.
    fn request(&mut self) -> Checked {
        let now = self.clock.unix_secs;
        let ask = match &mut self.owners {
            Some(owners) if self.rng.u8(..3) > 0 => owners.ask(&mut self.rng, now),
            _ => self.clients.ask(&mut self.rng, now),
        };
        let twice = self.rng.u8(..25) == 0;
        if twice {
            self.send(&ask)?;
        }
        self.send(&ask)
    }

    fn send(&mut self, ask: &Ask) -> Checked {
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        self.open.insert(ticket);
        self.clients.sent(ticket, ask);
        if let Some(owners) = &mut self.owners {
            owners.sent(ticket, ask);
        }
        let request = ask.request.clone().map(Box::new);
        let payload = match &ask.request {
            Some(request) => encode(request),
            None => vec![0xa1; self.rng.usize(..40)],
        };
        self.note(Event::Asked { ticket, tenant: ask.tenant, request })?;
        self.deliver(Happened::Request { ticket, payload: payload.into() })
    }

    /// Goes on with one of the calls under way.
    fn work(&mut self) -> Checked {
        let due =
            self.calls.iter().filter(|(_, call)| call.not_before <= self.step).map(|(number, _)| *number);
        let due: Vec<u64> = due.collect();
        let Some(number) = self.rng.choice(due) else { return Ok(()) };
        self.work_on(number)
    }

    fn work_on(&mut self, number: u64) -> Checked {
        let Some(mut call) = self.calls.remove(&number) else { return Ok(()) };
        if let Some(result) = call.result.take() {
            self.note(Event::Finished { call: number, result: result.clone() })?;
            return self.deliver(Happened::Done { call: number, result });
        }
        self.keeps_the_contract(&call)?;
        let mut hardware = Hardware {
            disk: &mut self.disk,
            nvram: &mut self.nvram,
            rng: &mut self.rng,
            weather: &self.weather,
            coverage: &mut self.coverage,
        };
        let done = hardware.step(&mut call);
        if matches!(call.op, Op::Archive { .. }) && self.weather.crash > 0 {
            call.not_before = self.step + self.rng.u64(..40);
        }
        let durable = match (&done, &call.op) {
            (Done::Durable, Op::Commit { append, nvram, .. }) => Some((append.to_vec(), nvram.to_vec())),
            _ => None,
        };
        self.calls.insert(number, call);
        match durable {
            Some((entry, nvram)) => self.note(Event::Durable { entry, nvram }),
            None => Ok(()),
        }
    }

    /// The plugin's side of the contract, where it depends on where the disk ends.
    fn keeps_the_contract(&self, call: &Call) -> Checked {
        let others = |is: fn(&Op) -> bool| self.calls.values().any(|call| is(&call.op));
        let broken = match &call.op {
            _ if call.is_begun() => None,
            Op::Commit { offset, append, nvram, discard_before } => {
                let fits =
                    append.len() <= APPEND_MAX_BYTES && !nvram.is_empty() && nvram.len() <= NVRAM_MAX_BYTES;
                let alone = !others(|op| matches!(op, Op::Commit { .. }));
                let end = self.disk.log.end();
                (!fits || !alone || (!append.is_empty() && *offset != end) || *discard_before > *offset)
                    .then(|| format!("a commit at {offset} where the log ends at {end}"))
            }
            Op::Archive { offset, append } => {
                let alone = !others(|op| matches!(op, Op::Archive { .. }));
                let end = self.disk.archive.end();
                (!alone || append.len() > APPEND_MAX_BYTES || *offset != end)
                    .then(|| format!("a block at {offset} where the archive ends at {end}"))
            }
            Op::CutStore { end, archive_bytes } => (*end > self.disk.log.end()
                || *archive_bytes > self.disk.archive.end())
            .then(|| "a cut beyond the end".to_owned()),
            Op::ReadStore { length_bytes, .. } | Op::ReadArchive { length_bytes, .. } => {
                (*length_bytes > READ_MAX_BYTES).then(|| "a read beyond the limit".to_owned())
            }
            _ => None,
        };
        broken.map_or(Ok(()), |seen| Err(Violation { invariant: "the-firmware-contract-is-kept", seen }))
    }

    fn deliver(&mut self, event: Happened) -> Checked {
        let time = self.clock.now();
        // The image ends with the turn in which the plugin halted; what comes later reaches nobody.
        let Some(plugin) = self.plugin.as_mut().filter(|_| !self.halted) else { return Ok(()) };
        plugin.deliver(Delivery { time, event });
        // Several deliveries may come before the plugin gets its turn.
        if self.rng.u8(..8) == 0 && !self.calls.is_empty() {
            return Ok(());
        }
        for output in plugin.turn() {
            self.take(output)?;
        }
        Ok(())
    }

    fn take(&mut self, output: Output) -> Checked {
        match output {
            Output::Ready => {
                self.ready = true;
                self.note(Event::Ready)
            }
            Output::Halt { why } => {
                self.halted = true;
                self.coverage.count(format!("halted: {why}"));
                self.note(Event::Halted { why })
            }
            Output::Reply { ticket, payload } => {
                let reply: Reply = decode(&payload).map_err(|_| Violation {
                    invariant: "replies-are-canonical",
                    seen: format!("ticket {ticket} was answered with something else"),
                })?;
                self.open.remove(&ticket);
                self.clients.answered(ticket, &reply);
                if let Some(owners) = &mut self.owners {
                    owners.answered(ticket, &reply);
                }
                match &reply.outcome {
                    Outcome::Done(answer) => self.coverage.count(format!("answered: {}", word(answer))),
                    Outcome::Refused(refusal) => {
                        self.coverage.count(format!("refused: {}", refusal.reason.word()));
                    }
                }
                self.last_reply = Some((ticket, reply.clone()));
                self.note(Event::Answered { ticket, reply: Box::new(reply) })
            }
            Output::Call { call, op, .. } => {
                // Cleaning is rare: it takes its time, so that more comes in between.
                let cleans = matches!(&op, Op::Archive { .. })
                    || matches!(&op, Op::ReadStore { length_bytes, .. } if self.ready && *length_bytes > REGION_READ_BYTES);
                let slow = strikes(&mut self.rng, self.weather.slow) || (cleans && self.rng.bool());
                let delay = if slow { self.rng.u64(1..80) } else { 0 };
                self.note(Event::Called { call, op: op.clone() })?;
                self.calls.insert(call, Call::new(op, self.step + delay));
                Ok(())
            }
        }
    }

    /// The plugin is killed, or the power goes; then it is started again.
    fn crash(&mut self, power: bool) -> Checked {
        self.plugin = None;
        for call in self.calls.values() {
            match &call.op {
                Op::Commit { append, .. } if call.is_begun() && !append.is_empty() => {
                    self.coverage.count("crash: within a commit");
                }
                Op::Archive { .. } if call.is_begun() => {
                    self.coverage.count("crash: within an append to the archive");
                }
                Op::ReadStore { length_bytes, .. } if self.ready && *length_bytes > REGION_READ_BYTES => {
                    self.coverage.count("crash: while a region is read");
                }
                _ => {}
            }
        }
        (self.ready, self.halted) = (false, false);
        self.calls.clear();
        self.open.clear();
        self.clients.forget_asked();
        if let Some(owners) = &mut self.owners {
            owners.forget_asked();
        }
        self.note(Event::Crashed)?;
        self.coverage.count(if power { "crash: power cut" } else { "crash: killed" });
        if power && self.disk.power_cut(&mut self.rng) {
            self.coverage.count("crash: torn write");
        }
        if self.condition() == Condition::Broken {
            // Refused at the last start: the operator puts the good disk back.
            if (self.tampered || self.disk.suspect) && self.rng.bool() {
                self.restore()?;
            }
        } else if strikes(&mut self.rng, self.weather.tampering) {
            if self.copies.len() < 3 && self.rng.u8(..3) == 0 {
                self.copies.push(Copy::of(&self.disk));
            }
            if let Some(kind) = damage::damage(&mut self.rng, &mut self.disk, &self.copies) {
                self.tampered = true;
                self.happened(kind)?;
            }
        }
        self.boot()
    }

    fn restore(&mut self) -> Checked {
        self.disk.restore();
        self.tampered = false;
        self.happened("operator: the good disk was put back")
    }

    /// What the disk is worth.
    fn condition(&mut self) -> Condition {
        let Some(nvram) = self.nvram.as_ref().and_then(|nvram| Nvram::decode(nvram).ok()) else {
            // Before the first commit there is nothing to lose, but a store without NVRAM is nobody's.
            let empty = self.disk.log.end() == 0 && self.disk.archive.end() == 0;
            return if empty { Condition::Whole } else { Condition::Broken };
        };
        let (tail, head) = (nvram.tail.length_bytes(), nvram.head.length_bytes());
        let log = &self.disk.log;
        if !log.is_as_written(tail, head) || self.disk.archive.end() < nvram.archive.length_bytes() {
            return Condition::Broken;
        }
        let begin = log.begin();
        if log.is_as_written(begin, (begin + 35).min(log.end())) {
            Condition::Whole
        } else {
            Condition::WornOut
        }
    }

    fn boot(&mut self) -> Checked {
        self.clock.restart(&mut self.rng);
        let disk = self.condition();
        if disk == Condition::Whole {
            self.tampered = false;
            self.disk.suspect &= !self.disk.is_synced();
        }
        // An HSM that never ran takes any firmware for its own; and without NVRAM and disk it is a new one.
        let begun = self.nvram.is_some() && self.disk.log.begin() < self.disk.log.end();
        let strange = if begun && self.weather.tampering > 0 { self.rng.u8(..60) } else { 60 };
        let sealing_key = if strange == 0 { [8; 32] } else { SEALING_KEY };
        let clock = if strange == 1 { ClockMode::System } else { ClockMode::Manual };
        let nvram = self.nvram.clone().filter(|_| strange != 2);
        let foreign = strange < 3;
        if foreign {
            self.coverage.count(
                ["boot: other sealing key", "boot: other clock mode", "boot: nvram lost"]
                    [usize::from(strange)],
            );
        }
        let faulty = self.weather.unreadable > 0
            || self.weather.flipped_read > 0
            || self.weather.write_fault > 0
            || self.weather.rng_fault > 0
            || self.weather.full_disk > 0
            || self.weather.tampering_while_running > 0
            || self.disk.full;
        self.note(Event::Boot(BootFacts {
            disk,
            tampered: self.tampered || self.disk.suspect,
            foreign,
            faulty,
        }))?;
        let boot = Boot {
            hsm_id: HSM_ID.into(),
            sealing_key: Secret::new(sealing_key.to_vec()),
            measurement: MEASUREMENT.into(),
            clock,
            keystore: "simulated".to_owned(),
            nvram: nvram.map(Into::into),
            store: Extent { begin: self.disk.log.begin(), end: self.disk.log.end() },
            archive_bytes: self.disk.archive.end(),
            tenants: TENANTS.iter().map(|name| tenant(name)).collect(),
            missing_sandbox_layers: Vec::new(),
        };
        self.plugin = Some(Plugin::new());
        self.last_ticket = 0;
        self.coverage.count("boot");
        self.deliver(Happened::Boot(Box::new(boot)))
    }
}

/// The kind of an answer.
fn word(answer: &Answer) -> &'static str {
    match answer {
        Answer::Status(_) => "status",
        Answer::Welcome(_) => "welcome",
        Answer::Random(_) => "random",
        Answer::Enrolled(_) => "enrolled",
        Answer::Account(_) => "account",
        Answer::Key(_) => "key",
        Answer::Keys(_) => "keys",
        Answer::Signed(_) => "signed",
        Answer::LoggedIn => "logged-in",
        Answer::Ended => "ended",
        Answer::LogCheckpoint(_) => "log-checkpoint",
        Answer::LogPage(_) => "log-page",
        Answer::Identity(_) => "identity",
        Answer::Invited(_) => "invited",
        Answer::EnrolledSealed(_) => "enrolled-sealed",
        Answer::Staged(_) => "staged",
        Answer::View(_) => "view",
        Answer::Approved => "approved",
        Answer::Declined => "declined",
        Answer::CarriedOut => "carried-out",
        _ => "something else",
    }
}
