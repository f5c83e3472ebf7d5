//! One socket: connecting within a time, checking who serves it, sending and receiving within a deadline.

use crate::config::TIMEOUT_MAX;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, getsockopt, recv, send, setsockopt,
    socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// A stream to the HSM, made by process `pid` and of no use to any other.
pub(crate) struct Connection {
    fd: OwnedFd,
    pid: u32,
}

/// How a connection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// Nobody serves the socket, or not the user who should.
    NotServed,
    /// The other side closed: whatever was under way is lost, and its outcome unknown.
    Lost,
    /// The time was up.
    TimedOut,
}

/// The user who must serve a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    /// This one.
    User(u32),
    /// This process's own user, or root.
    OwnOrRoot,
}

impl Server {
    pub(crate) fn expected(hsm_uid: Option<u32>) -> Self {
        hsm_uid.map_or(Self::OwnOrRoot, Self::User)
    }

    fn is(self, uid: u32) -> bool {
        match self {
            Self::User(expected) => uid == expected,
            Self::OwnOrRoot => uid == 0 || uid == nix::unistd::geteuid().as_raw(),
        }
    }
}

/// The moment that lies `timeout` ahead, and no further than the longest time that can be configured.
pub(crate) fn deadline_after(timeout: Duration) -> Instant {
    Instant::now() + timeout.min(TIMEOUT_MAX)
}

/// What is left until `deadline`: never zero, and at least the microsecond that the kernel counts in.
fn time_left(deadline: Instant) -> Result<Duration, Broken> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(Broken::TimedOut) } else { Ok(left.max(Duration::from_micros(1))) }
}

impl Connection {
    /// Connects within `timeout` and checks who is at the other end (`SO_PEERCRED`: the user who began to listen).
    pub(crate) fn open(path: &Path, server: Server, timeout: Duration) -> Result<Self, Broken> {
        let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
            .map_err(|_| Broken::NotServed)?;
        let address = UnixAddr::new(path).map_err(|_| Broken::NotServed)?;
        let deadline = deadline_after(timeout);
        loop {
            // The kernel bounds a blocking connect by the send timeout (socket(7)); zero would mean forever.
            let micros =
                time_left(deadline)?.as_micros().try_into().expect("no deadline is further than TIMEOUT_MAX");
            let left = TimeVal::microseconds(micros);
            setsockopt(&fd, sockopt::SendTimeout, &left).map_err(|_| Broken::NotServed)?;
            match connect(fd.as_raw_fd(), &address) {
                Ok(()) => break,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Err(Broken::TimedOut),
                Err(_) => return Err(Broken::NotServed),
            }
        }
        let peer = getsockopt(&fd, sockopt::PeerCredentials).map_err(|_| Broken::NotServed)?;
        if !server.is(peer.uid()) {
            return Err(Broken::NotServed);
        }
        Ok(Self { fd, pid: std::process::id() })
    }

    /// Whether this process made it, the other side still holds it, and nothing unasked for lies in it.
    pub(crate) fn is_fresh(&self) -> bool {
        self.pid == std::process::id()
            && recv(self.fd.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT)
                == Err(Errno::EAGAIN)
    }

    /// Sends all of `bytes`. Never raises `SIGPIPE`: the process may not be ours.
    pub(crate) fn send_all(&self, mut bytes: &[u8], deadline: Instant) -> Result<(), Broken> {
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        while !bytes.is_empty() {
            match send(self.fd.as_raw_fd(), bytes, flags) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(Errno::EAGAIN) => self.wait(PollFlags::POLLOUT, deadline)?,
                Err(Errno::EINTR) => {}
                Err(_) => return Err(Broken::Lost),
            }
        }
        Ok(())
    }

    /// Receives at least one byte, and at most as many as `buffer` holds.
    pub(crate) fn receive(&self, buffer: &mut [u8], deadline: Instant) -> Result<usize, Broken> {
        loop {
            self.wait(PollFlags::POLLIN, deadline)?;
            match recv(self.fd.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => return Err(Broken::Lost),
                Ok(received) => return Ok(received),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(_) => return Err(Broken::Lost),
            }
        }
    }

    /// Fills `buffer`.
    pub(crate) fn receive_exact(&self, buffer: &mut [u8], deadline: Instant) -> Result<(), Broken> {
        let mut filled = 0;
        while filled < buffer.len() {
            filled += self.receive(&mut buffer[filled..], deadline)?;
        }
        Ok(())
    }

    fn wait(&self, what: PollFlags, deadline: Instant) -> Result<(), Broken> {
        loop {
            // Rounded up, so that the last fraction of a millisecond is slept through and not spun through.
            let millis = time_left(deadline)?.as_micros().div_ceil(1000);
            let timeout = PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.fd.as_fd(), what)], timeout) {
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(()),
                Err(_) => return Err(Broken::Lost),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_hsm::{FakeHsm, Reaction};

    #[test]
    fn a_connection_is_of_no_use_to_another_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hsm.sock");
        let _hsm = FakeHsm::serve(&path, |_| Reaction::Hold);
        let mut connection = Connection::open(&path, Server::OwnOrRoot, Duration::from_secs(2)).unwrap();
        assert!(connection.is_fresh());
        connection.pid += 1;
        assert!(!connection.is_fresh());
    }

    #[test]
    fn without_a_configured_user_only_root_and_the_own_user_may_serve() {
        let own = nix::unistd::geteuid().as_raw();
        assert!(Server::OwnOrRoot.is(0) && Server::OwnOrRoot.is(own));
        assert!(!Server::OwnOrRoot.is(own + 1));
        assert!(Server::User(7).is(7) && !Server::User(7).is(0));
    }
}
