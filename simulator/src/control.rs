//! The development control channel: advances a manual clock. It exists only where the clock is manual.
//!
//! One line of JSON in, one line out: `{"advance_secs":30}` gives `{"unix_time":N}` or `{"error":"…"}`.

use crate::clock::Clock;
use crate::listener::Admission;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

const LINE_MAX_BYTES: u64 = 256;

/// How long one line may take. Connections are served one after the other.
const LINE_TIME: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Command {
    advance_secs: u64,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Done { unix_time: u64 },
    Refused { error: String },
}

/// Serves the channel for as long as the process lives.
pub fn serve(listener: &UnixListener, admission: &Admission, clock: &Clock) {
    for stream in listener.incoming().flatten() {
        if admission.admitted(&stream).is_some() {
            // Whoever breaks off only harms himself.
            let _ = serve_one(&stream, clock);
        }
    }
}

fn serve_one(stream: &UnixStream, clock: &Clock) -> std::io::Result<()> {
    stream.set_read_timeout(Some(LINE_TIME))?;
    stream.set_write_timeout(Some(LINE_TIME))?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        reader.by_ref().take(LINE_MAX_BYTES).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        let mut text = serde_json::to_vec(&answer(&line, clock))?;
        text.push(b'\n');
        (&*stream).write_all(&text)?;
    }
}

fn answer(line: &[u8], clock: &Clock) -> Answer {
    let advanced = match serde_json::from_slice::<Command>(line) {
        Ok(command) => clock.advance(command.advance_secs).map_err(|error| error.to_string()),
        Err(_) => Err("not a command; the only one is {\"advance_secs\":N}".to_owned()),
    };
    match advanced {
        Ok(unix_time) => Answer::Done { unix_time },
        Err(error) => Answer::Refused { error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_wire::client::ClockMode;

    #[test]
    fn advances_the_clock_and_refuses_everything_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clock");
        Clock::create_manual(&path).unwrap();
        let clock = Clock::open(ClockMode::Manual, &path).unwrap();
        let start = clock.now().unix_secs;
        let (mut client, server) = UnixStream::pair().unwrap();
        client
            .write_all(
                b"{\"advance_secs\":30}\n{\"advance_secs\":-1}\n{\"set\":1}\nx\n{\"advance_secs\":1}\n",
            )
            .unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        serve_one(&server, &clock).unwrap();
        drop(server);
        let mut answers = String::new();
        client.read_to_string(&mut answers).unwrap();
        let answers: Vec<_> = answers.lines().collect();
        assert_eq!(answers[0], format!("{{\"unix_time\":{}}}", start + 30));
        assert!(answers[1..4].iter().all(|answer| answer.starts_with("{\"error\":")), "{answers:?}");
        assert_eq!(answers[4], format!("{{\"unix_time\":{}}}", start + 31));
        assert_eq!(clock.now().unix_secs, start + 31);
    }
}
