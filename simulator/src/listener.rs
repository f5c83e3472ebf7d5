//! The socket for clients: a unix socket, the user id of each peer checked with the kernel, every resource bounded.
//!
//! Each connection has a thread that reads frames and hands their payloads on unread. Replies are written by the
//! thread that reads from the plugin, which waits for nobody: a client that does not read loses its connection.

use crate::relay::{SMALL_STACK_BYTES, Switchboard};
use crate::{HsmError, log};
use countersign_wire::client::{Outcome, Reply, Request, RequestId};
use countersign_wire::frame::{self, CLIENT_MAX_BYTES};
use countersign_wire::reason::Reason;
use rustix::io::Errno;
use rustix::net::SendFlags;
use std::collections::BTreeSet;
use std::fs::Permissions;
use std::io::{self, Read};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use zeroize::Zeroize;

/// The most connections at once. Further ones are closed without an answer.
pub const CONNECTIONS_MAX: usize = 512;

/// The most requests of one connection that wait for an answer. Beyond, the connection is not read.
pub const IN_FLIGHT_MAX: usize = 64;

/// How long a client may take for one frame once it has begun to send it.
pub const FRAME_TIME: Duration = Duration::from_secs(30);

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
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                // Out of descriptors, most likely. The connection stays in the queue of the socket.
                log::line(format_args!("a connection could not be accepted: {error}"));
                std::thread::sleep(Duration::from_millis(50));
                continue;
            }
        };
        if !admission.admits(&stream) {
            log::line("a connection from a user who is not admitted was closed");
            continue;
        }
        let slot = Slot::take(&open);
        if let Some(slot) = slot {
            let switchboard = Arc::clone(switchboard);
            let thread = std::thread::Builder::new().name("client".into()).stack_size(SMALL_STACK_BYTES);
            let spawned = thread.spawn(move || {
                Connection::new(stream).read_requests(&switchboard);
                drop(slot);
            });
            if let Err(error) = spawned {
                log::line(format_args!("a connection could not be served: {error}"));
            }
        }
    }
}

/// One of the [`CONNECTIONS_MAX`] connections.
struct Slot(Arc<AtomicUsize>);

impl Slot {
    fn take(open: &Arc<AtomicUsize>) -> Option<Self> {
        let slot = Self(Arc::clone(open));
        (open.fetch_add(1, Ordering::Relaxed) < CONNECTIONS_MAX).then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One client.
pub struct Connection {
    socket: UnixStream,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    in_flight: usize,
    dropped: bool,
}

impl Connection {
    fn new(socket: UnixStream) -> Arc<Self> {
        Arc::new(Self { socket, state: Mutex::default(), changed: Condvar::new() })
    }

    /// Reads requests until the client is gone.
    fn read_requests(self: &Arc<Self>, switchboard: &Switchboard) {
        let mut frames = Frames { socket: &self.socket, buffer: Vec::new() };
        while let Ok(Some(payload)) = frames.next() {
            if !self.take_turn() {
                break;
            }
            let Some(relay) = switchboard.current() else {
                self.answer_not_ready(payload);
                continue;
            };
            // If the plugin goes now, the relay drops this connection with all others that wait.
            if relay.request(self, payload).is_err() {
                self.drop_now();
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

    fn answer_not_ready(&self, mut payload: Vec<u8>) {
        let request = countersign_wire::decode::<Request>(&payload);
        payload.zeroize();
        let id = request.map_or(RequestId::new([0; 16]), |request| request.id);
        let outcome = Outcome::Refused(Reason::HsmNotReady.into());
        self.answer(&countersign_wire::encode(&Reply { id, outcome }));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds a connection")
    }
}

/// Cuts the frames out of a client's stream.
struct Frames<'a> {
    socket: &'a UnixStream,
    buffer: Vec<u8>,
}

impl Frames<'_> {
    /// The next payload; `None` when the client ended between two frames.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut begun: Option<Instant> = None;
        loop {
            let cut = frame::split_first(&self.buffer, CLIENT_MAX_BYTES)
                .map_err(|bad| io::Error::new(io::ErrorKind::InvalidData, bad))?;
            if let Some((payload, used)) = cut {
                let payload = payload.to_vec();
                self.consume(used);
                if begun.is_some() {
                    self.socket.set_read_timeout(None)?;
                }
                return Ok(Some(payload));
            }
            if !self.buffer.is_empty() {
                let left = FRAME_TIME.saturating_sub(begun.get_or_insert_with(Instant::now).elapsed());
                if left.is_zero() {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                self.socket.set_read_timeout(Some(left))?;
            }
            if self.read_some()? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    fn read_some(&mut self) -> io::Result<usize> {
        let filled = self.buffer.len();
        self.buffer.resize(filled + READ_BYTES, 0);
        let read = loop {
            match self.socket.read(&mut self.buffer[filled..]) {
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
            let mut frames = Frames { socket: &server, buffer: Vec::new() };
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
            let mut frames = Frames { socket: &server, buffer: Vec::new() };
            assert_eq!(frames.next().unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }

    #[test]
    fn a_frame_that_ends_half_way_is_an_error() {
        let (mut client, server) = UnixStream::pair().unwrap();
        client.write_all(&[0, 0, 0, 9, 1]).unwrap();
        drop(client);
        let mut frames = Frames { socket: &server, buffer: Vec::new() };
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

    #[test]
    fn connections_are_bounded() {
        let open = Arc::new(AtomicUsize::new(0));
        let slots: Vec<_> = (0..CONNECTIONS_MAX).map(|_| Slot::take(&open).unwrap()).collect();
        assert!(Slot::take(&open).is_none());
        drop(slots);
        assert!(Slot::take(&open).is_some());
    }
}
