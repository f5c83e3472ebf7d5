//! The socket for clients: a unix socket, the user id of each peer checked with the kernel, every resource bounded.
//!
//! Each connection has a thread that reads frames and hands their payloads on unread. Replies are written by the
//! thread that reads from the plugin, which waits for nobody: a client that does not read loses its connection.

use crate::observe::{Connected, Observer};
use crate::relay::{NotTaken, SMALL_STACK_BYTES, Switchboard};
use crate::{HsmError, log};
use countersign_wire::client::{Outcome, Reply, Request, RequestId};
use countersign_wire::frame::{self, CLIENT_MAX_BYTES};
use countersign_wire::reason::Reason;
use rustix::io::Errno;
use rustix::net::SendFlags;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::io::{self, Read};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use zeroize::Zeroize;

/// The most connections at once. For a further one, the one that has been idle longest is closed; if none is idle,
/// the further one is closed without an answer.
pub const CONNECTIONS_MAX: usize = 512;

/// The most requests of one connection that wait for an answer. Beyond, the connection is not read.
pub const IN_FLIGHT_MAX: usize = 64;

/// How long a client may take for one frame once it has begun to send it.
pub const FRAME_TIME: Duration = Duration::from_secs(30);

/// The least time between two lines of the log about refused connections.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

const READ_BYTES: usize = 8 * 1024;

/// Whose processes may connect.
#[derive(Clone, Debug)]
pub struct Admission {
    uids: BTreeSet<u32>,
    opened: bool,
}

impl Admission {
    /// The user that runs the HSM, root, and these.
    pub fn of(further_uids: &[u32]) -> Self {
        let mut uids: BTreeSet<u32> = further_uids.iter().copied().collect();
        uids.extend([0, rustix::process::geteuid().as_raw()]);
        Self { uids, opened: !further_uids.is_empty() }
    }

    /// The user that runs the HSM, and nobody else, whoever may be a client.
    pub fn owner_only() -> Self {
        Self { uids: BTreeSet::from([rustix::process::geteuid().as_raw()]), opened: false }
    }

    /// Whether the process at the other end runs as an admitted user, as the kernel tells it.
    pub fn admits(&self, stream: &UnixStream) -> bool {
        rustix::net::sockopt::socket_peercred(stream).is_ok_and(|peer| self.uids.contains(&peer.uid.as_raw()))
    }
}

/// Binds a socket at `path`, in place of one that a killed HSM left there. The caller holds the home's lock.
pub fn bind(path: &Path, admission: &Admission) -> Result<UnixListener, HsmError> {
    let failed = || HsmError::io(format!("listen on {}", path.display()));
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed()(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed())?;
    // Others must be able to connect before the kernel can tell who they are.
    let mode = if admission.opened { 0o666 } else { 0o600 };
    std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed())?;
    Ok(listener)
}

/// Accepts connections for as long as the process lives.
pub fn serve(listener: &UnixListener, admission: &Admission, switchboard: &Arc<Switchboard>) {
    let observer = switchboard.observer();
    let table = Arc::new(Table { observer: Arc::clone(observer), ..Table::default() });
    let mut refusals = Refusals::default();
    for stream in listener.incoming() {
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                // Out of descriptors, most likely. The connection stays in the queue of the socket.
                observer.connection(Connected::Failed);
                log::say(
                    log::Event::ConnectionFailed,
                    format_args!("a connection could not be accepted: {error}"),
                );
                std::thread::sleep(Duration::from_millis(50));
                continue;
            }
        };
        if !admission.admits(&stream) {
            observer.connection(Connected::Stranger);
            log::say(log::Event::Stranger, "a connection from a user who is not admitted was closed");
            continue;
        }
        let Some(place) = table.admit(stream) else {
            observer.connection(Connected::Full);
            refusals.count(Instant::now());
            continue;
        };
        observer.connection(Connected::Admitted);
        let switchboard = Arc::clone(switchboard);
        let thread = std::thread::Builder::new().name("client".into()).stack_size(SMALL_STACK_BYTES);
        let spawned = thread.spawn(move || place.connection.read_requests(&switchboard));
        if let Err(error) = spawned {
            log::say(log::Event::ConnectionFailed, format_args!("a connection could not be served: {error}"));
        }
    }
}

/// Says in the log that connections are refused, but not for each of them.
#[derive(Default)]
struct Refusals {
    unsaid: u64,
    said_at: Option<Instant>,
}

impl Refusals {
    fn count(&mut self, now: Instant) {
        if let Some(count) = self.due(now) {
            log::say_with(
                log::Event::ConnectionsFull,
                &[("refused", count.into())],
                format_args!(
                    "refused connections: {count}; all {CONNECTIONS_MAX} places are taken and none is idle"
                ),
            );
        }
    }

    /// Counts one more; how many to speak of, when it is time to.
    fn due(&mut self, now: Instant) -> Option<u64> {
        self.unsaid += 1;
        if self.said_at.is_some_and(|said_at| now.duration_since(said_at) < LOG_INTERVAL) {
            return None;
        }
        self.said_at = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

/// The connections that are open, at most [`CONNECTIONS_MAX`].
#[derive(Default)]
struct Table {
    open: Mutex<Open>,
    freed: Condvar,
    observer: Arc<Observer>,
}

#[derive(Default)]
struct Open {
    last_number: u64,
    connections: BTreeMap<u64, Arc<Connection>>,
}

impl Table {
    /// Gives a connection a place, if need be that of the one that has been idle longest.
    fn admit(self: &Arc<Self>, stream: UnixStream) -> Option<Place> {
        let mut open = self.open();
        if open.connections.len() >= CONNECTIONS_MAX {
            if !open.end_longest_idle() {
                return None;
            }
            // The thread of a connection that was ended while it was idle waits for nothing else.
            while open.connections.len() >= CONNECTIONS_MAX {
                open = self.freed.wait(open).expect("nothing panics while it holds the table");
            }
        }
        open.last_number += 1;
        let (number, connection) = (open.last_number, Connection::new(stream));
        open.connections.insert(number, Arc::clone(&connection));
        Some(Place { table: Arc::clone(self), number, connection })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().expect("nothing panics while it holds the table")
    }
}

impl Open {
    /// Ends the connection that has been idle longest; false if none is idle.
    fn end_longest_idle(&self) -> bool {
        let connections = self.connections.values();
        let mut idle: Vec<_> = connections.filter_map(|one| Some((one.idle_since()?, one))).collect();
        idle.sort_by_key(|(since, _)| *since);
        // A request may have come in since it was looked at; then it is the next one's turn.
        idle.into_iter().any(|(_, connection)| connection.end_if_idle())
    }
}

/// The place of a connection in the table, for as long as it is served.
struct Place {
    table: Arc<Table>,
    number: u64,
    connection: Arc<Connection>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.table.observer.disconnected();
        self.table.open().connections.remove(&self.number);
        self.table.freed.notify_one();
    }
}

/// One client.
pub struct Connection {
    socket: UnixStream,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    in_flight: usize,
    /// Bytes were read that are not handed on yet.
    reading: bool,
    /// When it last was at work.
    active_at: Instant,
    dropped: bool,
}

impl State {
    fn is_idle(&self) -> bool {
        self.in_flight == 0 && !self.reading && !self.dropped
    }
}

impl Connection {
    /// The client at the other end of `socket`.
    pub fn new(socket: UnixStream) -> Arc<Self> {
        let state = State { in_flight: 0, reading: false, active_at: Instant::now(), dropped: false };
        Arc::new(Self { socket, state: Mutex::new(state), changed: Condvar::new() })
    }

    /// Reads requests until the client is gone.
    fn read_requests(self: &Arc<Self>, switchboard: &Switchboard) {
        let mut frames = Frames::of(self);
        while let Ok(Some(payload)) = frames.next() {
            if !self.take_turn() {
                break;
            }
            let Some(relay) = switchboard.current() else {
                switchboard.observer().refused(&payload, Reason::HsmNotReady);
                self.refuse(payload, Reason::HsmNotReady);
                continue;
            };
            match relay.request(self, payload) {
                Ok(()) => {}
                Err(NotTaken::Busy(payload)) => {
                    switchboard.observer().refused(&payload, Reason::Busy);
                    self.refuse(payload, Reason::Busy);
                }
                // The relay drops this connection with all others that wait.
                Err(NotTaken::Gone) => self.drop_now(),
            }
        }
        frames.buffer.zeroize();
        // What is still under way is answered, if the client still listens.
        let _ = self.socket.shutdown(Shutdown::Read);
    }

    /// Waits until one more request may be under way; false when the connection was dropped.
    fn take_turn(&self) -> bool {
        let mut state = self.state();
        while state.in_flight >= IN_FLIGHT_MAX && !state.dropped {
            state = self.changed.wait(state).expect("nothing panics while it holds a connection");
        }
        state.in_flight += 1;
        !state.dropped
    }

    /// Writes a reply without waiting. A client that does not read is dropped.
    pub fn answer(&self, payload: &[u8]) {
        let mut message = Vec::with_capacity(frame::HEADER_BYTES + payload.len());
        frame::append(&mut message, payload);
        let mut state = self.state();
        state.in_flight = state.in_flight.saturating_sub(1);
        state.active_at = Instant::now();
        if !state.dropped && !self.send_now(&message) {
            state.dropped = true;
            let _ = self.socket.shutdown(Shutdown::Both);
        }
        drop(state);
        self.changed.notify_one();
        message.zeroize();
    }

    fn send_now(&self, message: &[u8]) -> bool {
        loop {
            match rustix::net::send(&self.socket, message, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent) => return sent == message.len(),
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }

    /// Ends the connection.
    pub fn drop_now(&self) {
        self.state().dropped = true;
        let _ = self.socket.shutdown(Shutdown::Both);
        self.changed.notify_one();
    }

    /// Since when no request is under way and no frame half read; `None` if one is, or the connection has ended.
    fn idle_since(&self) -> Option<Instant> {
        let state = self.state();
        state.is_idle().then_some(state.active_at)
    }

    /// Ends the connection if nothing of it can be lost.
    fn end_if_idle(&self) -> bool {
        let mut state = self.state();
        let idle = state.is_idle();
        if idle {
            state.dropped = true;
            let _ = self.socket.shutdown(Shutdown::Both);
        }
        idle
    }

    /// Notes whether there are bytes that were read and are not handed on.
    fn note_reading(&self, reading: bool) {
        let mut state = self.state();
        if state.reading != reading {
            state.reading = reading;
            state.active_at = Instant::now();
        }
    }

    /// Answers a request that does not go to the plugin.
    fn refuse(&self, mut payload: Vec<u8>, reason: Reason) {
        let request = countersign_wire::decode::<Request>(&payload);
        payload.zeroize();
        let id = request.map_or(RequestId::new([0; 16]), |request| request.id);
        let outcome = Outcome::Refused(reason.into());
        self.answer(&countersign_wire::encode(&Reply { id, outcome }));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds a connection")
    }
}

/// Cuts the frames out of a client's stream.
struct Frames<'a> {
    connection: &'a Connection,
    buffer: Vec<u8>,
}

impl<'a> Frames<'a> {
    fn of(connection: &'a Connection) -> Self {
        Self { connection, buffer: Vec::new() }
    }

    /// The next payload; `None` when the client ended between two frames.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut begun: Option<Instant> = None;
        let socket = &self.connection.socket;
        loop {
            let cut = frame::split_first(&self.buffer, CLIENT_MAX_BYTES)
                .map_err(|bad| io::Error::new(io::ErrorKind::InvalidData, bad))?;
            if let Some((payload, used)) = cut {
                let payload = payload.to_vec();
                self.consume(used);
                if begun.is_some() {
                    socket.set_read_timeout(None)?;
                }
                return Ok(Some(payload));
            }
            if !self.buffer.is_empty() {
                let left = FRAME_TIME.saturating_sub(begun.get_or_insert_with(Instant::now).elapsed());
                if left.is_zero() {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                socket.set_read_timeout(Some(left))?;
            }
            // What was handed on is under way by now, or answered.
            self.connection.note_reading(!self.buffer.is_empty());
            if self.read_some()? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
            self.connection.note_reading(true);
        }
    }

    fn read_some(&mut self) -> io::Result<usize> {
        let filled = self.buffer.len();
        self.buffer.resize(filled + READ_BYTES, 0);
        let read = loop {
            match (&self.connection.socket).read(&mut self.buffer[filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.buffer.truncate(filled + *read.as_ref().unwrap_or(&0));
        read
    }

    fn consume(&mut self, used: usize) {
        let left = self.buffer.len() - used;
        self.buffer.copy_within(used.., 0);
        self.buffer[left..].zeroize();
        self.buffer.truncate(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn admits_its_own_user_and_no_stranger() {
        let (stream, _peer) = UnixStream::pair().unwrap();
        assert!(Admission::of(&[]).admits(&stream));
        let mut strangers = Admission::of(&[]);
        strangers.uids = BTreeSet::from([u32::MAX - 1]);
        assert!(!strangers.admits(&stream));
        assert!(Admission::of(&[u32::MAX - 1]).uids.contains(&(u32::MAX - 1)));
        assert_eq!(Admission::owner_only().uids, BTreeSet::from([rustix::process::geteuid().as_raw()]));
        assert!(Admission::owner_only().admits(&stream));
    }

    #[test]
    fn frames_are_cut_out_of_the_stream_wherever_it_is_split() {
        let mut stream = Vec::new();
        for payload in [b"a".as_slice(), b"bcd", &[7; 3000]] {
            frame::append(&mut stream, payload);
        }
        for step in [1, 3, 7, 5000] {
            let (mut client, server) = UnixStream::pair().unwrap();
            let bytes = stream.clone();
            let writer = std::thread::spawn(move || {
                for part in bytes.chunks(step) {
                    client.write_all(part).unwrap();
                }
            });
            let connection = Connection::new(server);
            let mut frames = Frames::of(&connection);
            assert_eq!(frames.next().unwrap().unwrap(), b"a");
            assert_eq!(frames.next().unwrap().unwrap(), b"bcd");
            assert_eq!(frames.next().unwrap().unwrap(), [7; 3000]);
            assert!(frames.next().unwrap().is_none());
            writer.join().unwrap();
        }
    }

    #[test]
    fn refuses_lengths_that_no_honest_client_sends() {
        for length in [0, 1 + u32::try_from(CLIENT_MAX_BYTES).unwrap(), u32::MAX] {
            let (mut client, server) = UnixStream::pair().unwrap();
            client.write_all(&length.to_be_bytes()).unwrap();
            let connection = Connection::new(server);
            let mut frames = Frames::of(&connection);
            assert_eq!(frames.next().unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }

    #[test]
    fn a_frame_that_ends_half_way_is_an_error() {
        let (mut client, server) = UnixStream::pair().unwrap();
        client.write_all(&[0, 0, 0, 9, 1]).unwrap();
        drop(client);
        let connection = Connection::new(server);
        let mut frames = Frames::of(&connection);
        assert_eq!(frames.next().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_client_that_does_not_read_is_dropped_and_nobody_waits_for_it() {
        let (_client, server) = UnixStream::pair().unwrap();
        let connection = Connection::new(server);
        for _ in 0..100 {
            connection.answer(&vec![0; 100_000]);
        }
        assert!(connection.state().dropped);
        assert!(!connection.take_turn());
    }

    /// A connection in the table, and the client's end of it.
    fn admitted(table: &Arc<Table>) -> Option<(Place, UnixStream)> {
        let (client, server) = UnixStream::pair().unwrap();
        table.admit(server).map(|place| (place, client))
    }

    #[test]
    fn when_all_places_are_busy_a_further_connection_is_refused() {
        let table = Arc::new(Table::default());
        let mut places: Vec<_> = (0..CONNECTIONS_MAX).map(|_| admitted(&table).unwrap()).collect();
        for (at, (place, _)) in places.iter().enumerate() {
            if at % 2 == 0 {
                assert!(place.connection.take_turn(), "a request is under way");
            } else {
                place.connection.note_reading(true);
            }
        }
        assert!(admitted(&table).is_none());
        places.pop();
        assert!(admitted(&table).is_some());
    }

    #[test]
    fn only_the_connection_that_is_idle_longest_makes_room() {
        let table = Arc::new(Table::default());
        let switchboard = Arc::new(Switchboard::default());
        let mut clients = Vec::new();
        for at in 0..CONNECTIONS_MAX {
            let (place, client) = admitted(&table).unwrap();
            match at {
                0 => assert!(place.connection.take_turn(), "a request is under way"),
                1 => place.connection.note_reading(true),
                _ => {}
            }
            if at == 3 {
                let switchboard = Arc::clone(&switchboard);
                std::thread::spawn(move || place.connection.read_requests(&switchboard));
                clients.push((None, client));
            } else {
                clients.push((Some(place), client));
            }
        }
        clients[2].0.as_ref().unwrap().connection.answer(b"active a moment ago");
        assert!(admitted(&table).is_some());
        let mut rest = Vec::new();
        clients[3].1.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty(), "it is closed");
        let mut others = clients.iter().filter_map(|(place, _)| place.as_ref());
        assert!(others.all(|place| !place.connection.state().dropped));
    }

    #[test]
    fn a_half_frame_and_a_request_under_way_are_not_idle() {
        let mut message = Vec::new();
        frame::append(&mut message, b"whole");
        for (sent, idle) in [(&message[..], true), (&message[..5], false), (&[], true)] {
            let (mut client, server) = UnixStream::pair().unwrap();
            let connection = Connection::new(server);
            client.write_all(sent).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            let mut frames = Frames::of(&connection);
            while let Ok(Some(_)) = frames.next() {}
            assert_eq!(connection.idle_since().is_some(), idle, "{sent:?}");
            assert!(connection.take_turn());
            assert!(!connection.end_if_idle(), "a request is under way");
            connection.answer(b"done");
            assert_eq!(connection.end_if_idle(), idle, "{sent:?}");
        }
    }

    #[test]
    fn refusals_are_counted_and_seldom_said() {
        let (mut refusals, begun) = (Refusals::default(), Instant::now());
        assert_eq!(refusals.due(begun), Some(1));
        assert_eq!(refusals.due(begun), None);
        assert_eq!(refusals.due(begun + LOG_INTERVAL / 2), None);
        assert_eq!(refusals.due(begun + LOG_INTERVAL), Some(3));
    }
}
