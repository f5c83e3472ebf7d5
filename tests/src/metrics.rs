//! What an operator reads of an HSM: its metrics and its health.

use crate::hsm::Hsm;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// What takes longer hangs.
const HANGS: Duration = Duration::from_mins(5);

/// The status of an answer to whoever asks too often.
const TOO_MANY: u16 = 429;

/// Options of `countersign-hsm run` that serve metrics on a free port.
pub const ON_A_FREE_PORT: [&str; 2] = ["--metrics", "127.0.0.1:0"];

/// An answer: its status, and its body.
pub type Answer = (u16, String);

/// What is read at a path, over HTTP on loopback. On a busy machine the endpoint takes longer than it gives itself, and the connection ends without
/// an answer; whoever asks too often is told to wait: then it is asked again.
pub fn get(hsm: &Hsm, path: &str) -> Answer {
    let began = Instant::now();
    loop {
        match try_get(hsm, path) {
            Ok(answer) if answer.0 != TOO_MANY => return answer,
            other => assert!(began.elapsed() < HANGS, "{other:?}"),
        }
        std::thread::yield_now();
    }
}

/// The same, asked once.
pub fn try_get(hsm: &Hsm, path: &str) -> io::Result<Answer> {
    let address = hsm.ready().metrics.as_ref().expect("the HSM serves metrics");
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    ask(stream, path)
}

/// What is read at a path, on a unix socket; an error while nobody listens there.
pub fn get_at(socket: &Path, path: &str) -> io::Result<Answer> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    ask(stream, path)
}

fn ask(mut stream: impl Read + Write, path: &str) -> io::Result<Answer> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: hsm\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or(io::ErrorKind::InvalidData)?, body.to_owned()))
}

/// The value of a sample: `NAME{LABEL="VALUE",…}`; `None` if it is not told.
pub fn sample(text: &str, name: &str) -> Option<f64> {
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    text.lines().find_map(value)
}

/// The same of what an HSM tells now.
pub fn now(hsm: &Hsm, name: &str) -> Option<f64> {
    let (status, text) = get(hsm, "/metrics");
    assert_eq!(status, 200, "{text}");
    sample(&text, name)
}
