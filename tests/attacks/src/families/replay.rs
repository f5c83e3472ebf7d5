//! A code that was seen is used again.

use crate::attack::{Attack, Family, On, Tries};
use countersign_client::new_request_id;
use countersign_tests::backend::{digest, operation};
use countersign_tests::{Hsm, Keystore};
use countersign_wire::client::Mechanism::Digest;

pub(crate) const FAMILY: Family = Family {
    name: "replay",
    title: "A code that the user typed once is used again, as it is and in variants",
    invariants: &["I1", "I2", "I3"],
    attacks: &[
        Attack {
            name: "same-code",
            had: "a code that was just used",
            does: "asks again with it: for the same digest and another, with another key, through PKCS#11's login, after a restart",
            guards: &["used-steps"],
            faults: &[],
            on: On::Both,
            play: same_code,
        },
        Attack {
            name: "older-code",
            had: "a code that the user typed after a later one was used",
            does: "uses the older one while it is in the window",
            guards: &["used-steps"],
            faults: &[],
            on: On::Both,
            play: older_code,
        },
        Attack {
            name: "variants",
            had: "a fresh code of the user's",
            does: "sends it with blanks, signs, a longer zero, other digits of Unicode, before it is used and after: a second form of it would be a second use",
            guards: &["code-form"],
            faults: &[],
            on: On::Embedded,
            play: variants,
        },
        Attack {
            name: "same-request",
            had: "a request that was answered, with its code and its id",
            does: "sends it again with another code, which would get the stored signature for a code that was never right",
            guards: &["retry-bound"],
            faults: &[],
            on: On::Both,
            play: same_request,
        },
        Attack {
            name: "used-grant",
            had: "an operation that was logged in and signed",
            does: "signs with it again, this digest and another",
            guards: &["grant-used-up"],
            faults: &[],
            on: On::Both,
            play: used_grant,
        },
        Attack {
            name: "another-operations-grant",
            had: "an operation that the user's code logged in",
            does: "signs in another operation, with another key, of another account",
            guards: &["grant-bound"],
            faults: &[],
            on: On::Both,
            play: another_operations_grant,
        },
    ],
};

fn same_code(keystore: Keystore, tries: &mut Tries) {
    let mut hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let second = hsm.create_key(&alice, "second", &[Digest]).expect("a further key");
    let code = alice.phone.code(hsm.now());
    hsm.sign(&alice, digest(1), &code).expect("her code signs once");
    tries.ask("the same digest once more", hsm.sign(&alice, digest(1), &code));
    tries.ask("another digest", hsm.sign(&alice, digest(2), &code));
    tries.ask("a digest with her other key", hsm.sign_with(&alice, &second.label, digest(2), Some(&code)));
    tries.ask("a login", hsm.context_login(&alice, &operation(&alice.key, Digest), &code));
    hsm.kill_and_run();
    // Four failures by now: the fifth locks, and the lock is no answer to the question.
    tries.ask("another digest after a restart", hsm.sign(&alice, digest(3), &code));
}

fn older_code(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let now = hsm.advance(60);
    let [older, later] = [-1, 0].map(|steps| alice.phone.code_steps_off(now, steps));
    hsm.sign(&alice, digest(1), &later).expect("the later code signs");
    tries.ask("a digest with the older code", hsm.sign(&alice, digest(2), &older));
    tries.ask(
        "a login with the older code",
        hsm.context_login(&alice, &operation(&alice.key, Digest), &older),
    );
}

fn variants(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let code = alice.phone.code(hsm.now());
    let wide: String = code.chars().filter_map(|c| char::from_u32(c as u32 - '0' as u32 + 0xff10)).collect();
    let arabic: String =
        code.chars().filter_map(|c| char::from_u32(c as u32 - '0' as u32 + 0x0660)).collect();
    let (front, back) = code.split_at(3);
    let variants = [
        format!(" {code}"),
        format!("{code} "),
        format!("{code}\n"),
        format!("{code}\0"),
        format!("0{code}"),
        format!("+{code}"),
        format!("-{code}"),
        format!("{front} {back}"),
        format!("{front}_{back}"),
        wide,
        arabic,
        String::new(),
    ];
    for variant in &variants {
        tries.ask("a digest for another form of the code", hsm.sign(&alice, digest(2), variant));
    }
    let info = hsm.show(&alice).expect("shown");
    tries.expect("a count for what was no code", "not counted", info.consecutive_failures == 0);
    if tries.got.is_empty() {
        hsm.sign(&alice, digest(1), &code).expect("the code itself is still good");
    }
    for variant in &variants {
        tries.ask("a digest for another form of a used code", hsm.sign(&alice, digest(3), variant));
    }
}

fn same_request(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let (id, code) = (new_request_id(), alice.phone.code(hsm.now()));
    hsm.sign_as(id, &alice, digest(1), &code).expect("her code signs");
    tries.ask(
        "the stored signature for a wrong code",
        hsm.sign_as(id, &alice, digest(1), &alice.phone.wrong_code(hsm.now())),
    );
    tries.ask("the stored signature for six zeros", hsm.sign_as(id, &alice, digest(1), "000000"));
    tries.ask("another digest under the same id", hsm.sign_as(id, &alice, digest(2), &code));
}

fn used_grant(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let granted = operation(&alice.key, Digest);
    hsm.context_login(&alice, &granted, &alice.phone.code(hsm.now())).expect("logs in");
    hsm.context_sign(&alice, &granted, digest(1)).expect("the operation signs once");
    for number in 1..4 {
        tries.ask("a second signature of one login", hsm.context_sign(&alice, &granted, digest(number)));
    }
}

fn another_operations_grant(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let (alice, bob) = (hsm.user("alice", &[Digest]), hsm.user("bob", &[Digest]));
    let second = hsm.create_key(&alice, "second", &[Digest]).expect("a further key");
    let granted = operation(&alice.key, Digest);
    hsm.context_login(&alice, &granted, &alice.phone.code(hsm.now())).expect("logs in");
    let others = [operation(&bob.key, Digest), operation(&second, Digest), operation(&alice.key, Digest)];
    for other in &others {
        tries.ask(
            "a signature in an operation that nobody logged in",
            hsm.context_sign(&bob, other, digest(2)),
        );
    }
    hsm.context_sign(&alice, &granted, digest(1)).expect("the operation that she logged in signs");
}
