//! The firmware as a process, with a plugin that does what it is told: the sandbox, the socket, restarts, exit codes.

#![allow(clippy::unwrap_used, reason = "a step of a test that fails, fails the test")]

#[path = "firmware/lives.rs"]
mod lives;
#[path = "firmware/sandbox.rs"]
mod sandbox;

use countersign_release::image::{self, Contents};
use countersign_release::sbom::{Component, Kind, Sbom};
use countersign_release::{Channel, Version};
use countersign_simulator::places::CONNECTIONS_OF_ONE_MAX;
use countersign_wire::client::{Act, Outcome, Reply, Request, RequestId};
use countersign_wire::frame::{self, CLIENT_MAX_BYTES};
use countersign_wire::reason::Reason;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Long enough for anything that happens at all; nothing waits for it to pass.
const PATIENCE: Duration = Duration::from_mins(1);

fn hsm_command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign-hsm"));
    command.args(arguments);
    command
}

fn hsm(arguments: &[&str]) -> Output {
    hsm_command(arguments).output().unwrap()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A plugin for tests: the executable, and the image that it is packed into.
struct Probe {
    elf: PathBuf,
    image: PathBuf,
}

/// The probe plugin, compiled once.
fn probe() -> &'static Probe {
    static PROBE: OnceLock<Probe> = OnceLock::new();
    PROBE.get_or_init(|| compile_probe("probe", &[]))
}

/// Compiles the probe plugin as a static executable with the standard library alone, and packs it.
fn compile_probe(name: &str, flags: &[&str]) -> Probe {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (elf, image) = (folder.join(name), folder.join(name).with_extension("image"));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/firmware/probe_plugin.rs");
    let compiled = Command::new(option_env!("RUSTC").unwrap_or("rustc"))
        .args(["--edition=2024", "--target", TARGET, "-Cpanic=abort", "-Ctarget-feature=+crt-static"])
        .args(["-Crelocation-model=pie", "--check-cfg=cfg(deaf)", "-o", text(&elf), source])
        .args(flags)
        .status()
        .unwrap();
    assert!(compiled.success());
    pack(&elf, 1, &image);
    Probe { elf, image }
}

/// Packs an executable into an image for development.
fn pack(elf: &Path, version: u32, out: &Path) {
    let probe = Component {
        kind: Kind::Application,
        name: "probe".into(),
        version: "1".into(),
        hashes: Vec::new(),
        licenses: Vec::new(),
        purl: None,
    };
    let contents = Contents {
        version: Version::new(version, 0, 0),
        channel: Channel::Development,
        target: TARGET.into(),
        succeeds: Vec::new(),
        sbom: Sbom::new(probe, Vec::new()),
    };
    std::fs::write(out, image::pack(&std::fs::read(elf).unwrap(), &contents).unwrap()).unwrap();
}

/// An HSM in a folder of its own, running unless it was stopped.
struct Hsm {
    folder: tempfile::TempDir,
    image: PathBuf,
    process: Option<(Child, BufReader<std::process::ChildStdout>)>,
}

impl Hsm {
    fn init(arguments: &[&str]) -> Self {
        Self::init_for(&probe().image, arguments)
    }

    fn init_for(image: &Path, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("hsm");
        let fixed = ["init", "--development", "--home", text(&home), "--image", text(image)];
        let initialised = json(&hsm(&[&fixed, arguments].concat()));
        assert_eq!(initialised["hsm_id"].as_str().unwrap().len(), 32);
        Self { folder, image: image.to_owned(), process: None }
    }

    fn start() -> Self {
        let mut hsm = Self::init(&[]);
        hsm.run(&[]);
        hsm
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("hsm")
    }

    fn run_command(&self, arguments: &[&str]) -> Command {
        let mut command = hsm_command(&["run", "--home", text(&self.home()), "--image", text(&self.image)]);
        command.args(arguments);
        command
    }

    /// Runs it and returns the line that says that it serves.
    fn run(&mut self, arguments: &[&str]) -> Value {
        let mut child = self.run_command(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        self.process = Some((child, stdout));
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("the HSM did not start: {line:?}"))
    }

    /// Runs it until it serves, and returns what it says to standard error.
    fn run_and_listen(&mut self) -> std::process::ChildStderr {
        let mut child = self.run_command(&[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut String::new()).unwrap();
        self.process = Some((child, stdout));
        stderr
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.process.as_ref().unwrap().0.id()).unwrap()
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    fn wait(&mut self) -> ExitStatus {
        let (mut child, mut stdout) = self.process.take().unwrap();
        let status = child.wait().unwrap();
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "", "one line and no more");
        status
    }

    fn stop(&mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.wait()
    }

    fn connect(&self) -> Client {
        let stream = UnixStream::connect(self.home().join("hsm.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client(stream)
    }

    fn ask(&self, request: &str) -> String {
        self.connect().ask(request).unwrap()
    }

    /// Asks until the plugin, which is being started again, answers.
    fn ask_when_ready(&self, request: &str) -> String {
        let begun = std::time::Instant::now();
        while begun.elapsed() < PATIENCE {
            match self.connect().ask(request) {
                Some(answer) if !answer.contains("hsm-not-ready") => return answer,
                _ => std::thread::yield_now(),
            }
        }
        panic!("the plugin did not come back");
    }
}

impl Drop for Hsm {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.process {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

struct Client(UnixStream);

impl Client {
    fn send(&mut self, payload: &[u8]) {
        self.try_send(payload).unwrap();
    }

    fn try_send(&mut self, payload: &[u8]) -> std::io::Result<()> {
        let mut message = Vec::new();
        frame::append(&mut message, payload);
        self.0.write_all(&message)
    }

    /// The next reply; `None` when the connection is closed.
    fn receive(&mut self) -> Option<Vec<u8>> {
        let mut header = [0; 4];
        self.0.read_exact(&mut header).ok()?;
        let mut payload = vec![0; frame::payload_length(header, CLIENT_MAX_BYTES).unwrap()];
        self.0.read_exact(&mut payload).ok()?;
        Some(payload)
    }

    fn ask(&mut self, request: &str) -> Option<String> {
        self.send(request.as_bytes());
        self.receive().map(|reply| String::from_utf8_lossy(&reply).into_owned())
    }
}

/// The processes below `pid`, from the firmware's child to the plugin.
fn descendants(pid: i32) -> Vec<i32> {
    let mut parents = std::collections::BTreeMap::new();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let Ok(child) = entry.unwrap().file_name().to_str().unwrap_or("").parse::<i32>() else { continue };
        let Ok(status) = std::fs::read_to_string(format!("/proc/{child}/status")) else { continue };
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:\t")).unwrap();
        parents.insert(parent.parse::<i32>().unwrap(), child);
    }
    std::iter::successors(parents.get(&pid).copied(), |pid| parents.get(pid).copied()).collect()
}

/// Waits until the process is gone, and does not wait for anything else.
fn wait_until_gone(pid: i32) {
    let Some(pid) = rustix::process::Pid::from_raw(pid) else { return };
    if let Ok(handle) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
        let mut waiting = [rustix::event::PollFd::new(&handle, rustix::event::PollFlags::IN)];
        let patience = rustix::event::Timespec::try_from(PATIENCE).unwrap();
        assert_eq!(rustix::event::poll(&mut waiting, Some(&patience)).unwrap(), 1);
    }
}

#[test]
fn serves_in_a_complete_sandbox_and_stops_with_everything_it_started() {
    let mut hsm = Hsm::init(&[]);
    let serving = hsm.run(&[]);
    assert_eq!(serving["pid"].as_i64(), Some(i64::from(hsm.pid())));
    assert_eq!(serving["socket"].as_str(), hsm.home().join("hsm.sock").to_str());
    assert_eq!(serving["control"], Value::Null);
    assert_eq!(hsm.ask("echo hello"), "hello");
    assert_eq!(hsm.ask("boot"), "nvram= store=0 missing=");
    let below = descendants(hsm.pid());
    assert_eq!(below.len(), 2, "launch and plugin");
    assert!(hsm.stop().success());
    below.into_iter().for_each(wait_until_gone);
    assert!(!hsm.home().join("hsm.sock").exists());
}

#[test]
fn the_plugin_dies_with_a_killed_firmware() {
    let mut hsm = Hsm::start();
    let below = descendants(hsm.pid());
    assert_eq!(below.len(), 2);
    hsm.signal(rustix::process::Signal::KILL);
    assert_eq!(hsm.wait().signal(), Some(9));
    below.into_iter().for_each(wait_until_gone);
    hsm.run(&[]);
    assert_eq!(hsm.ask("echo again"), "again");
}

#[test]
fn i12_refuses_every_image_but_the_pinned_one() {
    let hsm_home = Hsm::init(&[]);
    let other = hsm_home.folder.path().join("other.image");
    pack(&probe().elf, 2, &other);
    let refused = hsm(&["run", "--home", text(&hsm_home.home()), "--image", text(&other)]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("not the image"));
    let told: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!(told["refused"], "not-pinned");
}

#[test]
fn what_the_plugin_asks_for_is_done() {
    let mut hsm = Hsm::start();
    assert!(hsm.ask("random 16").contains("Ok"));
    assert!(hsm.ask("random 1025").contains("Err"), "beyond the limit");
    assert!(hsm.ask("commit first").contains("Ok"));
    assert!(hsm.ask("commit second").contains("Ok"));
    assert_eq!(std::fs::read(hsm.home().join("store/log-0000000000000000")).unwrap(), b"firstsecond");
    assert!(hsm.stop().success());
    hsm.run(&[]);
    assert_eq!(hsm.ask("boot"), "nvram=second store=11 missing=");
}

#[test]
fn many_clients_at_once_each_get_their_own_answers() {
    let hsm = Hsm::start();
    std::thread::scope(|scope| {
        for client in 0..16 {
            let hsm = &hsm;
            scope.spawn(move || {
                let mut connection = hsm.connect();
                for round in 0..50 {
                    let text = format!("{client}/{round}");
                    assert_eq!(connection.ask(&format!("echo {text}")).unwrap(), text);
                    assert!(connection.ask("random 32").unwrap().contains("Ok"));
                }
            });
        }
    });
}

#[test]
fn requests_sent_together_are_all_answered() {
    let hsm = Hsm::start();
    let mut client = hsm.connect();
    for number in 0..200 {
        client.send(format!("echo {number}").as_bytes());
    }
    let answers: Vec<_> = (0..200).map(|_| String::from_utf8(client.receive().unwrap()).unwrap()).collect();
    assert_eq!(answers, (0..200).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[test]
fn large_requests_of_many_clients_are_answered_or_told_to_try_again() {
    let hsm = Hsm::start();
    let text = "x".repeat(CLIENT_MAX_BYTES - 5);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut connection = hsm.connect();
                let mut answered = 0;
                while answered < 4 {
                    connection.send(format!("echo {text}").as_bytes());
                    let answer = connection.receive().unwrap();
                    if let Ok(reply) = countersign_wire::decode::<Reply>(&answer) {
                        assert_eq!(reply.outcome, Outcome::Refused(Reason::Busy.into()));
                    } else {
                        assert!(answer == text.as_bytes());
                        answered += 1;
                    }
                }
            });
        }
    });
    assert!(descendants(hsm.pid()).len() == 2);
}

#[test]
fn a_frame_of_a_wrong_length_ends_the_connection_and_harms_nobody() {
    let hsm = Hsm::start();
    for length in [0, u32::try_from(CLIENT_MAX_BYTES).unwrap() + 1, u32::MAX] {
        let mut client = hsm.connect();
        client.0.write_all(&length.to_be_bytes()).unwrap();
        assert_eq!(client.receive(), None);
    }
    let largest = "x".repeat(CLIENT_MAX_BYTES - 5);
    assert_eq!(hsm.ask(&format!("echo {largest}")), largest);
}

#[test]
fn a_client_that_does_not_read_is_dropped_and_the_others_are_served() {
    let hsm = Hsm::start();
    let mut deaf = hsm.connect();
    // Until it is dropped, if it is dropped before it has asked so often.
    for _ in 0..60 {
        if deaf.try_send(b"big 100000").is_err() {
            break;
        }
    }
    assert_eq!(hsm.ask("echo served"), "served");
    // Its connection is closed before it reads anything.
    let mut closed = [rustix::event::PollFd::new(&deaf.0, rustix::event::PollFlags::empty())];
    let patience = rustix::event::Timespec::try_from(PATIENCE).unwrap();
    assert_eq!(rustix::event::poll(&mut closed, Some(&patience)).unwrap(), 1);
    while deaf.receive().is_some() {}
}

#[test]
fn idle_connections_lock_nobody_out() {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: files.maximum, ..files };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    let hsm = Hsm::start();
    let mut waiting = hsm.connect();
    waiting.send(b"ignore");
    assert_eq!(waiting.ask("echo next").unwrap(), "next", "the plugin has taken what came before");
    // With the one that waits, as many as one user may have.
    let mut idle: Vec<_> = (1..CONNECTIONS_OF_ONE_MAX).map(|_| hsm.connect()).collect();
    assert_eq!(idle.last_mut().unwrap().ask("echo all are in").unwrap(), "all are in");
    let mut fresh = hsm.connect();
    assert_eq!(fresh.ask("echo served").unwrap(), "served");
    assert_eq!(idle[0].receive(), None, "the one that was idle longest made room");
    assert_eq!(idle[1].ask("echo still").unwrap(), "still");
    waiting.0.set_nonblocking(true).unwrap();
    let unanswered = waiting.0.read(&mut [0]).unwrap_err();
    assert_eq!(unanswered.kind(), std::io::ErrorKind::WouldBlock, "a connection that waits stays");
}

#[test]
fn when_the_plugin_holds_as_much_as_it_may_the_answer_is_busy_at_once() {
    let hsm = Hsm::start();
    let large = [b"ignore ".as_slice(), &vec![b'x'; 150_000]].concat();
    // What is left of the room is for other users.
    let mut waiting: Vec<_> = (0..10).map(|_| hsm.connect()).collect();
    for client in &mut waiting {
        client.send(&large);
        // In order, so that the plugin has it before the next one comes.
        assert_eq!(client.ask("echo taken").unwrap(), "taken");
    }
    let mut refused = hsm.connect();
    refused.send(&large);
    let reply: Reply = countersign_wire::decode(&refused.receive().unwrap()).unwrap();
    assert_eq!(reply.outcome, Outcome::Refused(Reason::Busy.into()));
    assert_eq!(refused.ask("echo small ones pass").unwrap(), "small ones pass");
}

#[test]
fn only_one_process_runs_an_hsm() {
    let hsm = Hsm::start();
    let second = hsm.run_command(&[]).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another process"));
    let tenant = self::hsm(&["tenant", "add", "--home", text(&hsm.home()), "--name", "other"]);
    assert_eq!(tenant.status.code(), Some(1));
    assert_eq!(hsm.ask("echo undisturbed"), "undisturbed");
}

#[test]
fn tenants_are_added_to_a_stopped_hsm() {
    let hsm = Hsm::init(&["--tenant", "one"]);
    let added = json(&self::hsm(&["tenant", "add", "--home", text(&hsm.home()), "--name", "two"]));
    assert!(added["api_key"].as_str().unwrap().ends_with("_two"));
    let again = self::hsm(&["tenant", "add", "--home", text(&hsm.home()), "--name", "one"]);
    assert_eq!(again.status.code(), Some(1));
}

#[test]
fn a_tenants_api_key_and_terms_are_changed_while_the_hsm_is_stopped() {
    let mut hsm = Hsm::init(&["--tenant", "one"]);
    let home = hsm.home();
    let tenant = |command: &str, arguments: &[&str]| {
        self::hsm(&[&["tenant", command, "--home", text(&home), "--name"], arguments].concat())
    };
    let file = || std::fs::read_to_string(home.join("ceremony/tenants.toml")).unwrap();
    let before = file();
    let replaced = json(&tenant("new-api-key", &["one"]));
    assert_eq!(replaced["tenant"], "one");
    assert!(replaced["api_key"].as_str().unwrap().ends_with("_one"));
    assert_ne!(file(), before);

    let set = tenant("set", &["one", "--plain-enrolment=false", "--accounts-max=9", "--failures-per-hour=3"]);
    let terms = |failures: Option<u32>| serde_json::json!({ "tenant": "one", "plain_enrolment": false, "failures_per_hour": failures, "accounts_max": 9, "log_names": "plain" });
    assert_eq!(json(&set), terms(Some(3)));
    assert_eq!(json(&tenant("set", &["one", "--failures-per-hour", "default"])), terms(None));

    let before = file();
    for (command, rest) in [("new-api-key", vec!["two"]), ("set", vec!["two", "--accounts-max=1"])] {
        let refused = tenant(command, &rest);
        assert_eq!(refused.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("there is no tenant two"));
    }
    assert_eq!(tenant("set", &["one"]).status.code(), Some(2), "nothing to set");
    hsm.run(&[]);
    assert_eq!(tenant("new-api-key", &["one"]).status.code(), Some(1), "it runs");
    assert_eq!(file(), before);
}

#[test]
fn everything_in_the_home_is_for_its_owner_alone() {
    let mut hsm = Hsm::init(&["--clock", "manual"]);
    hsm.run(&[]);
    let mut folders = vec![hsm.home()];
    while let Some(folder) = folders.pop() {
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                assert_eq!(mode(&path), 0o600, "{}", path.display());
            }
        }
    }
}

#[test]
fn further_users_reach_the_socket_for_clients_and_not_the_control_channel() {
    let mut hsm = Hsm::init(&["--clock", "manual"]);
    let serving = hsm.run(&["--allow-uid", "65533"]);
    let mode =
        |name: &str| std::fs::metadata(serving[name].as_str().unwrap()).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("socket"), mode("control")), (0o666, 0o600));
}

#[test]
fn the_control_channel_moves_a_manual_clock_and_the_time_survives_a_kill() {
    let mut hsm = Hsm::init(&["--clock", "manual"]);
    let serving = hsm.run(&[]);
    let control = PathBuf::from(serving["control"].as_str().unwrap());
    let advance = |secs: u64| {
        let mut stream = UnixStream::connect(&control).unwrap();
        writeln!(stream, "{{\"advance_secs\":{secs}}}").unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        serde_json::from_str::<Value>(&line).unwrap()
    };
    let before = advance(0)["unix_time"].as_u64().unwrap();
    assert_eq!(advance(30)["unix_time"].as_u64(), Some(before + 30));
    assert!(advance(u64::MAX)["error"].is_string());
    hsm.signal(rustix::process::Signal::KILL);
    hsm.wait();
    hsm.run(&[]);
    assert_eq!(advance(0)["unix_time"].as_u64(), Some(before + 30));
}

#[test]
fn what_the_plugin_writes_to_standard_error_reaches_the_log_bounded_and_printable() {
    let mut hsm = Hsm::init(&[]);
    let mut stderr = hsm.run_and_listen();
    assert_eq!(hsm.ask(&format!("stderr \u{1b}[31mred {}\nsecond", "x".repeat(2000))), "written");
    assert!(hsm.stop().success());
    let mut log = String::new();
    stderr.read_to_string(&mut log).unwrap();
    assert!(log.contains("plugin: ?[31mred xxx") && log.contains("plugin: second"), "{log}");
    assert!(log.lines().all(|line| line.len() < 600));
}

#[test]
fn softhsm_is_configured_by_the_hsm_itself_and_opens_after_every_kill() {
    let mut hsm = Hsm::init(&["--keystore", "softhsm"]);
    for _ in 0..3 {
        hsm.run(&[]);
        assert_eq!(hsm.ask("echo open"), "open");
        hsm.signal(rustix::process::Signal::KILL);
        hsm.wait();
    }
    hsm.run(&[]);
    assert!(hsm.stop().success());
}
