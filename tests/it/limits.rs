//! Limits on guessing: locks and failure budgets.

use countersign_tests::backend::{User, digest, operation, reason};
use countersign_tests::{Hsm, Keystore, on_both_keystores, on_embedded};
use countersign_wire::client::Mechanism::Digest;
use countersign_wire::reason::{Reason, Refusal};

const HALF_DAY: u64 = 12 * 3600;

on_both_keystores!(five_failures_lock_for_five_minutes);
on_embedded!(
    each_further_lock_is_twice_as_long,
    i4_a_success_clears_the_consecutive_count_and_nothing_else,
    many_small_guesses_between_successes_use_up_the_budget,
    i4_counts_locks_and_budgets_survive_kill,
    i14_malformed_codes_are_refused_and_not_counted,
    two_consecutive_codes_reopen_a_locked_account,
    two_consecutive_codes_reopen_an_account_over_budget_until_its_next_failure,
    a_pair_of_codes_is_tried_once_a_minute,
    i3_a_pair_of_codes_that_is_not_fresh_and_consecutive_reopens_nothing,
    i9_one_tenants_failures_never_refuse_another,
    guessing_across_many_users_uses_up_the_tenants_budget,
    a_locked_account_refuses_even_the_right_code_and_spends_nothing,
);

fn fail(hsm: &Hsm, user: &User) -> Refusal {
    let wrong = user.phone.wrong_code(hsm.now());
    hsm.sign(user, digest(0), &wrong).expect_err("a wrong code is refused")
}

fn fail_times(hsm: &Hsm, user: &User, times: usize) {
    for _ in 0..times {
        assert_eq!(fail(hsm, user).reason, Reason::WrongCode);
    }
}

fn succeed(hsm: &Hsm, user: &User) {
    let code = user.phone.code(hsm.advance(30));
    hsm.sign(user, digest(1), &code).expect("a right code signs");
}

fn five_failures_lock_for_five_minutes(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let bob = hsm.user("bob", &[Digest]);
    fail_times(&hsm, &alice, 5);
    assert_eq!(fail(&hsm, &alice), Refusal { reason: Reason::Locked, retry_after_secs: Some(300) });
    assert_eq!(hsm.show(&alice).expect("shown").locked_for_secs, 300);
    succeed(&hsm, &bob);
    hsm.advance(269);
    assert_eq!(fail(&hsm, &alice), Refusal { reason: Reason::Locked, retry_after_secs: Some(1) });
    succeed(&hsm, &alice);
}

fn each_further_lock_is_twice_as_long(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    for lock_secs in [300, 600] {
        fail_times(&hsm, &alice, 5);
        assert_eq!(fail(&hsm, &alice).retry_after_secs, Some(lock_secs));
        hsm.advance(lock_secs);
    }
    // The budget is used up by now; half a day forgives one failure, and the account's level falls by a day's quiet.
    assert_eq!(fail(&hsm, &alice).reason, Reason::AccountOverBudget);
    hsm.advance(5 * HALF_DAY);
    fail_times(&hsm, &alice, 5);
    let locked = fail(&hsm, &alice);
    assert_eq!(
        (locked.reason, locked.retry_after_secs),
        (Reason::Locked, Some(300)),
        "two quiet days: two levels"
    );
}

fn i4_a_success_clears_the_consecutive_count_and_nothing_else(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    fail_times(&hsm, &alice, 4);
    let before = hsm.show(&alice).expect("shown");
    assert_eq!((before.consecutive_failures, before.failures_left), (4, 6));
    succeed(&hsm, &alice);
    let after = hsm.show(&alice).expect("shown");
    assert_eq!((after.consecutive_failures, after.failures_left), (0, 6));
}

fn many_small_guesses_between_successes_use_up_the_budget(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    for failures in [4, 4, 2] {
        fail_times(&hsm, &alice, failures);
        if failures == 4 {
            succeed(&hsm, &alice);
        }
    }
    let refused = hsm.sign(&alice, digest(1), &alice.phone.code(hsm.advance(30))).expect_err("over budget");
    assert_eq!(refused.reason, Reason::AccountOverBudget);
    let wait = refused.retry_after_secs.expect("it says when");
    assert!(wait <= HALF_DAY, "one failure is forgiven in {wait} seconds");
    hsm.advance(wait);
    succeed(&hsm, &alice);
    fail_times(&hsm, &alice, 1);
    assert_eq!(fail(&hsm, &alice).reason, Reason::AccountOverBudget, "only one was forgiven");
}

fn i4_counts_locks_and_budgets_survive_kill(keystore: Keystore) {
    let mut hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    for failures in 1..=4u16 {
        fail_times(&hsm, &alice, 1);
        hsm.kill_and_run();
        let info = hsm.show(&alice).expect("shown");
        assert_eq!((info.consecutive_failures, info.failures_left), (failures, 10 - failures));
    }
    fail_times(&hsm, &alice, 1);
    hsm.kill_and_run();
    let locked_for_secs = hsm.show(&alice).expect("shown").locked_for_secs;
    assert!((1..=300).contains(&locked_for_secs), "{locked_for_secs}");
    assert_eq!(fail(&hsm, &alice).reason, Reason::Locked);
    hsm.advance(locked_for_secs);
    succeed(&hsm, &alice);
}

fn i14_malformed_codes_are_refused_and_not_counted(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let now = hsm.now();
    let (code, before) = (alice.phone.code(now), hsm.show(&alice).expect("shown"));
    let (spaced, signed) = (format!("{} {}", &code[..3], &code[3..]), format!("+{}", &code[1..]));
    let (leading, trailing, longer) = (format!(" {code}"), format!("{code}\n"), format!("0{code}"));
    let wide: String =
        code.chars().map(|digit| char::from_u32(digit as u32 + 0xfee0).expect("wide")).collect();
    let api_key = &hsm.api_key().expose()[..64];
    for malformed in [
        "",
        "1",
        "12345",
        "12345a",
        "0x1234",
        "12345678",
        "-12345",
        "１２３",
        &spaced,
        &signed,
        &leading,
        &trailing,
        &longer,
        &wide,
        api_key,
    ] {
        assert_eq!(reason(hsm.sign(&alice, digest(1), malformed)), Reason::MalformedCode, "{malformed:?}");
        let refused = hsm.context_login(&alice, &operation(&alice.key, Digest), malformed);
        assert_eq!(reason(refused), Reason::MalformedCode, "{malformed:?}");
        assert_eq!(reason(hsm.unlock(&alice, malformed, &code)), Reason::MalformedCode, "{malformed:?}");
    }
    assert_eq!(hsm.show(&alice).expect("shown"), before, "nothing was counted");
    hsm.sign(&alice, digest(1), &code).expect("the code itself still signs");
}

fn two_consecutive_codes_reopen_a_locked_account(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    fail_times(&hsm, &alice, 5);
    let now = hsm.now();
    let [first, second, next] = [0, 1, 2].map(|steps| alice.phone.code_steps_off(now, steps));
    let info = hsm.unlock(&alice, &first, &second).expect("two fresh consecutive codes unlock");
    assert_eq!((info.locked_for_secs, info.failures_left), (0, 5), "the budget stays as it was");
    for spent in [&first, &second] {
        assert_eq!(reason(hsm.sign(&alice, digest(1), spent)), Reason::CodeUsed, "both were spent");
    }
    hsm.advance(30);
    hsm.sign(&alice, digest(1), &next).expect("the next code signs");
}

fn two_consecutive_codes_reopen_an_account_over_budget_until_its_next_failure(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    for _ in 0..2 {
        fail_times(&hsm, &alice, 5);
        hsm.advance(600);
    }
    assert_eq!(fail(&hsm, &alice).reason, Reason::AccountOverBudget);
    let now = hsm.now();
    let [first, second] = [0, 1].map(|steps| alice.phone.code_steps_off(now, steps));
    hsm.unlock(&alice, &first, &second).expect("two fresh consecutive codes unlock");
    hsm.advance(30);
    succeed(&hsm, &alice);
    succeed(&hsm, &alice);
    fail_times(&hsm, &alice, 1);
    let refused = hsm.sign(&alice, digest(1), &alice.phone.code(hsm.advance(30)));
    assert_eq!(reason(refused), Reason::AccountOverBudget);
}

fn a_pair_of_codes_is_tried_once_a_minute(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    fail_times(&hsm, &alice, 5);
    let wrong = alice.phone.wrong_code(hsm.now());
    assert_eq!(reason(hsm.unlock(&alice, &wrong, &wrong)), Reason::WrongCode);
    let now = hsm.now();
    let (first, second) = (alice.phone.code(now), alice.phone.code_steps_off(now, 1));
    let later = hsm.unlock(&alice, &first, &second).expect_err("too soon");
    assert_eq!(later, Refusal { reason: Reason::TryLater, retry_after_secs: Some(60) });
    let now = hsm.advance(60);
    let (first, second) = (alice.phone.code(now), alice.phone.code_steps_off(now, 1));
    hsm.unlock(&alice, &first, &second).expect("a minute later two right codes unlock");
}

fn i3_a_pair_of_codes_that_is_not_fresh_and_consecutive_reopens_nothing(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    succeed(&hsm, &alice);
    fail_times(&hsm, &alice, 5);
    let mut now = hsm.now();
    for (what, steps, expected) in [
        ("the same code twice", (1, 1), Reason::WrongCode),
        ("the wrong way round", (1, 0), Reason::WrongCode),
        ("a step between them", (-1, 1), Reason::WrongCode),
        ("both long gone", (-9, -8), Reason::WrongCode),
        ("both still to come", (2, 3), Reason::WrongCode),
    ] {
        let [first, second] = [steps.0, steps.1].map(|steps| alice.phone.code_steps_off(now, steps));
        assert_eq!(reason(hsm.unlock(&alice, &first, &second)), expected, "{what}");
        assert!(hsm.show(&alice).expect("shown").locked_for_secs > 0, "{what}");
        assert_eq!(fail(&hsm, &alice).reason, Reason::Locked, "{what}");
        // Five tries, a minute apart, fit the 300 seconds of the lock but for the last one's wait.
        now = hsm.advance(if what.starts_with("both still") { 0 } else { 60 });
    }
    assert_eq!(fail(&hsm, &alice).reason, Reason::Locked);
}

fn i9_one_tenants_failures_never_refuse_another(keystore: Keystore) {
    let mut hsm = Hsm::init(keystore, &["default"]);
    hsm.add_tenant("small", &["--failures-per-hour", "3"]);
    hsm.run();
    let small = hsm.api_key_of("small").clone();
    let (mallory, bystander) =
        (hsm.user_of(&small, "mallory", &[Digest]), hsm.user_of(&small, "eve", &[Digest]));
    let alice = hsm.user("alice", &[Digest]);
    fail_times(&hsm, &mallory, 3);
    let now = hsm.now();
    let refused =
        hsm.sign(&bystander, digest(1), &bystander.phone.code(now)).expect_err("the tenant is over budget");
    assert_eq!((refused.reason, refused.retry_after_secs), (Reason::TenantOverBudget, Some(1200)));
    hsm.sign(&alice, digest(1), &alice.phone.code(now)).expect("another tenant's users are not held up");
    // Two consecutive codes open a user's own account even then.
    let (first, second) = (bystander.phone.code(now), bystander.phone.code_steps_off(now, 1));
    hsm.unlock(&bystander, &first, &second).expect("two right codes");
    let code = bystander.phone.code(hsm.advance(60));
    hsm.sign(&bystander, digest(1), &code).expect("an account that was vouched for signs");
    hsm.advance(1200);
    succeed(&hsm, &mallory);
}

fn guessing_across_many_users_uses_up_the_tenants_budget(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let users: Vec<User> = (0..25).map(|number| hsm.user(&format!("user-{number}"), &[Digest])).collect();
    // 100 an hour, since 1 % of 25 accounts is less.
    for user in &users {
        fail_times(&hsm, user, 4);
    }
    let refused = fail(&hsm, &users[0]);
    assert_eq!((refused.reason, refused.retry_after_secs), (Reason::TenantOverBudget, Some(36)));
    hsm.advance(36);
    fail_times(&hsm, &users[1], 1);
    assert_eq!(fail(&hsm, &users[2]).reason, Reason::TenantOverBudget);
}

fn a_locked_account_refuses_even_the_right_code_and_spends_nothing(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    fail_times(&hsm, &alice, 5);
    let now = hsm.advance(270);
    let late = alice.phone.code_steps_off(now, 1);
    let before = hsm.show(&alice).expect("shown");
    assert_eq!(reason(hsm.sign(&alice, digest(1), &late)), Reason::Locked);
    assert_eq!(hsm.show(&alice).expect("shown"), before, "a locked account counts nothing");
    hsm.advance(30);
    hsm.sign(&alice, digest(1), &late).expect("the code that was refused unchecked still signs");
}
