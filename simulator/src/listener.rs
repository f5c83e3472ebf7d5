//! The socket for clients: a unix socket, the user id of each peer checked with the kernel, every resource bounded.
//!
//! Each connection has a thread that reads frames and hands their payloads on unread. Replies are written by the
//! thread that reads from the plugin, which waits for nobody: a client that does not read loses its connection.

use crate::observe::Connected;
use crate::places::{CONNECTIONS_MAX, CONNECTIONS_OF_ONE_MAX, Places};
use crate::relay::{NotTaken, SMALL_STACK_BYTES, Switchboard};
use crate::{HsmError, log};
use countersign_wire::client::{Outcome, Reply, Request, RequestId};
use countersign_wire::frame::{self, CLIENT_MAX_BYTES};
use countersign_wire::reason::Reason;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use std::collections::BTreeSet;
use std::fs::Permissions;
use std::io::{self, Read};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use zeroize::Zeroize;

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

    /// The user that the process at the other end runs as, as the kernel tells it, if he is admitted.
    pub fn admitted(&self, stream: &UnixStream) -> Option<u32> {
        // A process of another PID namespace has no number here, which not every library can hold.
        let uid = getsockopt(stream, PeerCredentials).ok()?.uid();
        self.uids.contains(&uid).then_some(uid)
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
    let places = Places::watched_by(Arc::clone(observer));
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
        let Some(uid) = admission.admitted(&stream) else {
            observer.connection(Connected::Stranger);
            log::say(log::Event::Stranger, "a connection from a user who is not admitted was closed");
            continue;
        };
        let Some(place) = places.admit(stream, uid) else {
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
                    "refused connections: {count}; all {CONNECTIONS_MAX} places are taken, or {CONNECTIONS_OF_ONE_MAX} by one user, and none can be given up"
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

/// One client.
pub struct Connection {
    socket: UnixStream,
    uid: u32,
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
    /// Since when it has no request under way, and has done nothing or has begun a frame; `None` if one is, or it has ended.
    fn spare_since(&self) -> Option<Instant> {
        (self.in_flight == 0 && !self.dropped).then_some(self.active_at)
    }
}

impl Connection {
    /// The client at the other end of `socket`, and the user that he runs as.
    pub fn new(socket: UnixStream, uid: u32) -> Arc<Self> {
        let state = State { in_flight: 0, reading: false, active_at: Instant::now(), dropped: false };
        Arc::new(Self { socket, uid, state: Mutex::new(state), changed: Condvar::new() })
    }

    /// The user that the client runs as.
    pub(crate) fn uid(&self) -> u32 {
        self.uid
    }

    /// Reads requests until the client is gone.
    pub(crate) fn read_requests(self: &Arc<Self>, switchboard: &Switchboard) {
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
    pub(crate) fn take_turn(&self) -> bool {
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

    /// Since when it could be given up: it is idle, or has begun a frame of which nothing has gone to the plugin.
    pub(crate) fn spare_since(&self) -> Option<Instant> {
        self.state().spare_since()
    }

    /// Whether the client has closed its end, and nothing of what it wrote is known to be still to be read or handed on. What is being
    /// taken off the socket at this very moment may not be known yet: then one that is spare is given up among the first.
    pub(crate) fn is_left(&self) -> bool {
        if self.state().reading {
            return false;
        }
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        // It is reset where answers came to a client that is gone and had not read them.
        matches!(rustix::net::recv(&self.socket, &mut [0; 1], flags), Ok((_, 0)) | Err(Errno::CONNRESET))
    }

    /// Ends the connection if no request of it is under way.
    pub(crate) fn end_if_spare(&self) -> bool {
        let mut state = self.state();
        let spare = state.spare_since().is_some();
        if spare {
            state.dropped = true;
            let _ = self.socket.shutdown(Shutdown::Both);
        }
        spare
    }

    /// Whether it has begun a frame.
    #[cfg(test)]
    pub(crate) fn is_reading(&self) -> bool {
        self.state().reading
    }

    /// Whether it was ended here.
    #[cfg(test)]
    pub(crate) fn is_dropped(&self) -> bool {
        self.state().dropped
    }

    /// Notes whether there are bytes that were read and are not handed on.
    pub(crate) fn note_reading(&self, reading: bool) {
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
        let own = rustix::process::geteuid().as_raw();
        assert_eq!(Admission::of(&[]).admitted(&stream), Some(own));
        let mut strangers = Admission::of(&[]);
        strangers.uids = BTreeSet::from([u32::MAX - 1]);
        assert_eq!(strangers.admitted(&stream), None);
        assert!(Admission::of(&[u32::MAX - 1]).uids.contains(&(u32::MAX - 1)));
        assert_eq!(Admission::owner_only().uids, BTreeSet::from([own]));
        assert_eq!(Admission::owner_only().admitted(&stream), Some(own));
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
            let connection = Connection::new(server, 0);
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
            let connection = Connection::new(server, 0);
            let mut frames = Frames::of(&connection);
            assert_eq!(frames.next().unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }

    #[test]
    fn a_frame_that_ends_half_way_is_an_error() {
        let (mut client, server) = UnixStream::pair().unwrap();
        client.write_all(&[0, 0, 0, 9, 1]).unwrap();
        drop(client);
        let connection = Connection::new(server, 0);
        let mut frames = Frames::of(&connection);
        assert_eq!(frames.next().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_client_that_does_not_read_is_dropped_and_nobody_waits_for_it() {
        let (_client, server) = UnixStream::pair().unwrap();
        let connection = Connection::new(server, 0);
        for _ in 0..100 {
            connection.answer(&vec![0; 100_000]);
        }
        assert!(connection.state().dropped);
        assert!(!connection.take_turn());
    }

    #[test]
    fn a_half_frame_is_spare_and_a_request_under_way_is_not() {
        let mut message = Vec::new();
        frame::append(&mut message, b"whole");
        for sent in [&message[..], &message[..5], &[]] {
            let (mut client, server) = UnixStream::pair().unwrap();
            let connection = Connection::new(server, 0);
            client.write_all(sent).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            let mut frames = Frames::of(&connection);
            while let Ok(Some(_)) = frames.next() {}
            assert!(connection.spare_since().is_some(), "{sent:?}");
            assert!(connection.take_turn());
            assert!(!connection.end_if_spare(), "a request is under way");
            connection.answer(b"done");
            assert!(connection.end_if_spare(), "{sent:?}");
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
