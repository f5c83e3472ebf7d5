//! The sandbox around the plugin: all layers together, and each alone.

use super::*;
use countersign_wire::client::ClockMode;
use countersign_wire::hal::{Boot, Delivery, Event, Extent, Output, Secret, Started, Time, WritableMemory};
use countersign_wire::{decode_packed, encode_packed};
use serde_bytes::{ByteArray, ByteBuf};

#[test]
fn the_sandbox_opens_no_file_for_the_plugin() {
    let hsm = Hsm::start();
    assert_eq!(hsm.ask("exec /bin/true"), "Some(2)", "no path leads anywhere");
    for path in ["/proc/self/maps", "/etc/passwd", "/dev/null", text(&hsm.home().join("nvram/fuses"))] {
        assert_eq!(hsm.ask(&format!("open {path}")), "Err(Some(13))", "{path}");
    }
    assert_eq!(hsm.ask("create /tmp/breach"), "Err(Some(13))");
}

#[test]
fn the_sandbox_ends_a_plugin_that_reaches_out() {
    for reach in [
        "unix-socket",
        "udp-socket",
        "clock",
        "counter",
        "thread",
        "process",
        "list",
        "code",
        "allow-counter",
        "allow-dump",
    ] {
        let hsm = Hsm::start();
        assert_eq!(hsm.connect().ask(reach), None, "{reach}: the connection ends with the plugin");
        assert_eq!(hsm.ask_when_ready("echo back"), "back", "{reach}");
    }
}

/// Runs the probe plugin in one layer, without a firmware, and asks it one thing.
fn ask_in_layer(layer: &str, request: &str) -> String {
    // As the firmware does: Landlock does not let a file be run, only memory.
    let elf = std::fs::read(&probe().elf).unwrap();
    let memory = rustix::fs::memfd_create("probe", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let mut memory = std::fs::File::from(memory);
    memory.write_all(&elf).unwrap();
    let (mut socket, plugin_end) = UnixStream::pair().unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut launched = hsm_command(&["launch", "--layer", layer])
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(plugin_end)))
        .stdout(Stdio::from(memory))
        .spawn()
        .unwrap();
    let boot = Boot {
        hsm_id: ByteArray::new([0; 16]),
        sealing_key: Secret::new(vec![0; 32]),
        measurement: ByteArray::new([0; 48]),
        clock: ClockMode::Manual,
        keystore: String::new(),
        nvram: None,
        store: Extent::default(),
        archive_bytes: 0,
        tenants: Vec::new(),
        missing_sandbox_layers: Vec::new(),
    };
    let payload = ByteBuf::from(request);
    let mut memory = Vec::new();
    frame::append(&mut memory, &encode_packed(&WritableMemory::default()));
    socket.write_all(&memory).unwrap();
    for event in [Event::Boot(Box::new(boot)), Event::Request { ticket: 1, payload }] {
        let mut message = Vec::new();
        let time = Time { unix_secs: 0, running_secs: 0 };
        frame::append(&mut message, &encode_packed(&Delivery { time, event }));
        socket.write_all(&message).unwrap();
    }
    let mut client = Client(socket);
    assert_eq!(decode_packed(&client.receive().unwrap()), Ok(Started {}));
    assert_eq!(decode_packed(&client.receive().unwrap()), Ok(Output::Ready));
    let reply = decode_packed(&client.receive().unwrap()).unwrap();
    drop(client);
    launched.wait().unwrap();
    let Output::Reply { payload, .. } = reply else { panic!("{reply:?}") };
    String::from_utf8(payload.into_vec()).unwrap()
}

#[test]
fn the_namespaces_alone_leave_the_plugin_no_path() {
    for path in ["/etc/passwd", "/proc/self/maps", "/dev/null", "/proc", "/tmp"] {
        assert_eq!(ask_in_layer("namespaces", &format!("open {path}")), "Err(Some(2))", "{path}");
    }
    assert_eq!(ask_in_layer("namespaces", "open /../etc/passwd"), "Err(Some(2))");
    assert_eq!(ask_in_layer("namespaces", "create /breach"), "Err(Some(30))", "read only");
    assert_eq!(ask_in_layer("namespaces", "exec /bin/true"), "Some(2)");
}

#[test]
fn landlock_alone_opens_and_runs_nothing() {
    for path in ["/etc/passwd", "/proc/self/maps", "/dev/null", "/tmp"] {
        assert_eq!(ask_in_layer("landlock", &format!("open {path}")), "Err(Some(13))", "{path}");
    }
    assert_eq!(ask_in_layer("landlock", "exec /bin/true"), "Some(13)");
}

#[test]
fn each_layer_is_available_here() {
    let probe = |layer: &str| hsm(&["probe", layer]).status;
    for layer in ["namespaces", "landlock", "seccomp", "memory-lock", "tsc"] {
        assert!(probe(layer).success(), "{layer}");
    }
    let layers = json(&hsm(&["sandbox"]));
    assert_eq!(layers["missing"], serde_json::json!({}));
    assert_eq!(layers["layers"].as_array().unwrap().len(), 5);
}

#[test]
fn refuses_to_start_with_a_layer_missing_unless_told_and_then_says_so() {
    let mut hsm = Hsm::init(&[]);
    // A limit that the firmware cannot raise again, not even as root.
    let for_good =
        if rustix::process::geteuid().is_root() { "setpriv --bounding-set=-sys_resource" } else { "" };
    let limited = |hsm: &Hsm, arguments: &str| {
        let mut command = Command::new("sh");
        let run = format!("{:?} {arguments}", hsm.run_command(&[]));
        command.args(["-c", &format!("ulimit -l 64; exec {for_good} {run}")]);
        command
    };
    let refused = limited(&hsm, "").output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(5), "{said}");
    assert!(said.contains("missing memory-lock: only 64 KiB"), "{said}");

    let mut child = limited(&hsm, "--weak-sandbox").stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut String::new()).unwrap();
    hsm.process = Some((child, stdout));
    assert_eq!(hsm.ask("boot"), "nvram= store=0 missing=memory-lock");
    assert_eq!(hsm.ask("fill 32"), (32_u64 << 20).to_string(), "unlocked memory is not bounded by the limit");
    assert!(hsm.stop().success());
}
