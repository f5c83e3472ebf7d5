//! The time that a comparison takes.

use crate::attack::{Attack, Family, On, Tries};
use countersign_tests::{Keystore, artefacts};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

pub(crate) const FAMILY: Family = Family {
    name: "timing",
    title: "The attacker measures how long the plugin takes to refuse, and learns how much of his guess was right",
    invariants: &["I1", "I4", "I9"],
    attacks: &[
        Attack {
            name: "code-digit-by-digit",
            had: "a meter that counts the plugin's instructions",
            does: "counts them for wrong codes of six and of eight digits that share none to all but one with the present code, the one before it and the one after it",
            guards: &["constant-time-code"],
            faults: &[],
            on: On::Embedded,
            play: |_: Keystore, tries| {
                count("code", "how many digits of a wrong code are right", tries);
                count("long-code", "how many of eight digits are right", tries);
            },
        },
        Attack {
            name: "api-key-byte-by-byte",
            had: "a meter that counts the plugin's instructions",
            does: "counts them for wrong API keys that share all digits but one with the right key, and a byte of the hash that is compared",
            guards: &["constant-time-key"],
            faults: &[],
            on: On::Embedded,
            play: |_: Keystore, tries| count("api-key", "how much of a wrong API key's hash is right", tries),
        },
        Attack {
            name: "whose-it-is",
            had: "a meter that counts the plugin's instructions",
            does: "counts them while his tenant looks for names and key ids of another tenant, and for some that nobody has",
            guards: &["same-miss"],
            faults: &[],
            on: On::Embedded,
            play: |_: Keystore, tries| {
                count("account", "whether another tenant has an account", tries);
                count("key", "whether another tenant has a key", tries);
            },
        },
    ],
};

/// Counts the instructions of every case of a check: `what` he learns if they differ.
fn count(check: &str, what: &str, tries: &mut Tries) {
    let output = Command::new(artefacts::timing()).arg("instructions").output().expect("the meter runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let all: BTreeMap<String, BTreeMap<String, u64>> =
        serde_json::from_slice(&output.stdout).expect("the meter prints JSON");
    let counts = &all[check];
    let different: BTreeSet<u64> = counts.values().copied().collect();
    assert!(counts.len() > 2 && counts.values().all(|count| *count > 0), "something was counted");
    for _ in counts {
        tries.expect(what, "the same number of instructions", different.len() == 1);
    }
}
