//! What a backend does for users' devices: inviting, staging, signing what was approved, receipts, the identity.

use crate::fake::{Fake, INTENT, INVITATION, Lie, SUMMARY};
use crate::fake_hsm::{FakeHsm, Reaction, done, framed, refused};
use crate::place::{Ended, Place};
use countersign_wire::client::{
    Act, Answer, Approval, ApprovalKind, IntentInfo, Invited, Mechanism, Payload, Reply, Request, Sign,
    StagePayee, StageSign, Staged, StagedIntent, Subject,
};
use countersign_wire::device::IntentState;
use countersign_wire::reason::Reason;
use data_encoding::HEXLOWER;
use serde_bytes::ByteArray;
use serde_json::json;

fn serve(place: &Place, lie: Lie) -> FakeHsm {
    let mut fake = Fake::new(lie);
    place.serve(move |request| answer(&mut fake, request))
}

fn answer(fake: &mut Fake, request: &Request) -> Reaction {
    let answer = match &request.act {
        Act::Invite(_) => {
            Answer::Invited(Invited { invitation: ByteArray::new(INVITATION), expires_in_secs: 1800 })
        }
        Act::Stage(_) => Answer::Staged(Staged {
            intent: ByteArray::new(INTENT),
            summary: SUMMARY.to_owned(),
            digests: vec![ByteArray::new([0xdd; 32])],
            expires_unix_secs: 1_790_000_600,
        }),
        Act::ShowIntent(_) => Answer::Intent(IntentInfo {
            state: IntentState::Approved,
            approval: Some(ApprovalKind::Passkey),
            expires_unix_secs: 1_790_000_300,
        }),
        Act::FindReceipt(_) => Answer::Receipt(fake.signed_receipt()),
        Act::Sign(_) => return refused(request, Reason::UnknownIntent),
        other => return framed(&Reply { id: request.id, outcome: fake.outcome(other) }),
    };
    done(request, answer)
}

fn ask(arguments: &[&str]) -> (serde_json::Value, Act) {
    let place = Place::new();
    let hsm = serve(&place, Lie::None);
    let ended = place.run_json(arguments);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{}", ended.stdout);
    (ended.json(), hsm.requests().last().unwrap().act.clone())
}

fn distrusted(ended: &Ended, word: &str) {
    assert_eq!((ended.code, ended.json()["refused"].as_str()), (3, Some(word)), "{}", ended.stdout);
    assert_eq!(ended.json()["by"], "device");
}

#[test]
fn invite_gives_what_the_device_needs_and_a_link() {
    let (json, act) = ask(&["account", "invite", "alice", "--page", "https://wallet.example/"]);
    let invitation = HEXLOWER.encode(&INVITATION);
    assert_eq!(
        json,
        json!({
            "account": "alice",
            "tenant": "default",
            "invitation": invitation,
            "expires_in_secs": 1800,
            "root_fingerprint": Fake::root(),
            "link": format!("https://wallet.example/#enroll/default/alice/{invitation}"),
        })
    );
    let Act::Invite(enroll) = act else { panic!("{act:?}") };
    assert_eq!(
        enroll.plan.floor,
        ApprovalKind::SealedCode,
        "a device is there, so a plain code is not enough"
    );
    let (_, act) = ask(&["account", "invite", "alice", "--floor", "passkey", "--mechanism", "message"]);
    let Act::Invite(enroll) = act else { panic!("{act:?}") };
    assert_eq!(
        (enroll.plan.floor, enroll.plan.mechanisms),
        (ApprovalKind::Passkey, vec![Mechanism::Message])
    );
}

#[test]
fn stage_and_payee_give_the_intent_and_a_link() {
    let digest = "0c".repeat(32);
    let arguments =
        ["intent", "stage", "--key", "al@ice/digest", "--digest", &digest, "--page", "http://localhost:1/"];
    let (json, act) = ask(&arguments);
    let intent = HEXLOWER.encode(&INTENT);
    assert_eq!(
        json,
        json!({
            "intent": intent,
            "summary": SUMMARY,
            "digests": [format!("0x{}", "dd".repeat(32))],
            "expires_unix_time": 1_790_000_600,
            "link": format!("http://localhost:1/#approve/default/al%40ice/{intent}"),
        })
    );
    let payload = Payload::Digest(ByteArray::new([12; 32]));
    assert_eq!(act, Act::Stage(Subject::Sign(StageSign { key: "al@ice/digest".parse().unwrap(), payload })));
    for (more, known) in [(&[][..], true), (&["--remove"], false)] {
        let (_, act) = ask(&[&["intent", "payee", "alice", "bc1qsomewhere"], more].concat());
        let payee =
            StagePayee { account: "alice".parse().unwrap(), address: "bc1qsomewhere".to_owned(), known };
        assert_eq!(act, Act::Stage(Subject::Payee(payee)));
    }
}

#[test]
fn show_says_what_became_of_an_intent() {
    let intent = HEXLOWER.encode(&INTENT);
    let (json, act) = ask(&["intent", "show", "alice", &intent]);
    assert_eq!(
        json,
        json!({"intent": intent, "state": "approved", "approval": "passkey", "expires_unix_time": 1_790_000_300})
    );
    let asked = StagedIntent { account: "alice".parse().unwrap(), intent: ByteArray::new(INTENT) };
    assert_eq!(act, Act::ShowIntent(asked));
}

#[test]
fn sign_with_a_prior_approval_asks_for_no_code() {
    let place = Place::new();
    let hsm = serve(&place, Lie::None);
    let digest = "0c".repeat(32);
    let ended = place.run_json(&["sign", "--key", "alice/digest", "--digest", &digest, "--prior"]);
    assert_eq!((ended.code, ended.json()["refused"].as_str()), (3, Some("unknown-intent")));
    assert!(matches!(&hsm.requests()[0].act, Act::Sign(Sign { approval: Some(Approval::Prior), .. })));
    let ended = place.run_json(&[
        "sign",
        "--key",
        "alice/digest",
        "--digest",
        &digest,
        "--prior",
        "--code",
        "123456",
    ]);
    assert_eq!((ended.code, ended.json()["error"].as_str()), (2, Some("usage")));
}

#[test]
fn floors_travel_with_new_keys() {
    for (arguments, expected) in [
        (&["key", "create", "alice/vault", "--floor", "sealed-code"][..], ApprovalKind::SealedCode),
        (&["key", "create", "alice/vault"], ApprovalKind::Code),
    ] {
        let place = Place::new();
        let hsm = place.serve(|request| refused(request, Reason::FloorNotPossible));
        let ended = place.run_json(arguments);
        assert_eq!((ended.code, ended.json()["refused"].as_str()), (3, Some("floor-not-possible")));
        let Act::CreateKey(create) = &hsm.requests()[0].act else { panic!() };
        assert_eq!(create.plan.floor, expected);
    }
}

#[test]
fn a_receipt_is_found_checked_and_saved_once() {
    let place = Place::new();
    let _hsm = serve(&place, Lie::None);
    let digest = "0c".repeat(32);
    let find = ["receipt", "find", "--key", "alice/ethereum", "--digest", &digest, "--out", "receipt.json"];
    let ended = place.run_json(&find);
    assert_eq!((ended.code, ended.json()["approval"].as_str()), (0, Some("sealed-code")), "{}", ended.stdout);
    let checked = place.run_json(&["receipt", "verify", "receipt.json", "--root", &Fake::root()]);
    assert_eq!((checked.code, checked.json()["counter"].as_u64()), (0, Some(2)));
    let again = place.run_json(&find);
    assert_eq!((again.code, again.json()["error"].as_str()), (2, Some("usage")));
    std::fs::write(place.path("none.json"), "{}").unwrap();
    let none = place.run_json(&["receipt", "verify", "none.json", "--root", &Fake::root()]);
    assert_eq!((none.code, none.json()["error"].as_str()), (2, Some("usage")));
}

#[test]
fn a_receipt_that_does_not_hold_is_not_saved() {
    for (lie, word) in [
        (Lie::Tampered, "bad-signature"),
        (Lie::Kind, "malformed-statement"),
        (Lie::Hsm, "other-hsm"),
        (Lie::Image, "other-image"),
    ] {
        let place = Place::new();
        let _hsm = serve(&place, lie);
        let digest = "0c".repeat(32);
        let find =
            ["receipt", "find", "--key", "alice/ethereum", "--digest", &digest, "--out", "receipt.json"];
        distrusted(&place.run_json(&find), word);
        assert!(!place.path("receipt.json").exists());
    }
}

#[test]
fn identity_is_checked_against_the_root_that_is_given() {
    let place = Place::new();
    std::fs::remove_file(place.path("api-key")).unwrap();
    let _hsm = serve(&place, Lie::None);
    let json = place.run_json(&["identity"]).json();
    assert_eq!(
        (json["pinned"].as_bool(), json["root_fingerprint"].as_str()),
        (Some(false), Some(&*Fake::root()))
    );
    assert_eq!((json["clock"].as_str(), json["hsm_id"].as_str()), (Some("manual"), Some(&*"11".repeat(16))));
    assert_eq!(place.run_json(&["identity", "--root", &Fake::root()]).json()["pinned"], true);
    distrusted(&place.run_json(&["identity", "--root", &"00".repeat(32)]), "wrong-root");
    assert!(place.run(&["identity"]).stdout.contains("for tests, never for money"));
}
