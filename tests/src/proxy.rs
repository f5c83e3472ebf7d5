//! A proxy between clients and the HSM that writes down all that passes, and holds replies back where it is told to.

use crate::hsm::{Hsm, PATIENCE};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

#[derive(Default)]
struct State {
    transcript: Vec<u8>,
    /// Replies are not passed on.
    holds: bool,
    /// Replies that came while none were passed on.
    held: usize,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// One proxy. It serves for as long as the test runs.
pub struct Proxy {
    socket: PathBuf,
    shared: Arc<Shared>,
}

impl Proxy {
    /// A proxy before this HSM, which runs.
    pub fn before(hsm: &Hsm) -> Self {
        let socket = hsm.folder().join("proxy.sock");
        let listener = UnixListener::bind(&socket).expect("a socket can be made");
        let (shared, behind) = (Arc::<Shared>::default(), hsm.ready().socket.clone());
        let of_threads = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // The HSM may have been stopped.
                let Ok(hsm) = UnixStream::connect(&behind) else { return };
                let ends = [&client, &hsm].map(|end| end.try_clone().expect("descriptors are left"));
                let [from_client, from_hsm] = ends;
                let (asks, answers) = (Arc::clone(&of_threads), Arc::clone(&of_threads));
                std::thread::spawn(move || carry(from_client, hsm, &asks, false));
                std::thread::spawn(move || carry(from_hsm, client, &answers, true));
            }
        });
        Self { socket, shared }
    }

    /// Where clients find it.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// All that passed so far, in both directions.
    pub fn transcript(&self) -> Vec<u8> {
        self.shared.state.lock().expect("no thread panics").transcript.clone()
    }

    /// Replies stay here from now on, until [`Self::let_go`].
    pub fn hold(&self) {
        self.shared.state.lock().expect("no thread panics").holds = true;
    }

    /// Waits until a reply is held.
    pub fn wait_until_held(&self) {
        let state = self.shared.state.lock().expect("no thread panics");
        let waited = self.shared.changed.wait_timeout_while(state, PATIENCE, |state| state.held == 0);
        assert!(!waited.expect("no thread panics").1.timed_out(), "no reply ever comes");
    }

    /// Replies are passed on again.
    pub fn let_go(&self) {
        let mut state = self.shared.state.lock().expect("no thread panics");
        (state.holds, state.held) = (false, 0);
        self.shared.changed.notify_all();
    }
}

fn carry(mut from: UnixStream, mut to: UnixStream, shared: &Shared, are_replies: bool) {
    let mut room = vec![0; 64 * 1024];
    // Whoever hangs up ends it.
    while let Ok(count @ 1..) = from.read(&mut room) {
        let mut state = shared.state.lock().expect("no thread panics");
        state.transcript.extend_from_slice(&room[..count]);
        if are_replies && state.holds {
            state.held += 1;
            shared.changed.notify_all();
            state = shared.changed.wait_while(state, |state| state.holds).expect("no thread panics");
        }
        drop(state);
        if to.write_all(&room[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}
