//! Codes of other times.

use crate::attack::{Attack, Family, On, Tries};
use countersign_tests::backend::digest;
use countersign_tests::{Hsm, Keystore, User};
use countersign_wire::client::Mechanism::Digest;
use countersign_wire::reason::Reason;
use std::fs;
use std::path::PathBuf;

pub(crate) const FAMILY: Family = Family {
    name: "time",
    title: "Codes are harvested now and used at another time",
    invariants: &["I3", "I11"],
    attacks: &[
        Attack {
            name: "harvested-codes",
            had: "the codes of minutes before and after, photographed",
            does: "uses codes from five steps before to five steps after the present one, but for its neighbours",
            guards: &["window"],
            faults: &[],
            on: On::Both,
            play: harvested_codes,
        },
        Attack {
            name: "clock-set-back",
            had: "a code of some minutes ago that was never used, photographed, and the HSM's clock",
            does: "sets the clock back to then, and restarts the HSM under that clock",
            guards: &["clock-floor"],
            faults: &["fault-clock"],
            on: On::Both,
            play: clock_set_back,
        },
        Attack {
            name: "clock-held-back",
            had: "a code of yesterday that was never used, photographed, the HSM's clock, and the network",
            does: "lets nothing reach the HSM for a day, and then sets its clock back to when something reached it last",
            guards: &["clock-jump"],
            faults: &["fault-clock"],
            on: On::Both,
            play: clock_held_back,
        },
        Attack {
            name: "clock-set-forward",
            had: "codes of next week, photographed from a telephone whose clock is wrong, and the HSM's clock",
            does: "sets the clock of the running HSM forward to next week",
            guards: &["clock-jump"],
            faults: &["fault-clock"],
            on: On::Both,
            play: clock_set_forward,
        },
        Attack {
            name: "delays-ended-early",
            had: "an account that his guesses locked, and the HSM's clock",
            does: "sets the clock forward past the lock's end and guesses on",
            guards: &["delays-run"],
            faults: &["fault-clock"],
            on: On::Both,
            play: delays_ended_early,
        },
    ],
};

/// Sets the HSM's clock off by so many seconds.
struct Clock(PathBuf);

impl Clock {
    /// That of a new HSM.
    fn of_new_hsm(keystore: Keystore) -> (Self, Hsm) {
        let mut hsm = Hsm::init(keystore, &["default"]);
        let file = hsm.folder().join("clock");
        countersign_tests::raw::set_variable("COUNTERSIGN_TEST_CLOCK", &file);
        hsm.run();
        (Self(file), hsm)
    }

    fn off(&self, secs: i64) {
        fs::write(&self.0, secs.to_string()).expect("a file can be written");
    }
}

const DAY_SECS: u64 = 86_400;

fn clock_set_back(keystore: Keystore, tries: &mut Tries) {
    let (clock, mut hsm) = Clock::of_new_hsm(keystore);
    let alice = hsm.user("alice", &[Digest]);
    // Less than a jump, so that only what was seen stands in the way.
    let then = hsm.advance(120);
    let now = hsm.advance(300);
    // What somebody else does tells the HSM, durably, how late it is.
    let bob = hsm.user("bob", &[Digest]);
    hsm.sign(&bob, digest(1), &bob.phone.code(now)).expect("his code signs");
    clock.off(-300);
    let code = alice.phone.code(then);
    tries.ask("a signature with a code of five minutes ago", hsm.sign(&alice, digest(1), &code));
    if tries.got.is_empty() {
        hsm.kill_and_run();
        tries.ask(
            "a signature with a code of five minutes ago, after a restart",
            hsm.sign(&alice, digest(1), &code),
        );
    }
    goes_on(&clock, &hsm, &alice, now, tries);
}

fn clock_held_back(keystore: Keystore, tries: &mut Tries) {
    let (clock, hsm) = Clock::of_new_hsm(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let then = hsm.now();
    let code = alice.phone.code(then);
    let now = hsm.advance(DAY_SECS);
    clock.off(-DAY_SECS.cast_signed());
    tries.ask("a signature with a code of yesterday", hsm.sign(&alice, digest(1), &code));
    goes_on(&clock, &hsm, &alice, now, tries);
}

fn clock_set_forward(keystore: Keystore, tries: &mut Tries) {
    let (clock, hsm) = Clock::of_new_hsm(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let now = hsm.now();
    clock.off(7 * DAY_SECS.cast_signed());
    let code = alice.phone.code(now + 7 * DAY_SECS);
    tries.ask("a signature with a code of next week", hsm.sign(&alice, digest(1), &code));
    goes_on(&clock, &hsm, &alice, now, tries);
}

/// With the right time the right code signs.
fn goes_on(clock: &Clock, hsm: &Hsm, alice: &User, now: u64, tries: &Tries) {
    clock.off(0);
    if tries.got.is_empty() {
        hsm.sign(alice, digest(2), &alice.phone.code(now)).expect("with the right time the right code signs");
    }
}

fn delays_ended_early(keystore: Keystore, tries: &mut Tries) {
    let (clock, hsm) = Clock::of_new_hsm(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let guess =
        || hsm.sign(&alice, digest(9), &alice.phone.wrong_code(hsm.now())).expect_err("a wrong code").reason;
    for _ in 0..5 {
        tries.refused(guess().word());
    }
    // As far as a time service may correct it: what is further is not believed at all.
    clock.off(590);
    for _ in 0..3 {
        let reason = guess();
        if reason == Reason::WrongCode {
            tries.got("a further guess before the lock is over");
        } else {
            tries.refused(reason.word());
        }
    }
}

fn harvested_codes(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    hsm.advance(600);
    for steps in [-5, -4, -3, -2, 2, 3, 4, 5] {
        let now = hsm.advance(86_400);
        let code = alice.phone.code_steps_off(now, steps);
        tries.ask(&format!("a signature with a code {steps} steps off"), hsm.sign(&alice, digest(1), &code));
        if !tries.got.is_empty() {
            return;
        }
        hsm.sign(&alice, digest(1), &alice.phone.code(now)).expect("the present one signs");
    }
}
