//! Parts of the HSM fail.

use crate::attack::{Attack, Family, On, Tries};
use crate::families::requests::{SECRET, UNCONFIRMED, of_the_user, word};
use countersign_tests::backend::{User, digest, enroll_act, operation, sign_act};
use countersign_tests::owner::{device, enrol, owned_key, plan_with_floor};
use countersign_tests::{Hsm, Keystore};
use countersign_wire::client::Mechanism::Digest;
use countersign_wire::client::{ApprovalKind, KeyQuery};
use k256::ecdsa::signature::hazmat::PrehashVerifier;
use k256::ecdsa::{Signature, VerifyingKey};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

pub(crate) const FAMILY: Family = Family {
    name: "faults",
    title: "The attacker heats, starves and glitches the HSM: a part that fails must not be a part that agrees",
    invariants: &["I1", "I5"],
    attacks: &[
        Attack {
            name: "every-call-fails",
            had: "a wrong code",
            does: "makes the first seven calls of the plugin to its keystore, store and randomness fail, one at a time and in pairs, each while he signs with a wrong code and while he logs in with it",
            guards: &["mac-errors"],
            faults: &["fault-hal"],
            on: On::Both,
            play: every_call_fails,
        },
        Attack {
            name: "every-request-under-failures",
            had: "nothing",
            does: "makes each of the first seven calls fail, one at a time, and then every MAC, in each kind of request that takes the user, with codes, signatures and seals of his own invention",
            guards: &["mac-errors"],
            faults: &["fault-hal"],
            on: On::Both,
            play: every_request_under_failures,
        },
        Attack {
            name: "faulty-signatures",
            had: "the right codes of a user, and an HSM whose keystore flips bits",
            does: "collects signatures and looks for a faulty one, and for two with the same nonce: either tells the private key",
            guards: &["signature-verified"],
            faults: &["fault-flipped-signature"],
            on: On::Both,
            play: faulty_signatures,
        },
    ],
};

/// A plan for which calls fail; each plan's first line tells it from the others.
struct Plan(PathBuf, u64);

impl Plan {
    /// An HSM that runs and follows plans, and its first one: nothing fails.
    fn followed_by_an_hsm(keystore: Keystore, tries: &mut Tries) -> (Hsm, Self) {
        let mut hsm = Hsm::init(keystore, &["default"]);
        let file = hsm.folder().join("plan");
        countersign_tests::raw::set_variable("COUNTERSIGN_TEST_HAL", &file);
        tries.may_be_down = true;
        hsm.run();
        (hsm, Self(file, 0))
    }

    /// The calls of these numbers fail.
    fn make(&mut self, calls: &[u64]) {
        let numbers: Vec<String> = calls.iter().map(u64::to_string).collect();
        self.write(&numbers.join("\n"));
    }

    /// Every MAC fails.
    fn fail_macs(&mut self) {
        self.write("mac");
    }

    fn write(&mut self, what: &str) {
        self.1 += 1;
        fs::write(&self.0, format!("plan {}\n{what}\n", self.1)).expect("a file can be written");
    }

    /// Whether a call failed since the plan was made, and not by an earlier one.
    fn has_struck(&self) -> bool {
        let struck = fs::read_to_string(self.0.with_extension("struck"));
        struck.is_ok_and(|plan| plan == format!("plan {}", self.1))
    }
}

/// More calls than a request with a wrong code makes.
const CALLS: u64 = 7;

fn every_call_fails(keystore: Keystore, tries: &mut Tries) {
    let (mut hsm, mut plan) = Plan::followed_by_an_hsm(keystore, tries);
    let users: Vec<User> = (0..4).map(|one| hsm.user(&format!("user-{one}"), &[Digest])).collect();
    let pairs = (1..=CALLS).flat_map(|first| (first..=CALLS).map(move |second| [first, second]));
    let rounds = pairs.flat_map(|calls| [false, true].map(|by_login| (calls, by_login)));
    let mut struck = BTreeSet::new();
    for (round, (calls, by_login)) in rounds.enumerate() {
        // A store that failed makes the plugin start again. And not the budgets are under attack here: they are waited for.
        hsm.wait_until_it_answers();
        hsm.advance(86_400);
        let user = &users[round % users.len()];
        let wrong = user.phone.wrong_code(hsm.now());
        let granted = operation(&user.key, Digest);
        plan.make(&calls);
        if by_login {
            tries.ask("a login with a wrong code", hsm.context_login(user, &granted, &wrong));
        } else {
            tries.ask("a signature with a wrong code", hsm.sign(user, digest(1), &wrong));
        }
        struck.extend(plan.has_struck().then_some((calls, by_login)));
        if by_login {
            tries.ask("a signature of no login", hsm.context_sign(user, &granted, digest(1)));
        }
        plan.make(&[]);
        if !tries.got.is_empty() {
            return;
        }
        // Where the store failed the plugin stops believing itself; where that was no end of it, the HSM is started again.
        hsm.wait_until_it_answers();
        if hsm.sign(user, digest(1), &user.phone.code(hsm.now())).is_err() {
            hsm.kill_and_run();
        }
    }
    for by_login in [false, true] {
        assert!(struck.contains(&([1, 1], by_login)), "the first call fails");
        assert!(!struck.contains(&([CALLS, CALLS], by_login)), "there are no calls after the last");
    }
    // The words depend on which call it was; what counts is that there was a refusal each time.
    let words: BTreeSet<String> = std::mem::take(&mut tries.refused).into_keys().collect();
    tries.note(format!(
        "{} plans of which calls fail, each for a signature and for a login: a refusal each time",
        CALLS * (CALLS + 1) / 2
    ));
    tries.expect("nothing was ever refused", "refused", !words.is_empty());
}

fn every_request_under_failures(keystore: Keystore, tries: &mut Tries) {
    let (mut hsm, mut plan) = Plan::followed_by_an_hsm(keystore, tries);
    let owner = device(&hsm, &hsm.client, "alice", SECRET).expect("the device meets its HSM");
    let phone = enrol(&hsm, &owner, "alice", plan_with_floor(&[Digest], ApprovalKind::Code));
    let query = KeyQuery::Label(owned_key("alice"));
    let key = hsm.find_keys(hsm.api_key(), query).expect("listed").keys.remove(0);
    let count = of_the_user(&key, [0; 16], [0; 16], 0).len();
    let mut struck = BTreeSet::new();
    for (request, call) in (0..count).flat_map(|request| (1..=CALLS + 1).map(move |call| (request, call))) {
        hsm.wait_until_it_answers();
        let now = hsm.advance(86_400);
        let intent = hsm.stage("alice", digest(3)).expect("staged").intent.into_array();
        let invitation = hsm.invite("carol", plan_with_floor(&[Digest], ApprovalKind::Code));
        if call == 1 {
            // Void by now, if there was one before.
            hsm.enroll(hsm.api_key(), enroll_act(UNCONFIRMED, &[Digest]))
                .expect("enrolled, and not confirmed");
        }
        let act = of_the_user(&key, intent, invitation, now).swap_remove(request);
        let word = word(&act);
        // Commits and MACs overtake each other: so the last plan names what fails.
        if call > CALLS {
            plan.fail_macs();
        } else {
            plan.make(&[call]);
        }
        let answer = if act.is_of_device() { hsm.client.call(None, act) } else { hsm.ask(act) };
        struck.insert((request, plan.has_struck()));
        plan.make(&[]);
        tries.ask(&format!("what takes the user, by {word}"), answer);
        hsm.wait_until_it_answers();
        tries.ask("a signature of it", hsm.sign_approved("alice", digest(3)));
        if !tries.got.is_empty() {
            return;
        }
    }
    let words: BTreeSet<String> = std::mem::take(&mut tries.refused).into_keys().collect();
    let failed = struck.iter().filter(|(_, struck)| *struck).count();
    tries.note(format!(
        "{failed} of {count} requests with a call that failed; of the others nothing is asked of the hardware"
    ));
    tries.expect("nothing was ever refused", "refused", !words.is_empty());
    hsm.kill_and_run();
    let now = hsm.advance(86_400);
    let sign = sign_act(&owned_key("alice"), digest(3), Some(&phone.code(now)));
    hsm.ask(sign).expect("nothing of hers was changed");
}

fn faulty_signatures(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let key = VerifyingKey::from_sec1_bytes(&alice.key.public_key[..]).expect("a public key");
    let mut nonces = BTreeSet::new();
    for number in 0..12u8 {
        match hsm.sign(&alice, digest(number), &alice.phone.code(hsm.advance(30))) {
            Err(refusal) => tries.refused(refusal.reason.word()),
            Ok(signed) => {
                let is_good = Signature::from_slice(&signed.signature[..])
                    .is_ok_and(|signature| key.verify_prehash(&[number; 32], &signature).is_ok());
                if !is_good {
                    tries.got("a faulty signature");
                }
                if !nonces.insert(signed.signature[..32].to_vec()) {
                    tries.got("two signatures that share a nonce");
                }
            }
        }
    }
}
