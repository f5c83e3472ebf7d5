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
use crate::observe::{Context, Observer, Seen, SeenCall};
use crate::ops::Hardware;
use countersign_wire::decode_packed;
use countersign_wire::frame::{self, CLIENT_MAX_BYTES, HAL_MAX_BYTES};
use countersign_wire::hal::{Event, Op, Output};
use serde_bytes::ByteBuf;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use zeroize::Zeroize;

/// The most calls that wait for a worker. The plugin bounds its own; beyond this it is out of order.
const WAITING_CALLS_MAX: usize = 16 * 1024;

/// The most bytes of requests that the plugin holds unanswered. Beyond, the answer is `busy`, so that clients cannot
/// exhaust its memory together.
const UNANSWERED_MAX_BYTES: usize = 2 * 1024 * 1024;

/// The most of these of the clients of one user: the rest is for others, whatever he sends.
const UNANSWERED_OF_ONE_MAX_BYTES: usize = UNANSWERED_MAX_BYTES / 4 * 3;

const _: () = assert!(
    UNANSWERED_OF_ONE_MAX_BYTES + CLIENT_MAX_BYTES <= UNANSWERED_MAX_BYTES,
    "whatever one user sends, a request of another one fits"
);

/// Room for what is read from the plugin at once, in bytes.
const READ_BYTES: usize = 128 * 1024;

/// A stack for threads that only carry bytes.
pub const SMALL_STACK_BYTES: usize = 256 * 1024;

/// One running plugin, and who waits for it.
pub struct Relay {
    link: PluginLink,
    waiting: Mutex<Waiting>,
    observer: Arc<Observer>,
    heard: Mutex<Instant>,
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
    clients: HashMap<u64, Client>,
    /// By user.
    unanswered_bytes: HashMap<u32, usize>,
    closed: bool,
}

impl Waiting {
    fn unanswered_bytes(&self) -> usize {
        self.unanswered_bytes.values().sum()
    }

    /// Whether a request of this user may be unanswered as well.
    fn has_room_for(&self, uid: u32, length: usize) -> bool {
        let of_user = self.unanswered_bytes.get(&uid).copied().unwrap_or(0);
        self.unanswered_bytes() + length <= UNANSWERED_MAX_BYTES
            && of_user + length <= UNANSWERED_OF_ONE_MAX_BYTES
    }

    /// Takes a request in, and gives it a ticket that was never given before.
    fn add(&mut self, client: Client) -> u64 {
        *self.unanswered_bytes.entry(client.connection.uid()).or_default() += client.length;
        self.last_ticket += 1;
        self.clients.insert(self.last_ticket, client);
        self.last_ticket
    }

    /// The request is answered.
    fn remove(&mut self, ticket: u64) -> Option<Client> {
        let client = self.clients.remove(&ticket)?;
        if let Entry::Occupied(mut of_user) = self.unanswered_bytes.entry(client.connection.uid()) {
            *of_user.get_mut() -= client.length;
            if *of_user.get() == 0 {
                of_user.remove();
            }
        }
        Some(client)
    }
}

/// Who waits for an answer, the length of his request, and what was seen of it.
struct Client {
    connection: Arc<Connection>,
    length: usize,
    seen: Seen,
}

/// The most requests that a shared call is told of.
const SHARED_TRACES_MAX: usize = 16;

impl Relay {
    /// A relay to the plugin at the other end of `link`.
    pub fn new(link: PluginLink, observer: &Arc<Observer>) -> Arc<Self> {
        let (waiting, heard) = (Mutex::default(), Mutex::new(Instant::now()));
        Arc::new(Self { link, waiting, observer: Arc::clone(observer), heard })
    }

    /// How long the plugin has said nothing at all.
    pub fn silent_for(&self) -> Duration {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// The way to the plugin.
    pub fn link(&self) -> &PluginLink {
        &self.link
    }

    /// Hands a request to the plugin, under a ticket that is never used again.
    pub fn request(&self, client: &Arc<Connection>, payload: Vec<u8>) -> Result<(), NotTaken> {
        let seen = self.observer.request(&payload);
        self.hand_over(client, payload, seen)
    }

    /// As [`Self::request`], for the firmware itself: nobody counts it.
    pub fn ask_unseen(&self, client: &Arc<Connection>, payload: Vec<u8>) -> Result<(), NotTaken> {
        self.hand_over(client, payload, Seen::default())
    }

    fn hand_over(&self, client: &Arc<Connection>, mut payload: Vec<u8>, seen: Seen) -> Result<(), NotTaken> {
        let ticket = {
            let length = payload.len();
            let mut waiting = self.waiting();
            if waiting.closed {
                drop(waiting);
                payload.zeroize();
                self.observer.dropped(seen);
                return Err(NotTaken::Gone);
            }
            if !waiting.has_room_for(client.uid(), length) {
                return Err(NotTaken::Busy(payload));
            }
            waiting.add(Client { connection: Arc::clone(client), length, seen })
        };
        // If the link breaks here, `close` drops the client: whether the plugin saw the request is not known.
        let payload = ByteBuf::from(payload);
        self.link.deliver(Event::Request { ticket, payload }).map_err(|PluginGone| NotTaken::Gone)
    }

    fn reply(&self, ticket: u64, payload: &[u8]) {
        let answered = self.waiting().remove(ticket);
        if let Some(client) = answered {
            self.observer.replied(client.seen, payload);
            client.connection.answer(payload);
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
        for client in clients.into_values() {
            client.connection.drop_now();
            self.observer.dropped(client.seen);
        }
    }

    /// How many requests have no answer yet, and their length in bytes.
    pub fn unanswered(&self) -> (u64, u64) {
        let waiting = self.waiting();
        (waiting.clients.len() as u64, waiting.unanswered_bytes() as u64)
    }

    /// The traces of the request with this ticket; without one, those of the requests under way.
    fn traces_of(&self, ticket: Option<u64>) -> Vec<Context> {
        let waiting = self.waiting();
        match ticket {
            Some(ticket) => {
                waiting.clients.get(&ticket).and_then(|client| client.seen.trace()).into_iter().collect()
            }
            None => waiting
                .clients
                .values()
                .filter_map(|client| client.seen.trace())
                .take(SHARED_TRACES_MAX)
                .collect(),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("nothing panics while it holds the tickets")
    }
}

/// Which plugin takes requests at the moment, if any.
#[derive(Default)]
pub struct Switchboard {
    relay: RwLock<Option<Arc<Relay>>>,
    observer: Arc<Observer>,
}

impl Switchboard {
    /// No plugin takes requests yet, and `observer` looks at what passes.
    pub fn watched_by(observer: Arc<Observer>) -> Self {
        Self { relay: RwLock::default(), observer }
    }

    /// What looks at all that passes.
    pub fn observer(&self) -> &Arc<Observer> {
        &self.observer
    }

    /// The plugin that takes requests.
    pub fn current(&self) -> Option<Arc<Relay>> {
        self.relay.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From here on this one takes requests, or none.
    pub fn set(&self, relay: Option<Arc<Relay>>) {
        *self.relay.write().unwrap_or_else(PoisonError::into_inner) = relay;
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
    ready: bool,
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
            Op::SignDigest { .. }
            | Op::GenerateKeyPair
            | Op::WrapMacKey { .. }
            | Op::Endorse { .. }
            | Op::Attest { .. } => Self::Signer,
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

/// Something that the plugin asks for.
struct Call {
    number: u64,
    op: Op,
    seen: SeenCall,
}

/// Calls that no thread has begun yet.
#[derive(Default)]
struct Calls {
    crew: VecDeque<Call>,
    disk_under_way: usize,
    /// MACs are made by one thread at a time: two are no faster, with SoftHSM even slower.
    mac_under_way: bool,
    to_sign: VecDeque<Call>,
    ended: bool,
}

impl Calls {
    fn len(&self) -> usize {
        self.crew.len() + self.to_sign.len()
    }

    /// Adds a call, and says what it needs.
    fn push(&mut self, call: Call) -> Needs {
        let needs = Needs::of(&call.op);
        match (needs, &call.op) {
            // The plugin makes one commit at a time, and everybody waits for it.
            (Needs::Disk, Op::Commit { .. }) => self.crew.push_front(call),
            (Needs::Disk | Needs::Mac, _) => self.crew.push_back(call),
            (Needs::Signer, _) => self.to_sign.push_back(call),
        }
        needs
    }

    /// The next call for the crew that may be begun.
    fn pick(&mut self) -> Option<Call> {
        let may_begin = |op: &Op| match Needs::of(op) {
            Needs::Mac => !self.mac_under_way,
            _ => self.disk_under_way < DISK_CALLS_AT_ONCE,
        };
        let next = self.crew.iter().position(|call| may_begin(&call.op))?;
        let call = self.crew.remove(next)?;
        match Needs::of(&call.op) {
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
        let reading = Reading {
            buffer: vec![0; READ_BYTES],
            filled: 0,
            tell: Box::new(tell),
            ready: false,
            ended: false,
        };
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
            while let Some(call) = next {
                let needs = Needs::of(&call.op);
                self.perform(call);
                let mut calls = self.calls();
                calls.finish(needs);
                next = calls.pick();
            }
        }
    }

    /// Reads until there is a call for this thread; `None` when the plugin is gone.
    fn next_call(&self) -> Option<Call> {
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
            if let Some(call) = calls.to_sign.pop_front() {
                drop(calls);
                self.perform(call);
                calls = self.calls();
            } else {
                calls = self.signing.wait(calls).expect("nothing panics while it holds the calls");
            }
        }
    }

    fn perform(&self, Call { number: call, op, mut seen }: Call) {
        // A plugin that is gone needs no results; its successor begins with what is on the disk.
        if self.relay.link.is_open() {
            self.relay.observer.call_begins(&mut seen);
            let result = self.hardware.perform(op);
            self.relay.observer.call_ended(seen, &result);
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
        *self.relay.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.take_frames(reading).map_err(str::to_owned)
    }

    fn take_frames(&self, reading: &mut Reading) -> Result<(), &'static str> {
        let Reading { buffer, filled, tell, ready, .. } = reading;
        let mut used = 0;
        while let Some((payload, taken)) = frame::split_first(&buffer[used..*filled], HAL_MAX_BYTES)
            .map_err(|_| "it sent a frame of a wrong length")?
        {
            match decode_packed(payload).map_err(|_| "it sent something that is no message")? {
                Output::Reply { ticket, payload } => self.relay.reply(ticket, &payload),
                Output::Call { call: number, op, ticket } => {
                    let seen = self.relay.observer.call(&op, || self.relay.traces_of(ticket));
                    let mut calls = self.calls();
                    if calls.len() >= WAITING_CALLS_MAX {
                        return Err("it makes more calls than it may");
                    }
                    let needs = calls.push(Call { number, op, seen });
                    drop(calls);
                    if needs == Needs::Signer {
                        self.signing.notify_one();
                    }
                }
                Output::Ready if std::mem::replace(ready, true) => {
                    return Err("it said twice that it is ready");
                }
                Output::Ready => tell(Said::Ready),
                Output::Halt { why } => {
                    tell(Said::Halt(why));
                    // Nothing of what it asked for is begun any more, and what it still says is not heard.
                    return Err("it halted");
                }
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
            Ok(b'\n') => plugin_said(&std::mem::take(&mut line)),
            Ok(byte) if line.len() < LINE_MAX_BYTES => {
                line.push(if byte.is_ascii_graphic() || byte == b' ' { char::from(byte) } else { '?' });
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    if !line.is_empty() {
        plugin_said(&line);
    }
}

fn plugin_said(line: &str) {
    log::say(log::Event::PluginSaid, format_args!("plugin: {line}"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_wire::client::TotpHash;
    use std::os::unix::net::UnixStream;

    fn mac() -> Op {
        Op::Mac { wrapped: ByteBuf::new(), hash: TotpHash::Sha1, counters: vec![1] }
    }

    fn commit() -> Op {
        Op::Commit { offset: 0, append: ByteBuf::new(), nvram: ByteBuf::new(), discard_before: 0 }
    }

    fn call(number: u64, op: Op) -> Call {
        Call { number, op, seen: SeenCall::default() }
    }

    fn number(call: Option<Call>) -> Option<u64> {
        call.map(|call| call.number)
    }

    /// A request of so many bytes, of this user.
    fn asked(uid: u32, length: usize) -> Client {
        let (socket, _) = UnixStream::pair().unwrap();
        Client { connection: Connection::new(socket, uid), length, seen: Seen::default() }
    }

    #[test]
    fn what_one_user_sends_leaves_room_for_another_ones_longest_request() {
        let (backend, other) = (1000, 1001);
        let mut waiting = Waiting::default();
        let mut tickets = Vec::new();
        while waiting.has_room_for(backend, CLIENT_MAX_BYTES) {
            tickets.push(waiting.add(asked(backend, CLIENT_MAX_BYTES)));
        }
        while waiting.has_room_for(backend, 1) {
            tickets.push(waiting.add(asked(backend, 1)));
        }
        assert_eq!(waiting.unanswered_bytes(), UNANSWERED_OF_ONE_MAX_BYTES);
        assert!(waiting.has_room_for(other, CLIENT_MAX_BYTES));
        tickets.push(waiting.add(asked(other, UNANSWERED_MAX_BYTES / 4)));
        assert!(!waiting.has_room_for(1002, 1), "that is all there is");
        for ticket in tickets {
            assert!(waiting.remove(ticket).is_some());
            assert!(waiting.remove(ticket).is_none());
        }
        assert_eq!((waiting.unanswered_bytes(), waiting.unanswered_bytes.len()), (0, 0));
        assert!(waiting.has_room_for(backend, CLIENT_MAX_BYTES));
    }

    #[test]
    fn macs_are_made_one_at_a_time_and_keep_nothing_else_waiting() {
        let mut calls = Calls::default();
        for (number, op) in [(1, mac()), (2, mac()), (3, Op::Random { length_bytes: 1 })] {
            calls.push(call(number, op));
        }
        let picked = [(); 3].map(|()| number(calls.pick()));
        assert_eq!(picked, [Some(1), Some(3), None]);
        calls.finish(Needs::Mac);
        assert_eq!(number(calls.pick()), Some(2));
    }

    #[test]
    fn commits_come_first_and_one_thread_is_left_to_read() {
        let mut calls = Calls::default();
        for number in 1..=3 {
            calls.push(call(number, Op::Random { length_bytes: 1 }));
        }
        calls.push(call(4, commit()));
        calls.push(call(5, mac()));
        let picked = [(); 5].map(|()| number(calls.pick()));
        assert_eq!(picked, [Some(4), Some(1), Some(2), Some(5), None]);
        calls.finish(Needs::Disk);
        assert_eq!(number(calls.pick()), Some(3));
    }

    #[test]
    fn what_takes_long_goes_to_those_who_sign() {
        let mut calls = Calls::default();
        calls.push(call(1, Op::GenerateKeyPair));
        assert_eq!(number(calls.pick()), None);
        assert_eq!(number(calls.to_sign.pop_front()), Some(1));
    }
}
