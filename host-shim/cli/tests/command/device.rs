//! The command line as a user's device, against a stand-in for the plugin with real keys: honest, and lying in each way.

use crate::fake::{ADDRESS, CODE, Fake, INTENT, INVITATION, Lie, OTPAUTH, SECOND_CODE, SUMMARY};
use crate::fake_hsm::{FakeHsm, framed};
use crate::place::{Ended, Place};
use countersign_approvals::statement::{ApprovalKind, IntentState};
use countersign_wire::client::Reply;
use data_encoding::HEXLOWER;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::{Arc, Mutex};

/// A place with a passphrase, a device that may be enrolled, and the stand-in.
struct Home {
    // Before the folder that its socket lies in.
    hsm: FakeHsm,
    fake: Arc<Mutex<Fake>>,
    place: Place,
}

impl Home {
    fn new(lie: Lie) -> Self {
        let place = Place::new();
        // A device has no API key, and needs none.
        fs::remove_file(place.path("api-key")).unwrap();
        fs::write(place.path("passphrase"), "correct horse\n").unwrap();
        fs::set_permissions(place.path("passphrase"), fs::Permissions::from_mode(0o600)).unwrap();
        let fake = Arc::new(Mutex::new(Fake::new(lie)));
        let hsm = place.serve({
            let fake = Arc::clone(&fake);
            move |request| {
                let outcome = fake.lock().unwrap().outcome(&request.act);
                framed(&Reply { id: request.id, outcome })
            }
        });
        Self { hsm, fake, place }
    }

    fn enrolled() -> Self {
        let home = Self::new(Lie::None);
        let ended = home.enroll(&["--code", CODE, "--code", SECOND_CODE]);
        assert_eq!((ended.code, &ended.json()["confirmed"]), (0, &true.into()), "{}", ended.stdout);
        home
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.place.command(&[&["device"], arguments, &["--keys", "device.keys"]].concat());
        command.env("COUNTERSIGN_DEVICE_PASSPHRASE_FILE", self.place.path("passphrase"));
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        self.command(arguments).output().unwrap().into()
    }

    fn run_json(&self, arguments: &[&str]) -> Ended {
        self.run(&[arguments, &["--json"]].concat())
    }

    fn enroll(&self, more: &[&str]) -> Ended {
        let invitation = HEXLOWER.encode(&INVITATION);
        let root = Fake::root();
        let arguments = [
            "enroll",
            "--tenant",
            "default",
            "--account",
            "alice",
            "--invitation",
            &invitation,
            "--root",
            &root,
        ];
        self.run_json(&[&arguments[..], more].concat())
    }

    fn lie(&self, lie: Lie) {
        self.fake.lock().unwrap().lie = lie;
    }

    fn done(&self) -> Vec<String> {
        self.fake.lock().unwrap().done.clone()
    }
}

fn intent() -> String {
    HEXLOWER.encode(&INTENT)
}

fn refused(ended: &Ended, word: &str) {
    assert_eq!((ended.code, ended.json()["refused"].as_str()), (3, Some(word)), "{}", ended.stdout);
}

fn distrusted(ended: &Ended, word: &str) {
    refused(ended, word);
    assert_eq!(ended.json()["by"], "device");
}

#[test]
fn enrols_and_shows_the_secret_once_all_was_checked() {
    let home = Home::new(Lie::None);
    let ended = home.enroll(&[]);
    let json = ended.json();
    assert_eq!((ended.code, json["otpauth"].as_str()), (0, Some(OTPAUTH)));
    assert_eq!((&json["confirmed"], json["keys"][0]["address"].as_str()), (&false.into(), Some(ADDRESS)));
    let mode = fs::metadata(home.place.path("device.keys")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let ended = home.run_json(&["confirm", "--code", CODE, "--code", SECOND_CODE]);
    assert_eq!((ended.code, ended.json()["state"].as_str()), (0, Some("confirmed")));
    assert_eq!(home.done(), ["confirmed"]);
    assert!(home.hsm.requests().iter().all(|request| request.api_key.is_none()));
    let ended = home.enroll(&[]);
    assert_eq!(
        (ended.code, ended.json()["error"].as_str()),
        (2, Some("usage")),
        "never over a file that is there"
    );
}

#[test]
fn believes_no_lie_about_an_enrolment_and_leaves_no_file() {
    for (lie, word) in [
        (Lie::Root, "wrong-root"),
        (Lie::TamperedIdentity, "bad-signature"),
        (Lie::Tampered, "bad-signature"),
        (Lie::Kind, "malformed-statement"),
        (Lie::Hsm, "other-hsm"),
        (Lie::Image, "other-image"),
        (Lie::Account, "other-account"),
        (Lie::Tenant, "other-account"),
        (Lie::Nonce, "stale-answer"),
        (Lie::Device, "unknown-factor"),
        (Lie::OtherDevice, "unknown-factor"),
        (Lie::Secret, "wrong-seal"),
        (Lie::SealedToAnother, "wrong-seal"),
        (Lie::Address, "wrong-address"),
    ] {
        let home = Home::new(lie);
        let ended = home.enroll(&[]);
        distrusted(&ended, word);
        assert!(
            !format!("{}{}", ended.stdout, ended.stderr).contains("GEZDGNBV"),
            "{lie:?}: the secret was shown"
        );
        assert!(!home.place.path("device.keys").exists(), "{lie:?}");
    }
}

#[test]
fn shows_all_of_it_warnings_first_then_approves_and_keeps_the_receipt() {
    let home = Home::enrolled();
    let ended = home.run(&["approve", &intent(), "--code", CODE, "--receipt", "receipt.json", "--verbose"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{}", ended.stdout);
    let warned = ended.stdout.find("warning: never paid before").unwrap();
    for shown in SUMMARY.lines().filter(|line| !line.starts_with("warning")) {
        assert!(ended.stdout.find(shown).unwrap() > warned, "{}", ended.stdout);
    }
    assert!(ended.stdout.contains("alice/ethereum") && ended.stdout.contains("10 minutes"));
    assert!(ended.stdout.contains(&"dd".repeat(32)), "with --verbose the digests");
    assert!(ended.stdout.contains("signature 2"));
    let root = Fake::root();
    let checked = home.place.run_json(&["receipt", "verify", "receipt.json", "--root", &root]);
    assert_eq!((checked.code, checked.json()["summary"].as_str()), (0, Some(SUMMARY)));
    let checked = home.place.run_json(&["receipt", "verify", "receipt.json", "--root", &"00".repeat(32)]);
    distrusted(&checked, "wrong-root");
    let text = fs::read_to_string(home.place.path("receipt.json")).unwrap();
    let changed = text.replacen("7472616e73666572", "7472616e73666573", 1);
    assert_ne!(changed, text, "the word transfer is in it");
    fs::write(home.place.path("changed.json"), changed).unwrap();
    distrusted(
        &home.place.run_json(&["receipt", "verify", "changed.json", "--root", &root]),
        "bad-signature",
    );
}

#[test]
fn an_approval_that_is_not_signed_yet_is_good_and_says_so() {
    let home = Home::enrolled();
    home.fake.lock().unwrap().signs_at_once = false;
    let ended = home.run_json(&["approve", &intent(), "--code", CODE, "--wait", "1"]);
    assert_eq!((ended.code, ended.json()["state"].as_str()), (0, Some("approved")));
    assert_eq!(ended.json()["summary"], SUMMARY);
    assert!(ended.stderr.contains("warning: never paid before"), "people see it all the same");
}

#[test]
fn refusals_of_an_approval_are_told_as_they_are() {
    let home = Home::enrolled();
    refused(&home.run_json(&["approve", &intent(), "--code", "000000"]), "wrong-code");
    refused(&home.run_json(&["approve", &intent()]), "approval-missing");
    home.fake.lock().unwrap().floor = ApprovalKind::Passkey;
    refused(&home.run_json(&["approve", &intent(), "--code", CODE]), "approval-below-floor");
    home.fake.lock().unwrap().floor = ApprovalKind::SealedCode;
    home.fake.lock().unwrap().state = IntentState::Declined;
    refused(&home.run_json(&["approve", &intent(), "--code", CODE]), "intent-not-open");
    assert_eq!(home.done(), ["confirmed"]);
}

#[test]
fn believes_no_lie_about_an_intent_and_sends_no_code() {
    for (lie, word) in [
        (Lie::Root, "wrong-root"),
        (Lie::Tampered, "bad-signature"),
        (Lie::Kind, "malformed-statement"),
        (Lie::Hsm, "other-hsm"),
        (Lie::Account, "other-account"),
        (Lie::Tenant, "other-account"),
        (Lie::Intent, "other-intent"),
        (Lie::Nonce, "stale-answer"),
    ] {
        let home = Home::enrolled();
        home.lie(lie);
        let ended = home.run_json(&["approve", &intent(), "--code", CODE]);
        distrusted(&ended, word);
        assert!(!ended.stderr.contains("transfer on Ethereum"), "{lie:?}: what is not trusted is not shown");
        distrusted(&home.run_json(&["decline", &intent()]), word);
        assert_eq!(home.done(), ["confirmed"], "{lie:?}");
    }
}

#[test]
fn declines_freezes_unlocks_and_cancels() {
    let home = Home::enrolled();
    let state = |arguments: &[&str]| home.run_json(arguments).json()["state"].clone();
    assert_eq!(state(&["decline", &intent()]), "declined");
    assert_eq!(state(&["unlock", "--code", CODE, "--code", SECOND_CODE]), "unlocked");
    refused(&home.run_json(&["unlock", "--code", SECOND_CODE, "--code", CODE]), "wrong-code");
    refused(&home.run_json(&["cancel-recovery"]), "no-recovery");
    let unsure = home.run_json(&["freeze"]);
    assert_eq!((unsure.code, unsure.json()["error"].as_str()), (2, Some("usage")));
    assert_eq!(state(&["freeze", "--yes"]), "frozen");
    assert_eq!(home.done(), ["confirmed", "declined", "unlocked", "frozen"]);
    assert_eq!(home.run_json(&["show"]).json()["state"], "frozen");
}

#[test]
fn history_tells_what_was_approved_here_from_what_was_not() {
    let home = Home::enrolled();
    assert_eq!(home.run_json(&["approve", &intent(), "--code", CODE]).code, 0);
    let json = home.run_json(&["history"]).json();
    assert_eq!((&json["signatures"], json["entries"].as_array().unwrap().len()), (&2.into(), 2));
    assert_eq!((&json["entries"][0]["known"], &json["entries"][1]["known"]), (&false.into(), &true.into()));
    assert_eq!(json["entries"][1]["summary"], SUMMARY);
    let text = home.run(&["history"]).stdout;
    assert_eq!(text.matches("Not approved on this device").count(), 1);
    home.lie(Lie::Address);
    distrusted(&home.run_json(&["history"]), "wrong-address");
    distrusted(&home.run_json(&["show"]), "wrong-address");
    distrusted(&home.run_json(&["freeze", "--yes"]), "wrong-address");
}

#[test]
fn a_wrong_passphrase_a_damaged_file_and_no_file_have_their_own_words() {
    let home = Home::enrolled();
    fs::write(home.place.path("passphrase"), "correct horsf\n").unwrap();
    distrusted(&home.run_json(&["show"]), "wrong-passphrase");
    let mut bytes = fs::read(home.place.path("device.keys")).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(home.place.path("device.keys"), bytes).unwrap();
    for _ in 0..2 {
        let ended = home.run_json(&["show"]);
        assert_eq!((ended.code, ended.json()["error"].as_str()), (2, Some("device-file")));
        let _ = fs::remove_file(home.place.path("device.keys"));
    }
    fs::set_permissions(home.place.path("passphrase"), fs::Permissions::from_mode(0o644)).unwrap();
    let ended = home.enroll(&[]);
    assert!(ended.json()["message"].as_str().unwrap().contains("chmod 600"), "{}", ended.stdout);
}

#[test]
fn relays_elsewhere_are_not_reached_in_the_clear() {
    let home = Home::enrolled();
    for relay in ["http://192.0.2.1", "https://relay.example", "nonsense"] {
        let ended = home.run_json(&["show", "--relay", relay]);
        assert_eq!((ended.code, ended.json()["error"].as_str()), (2, Some("usage")), "{relay}");
    }
    let ended = home.run_json(&["show", "--relay", "http://127.0.0.1:1"]);
    assert_eq!((ended.code, ended.json()["refused"].as_str()), (4, Some("hsm-unreachable")));
}
