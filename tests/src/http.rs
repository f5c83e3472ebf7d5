//! As much HTTP/1.1 as the examples' services and their node need: one request for each connection, on loopback.

use serde_json::Value;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// Asks something of a service that speaks JSON: the status, and the answer.
pub fn ask(service: SocketAddr, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(service).expect("the service takes connections");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {service}\r\nConnection: close\r\nContent-Length: {length}"
    );
    write!(stream, "{head}\r\nContent-Type: application/json\r\n\r\n{body}").expect("the service reads");
    let mut reader = BufReader::new(stream);
    let head = head_of(&mut reader).expect("an answer comes");
    let status = head[0].split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    // Whether the body is counted, in chunks or ended by closing, it is one JSON value.
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("the answer is UTF-8");
    let json = text.find('{').and_then(|from| text.get(from..=text.rfind('}')?)).unwrap_or_default();
    (status, serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {head:?} {text}")))
}

/// Reads a request of this connection, up to its end: its body.
pub fn read_request(stream: &TcpStream) -> io::Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream);
    let head = head_of(&mut reader)?;
    let length = head.iter().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("Content-Length").then(|| value.trim().parse().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    String::from_utf8(body).map_err(io::Error::other)
}

/// Answers a request with JSON, and closes the connection.
pub fn answer(mut stream: &TcpStream, body: &Value) -> io::Result<()> {
    let body = body.to_string();
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}");
    write!(stream, "{head}\r\nConnection: close\r\n\r\n{body}")
}

/// The lines of a head, without the empty one at its end.
fn head_of(reader: &mut impl BufRead) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end() {
            "" => return Ok(lines),
            line => lines.push(line.to_owned()),
        }
    }
}
