//! Between clients, plugin and workers: requests in, replies out, calls to the workers and their results back.
//!
//! ```text
//! connection thread ──request──┐                       ┌──reply──> client's socket, without waiting
//! connection thread ──request──┼──> plugin ──outputs──>│ the worker that reads
//! worker ────────────result────┘                       └──call───> that worker; another one reads on
//! ```

use crate::link::{PluginGone, PluginLink};
use crate::listener::Connection;
use crate::log;
use crate::ops::Hardware;
use countersign_wire::decode_packed;
use countersign_wire::frame::{self, HAL_MAX_BYTES};
use countersign_wire::hal::{Event, Op, Output};
use serde_bytes::ByteBuf;
use std::collections::{HashMap, VecDeque};
use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use zeroize::Zeroize;

/// The most calls that wait for a worker. The plugin bounds its own; beyond this it is out of order.
const WAITING_CALLS_MAX: usize = 16 * 1024;

/// The most bytes of requests that the plugin holds unanswered. Beyond, the answer is `busy`, so that clients cannot
/// exhaust its memory together. One request always fits.
const UNANSWERED_MAX_BYTES: usize = 2 * 1024 * 1024;

/// Room for what is read from the plugin at once, in bytes.
const READ_BYTES: usize = 128 * 1024;

/// A stack for threads that only carry bytes.
pub const SMALL_STACK_BYTES: usize = 256 * 1024;

/// One running plugin, and who waits for it.
pub struct Relay {
    link: PluginLink,
    waiting: Mutex<Waiting>,
}

/// Why a request was not handed to the plugin. Gives it back where it can be answered.
#[derive(Debug)]
pub enum NotTaken {
    /// As much is unanswered as may be.
    Busy(Vec<u8>),
    /// The plugin is gone.
    Gone,
}

#[derive(Default)]
struct Waiting {
    last_ticket: u64,
    /// Who waits for an answer, and the length of his request.
    clients: HashMap<u64, (Arc<Connection>, usize)>,
    unanswered_bytes: usize,
    closed: bool,
}

impl Relay {
    /// A relay to the plugin at the other end of `link`.
    pub fn new(link: PluginLink) -> Arc<Self> {
        Arc::new(Self { link, waiting: Mutex::default() })
    }

    /// The way to the plugin.
    pub fn link(&self) -> &PluginLink {
        &self.link
    }

    /// Hands a request to the plugin, under a ticket that is never used again.
    pub fn request(&self, client: &Arc<Connection>, payload: Vec<u8>) -> Result<(), NotTaken> {
        let ticket = {
            let length = payload.len();
            let mut waiting = self.waiting();
            if waiting.closed {
                return Err(NotTaken::Gone);
            }
            if !waiting.clients.is_empty() && waiting.unanswered_bytes + length > UNANSWERED_MAX_BYTES {
                return Err(NotTaken::Busy(payload));
            }
            waiting.last_ticket += 1;
            waiting.unanswered_bytes += length;
            let ticket = waiting.last_ticket;
            waiting.clients.insert(ticket, (Arc::clone(client), length));
            ticket
        };
        // If the link breaks here, `close` drops the client: whether the plugin saw the request is not known.
        let payload = ByteBuf::from(payload);
        self.link.deliver(Event::Request { ticket, payload }).map_err(|PluginGone| NotTaken::Gone)
    }

    fn reply(&self, ticket: u64, payload: &[u8]) {
        let answered = {
            let mut waiting = self.waiting();
            let answered = waiting.clients.remove(&ticket);
            waiting.unanswered_bytes -= answered.as_ref().map_or(0, |(_, length)| *length);
            answered
        };
        if let Some((client, _)) = answered {
            client.answer(payload);
        }
    }

    /// Ends it. Clients that wait for an answer lose their connection: nothing is released, and they may ask again.
    pub fn close(&self) {
        self.link.close();
        let clients = {
            let mut waiting = self.waiting();
            waiting.closed = true;
            std::mem::take(&mut waiting.clients)
        };
        for (client, _) in clients.into_values() {
            client.drop_now();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("nothing panics while it holds the tickets")
    }
}

/// Which plugin takes requests at the moment, if any.
#[derive(Default)]
pub struct Switchboard(RwLock<Option<Arc<Relay>>>);

impl Switchboard {
    /// The plugin that takes requests.
    pub fn current(&self) -> Option<Arc<Relay>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From here on this one takes requests, or none.
    pub fn set(&self, relay: Option<Arc<Relay>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = relay;
    }
}

/// What the supervisor is told about a plugin.
#[derive(Debug)]
pub enum Said {
    /// It opened its store.
    Ready,
    /// It will not go on.
    Halt(String),
    /// It is gone, or no longer makes sense.
    Gone(String),
}

/// The threads of one plugin: they read what it says and do what it asks.
///
/// They take turns at reading. Whoever reads and finds a call lets the next one read and does the call himself, so that
/// it begins without waiting for another thread to wake. One always reads, or is free to: so the plugin never waits
/// for threads that wait for the plugin.
pub struct Crew {
    relay: Arc<Relay>,
    hardware: Arc<Hardware>,
    reading: Mutex<Reading>,
    calls: Mutex<Calls>,
    /// There is something to sign, or nothing more to do.
    signing: Condvar,
}

struct Reading {
    buffer: Vec<u8>,
    /// How much of the buffer is read and not yet taken.
    filled: usize,
    tell: Box<dyn FnMut(Said) + Send>,
    ended: bool,
}

/// The most calls that wait for the disk at once: one commit and one append to the archive.
const WRITES_AT_ONCE: usize = 2;

/// Whether a call mostly waits for the disk. The plugin makes no more than [`WRITES_AT_ONCE`] of these at a time, and they
/// take no place among those that keep a processor busy.
fn is_write(op: &Op) -> bool {
    matches!(op, Op::Commit { .. } | Op::CutStore { .. } | Op::Archive { .. })
}

/// How much signing yields to everything else (`nice`): it keeps processors busy for as long as there is something to
/// sign, and commits and the plugin, which others wait for, would have to wait for a time slice.
const SIGNING_NICE: i32 = 5;

/// Calls that no thread has begun yet.
struct Calls {
    waiting: VecDeque<(u64, Op)>,
    /// Those for the threads that sign.
    to_sign: VecDeque<(u64, Op)>,
    ended: bool,
    /// Calls under way that keep a processor busy, and the most there may be.
    busy: usize,
    busy_most: usize,
    writes: usize,
    /// MACs are made by one thread at a time: two are no faster, with SoftHSM even slower, and would keep signatures
    /// waiting.
    mac_under_way: bool,
}

/// What a call counts as while it is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Write,
    Mac,
    Sign,
    Other,
}

impl Sort {
    fn of(op: &Op) -> Self {
        match op {
            Op::Mac { .. } => Self::Mac,
            Op::SignDigest { .. } | Op::GenerateKeyPair => Self::Sign,
            op if is_write(op) => Self::Write,
            _ => Self::Other,
        }
    }
}

impl Calls {
    fn new(busy_most: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            to_sign: VecDeque::new(),
            ended: false,
            busy: 0,
            busy_most,
            writes: 0,
            mac_under_way: false,
        }
    }

    /// Adds a call. Whether it is one to sign.
    fn push(&mut self, call: u64, op: Op) -> Sort {
        let sort = Sort::of(&op);
        match sort {
            Sort::Sign => self.to_sign.push_back((call, op)),
            // The plugin makes one commit at a time, and everybody waits for it.
            Sort::Write => self.waiting.push_front((call, op)),
            Sort::Mac | Sort::Other => self.waiting.push_back((call, op)),
        }
        sort
    }

    /// The next call that may be begun by a thread that does not sign.
    fn pick(&mut self) -> Option<(u64, Op)> {
        let may_begin = |op: &Op| match Sort::of(op) {
            Sort::Write => self.writes < WRITES_AT_ONCE,
            Sort::Mac => self.busy < self.busy_most && !self.mac_under_way,
            Sort::Sign | Sort::Other => self.busy < self.busy_most,
        };
        let next = self.waiting.iter().position(|(_, op)| may_begin(op))?;
        let call = self.waiting.remove(next)?;
        match Sort::of(&call.1) {
            Sort::Write => self.writes += 1,
            Sort::Mac => (self.busy, self.mac_under_way) = (self.busy + 1, true),
            Sort::Sign | Sort::Other => self.busy += 1,
        }
        Some(call)
    }

    /// A call that was picked is done.
    fn finish(&mut self, sort: Sort) {
        match sort {
            Sort::Write => self.writes -= 1,
            Sort::Mac => (self.busy, self.mac_under_way) = (self.busy - 1, false),
            Sort::Sign | Sort::Other => self.busy -= 1,
        }
    }
}

impl Crew {
    /// Starts the threads: `workers` calls may be under way at once, besides those that wait for the disk. They end when
    /// the plugin is gone, after what is under way is done.
    pub fn start(
        relay: &Arc<Relay>,
        hardware: &Arc<Hardware>,
        workers: usize,
        tell: impl FnMut(Said) + Send + 'static,
    ) -> io::Result<Vec<JoinHandle<()>>> {
        let reading = Reading { buffer: vec![0; READ_BYTES], filled: 0, tell: Box::new(tell), ended: false };
        let crew = Arc::new(Self {
            relay: Arc::clone(relay),
            hardware: Arc::clone(hardware),
            reading: Mutex::new(reading),
            calls: Mutex::new(Calls::new(workers)),
            signing: Condvar::new(),
        });
        // And one that reads.
        let count = workers + WRITES_AT_ONCE + 1;
        let mut threads = Vec::with_capacity(count);
        for _ in 0..count {
            let member = Arc::clone(&crew);
            threads.push(std::thread::Builder::new().name("worker".into()).spawn(move || member.work())?);
        }
        for _ in 0..workers {
            let member = Arc::clone(&crew);
            threads.push(std::thread::Builder::new().name("signer".into()).spawn(move || member.sign())?);
        }
        Ok(threads)
    }

    /// Signs until the plugin is gone.
    fn sign(&self) {
        // Without it everything works, only slower.
        let _ = rustix::process::setpriority_process(None, SIGNING_NICE);
        while let Some((call, op)) = self.next_to_sign() {
            self.perform(call, op);
        }
    }

    fn next_to_sign(&self) -> Option<(u64, Op)> {
        let idle = |calls: &mut Calls| calls.to_sign.is_empty() && !calls.ended;
        let mut calls =
            self.signing.wait_while(self.calls(), idle).expect("nothing panics while it holds the calls");
        calls.to_sign.pop_front()
    }

    fn work(&self) {
        while let Some(call) = self.next_call() {
            let mut next = Some(call);
            while let Some((call, op)) = next {
                let sort = Sort::of(&op);
                self.perform(call, op);
                next = self.finish_and_take(sort);
            }
        }
    }

    /// Reads until there is a call for this thread; `None` when the plugin is gone.
    fn next_call(&self) -> Option<(u64, Op)> {
        let mut reading = self.reading.lock().expect("a thread that panics ends the process");
        loop {
            if let Some(call) = self.calls().pick() {
                return Some(call);
            }
            if reading.ended {
                return None;
            }
            if let Err(why) = self.read_some(&mut reading) {
                reading.ended = true;
                reading.buffer.zeroize();
                self.relay.close();
                // Nobody waits for the calls of a plugin that is gone.
                let mut calls = self.calls();
                calls.waiting.clear();
                calls.to_sign.clear();
                calls.ended = true;
                drop(calls);
                self.signing.notify_all();
                (reading.tell)(Said::Gone(why));
            }
        }
    }

    /// The next call for a thread that has just done one; it need not read for that.
    fn finish_and_take(&self, sort: Sort) -> Option<(u64, Op)> {
        let mut calls = self.calls();
        calls.finish(sort);
        calls.pick()
    }

    fn perform(&self, call: u64, op: Op) {
        // A plugin that is gone needs no results; its successor begins with what is on the disk.
        if self.relay.link.is_open() {
            let result = self.hardware.perform(op);
            // If the plugin went meanwhile, the disk decides.
            let _ = self.relay.link.deliver(Event::Done { call, result });
        }
    }

    fn read_some(&self, reading: &mut Reading) -> Result<(), String> {
        if reading.buffer.len() - reading.filled < READ_BYTES / 2 {
            reading.buffer.resize(reading.filled + READ_BYTES, 0);
        }
        let filled = reading.filled;
        let read = loop {
            match self.relay.link.reader().read(&mut reading.buffer[filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map_err(|error| error.to_string())?,
            }
        };
        if read == 0 {
            return Err("it closed its socket".into());
        }
        reading.filled += read;
        self.take_frames(reading).map_err(str::to_owned)
    }

    fn take_frames(&self, reading: &mut Reading) -> Result<(), &'static str> {
        let Reading { buffer, filled, tell, .. } = reading;
        let mut used = 0;
        while let Some((payload, taken)) = frame::split_first(&buffer[used..*filled], HAL_MAX_BYTES)
            .map_err(|_| "it sent a frame of a wrong length")?
        {
            match decode_packed(payload).map_err(|_| "it sent something that is no message")? {
                Output::Reply { ticket, payload } => self.relay.reply(ticket, &payload),
                Output::Call { call, op } => {
                    let mut calls = self.calls();
                    if calls.waiting.len() + calls.to_sign.len() >= WAITING_CALLS_MAX {
                        return Err("it makes more calls than it may");
                    }
                    let sort = calls.push(call, op);
                    drop(calls);
                    if sort == Sort::Sign {
                        self.signing.notify_one();
                    }
                }
                Output::Ready => tell(Said::Ready),
                Output::Halt { why } => tell(Said::Halt(why)),
            }
            used += taken;
        }
        // Messages may hold secrets: what was taken is wiped, what is left over moves to the front.
        let left = *filled - used;
        buffer.copy_within(used..*filled, 0);
        buffer[left..*filled].zeroize();
        *filled = left;
        Ok(())
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().expect("nothing panics while it holds the calls")
    }
}

/// Copies what the plugin writes to standard error into the log, in printable lines of bounded length.
pub fn log_stderr(stderr: impl Read) {
    const LINE_MAX_BYTES: usize = 500;
    let mut line = String::new();
    for byte in io::BufReader::new(stderr).bytes() {
        match byte {
            Ok(b'\n') => log::line(format_args!("plugin: {}", std::mem::take(&mut line))),
            Ok(byte) if line.len() < LINE_MAX_BYTES => {
                line.push(if byte.is_ascii_graphic() || byte == b' ' { char::from(byte) } else { '?' });
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    if !line.is_empty() {
        log::line(format_args!("plugin: {line}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_wire::client::TotpHash;

    fn mac() -> Op {
        Op::Mac { wrapped: ByteBuf::new(), hash: TotpHash::Sha1, counters: vec![1] }
    }

    fn calls(ops: impl IntoIterator<Item = Op>) -> Calls {
        let mut calls = Calls::new(2);
        calls.waiting = (1..).zip(ops).collect();
        calls
    }

    fn next(calls: &mut Calls) -> Option<u64> {
        calls.pick().map(|(call, _)| call)
    }

    #[test]
    fn macs_are_made_one_at_a_time_and_keep_nothing_else_waiting() {
        let mut calls = calls([mac(), mac(), Op::GenerateKeyPair]);
        assert_eq!([next(&mut calls), next(&mut calls), next(&mut calls)], [Some(1), Some(3), None]);
        calls.finish(Sort::Mac);
        assert_eq!(next(&mut calls), Some(2));
    }

    #[test]
    fn what_waits_for_the_disk_takes_no_place_of_what_keeps_a_processor_busy() {
        let archive = Op::Archive { offset: 0, append: ByteBuf::new() };
        let mut calls = calls([Op::GenerateKeyPair, Op::GenerateKeyPair, Op::GenerateKeyPair, archive]);
        let picked = [(); 4].map(|()| next(&mut calls));
        assert_eq!(picked, [Some(1), Some(2), Some(4), None]);
        calls.finish(Sort::Write);
        assert_eq!(next(&mut calls), None);
        calls.finish(Sort::Other);
        assert_eq!(next(&mut calls), Some(3));
    }
}
