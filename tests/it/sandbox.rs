//! I12 and the sandbox: the bytes that were measured are the bytes that run, with nothing within their reach.

use countersign_tests::backend::digest;
use countersign_tests::processes;
use countersign_tests::{Hsm, Keystore, on_both_keystores, on_embedded};
use countersign_wire::client::Mechanism::Digest;
use nix::sys::signal::Signal;
use std::fs;

on_both_keystores!(the_plugin_runs_in_a_complete_sandbox);
on_embedded!(
    i12_the_plugins_process_runs_the_measured_executable,
    i7_firmware_and_plugin_leave_no_core_dump_and_do_not_swap,
    the_plugin_reaches_nothing_but_its_socket,
    the_plugin_never_outlives_its_firmware,
    a_killed_plugin_releases_nothing_and_is_started_again,
    only_the_owner_reaches_what_is_inside_the_boundary,
    a_second_firmware_on_the_same_home_is_refused,
);

fn the_plugin_runs_in_a_complete_sandbox(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    assert_eq!(hsm.status().missing_sandbox_layers, Vec::<String>::new());
    let pid = hsm.plugin_pid();
    assert_eq!(processes::status_number(pid, "Seccomp"), 2, "a seccomp filter");
    assert_eq!(processes::status_number(pid, "NoNewPrivs"), 1);
    let capabilities = processes::status(pid, "CapEff").expect("Linux lists capabilities");
    assert!(capabilities.bytes().all(|digit| digit == b'0'), "no capability: {capabilities}");
    for kind in ["net", "mnt", "pid", "ipc", "uts", "user"] {
        let (ours, its) = (processes::namespace(std::process::id(), kind), processes::namespace(pid, kind));
        assert_ne!(ours, its, "a {kind} namespace of its own");
    }
}

fn i12_the_plugins_process_runs_the_measured_executable(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let image = fs::read(&hsm.image).expect("the image can be read");
    let running = fs::read(format!("/proc/{}/exe", hsm.plugin_pid()));
    match running {
        Ok(running) => assert!(image.ends_with(&running) && running.starts_with(b"\x7fELF")),
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
            eprintln!(
                "SKIPPED: the executable is not compared: the plugin is not dumpable, so that nobody but root may even look"
            );
        }
    }
    let sum = data_encoding::HEXLOWER.encode(&<sha2::Sha384 as sha2::Digest>::digest(&image));
    let told = data_encoding::HEXLOWER.encode(&hsm.status().measurement[..]);
    assert_eq!((&sum, &sum, &sum), (&hsm.initialised.measurement, &hsm.ready().measurement, &told));
}

fn i7_firmware_and_plugin_leave_no_core_dump_and_do_not_swap(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let (firmware, plugin) = (hsm.ready().pid, hsm.plugin_pid());
    for pid in [firmware, plugin] {
        assert_eq!(processes::limit(pid, "Max core file size"), ("0".to_owned(), "0".to_owned()));
    }
    // All that the plugin can write to, and not its code, which alone is more than the usual limit allows.
    let [locked, data, stack, code] =
        ["VmLck", "VmData", "VmStk", "VmExe"].map(|name| processes::status_number(plugin, name));
    assert!(locked >= data + stack && data > 0 && stack > 0, "{locked} of {data} and {stack} KiB");
    assert!(locked < code, "{locked} KiB locked, {code} KiB of code");
    // Where the system does not let the firmware lock all of its memory, the operator is told.
    let locked = processes::status_number(firmware, "VmLck") > 0;
    assert!(locked || hsm.log().contains("memory is not locked"), "{}", hsm.log());
}

fn the_plugin_reaches_nothing_but_its_socket(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    hsm.user("alice", &[Digest]);
    let pid = hsm.plugin_pid();
    let Ok(_) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        assert!(!nix::unistd::geteuid().is_root());
        eprintln!(
            "SKIPPED: its files are not looked at: the plugin is not dumpable, so that nobody but root may"
        );
        return;
    };
    let files = processes::open_files(pid);
    let sockets = files.iter().filter(|file| file.starts_with("socket:")).count();
    assert_eq!(sockets, 1, "{files:?}");
    let others: Vec<_> =
        files.iter().filter(|file| !file.starts_with("socket:") && *file != "/dev/null").collect();
    // Its standard error may be the firmware's log: a pipe, never a file or the firmware's own descriptor.
    assert!(others.iter().all(|file| file.starts_with("pipe:")), "{files:?}");
}

fn the_plugin_never_outlives_its_firmware(keystore: Keystore) {
    let mut hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    for stopped in [false, true, true] {
        let plugin = hsm.plugin_pid();
        if stopped {
            // It cannot even notice that its socket ends.
            countersign_tests::hsm::signal(plugin, Signal::SIGSTOP);
        }
        // Waits until the plugin is gone, and fails if it stays.
        hsm.kill_firmware_alone();
        assert!(!processes::is_running(plugin));
        hsm.run();
        hsm.sign(&alice, digest(1), &alice.phone.code(hsm.advance(30))).expect("the next one signs");
    }
}

fn a_killed_plugin_releases_nothing_and_is_started_again(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    for _ in 0..3 {
        hsm.kill_plugin();
        hsm.sign(&alice, digest(1), &alice.phone.code(hsm.advance(30))).expect("the new one signs");
    }
    // Killed in the middle of a request: there is an answer, and it is no signature.
    let stopped = hsm.plugin_pid();
    countersign_tests::hsm::signal(stopped, Signal::SIGSTOP);
    let code = alice.phone.code(hsm.advance(30));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| hsm.sign(&alice, digest(2), &code));
        countersign_tests::hsm::signal(stopped, Signal::SIGKILL);
        match waiting.join().expect("the thread ends") {
            // Either it fell with the plugin, or it came late enough to be served by the next one.
            Err(refusal) => {
                assert_eq!(refusal.reason.blame(), countersign_wire::reason::Blame::Device, "{refusal}");
            }
            Ok(signed) => assert_eq!(signed.digest[..], [2; 32]),
        }
    });
    hsm.wait_until_it_answers();
    hsm.sign(&alice, digest(3), &alice.phone.code(hsm.advance(30))).expect("it goes on");
}

fn only_the_owner_reaches_what_is_inside_the_boundary(keystore: Keystore) {
    use std::os::unix::fs::PermissionsExt;
    let hsm = Hsm::start(keystore);
    for name in ["nvram", "nvram/fuses", "nvram/state", "keystore", "ceremony", "ceremony/tenants.toml"] {
        let path = hsm.home().join(name);
        let mode = fs::metadata(&path).unwrap_or_else(|error| panic!("{name}: {error}")).permissions().mode();
        // A file may be wider as long as its folder lets nobody else in.
        let folder =
            fs::metadata(path.parent().expect("a parent")).expect("it is there").permissions().mode();
        let for_others = |mode: u32| mode % 0o100;
        assert!(for_others(mode) == 0 || for_others(folder) == 0, "{name} has mode {mode:o}");
    }
}

fn a_second_firmware_on_the_same_home_is_refused(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let second = std::process::Command::new(countersign_tests::artefacts::hsm())
        .arg("run")
        .arg("--home")
        .arg(hsm.home())
        .arg("--image")
        .arg(&hsm.image)
        .output()
        .expect("countersign-hsm can be started");
    assert!(!second.status.success() && second.stdout.is_empty(), "two firmwares would both write the store");
    hsm.sign(&alice, digest(1), &alice.phone.code(hsm.now())).expect("the first goes on undisturbed");
}
