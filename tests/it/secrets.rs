//! I7: no secret leaves, but the TOTP secret once, at enrolment.

use countersign_tests::backend::{digest, enroll_act, reason};
use countersign_tests::disk::{contains, forms_of};
use countersign_tests::{Hsm, Keystore, cli, on_both_keystores, on_embedded};
use countersign_wire::client::Mechanism::Digest;
use countersign_wire::client::{Act, Request};
use countersign_wire::encode;
use countersign_wire::reason::Reason;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

on_both_keystores!(i7_no_secret_stands_in_the_store_or_the_log);
on_embedded!(
    i7_no_answer_but_the_enrolment_holds_the_totp_secret,
    i7_the_command_line_prints_neither_the_api_key_nor_a_secret_it_was_not_asked_for,
);

/// The API key, its random part in hex and raw.
fn api_key_forms(hsm: &Hsm) -> Vec<Vec<u8>> {
    let text = hsm.api_key().expose();
    let (hex, _) = text["cs1_".len()..].split_once('_').expect("cs1_, hex, _ and the tenant");
    let raw = data_encoding::HEXLOWER.decode(hex.as_bytes()).expect("hex digits");
    vec![hex.as_bytes().to_vec(), raw]
}

fn i7_no_secret_stands_in_the_store_or_the_log(keystore: Keystore) {
    let mut hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let code = alice.phone.code(hsm.now());
    hsm.sign(&alice, digest(1), &code).expect("signs");
    let wrong = alice.phone.wrong_code(hsm.now());
    assert_eq!(reason(hsm.sign(&alice, digest(2), &wrong)), Reason::WrongCode);
    assert_eq!(
        reason(hsm.sign(&alice, digest(2), hsm.api_key().expose().get(..64).expect("long"))),
        Reason::MalformedCode
    );
    hsm.kill_plugin();
    hsm.kill_and_run();
    hsm.stop();
    let outside = hsm.bytes_outside_the_boundary();
    for secret in forms_of(alice.phone.secret()).into_iter().chain(api_key_forms(&hsm)) {
        assert!(!contains(&outside, &secret), "a secret stands in the store or the log: {secret:02x?}");
    }
    let account = alice.account.as_str().as_bytes();
    assert!(!contains(hsm.copy_store().bytes(), account), "the store names no account");
    assert!(!contains(hsm.copy_store().bytes(), &alice.key.public_key[1..33]), "and no public key");
}

fn i7_no_answer_but_the_enrolment_holds_the_totp_secret(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.enroll(hsm.api_key(), enroll_act("alice", &[Digest])).expect("enrols");
    hsm.confirm(&alice).expect("confirms");
    let code = alice.phone.code(hsm.now());
    let acts = [
        Act::Status,
        Act::Login,
        Act::ShowAccount(alice.account.clone()),
        Act::FindKeys(countersign_wire::client::KeyQuery::All(None)),
        enroll_act("alice", &[Digest]),
        countersign_tests::backend::sign_act(&alice.key.label, digest(1), Some(&code)),
        countersign_tests::backend::sign_act(&alice.key.label, digest(2), Some(&code)),
        countersign_tests::backend::sign_act(&alice.key.label, digest(2), None),
    ];
    let mut answers = Vec::new();
    for act in acts {
        let request = Request { id: [1; 16].into(), api_key: Some(hsm.api_key().clone()), act };
        let mut stream = UnixStream::connect(&hsm.ready().socket).expect("the socket takes connections");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
        let mut framed = Vec::new();
        countersign_wire::frame::append(&mut framed, &encode(&request));
        stream.write_all(&framed).expect("sent");
        let mut header = [0; 4];
        stream.read_exact(&mut header).expect("a reply comes");
        let mut payload = vec![0; usize::try_from(u32::from_be_bytes(header)).expect("a short frame")];
        stream.read_exact(&mut payload).expect("the reply is whole");
        answers.extend(payload);
    }
    for secret in forms_of(alice.phone.secret()).into_iter().chain(api_key_forms(&hsm)) {
        assert!(!contains(&answers, &secret), "an answer holds a secret: {secret:02x?}");
    }
}

fn i7_the_command_line_prints_neither_the_api_key_nor_a_secret_it_was_not_asked_for(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let code = alice.phone.code(hsm.now());
    let zero = "00".repeat(32);
    let mut printed = String::new();
    for arguments in [
        &["status"][..],
        &["account", "show", "alice"],
        &["sign", "--key", "alice/first", "--digest", &zero, "--code", &code],
        &["sign", "--key", "alice/first", "--digest", &zero, "--code", &code],
        &["clock", "show"],
    ] {
        let ended = cli::run(&hsm, arguments);
        printed.push_str(&ended.stdout);
        printed.push_str(&ended.stderr);
    }
    for secret in forms_of(alice.phone.secret()).into_iter().chain(api_key_forms(&hsm)) {
        assert!(!contains(printed.as_bytes(), &secret), "{printed}");
    }
    assert!(!printed.contains(&code), "nor the code: {printed}");
}
