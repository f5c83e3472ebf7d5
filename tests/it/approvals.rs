//! What a code is worth: one signature, once, by its own user, in its own time.

use countersign_tests::backend::{assert_signed_by, digest, operation, reason, sign_act};
use countersign_tests::{Hsm, Keystore, on_both_keystores, on_embedded};
use countersign_wire::client::Mechanism::{Digest, Ethereum};
use countersign_wire::client::{Act, Answer};
use countersign_wire::reason::Reason;

on_both_keystores!(
    i1_no_code_no_signature,
    i2_a_code_is_accepted_once,
    i2_a_used_code_stays_used_after_kill_and_restart,
    i3_an_older_step_is_never_accepted_after_a_newer_one,
    i10_one_users_code_never_opens_another_users_key,
);
on_embedded!(
    codes_of_three_steps_are_accepted_and_no_others,
    i2_the_same_request_again_gets_the_same_signature_and_changes_nothing,
    i2_a_request_id_is_good_for_one_request_only,
    i2_a_request_id_of_another_tenant_finds_nothing,
    i2_a_repeated_request_is_forgotten_after_ten_minutes,
    i1_a_context_grant_belongs_to_one_operation_one_key_and_one_boot,
    i1_a_context_grant_signs_once_whatever_the_outcome,
    i1_a_context_grant_waits_two_minutes_and_no_longer,
    i2_a_repeated_context_login_spends_no_second_code,
    i11_a_restart_never_takes_the_clock_back,
);

fn i1_no_code_no_signature(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let refused = hsm.sign_with(&alice, &alice.key.label, digest(1), None);
    assert_eq!(reason(refused), Reason::ApprovalMissing);
    let never_logged_in = operation(&alice.key, Digest);
    assert_eq!(reason(hsm.context_sign(&alice, &never_logged_in, digest(1))), Reason::ApprovalMissing);
    hsm.sign(&alice, digest(1), &alice.phone.code(hsm.now())).expect("with the code it signs");
}

fn i2_a_code_is_accepted_once(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let code = alice.phone.code(hsm.now());
    hsm.sign(&alice, digest(1), &code).expect("a right code signs");
    assert_eq!(reason(hsm.sign(&alice, digest(2), &code)), Reason::CodeUsed);
    assert_eq!(reason(hsm.sign(&alice, digest(1), &code)), Reason::CodeUsed, "not even for the same digest");
    assert_eq!(reason(hsm.context_login(&alice, &operation(&alice.key, Digest), &code)), Reason::CodeUsed);
    hsm.sign(&alice, digest(2), &alice.phone.code(hsm.advance(30))).expect("the next code signs");
}

fn i2_a_used_code_stays_used_after_kill_and_restart(keystore: Keystore) {
    let mut hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let code = alice.phone.code(hsm.now());
    hsm.sign(&alice, digest(1), &code).expect("a right code signs");
    hsm.kill_and_run();
    assert_eq!(reason(hsm.sign(&alice, digest(2), &code)), Reason::CodeUsed);
    hsm.kill_plugin();
    assert_eq!(reason(hsm.sign(&alice, digest(2), &code)), Reason::CodeUsed);
    assert_eq!(hsm.show(&alice).expect("shown").failures_left, 8, "both tries were counted");
    hsm.sign(&alice, digest(2), &alice.phone.code(hsm.advance(30))).expect("the next code signs");
}

fn i3_an_older_step_is_never_accepted_after_a_newer_one(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let now = hsm.advance(60);
    let [older, current, newer] = [-1, 0, 1].map(|steps| alice.phone.code_steps_off(now, steps));
    hsm.sign(&alice, digest(1), &newer).expect("a fast phone's code signs");
    assert_eq!(reason(hsm.sign(&alice, digest(2), &current)), Reason::CodeUsed);
    assert_eq!(reason(hsm.sign(&alice, digest(3), &older)), Reason::CodeUsed);
    // One step on, the same holds for the newer one itself.
    let now = hsm.advance(30);
    assert_eq!(reason(hsm.sign(&alice, digest(4), &newer)), Reason::CodeUsed);
    hsm.sign(&alice, digest(5), &alice.phone.code_steps_off(now, 1)).expect("the next one signs");
}

fn i10_one_users_code_never_opens_another_users_key(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let (alice, bob) = (hsm.user("alice", &[Digest]), hsm.user("bob", &[Digest]));
    let code = alice.phone.code(hsm.now());
    assert_eq!(reason(hsm.sign(&bob, digest(1), &code)), Reason::WrongCode);
    assert_eq!(reason(hsm.context_login(&bob, &operation(&bob.key, Digest), &code)), Reason::WrongCode);
    let shown = [hsm.show(&bob).expect("shown"), hsm.show(&alice).expect("shown")];
    assert_eq!(shown.map(|info| info.consecutive_failures), [2, 0], "counted against bob's account alone");
    let signed = hsm.sign(&alice, digest(1), &code).expect("alice's code still opens alice's key");
    assert_signed_by(&alice.key, &[1; 32], &signed.signature[..]);
}

fn codes_of_three_steps_are_accepted_and_no_others(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    for steps in -7..=7 {
        let user = hsm.user(&format!("user{}", steps + 7), &[Digest]);
        // Two steps on, so that nothing in the window was used up by the confirmation.
        let now = hsm.advance(60);
        let outcome = hsm.sign(&user, digest(1), &user.phone.code_steps_off(now, steps));
        if (-1..=1).contains(&steps) {
            outcome
                .unwrap_or_else(|refusal| panic!("the code {steps} steps off is in the window: {refusal}"));
        } else {
            // A code of a used step that lies outside the window is a wrong code like any other.
            assert_eq!(reason(outcome), Reason::WrongCode, "{steps} steps off");
        }
    }
}

fn i2_the_same_request_again_gets_the_same_signature_and_changes_nothing(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let (id, code) = (countersign_client::new_request_id(), alice.phone.code(hsm.now()));
    let first = hsm.sign_as(id, &alice, digest(1), &code).expect("a right code signs");
    let before = hsm.show(&alice).expect("shown");
    for _ in 0..3 {
        assert_eq!(hsm.sign_as(id, &alice, digest(1), &code).expect("a retry"), first);
    }
    assert_eq!(hsm.show(&alice).expect("shown"), before, "no counter, limit or lock changed");
    let fresh = alice.phone.code_steps_off(hsm.now(), 1);
    hsm.sign(&alice, digest(2), &fresh).expect("the next code is as good as ever");
}

fn i2_a_request_id_is_good_for_one_request_only(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let bob = hsm.user("bob", &[Digest]);
    let now = hsm.now();
    let (id, code) = (countersign_client::new_request_id(), alice.phone.code(now));
    hsm.sign_as(id, &alice, digest(1), &code).expect("a right code signs");
    let before = hsm.show(&alice).expect("shown");
    assert_eq!(reason(hsm.sign_as(id, &alice, digest(2), &code)), Reason::RequestIdReused, "another digest");
    let fresh = alice.phone.code_steps_off(now, 1);
    assert_eq!(reason(hsm.sign_as(id, &alice, digest(1), &fresh)), Reason::RequestIdReused, "another code");
    let bobs = bob.phone.code(now);
    assert_eq!(reason(hsm.sign_as(id, &bob, digest(1), &bobs)), Reason::RequestIdReused, "another key");
    assert_eq!(hsm.show(&alice).expect("shown"), before);
    hsm.sign(&alice, digest(1), &fresh).expect("no code was used up");
    hsm.sign(&bob, digest(1), &bobs).expect("no code was used up");
}

fn i2_a_request_id_of_another_tenant_finds_nothing(keystore: Keystore) {
    let mut hsm = Hsm::init(keystore, &["default", "other"]);
    hsm.run();
    let alice = hsm.user("alice", &[Digest]);
    let (id, code) = (countersign_client::new_request_id(), alice.phone.code(hsm.now()));
    hsm.sign_as(id, &alice, digest(1), &code).expect("a right code signs");
    let act = sign_act(&alice.key.label, digest(1), Some(&code));
    let refused = hsm.client.call_with_id(id, Some(hsm.api_key_of("other")), act);
    assert_eq!(reason(refused), Reason::UnknownAccount);
}

fn i2_a_repeated_request_is_forgotten_after_ten_minutes(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let (id, code) = (countersign_client::new_request_id(), alice.phone.code(hsm.now()));
    let first = hsm.sign_as(id, &alice, digest(1), &code).expect("a right code signs");
    hsm.advance(599);
    assert_eq!(hsm.sign_as(id, &alice, digest(1), &code).expect("a retry"), first);
    hsm.advance(2);
    assert_eq!(reason(hsm.sign_as(id, &alice, digest(1), &code)), Reason::WrongCode);
}

fn i1_a_context_grant_belongs_to_one_operation_one_key_and_one_boot(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let second = hsm.create_key(&alice, "second", &[Digest, Ethereum]).expect("a further key");
    let granted = operation(&alice.key, Digest);
    hsm.context_login(&alice, &granted, &alice.phone.code(hsm.now())).expect("a right code logs in");

    let mut other = granted.clone();
    other.id = countersign_client::new_request_id();
    assert_eq!(
        reason(hsm.context_sign(&alice, &other, digest(1))),
        Reason::ApprovalMissing,
        "another operation"
    );
    other.clone_from(&granted);
    other.key = second.id;
    assert_eq!(reason(hsm.context_sign(&alice, &other, digest(1))), Reason::ApprovalMissing, "another key");
    other.clone_from(&granted);
    other.mechanism = Ethereum;
    assert_eq!(
        reason(hsm.context_sign(&alice, &other, digest(1))),
        Reason::ApprovalMissing,
        "another mechanism"
    );

    hsm.kill_plugin();
    assert_eq!(
        reason(hsm.context_sign(&alice, &granted, digest(1))),
        Reason::ApprovalMissing,
        "another boot"
    );
    hsm.context_login(&alice, &granted, &alice.phone.code(hsm.advance(30))).expect("the next code logs in");
    hsm.context_sign(&alice, &granted, digest(1)).expect("and signs");
}

fn i1_a_context_grant_signs_once_whatever_the_outcome(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Ethereum]);
    let granted = operation(&alice.key, Ethereum);
    let transfer = || countersign_tests::transactions::payload(&countersign_tests::transactions::transfer(0));

    hsm.context_login(&alice, &granted, &alice.phone.code(hsm.now())).expect("a right code logs in");
    hsm.context_sign(&alice, &granted, transfer()).expect("signs");
    assert_eq!(
        reason(hsm.context_sign(&alice, &granted, transfer())),
        Reason::ApprovalMissing,
        "signed before"
    );

    hsm.context_login(&alice, &granted, &alice.phone.code(hsm.advance(30))).expect("a right code logs in");
    assert_eq!(reason(hsm.context_sign(&alice, &granted, digest(1))), Reason::MechanismNotAllowed);
    assert_eq!(
        reason(hsm.context_sign(&alice, &granted, transfer())),
        Reason::ApprovalMissing,
        "refused before"
    );

    hsm.context_login(&alice, &granted, &alice.phone.code(hsm.advance(30))).expect("a right code logs in");
    assert_eq!(hsm.ask(Act::ContextEnd(granted.clone())), Ok(Answer::Ended));
    assert_eq!(
        reason(hsm.context_sign(&alice, &granted, transfer())),
        Reason::ApprovalMissing,
        "ended before"
    );
}

fn i1_a_context_grant_waits_two_minutes_and_no_longer(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    for (secs, signs) in [(119, true), (120, false)] {
        let granted = operation(&alice.key, Digest);
        hsm.context_login(&alice, &granted, &alice.phone.code(hsm.advance(30)))
            .expect("a right code logs in");
        hsm.advance(secs);
        let signed = hsm.context_sign(&alice, &granted, digest(1));
        assert_eq!(
            signed.map_err(|refusal| refusal.reason).err(),
            (!signs).then_some(Reason::ApprovalMissing)
        );
    }
}

fn i2_a_repeated_context_login_spends_no_second_code(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let granted = operation(&alice.key, Digest);
    let now = hsm.now();
    let (first, second) = (alice.phone.code(now), alice.phone.code_steps_off(now, 1));
    hsm.context_login(&alice, &granted, &first).expect("a right code logs in");
    hsm.context_login(&alice, &granted, &first).expect("its answer was lost, so it comes again");
    hsm.context_login(&alice, &granted, &second).expect("or another code does");
    hsm.context_sign(&alice, &granted, digest(1)).expect("one grant signs");
    assert_eq!(reason(hsm.context_sign(&alice, &granted, digest(1))), Reason::ApprovalMissing, "once");
    assert_eq!(hsm.show(&alice).expect("shown").consecutive_failures, 0);
    hsm.sign(&alice, digest(2), &second).expect("the second code was not spent");
}

fn i11_a_restart_never_takes_the_clock_back(keystore: Keystore) {
    let mut hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let now = hsm.advance(86_400);
    hsm.sign(&alice, digest(1), &alice.phone.code(now)).expect("a right code signs");
    for restart in [Hsm::kill_and_run, |hsm: &mut Hsm| {
        hsm.stop();
        hsm.run();
    }] {
        restart(&mut hsm);
        let status = hsm.status();
        assert!(status.unix_time_secs >= now && status.clock_sure, "{status:?}");
    }
}
