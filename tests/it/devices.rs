//! A user's device over a real relay, and clients of PKCS#11 that know no context login.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use countersign_client::device::{Carrier, HttpRelay, ReceiptFile};
use countersign_tests::backend::{assert_signed_by, digest, reason};
use countersign_tests::owner::{codes_before, device, enrol, owned_key, plan_with_floor, root_of};
use countersign_tests::relay::Relay;
use countersign_tests::{Hsm, Keystore, on_both_keystores, on_embedded};
use countersign_wire::client::{ApprovalKind, KeyQuery, Mechanism};
use countersign_wire::reason::Reason;
use cryptoki_sys::{CKM_ECDSA, CKR_PIN_INVALID, CKR_USER_NOT_LOGGED_IN};

on_both_keystores!(a_device_enrols_approves_looks_back_and_freezes_through_a_relay);
on_embedded!(
    i1_a_client_without_context_login_signs_exactly_what_was_approved,
    i2_an_approval_outlives_a_kill_and_is_good_once,
    a_freeze_is_lifted_by_the_operator_alone,
);

const FLOOR: ApprovalKind = ApprovalKind::SealedCode;

fn a_device_enrols_approves_looks_back_and_freezes_through_a_relay(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let relay = Relay::start(&hsm);
    let http = HttpRelay::new(&relay.url()).unwrap();
    let owner = device(&hsm, &http, "alice", 1).unwrap();
    let phone = enrol(&hsm, &owner, "alice", plan_with_floor(&[Mechanism::Digest], FLOOR));
    hsm.advance(30);
    let staged = hsm.stage("alice", digest(1)).unwrap();
    let seen = owner.view(staged.intent.into_array()).unwrap();
    assert_eq!(seen.view().summary, staged.summary);
    let wrong = owner.approve(&seen, &phone.wrong_code(hsm.now())).unwrap_err();
    assert_eq!(wrong, Reason::WrongCode.into());
    owner.approve(&seen, &phone.code(hsm.now())).unwrap();
    let signed = hsm.sign_approved("alice", digest(1)).unwrap();
    let keys = hsm.find_keys(hsm.api_key(), KeyQuery::Label(owned_key("alice"))).unwrap().keys;
    assert_signed_by(&keys[0], &[1; 32], signed.signature.as_slice());

    let receipt = owner.receipt(&seen).unwrap();
    assert_eq!((receipt.receipt().counter, &receipt.receipt().digests[..]), (1, &[[1; 32]][..]));
    let file: ReceiptFile =
        serde_json::from_str(&serde_json::to_string(&receipt.to_file()).unwrap()).unwrap();
    file.verify(&root_of(&hsm)).unwrap();
    let other = Hsm::start(keystore);
    assert!(file.verify(&root_of(&other)).is_err(), "under another root it proves nothing");

    let account = owner.account().unwrap();
    assert_eq!((account.view().signatures, account.view().history.len()), (1, 1));
    owner.freeze().unwrap();
    assert_eq!(reason(hsm.stage("alice", digest(2))), Reason::AccountFrozen);
    // Nothing of it needs an API key, and nothing of it can be asked with one through the relay.
    assert!(http.carry(countersign_wire::client::Act::Login).is_err());
}

fn i1_a_client_without_context_login_signs_exactly_what_was_approved(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let owner = device(&hsm, &hsm.client, "alice", 1).unwrap();
    let phone = enrol(&hsm, &owner, "alice", plan_with_floor(&[Mechanism::Digest], FLOOR));
    let raw = hsm.raw();
    let session = raw.session(hsm.api_key());
    let key = raw.find(session, &owned_key("alice")).expect("the key is found");
    let sign = |number: u8| {
        raw.sign_init(session, CKM_ECDSA, key).expect("C_SignInit");
        raw.sign(session, &[number; 32], 64)
    };
    assert_eq!(sign(1), Err(CKR_USER_NOT_LOGGED_IN));
    hsm.advance(30);
    let staged = hsm.stage("alice", digest(1)).unwrap();
    let seen = owner.view(staged.intent.into_array()).unwrap();
    assert_eq!(sign(1), Err(CKR_USER_NOT_LOGGED_IN), "staged is not approved");
    owner.approve(&seen, &phone.code(hsm.now())).unwrap();
    assert_eq!(sign(2), Err(CKR_USER_NOT_LOGGED_IN));
    let keys = hsm.find_keys(hsm.api_key(), KeyQuery::Label(owned_key("alice"))).unwrap().keys;
    assert_signed_by(&keys[0], &[1; 32], &sign(1).expect("C_Sign"));
    assert_eq!(sign(1), Err(CKR_USER_NOT_LOGGED_IN), "once");

    // Clients that repeat the user PIN for each signature.
    raw.sign_init(session, CKM_ECDSA, key).expect("C_SignInit");
    assert_eq!(raw.context_login(session, hsm.api_key().expose()), Err(CKR_PIN_INVALID));
    assert!(raw.sign(session, &[3; 32], 64).is_err());
    hsm.advance(30);
    let staged = hsm.stage("alice", digest(3)).unwrap();
    let seen = owner.view(staged.intent.into_array()).unwrap();
    owner.approve(&seen, &phone.code(hsm.now())).unwrap();
    raw.sign_init(session, CKM_ECDSA, key).expect("C_SignInit");
    raw.context_login(session, hsm.api_key().expose()).expect("C_Login");
    raw.sign(session, &[3; 32], 64).expect("C_Sign");

    // And with the approval itself as the PIN.
    hsm.advance(30);
    let staged = hsm.stage("alice", digest(4)).unwrap();
    let seen = owner.view(staged.intent.into_array()).unwrap();
    let pin = countersign_client::device::context_pin(&owner.evidence(&seen, &phone.code(hsm.now())));
    raw.sign_init(session, CKM_ECDSA, key).expect("C_SignInit");
    raw.context_login(session, &pin).expect("C_Login");
    raw.sign(session, &[4; 32], 64).expect("C_Sign");
}

fn i2_an_approval_outlives_a_kill_and_is_good_once(keystore: Keystore) {
    let mut hsm = Hsm::start(keystore);
    let phone = {
        let owner = device(&hsm, &hsm.client, "alice", 1).unwrap();
        let phone = enrol(&hsm, &owner, "alice", plan_with_floor(&[Mechanism::Digest], FLOOR));
        hsm.advance(30);
        let staged = hsm.stage("alice", digest(1)).unwrap();
        let seen = owner.view(staged.intent.into_array()).unwrap();
        owner.approve(&seen, &phone.code(hsm.now())).unwrap();
        phone
    };
    hsm.kill();
    hsm.run();
    hsm.sign_approved("alice", digest(1)).unwrap();
    hsm.kill();
    hsm.run();
    assert_eq!(reason(hsm.sign_approved("alice", digest(1))), Reason::ApprovalMissing);
    let owner = device(&hsm, &hsm.client, "alice", 1).unwrap();
    let staged = hsm.stage("alice", digest(2)).unwrap();
    let seen = owner.view(staged.intent.into_array()).unwrap();
    let used = owner.approve(&seen, &phone.code(hsm.now())).unwrap_err();
    assert_eq!(used, Reason::CodeUsed.into());
}

fn a_freeze_is_lifted_by_the_operator_alone(keystore: Keystore) {
    let mut hsm = Hsm::start(keystore);
    let phone = {
        let owner = device(&hsm, &hsm.client, "alice", 1).unwrap();
        let phone = enrol(&hsm, &owner, "alice", plan_with_floor(&[Mechanism::Digest], ApprovalKind::Code));
        owner.freeze().unwrap();
        let [first, second] = codes_before(&hsm, &phone);
        assert_eq!(owner.unlock((&first, &second)).unwrap_err(), Reason::AccountFrozen.into());
        phone
    };
    let shown = countersign_tests::cli::run(&hsm, &["account", "show", "alice"]);
    let freeze = shown.json["frozen"].as_u64().expect("the freeze's number");
    hsm.stop();
    hsm.lift_freeze("alice", freeze);
    hsm.run();
    hsm.advance(60);
    let staged = hsm.stage("alice", digest(1)).unwrap();
    let owner = device(&hsm, &hsm.client, "alice", 1).unwrap();
    let seen = owner.view(staged.intent.into_array()).unwrap();
    owner.approve(&seen, &phone.code(hsm.now())).unwrap();
    hsm.sign_approved("alice", digest(1)).unwrap();
}
