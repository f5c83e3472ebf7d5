//! Traces, as the OpenTelemetry Collector reads them: lines of OTLP/JSON (OpenTelemetry Protocol File Exporter), one
//! `TracesData` object on each, in a file or to a unix socket.
//!
//! A trace begins here: the messages of clients carry no trace context. A trace is one request, its first span, with a
//! span for each call that the plugin made for it; a commit serves all requests under way, so it stands in each of their
//! traces. Spans hold words from short lists and durations, and nothing of what was asked.
//!
//! Nobody waits for a trace to be written: a thread of its own writes them, and what it cannot keep up with is dropped
//! and counted.

use crate::{HsmError, log};
use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Spans that wait to be written; beyond it they are dropped.
const WAITING_MAX: usize = 8192;

/// Spans in one line at the most.
const BATCH_MAX: usize = 256;

/// A file that has grown to this many bytes is renamed to `NAME.1`, in place of the one before, and begun anew.
const FILE_MAX_BYTES: u64 = 64 * 1024 * 1024;

/// How long a line to a socket may take, and how long to wait before a socket is tried again.
const SOCKET_TIME: Duration = Duration::from_secs(1);

/// Where traces go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A file, appended to.
    File(PathBuf),
    /// Whoever listens on this unix socket.
    Socket(PathBuf),
}

impl core::str::FromStr for Target {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.strip_prefix("unix:") {
            Some(path) => Self::Socket(path.into()),
            None => Self::File(text.into()),
        })
    }
}

/// The share of requests that is traced.
#[derive(Clone, Copy, Debug)]
pub struct Ratio(f64);

/// Not a number from 0 to 1.
#[derive(Clone, Copy, Debug)]
pub struct NotARatio;

impl core::fmt::Display for NotARatio {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("a ratio is a number from 0 to 1")
    }
}

impl std::error::Error for NotARatio {}

impl core::str::FromStr for Ratio {
    type Err = NotARatio;
    fn from_str(text: &str) -> Result<Self, NotARatio> {
        let ratio: f64 = text.parse().map_err(|_| NotARatio)?;
        if (0.0..=1.0).contains(&ratio) { Ok(Self(ratio)) } else { Err(NotARatio) }
    }
}

/// Which span of which trace (W3C Trace Context, level 1, section 3.2.2): the span that others are children of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    trace: [u8; 16],
    span: [u8; 8],
}

/// A moment, on the clock of people and on the one that durations are measured with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    wall: SystemTime,
    pub(super) instant: Instant,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self { wall: SystemTime::now(), instant: Instant::now() }
    }
}

/// One span that has ended.
pub(super) struct Span {
    pub(super) context: Context,
    pub(super) parent: Option<Context>,
    pub(super) name: &'static str,
    pub(super) began: Moment,
    pub(super) took: Duration,
    pub(super) attributes: Vec<(&'static str, Value)>,
    /// Something is wrong with the HSM; a request that is refused with reason is no error.
    pub(super) is_error: bool,
}

impl Span {
    /// As the OTLP's JSON encoding has it: ids in hex, enums as numbers, 64-bit numbers as strings.
    fn json(&self) -> Value {
        let begin = self.began.wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        let attribute = |(key, value): &(&str, Value)| {
            let value = match value {
                Value::Number(number) => json!({ "intValue": number.to_string() }),
                Value::Bool(is_so) => json!({ "boolValue": is_so }),
                other => json!({ "stringValue": other }),
            };
            json!({ "key": key, "value": value })
        };
        let attributes: Vec<Value> = self.attributes.iter().map(attribute).collect();
        // SPAN_KIND_SERVER, SPAN_KIND_INTERNAL; STATUS_CODE_UNSET, STATUS_CODE_ERROR.
        let (kind, status) = (if self.parent.is_none() { 2 } else { 1 }, if self.is_error { 2 } else { 0 });
        let mut span = json!({
            "traceId": HEXLOWER.encode(&self.context.trace),
            "spanId": HEXLOWER.encode(&self.context.span),
            "name": self.name,
            "kind": kind,
            "startTimeUnixNano": begin.as_nanos().to_string(),
            "endTimeUnixNano": (begin + self.took).as_nanos().to_string(),
            "attributes": attributes,
            "status": { "code": status },
        });
        if let Some(parent) = self.parent {
            span["parentSpanId"] = HEXLOWER.encode(&parent.span).into();
        }
        span
    }
}

/// Decides which requests are traced, and passes their spans on.
pub(super) struct Tracer {
    ratio: Ratio,
    spans: SyncSender<Span>,
}

impl Tracer {
    /// Opens where traces go. The thread that writes them tells `wrote` how many spans were, and how many could not be.
    pub(super) fn open(
        target: &Target,
        ratio: Ratio,
        wrote: impl Fn(u64, u64) + Send + 'static,
    ) -> Result<Self, HsmError> {
        let (spans, inbox) = sync_channel(WAITING_MAX);
        let mut writer = Writer::open(target)?;
        let thread = std::thread::Builder::new().name("traces".into());
        let body = move || {
            let _ = rustix::process::setpriority_process(None, super::NICE);
            while let Some(batch) = next_batch(&inbox) {
                let count = batch.len() as u64;
                let is_written = writer.write(&batch);
                wrote(if is_written { count } else { 0 }, if is_written { 0 } else { count });
            }
        };
        thread.spawn(body).map_err(HsmError::io("start the thread traces"))?;
        Ok(Self { ratio, spans })
    }

    /// The trace of a new request, if it is one of those that are traced.
    pub(super) fn begin(&self) -> Option<Context> {
        let mut random = [0; 32];
        // Without randomness there are no ids; signing has its own opinion of that.
        getrandom::fill(&mut random).ok()?;
        let (draw, ids) = random.split_first_chunk::<4>()?;
        let (trace, ids) = ids.split_first_chunk::<16>()?;
        let span = ids.first_chunk::<8>()?;
        let is_drawn = f64::from(u32::from_be_bytes(*draw)) < self.ratio.0 * 4_294_967_296.0;
        is_drawn.then_some(Context { trace: *trace, span: *span })
    }

    /// A new span in the trace of `parent`.
    pub(super) fn child(parent: Context) -> Option<Context> {
        let mut span = [0; 8];
        getrandom::fill(&mut span).ok()?;
        Some(Context { span, ..parent })
    }

    /// Passes a span on; false if it had to be dropped.
    pub(super) fn end(&self, span: Span) -> bool {
        self.spans.try_send(span).is_ok()
    }
}

/// Waits for a span, and takes what else is there; `None` when no more can come.
fn next_batch(inbox: &Receiver<Span>) -> Option<Vec<Span>> {
    let first = inbox.recv().ok()?;
    Some(std::iter::once(first).chain(inbox.try_iter()).take(BATCH_MAX).collect())
}

enum Writer {
    File { path: PathBuf, file: File, length_bytes: u64, max_bytes: u64 },
    Socket { path: PathBuf, stream: Option<UnixStream>, tried_at: Option<Instant> },
}

impl Writer {
    fn open(target: &Target) -> Result<Self, HsmError> {
        match target {
            Target::File(path) => {
                let file = append_to(path).map_err(HsmError::io(format!("open {}", path.display())))?;
                let length_bytes = file.metadata().map_or(0, |found| found.len());
                Ok(Self::File { path: path.clone(), file, length_bytes, max_bytes: FILE_MAX_BYTES })
            }
            // Whoever reads may come later.
            Target::Socket(path) => Ok(Self::Socket { path: path.clone(), stream: None, tried_at: None }),
        }
    }

    fn write(&mut self, batch: &[Span]) -> bool {
        let mut line = lines_of(batch).to_string();
        line.push('\n');
        match self.try_write(line.as_bytes()) {
            Ok(()) => true,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotConnected {
                    log::say(log::Event::TracesFailed, format_args!("traces cannot be written: {error}"));
                }
                false
            }
        }
    }

    fn try_write(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::File { path, file, length_bytes, max_bytes } => {
                if *length_bytes > 0 && *length_bytes + line.len() as u64 > *max_bytes {
                    let mut old = path.clone().into_os_string();
                    old.push(".1");
                    std::fs::rename(&*path, old)?;
                    (*file, *length_bytes) = (append_to(path)?, 0);
                }
                *length_bytes += line.len() as u64;
                file.write_all(line)
            }
            Self::Socket { path, stream, tried_at } => {
                if stream.is_none() {
                    // Not connected, and not worth a line in the log each time.
                    let is_too_soon = tried_at.is_some_and(|at| at.elapsed() < SOCKET_TIME);
                    let connected = if is_too_soon { None } else { UnixStream::connect(path).ok() };
                    *tried_at = if is_too_soon { *tried_at } else { Some(Instant::now()) };
                    let connected = connected.ok_or(io::ErrorKind::NotConnected)?;
                    connected.set_write_timeout(Some(SOCKET_TIME))?;
                    *stream = Some(connected);
                }
                let written = stream.as_mut().map_or(Ok(()), |stream| stream.write_all(line));
                // Half a line may be out: the next one begins on a connection of its own.
                if written.is_err() {
                    *stream = None;
                }
                written
            }
        }
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

fn lines_of(batch: &[Span]) -> Value {
    let spans: Vec<Value> = batch.iter().map(Span::json).collect();
    json!({ "resourceSpans": [{
        "resource": { "attributes": [{ "key": "service.name", "value": { "stringValue": "countersign-hsm" } }] },
        "scopeSpans": [{
            "scope": { "name": "countersign", "version": env!("CARGO_PKG_VERSION") },
            "spans": spans,
        }],
    }] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixListener;

    fn span(parent: Option<Context>) -> Span {
        let context = Context { trace: [0x5b; 16], span: [0xee; 8] };
        let began = Moment {
            wall: UNIX_EPOCH + Duration::from_nanos(1_544_712_660_000_000_001),
            instant: Instant::now(),
        };
        let attributes = vec![("countersign.act", "sign".into()), ("countersign.wait_us", 7.into())];
        Span {
            context,
            parent,
            name: "sign",
            began,
            took: Duration::from_micros(3),
            attributes,
            is_error: false,
        }
    }

    #[test]
    fn a_span_is_encoded_as_the_protocol_has_it() {
        let found = span(None).json();
        assert_eq!(found["traceId"], "5b".repeat(16));
        assert_eq!(found["spanId"], "ee".repeat(8));
        assert_eq!((&found["kind"], found.get("parentSpanId")), (&json!(2), None));
        assert_eq!(found["startTimeUnixNano"], "1544712660000000001");
        assert_eq!(found["endTimeUnixNano"], "1544712660000003001");
        assert_eq!(
            found["attributes"],
            json!([
                { "key": "countersign.act", "value": { "stringValue": "sign" } },
                { "key": "countersign.wait_us", "value": { "intValue": "7" } },
            ])
        );
        let child = span(Some(Context { trace: [0x5b; 16], span: [0xaa; 8] })).json();
        assert_eq!((&child["kind"], &child["parentSpanId"]), (&json!(1), &json!("aa".repeat(8))));
    }

    #[test]
    fn a_file_of_traces_holds_one_object_a_line_and_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("traces.jsonl");
        let mut writer = Writer::open(&Target::File(path.clone())).unwrap();
        assert!(writer.write(&[span(None), span(None)]));
        let first = std::fs::read_to_string(&path).unwrap();
        let Writer::File { max_bytes, .. } = &mut writer else { panic!("a file") };
        *max_bytes = first.len() as u64 + 10;
        assert!(writer.write(&[span(None)]) && writer.write(&[span(None), span(None)]));
        let mut old = path.clone().into_os_string();
        old.push(".1");
        for file in [path.into_os_string(), old] {
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(text.len() <= first.len() + 10, "{file:?}");
            for line in text.lines() {
                let value: Value = serde_json::from_str(line).unwrap();
                assert!(!value["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().is_empty());
            }
        }
    }

    #[test]
    fn a_socket_without_a_listener_loses_spans_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("traces.sock");
        let mut writer = Writer::open(&Target::Socket(path.clone())).unwrap();
        assert!(!writer.write(&[span(None)]));
        let listener = UnixListener::bind(&path).unwrap();
        let Writer::Socket { tried_at, .. } = &mut writer else { panic!("a socket") };
        *tried_at = None;
        assert!(writer.write(&[span(None)]));
        let mut line = String::new();
        BufReader::new(listener.accept().unwrap().0).read_line(&mut line).unwrap();
        assert!(serde_json::from_str::<Value>(&line).is_ok());
    }

    #[test]
    fn none_is_traced_at_ratio_0_and_all_at_1() {
        let (spans, _inbox) = sync_channel(1);
        for (ratio, expected) in [("0", 0), ("1", 100)] {
            let tracer = Tracer { ratio: ratio.parse().unwrap(), spans: spans.clone() };
            assert_eq!((0..100).filter(|_| tracer.begin().is_some()).count(), expected);
        }
        for bad in ["", "-0.1", "1.1", "NaN", "x"] {
            assert!(bad.parse::<Ratio>().is_err(), "{bad}");
        }
    }

    #[test]
    fn nobody_waits_for_a_trace_to_be_written() {
        let (spans, inbox) = sync_channel(2);
        let tracer = Tracer { ratio: Ratio(1.0), spans };
        assert!(tracer.end(span(None)) && tracer.end(span(None)));
        assert!(!tracer.end(span(None)), "it is dropped");
        assert_eq!(next_batch(&inbox).unwrap().len(), 2);
    }

    #[test]
    fn a_target_is_a_file_unless_it_says_otherwise() {
        assert_eq!("unix:/run/x.sock".parse(), Ok(Target::Socket("/run/x.sock".into())));
        assert_eq!("traces.jsonl".parse(), Ok(Target::File("traces.jsonl".into())));
    }
}
