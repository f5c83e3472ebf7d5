//! What happens when something is refused, or cannot be asked at all: the exit code, the JSON, the words.

use crate::fake_hsm::{Reaction, refused};
use crate::place::{Ended, Place, api_key};
use countersign_wire::client::{Act, Sign};
use countersign_wire::reason::{Blame, Reason, Refusal};
use serde_json::json;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

fn is_refused(ended: &Ended, reason: Reason) {
    let code = if reason.blame() == Blame::Caller { 3 } else { 4 };
    assert_eq!(
        (ended.code, ended.json()["refused"].as_str()),
        (code, Some(reason.word())),
        "{}",
        ended.stdout
    );
}

/// Exit code 2, with the word for what is wrong.
fn is_error(ended: &Ended, word: &str) {
    assert_eq!((ended.code, ended.json()["error"].as_str()), (2, Some(word)), "{}", ended.stdout);
    assert!(ended.json()["message"].as_str().is_some_and(|message| !message.is_empty()));
}

#[test]
fn every_reason_has_its_exit_code_its_json_and_its_sentence() {
    for reason in Reason::ALL {
        let place = Place::new();
        let _hsm = place.serve(move |request| refused(request, *reason));
        let ended = place.run_json(&["account", "show", "alice"]);
        let code = if reason.blame() == Blame::Caller { 3 } else { 4 };
        assert_eq!((ended.code, ended.stderr.as_str()), (code, ""), "{reason}");
        assert_eq!(
            ended.json(),
            json!({ "refused": reason.word(), "message": reason.sentence() }),
            "{reason}"
        );
        let ended = place.run(&["account", "show", "alice"]);
        assert_eq!((ended.code, ended.stdout.as_str()), (code, ""), "{reason}");
        assert_eq!(ended.stderr, format!("Refused: {}\nReason: {}\n", reason.sentence(), reason.word()));
    }
}

#[test]
fn says_how_long_to_wait() {
    let place = Place::new();
    let refusal = Refusal { reason: Reason::Locked, retry_after_secs: Some(299) };
    let _hsm = place.serve(move |request| refused(request, refusal));
    let arguments = ["sign", "--key", "alice/digest", "--digest", &"00".repeat(32), "--code", "123456"];
    let ended = place.run_json(&arguments);
    is_refused(&ended, Reason::Locked);
    assert_eq!(ended.json()["retry_after_secs"], 299);
    assert!(place.run(&arguments).stderr.ends_with("Try again in 4 minutes 59 seconds.\n"));
}

#[test]
fn without_a_code_and_a_terminal_no_approval_is_sent() {
    let place = Place::new();
    let hsm = place.serve(|request| refused(request, Reason::ApprovalMissing));
    let ended = place.run_json(&["sign", "--key", "alice/digest", "--digest", &"00".repeat(32)]);
    is_refused(&ended, Reason::ApprovalMissing);
    assert!(matches!(&hsm.requests()[0].act, Act::Sign(Sign { approval: None, .. })));
}

#[test]
fn a_code_travels_as_it_was_typed_and_is_never_repeated() {
    let place = Place::new();
    let hsm = place.serve(|request| refused(request, Reason::MalformedCode));
    let ended = place.run_json(&[
        "sign",
        "--key",
        "alice/digest",
        "--digest",
        &"00".repeat(32),
        "--code",
        " 987 654 ",
    ]);
    is_refused(&ended, Reason::MalformedCode);
    let shown = format!("{}{}", ended.stdout, ended.stderr);
    assert!(!shown.contains("987") && !shown.contains(&api_key('a')));
    let Act::Sign(Sign { approval: Some(countersign_wire::client::Approval::Code(code)), .. }) =
        &hsm.requests()[0].act
    else {
        panic!("a code was sent")
    };
    assert_eq!(code.expose(), " 987 654 ");
    let long = "1".repeat(65);
    let ended = place.run_json(&["sign", "--key", "a/b", "--digest", &"00".repeat(32), "--code", &long]);
    is_refused(&ended, Reason::MalformedCode);
}

#[test]
fn an_hsm_that_is_down_hangs_up_or_talks_nonsense_is_unreachable() {
    let place = Place::new();
    is_refused(&place.run_json(&["status"]), Reason::HsmUnreachable);
    {
        let _hsm = place.serve(|_| Reaction::SendAndClose(Vec::new()));
        is_refused(&place.run_json(&["account", "show", "alice"]), Reason::HsmUnreachable);
    }
    let _hsm = place.serve(|_| Reaction::Send(vec![0, 0, 0, 1, 0xff]));
    is_refused(&place.run_json(&["account", "show", "alice"]), Reason::HsmUnreachable);
}

#[test]
fn an_hsm_that_never_answers_is_unreachable_within_the_configured_time() {
    let place = Place::new();
    place.configure("request_timeout_ms = 40");
    let _hsm = place.serve(|_| Reaction::Hold);
    is_refused(&place.run_json(&["status"]), Reason::HsmUnreachable);
}

#[test]
fn malformed_names_are_refused_without_asking() {
    let place = Place::new();
    let hsm = place.serve(|request| refused(request, Reason::InternalError));
    for arguments in [
        &["account", "show", "Alice"][..],
        &["account", "enroll", "alice/eth"],
        &["account", "enroll", "alice", "--key", "a b"],
        &["account", "confirm", "-", "--code", "123456", "--code", "654321"],
        &["key", "create", "alice"],
        &["key", "list", "alice/"],
        &["sign", "--key", "alice", "--digest", &"00".repeat(32), "--code", "123456"],
    ] {
        is_refused(&place.run_json(arguments), Reason::MalformedName);
    }
    assert!(hsm.requests().is_empty());
}

#[test]
fn commands_that_make_no_sense_are_usage_errors() {
    let place = Place::new();
    let hsm = place.serve(|request| refused(request, Reason::InternalError));
    let digest = "00".repeat(32);
    fs::write(place.path("no-hex"), "0x02c0f\n").unwrap();
    for arguments in [
        &[][..],
        &["frobnicate"],
        &["account", "enroll"],
        &["account", "enroll", "alice", "--digits", "7"],
        &["account", "enroll", "alice", "--qr", "alice.gif"],
        &["account", "enroll", "alice", "--qr-terminal"],
        &["account", "confirm", "alice"],
        &["account", "confirm", "alice", "--code", "123456"],
        &["account", "confirm", "alice", "--code", "-"],
        &["clock", "advance", "soon"],
        &["clock", "advance", "-5"],
        &["sign", "--key", "alice/digest", "--code", "123456"],
        &["sign", "--key", "alice/digest", "--digest", "abcd", "--code", "123456"],
        &["sign", "--key", "alice/digest", "--digest", &digest, "--ethereum", "-", "--code", "123456"],
        &["sign", "--key", "alice/ethereum", "--ethereum", "-", "--code", "-"],
        &["sign", "--key", "alice/ethereum", "--ethereum", "no-such-file", "--code", "123456"],
        &["sign", "--key", "alice/ethereum", "--ethereum", "no-hex", "--code", "123456"],
        &["sign", "--key", "alice/digest", "--digest", &digest, "--request-id", "12"],
    ] {
        is_error(&place.run_json(arguments), "usage");
    }
    assert!(hsm.requests().is_empty());
    let ended = place.run(&["frobnicate"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (2, ""));
    assert!(ended.stderr.contains("frobnicate"));
}

#[test]
fn usage_errors_name_what_is_wrong() {
    let place = Place::new();
    fs::write(place.path("no-hex"), "0x02c0f\n").unwrap();
    for (arguments, named) in [
        (&[][..], "requires a subcommand"),
        (&["clock"], "countersign clock"),
        (&["account"], "countersign account"),
        (&["clock", "advance", "-30s"], "write a number of seconds"),
        (&["clock", "advance"], "SECONDS"),
        (
            &["sign", "--key", "a/b", "--ethereum", "no-hex", "--code", "123456"],
            "no-hex: the transaction is no valid hex",
        ),
    ] {
        for ended in [place.run_json(arguments), place.run(&[arguments, &["--json"]].concat())] {
            is_error(&ended, "usage");
            let message = ended.json()["message"].as_str().unwrap().to_owned();
            assert!(message.contains(named), "{arguments:?}: {message}");
        }
    }
}

#[test]
fn help_and_version_are_no_failures() {
    let place = Place::new();
    for arguments in [&["--help"][..], &["sign", "--help"], &["help", "account", "enroll"], &["--version"]] {
        let ended = place.run(arguments);
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{arguments:?}");
        assert!(!ended.stdout.is_empty());
    }
}

#[test]
fn a_configuration_that_is_missing_or_wrong_is_named() {
    let place = Place::new();
    fs::write(place.path("host.toml"), "socket = 'relative'").unwrap();
    let ended = place.run_json(&["status"]);
    is_error(&ended, "configuration");
    assert!(ended.json()["message"].as_str().unwrap().contains("host.toml"));
    is_error(&place.run_json(&["status", "--config", "nowhere.toml"]), "configuration");
}

#[test]
fn an_api_key_that_others_can_read_is_not_used() {
    let place = Place::new();
    let hsm = place.serve(|request| refused(request, Reason::InternalError));
    fs::set_permissions(place.path("api-key"), fs::Permissions::from_mode(0o640)).unwrap();
    let ended = place.run_json(&["account", "show", "alice"]);
    is_error(&ended, "configuration");
    assert!(ended.json()["message"].as_str().unwrap().contains("chmod 600"));
    assert!(hsm.requests().is_empty());
}

#[test]
fn what_cannot_be_an_api_key_is_a_wrong_one_and_is_never_repeated() {
    let place = Place::new();
    let hsm = place.serve(|request| refused(request, Reason::InternalError));
    let mut command = place.command(&["--json", "account", "show", "alice"]);
    let ended = Ended::from(command.env("COUNTERSIGN_API_KEY", "hunter2").output().unwrap());
    is_refused(&ended, Reason::WrongApiKey);
    assert!(!ended.stdout.contains("hunter2"));
    fs::write(place.path("api-key"), "hunter2").unwrap();
    let ended = place.run_json(&["account", "show", "alice"]);
    is_refused(&ended, Reason::WrongApiKey);
    assert!(!ended.stdout.contains("hunter2"));
    assert!(hsm.requests().is_empty());
}

#[test]
fn the_clock_cannot_be_moved_without_a_control_channel() {
    let place = Place::new();
    let ended = place.run_json(&["clock", "advance", "30s"]);
    assert_eq!((ended.code, ended.json()["refused"].as_str()), (3, Some("clock-not-advanced")));
    let control = place.configure_control();
    is_refused(&place.run_json(&["clock", "advance", "30s"]), Reason::HsmUnreachable);
    let listener = UnixListener::bind(control).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"{\"error\":\"too far\"}\n").unwrap();
    });
    let ended = place.run_json(&["clock", "advance", "30s"]);
    assert_eq!((ended.code, ended.json()["refused"].as_str()), (3, Some("clock-not-advanced")));
    assert!(ended.json()["message"].as_str().unwrap().contains("too far"));
    server.join().unwrap();
}

#[test]
fn a_refused_enrolment_leaves_no_file_and_an_existing_file_stays_as_it_is() {
    let place = Place::new();
    let hsm = place.serve(|request| refused(request, Reason::AccountExists));
    let arguments = ["account", "enroll", "alice", "--qr", "alice.png"];
    is_refused(&place.run_json(&arguments), Reason::AccountExists);
    assert!(!place.path("alice.png").exists());
    fs::write(place.path("alice.png"), "mine").unwrap();
    is_error(&place.run_json(&arguments), "usage");
    assert_eq!(fs::read_to_string(place.path("alice.png")).unwrap(), "mine");
    assert_eq!(hsm.requests().len(), 1);
}

#[test]
fn an_answer_that_cannot_be_written_is_no_success() {
    let place = Place::new();
    let _hsm = place.serve(|request| {
        crate::fake_hsm::done(request, countersign_wire::client::Answer::Status(crate::place::status()))
    });
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    assert_eq!(place.command(&["status"]).stdout(full).output().unwrap().status.code(), Some(2));
}
