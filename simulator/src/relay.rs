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
/// Those of the crew take turns at reading. Whoever reads and finds something short, or for the disk, lets the next one
/// read and does it himself, so that it begins without waiting for another thread to wake. One always reads, or is free
/// to: so the plugin never waits for threads that wait for the plugin. Signing goes to threads of its own, which keep
/// the processors busy and yield to everything else.
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

/// The most calls of the disk under way at once: one commit, one append to the archive, one read.
const DISK_CALLS_AT_ONCE: usize = 3;

/// How much the threads that sign yield to everything else (`nice`). They keep the processors busy for as long as there
/// is something to sign; commits and the plugin, which everybody waits for, would have to wait for a time slice.
const SIGNING_NICE: i32 = 5;

/// What a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    Disk,
    Mac,
    Signer,
}

impl Needs {
    fn of(op: &Op) -> Self {
        match op {
            Op::Mac { .. } => Self::Mac,
            Op::SignDigest { .. } | Op::GenerateKeyPair | Op::WrapMacKey { .. } | Op::Endorse { .. } => {
                Self::Signer
            }
            Op::Random { .. }
            | Op::ReadStore { .. }
            | Op::ReadArchive { .. }
            | Op::Room
            | Op::CutStore { .. }
            | Op::Commit { .. }
            | Op::Archive { .. } => Self::Disk,
        }
    }
}

/// Calls that no thread has begun yet.
#[derive(Default)]
struct Calls {
    crew: VecDeque<(u64, Op)>,
    disk_under_way: usize,
    /// MACs are made by one thread at a time: two are no faster, with SoftHSM even slower.
    mac_under_way: bool,
    to_sign: VecDeque<(u64, Op)>,
    ended: bool,
}

impl Calls {
    fn len(&self) -> usize {
        self.crew.len() + self.to_sign.len()
    }

    /// Adds a call, and says what it needs.
    fn push(&mut self, call: u64, op: Op) -> Needs {
        let needs = Needs::of(&op);
        match (needs, &op) {
            // The plugin makes one commit at a time, and everybody waits for it.
            (Needs::Disk, Op::Commit { .. }) => self.crew.push_front((call, op)),
            (Needs::Disk | Needs::Mac, _) => self.crew.push_back((call, op)),
            (Needs::Signer, _) => self.to_sign.push_back((call, op)),
        }
        needs
    }

    /// The next call for the crew that may be begun.
    fn pick(&mut self) -> Option<(u64, Op)> {
        let may_begin = |op: &Op| match Needs::of(op) {
            Needs::Mac => !self.mac_under_way,
            _ => self.disk_under_way < DISK_CALLS_AT_ONCE,
        };
        let next = self.crew.iter().position(|(_, op)| may_begin(op))?;
        let call = self.crew.remove(next)?;
        match Needs::of(&call.1) {
            Needs::Mac => self.mac_under_way = true,
            _ => self.disk_under_way += 1,
        }
        Some(call)
    }

    /// A call that was picked is done.
    fn finish(&mut self, needs: Needs) {
        match needs {
            Needs::Disk => self.disk_under_way -= 1,
            Needs::Mac => self.mac_under_way = false,
            Needs::Signer => {}
        }
    }

    /// Nobody waits for the calls of a plugin that is gone.
    fn end(&mut self) {
        self.crew.clear();
        self.to_sign.clear();
        self.ended = true;
    }
}

impl Crew {
    /// Starts the threads, `signers` of them to sign. They end when the plugin is gone, after what is
    /// under way is done.
    pub fn start(
        relay: &Arc<Relay>,
        hardware: &Arc<Hardware>,
        signers: usize,
        tell: impl FnMut(Said) + Send + 'static,
    ) -> io::Result<Vec<JoinHandle<()>>> {
        let reading = Reading { buffer: vec![0; READ_BYTES], filled: 0, tell: Box::new(tell), ended: false };
        let crew = Arc::new(Self {
            relay: Arc::clone(relay),
            hardware: Arc::clone(hardware),
            reading: Mutex::new(reading),
            calls: Mutex::default(),
            signing: Condvar::new(),
        });
        let mut threads = Vec::new();
        // One for each call that may be under way, a MAC among them, and one that reads.
        for _ in 0..DISK_CALLS_AT_ONCE + 2 {
            let member = Arc::clone(&crew);
            let thread = std::thread::Builder::new().name("crew".into());
            threads.push(thread.spawn(move || member.read_and_serve())?);
        }
        for _ in 0..signers {
            let member = Arc::clone(&crew);
            let thread = std::thread::Builder::new().name("signer".into());
            threads.push(thread.spawn(move || member.sign())?);
        }
        Ok(threads)
    }

    fn read_and_serve(&self) {
        while let Some(call) = self.next_call() {
            let mut next = Some(call);
            while let Some((call, op)) = next {
                let needs = Needs::of(&op);
                self.perform(call, op);
                let mut calls = self.calls();
                calls.finish(needs);
                next = calls.pick();
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
                self.calls().end();
                self.signing.notify_all();
                (reading.tell)(Said::Gone(why));
            }
        }
    }

    fn sign(&self) {
        // Without it everything works, only slower.
        let _ = rustix::process::setpriority_process(None, SIGNING_NICE);
        let mut calls = self.calls();
        while !calls.ended {
            if let Some((call, op)) = calls.to_sign.pop_front() {
                drop(calls);
                self.perform(call, op);
                calls = self.calls();
            } else {
                calls = self.signing.wait(calls).expect("nothing panics while it holds the calls");
            }
        }
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
                    if calls.len() >= WAITING_CALLS_MAX {
                        return Err("it makes more calls than it may");
                    }
                    let needs = calls.push(call, op);
                    drop(calls);
                    if needs == Needs::Signer {
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

    fn commit() -> Op {
        Op::Commit { offset: 0, append: ByteBuf::new(), nvram: ByteBuf::new(), discard_before: 0 }
    }

    fn number(call: Option<(u64, Op)>) -> Option<u64> {
        call.map(|(call, _)| call)
    }

    #[test]
    fn macs_are_made_one_at_a_time_and_keep_nothing_else_waiting() {
        let mut calls = Calls::default();
        for (call, op) in [(1, mac()), (2, mac()), (3, Op::Random { length_bytes: 1 })] {
            calls.push(call, op);
        }
        let picked = [(); 3].map(|()| number(calls.pick()));
        assert_eq!(picked, [Some(1), Some(3), None]);
        calls.finish(Needs::Mac);
        assert_eq!(number(calls.pick()), Some(2));
    }

    #[test]
    fn commits_come_first_and_one_thread_is_left_to_read() {
        let mut calls = Calls::default();
        for call in 1..=3 {
            calls.push(call, Op::Random { length_bytes: 1 });
        }
        calls.push(4, commit());
        calls.push(5, mac());
        let picked = [(); 5].map(|()| number(calls.pick()));
        assert_eq!(picked, [Some(4), Some(1), Some(2), Some(5), None]);
        calls.finish(Needs::Disk);
        assert_eq!(number(calls.pick()), Some(3));
    }

    #[test]
    fn what_takes_long_goes_to_those_who_sign() {
        let mut calls = Calls::default();
        calls.push(1, Op::GenerateKeyPair);
        assert_eq!(number(calls.pick()), None);
        assert_eq!(number(calls.to_sign.pop_front()), Some(1));
    }
}
