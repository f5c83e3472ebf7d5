//! Enrolment: one request makes account, factor and first key; two consecutive codes finish it.

use countersign_tests::backend::{FIRST_KEY, account, digest, enroll_act, operation, reason, two_codes};
use countersign_tests::{Hsm, Keystore, on_both_keystores, on_embedded};
use countersign_wire::client::Mechanism::{Digest, Ethereum};
use countersign_wire::client::{Act, Answer, CreateKey, Enroll, KeyPlan, TotpHash, TotpParameters};
use countersign_wire::names::KeyName;
use countersign_wire::reason::Reason;

on_both_keystores!(i8_the_api_key_cannot_enrol_over_a_confirmed_account);
on_embedded!(
    an_unconfirmed_account_signs_nothing,
    an_unconfirmed_enrolment_expires_and_can_be_made_again,
    i8_the_api_key_cannot_enrol_over_an_open_enrolment,
    a_tenant_without_plain_enrolment_enrols_nobody_in_the_clear,
    only_two_consecutive_codes_confirm,
    confirmation_spends_both_codes,
    a_confirmed_account_is_not_confirmed_again,
    guessing_at_a_confirmation_is_limited,
    unsupported_factors_are_refused,
    i8_an_account_has_one_key_of_a_name_and_sixteen_in_all,
    a_key_has_one_set_of_mechanisms_in_one_form,
    an_acknowledged_enrolment_survives_kill,
);

fn i8_the_api_key_cannot_enrol_over_a_confirmed_account(keystore: Keystore) {
    let mut hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Ethereum]);
    let before = hsm.show(&alice).expect("shown");
    for _ in 0..2 {
        let refused = hsm.enroll(hsm.api_key(), enroll_act("alice", &[Digest, Ethereum]));
        assert_eq!(reason(refused), Reason::AccountExists);
        hsm.advance(86_400);
        assert_eq!(hsm.show(&alice).expect("shown"), before);
        hsm.kill_and_run();
    }
    let transaction = countersign_tests::transactions::transfer(0);
    let payload = countersign_tests::transactions::payload(&transaction);
    hsm.sign(&alice, payload, &alice.phone.code(hsm.now())).expect("alice's own factor still counts");
}

fn an_unconfirmed_account_signs_nothing(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.enroll(hsm.api_key(), enroll_act("alice", &[Digest])).expect("enrols");
    let code = alice.phone.code(hsm.now());
    assert_eq!(reason(hsm.sign(&alice, digest(1), &code)), Reason::NotConfirmed);
    assert_eq!(
        reason(hsm.context_login(&alice, &operation(&alice.key, Digest), &code)),
        Reason::NotConfirmed
    );
    assert_eq!(reason(hsm.create_key(&alice, "second", &[Digest])), Reason::NotConfirmed);
    assert_eq!(reason(hsm.unlock(&alice, &code, &code)), Reason::NotConfirmed);
    let info = hsm.show(&alice).expect("shown");
    assert!(!info.confirmed && info.consecutive_failures == 0);
    hsm.confirm(&alice).expect("nothing was lost");
    hsm.sign(&alice, digest(1), &code).expect("a confirmed account signs");
}

fn an_unconfirmed_enrolment_expires_and_can_be_made_again(keystore: Keystore) {
    let mut hsm = Hsm::start(keystore);
    let answer = hsm.ask(enroll_act("alice", &[Digest])).expect("enrols");
    let Answer::Enrolled(enrolled) = &answer else { panic!("not an enrolment") };
    assert_eq!(enrolled.confirm_within_secs, 1800);
    let act = enroll_act("bob", &[Digest]);
    let bob = hsm.enroll(hsm.api_key(), act).expect("enrols");
    hsm.advance(1799);
    hsm.confirm(&bob).expect("in time");
    hsm.advance(1);
    let late = two_codes(&account("alice"), "123456", "234567");
    assert_eq!(reason(hsm.ask(Act::Confirm(late))), Reason::EnrolmentExpired);
    assert_eq!(reason(hsm.ask(Act::ShowAccount(account("alice")))), Reason::EnrolmentExpired);
    assert!(hsm.all_keys(hsm.api_key()).iter().all(|key| key.label.account != account("alice")));
    hsm.kill_and_run();
    assert_eq!(reason(hsm.ask(Act::ShowAccount(account("alice")))), Reason::EnrolmentExpired);

    let again = hsm.user("alice", &[Digest]);
    assert_ne!(again.phone.otpauth(), enrolled.otpauth, "a new secret");
    assert_ne!(again.key.public_key, enrolled.key.public_key, "a new key");
    hsm.sign(&again, digest(1), &again.phone.code(hsm.now())).expect("the new one signs");
}

fn i8_the_api_key_cannot_enrol_over_an_open_enrolment(keystore: Keystore) {
    let mut hsm = Hsm::start(keystore);
    let alice = hsm.enroll(hsm.api_key(), enroll_act("alice", &[Digest])).expect("enrols");
    assert_eq!(reason(hsm.ask(enroll_act("alice", &[Digest]))), Reason::AccountExists);
    hsm.kill_and_run();
    assert_eq!(reason(hsm.ask(enroll_act("alice", &[Digest]))), Reason::AccountExists);
    hsm.confirm(&alice).expect("the first enrolment is the one that counts");
}

fn a_tenant_without_plain_enrolment_enrols_nobody_in_the_clear(keystore: Keystore) {
    let mut hsm = Hsm::init(keystore, &["default"]);
    hsm.add_tenant("careful", &["--plain-enrolment", "false"]);
    hsm.run();
    let careful = hsm.api_key_of("careful").clone();
    let refused = hsm.enroll(&careful, enroll_act("alice", &[Digest]));
    assert_eq!(reason(refused), Reason::PlainEnrolmentNotAllowed);
    assert_eq!(hsm.all_keys(&careful), []);
    hsm.user("alice", &[Digest]);
}

fn only_two_consecutive_codes_confirm(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let now = hsm.advance(600);
    // (-3, -2) lies before the window, (1, 2) after it; the rest are not one step after the other.
    for (number, (first, second)) in
        [(-3, -2), (1, 2), (0, 0), (0, -1), (-1, 1), (-40, 0)].into_iter().enumerate()
    {
        let act = enroll_act(&format!("user-{number}"), &[Digest]);
        let user = hsm.enroll(hsm.api_key(), act).expect("enrols");
        let codes = [first, second].map(|steps| user.phone.code_steps_off(now, steps));
        let refused = hsm.ask(Act::Confirm(two_codes(&user.account, &codes[0], &codes[1])));
        assert_eq!(reason(refused), Reason::WrongCode, "{first} and {second} steps off");
        assert!(!hsm.show(&user).expect("shown").confirmed);
    }
    for (number, (first, second)) in [(-2, -1), (-1, 0), (0, 1)].into_iter().enumerate() {
        let act = enroll_act(&format!("good-{number}"), &[Digest]);
        let user = hsm.enroll(hsm.api_key(), act).expect("enrols");
        let codes = [first, second].map(|steps| user.phone.code_steps_off(now, steps));
        hsm.ask(Act::Confirm(two_codes(&user.account, &codes[0], &codes[1])))
            .unwrap_or_else(|refusal| panic!("{first} and {second} steps off: {refusal}"));
    }
}

fn confirmation_spends_both_codes(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.enroll(hsm.api_key(), enroll_act("alice", &[Digest])).expect("enrols");
    let now = hsm.now();
    let [first, second, third] = [0, 1, 2].map(|steps| alice.phone.code_steps_off(now, steps));
    hsm.ask(Act::Confirm(two_codes(&alice.account, &first, &second))).expect("confirms");
    for spent in [&first, &second] {
        assert_eq!(reason(hsm.sign(&alice, digest(1), spent)), Reason::CodeUsed);
    }
    hsm.advance(30);
    hsm.sign(&alice, digest(1), &third).expect("the third signs");
}

fn a_confirmed_account_is_not_confirmed_again(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let now = hsm.now();
    let codes = [0, 1].map(|steps| alice.phone.code_steps_off(now, steps));
    let refused = hsm.ask(Act::Confirm(two_codes(&alice.account, &codes[0], &codes[1])));
    assert_eq!(reason(refused), Reason::AlreadyConfirmed);
    hsm.sign(&alice, digest(1), &codes[0]).expect("no code was spent by that");
    let nobody = hsm.ask(Act::Confirm(two_codes(&account("nobody"), &codes[0], &codes[1])));
    assert_eq!(reason(nobody), Reason::UnknownAccount);
}

fn guessing_at_a_confirmation_is_limited(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.enroll(hsm.api_key(), enroll_act("alice", &[Digest])).expect("enrols");
    let wrong = alice.phone.wrong_code(hsm.now());
    let guess = || hsm.ask(Act::Confirm(two_codes(&alice.account, &wrong, &wrong)));
    for _ in 0..5 {
        assert_eq!(reason(guess()), Reason::WrongCode);
    }
    assert_eq!(reason(guess()), Reason::Locked);
    hsm.advance(300);
    hsm.confirm(&alice).expect("after the lock two right codes confirm");
}

fn unsupported_factors_are_refused(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    for (digits, period_secs) in
        [(0, 30), (5, 30), (7, 30), (9, 30), (10, 30), (6, 0), (6, 1), (6, 29), (6, 255)]
    {
        let act = Act::Enroll(Enroll {
            account: account("alice"),
            totp: TotpParameters { hash: TotpHash::Sha1, digits, period_secs },
            key: KeyName::parse(FIRST_KEY).expect("a good name"),
            plan: KeyPlan::of(vec![Digest]),
        });
        assert_eq!(reason(hsm.ask(act)), Reason::UnsupportedFactor, "{digits} digits, {period_secs} seconds");
    }
    assert_eq!(
        reason(hsm.ask(Act::ShowAccount(account("alice")))),
        Reason::UnknownAccount,
        "nothing was made"
    );
}

fn i8_an_account_has_one_key_of_a_name_and_sixteen_in_all(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Ethereum]);
    assert_eq!(reason(hsm.create_key(&alice, FIRST_KEY, &[Digest, Ethereum])), Reason::KeyExists);
    assert_eq!(
        hsm.show(&alice).expect("shown").keys,
        std::slice::from_ref(&alice.key),
        "and it is the same key as before"
    );
    for number in 1..16 {
        hsm.create_key(&alice, &format!("key-{number}"), &[Ethereum]).expect("up to 16 keys");
    }
    assert_eq!(reason(hsm.create_key(&alice, "key-16", &[Ethereum])), Reason::TooManyKeys);
    let keys = hsm.show(&alice).expect("shown").keys;
    let points: std::collections::BTreeSet<_> = keys.iter().map(|key| key.public_key).collect();
    assert_eq!((keys.len(), points.len()), (16, 16));
    hsm.user("bob", &[Ethereum]);
}

fn a_key_has_one_set_of_mechanisms_in_one_form(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Ethereum]);
    for mechanisms in [&[][..], &[Ethereum, Digest], &[Digest, Digest], &[Digest, Ethereum, Ethereum]] {
        let label = alice.key_named("second");
        let refused = hsm.ask(Act::CreateKey(CreateKey { label, plan: KeyPlan::of(mechanisms.to_vec()) }));
        assert_eq!(reason(refused), Reason::MalformedRequest, "{mechanisms:?}");
        let refused = hsm.ask(enroll_act("bob", mechanisms));
        assert_eq!(reason(refused), Reason::MalformedRequest, "{mechanisms:?}");
    }
    assert_eq!(hsm.all_keys(hsm.api_key()), std::slice::from_ref(&alice.key));
}

fn an_acknowledged_enrolment_survives_kill(keystore: Keystore) {
    let mut hsm = Hsm::start(keystore);
    let alice = hsm.enroll(hsm.api_key(), enroll_act("alice", &[Digest])).expect("enrols");
    hsm.kill_and_run();
    hsm.confirm(&alice).expect("the enrolment is there");
    hsm.kill_and_run();
    assert!(hsm.show(&alice).expect("shown").confirmed, "and so is its confirmation");
    let second = hsm.create_key(&alice, "second", &[Digest]).expect("a further key");
    hsm.kill_and_run();
    assert_eq!(hsm.show(&alice).expect("shown").keys, [alice.key.clone(), second]);
}
