//! I2 under contention: many connections, one code.

use countersign_tests::backend::{digest, operation, reason};
use countersign_tests::{Hsm, Keystore, on_both_keystores, on_embedded};
use countersign_wire::client::Mechanism::Digest;
use countersign_wire::client::Signed;
use countersign_wire::reason::{Reason, Refusal};
use std::collections::BTreeMap;

on_both_keystores!(i2_sixteen_racing_requests_with_one_code_get_one_signature);
on_embedded!(
    i2_sixteen_racing_retries_of_one_request_get_the_same_signature,
    i2_sixteen_racing_context_logins_with_one_code_make_one_grant,
    i2_sixteen_racing_context_signs_with_one_grant_get_one_signature,
    i4_sixteen_racing_guesses_are_counted_one_by_one,
    i10_racing_requests_on_many_accounts_all_succeed,
    i8_sixteen_racing_enrolments_of_one_name_make_one_account,
);

const THREADS: usize = 16;

fn race<T: Send>(act: impl Fn(usize) -> T + Sync) -> Vec<T> {
    countersign_tests::race(THREADS, act)
}

fn number(of: usize) -> u8 {
    u8::try_from(of).expect("few threads")
}

/// How often each outcome came: `None` is success.
fn tally<T>(outcomes: &[Result<T, Refusal>]) -> BTreeMap<Option<Reason>, usize> {
    let mut tally = BTreeMap::new();
    for outcome in outcomes {
        *tally.entry(outcome.as_ref().err().map(|refusal| refusal.reason)).or_default() += 1;
    }
    tally
}

fn i2_sixteen_racing_requests_with_one_code_get_one_signature(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let code = alice.phone.code(hsm.now());
    let outcomes = race(|thread| hsm.sign(&alice, digest(number(thread)), &code));
    // The losers' tries are counted like any other: after five of them the account is locked.
    let expected = [(None, 1), (Some(Reason::CodeUsed), 5), (Some(Reason::Locked), 10)];
    assert_eq!(tally(&outcomes), BTreeMap::from(expected));
    hsm.advance(300);
    hsm.sign(&alice, digest(1), &alice.phone.code(hsm.now())).expect("after the lock the next code signs");
}

fn i2_sixteen_racing_retries_of_one_request_get_the_same_signature(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let (id, code) = (countersign_client::new_request_id(), alice.phone.code(hsm.now()));
    let outcomes = race(|_| hsm.sign_as(id, &alice, digest(1), &code));
    let signatures: Vec<Signed> = outcomes.into_iter().map(|outcome| outcome.expect("a retry")).collect();
    assert!(signatures.windows(2).all(|pair| pair[0] == pair[1]));
    let info = hsm.show(&alice).expect("shown");
    assert_eq!((info.consecutive_failures, info.failures_left), (0, 10));
}

fn i2_sixteen_racing_context_logins_with_one_code_make_one_grant(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let code = alice.phone.code(hsm.now());
    let operations: Vec<_> = (0..THREADS).map(|_| operation(&alice.key, Digest)).collect();
    let logins = race(|thread| hsm.context_login(&alice, &operations[thread], &code));
    assert_eq!(tally(&logins)[&None], 1);
    let signatures = race(|thread| hsm.context_sign(&alice, &operations[thread], digest(number(thread))));
    assert_eq!(tally(&signatures), BTreeMap::from([(None, 1), (Some(Reason::ApprovalMissing), THREADS - 1)]));
    for (login, signature) in logins.iter().zip(&signatures) {
        assert_eq!(login.is_ok(), signature.is_ok(), "the one that logged in is the one that signs");
    }
}

fn i2_sixteen_racing_context_signs_with_one_grant_get_one_signature(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let granted = operation(&alice.key, Digest);
    hsm.context_login(&alice, &granted, &alice.phone.code(hsm.now())).expect("logs in");
    let outcomes = race(|thread| hsm.context_sign(&alice, &granted, digest(number(thread))));
    assert_eq!(tally(&outcomes), BTreeMap::from([(None, 1), (Some(Reason::ApprovalMissing), THREADS - 1)]));
}

fn i4_sixteen_racing_guesses_are_counted_one_by_one(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let wrong = alice.phone.wrong_code(hsm.now());
    let outcomes = race(|_| hsm.sign(&alice, digest(1), &wrong));
    assert_eq!(tally(&outcomes), BTreeMap::from([(Some(Reason::WrongCode), 5), (Some(Reason::Locked), 11)]));
    assert_eq!(hsm.show(&alice).expect("shown").failures_left, 5);
}

fn i10_racing_requests_on_many_accounts_all_succeed(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let users: Vec<_> = (0..THREADS).map(|thread| hsm.user(&format!("user-{thread}"), &[Digest])).collect();
    let mut now = hsm.now();
    for _ in 0..5 {
        let outcomes = race(|thread| {
            let user = &users[thread];
            hsm.sign(user, digest(number(thread)), &user.phone.code(now))
        });
        assert_eq!(tally(&outcomes), BTreeMap::from([(None, THREADS)]));
        now = hsm.advance(30);
    }
}

fn i8_sixteen_racing_enrolments_of_one_name_make_one_account(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let outcomes =
        race(|_| hsm.enroll(hsm.api_key(), countersign_tests::backend::enroll_act("alice", &[Digest])));
    assert_eq!(tally(&outcomes), BTreeMap::from([(None, 1), (Some(Reason::AccountExists), THREADS - 1)]));
    let alice = outcomes.into_iter().find_map(Result::ok).expect("one of them enrolled");
    hsm.confirm(&alice).expect("the one who was told the secret confirms");
    let again = hsm.enroll(hsm.api_key(), countersign_tests::backend::enroll_act("alice", &[Digest]));
    assert_eq!(reason(again), Reason::AccountExists);
}
