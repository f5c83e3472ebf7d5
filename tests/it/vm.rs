//! The plugin as process 1 of a virtual machine. `cargo xtask test` runs the tests of the main job there as well.

use countersign_tests::cli::run;
use countersign_tests::hsm::in_a_machine;
use countersign_tests::metrics::{self, ON_A_FREE_PORT};
use countersign_tests::processes;
use countersign_tests::{Hsm, Keystore, artefacts, on_both_keystores, on_embedded};
use countersign_wire::client::Mechanism::Digest;
use countersign_wire::client::Payload;
use serde_json::{Value, json};
use std::fs;
use std::process::Command;

on_both_keystores!(an_hsm_in_a_machine_signs_attests_it_and_comes_back);
on_embedded!(
    i7_a_machines_memory_stays_out_of_swap_and_dumps,
    i12_another_kernel_or_first_root_is_refused,
    metrics_tell_of_a_machine_what_it_has_and_no_more,
);

fn digest() -> Payload {
    Payload::Digest([7; 32].into())
}

fn in_machine(keystore: Keystore) -> Hsm {
    let machine = in_a_machine();
    let options: Vec<&str> =
        std::iter::once("--development").chain(machine.iter().map(String::as_str)).collect();
    Hsm::init_for(keystore, &artefacts::image(), &options).expect("an HSM")
}

/// What whoever has the kernel and the first root computes, without any HSM.
fn platform_by_hand() -> String {
    let [kernel, root] = artefacts::machine();
    let mut measure = Command::new(artefacts::hsm());
    measure.args(["vm-platform", "--vm-kernel"]).arg(kernel).arg("--vm-root").arg(root);
    let output = measure.output().expect("countersign-hsm can be started");
    let told: Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
    told["platform"].as_str().expect("a measurement").to_owned()
}

fn an_hsm_in_a_machine_signs_attests_it_and_comes_back(keystore: Keystore) {
    let mut hsm = in_machine(keystore);
    hsm.run();
    let alice = hsm.user("alice", &[Digest]);
    let now = hsm.now();
    hsm.sign(&alice, digest(), &alice.phone.code(now)).expect("a signature");
    let attest = |hsm: &Hsm, name: &str| {
        let file = hsm.folder().join(name);
        let file = file.to_str().expect("a plain path");
        run(hsm, &["attest", "--out", file]).done();
        let allowed = ["development-image", "manual-clock", "no-policy"];
        let root = &hsm.initialised.root_fingerprint;
        let mut verify = vec!["attest", "verify", "--root", root, file];
        for weakness in allowed {
            verify.extend(["--allow", weakness]);
        }
        let refused = |more: &[&str], word: &str| {
            let ended = run(hsm, &[verify.as_slice(), more].concat());
            assert_eq!((ended.code, &ended.json["refused"]), (3, &json!(word)), "{}", ended.stdout);
        };
        refused(&[], "platform-unchecked");
        refused(&["--platform", &"00".repeat(48), "--allow", "platform-unchecked"], "unexpected-platform");
        let platform = platform_by_hand();
        run(hsm, &[verify.as_slice(), &["--platform", &platform]].concat()).done()
    };
    let first = attest(&hsm, "first.eat");
    assert_eq!(first["boundary"], "vm");
    assert_eq!(first["sandbox_layers"], json!(["landlock", "seccomp", "memory-lock", "tsc"]));
    let platform = platform_by_hand();
    assert_eq!((&first["platform"], &first["platform_expected"]), (&json!(platform), &json!(true)));
    assert_eq!(
        (&hsm.initialised.platform, &hsm.ready().platform),
        (&Some(platform.clone()), &Some(platform))
    );
    assert!(hsm.sign(&alice, digest(), &alice.phone.code(now)).is_err(), "the code is used");
    hsm.kill_and_run();
    assert!(
        hsm.sign(&alice, digest(), &alice.phone.code(now)).is_err(),
        "the code is used, in the next machine as well"
    );
    let now = hsm.advance(30);
    hsm.sign(&alice, digest(), &alice.phone.code(now)).expect("a signature");
    assert_eq!(attest(&hsm, "second.eat")["platform"], first["platform"]);
}

fn i7_a_machines_memory_stays_out_of_swap_and_dumps(keystore: Keystore) {
    let mut hsm = in_machine(keystore);
    hsm.run();
    let qemu = hsm.plugin_pid();
    let [locked, data, stack, swapped] =
        ["VmLck", "VmData", "VmStk", "VmSwap"].map(|name| processes::status_number(qemu, name));
    // The machine has 384 MiB, and QEMU its own: all of it may pass secrets on.
    assert!(locked >= data + stack && data >= 384 * 1024, "{locked} of {data} and {stack} KiB");
    assert_eq!(swapped, 0);
    assert_eq!(processes::limit(qemu, "Max core file size"), ("0".to_owned(), "0".to_owned()));
    let dumped = fs::read_to_string(format!("/proc/{qemu}/coredump_filter")).expect("Linux has it");
    assert_eq!(u32::from_str_radix(dumped.trim(), 16).ok(), Some(0), "nothing of it is written into a dump");
    assert_eq!(processes::status_number(qemu, "Seccomp"), 2, "its own filter");
    assert_eq!(hsm.status().missing_sandbox_layers, Vec::<String>::new());
}

fn i12_another_kernel_or_first_root_is_refused(keystore: Keystore) {
    let mut hsm = in_machine(keystore);
    for name in ["vm-kernel", "vm-root"] {
        let file = hsm.home().join("ceremony").join(name);
        let good = fs::read(&file).expect("what the machine starts with");
        let mut changed = good.clone();
        let last = changed.len() - 1;
        changed[last] ^= 1;
        fs::write(&file, &changed).expect("a changed copy");
        let refused = hsm.try_run().expect_err("another machine");
        assert!(refused.log.contains("is not the one that the HSM was initialised with"), "{}", refused.log);
        fs::write(&file, &good).expect("the good one");
    }
    hsm.run();
    assert_eq!(hsm.status().boot_count, 1);
}

fn metrics_tell_of_a_machine_what_it_has_and_no_more(keystore: Keystore) {
    let mut hsm = in_machine(keystore);
    hsm.options.extend(ON_A_FREE_PORT.map(str::to_owned));
    hsm.run();
    let (status, text) = metrics::get(&hsm, "/metrics");
    assert_eq!(status, 200);
    for layer in ["landlock", "seccomp", "memory-lock", "tsc"] {
        let name = format!("countersign_sandbox_layer{{layer=\"{layer}\"}}");
        assert_eq!(metrics::sample(&text, &name), Some(1.0), "{layer}");
    }
    // A layer that a machine has no use for is not one that is missing: the alert would never end.
    assert!(!text.contains("layer=\"namespaces\""), "{text}");
    let info = text.lines().find(|line| line.starts_with("countersign_hsm_info{")).expect("what runs here");
    assert!(info.contains("boundary=\"vm\""), "{info}");
    // The plugin's memory is within QEMU's, whose own is told.
    let memory = |kind: &str| {
        let name = format!("countersign_process_memory_bytes{{process=\"plugin\",kind=\"{kind}\"}}");
        metrics::sample(&text, &name)
    };
    assert!(memory("resident") > Some(16e6), "{text}");
    assert_eq!(memory("swapped"), Some(0.0));
}
