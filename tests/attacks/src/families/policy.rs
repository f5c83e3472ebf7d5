//! More than policy permits.

use crate::attack::{Attack, Family, On, Tries};
use countersign_tests::backend::{User, operation};
use countersign_tests::{Hsm, Keystore, cli, race, transactions};
use countersign_wire::client::Mechanism::Ethereum;
use std::path::Path;

pub(crate) const FAMILY: Family = Family {
    name: "policy",
    title: "Users' codes are right, and the backend asks for more than the custodian's policy permits",
    invariants: &["I8", "I15"],
    attacks: &[
        Attack {
            name: "over-the-limit",
            had: "the right codes of a user",
            does: "asks for more than the tenant's limit of a day: at once, in parts, through PKCS#11, after a restart",
            guards: &["policy"],
            faults: &[],
            on: On::Both,
            play: over_the_limit,
        },
        Attack {
            name: "race-to-the-limit",
            had: "the right codes of 16 users",
            does: "asks for a transfer of each at the same moment; any two of them are more than the limit",
            guards: &["limits-looked-at-again"],
            faults: &[],
            on: On::Both,
            play: race_to_the_limit,
        },
    ],
};

/// In wei; what the policy beside this crate allows a tenant's accounts in a day is twice as much.
const ETHER: u128 = 1_000_000_000_000_000_000;

fn limited(keystore: Keystore) -> Hsm {
    let mut hsm = Hsm::init(keystore, &["default"]);
    cli::set_policy(&mut hsm, &Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/limited"));
    hsm.run();
    hsm
}

fn over_the_limit(keystore: Keystore, tries: &mut Tries) {
    let mut hsm = limited(keystore);
    let alice = hsm.user("alice", &[Ethereum]);
    let transfer = |wei| transactions::payload(&transactions::transfer_of(wei));
    let code = alice.phone.code(hsm.now());
    tries.ask("three ether, where two are the limit", hsm.sign(&alice, transfer(3 * ETHER), &code));
    if !tries.got.is_empty() {
        return;
    }
    // The refusal cost no code: policy is asked first.
    hsm.sign(&alice, transfer(ETHER), &code).expect("one ether is within the limit");
    let next = alice.phone.code(hsm.advance(30));
    tries.ask("the second ether, and its fee", hsm.sign(&alice, transfer(ETHER), &next));
    hsm.kill_and_run();
    tries.ask("the same after a restart", hsm.sign(&alice, transfer(ETHER), &next));
    let granted = operation(&alice.key, Ethereum);
    hsm.context_login(&alice, &granted, &next).expect("logs in");
    tries.ask("the same through PKCS#11", hsm.context_sign(&alice, &granted, transfer(ETHER)));
}

fn race_to_the_limit(keystore: Keystore, tries: &mut Tries) {
    let hsm = limited(keystore);
    let users: Vec<User> = (0..16).map(|one| hsm.user(&format!("user-{one}"), &[Ethereum])).collect();
    // Whether they meet at the same moment is chance: so on several days.
    for _ in 0..8 {
        let now = hsm.advance(2 * 86_400);
        let outcomes = race(users.len(), |one| {
            let user = &users[one];
            let payload = transactions::payload(&transactions::transfer_of(ETHER + ETHER / 2));
            hsm.sign(user, payload, &user.phone.code(now))
        });
        let mut signed = 0;
        for outcome in outcomes {
            match outcome {
                Ok(_) => signed += 1,
                Err(refusal) => tries.refused(refusal.reason.word()),
            }
        }
        assert!(signed > 0, "one of them fits");
        if signed > 1 {
            tries.got("more than the limit, by asking at the same moment");
            return;
        }
    }
}
