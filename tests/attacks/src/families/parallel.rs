//! One approval, many who use it at the same time.

use crate::attack::{Attack, Family, On, Tries};
use countersign_tests::backend::{digest, enroll_act, operation};
use countersign_tests::{Hsm, Keystore, race};
use countersign_wire::client::Mechanism::Digest;
use countersign_wire::reason::Refusal;

pub(crate) const FAMILY: Family = Family {
    name: "parallel",
    title: "One code is sent over many connections at once",
    invariants: &["I2", "I4"],
    attacks: &[
        Attack {
            name: "one-code-many-requests",
            had: "a fresh code",
            does: "sends 32 requests with it at once, each for another digest, half of them as logins",
            guards: &["one-at-a-time"],
            faults: &[],
            on: On::Both,
            play: one_code_many_requests,
        },
        Attack {
            name: "one-grant-many-signs",
            had: "an operation that the user's code logged in",
            does: "sends 32 signatures for it at once",
            guards: &["grant-used-up"],
            faults: &[],
            on: On::Both,
            play: one_grant_many_signs,
        },
        Attack {
            name: "one-name-many-enrolments",
            had: "nothing",
            does: "enrols one name 16 times at once: of two authenticators one would be his",
            guards: &["account-exists"],
            faults: &[],
            on: On::Both,
            play: one_name_many_enrolments,
        },
    ],
};

const MANY: usize = 32;

/// More than one success is one too many.
fn at_most_one<T>(tries: &mut Tries, what: &str, outcomes: Vec<Result<T, Refusal>>) {
    let mut succeeded = 0;
    for outcome in outcomes {
        if let Err(refusal) = outcome {
            tries.refused(refusal.reason.word());
        } else {
            succeeded += 1;
        }
    }
    assert!(succeeded > 0, "one of them is good");
    if succeeded > 1 {
        tries.got(what);
    }
}

fn number(of: usize) -> u8 {
    u8::try_from(of).expect("few")
}

fn one_code_many_requests(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    // Whether they meet at the same moment is chance: so with several users.
    for user in 0..4 {
        let alice = hsm.user(&format!("alice-{user}"), &[Digest]);
        let code = alice.phone.code(hsm.now());
        let outcomes = race(MANY, |one| {
            if one % 2 == 0 {
                return hsm.sign(&alice, digest(number(one)), &code).map(|_| ());
            }
            let operation = operation(&alice.key, Digest);
            hsm.context_login(&alice, &operation, &code)?;
            hsm.context_sign(&alice, &operation, digest(number(one))).map(|_| ())
        });
        at_most_one(tries, "several signatures for one code", outcomes);
    }
}

fn one_grant_many_signs(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let granted = operation(&alice.key, Digest);
    hsm.context_login(&alice, &granted, &alice.phone.code(hsm.now())).expect("logs in");
    let outcomes = race(MANY, |one| hsm.context_sign(&alice, &granted, digest(number(one))));
    at_most_one(tries, "several signatures for one login", outcomes);
}

fn one_name_many_enrolments(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let outcomes = race(MANY / 2, |_| hsm.enroll(hsm.api_key(), enroll_act("alice", &[Digest])));
    at_most_one(tries, "several authenticators for one account", outcomes);
}
