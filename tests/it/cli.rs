//! The command line as people and scripts use it.

use alloy_primitives::hex;
use countersign_tests::backend::{address, assert_signed_by};
use countersign_tests::cli::{Ended, command, run, run_command, run_with_input};
use countersign_tests::hsm::toml_string;
use countersign_tests::phone::Phone;
use countersign_tests::{Hsm, Keystore, on_both_keystores, on_embedded, transactions};
use countersign_wire::client::Mechanism::{Digest, Ethereum};
use countersign_wire::reason::Reason;
use serde_json::Value;
use std::fs;

on_both_keystores!(the_whole_way_from_enrolment_to_a_raw_transaction);
on_embedded!(
    signs_a_digest,
    takes_transactions_as_hex_or_bytes_from_files_or_standard_input,
    a_repeated_request_id_returns_the_same_signature,
    refuses_with_exit_code_3_and_the_stable_word,
    says_when_to_try_again,
    two_codes_unlock,
    shows_and_advances_the_clock,
    status_needs_no_api_key,
    lists_and_creates_keys,
    wrong_usage_is_exit_code_2,
    a_broken_configuration_is_exit_code_2,
    people_get_a_qr_code_and_no_escape_sequences_in_a_pipe,
    qr_codes_are_saved_for_their_owner_only,
);

fn text<'a>(json: &'a Value, name: &str) -> &'a str {
    json[name].as_str().unwrap_or_else(|| panic!("{name} in {json}"))
}

fn bytes(json: &Value, name: &str) -> Vec<u8> {
    hex::decode(text(json, name)).unwrap_or_else(|error| panic!("{error}: {name} in {json}"))
}

fn the_whole_way_from_enrolment_to_a_raw_transaction(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let enrolled = run(&hsm, &["account", "enroll", "alice"]).done();
    let phone = Phone::scan(text(&enrolled, "otpauth"));
    let now = hsm.now();
    let [earlier, previous, code] = [-2, -1, 0].map(|steps| phone.code_steps_off(now, steps));
    let confirmed =
        run(&hsm, &["account", "confirm", "alice", "--code", &earlier, "--code", &previous]).done();
    assert_eq!(confirmed["confirmed"], true);
    let shown = run(&hsm, &["account", "show", "alice"]).done();
    assert_eq!(shown, confirmed);
    let key = &shown["keys"][0];
    assert_eq!(
        (text(key, "label"), &key["mechanisms"]),
        ("alice/ethereum", &serde_json::json!(["ethereum"]))
    );
    let from = text(key, "ethereum_address").parse().expect("an address");

    let transaction = transactions::transfer(0);
    let unsigned = hex::encode(transactions::unsigned(&transaction));
    let sign = ["sign", "--key", "alice/ethereum", "--ethereum", "-", "--code", &code];
    let signed = run_with_input(&hsm, &sign, unsigned.as_bytes()).done();
    let raw = bytes(&signed, "raw_transaction");
    transactions::assert_broadcastable(&raw, &bytes(&signed, "hash"), &transaction, from);
    let signature = bytes(&signed, "signature");
    let (r_and_s, v) = signature.split_at(64);
    assert_eq!(transactions::recover(r_and_s, v == [1], &transaction), from);
    run_with_input(&hsm, &sign, unsigned.as_bytes()).refused(Reason::CodeUsed);
}

fn signs_a_digest(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let digest = "1c8aff950685c2ed4bc3174f3472287b56d9517b9c948127319a09a7a36deac8";
    let code = alice.phone.code(hsm.now());
    let signed = run(&hsm, &["sign", "--key", "alice/first", "--digest", digest, "--code", &code]).done();
    assert_signed_by(&alice.key, &hex::decode(digest).expect("hex"), &bytes(&signed, "signature")[..64]);
    assert_eq!(signed.get("raw_transaction"), None);
}

fn takes_transactions_as_hex_or_bytes_from_files_or_standard_input(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Ethereum]);
    let transaction = transactions::transfer(7);
    let raw = transactions::unsigned(&transaction);
    let plain = hex::encode(&raw);
    let file = hsm.folder().join("transaction");
    for input in [raw, plain.clone().into_bytes(), format!("0x{plain}\n").into_bytes()] {
        fs::write(&file, &input).expect("a file can be written");
        let name = file.to_str().expect("UTF-8");
        for (from, input) in [(name, None), ("-", Some(&input))] {
            let code = alice.phone.code(hsm.advance(30));
            let sign = ["sign", "--key", "alice/first", "--ethereum", from, "--code", &code];
            let ended = input.map_or_else(|| run(&hsm, &sign), |input| run_with_input(&hsm, &sign, input));
            let signed = ended.done();
            let (raw, hash) = (bytes(&signed, "raw_transaction"), bytes(&signed, "hash"));
            transactions::assert_broadcastable(&raw, &hash, &transaction, address(&alice.key));
        }
    }
}

fn a_repeated_request_id_returns_the_same_signature(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let (zeros, ones, id) = ("00".repeat(32), "11".repeat(32), "ab".repeat(16));
    let code = alice.phone.code(hsm.now());
    let sign = |digest: &str| {
        run(&hsm, &["sign", "--key", "alice/first", "--digest", digest, "--code", &code, "--request-id", &id])
    };
    let first = sign(&zeros).done();
    assert_eq!(sign(&zeros).done(), first);
    sign(&ones).refused(Reason::RequestIdReused);
}

fn refuses_with_exit_code_3_and_the_stable_word(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Ethereum]);
    let (zeros, code) = ("00".repeat(32), alice.phone.code(hsm.now()));
    let sign = |key: &str, code: &str| run(&hsm, &["sign", "--key", key, "--digest", &zeros, "--code", code]);
    sign("alice/first", &code).refused(Reason::MechanismNotAllowed);
    sign("alice/second", &code).refused(Reason::UnknownKey);
    sign("nobody/first", &code).refused(Reason::UnknownAccount);
    sign("Alice/first", &code).refused(Reason::MalformedName);
    sign("alice", &code).refused(Reason::MalformedName);
    run(&hsm, &["sign", "--key", "alice/first", "--digest", &zeros]).refused(Reason::ApprovalMissing);
    run(&hsm, &["account", "enroll", "alice"]).refused(Reason::AccountExists);
    run(&hsm, &["account", "show", "nobody"]).refused(Reason::UnknownAccount);
    run(&hsm, &["account", "confirm", "alice", "--code", &code, "--code", &code])
        .refused(Reason::AlreadyConfirmed);
    run(&hsm, &["key", "create", "alice/first"]).refused(Reason::KeyExists);
    let mut wrong_key = command(&hsm);
    wrong_key.env("COUNTERSIGN_API_KEY", "not an API key").args(["account", "show", "alice", "--json"]);
    let ended = run_command(&mut wrong_key, None);
    assert_eq!((ended.code, text(&ended.json, "refused")), (3, "wrong-api-key"));
    assert_eq!(hsm.show(&alice).expect("shown").consecutive_failures, 0);
}

fn says_when_to_try_again(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let (zeros, wrong) = ("00".repeat(32), alice.phone.wrong_code(hsm.now()));
    let sign = || run(&hsm, &["sign", "--key", "alice/first", "--digest", &zeros, "--code", &wrong]);
    for _ in 0..4 {
        assert_eq!(sign().refused(Reason::WrongCode).get("retry_after_secs"), None);
    }
    assert_eq!(sign().refused(Reason::WrongCode)["retry_after_secs"], 300, "this one locked the account");
    assert_eq!(sign().refused(Reason::Locked)["retry_after_secs"], 300);
    hsm.advance(100);
    assert_eq!(sign().refused(Reason::Locked)["retry_after_secs"], 200);
}

fn two_codes_unlock(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let (zeros, now) = ("00".repeat(32), hsm.now());
    let wrong = alice.phone.wrong_code(now);
    for _ in 0..5 {
        run(&hsm, &["sign", "--key", "alice/first", "--digest", &zeros, "--code", &wrong])
            .refused(Reason::WrongCode);
    }
    assert_eq!(run(&hsm, &["account", "show", "alice"]).done()["locked_for_secs"], 300);
    let [first, second] = [0, 1].map(|steps| alice.phone.code_steps_off(now, steps));
    let unlocked = run(&hsm, &["account", "unlock", "alice", "--code", &first, "--code", &second]).done();
    assert_eq!(unlocked["locked_for_secs"], 0);
    let code = alice.phone.code(hsm.advance(60));
    run(&hsm, &["sign", "--key", "alice/first", "--digest", &zeros, "--code", &code]).done();
}

fn shows_and_advances_the_clock(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let now = hsm.now();
    let shown = run(&hsm, &["clock", "show"]).done();
    assert_eq!(shown, serde_json::json!({"unix_time": now, "clock": "manual"}));
    let mut expected = now;
    for (text, secs) in [("30s", 30), ("2m", 120), ("1h", 3600), ("1d", 86_400), ("5", 5)] {
        expected += secs;
        assert_eq!(run(&hsm, &["clock", "advance", text]).done()["unix_time"], expected, "{text}");
    }
    assert_eq!(hsm.now(), expected);
    for text in ["-30s", "30x", "", "1e3"] {
        assert_eq!(
            run_command(command(&hsm).args(["--json", "clock", "advance", text]), None).code,
            2,
            "{text:?}"
        );
    }
    assert_eq!(hsm.now(), expected);
}

fn status_needs_no_api_key(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let config = hsm.folder().join("bare.toml");
    fs::write(&config, format!("socket = {}\n", toml_string(&hsm.ready().socket)))
        .expect("a file can be written");
    let mut bare = command(&hsm);
    bare.env("COUNTERSIGN_CONFIG", &config).args(["status", "--json"]);
    let status = run_command(&mut bare, None).done();
    assert_eq!(text(&status, "measurement"), hsm.initialised.measurement);
    assert_eq!(text(&status, "hsm_id"), hsm.initialised.hsm_id);
    assert_eq!((text(&status, "keystore"), text(&status, "clock")), (keystore.word(), "manual"));
    assert_eq!(status["missing_sandbox_layers"], serde_json::json!([]));
}

fn lists_and_creates_keys(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Ethereum]);
    hsm.user("bob", &[Digest]);
    let made =
        run(&hsm, &["key", "create", "alice/both", "--mechanism", "ethereum", "--mechanism", "digest"])
            .done();
    assert_eq!(made["mechanisms"], serde_json::json!(["digest", "ethereum"]));
    let labels = |arguments: &[&str]| -> Vec<String> {
        let keys = run(&hsm, arguments).done();
        let keys = keys["keys"].as_array().expect("a list").clone();
        let mut labels: Vec<String> = keys.iter().map(|key| text(key, "label").to_owned()).collect();
        labels.sort();
        labels
    };
    assert_eq!(labels(&["key", "list"]), ["alice/both", "alice/first", "bob/first"]);
    assert_eq!(labels(&["key", "list", "alice"]), ["alice/both", "alice/first"]);
    assert_eq!(labels(&["key", "list", "alice/both"]), ["alice/both"]);
    let id = hex::encode(&alice.key.id[..]);
    assert_eq!(labels(&["key", "list", "--id", &id]), ["alice/first"]);
    assert_eq!(labels(&["key", "list", "alice/nothing"]), Vec::<String>::new());
}

/// What a command that is not understood prints and returns.
fn usage(hsm: &Hsm, arguments: &[&str]) -> Ended {
    run_command(command(hsm).arg("--json").args(arguments), None)
}

fn wrong_usage_is_exit_code_2(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let before = hsm.show(&alice).expect("shown");
    for arguments in [
        &["nonsense"][..],
        &["sign", "--key", "alice/first", "--code", "123456"],
        &["sign", "--key", "alice/first", "--digest", "abcd", "--code", "123456"],
        &["sign", "--key", "alice/first", "--ethereum", "/nowhere/at/all", "--code", "123456"],
        &["account", "confirm", "alice", "--code", "123456"],
        &["account", "enroll", "bob", "--digits", "7"],
        &["key", "create", "alice/x", "--mechanism", "everything"],
    ] {
        let ended = usage(&hsm, arguments);
        assert_eq!(ended.code, 2, "{arguments:?}: {}", ended.stdout);
        assert!(ended.json["message"].is_string(), "{arguments:?}: {}", ended.stdout);
    }
    assert_eq!(hsm.show(&alice).expect("shown"), before);
}

fn a_broken_configuration_is_exit_code_2(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let config = hsm.folder().join("broken.toml");
    for broken in ["socket = 5", "nonsense", "socket = \"relative\"", "socket = \"/x\"\nunknown = 1"] {
        fs::write(&config, broken).expect("a file can be written");
        let mut broken = command(&hsm);
        broken.env("COUNTERSIGN_CONFIG", &config).args(["status", "--json"]);
        assert_eq!(run_command(&mut broken, None).code, 2);
    }
    let mut missing = command(&hsm);
    missing.env("COUNTERSIGN_CONFIG", hsm.folder().join("nowhere.toml")).args(["status", "--json"]);
    assert_eq!(run_command(&mut missing, None).code, 2);
}

fn people_get_a_qr_code_and_no_escape_sequences_in_a_pipe(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let output =
        command(&hsm).args(["account", "enroll", "alice", "--qr-terminal"]).output().expect("it runs");
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(text.contains("otpauth://totp/") && text.contains('█'), "{text}");
    let shown = command(&hsm).args(["account", "show", "nobody"]).output().expect("it runs");
    let told = String::from_utf8(shown.stderr).expect("UTF-8");
    assert!(told.contains(Reason::UnknownAccount.sentence()) && shown.stdout.is_empty(), "{told}");
    assert!(!text.contains('\u{1b}') && !told.contains('\u{1b}'), "colour only on a terminal");
}

fn qr_codes_are_saved_for_their_owner_only(keystore: Keystore) {
    use std::os::unix::fs::PermissionsExt;
    let hsm = Hsm::start(keystore);
    for (name, start) in [("alice.png", &b"\x89PNG"[..]), ("alice.svg", b"<")] {
        let file = hsm.folder().join(name);
        let path = file.to_str().expect("UTF-8");
        let account = name.replace('.', "-");
        run(&hsm, &["account", "enroll", &account, "--qr", path]).done();
        assert!(fs::read(&file).expect("it was written").starts_with(start), "{name}");
        assert_eq!(fs::metadata(&file).expect("it is there").permissions().mode() & 0o777, 0o600);
        let again =
            run_command(command(&hsm).args(["--json", "account", "enroll", "other", "--qr", path]), None);
        assert_eq!(again.code, 2, "nothing is overwritten");
        run(&hsm, &["account", "show", "other"]).refused(Reason::UnknownAccount);
    }
}
