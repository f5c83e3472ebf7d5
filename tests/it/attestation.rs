//! Attestations of a real HSM: asked for, verified by the command line, and by a verifier in Python that was written from
//! `docs/attestation.md` and shares nothing with ours.

use countersign_tests::cli::{Ended, command, run, run_with_input, set_policy};
use countersign_tests::hsm::TENANT;
use countersign_tests::{Hsm, Keystore, artefacts, on_both_keystores, on_embedded};
use countersign_wire::client::{Act, Answer};
use countersign_wire::reason::Reason;
use serde_bytes::ByteBuf;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

on_both_keystores!(an_attestation_says_what_the_hsm_is_and_another_language_agrees);
on_embedded!(
    an_attestation_answers_one_nonce_of_one_hsm,
    an_attestation_names_the_policy_and_the_state,
    weaknesses_are_refused_unless_they_are_named,
    needs_an_api_key_and_a_nonce_of_a_proper_length,
    attestations_are_read_as_they_were_printed,
);

const NONCE: &str = "00112233445566778899aabbccddeeff";

/// What every HSM of these tests is: for development, with a manual clock, and without a policy.
const ALLOWED: [&str; 6] =
    ["--allow", "development-image", "--allow", "manual-clock", "--allow", "no-policy"];

fn attest(hsm: &Hsm, name: &str) -> PathBuf {
    let file = hsm.folder().join(name);
    let asked = run(hsm, &["attest", "--nonce", NONCE, "--out", path(&file)]).done();
    assert_eq!((&asked["nonce"], &asked["file"]), (&json!(NONCE), &json!(file)));
    file
}

fn path(path: &Path) -> &str {
    path.to_str().expect("tests have plain paths")
}

fn verify(hsm: &Hsm, file: &Path, more: &[&str]) -> Ended {
    let root = &hsm.initialised.root_fingerprint;
    // Of an HSM in a virtual machine, what `init` said of it.
    let platform = hsm.initialised.platform.as_deref().map(|platform| ["--platform", platform]);
    let platform = platform.as_ref().map_or(&[][..], |both| both.as_slice());
    run(hsm, &[&["attest", "verify", "--root", root, path(file)], platform, more].concat())
}

fn verifier() -> PathBuf {
    artefacts::workspace().join("tests/python/verify_attestation.py")
}

fn python(hsm: &Hsm, file: &Path, more: &[&str]) -> (i32, Value) {
    let mut command = Command::new(artefacts::python());
    command.arg(verifier()).args(["--root", &hsm.initialised.root_fingerprint]).args(more).arg(file);
    let output = command.stdin(Stdio::null()).output().expect("Python can be started");
    let said = serde_json::from_slice(&output.stdout);
    let said = said.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().expect("no signal ended it"), said)
}

#[track_caller]
fn refused(ended: &Ended, word: &str) {
    assert_eq!((ended.code, &ended.json["refused"]), (3, &json!(word)), "{}{}", ended.stdout, ended.stderr);
    assert_eq!(ended.json["by"], "verifier");
}

fn an_attestation_says_what_the_hsm_is_and_another_language_agrees(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let file = attest(&hsm, "hsm.eat");
    let status = run(&hsm, &["status"]).done();
    let expected = [
        "--nonce",
        NONCE,
        "--measurement",
        &hsm.initialised.measurement,
        "--hsm-id",
        &hsm.initialised.hsm_id,
    ];
    let expected = [expected.as_slice(), &ALLOWED].concat();
    let ours = verify(&hsm, &file, &expected).done();
    for name in [
        "hsm_id",
        "measurement",
        "version",
        "clock",
        "clock_sure",
        "keystore",
        "boot_count",
        "missing_sandbox_layers",
    ] {
        assert_eq!(ours[name], status[name], "{name}");
    }
    assert_eq!(
        (&ours["keystore"], &ours["tenant"], &ours["boundary"]),
        (&json!(keystore.word()), &json!(TENANT), &json!("process"))
    );
    assert_eq!(ours["unix_time"], json!(hsm.now()));
    let identity = run(&hsm, &["identity"]).done();
    assert_eq!(
        (&ours["statement_key"], &ours["sealing_key"]),
        (&identity["signing_key"], &identity["sealing_key"])
    );
    assert_eq!(
        (&ours["fresh"], &ours["measurement_expected"], &ours["development"]),
        (&json!(true), &json!(true), &json!(true))
    );

    let (code, theirs) = python(&hsm, &file, &expected);
    assert_eq!(code, 0, "{theirs}");
    for (name, value) in theirs.as_object().expect("claims") {
        assert_eq!(ours.get(name).unwrap_or(&Value::Null), value, "{name}");
    }
    let (code, theirs) = python(&hsm, &file, &["--nonce", "ffffffffffffffff"]);
    assert_eq!((code, theirs), (3, json!({ "refused": "wrong-nonce" })));
    let vectors = artefacts::workspace().join("docs/attestation-vectors.json");
    let mut all = Command::new(artefacts::python());
    let all = all.arg(verifier()).arg("--vectors").arg(vectors).output().expect("Python can be started");
    assert!(all.status.success(), "{}", String::from_utf8_lossy(&all.stderr));
}

fn an_attestation_answers_one_nonce_of_one_hsm(keystore: Keystore) {
    let (hsm, other) = (Hsm::start(keystore), Hsm::start(keystore));
    let file = attest(&hsm, "hsm.eat");
    verify(&hsm, &file, &ALLOWED).done();
    let with = |more: &[&str]| verify(&hsm, &file, &[more, &ALLOWED].concat());
    refused(&with(&["--nonce", "00112233445566778899aabbccddeefe"]), "wrong-nonce");
    refused(&with(&["--hsm-id", &other.initialised.hsm_id]), "unexpected-hsm");
    refused(&with(&["--measurement", &"00".repeat(48)]), "unexpected-measurement");
    refused(&verify(&other, &file, &ALLOWED), "wrong-root");
    let mut bytes = fs::read(&file).expect("the attestation");
    *bytes.last_mut().expect("it is not empty") ^= 1;
    fs::write(&file, &bytes).expect("a copy");
    refused(&verify(&hsm, &file, &ALLOWED), "wrong-signature");
    fs::write(&file, &bytes[1..]).expect("a copy");
    refused(&verify(&hsm, &file, &ALLOWED), "malformed-attestation");
}

fn an_attestation_names_the_policy_and_the_state(keystore: Keystore) {
    let mut hsm = Hsm::start(keystore);
    let before = verify(&hsm, &attest(&hsm, "before.eat"), &ALLOWED).done();
    assert_eq!(before.get("policy"), None);
    hsm.stop();
    set_policy(&mut hsm, &Path::new(env!("CARGO_MANIFEST_DIR")).join("it/intents/shared"));
    hsm.run();
    let allowed = &ALLOWED[..4];
    let after = verify(&hsm, &attest(&hsm, "after.eat"), allowed).done();
    assert!(after["policy"]["version"].as_u64() >= Some(1), "{after}");
    let number = |shown: &Value, name: &str| shown[name].as_u64().expect("a number");
    assert!(number(&after, "boot_count") > number(&before, "boot_count"));
    assert_eq!(after.get("store_sequence"), None, "how much all tenants do is no tenant's business");
    assert_ne!(after["store_head"], before["store_head"]);
    assert_eq!(after["attestation_key"], before["attestation_key"]);
}

fn weaknesses_are_refused_unless_they_are_named(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let file = attest(&hsm, "hsm.eat");
    refused(&verify(&hsm, &file, &[]), "development-image");
    refused(&verify(&hsm, &file, &ALLOWED[..2]), "manual-clock");
    refused(&verify(&hsm, &file, &ALLOWED[..4]), "no-policy");
    let shown = verify(&hsm, &file, &ALLOWED).done();
    assert_eq!(shown["weaknesses"], json!(["development-image", "manual-clock", "no-policy"]));
    let mut people = command(&hsm);
    people.args(["attest", "verify", "--root", &hsm.initialised.root_fingerprint, path(&file)]).args(ALLOWED);
    let text = String::from_utf8(people.output().expect("it runs").stdout).expect("text");
    for line in [
        "The root that you trust stands behind",
        "for tests, never for money",
        "No nonce was given",
        "No measurement was given",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

fn needs_an_api_key_and_a_nonce_of_a_proper_length(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let ask = |key, length: usize| hsm.client.call(key, Act::Attest(ByteBuf::from(vec![7; length])));
    assert_eq!(ask(None, 32).expect_err("no key").reason, Reason::WrongApiKey);
    for length in [0, 7, 65, 4096] {
        assert_eq!(ask(Some(hsm.api_key()), length).expect_err("no nonce").reason, Reason::MalformedRequest);
    }
    for length in [8, 64] {
        assert!(matches!(ask(Some(hsm.api_key()), length), Ok(Answer::Attested(_))));
    }
    let usage = run(&hsm, &["attest", "--nonce", "0011"]);
    assert_eq!((usage.code, &usage.json["error"]), (2, &json!("usage")));
}

fn attestations_are_read_as_they_were_printed(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let printed = run(&hsm, &["attest"]);
    let nonce = printed.json["nonce"].as_str().expect("a nonce of its own").to_owned();
    assert_eq!(nonce.len(), 64);
    let root = hsm.folder().join("root");
    fs::write(&root, format!("{}\n", hsm.initialised.root_fingerprint)).expect("a file");
    let verify = ["attest", "verify", "--root", path(&root), "--nonce", &nonce, "-"];
    let verify = [verify.as_slice(), &ALLOWED].concat();
    let text = printed.json["attestation"].as_str().expect("text").to_owned();
    for input in [printed.stdout.as_str(), &text] {
        run_with_input(&hsm, &verify, input.as_bytes()).done();
    }
    refused(&run_with_input(&hsm, &verify, b"nothing of the kind"), "malformed-attestation");
    let elsewhere = hsm.folder().join("hsm.eat");
    fs::write(&elsewhere, "kept").expect("a file");
    let kept = run(&hsm, &["attest", "--out", path(&elsewhere)]);
    assert_eq!((kept.code, fs::read_to_string(&elsewhere).expect("it is there")), (2, "kept".to_owned()));
}
