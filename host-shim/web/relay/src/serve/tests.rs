//! A relay between a browser that says anything and a stand-in for the HSM.

use super::*;
use crate::fake_hsm::{FakeHsm, Reaction, done, refused};
use countersign_wire::client::{Act, Answer, Outcome, Reply, Request, RequestId};
use countersign_wire::device::{SignedStatement, ViewReceipt};
use countersign_wire::names::{ApiKey, TenantName};
use countersign_wire::reason::{Reason, Refusal};
use countersign_wire::{decode, encode};
use serde_bytes::{ByteArray, ByteBuf};
use std::io::{Read, Write};
use std::path::PathBuf;
use tokio::sync::oneshot;

struct Running {
    folder: tempfile::TempDir,
    address: SocketAddr,
    metrics: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

struct Heard {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Heard {
    fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(found, _)| *found == name)
            .map(|(_, v)| v)
    }

    fn word(&self) -> String {
        let json: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        json["refused"].as_str().unwrap().to_owned()
    }
}

fn relay() -> Relay {
    Relay {
        listen: "127.0.0.1:0".parse().unwrap(),
        page: None,
        allow_origins: vec!["https://wallet.example".to_owned()],
        behind_proxy: false,
        limits: Limits::default(),
        metrics: Some("127.0.0.1:0".parse().unwrap()),
    }
}

impl Running {
    fn start(relay: Relay) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut hsm = HostConfig::for_socket(folder.path().join("hsm.sock"));
        // Nothing that could be read: a relay that looked for it would not start, or would have it.
        hsm.api_key_file = Some(folder.path().join("no-such-key"));
        let (tell, told) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let stop = async { drop(stopped.await) };
            runtime.block_on(run(relay, &hsm, |serving| tell.send(serving).unwrap(), stop)).unwrap();
        });
        let Serving { listen, metrics } = told.recv().unwrap();
        Self { folder, address: listen, metrics: metrics.unwrap(), stop: Some(stop), thread: Some(thread) }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("hsm.sock")
    }

    fn hear(&self, head: &str, body: &[u8]) -> Heard {
        Self::hear_at(self.address, head, body)
    }

    fn metrics(&self) -> String {
        let heard = Self::hear_at(self.metrics, "GET /metrics HTTP/1.1", b"");
        assert_eq!(heard.status, 200);
        String::from_utf8(heard.body).unwrap()
    }

    fn hear_at(address: SocketAddr, head: &str, body: &[u8]) -> Heard {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        write!(stream, "{head}\r\nhost: relay\r\nconnection: close\r\n\r\n").unwrap();
        // A relay that has heard enough may hang up first.
        let _ = stream.write_all(body);
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head");
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Heard { status, head, body: bytes[end + 4..].to_vec() }
    }

    fn post_with(&self, more: &str, body: &[u8]) -> Heard {
        let head = format!("POST /v1/hsm HTTP/1.1\r\ncontent-length: {}{more}", body.len());
        self.hear(&head, body)
    }

    fn post(&self, body: &[u8]) -> Heard {
        self.post_with("\r\ncontent-type: application/cbor", body)
    }

    fn ask(&self, act: Act) -> Reply {
        let request = request(act);
        let heard = self.post(&encode(&request));
        assert_eq!(
            (heard.status, heard.header("content-type")),
            (200, Some("application/cbor")),
            "{}",
            heard.head
        );
        let reply: Reply = decode(&heard.body).unwrap();
        assert_eq!(reply.id, request.id);
        reply
    }
}

impl Running {
    fn stop(&mut self) {
        if let (Some(stop), Some(thread)) = (self.stop.take(), self.thread.take()) {
            let _ = stop.send(());
            assert!(thread.join().is_ok() || std::thread::panicking());
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

fn request(act: Act) -> Request {
    Request { id: RequestId::new([7; 16]), api_key: None, act }
}

fn receipt_wanted() -> Act {
    Act::ViewReceipt(ViewReceipt {
        tenant: "default".parse().unwrap(),
        account: "alice".parse().unwrap(),
        intent: RequestId::new([9; 16]),
    })
}

fn receipt() -> Answer {
    let statement = ByteBuf::from(vec![1; 3000]);
    Answer::Receipt(SignedStatement { statement, signature: ByteArray::new([2; 64]) })
}

#[test]
fn carries_a_devices_request_and_the_reply_as_they_are() {
    let relay = Running::start(relay());
    let hsm = FakeHsm::serve(&relay.socket(), |request| done(request, receipt()));
    let reply = relay.ask(receipt_wanted());
    assert_eq!(reply.outcome, Outcome::Done(receipt()));
    assert_eq!(hsm.requests(), [request(receipt_wanted())]);
}

#[test]
fn a_refusal_by_the_hsm_is_an_ordinary_reply() {
    let relay = Running::start(relay());
    let refusal = Refusal { reason: Reason::Locked, retry_after_secs: Some(299) };
    let _hsm = FakeHsm::serve(&relay.socket(), move |request| refused(request, refusal));
    assert_eq!(relay.ask(Act::Identity).outcome, Outcome::Refused(refusal));
}

#[test]
fn an_hsm_that_is_down_or_talks_nonsense_is_a_reply_too() {
    let relay = Running::start(relay());
    let unreachable = Outcome::Refused(Reason::HsmUnreachable.into());
    assert_eq!(relay.ask(Act::Identity).outcome, unreachable);
    let _hsm = FakeHsm::serve(&relay.socket(), |_| Reaction::SendAndClose(vec![0, 0, 0, 1, 0xff]));
    assert_eq!(relay.ask(Act::Identity).outcome, unreachable);
}

#[test]
fn refuses_requests_with_an_api_key_and_all_that_is_not_of_a_device() {
    let relay = Running::start(relay());
    let hsm = FakeHsm::serve(&relay.socket(), |request| refused(request, Reason::InternalError));
    let key = ApiKey::from_random(&[1; 32], &TenantName::parse("default").unwrap());
    let with_key = Request { api_key: Some(key), ..request(Act::Identity) };
    let heard = relay.post(&encode(&with_key));
    assert_eq!((heard.status, heard.word().as_str()), (403, "api-key-not-taken"));
    for act in [Act::Status, Act::Login, Act::Random(32), Act::ShowAccount("alice".parse().unwrap())] {
        let heard = relay.post(&encode(&request(act)));
        assert_eq!((heard.status, heard.word().as_str()), (403, "not-of-a-device"));
    }
    assert!(hsm.requests().is_empty());
}

#[test]
fn refuses_bodies_that_are_no_request_or_too_long_or_of_another_type() {
    let relay = Running::start(relay());
    let hsm = FakeHsm::serve(&relay.socket(), |request| refused(request, Reason::InternalError));
    let good = encode(&request(Act::Identity));
    let mut trailing = good.clone();
    trailing.push(0);
    for bad in [&[][..], b"{}", &trailing, &good[..good.len() - 1]] {
        let heard = relay.post(bad);
        assert_eq!((heard.status, heard.word().as_str()), (400, "malformed-request"));
    }
    let heard = relay.post(&vec![0; carry::BODY_MAX_BYTES + 1]);
    assert_eq!((heard.status, heard.word().as_str()), (413, "too-large"));
    let chunked = "POST /v1/hsm HTTP/1.1\r\ncontent-type: application/cbor\r\ntransfer-encoding: chunked";
    let long = [b"11000\r\n".to_vec(), vec![0; 0x11000], b"\r\n0\r\n\r\n".to_vec()].concat();
    assert_eq!(relay.hear(chunked, &long).status, 413);
    for more in ["", "\r\ncontent-type: application/json", "\r\ncontent-type: text/plain"] {
        let heard = relay.post_with(more, &good);
        assert_eq!((heard.status, heard.word().as_str()), (415, "not-cbor"), "{more}");
    }
    assert!(hsm.requests().is_empty());
}

#[test]
fn refuses_other_methods_and_paths() {
    let relay = Running::start(relay());
    for (line, status) in [
        ("GET /v1/hsm HTTP/1.1", 405),
        ("PUT /v1/hsm HTTP/1.1", 405),
        ("POST /healthz HTTP/1.1", 405),
        ("GET / HTTP/1.1", 404),
        ("GET /v1/hsm/ HTTP/1.1", 404),
    ] {
        assert_eq!(relay.hear(line, b"").status, status, "{line}");
    }
    let heard = relay.hear("GET /healthz HTTP/1.1", b"");
    assert_eq!((heard.status, heard.body.as_slice()), (200, &b"{\"serving\":true}\n"[..]));
}

#[test]
fn who_asks_too_often_is_told_when_to_ask_again() {
    let limits = Limits { requests_per_minute: 2, ..Limits::default() };
    let relay = Running::start(Relay { limits, ..relay() });
    for _ in 0..2 {
        relay.ask(Act::Identity);
    }
    let heard = relay.post(&encode(&request(Act::Identity)));
    assert_eq!((heard.status, heard.word().as_str()), (429, "too-often"));
    let wait: u64 = heard.header("retry-after").and_then(|secs| secs.parse().ok()).expect("seconds");
    assert!((1..=30).contains(&wait), "{wait}");
    // Nobody but a trusted proxy says who a client is.
    let heard = relay.post_with("\r\nx-forwarded-for: 192.0.2.9", b"");
    assert_eq!(heard.status, 429);
}

#[test]
fn behind_a_proxy_clients_are_told_apart_by_what_the_proxy_wrote_last() {
    let limits = Limits { requests_per_minute: 1, ..Limits::default() };
    let relay = Running::start(Relay { limits, behind_proxy: true, ..relay() });
    let status = |forwarded: &str| {
        let more = format!("\r\ncontent-type: application/cbor\r\nx-forwarded-for: {forwarded}");
        relay.post_with(&more, &encode(&request(Act::Identity))).status
    };
    assert_eq!((status("192.0.2.1"), status("192.0.2.1"), status("192.0.2.2")), (200, 429, 200));
    assert_eq!(status("192.0.2.77, 192.0.2.1"), 429, "what a client wrote itself counts for nothing");
}

#[test]
fn no_more_requests_are_under_way_than_may_be() {
    let limits = Limits { max_in_flight: 1, ..Limits::default() };
    let relay = Running::start(Relay { limits, ..relay() });
    let (came, comes) = std::sync::mpsc::channel();
    let (go, goes) = std::sync::mpsc::channel::<()>();
    let _hsm = FakeHsm::serve(&relay.socket(), move |request| {
        came.send(()).unwrap();
        let _ = goes.recv();
        refused(request, Reason::Busy)
    });
    std::thread::scope(|scope| {
        let first = scope.spawn(|| relay.ask(Act::Identity));
        comes.recv().unwrap();
        let heard = relay.post(&encode(&request(Act::Identity)));
        assert_eq!(
            (heard.status, heard.word().as_str(), heard.header("retry-after")),
            (503, "busy", Some("1"))
        );
        go.send(()).unwrap();
        assert_eq!(first.join().unwrap().outcome, Outcome::Refused(Reason::Busy.into()));
    });
}

#[test]
fn only_pages_of_the_allowed_origins_may_read_an_answer() {
    let relay = Running::start(relay());
    let body = encode(&request(Act::Identity));
    let from = |origin: &str| format!("\r\ncontent-type: application/cbor\r\norigin: {origin}");
    let heard = relay.post_with(&from("https://wallet.example"), &body);
    assert_eq!(heard.header("access-control-allow-origin"), Some("https://wallet.example"));
    assert_eq!(heard.header("vary"), Some("origin"));
    for other in
        ["https://wallet.example.evil.example", "http://wallet.example", "https://WALLET.example", "null"]
    {
        let heard = relay.post_with(&from(other), &body);
        assert_eq!(heard.header("access-control-allow-origin"), None, "{other}");
        assert_eq!(heard.header("vary"), Some("origin"));
    }
    let asks = "OPTIONS /v1/hsm HTTP/1.1\r\naccess-control-request-method: POST\r\norigin: ";
    let heard = relay.hear(&format!("{asks}https://wallet.example"), b"");
    assert_eq!((heard.status, heard.header("access-control-allow-methods")), (204, Some("POST")));
    assert_eq!(heard.header("access-control-allow-headers"), Some("content-type"));
    let heard = relay.hear(&format!("{asks}https://evil.example"), b"");
    assert_eq!((heard.status, heard.header("access-control-allow-methods")), (204, None));
    assert_eq!(heard.header("access-control-allow-origin"), None);
}

fn page() -> (tempfile::TempDir, Page) {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join("dist").join(name);
    std::fs::create_dir_all(at("assets")).unwrap();
    std::fs::write(folder.path().join("secret.txt"), "secret").unwrap();
    std::fs::write(at("index.html"), "<!doctype html>page").unwrap();
    std::fs::write(at("assets/app.js"), "app()").unwrap();
    std::fs::write(at(".env"), "secret").unwrap();
    std::fs::write(at("key.pem"), "secret").unwrap();
    std::os::unix::fs::symlink("../secret.txt", at("link.txt")).unwrap();
    std::os::unix::fs::symlink("..", at("up")).unwrap();
    let page = Page::read(&folder.path().join("dist")).unwrap();
    (folder, page)
}

#[test]
fn serves_the_page_with_every_header_that_holds_it_in() {
    let (_folder, page) = page();
    let relay = Running::start(Relay { page: Some(page), ..relay() });
    for (path, kind, body) in [
        ("/", "text/html; charset=utf-8", "<!doctype html>page"),
        ("/index.html", "text/html; charset=utf-8", "<!doctype html>page"),
        ("/assets/app.js?v=1", "text/javascript; charset=utf-8", "app()"),
    ] {
        let heard = relay.hear(&format!("GET {path} HTTP/1.1"), b"");
        assert_eq!((heard.status, heard.header("content-type")), (200, Some(kind)), "{path}");
        assert_eq!(heard.body, body.as_bytes());
        for (name, value) in [
            (
                "content-security-policy",
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                 base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
            ),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", "no-cache"),
        ] {
            assert_eq!(heard.header(name), Some(value), "{path}");
        }
        let permissions = heard.header("permissions-policy").unwrap();
        assert!(
            permissions
                .starts_with("publickey-credentials-get=(self), publickey-credentials-create=(self), ")
        );
        assert!(permissions.contains("camera=()") && !permissions.contains('*'));
        let again = format!("GET {path} HTTP/1.1\r\nif-none-match: {}", heard.header("etag").unwrap());
        assert_eq!(relay.hear(&again, b"").status, 304);
    }
    let heard = relay.hear("HEAD / HTTP/1.1", b"");
    assert_eq!((heard.status, heard.body.len()), (200, 0));
}

#[test]
fn serves_nothing_that_is_not_a_plain_file_of_the_page() {
    let (_folder, page) = page();
    assert_eq!((page.files(), page.left_out().len()), (2, 4));
    let relay = Running::start(Relay { page: Some(page), ..relay() });
    for path in [
        "/link.txt",
        "/up/secret.txt",
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/assets/../../secret.txt",
        "/assets",
        "/assets/",
        "/.env",
        "/key.pem",
        "//index.html",
        "/index.html/",
    ] {
        assert_eq!(relay.hear(&format!("GET {path} HTTP/1.1"), b"").status, 404, "{path}");
    }
    assert_eq!(relay.hear("POST / HTTP/1.1\r\ncontent-length: 0", b"").status, 405);
}

#[test]
fn a_folder_without_a_page_is_not_served() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Page::read(folder.path()), Err(crate::PageError::NoIndex(_))));
    assert!(matches!(Page::read(&folder.path().join("none")), Err(crate::PageError::Unreadable(..))));
    std::fs::create_dir_all(folder.path().join("a/b/c/d/e")).unwrap();
    assert!(matches!(Page::read(folder.path()), Err(crate::PageError::TooLarge(_))));
}

#[test]
fn what_is_under_way_ends_before_the_relay_does() {
    let mut relay = Running::start(relay());
    let (came, comes) = std::sync::mpsc::channel();
    let _hsm = FakeHsm::serve(&relay.socket(), move |request| {
        came.send(()).unwrap();
        refused(request, Reason::NoRecovery)
    });
    let address = relay.address;
    let body = encode(&request(Act::Identity));
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let head =
        "POST /v1/hsm HTTP/1.1\r\nhost: relay\r\ncontent-type: application/cbor\r\nconnection: close\r\n";
    write!(stream, "{head}content-length: {}\r\n\r\n", body.len()).unwrap();
    stream.write_all(&body).unwrap();
    comes.recv().unwrap();
    relay.stop();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    assert!(bytes.starts_with(b"HTTP/1.1 200"));
    assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens any more");
}

/// The value of the sample that begins so.
fn sample(text: &str, begins: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(begins)?.trim().parse().ok())
}

#[test]
fn requests_are_counted_by_route_and_outcome_on_a_port_of_their_own() {
    let relay = Running::start(relay());
    let requests = |outcome: &str| {
        let begins = format!("countersign_relay_requests_total{{route=\"hsm\",outcome=\"{outcome}\"}}");
        sample(&relay.metrics(), &begins)
    };
    assert_eq!((requests("carried"), requests("too-often")), (Some(0), Some(0)), "there before they happen");
    relay.post(b"garbage");
    relay.post_with("\r\ncontent-type: text/plain", b"garbage");
    relay.ask(Act::Identity);
    assert_eq!((requests("malformed-request"), requests("not-cbor")), (Some(1), Some(1)));
    assert_eq!((requests("unreachable"), requests("carried")), (Some(1), Some(0)), "no HSM is there");
    relay.hear("GET /healthz HTTP/1.1", b"");
    let healthz = "countersign_relay_requests_total{route=\"healthz\",outcome=\"served\"}";
    assert_eq!(sample(&relay.metrics(), healthz), Some(1));
    assert_eq!(relay.hear("GET /metrics HTTP/1.1", b"").status, 404, "users never reach it");
    assert_eq!(
        Running::hear_at(relay.metrics, "POST /v1/hsm HTTP/1.1", b"").status,
        404,
        "and devices not there"
    );
}

#[test]
fn what_is_told_is_exactly_what_is_documented() {
    let documentation = include_str!("../../../../../docs/observability.md");
    let rows = documentation.lines().filter(|line| line.starts_with("| `countersign_relay_"));
    let documented: std::collections::BTreeSet<_> = rows
        .map(|row| {
            let cells: Vec<_> = row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
            (cells[1].to_owned(), cells[2].to_owned())
        })
        .collect();
    let relay = Running::start(relay());
    let text = relay.metrics();
    let told = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let told = told.map(|(name, kind)| {
        (if kind == "counter" { format!("{name}_total") } else { name.to_owned() }, kind.to_owned())
    });
    assert_eq!(told.collect::<std::collections::BTreeSet<_>>(), documented);
}
