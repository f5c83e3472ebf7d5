//! The development-only control channel of an HSM with a manual clock: one line of JSON in, one out.
//!
//! ```text
//! {"advance_secs":30}
//! {"unix_time":1790000030}     or     {"error":"…"}
//! ```

use crate::config::HostConfig;
use crate::connection::{Broken, Connection, Server, deadline_after};
use serde::Deserialize;
use std::fmt;
use std::time::Instant;

/// The longest line that is read, in bytes.
const LINE_MAX_BYTES: usize = 4096;

/// Why the clock was not advanced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlError {
    /// The configuration names no control channel: the clock is not a manual one.
    NotConfigured,
    /// Nobody answered.
    Unreachable,
    /// The HSM said no, and why.
    Refused(String),
    /// The answer is none.
    Garbage,
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConfigured => f.write_str(
                "this HSM's clock cannot be moved: host.toml names no control channel, which only an HSM with a manual clock has",
            ),
            Self::Unreachable => f.write_str(
                "the control channel does not answer; check that the HSM runs, with a manual clock, and that host.toml names its control socket",
            ),
            Self::Refused(why) => write!(f, "the HSM did not advance its clock: {why}"),
            Self::Garbage => f.write_str("what answered on the control channel is not an HSM"),
        }
    }
}

impl std::error::Error for ControlError {}

impl From<Broken> for ControlError {
    fn from(_: Broken) -> Self {
        Self::Unreachable
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    UnixTime(u64),
    Error(String),
}

/// Advances a manual clock by `secs` and returns its new time, in seconds since 1970.
pub fn advance_clock(config: &HostConfig, secs: u64) -> Result<u64, ControlError> {
    let path = config.control.as_deref().ok_or(ControlError::NotConfigured)?;
    let deadline = deadline_after(config.request_timeout);
    let connection = Connection::open(path, Server::expected(config.hsm_uid), config.connect_timeout)?;
    match connection.send_all(format!("{{\"advance_secs\":{secs}}}\n").as_bytes(), deadline) {
        // A server that hung up before it had read everything may have said why.
        Ok(()) | Err(Broken::Lost) => {}
        Err(broken) => return Err(broken.into()),
    }
    match serde_json::from_slice(&receive_line(&connection, deadline)?) {
        Ok(Line::UnixTime(unix_time_secs)) => Ok(unix_time_secs),
        Ok(Line::Error(why)) => Err(ControlError::Refused(why)),
        Err(_) => Err(ControlError::Garbage),
    }
}

fn receive_line(connection: &Connection, deadline: Instant) -> Result<Vec<u8>, ControlError> {
    let (mut line, mut chunk) = (Vec::new(), [0; 512]);
    while line.len() <= LINE_MAX_BYTES {
        let received = connection.receive(&mut chunk, deadline)?;
        line.extend_from_slice(&chunk[..received]);
        if let Some(end) = line.iter().position(|byte| *byte == b'\n') {
            line.truncate(end);
            return Ok(line);
        }
    }
    Err(ControlError::Garbage)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixListener;

    fn answer(line: &'static str) -> (Result<u64, ControlError>, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = String::new();
            BufReader::new(&stream).read_line(&mut asked).unwrap();
            // The client may hang up as soon as it has seen too much.
            let _ = stream.write_all(line.as_bytes());
            asked
        });
        let config = HostConfig { control: Some(path), ..HostConfig::for_socket("/none") };
        let outcome = advance_clock(&config, 30);
        (outcome, server.join().unwrap())
    }

    #[test]
    fn asks_in_one_line_and_returns_the_new_time() {
        let (outcome, asked) = answer("{\"unix_time\":1790000030}\n");
        assert_eq!(outcome, Ok(1_790_000_030));
        assert_eq!(asked, "{\"advance_secs\":30}\n");
    }

    #[test]
    fn refuses_errors_garbage_and_endless_lines() {
        assert_eq!(answer("{\"error\":\"no\"}\n").0, Err(ControlError::Refused("no".to_owned())));
        assert_eq!(answer("{\"unix_time\":1,\"error\":\"no\"}\n").0, Err(ControlError::Garbage));
        assert_eq!(answer("OK\n").0, Err(ControlError::Garbage));
        assert_eq!(answer("{\"unix_time\":1}").0, Err(ControlError::Unreachable));
        let endless: &'static str = Box::leak("x".repeat(LINE_MAX_BYTES * 2).into_boxed_str());
        assert_eq!(answer(endless).0, Err(ControlError::Garbage));
    }

    #[test]
    fn refuses_without_a_control_channel() {
        let config = HostConfig::for_socket("/none");
        assert_eq!(advance_clock(&config, 1), Err(ControlError::NotConfigured));
        let config = HostConfig { control: Some("/none".into()), ..config };
        assert_eq!(advance_clock(&config, 1), Err(ControlError::Unreachable));
    }
}
