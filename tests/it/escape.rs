//! From inside the sandbox nothing can be reached: an image built to try it, run by a real HSM.
//!
//! Each attempt is made twice: inside, where it must end as the table says, and outside, where it must succeed, since an
//! attempt that nothing could stand in the way of would show nothing.

use countersign_tests::hsm::in_a_machine;
use countersign_tests::{Hsm, Keystore, artefacts};
use countersign_wire::frame;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

/// How an attempt ends inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// seccomp ends the plugin (SIGSYS).
    Killed,
    /// The processor may not, and that ends the plugin (SIGSEGV).
    Faulted,
    /// Either, as the machine's clock is made.
    KilledOrFaulted,
    /// The call fails with this error.
    Refused(i32),
}

const EACCES: i32 = 13;
const ENOENT: i32 = 2;

const ATTEMPTS: &[(&str, Ends)] = &[
    ("open-read", Ends::Refused(EACCES)),
    ("open-write", Ends::Refused(EACCES)),
    ("open-own-memory", Ends::Refused(EACCES)),
    ("open-first-process", Ends::Refused(EACCES)),
    ("open-old-call", Ends::Killed),
    ("open-new-call", Ends::Killed),
    ("make-folder", Ends::Killed),
    ("list-folder", Ends::Refused(EACCES)),
    ("read-link", Ends::Refused(EACCES)),
    ("change-folder", Ends::Killed),
    ("socket-network", Ends::Killed),
    ("socket-unix", Ends::Killed),
    ("socket-pair", Ends::Killed),
    ("connect", Ends::Killed),
    ("send-descriptor", Ends::Killed),
    ("duplicate-descriptor", Ends::Killed),
    ("pipe", Ends::Killed),
    ("trace", Ends::Killed),
    ("execute", Ends::Killed),
    ("execute-at", Ends::Killed),
    // The one form that seccomp must let through: the empty root has no such file.
    ("execute-as-allowed-once", Ends::Refused(ENOENT)),
    ("fork", Ends::Killed),
    ("clone", Ends::Killed),
    ("clone-new-call", Ends::Killed),
    ("thread", Ends::Killed),
    ("map-code", Ends::Killed),
    ("map-code-read-only", Ends::Killed),
    ("written-becomes-code", Ends::Killed),
    ("code-becomes-writable", Ends::Killed),
    ("protect-with-key", Ends::Killed),
    ("read-implies-execute", Ends::Killed),
    ("shared-memory", Ends::Killed),
    ("read-other-memory", Ends::Killed),
    ("write-other-memory", Ends::Killed),
    ("memory-file", Ends::Killed),
    ("unlock-memory", Ends::Killed),
    ("io-ring", Ends::Killed),
    ("kernel-program", Ends::Killed),
    ("page-faults", Ends::Killed),
    ("keyring", Ends::Killed),
    ("performance-counters", Ends::Killed),
    ("allow-core-dumps", Ends::Killed),
    ("allow-dumps-and-readers", Ends::Killed),
    ("allow-time-stamp-counter", Ends::Killed),
    ("rename-process", Ends::Killed),
    ("clock", Ends::Killed),
    ("clock-without-call", Ends::KilledOrFaulted),
    ("time-stamp-counter", Ends::Faulted),
    ("sleep", Ends::Killed),
    ("signal-itself", Ends::Killed),
    ("signal-all", Ends::Killed),
    ("handle-of-process", Ends::Killed),
    ("new-namespaces", Ends::Killed),
    ("become-somebody", Ends::Killed),
    ("old-calls", Ends::KilledOrFaulted),
];

/// What not every machine lets anybody do. Inside they end the plugin all the same, before the kernel looks whether it may.
const MAY_BE_MISSING_OUTSIDE: [&str; 6] =
    ["io-ring", "kernel-program", "page-faults", "keyring", "performance-counters", "old-calls"];

/// What is tried in a virtual machine, too: of each kind one, since each that ends the plugin takes the start of a machine.
const IN_A_MACHINE: [&str; 14] = [
    "open-read",
    "open-first-process",
    "open-new-call",
    "socket-unix",
    "trace",
    "execute",
    "execute-as-allowed-once",
    "fork",
    "map-code",
    "written-becomes-code",
    "write-other-memory",
    "unlock-memory",
    "allow-dumps-and-readers",
    "time-stamp-counter",
];

/// Exit code of `launch` when the plugin was ended by this signal.
fn exit_status(signal: i32) -> String {
    format!("the plugin's process ended with exit status: {}", 128 + signal)
}

/// What the plugin answers; `None` where it ended instead.
fn ask(hsm: &Hsm, attempt: &str) -> Option<String> {
    let mut stream = UnixStream::connect(&hsm.ready().socket).expect("the socket takes connections");
    stream.set_read_timeout(Some(Duration::from_mins(1))).expect("a timeout can be set");
    let mut framed = Vec::new();
    frame::append(&mut framed, attempt.as_bytes());
    stream.write_all(&framed).expect("sent");
    let mut answer = Vec::new();
    let mut header = [0; frame::HEADER_BYTES];
    stream.read_exact(&mut header).ok()?;
    answer.resize(usize::try_from(u32::from_be_bytes(header)).ok()?, 0);
    stream.read_exact(&mut answer).ok()?;
    String::from_utf8(answer).ok()
}

fn refused(answer: Option<&str>, errno: i32) -> bool {
    answer == Some(format!("error {errno}").as_str())
}

/// What came of one attempt: the plugin's answer, and how the firmware says that its process ended.
fn attempt_inside(hsm: &mut Hsm, attempt: &str) -> (Option<String>, String) {
    let said_before = hsm.log().len();
    hsm.run();
    let answer = ask(hsm, attempt);
    hsm.stop();
    let log = hsm.log().split_off(said_before);
    // The first that ended in this run; the last was stopped.
    (answer, how_it_ended(&log).to_owned())
}

#[test]
fn i12_what_an_image_tries_from_inside_its_sandbox_fails() {
    let mut hsm =
        Hsm::init_for(Keystore::Embedded, &artefacts::hostile_image(), &["--development"]).expect("an HSM");
    for (attempt, ends) in ATTEMPTS {
        // A machine under load may take so long to clear a sandbox away that the firmware ends it before it told how it ended.
        let mut tries = (0..20).map(|_| attempt_inside(&mut hsm, attempt));
        let told = tries.find(|(answer, ended)| answer.is_some() || !ended.ends_with("(SIGKILL)"));
        let (answer, ended) = told.unwrap_or_else(|| panic!("{attempt}: it is never told how it ended"));
        let by = |signal: i32| answer.is_none() && ended.ends_with(&exit_status(signal));
        let as_expected = match ends {
            Ends::Killed => by(31),
            Ends::Faulted => by(11),
            Ends::KilledOrFaulted => by(31) || by(11),
            Ends::Refused(errno) => refused(answer.as_deref(), *errno),
        };
        assert!(as_expected, "{attempt}: {answer:?}, {ended:?} instead of {ends:?}");
    }
}

#[test]
fn i12_what_an_image_tries_as_process_1_of_a_virtual_machine_fails() {
    let machine = in_a_machine();
    let options: Vec<_> =
        std::iter::once("--development").chain(machine.iter().map(String::as_str)).collect();
    let mut hsm = Hsm::init_for(Keystore::Embedded, &artefacts::hostile_image(), &options).expect("an HSM");
    hsm.run();
    for attempt in IN_A_MACHINE {
        let (_, ends) = ATTEMPTS.iter().find(|(name, _)| *name == attempt).expect("it is in the table");
        if let Ends::Refused(errno) = ends {
            let answer = ask(&hsm, attempt);
            assert!(refused(answer.as_deref(), *errno), "{attempt}: {answer:?} instead of {ends:?}");
            continue;
        }
        // As above: QEMU may take longer to end than the firmware waits for it.
        let mut tries = (0..20).map(|_| attempt_in_the_machine(&hsm, attempt));
        let told = tries.find(|said| !how_it_ended(said).ends_with("(SIGKILL)"));
        let said = told.unwrap_or_else(|| panic!("{attempt}: it is never told how it ended"));
        // A kernel whose process 1 is ended panics, and its machine ends at once, without a word from inside.
        assert!(
            how_it_ended(&said).ends_with("exit status: 0") && !said.contains("the plugin's socket ended"),
            "{attempt}: {said}"
        );
    }
    assert_eq!(ask(&hsm, "list-folder").as_deref(), Some("error 13"), "and it goes on");
}

/// Lets the plugin in a machine try what ends it, and waits for the next machine: what the firmware says meanwhile.
fn attempt_in_the_machine(hsm: &Hsm, attempt: &str) -> String {
    let (ready_before, said_before) = (times_ready(hsm), hsm.log().len());
    let answer = ask(hsm, attempt);
    wait_for_the_next(hsm, ready_before);
    let said = hsm.log().split_off(said_before);
    assert_eq!(answer, None, "{attempt}: {said}");
    said
}

/// The first line about the end of a plugin's process.
fn how_it_ended(said: &str) -> &str {
    said.lines().find(|line| line.contains("the plugin's process ended")).unwrap_or_default()
}

fn times_ready(hsm: &Hsm) -> usize {
    hsm.log().matches("the plugin is ready").count()
}

fn wait_for_the_next(hsm: &Hsm, ready_before: usize) {
    let started = Instant::now();
    while times_ready(hsm) == ready_before {
        assert!(started.elapsed() < Duration::from_mins(5), "no other machine was started: {}", hsm.log());
        std::thread::yield_now();
    }
}

#[test]
fn the_same_attempts_succeed_outside() {
    let run = |arguments: &[&str]| {
        let output = Command::new(artefacts::hostile_elf()).args(arguments).output();
        let output = output.expect("the program can be started");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let listed = run(&["list"]);
    let expected: BTreeSet<_> = ATTEMPTS.iter().map(|(name, _)| *name).collect();
    assert_eq!(listed.lines().collect::<BTreeSet<_>>(), expected, "every attempt is in the table");
    let mut failed: Vec<_> = ATTEMPTS
        .iter()
        .map(|(name, _)| (*name, run(&["try", name])))
        .filter(|(_, came)| came != "done")
        .collect();
    eprintln!("not possible on this machine: {failed:?}");
    failed.retain(|(name, _)| !MAY_BE_MISSING_OUTSIDE.contains(name));
    assert!(failed.is_empty(), "{failed:?}");
}
