//! I7 over a full run: every secret that came by inside is looked for in all that lies outside, and found only where the
//! list says that it has to be.
//!
//! What came by is known from a [`tap`](countersign_tests::tap) between firmware and plugin. Outside are the bytes between
//! clients and HSM, the log, metrics, traces, every file that is not inside the boundary, and the memory of the processes
//! on the host's side: a relay, a backend with the PKCS#11 module, and a command line that waits for its answer.

use countersign_client::Client;
use countersign_client::device::HttpRelay;
use countersign_tests::backend::{digest, reason};
use countersign_tests::disk::forms_of;
use countersign_tests::owner::{device, enrol, plan_with_floor};
use countersign_tests::phone::Phone;
use countersign_tests::processes::{descendants, is_running, limit, memory_of, status, wait_until_ended};
use countersign_tests::proxy::Proxy;
use countersign_tests::relay::Relay;
use countersign_tests::tap::Tap;
use countersign_tests::{Hsm, Keystore, User, artefacts, cli, hsm, metrics, on_both_keystores};
use countersign_wire::client::{ApprovalKind, KeyPlan, Mechanism};
use countersign_wire::reason::Reason;
use nix::sys::signal::Signal;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

on_both_keystores!(i7_after_a_full_run_no_secret_is_outside_but_where_it_has_to_be);

/// Where a secret has to be, and why. Everywhere else it must not be.
const KEPT: &[(&str, &str, &str)] = &[
    ("transcript", "plain TOTP secret", "plain enrolment gives it to the backend, once"),
    ("transcript", "API key", "every request of a backend carries it"),
    ("transcript", "plain code", "it is on its way to the HSM"),
    ("file api-key", "API key", "the backend's own file, for its owner alone"),
    ("memory of the backend", "API key", "the application passed it to C_Login"),
    ("memory of the backend", "code given to the backend", "the application passed it to C_Login"),
    ("memory of the command line", "API key", "it waits for the answer to a request that carries it"),
    ("memory of the command line", "code given to the command line", "it stands among its arguments"),
    ("transcript", "code given to the backend", "it is on its way to the HSM"),
    ("transcript", "code given to the command line", "it is on its way to the HSM"),
];

struct Secret {
    name: &'static str,
    forms: Vec<Vec<u8>>,
}

impl Secret {
    fn of_bytes(name: &'static str, secrets: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let forms: Vec<_> = secrets.into_iter().flat_map(|secret| forms_of(&secret)).collect();
        assert!(!forms.is_empty(), "the run had no {name}");
        Self { name, forms }
    }

    /// Six digits alone are found anywhere; a code is looked for as the wire, arguments, JSON and sentences have it.
    fn of_code(name: &'static str, code: &str) -> Self {
        let around = [("f", ""), ("\0", "\0"), ("\"", "\""), (" ", " ")];
        Self {
            name,
            forms: around.map(|(before, after)| format!("{before}{code}{after}").into_bytes()).into(),
        }
    }
}

struct Place {
    name: String,
    bytes: Vec<u8>,
}

impl Place {
    fn new(name: &str, bytes: Vec<u8>) -> Self {
        Self { name: name.to_owned(), bytes }
    }
}

/// A backend in Python: it has the module in its process, signs once and stays.
struct Backend {
    child: Child,
    _stdout: BufReader<ChildStdout>,
}

const BACKEND: &str = "
import sys, pkcs11
token = pkcs11.lib(sys.argv[1]).get_token(token_label='countersign')
api_key, label, code = (sys.stdin.readline().strip() for _ in range(3))
with token.open(user_pin=api_key) as session:
    key = session.get_key(object_class=pkcs11.ObjectClass.PRIVATE_KEY, label=label)
    key.sign(bytes(32), mechanism=pkcs11.Mechanism.ECDSA, pin=code)
    print('signed', flush=True)
    sys.stdin.readline()
";

impl Backend {
    fn that_signed(hsm: &Hsm, user: &User, code: &str) -> Self {
        let mut command = Command::new(artefacts::python());
        command.args(["-c", BACKEND]).arg(artefacts::module()).env("COUNTERSIGN_CONFIG", hsm.host_toml());
        command.env_remove("PKCS11_MODULE").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("python can be started");
        let lines = format!("{}\n{}\n{code}\n", hsm.api_key().expose(), user.key.label);
        let stdin = child.stdin.as_mut().expect("its input is piped");
        stdin.write_all(lines.as_bytes()).expect("it reads its input");
        let mut stdout = BufReader::new(child.stdout.take().expect("its output is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("its output can be read");
        assert_eq!(line.trim(), "signed");
        Self { child, _stdout: stdout }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // Its input ends, and so does it; whatever comes of that, it is waited for.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// An HSM in which everything that can tell something does, behind a proxy that writes down what passes.
fn told(keystore: Keystore) -> (Hsm, Tap, Proxy) {
    let (mut hsm, tap) = Hsm::init(keystore, &[hsm::TENANT]).with_tap();
    let [metrics, traces] = ["metrics.sock", "traces.jsonl"].map(|name| hsm.folder().join(name));
    let metrics = format!("unix:{}", metrics.display());
    let traces = traces.display().to_string();
    let options = [
        "--log-format",
        "json",
        "--metrics",
        &metrics,
        "--metrics-tenants",
        "--traces",
        &traces,
        "--traces-ratio",
        "1",
    ];
    hsm.options = options.map(str::to_owned).into();
    hsm.run();
    let proxy = Proxy::before(&hsm);
    let direct = hsm.ready().socket.display().to_string();
    let config = fs::read_to_string(hsm.host_toml()).expect("host.toml is there");
    let config = config.replace(&direct, &proxy.socket().display().to_string());
    fs::write(hsm.host_toml(), config).expect("host.toml can be written");
    hsm.client = Client::new(hsm.host_config());
    (hsm, tap, proxy)
}

/// A command line that has asked for a signature and has no answer yet: its memory.
fn waiting_command_line(hsm: &Hsm, proxy: &Proxy, user: &User, code: &str) -> Vec<u8> {
    let label = user.key.label.to_string();
    let digest = "11".repeat(32);
    proxy.hold();
    let mut command = cli::command(hsm);
    command.args(["sign", "--key", &label, "--digest", &digest, "--code", code, "--json"]);
    let child = command.stdout(Stdio::piped()).spawn().expect("countersign can be started");
    proxy.wait_until_held();
    let memory = memory_of(child.id());
    proxy.let_go();
    let ended = child.wait_with_output().expect("it ends");
    assert!(ended.status.success(), "{ended:?}");
    memory
}

fn files_outside(folder: &Path, hsm: &Hsm, found: &mut Vec<Place>) {
    let inside = ["nvram", "keystore", "ceremony"].map(|name| hsm.home().join(name));
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("its entries can be read").path();
        if path.is_dir() && !inside.contains(&path) {
            files_outside(&path, hsm, found);
        } else if path.is_file() {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            found.push(Place {
                name: format!("file {name}"),
                bytes: fs::read(&path).expect("files can be read"),
            });
        }
    }
}

/// What is inside and in no message: fuses and keystore, as they lie in the home.
fn of_the_home(hsm: &Hsm) -> Vec<Secret> {
    // docs/hsm-home.md: the device secret is at offset 24 of the fuses.
    let fuses = fs::read(hsm.home().join("nvram/fuses")).expect("the fuses");
    let device_secret = fuses[24..56].to_vec();
    let keystore = match hsm.keystore {
        Keystore::Embedded => fs::read(hsm.home().join("keystore/key")).expect("the keystore's key"),
        Keystore::Softhsm => {
            let pin = fs::read_to_string(hsm.home().join("keystore/pin")).expect("SoftHSM's PIN");
            data_encoding::HEXLOWER.decode(pin.trim().as_bytes()).expect("hex digits")
        }
    };
    vec![
        Secret::of_bytes("device secret", [device_secret]),
        Secret::of_bytes("key to the keystore", [keystore]),
    ]
}

/// What a full run used, and the memory of those who took part in it.
struct Run {
    /// The phone of the user who was enrolled in the plain, and of the one who was enrolled sealed.
    phones: [Phone; 2],
    codes: Vec<Secret>,
    places: Vec<Place>,
}

/// Enrols in the plain, with a wallet, and signs by codes: by a client, a backend with the module, and a command line.
fn of_a_backend(hsm: &Hsm, proxy: &Proxy) -> Run {
    let alice = hsm.user("alice", &[Mechanism::Digest]);
    let path = "m/44'/60'/0'/0/0".parse().expect("a path");
    let wallet = KeyPlan { path: Some(path), ..KeyPlan::of(vec![Mechanism::Ethereum]) };
    hsm.create_key_as(&alice, "wallet", wallet).expect("a wallet key is made");
    let [plain, of_backend, of_cli] = [30, 60, 90].map(|ahead| alice.phone.code(hsm.now() + ahead));
    hsm.advance(30);
    hsm.sign(&alice, digest(1), &plain).expect("signs");
    let wrong = alice.phone.wrong_code(hsm.now());
    assert_eq!(reason(hsm.sign(&alice, digest(2), &wrong)), Reason::WrongCode);
    hsm.advance(30);
    let backend = Backend::that_signed(hsm, &alice, &of_backend);
    hsm.advance(30);
    let places = vec![
        Place::new("memory of the command line", waiting_command_line(hsm, proxy, &alice, &of_cli)),
        Place::new("memory of the backend", memory_of(backend.child.id())),
    ];
    let codes = vec![
        Secret::of_code("plain code", &plain),
        Secret::of_code("code given to the backend", &of_backend),
        Secret::of_code("code given to the command line", &of_cli),
    ];
    Run { phones: [alice.phone.clone(), alice.phone], codes, places }
}

/// Enrols on a device over a relay, and approves by a sealed code.
fn of_a_device(hsm: &Hsm, run: &mut Run) {
    let relay = Relay::start(hsm);
    let http = HttpRelay::new(&relay.url()).expect("a relay's address");
    let owner = device(hsm, &http, "bob", 1).expect("the HSM is the one that was pinned");
    let phone = enrol(hsm, &owner, "bob", plan_with_floor(&[Mechanism::Digest], ApprovalKind::SealedCode));
    let code = phone.code(hsm.advance(30));
    let staged = hsm.stage("bob", digest(3)).expect("staged");
    let seen = owner.view(staged.intent.into_array()).expect("seen");
    owner.approve(&seen, &code).expect("approved");
    hsm.sign_approved("bob", digest(3)).expect("signs");
    run.places.push(Place::new("memory of the relay", memory_of(relay.pid())));
    run.codes.push(Secret::of_code("sealed code", &code));
    run.phones[1] = phone;
}

/// Every secret that came by, and those that lie in the home.
fn secrets_of(hsm: &Hsm, tap: &Tap, [plain, sealed]: [&[u8]; 2]) -> Vec<Secret> {
    let inside = tap.secrets();
    let (roots, macs): (Vec<_>, Vec<_>) = inside.macs.into_iter().partition(|mac| mac.len() == 64);
    let others: Vec<_> = inside.wrapped.into_iter().filter(|secret| secret != plain).collect();
    assert!(others.iter().any(|secret| secret == sealed), "the sealed TOTP secret came by");
    assert!(others.len() >= 2, "and the key that makes the wallet's root");
    // BIP-32: the master key and the chain code.
    let halves = roots.iter().flat_map(|root| [root[..32].to_vec(), root[32..].to_vec()]);
    let mut secrets = of_the_home(hsm);
    secrets.extend([
        Secret::of_bytes("sealing key", inside.sealing_keys),
        Secret::of_bytes("sealed TOTP secret, key of a wallet", others),
        Secret::of_bytes("wallet root", halves),
        Secret::of_bytes("what codes are compared with", macs),
        Secret::of_bytes("plain TOTP secret", [plain.to_vec()]),
        Secret { name: "API key", forms: vec![hsm.api_key().expose().as_bytes().to_vec()] },
    ]);
    secrets
}

fn i7_after_a_full_run_no_secret_is_outside_but_where_it_has_to_be(keystore: Keystore) {
    let (mut hsm, tap, proxy) = told(keystore);
    let mut run = of_a_backend(&hsm, &proxy);
    of_a_device(&hsm, &mut run);
    let Run { phones, codes, mut places } = run;
    let (_, text) = metrics::get_at(&hsm.folder().join("metrics.sock"), "/metrics").expect("metrics");
    assert!(text.contains("countersign_requests_total"));
    places.push(Place::new("metrics", text.into_bytes()));
    hsm.stop();
    places.push(Place::new("transcript", proxy.transcript()));
    files_outside(hsm.folder(), &hsm, &mut places);
    for name in ["file traces.jsonl", "file hsm.log", "file log-0000000000000000", "file host.toml"] {
        assert!(places.iter().any(|place| place.name == name && !place.bytes.is_empty()), "{name}");
    }
    let mut secrets = secrets_of(&hsm, &tap, phones.each_ref().map(Phone::secret));
    secrets.extend(codes);
    let wrong = compare(&places, &secrets);
    assert!(wrong.is_empty(), "{wrong:#?}");
    let looked_at: usize = places.iter().map(|place| place.bytes.len()).sum();
    eprintln!("looked for {} secrets in {} places, {looked_at} bytes", secrets.len(), places.len());
}

/// Each secret is where the list says, and nowhere else: what is otherwise.
fn compare(places: &[Place], secrets: &[Secret]) -> Vec<String> {
    let mut wrong = Vec::new();
    for place in places {
        for secret in secrets {
            let is_found = secret.forms.iter().any(|form| memchr::memmem::find(&place.bytes, form).is_some());
            let is_kept = KEPT.iter().any(|(where_, what, _)| *where_ == place.name && *what == secret.name);
            if is_found != is_kept {
                wrong.push(format!(
                    "{}: {} {}",
                    place.name,
                    if is_found { "holds the" } else { "lacks the" },
                    secret.name
                ));
            }
        }
    }
    wrong
}

#[test]
fn a_secret_that_is_where_it_must_not_be_is_found() {
    let secret = vec![0x5a; 20];
    let leaks = |form: &[u8]| {
        let places = [Place { name: "log".to_owned(), bytes: [b"before ", form, b" after"].concat() }];
        let secrets = [Secret::of_bytes("plain TOTP secret", [secret.clone()])];
        !compare(&places, &secrets).is_empty()
    };
    assert!(!leaks(b"nothing"));
    for form in forms_of(&secret) {
        assert!(leaks(&form), "{form:02x?}");
    }
    let empty = [Place { name: "transcript".to_owned(), bytes: Vec::new() }];
    let lacks = compare(&empty, &[Secret { name: "API key", forms: vec![b"key".to_vec()] }]);
    assert_eq!(
        lacks.len(),
        1,
        "what has to be there is missed, too: a scan that finds nothing shows nothing"
    );
}

/// A command without the right to look into any process, which root has. What it starts has it no more.
fn without_sight(program: &str) -> Command {
    if !nix::unistd::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace", "--", program]);
    command
}

/// A process that was started by a shell which allows core dumps of any length, in a folder of its own.
fn with_core_dumps(folder: &Path, program: &Path, arguments: &[&str]) -> Child {
    let mut command = without_sight("sh");
    command.args(["-c", "ulimit -c unlimited && exec \"$0\" \"$@\""]).arg(program).args(arguments);
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().expect("a shell can be started")
}

/// Sends SIGSEGV until the process has ended: Rust's runtime lets the first one pass that no fault has caused.
fn crash(pid: u32) {
    while is_running(pid) {
        hsm::signal(pid, Signal::SIGSEGV);
        std::thread::yield_now();
    }
}

/// Runs the firmware with core dumps allowed, until it serves.
fn firmware_with_core_dumps(folder: &Path, hsm: &Hsm) -> Child {
    let paths = [hsm.home(), hsm.image.clone()];
    let [home, image] = paths.each_ref().map(|path| path.to_str().expect("plain paths"));
    let mut firmware = with_core_dumps(folder, &artefacts::hsm(), &["run", "--home", home, "--image", image]);
    let mut ready = String::new();
    let stdout = firmware.stdout.take().expect("its output is piped");
    BufReader::new(stdout).read_line(&mut ready).expect("it says that it serves");
    assert!(ready.contains("measurement"), "{ready}");
    firmware
}

/// Whether a process that crashes on this machine dumps its memory, if nothing forbids it. Where none does, a crash shows nothing.
fn crashes_dump_memory_here() -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    let mut sleeping = with_core_dumps(folder.path(), &PathBuf::from("sleep"), &["1000"]);
    while status(sleeping.id(), "Name").as_deref() != Some("sleep") {
        assert!(
            is_running(sleeping.id()),
            "core dumps cannot be allowed here: raise the hard limit (ulimit -H -c)"
        );
        std::thread::yield_now();
    }
    assert!(is_open_to_look(sleeping.id()), "into a process like any other its user may look");
    crash(sleeping.id());
    let ended = sleeping.wait().expect("it ended");
    assert_eq!(ended.signal(), Some(11));
    if !ended.core_dumped() {
        eprintln!(
            "SKIPPED: nothing that crashes here dumps its memory; limits and rights are all that is looked at"
        );
    }
    ended.core_dumped()
}

/// Whether another process of the same user and rights may see what a process runs: it may not look into one that is not dumpable
/// (ptrace(2), "Ptrace access mode checking").
fn is_open_to_look(pid: u32) -> bool {
    let mut look = without_sight("readlink");
    look.arg(format!("/proc/{pid}/exe")).stdout(Stdio::null()).stderr(Stdio::null());
    look.status().expect("readlink can be started").success()
}

fn assert_no_core_is_allowed(pid: u32) {
    assert_eq!(limit(pid, "Max core file size"), ("0".to_owned(), "0".to_owned()), "process {pid}");
}

/// The firmware forbids dumps of its memory in both ways there are: by its limit, and by not being dumpable, which holds where dumps go
/// to a program and no limit counts.
fn assert_firmware_forbids_dumps(pid: u32) {
    assert_no_core_is_allowed(pid);
    assert!(!is_open_to_look(pid), "the firmware is dumpable");
}

/// The plugin does as well. Whoever starts the firmware made the plugin's namespaces and may look into them; that it is not dumpable shows in
/// that what `/proc` has of it is root's (proc(5), `/proc/PID`).
fn assert_plugin_forbids_dumps(pid: u32) {
    assert_no_core_is_allowed(pid);
    if nix::unistd::geteuid().is_root() {
        eprintln!(
            "SKIPPED: whether the plugin is dumpable cannot be seen by root, whose its files are anyhow"
        );
        return;
    }
    let owner = |pid: u32| fs::metadata(format!("/proc/{pid}/maps")).expect("the process runs").uid();
    assert_eq!((owner(std::process::id()), owner(pid)), (nix::unistd::geteuid().as_raw(), 0));
}

/// Crashes the firmware, which leaves no dump.
fn assert_crashes_without_a_dump(firmware: &mut Child) {
    crash(firmware.id());
    let ended = firmware.wait().expect("it ended");
    assert_eq!((ended.signal(), ended.core_dumped()), (Some(11), false));
}

#[test]
fn i7_firmware_and_plugin_that_crash_leave_no_core_dump_whatever_the_limit() {
    let dumps = crashes_dump_memory_here();
    let folder = tempfile::tempdir().expect("a folder");
    let [ours, hostile] = [
        Hsm::init(Keystore::Embedded, &[hsm::TENANT]),
        Hsm::init_for(Keystore::Embedded, &artefacts::hostile_image(), &["--development"]).expect("an HSM"),
    ];
    let mut firmware = firmware_with_core_dumps(folder.path(), &ours);
    let plugin = *descendants(firmware.id()).last().expect("the plugin runs");
    assert_firmware_forbids_dumps(firmware.id());
    assert_plugin_forbids_dumps(plugin);
    for _ in 0..3 {
        // The first process of a namespace, which it is, does not die of a signal that is sent.
        hsm::signal(plugin, Signal::SIGSEGV);
    }
    assert_crashes_without_a_dump(&mut firmware);

    // A real fault ends a plugin. How it ended, only the process that started it is told; a dump of it would lie in its own root, which is
    // empty and cannot be written: what it forbids is what shows that there is none.
    let mut firmware = firmware_with_core_dumps(folder.path(), &hostile);
    let plugin = *descendants(firmware.id()).last().expect("the plugin runs");
    assert_plugin_forbids_dumps(plugin);
    let mut stream = UnixStream::connect(hostile.home().join("hsm.sock")).expect("it takes connections");
    stream.set_read_timeout(Some(hsm::PATIENCE)).expect("a timeout can be set");
    let mut framed = Vec::new();
    countersign_wire::frame::append(&mut framed, b"time-stamp-counter");
    stream.write_all(&framed).expect("sent");
    assert_eq!(stream.read(&mut [0; 1]).expect("the connection ends"), 0);
    wait_until_ended(&[plugin]);
    assert_crashes_without_a_dump(&mut firmware);
    let left: Vec<_> = fs::read_dir(folder.path()).expect("the folder").collect();
    assert!(left.is_empty(), "a file came to where the firmware was started: {left:?} (dumps: {dumps})");
}
