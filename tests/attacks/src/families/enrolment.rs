//! Whose factor it is.

use crate::attack::{Attack, Family, On, Tries};
use countersign_tests::backend::{digest, enroll_act, operation, two_codes};
use countersign_tests::{Hsm, Keystore};
use countersign_wire::client::Act;
use countersign_wire::client::Mechanism::{Digest, Ethereum};

pub(crate) const FAMILY: Family = Family {
    name: "enrolment",
    title: "The attacker puts an authenticator of his own in the user's place",
    invariants: &["I8", "I10"],
    attacks: &[
        Attack {
            name: "enrol-over",
            had: "nothing",
            does: "enrols a confirmed account again, with the same mechanisms and others, and once more a month and a restart later",
            guards: &["account-exists"],
            faults: &[],
            on: On::Both,
            play: enrol_over,
        },
        Attack {
            name: "confirm-again",
            had: "an authenticator of his own",
            does: "confirms the user's account with his codes, unlocks it, signs and logs in with them",
            guards: &["own-factor"],
            faults: &[],
            on: On::Both,
            play: confirm_again,
        },
        Attack {
            name: "sign-unconfirmed",
            had: "the otpauth URI of an enrolment that he opened himself",
            does: "signs before the user has shown two codes",
            guards: &["confirmation"],
            faults: &[],
            on: On::Both,
            play: sign_unconfirmed,
        },
    ],
};

fn enrol_over(keystore: Keystore, tries: &mut Tries) {
    let mut hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    for mechanisms in [&[Digest][..], &[Ethereum]] {
        tries.ask("an authenticator of his own for her account", hsm.ask(enroll_act("alice", mechanisms)));
    }
    hsm.advance(30 * 86_400);
    hsm.kill_and_run();
    tries.ask("an authenticator of his own a month later", hsm.ask(enroll_act("alice", &[Digest])));
    if tries.got.is_empty() {
        hsm.sign(&alice, digest(1), &alice.phone.code(hsm.now())).expect("her own still signs");
    }
}

fn confirm_again(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let (alice, mallory) = (hsm.user("alice", &[Digest]), hsm.user("mallory", &[Digest]));
    let now = hsm.advance(90);
    let [first, second] = [-2, -1].map(|steps| mallory.phone.code_steps_off(now, steps));
    tries.ask(
        "her account confirmed with his codes",
        hsm.ask(Act::Confirm(two_codes(&alice.account, &first, &second))),
    );
    tries.ask("her account unlocked with his codes", hsm.unlock(&alice, &first, &second));
    tries.ask("a signature of hers with his code", hsm.sign(&alice, digest(1), &mallory.phone.code(now)));
    tries.ask(
        "a login of hers with his code",
        hsm.context_login(&alice, &operation(&alice.key, Digest), &mallory.phone.code(now)),
    );
}

fn sign_unconfirmed(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let alice =
        hsm.enroll(hsm.api_key(), enroll_act("alice", &[Digest])).expect("a new account can be enrolled");
    let code = alice.phone.code(hsm.now());
    tries.ask("a signature of an open enrolment", hsm.sign(&alice, digest(1), &code));
    tries.ask(
        "a login of an open enrolment",
        hsm.context_login(&alice, &operation(&alice.key, Digest), &code),
    );
    // Nor does the time that an enrolment stays open make it one.
    hsm.advance(86_400);
    tries.ask("a signature of a void enrolment", hsm.sign(&alice, digest(1), &alice.phone.code(hsm.now())));
}
