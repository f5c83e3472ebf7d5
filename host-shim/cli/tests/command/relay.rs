//! `countersign relay`: the real binary between a device and a stand-in for the plugin.

use crate::fake::{Fake, Lie};
use crate::fake_hsm::framed;
use crate::place::{Ended, Place};
use countersign_wire::client::Reply;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};

struct Relay {
    child: Child,
    ready: Value,
}

impl Relay {
    fn start(place: &Place, more: &[&str]) -> Self {
        let mut command = place.command(&[&["relay", "--listen", "127.0.0.1:0"], more].concat());
        // No API key at all, and nothing that could be taken for one: a relay that looked for it would fail.
        fs::write(place.path("api-key"), "not an API key").unwrap();
        command.env("COUNTERSIGN_API_KEY", "not an API key").stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { ready: serde_json::from_str(&line).unwrap(), child }
    }

    fn url(&self) -> String {
        format!("http://{}", self.ready["listen"].as_str().unwrap())
    }

    fn stop(self, signal: Signal) -> Ended {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
        self.child.wait_with_output().unwrap().into()
    }
}

#[test]
fn a_device_reaches_the_hsm_through_it_and_it_has_no_api_key() {
    let place = Place::new();
    let mut fake = Fake::new(Lie::None);
    let hsm =
        place.serve(move |request| framed(&Reply { id: request.id, outcome: fake.outcome(&request.act) }));
    let relay = Relay::start(&place, &[]);
    assert_eq!(relay.ready["page"], Value::Null);
    fs::write(place.path("passphrase"), "correct horse\n").unwrap();
    fs::set_permissions(place.path("passphrase"), fs::Permissions::from_mode(0o600)).unwrap();
    let (root, url, invitation) = (Fake::root(), relay.url(), "77".repeat(16));
    let mut command = place.command(&[
        "--json",
        "device",
        "enroll",
        "--tenant",
        "default",
        "--account",
        "alice",
        "--invitation",
        &invitation,
        "--root",
        &root,
        "--relay",
        &url,
        "--keys",
        "device.keys",
        "--code",
        "492039",
        "--code",
        "118204",
    ]);
    command.env("COUNTERSIGN_DEVICE_PASSPHRASE_FILE", place.path("passphrase"));
    // What a proxy is set to is no business of a way to this machine.
    command.env("http_proxy", "http://127.0.0.1:1");
    let ended = Ended::from(command.output().unwrap());
    assert_eq!((ended.code, &ended.json()["confirmed"]), (0, &true.into()), "{}", ended.stdout);
    assert!(hsm.requests().iter().all(|request| request.api_key.is_none() && request.act.is_of_device()));
    let ended = relay.stop(Signal::SIGTERM);
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (0, "", ""), "nothing is logged");
}

#[test]
fn says_what_is_lost_when_it_serves_the_page_as_well() {
    let place = Place::new();
    fs::create_dir(place.path("dist")).unwrap();
    fs::write(place.path("dist/index.html"), "<!doctype html>").unwrap();
    fs::write(place.path("dist/.hidden"), "secret").unwrap();
    let relay = Relay::start(&place, &["--page", "dist"]);
    assert_eq!(relay.ready["page"]["files"], 1);
    assert!(relay.ready["page"]["index"].as_str().unwrap().starts_with("sha384-"));
    let ended = relay.stop(Signal::SIGINT);
    assert_eq!(ended.code, 0);
    assert!(
        ended.stderr.contains("no more than a plain") && ended.stderr.contains(".hidden"),
        "{}",
        ended.stderr
    );
}

#[test]
fn what_it_says_is_for_programs_where_they_ask_and_its_metrics_have_a_port_of_their_own() {
    let place = Place::new();
    fs::create_dir(place.path("dist")).unwrap();
    fs::write(place.path("dist/index.html"), "<!doctype html>").unwrap();
    fs::write(place.path("dist/notes.md"), "no page has this").unwrap();
    let relay = Relay::start(&place, &["--page", "dist", "--log-format", "json", "--metrics", "127.0.0.1:0"]);
    let metrics = relay.ready["metrics"].as_str().unwrap().to_owned();
    assert_ne!(Some(metrics.as_str()), relay.ready["listen"].as_str());
    let mut stream = std::net::TcpStream::connect(metrics).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: relay\r\nconnection: close\r\n\r\n").unwrap();
    let mut told = String::new();
    stream.read_to_string(&mut told).unwrap();
    assert!(told.starts_with("HTTP/1.1 200") && told.contains("countersign_relay_requests_total"), "{told}");
    let ended = relay.stop(Signal::SIGTERM);
    let lines = ended.stderr.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let events: Vec<_> = lines.map(|line| line["event"].as_str().unwrap().to_owned()).collect();
    assert_eq!(events, ["page-file-left-out", "page-served"]);
}

#[test]
fn options_that_make_no_sense_are_usage_errors() {
    let place = Place::new();
    for arguments in [
        &["--listen", "nowhere"][..],
        &["--page", "no-such-folder"],
        &["--allow-origin", "*"],
        &["--requests-per-minute", "0"],
        &["--max-in-flight", "0"],
        &["--listen", "192.0.2.1:80"],
    ] {
        let ended = place.run_json(&[&["relay"], arguments].concat());
        assert_eq!((ended.code, ended.json()["error"].as_str()), (2, Some("usage")), "{arguments:?}");
    }
}
