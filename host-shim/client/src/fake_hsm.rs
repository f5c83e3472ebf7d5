//! A stand-in for the HSM in tests: a thread that reads requests from a unix socket and reacts as it is told.

use countersign_wire::client::{Answer, Outcome, Reply, Request};
use countersign_wire::reason::Refusal;
use countersign_wire::{decode, encode, frame};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// What to do about a request.
pub(crate) enum Reaction {
    /// Send these bytes, as they are.
    Send(Vec<u8>),
    /// Send these bytes and close the connection.
    SendAndClose(Vec<u8>),
    /// Say nothing, ever.
    #[allow(dead_code, reason = "shared with the relay's tests, which wait for nothing")]
    Hold,
}

/// The frame that answers `request`.
pub(crate) fn done(request: &Request, answer: Answer) -> Reaction {
    framed(&Reply { id: request.id, outcome: Outcome::Done(answer) })
}

/// The frame that refuses `request`.
pub(crate) fn refused(request: &Request, refusal: impl Into<Refusal>) -> Reaction {
    framed(&Reply { id: request.id, outcome: Outcome::Refused(refusal.into()) })
}

/// The frame of any reply.
pub(crate) fn framed(reply: &Reply) -> Reaction {
    let mut bytes = Vec::new();
    frame::append(&mut bytes, &encode(reply));
    Reaction::Send(bytes)
}

type React = dyn FnMut(&Request) -> Reaction + Send;

struct Shared {
    react: Mutex<Box<React>>,
    /// Every request that came, on whatever connection.
    requests: Mutex<Vec<Request>>,
    /// Every connection that was accepted; `None` once the server stops.
    streams: Mutex<Option<Vec<UnixStream>>>,
}

/// Serves a socket until it is dropped; then every connection is closed and the socket's file is gone.
pub(crate) struct FakeHsm {
    path: PathBuf,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl FakeHsm {
    pub(crate) fn serve(path: &Path, react: impl FnMut(&Request) -> Reaction + Send + 'static) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let shared = Arc::new(Shared {
            react: Mutex::new(Box::new(react)),
            requests: Mutex::default(),
            streams: Mutex::new(Some(Vec::new())),
        });
        let acceptor = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept_all(&listener, &shared)
        });
        Self { path: path.to_owned(), shared, acceptor: Some(acceptor) }
    }

    /// What was asked so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// How many connections were made so far.
    #[allow(dead_code, reason = "shared with the command line's tests, which make one connection each")]
    pub(crate) fn connections(&self) -> usize {
        self.shared.streams.lock().unwrap().as_ref().map_or(0, Vec::len)
    }
}

impl Drop for FakeHsm {
    fn drop(&mut self) {
        let streams = self.shared.streams.lock().unwrap().take();
        for stream in streams.into_iter().flatten() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        // Wakes the acceptor, which then sees that it is over.
        drop(UnixStream::connect(&self.path));
        let _ = std::fs::remove_file(&self.path);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn accept_all(listener: &UnixListener, shared: &Arc<Shared>) {
    let mut workers = Vec::new();
    while let Ok((stream, _)) = listener.accept() {
        match shared.streams.lock().unwrap().as_mut() {
            Some(streams) => streams.push(stream.try_clone().unwrap()),
            None => break,
        }
        let shared = Arc::clone(shared);
        workers.push(std::thread::spawn(move || serve_one(stream, &shared)));
    }
    for worker in workers {
        let _ = worker.join();
    }
}

fn serve_one(mut stream: UnixStream, shared: &Shared) {
    while let Some(request) = read_request(&mut stream) {
        shared.requests.lock().unwrap().push(request.clone());
        let reaction = shared.react.lock().unwrap()(&request);
        match reaction {
            Reaction::Send(bytes) => drop(stream.write_all(&bytes)),
            Reaction::SendAndClose(bytes) => {
                drop(stream.write_all(&bytes));
                drop(stream.shutdown(std::net::Shutdown::Both));
            }
            Reaction::Hold => {}
        }
    }
}

fn read_request(stream: &mut UnixStream) -> Option<Request> {
    let mut header = [0; frame::HEADER_BYTES];
    stream.read_exact(&mut header).ok()?;
    let mut payload = vec![0; frame::payload_length(header, frame::CLIENT_MAX_BYTES).ok()?];
    stream.read_exact(&mut payload).ok()?;
    Some(decode(&payload).expect("the client encodes strictly"))
}
