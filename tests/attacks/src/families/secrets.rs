//! What the HSM leaves lying about.

use crate::attack::{Attack, Family, On, Tries};
use countersign_tests::backend::{digest, reason};
use countersign_tests::disk::{contains, forms_of};
use countersign_tests::{Hsm, Keystore};
use countersign_wire::client::Act;
use countersign_wire::client::Mechanism::Digest;

pub(crate) const FAMILY: Family = Family {
    name: "secrets",
    title: "The attacker reads all that lies outside the boundary, and looks for secrets",
    invariants: &["I7"],
    attacks: &[Attack {
        name: "disk-and-logs",
        had: "the HSM host's disk and what the HSM prints there",
        does: "looks for TOTP secrets, codes and API keys, as they are and as hex, base32 and base64, after signatures, refusals and a kill",
        guards: &["silence"],
        faults: &[],
        on: On::Both,
        play: disk_and_logs,
    }],
};

fn disk_and_logs(keystore: Keystore, tries: &mut Tries) {
    let mut hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let code = alice.phone.code(hsm.now());
    hsm.sign(&alice, digest(1), &code).expect("her code signs");
    let wrong = alice.phone.wrong_code(hsm.now());
    let _ = reason(hsm.sign(&alice, digest(2), &wrong));
    let _ = reason(hsm.ask(Act::Login).and_then(|_| hsm.sign(&alice, digest(2), "not a code")));
    hsm.kill_and_run();
    hsm.stop();
    let outside = hsm.bytes_outside_the_boundary();
    // A code stands in the bytes of a store by chance now and then: only in a text is it one.
    let said = hsm.log();
    let api_key = hsm.api_key().expose().to_owned();
    for (what, secret) in [("the TOTP secret", alice.phone.secret()), ("the API key", api_key.as_bytes())] {
        for form in forms_of(secret) {
            tries.expect(what, "not found", !contains(&outside, &form));
        }
    }
    for typed in [&code, &wrong] {
        tries.expect("a code that was typed", "not found", !said.contains(typed.as_str()));
    }
}
