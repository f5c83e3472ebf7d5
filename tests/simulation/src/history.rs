//! The history: everything that happened, in order. The checkers judge it, a failing seed prints its end, and its hash
//! tells whether two runs were the same.

use countersign_wire::client::{Outcome, Reply, Request};
use countersign_wire::hal::{Fault, Op, Value};
use countersign_wire::{encode, encode_packed};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The plugin is started.
    Boot(BootFacts),
    /// It opened the store.
    Ready,
    /// It stopped by itself.
    Halted {
        /// What it told the operator.
        why: String,
    },
    /// It was killed, or the power went.
    Crashed,
    /// A client sent a request.
    Asked {
        /// Its ticket within the boot.
        ticket: u64,
        /// Whose API key it carries; `None`: nobody's.
        tenant: Option<&'static str>,
        /// The request; `None`: bytes that are none.
        request: Option<Box<Request>>,
    },
    /// The plugin answered.
    Answered {
        /// The request's ticket.
        ticket: u64,
        /// The answer.
        reply: Box<Reply>,
    },
    /// The plugin called its firmware.
    Called {
        /// The call's number.
        call: u64,
        /// What for.
        op: Op,
    },
    /// The firmware answered a call.
    Finished {
        /// The call's number.
        call: u64,
        /// How.
        result: Result<Value, Fault>,
    },
    /// A commit is durable: NVRAM names it.
    Durable {
        /// The entry; empty where NVRAM alone was written.
        entry: Vec<u8>,
        /// NVRAM's content.
        nvram: Vec<u8>,
    },
    /// Something else was done to the HSM.
    Fault(&'static str),
    /// Faults have stopped and nothing is left to do.
    Settled,
    /// The end: the good disk's archive, and its log from the tail on.
    End {
        /// The archive.
        archive: Vec<u8>,
        /// The log.
        log: Vec<u8>,
        /// What NVRAM says of both.
        nvram: Vec<u8>,
    },
}

/// What is true of a boot, which the plugin does not know.
#[derive(Clone, Copy, Debug)]
pub struct BootFacts {
    /// Whether the disk holds what NVRAM names.
    pub disk: Condition,
    /// Whether anything was done to the disk that no crash does.
    pub tampered: bool,
    /// Whether NVRAM or the sealing key are not this HSM's own.
    pub foreign: bool,
    /// Whether the firmware may fail while the plugin starts.
    pub faulty: bool,
}

/// What a disk is worth to a plugin that starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It holds every byte that NVRAM names.
    Whole,
    /// It does not.
    Broken,
    /// It does, but what nobody needs of it is not as it was.
    WornOut,
}

/// An event with the clocks it happened at.
#[derive(Clone, Debug)]
pub struct Moment {
    /// What the HSM's real-time clock showed.
    pub unix_secs: u64,
    /// How long the HSM has been running over its whole life.
    pub powered_secs: u64,
    /// What happened.
    pub event: Event,
}

/// How many of the last events a failing seed shows.
const SHOWN: usize = 40;

/// What is kept of it while it goes on.
pub struct History {
    hash: Sha256,
    last: VecDeque<Moment>,
}

impl History {
    /// An empty one.
    pub fn new() -> Self {
        Self { hash: Sha256::new(), last: VecDeque::with_capacity(SHOWN + 1) }
    }

    /// Takes one more event in.
    pub fn note(&mut self, moment: Moment) {
        self.hash.update(moment.unix_secs.to_be_bytes());
        self.hash.update(moment.powered_secs.to_be_bytes());
        self.take_in(&moment.event);
        self.last.push_back(moment);
        if self.last.len() > SHOWN {
            self.last.pop_front();
        }
    }

    fn take_in(&mut self, event: &Event) {
        let (tag, number, bytes): (u8, u64, Cow<'_, [u8]>) = match event {
            Event::Boot(facts) => (1, 0, format!("{facts:?}").into_bytes().into()),
            Event::Ready => (2, 0, Cow::default()),
            Event::Halted { why } => (3, 0, why.as_bytes().into()),
            Event::Crashed => (4, 0, Cow::default()),
            Event::Asked { ticket, request, .. } => {
                (5, *ticket, request.as_ref().map_or_else(Cow::default, |request| encode(request).into()))
            }
            Event::Answered { ticket, reply } => (6, *ticket, encode(reply).into()),
            Event::Called { call, op: Op::Commit { append, nvram, .. } } => {
                self.hash.update(append.as_slice());
                (7, *call, nvram.as_slice().into())
            }
            Event::Called { call, op } => (8, *call, encode_packed(op).into()),
            Event::Finished { call, result: Ok(Value::Bytes(bytes)) } => (9, *call, bytes.as_slice().into()),
            Event::Finished { call, result } => (10, *call, encode_packed(result).into()),
            Event::Durable { nvram, .. } => (11, 0, nvram.as_slice().into()),
            Event::Fault(what) => (12, 0, what.as_bytes().into()),
            Event::Settled => (13, 0, Cow::default()),
            Event::End { log, .. } => (14, 0, log.as_slice().into()),
        };
        self.hash.update([tag]);
        self.hash.update(number.to_be_bytes());
        self.hash.update((bytes.len() as u64).to_be_bytes());
        self.hash.update(&bytes);
    }

    /// The hash over all of it.
    pub fn hash(self) -> [u8; 32] {
        self.hash.finalize().into()
    }

    /// The last events, one a line.
    pub fn tail(&self) -> String {
        let mut text = String::new();
        for moment in &self.last {
            let _ = writeln!(text, "  {:>8} s  {}", moment.powered_secs, line(&moment.event));
        }
        text
    }
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

fn line(event: &Event) -> String {
    match event {
        Event::Asked { ticket, tenant, request } => match request {
            Some(request) => format!("asked #{ticket} by {tenant:?}: {:?} {:?}", request.id, request.act),
            None => format!("asked #{ticket}: no request at all"),
        },
        Event::Answered { ticket, reply } => match &reply.outcome {
            Outcome::Done(answer) => format!("answered #{ticket}: {answer:?}"),
            Outcome::Refused(refusal) => {
                format!("refused #{ticket}: {} {:?}", refusal.reason.word(), refusal.retry_after_secs)
            }
        },
        Event::Called { call, op } => match op {
            Op::Commit { offset, append, discard_before, .. } => {
                format!("call {call}: commit {} at {offset}, need from {discard_before}", append.len())
            }
            Op::Archive { offset, append } => format!("call {call}: archive {} at {offset}", append.len()),
            op => format!("call {call}: {op:?}"),
        },
        Event::Finished { call, result: Ok(Value::Bytes(bytes)) } => {
            format!("done {call}: {} bytes", bytes.len())
        }
        Event::Finished { call, result } => format!("done {call}: {result:?}"),
        Event::Durable { entry, .. } => format!("durable: {} bytes", entry.len()),
        Event::End { .. } => "the end".to_owned(),
        event => format!("{event:?}"),
    }
}

/// How often what happened: whether a run has been where it should go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage(BTreeMap<Cow<'static, str>, u64>);

impl Coverage {
    /// Counts one.
    pub fn count(&mut self, what: impl Into<Cow<'static, str>>) {
        *self.0.entry(what.into()).or_default() += 1;
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: Coverage) {
        for (what, count) in other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    /// How often it happened.
    pub fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or_default()
    }

    /// All counts, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(what, count)| (what.as_ref(), *count))
    }
}
