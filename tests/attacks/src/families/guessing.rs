//! Six digits are guessed.

use crate::attack::{Attack, Family, On, Tries};
use countersign_tests::backend::{User, digest};
use countersign_tests::{Hsm, Keystore};
use countersign_wire::client::Mechanism::Digest;
use countersign_wire::reason::Reason;

pub(crate) const FAMILY: Family = Family {
    name: "guessing",
    title: "Codes are guessed, in each of the ways that a plain lock does not stop, and locks are turned against users",
    invariants: &["I4", "I9", "I14"],
    attacks: &[
        Attack {
            name: "one-user",
            had: "nothing",
            does: "guesses at one user's codes for a week, waiting out each lock",
            guards: &["failures-counted"],
            faults: &[],
            on: On::Both,
            play: one_user,
        },
        Attack {
            name: "across-restarts",
            had: "the host's power switch",
            does: "guesses four times, kills the HSM before the lock, and goes on",
            guards: &["failures-durable"],
            faults: &[],
            on: On::Both,
            play: across_restarts,
        },
        Attack {
            name: "between-successes",
            had: "a user who signs every day",
            does: "guesses four times between her successes, which clear the count",
            guards: &["budget-outlives-success"],
            faults: &[],
            on: On::Embedded,
            play: between_successes,
        },
        Attack {
            name: "spraying",
            had: "the names of many users",
            does: "guesses once at each of 150 users, so that no account locks",
            guards: &["tenant-budget"],
            faults: &[],
            on: On::Embedded,
            play: spraying,
        },
        Attack {
            name: "lock-everybody-out",
            had: "the names of all users of his tenant",
            does: "locks an account and uses his tenant's budget up, to shut out another tenant's users, and that user for good",
            guards: &["budgets-apart"],
            faults: &[],
            on: On::Embedded,
            play: lock_everybody_out,
        },
    ],
};

/// How many guesses an HSM may compare in a week: the budget, and what is forgiven of it.
const GUESSES_IN_A_WEEK: usize = 10 + 14;

fn guess(hsm: &Hsm, user: &User) -> Result<(), Reason> {
    let wrong = user.phone.wrong_code(hsm.now());
    hsm.sign(user, digest(9), &wrong).map(|_| ()).map_err(|refusal| refusal.reason)
}

fn one_user(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let (end, mut compared) = (hsm.now() + 7 * 86_400, 0);
    while hsm.now() < end && compared <= 2 * GUESSES_IN_A_WEEK {
        let wrong = alice.phone.wrong_code(hsm.now());
        let refusal = hsm.sign(&alice, digest(9), &wrong).expect_err("a wrong code is refused");
        tries.refused(refusal.reason.word());
        if refusal.reason == Reason::WrongCode {
            compared += 1;
        } else {
            hsm.advance(refusal.retry_after_secs.expect("it says how long").max(1));
        }
    }
    if compared > GUESSES_IN_A_WEEK {
        tries.got("guesses at a million codes without a bound");
    }
    tries.note("24 guesses a week at the most, of a million codes of which three are right");
}

fn across_restarts(keystore: Keystore, tries: &mut Tries) {
    let mut hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let mut compared = 0;
    for _ in 0..4 {
        for _ in 0..4 {
            match guess(&hsm, &alice) {
                Err(Reason::WrongCode) => compared += 1,
                Err(other) => tries.refused(other.word()),
                Ok(()) => tries.got("a signature with a wrong code"),
            }
        }
        hsm.kill_and_run();
    }
    if compared > 5 {
        tries.got("guesses that no restart remembers");
    }
}

fn between_successes(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let mut compared = 0;
    for _ in 0..8 {
        for _ in 0..4 {
            match guess(&hsm, &alice) {
                Err(Reason::WrongCode) => compared += 1,
                Err(other) => tries.refused(other.word()),
                Ok(()) => tries.got("a signature with a wrong code"),
            }
        }
        // She signs, if she can; with two codes in a row she always can.
        let code = alice.phone.code(hsm.advance(30));
        let _ = hsm.sign(&alice, digest(1), &code);
    }
    if compared > 10 {
        tries.got("32 guesses within five minutes");
    }
}

fn spraying(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let users: Vec<User> = (0..150).map(|one| hsm.user(&format!("user-{one:03}"), &[Digest])).collect();
    let mut compared = 0;
    for user in &users {
        match guess(&hsm, user) {
            Err(Reason::WrongCode) => compared += 1,
            Err(other) => tries.refused(other.word()),
            Ok(()) => tries.got("a signature with a wrong code"),
        }
    }
    if compared > 100 {
        tries.got("a guess at every user at once");
    }
    tries.note("100 guesses at once, and then 100 an hour, in a tenant of 150 users");
}

fn lock_everybody_out(keystore: Keystore, tries: &mut Tries) {
    let mut hsm = Hsm::init(keystore, &["default", "other"]);
    hsm.run();
    let users: Vec<User> = (0..130).map(|one| hsm.user(&format!("user-{one:03}"), &[Digest])).collect();
    let theirs = hsm.api_key_of("other").clone();
    let stranger = hsm.user_of(&theirs, "stranger", &[Digest]);
    let locked = &users[0];
    for user in [locked; 5].into_iter().chain(&users) {
        if let Err(reason) = guess(&hsm, user) {
            tries.refused(reason.word());
        }
    }
    // The tenant beside it does not notice.
    let now = hsm.now();
    let beside = hsm.sign(&stranger, digest(1), &stranger.phone.code(now));
    tries.expect("another tenant's users refused", "the other tenant signs", beside.is_ok());
    // And a user of this one shows two codes in a row.
    let now = hsm.advance(90);
    let [first, second] = [-2, -1].map(|steps| locked.phone.code_steps_off(now, steps));
    hsm.unlock(locked, &first, &second).expect("two codes reopen a locked account");
    let reopened = hsm.sign(locked, digest(1), &locked.phone.code(now));
    tries.expect("a user kept out for good", "her two codes reopen it", reopened.is_ok());
}
