//! Between clients, plugin and workers: requests in, replies out, calls to the workers and their results back.
//!
//! ```text
//! connection thread ──request──┐                       ┌──reply──> client's socket, without waiting
//! connection thread ──request──┼──> plugin ──outputs──>│ reading thread
//! worker ────────────result────┘                       └──call───> queue ──> worker
//! ```

use crate::link::{PluginGone, PluginLink};
use crate::listener::Connection;
use crate::log;
use crate::ops::Hardware;
use crate::queue::WorkQueue;
use countersign_wire::decode_packed;
use countersign_wire::frame::{self, HAL_MAX_BYTES};
use countersign_wire::hal::{Event, Op, Output};
use serde_bytes::ByteBuf;
use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;

/// The most calls that wait for a worker. The plugin bounds its own; beyond this it is out of order.
const WAITING_CALLS_MAX: usize = 16 * 1024;

/// The most bytes of requests that the plugin holds unanswered. Beyond, clients wait for each other, so that they
/// cannot exhaust its memory together. One request always fits.
const UNANSWERED_MAX_BYTES: usize = 1024 * 1024;

/// What is read from the plugin at once, in bytes.
const READ_BYTES: usize = 128 * 1024;

/// A stack for threads that only carry bytes.
pub const SMALL_STACK_BYTES: usize = 256 * 1024;

/// One running plugin, and who waits for it.
pub struct Relay {
    link: PluginLink,
    waiting: Mutex<Waiting>,
    answered: Condvar,
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
        Arc::new(Self { link, waiting: Mutex::default(), answered: Condvar::new() })
    }

    /// The way to the plugin.
    pub fn link(&self) -> &PluginLink {
        &self.link
    }

    /// Hands a request to the plugin, under a ticket that is never used again.
    pub fn request(&self, client: &Arc<Connection>, payload: Vec<u8>) -> Result<(), PluginGone> {
        let ticket = {
            let length = payload.len();
            let mut waiting = self.waiting();
            while !waiting.closed
                && !waiting.clients.is_empty()
                && waiting.unanswered_bytes + length > UNANSWERED_MAX_BYTES
            {
                waiting = self.answered.wait(waiting).expect("nothing panics while it holds the tickets");
            }
            if waiting.closed {
                return Err(PluginGone);
            }
            waiting.last_ticket += 1;
            waiting.unanswered_bytes += length;
            let ticket = waiting.last_ticket;
            waiting.clients.insert(ticket, (Arc::clone(client), length));
            ticket
        };
        // If the link breaks here, `close` drops the client: whether the plugin saw the request is not known.
        self.link.deliver(Event::Request { ticket, payload: ByteBuf::from(payload) })
    }

    fn reply(&self, ticket: u64, payload: &[u8]) {
        let answered = {
            let mut waiting = self.waiting();
            let answered = waiting.clients.remove(&ticket);
            waiting.unanswered_bytes -= answered.as_ref().map_or(0, |(_, length)| *length);
            answered
        };
        if let Some((client, _)) = answered {
            self.answered.notify_all();
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
        self.answered.notify_all();
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

struct Job {
    relay: Arc<Relay>,
    call: u64,
    op: Op,
}

/// The threads that do what the plugin asks.
pub struct Workers {
    commits: Arc<WorkQueue<Job>>,
    others: Arc<WorkQueue<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// One thread for the store's commits, `count` for everything else.
    pub fn start(hardware: &Arc<Hardware>, count: usize) -> io::Result<Self> {
        let commits = Arc::new(WorkQueue::new(WAITING_CALLS_MAX));
        let others = Arc::new(WorkQueue::new(WAITING_CALLS_MAX));
        let mut threads = Vec::with_capacity(count + 1);
        for (name, queue) in std::iter::once(("commits", &commits)).chain(vec![("calls", &others); count]) {
            let (hardware, queue) = (Arc::clone(hardware), Arc::clone(queue));
            let work = move || queue.work_off(|job| work(&hardware, job));
            threads.push(std::thread::Builder::new().name(name.into()).spawn(work)?);
        }
        Ok(Self { commits, others, threads })
    }

    fn take(&self, relay: &Arc<Relay>, call: u64, op: Op) -> bool {
        let queue = match op {
            Op::Commit { .. } | Op::CutStore { .. } => &self.commits,
            _ => &self.others,
        };
        queue.push(Job { relay: Arc::clone(relay), call, op }).is_ok()
    }

    /// Waits until no commit waits or is under way.
    pub fn wait_for_commits(&self) {
        self.commits.wait_until_idle();
    }

    /// Finishes what waits and ends the threads.
    pub fn stop(self) {
        self.commits.close();
        self.others.close();
        for thread in self.threads {
            // A worker that panicked has ended the process already.
            let _ = thread.join();
        }
    }
}

fn work(hardware: &Hardware, job: Job) {
    // Nobody waits for the calls of a plugin that is gone; its successor begins with what is on the disk.
    if job.relay.link.is_open() {
        let result = hardware.perform(job.op);
        // If the plugin went meanwhile, the disk decides.
        let _ = job.relay.link.deliver(Event::Done { call: job.call, result });
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

/// Reads from the plugin until it is gone. Never waits for a client, a worker or the plugin's reading.
pub fn read_outputs(relay: &Arc<Relay>, workers: &Workers, mut tell: impl FnMut(Said)) {
    let mut buffer = Vec::with_capacity(READ_BYTES);
    let why = loop {
        match read_some(relay, &mut buffer) {
            Ok(0) => break "it closed its socket".to_owned(),
            Ok(_) => {}
            Err(error) => break error.to_string(),
        }
        if let Err(why) = take_frames(relay, workers, &mut buffer, &mut tell) {
            break why.to_owned();
        }
    };
    relay.close();
    tell(Said::Gone(why));
}

fn read_some(relay: &Relay, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let filled = buffer.len();
    buffer.resize(filled + READ_BYTES, 0);
    let read = loop {
        match relay.link.reader().read(&mut buffer[filled..]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => break other,
        }
    };
    buffer.truncate(filled + *read.as_ref().unwrap_or(&0));
    read
}

fn take_frames(
    relay: &Arc<Relay>,
    workers: &Workers,
    buffer: &mut Vec<u8>,
    tell: &mut impl FnMut(Said),
) -> Result<(), &'static str> {
    let mut used = 0;
    while let Some((payload, taken)) =
        frame::split_first(&buffer[used..], HAL_MAX_BYTES).map_err(|_| "it sent a frame of a wrong length")?
    {
        match decode_packed(payload).map_err(|_| "it sent something that is no message")? {
            Output::Reply { ticket, payload } => relay.reply(ticket, &payload),
            Output::Call { call, op } => {
                if !workers.take(relay, call, op) {
                    return Err("it makes more calls than it may");
                }
            }
            Output::Ready => tell(Said::Ready),
            Output::Halt { why } => tell(Said::Halt(why)),
        }
        used += taken;
    }
    // Messages may hold secrets: what was read is wiped, what is left over moves to the front.
    let left = buffer.len() - used;
    buffer.copy_within(used.., 0);
    zeroize::Zeroize::zeroize(&mut buffer[left..]);
    buffer.truncate(left);
    Ok(())
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
