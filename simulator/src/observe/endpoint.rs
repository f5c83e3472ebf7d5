//! The endpoint that operators' tools read: `/metrics`, `/healthz` and `/readyz`, over HTTP, on loopback or a unix socket.
//!
//! It is a responder of its own, and small: one `GET`, one answer, the connection is closed. The usual servers are made
//! for more: they keep connections, add threads as clients come, and wait for slow ones; and hyper does not enter what
//! runs inside the boundary. Here four threads that yield to everything else take turns, a connection has two seconds
//! from beginning to end, and all of them together ten answers a second. Further ones wait in the socket's queue. So
//! whoever asks slowly, or a thousand times, takes the metrics from others at the worst, and never a signature.

use super::Watch;
use crate::{HsmError, log};
use core::fmt;
use serde_json::json;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How many connections are answered at once.
const RESPONDERS: usize = 4;

/// How long one connection may take, from its beginning to its end.
const PATIENCE: Duration = Duration::from_secs(2);

/// The longest head of a request, in bytes.
const HEAD_MAX_BYTES: usize = 4096;

/// Answers in a row before the rate counts, and how long one of them takes to come back.
const ANSWERS_MAX: u32 = 50;
const ANSWER_INTERVAL: Duration = Duration::from_millis(100);

/// Where the endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A port of this machine alone; 0 takes any that is free.
    Loopback(SocketAddr),
    /// A unix socket, for the HSM's own user.
    Unix(PathBuf),
}

/// Not where metrics may be served.
#[derive(Clone, Copy, Debug)]
pub struct NotLocal;

impl fmt::Display for NotLocal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("metrics are served on a loopback address (127.0.0.1:9464, [::1]:9464) or on unix:PATH")
    }
}

impl std::error::Error for NotLocal {}

impl core::str::FromStr for Address {
    type Err = NotLocal;
    fn from_str(text: &str) -> Result<Self, NotLocal> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        let address: SocketAddr = text.parse().map_err(|_| NotLocal)?;
        if address.ip().is_loopback() { Ok(Self::Loopback(address)) } else { Err(NotLocal) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The endpoint of one HSM. It answers for as long as the process lives; a socket's file goes with it.
pub struct Endpoint {
    address: Address,
}

impl Endpoint {
    /// Listens, and answers from here on.
    pub fn open(address: &Address, watch: &Arc<Watch>) -> Result<Self, HsmError> {
        let failed = || HsmError::io(format!("serve metrics on {address}"));
        let (listener, address) = match address {
            Address::Loopback(address) => {
                let listener = TcpListener::bind(address).map_err(failed())?;
                let bound = listener.local_addr().map_err(failed())?;
                (Listener::Loopback(listener), Address::Loopback(bound))
            }
            Address::Unix(path) => {
                match std::fs::remove_file(path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed()(error)),
                    _ => {}
                }
                (Listener::Unix(UnixListener::bind(path).map_err(failed())?), Address::Unix(path.clone()))
            }
        };
        let (listener, rate) = (Arc::new(listener), Arc::new(Rate::full(Instant::now())));
        for _ in 0..RESPONDERS {
            let (listener, rate, watch) = (Arc::clone(&listener), Arc::clone(&rate), Arc::clone(watch));
            let thread = std::thread::Builder::new().name("metrics".into());
            thread.spawn(move || respond(&listener, &rate, &watch)).map_err(failed())?;
        }
        log::say(log::Event::MetricsServed, format_args!("metrics are served on {address}"));
        Ok(Self { address })
    }

    /// Where it is, with the port that was taken.
    pub fn address(&self) -> &Address {
        &self.address
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        if let Address::Unix(path) = &self.address {
            // A file that is gone already is what is wanted.
            let _ = std::fs::remove_file(path);
        }
    }
}

enum Listener {
    Loopback(TcpListener),
    Unix(UnixListener),
}

fn respond(listener: &Listener, rate: &Rate, watch: &Watch) {
    let _ = rustix::process::setpriority_process(None, super::NICE);
    loop {
        // Whoever breaks off only harms himself.
        let served = match listener {
            Listener::Loopback(listener) => listener.accept().map(|(stream, _)| answer(&stream, rate, watch)),
            Listener::Unix(listener) => listener.accept().map(|(stream, _)| answer(&stream, rate, watch)),
        };
        if served.is_err() {
            // Out of descriptors, most likely; the connection stays in the queue.
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A stream whose every read and write can be given a time.
trait Timed {
    fn set_time(&self, left: Duration) -> io::Result<()>;
}

impl Timed for TcpStream {
    fn set_time(&self, left: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(left)).and_then(|()| self.set_write_timeout(Some(left)))
    }
}

impl Timed for UnixStream {
    fn set_time(&self, left: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(left)).and_then(|()| self.set_write_timeout(Some(left)))
    }
}

fn answer<S: Timed>(stream: &S, rate: &Rate, watch: &Watch)
where
    for<'a> &'a S: Read + Write,
{
    let until = Instant::now() + PATIENCE;
    let Ok(path) = read_path(stream, until) else { return };
    let answer = match path {
        Err(refused) => refused,
        Ok(_) if !rate.take(Instant::now()) => Answer::plain("429 Too Many Requests", "too-often\n"),
        Ok(path) => page(&path, watch),
    };
    // Whoever does not read it in time goes without.
    let _ = write_in_time(stream, answer.text().as_bytes(), until);
}

fn page(path: &str, watch: &Watch) -> Answer {
    match path.split('?').next().unwrap_or_default() {
        "/metrics" => Answer {
            status: "200 OK",
            kind: "application/openmetrics-text; version=1.0.0; charset=utf-8",
            body: watch.metrics(),
        },
        // That the process lives is all that this says.
        "/healthz" => Answer::json("200 OK", &json!({ "live": true })),
        "/readyz" => match watch.readiness() {
            Ok(clock_sure) => Answer::json("200 OK", &json!({ "ready": true, "clock_sure": clock_sure })),
            Err(why) => Answer::json("503 Service Unavailable", &json!({ "ready": false, "why": why })),
        },
        _ => Answer::plain("404 Not Found", "not-found\n"),
    }
}

struct Answer {
    status: &'static str,
    kind: &'static str,
    body: String,
}

impl Answer {
    fn plain(status: &'static str, body: &str) -> Self {
        Self { status, kind: "text/plain; charset=utf-8", body: body.to_owned() }
    }

    fn json(status: &'static str, body: &serde_json::Value) -> Self {
        Self { status, kind: "application/json", body: format!("{body}\n") }
    }

    fn text(&self) -> String {
        let Self { status, kind, body } = self;
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
             X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    }
}

/// Reads the head of a request (RFC 9112 section 3) and gives its path; an error where it did not come in time.
fn read_path<S: Timed>(stream: &S, until: Instant) -> io::Result<Result<String, Answer>>
where
    for<'a> &'a S: Read,
{
    let (mut head, mut room) = (Vec::new(), [0; 1024]);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > HEAD_MAX_BYTES {
            return Ok(Err(Answer::plain("431 Request Header Fields Too Large", "too-large\n")));
        }
        stream.set_time(left(until)?)?;
        let mut reader = stream;
        match reader.read(&mut room)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => head.extend_from_slice(&room[..count]),
        }
    }
    Ok(path_of(&head))
}

fn path_of(head: &[u8]) -> Result<String, Answer> {
    let malformed = || Answer::plain("400 Bad Request", "malformed-request\n");
    let line = head.split(|byte| *byte == b'\r').next().and_then(|line| std::str::from_utf8(line).ok());
    let mut words = line.ok_or_else(malformed)?.split(' ');
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some("GET"), Some(path), Some("HTTP/1.0" | "HTTP/1.1"), None) => Ok(path.to_owned()),
        (Some(_), Some(_), Some("HTTP/1.0" | "HTTP/1.1"), None) => {
            Err(Answer::plain("405 Method Not Allowed", "method-not-allowed\n"))
        }
        _ => Err(malformed()),
    }
}

fn write_in_time<S: Timed>(stream: &S, mut bytes: &[u8], until: Instant) -> io::Result<()>
where
    for<'a> &'a S: Write,
{
    while !bytes.is_empty() {
        stream.set_time(left(until)?)?;
        let mut writer = stream;
        match writer.write(bytes)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => bytes = &bytes[count..],
        }
    }
    Ok(())
}

/// What is left of a connection's time. Zero would mean for ever.
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// How many answers may be given.
struct Rate(Mutex<(u32, Instant)>);

impl Rate {
    fn full(now: Instant) -> Self {
        Self(Mutex::new((ANSWERS_MAX, now)))
    }

    fn take(&self, now: Instant) -> bool {
        let (answers, since) = &mut *self.0.lock().expect("nothing panics while it holds the rate");
        let back = now.saturating_duration_since(*since).as_millis() / ANSWER_INTERVAL.as_millis();
        let back = u32::try_from(back).unwrap_or(ANSWERS_MAX).min(ANSWERS_MAX);
        *since = if back == ANSWERS_MAX { now } else { *since + ANSWER_INTERVAL * back };
        *answers = (*answers + back).min(ANSWERS_MAX);
        let is_free = *answers > 0;
        *answers = answers.saturating_sub(1);
        is_free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_served_on_this_machine_alone() {
        for good in ["127.0.0.1:0", "[::1]:9464", "unix:/run/metrics.sock"] {
            assert_eq!(good.parse::<Address>().unwrap().to_string(), good);
        }
        for bad in ["0.0.0.0:9464", "[::]:9464", "192.0.2.1:9464", "localhost:9464", "9464", ""] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_a_get_is_answered() {
        let refused = |head: &str| path_of(head.as_bytes()).err().map(|answer| answer.status);
        assert_eq!(path_of(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").ok().as_deref(), Some("/metrics"));
        assert_eq!(refused("POST /metrics HTTP/1.1\r\n\r\n"), Some("405 Method Not Allowed"));
        for head in ["", "GET", "GET /metrics\r\n\r\n", "GET /a b HTTP/1.1\r\n\r\n", "GET / HTTP/2\r\n\r\n"] {
            assert_eq!(refused(head), Some("400 Bad Request"), "{head:?}");
        }
        assert_eq!(path_of(&[0xff, b'\r']).err().map(|answer| answer.status), Some("400 Bad Request"));
    }

    fn read(head: &[u8]) -> io::Result<Result<String, Answer>> {
        let (mut client, server) = UnixStream::pair().unwrap();
        client.write_all(head).unwrap();
        drop(client);
        read_path(&server, Instant::now() + PATIENCE)
    }

    #[test]
    fn a_head_without_an_end_is_refused_and_one_that_stops_is_dropped() {
        let long = vec![b'x'; HEAD_MAX_BYTES + 2000];
        assert_eq!(read(&long).unwrap().err().unwrap().status, "431 Request Header Fields Too Large");
        assert_eq!(read(b"GET /metrics").err().unwrap().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_connection_whose_time_is_up_is_neither_read_nor_written() {
        let (_client, server) = UnixStream::pair().unwrap();
        let past = Instant::now();
        assert_eq!(read_path(&server, past).err().unwrap().kind(), io::ErrorKind::TimedOut);
        assert_eq!(write_in_time(&server, b"x", past).unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn many_who_ask_get_ten_answers_a_second() {
        let begun = Instant::now();
        let rate = Rate::full(begun);
        let given = |at: Duration| (0..1000).filter(|_| rate.take(begun + at)).count();
        assert_eq!(given(Duration::ZERO), 50);
        assert_eq!(given(Duration::from_millis(99)), 0);
        assert_eq!(given(Duration::from_secs(1)), 10);
        assert_eq!(given(Duration::from_millis(1050)), 0);
        assert_eq!(given(Duration::from_mins(1)), 50);
    }
}
