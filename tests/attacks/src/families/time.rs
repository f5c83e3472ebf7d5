//! Codes of other times.

use crate::attack::{Attack, Family, On, Tries};
use countersign_tests::backend::digest;
use countersign_tests::{Hsm, Keystore};
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
            name: "clock-moved",
            had: "codes of yesterday and of next week, photographed, and the HSM's clock",
            does: "sets the clock back to yesterday and forward to next week, and restarts the HSM in between",
            guards: &["clock-floor"],
            faults: &["fault-clock"],
            on: On::Both,
            play: clock_moved,
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
    fn new() -> Self {
        let file = std::env::temp_dir().join(format!("countersign-clock-{}", std::process::id()));
        countersign_tests::raw::set_variable("COUNTERSIGN_TEST_CLOCK", &file);
        Self(file)
    }

    fn off(&self, secs: i64) {
        fs::write(&self.0, secs.to_string()).expect("a file can be written");
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

const DAY_SECS: u64 = 86_400;

fn clock_moved(keystore: Keystore, tries: &mut Tries) {
    let clock = Clock::new();
    let mut hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let yesterday = hsm.advance(DAY_SECS);
    let now = hsm.advance(DAY_SECS);
    // What somebody else does tells the HSM, durably, how late it is.
    let bob = hsm.user("bob", &[Digest]);
    hsm.sign(&bob, digest(1), &bob.phone.code(now)).expect("his code signs");
    for off in [-1, 7] {
        clock.off(off * DAY_SECS.cast_signed());
        let then = if off < 0 { yesterday } else { now + 7 * DAY_SECS };
        let code = alice.phone.code(then);
        tries.ask("a signature with a code of another day", hsm.sign(&alice, digest(1), &code));
        if tries.got.is_empty() && off < 0 {
            // Back is not believed after a start either. Forward would be: a start takes the clock for what it is, and codes that
            // are good then are the user's own of that time, each good once.
            hsm.kill_and_run();
            tries.ask(
                "a signature with a code of another day, after a restart",
                hsm.sign(&alice, digest(1), &code),
            );
        }
    }
    clock.off(0);
    if tries.got.is_empty() {
        hsm.sign(&alice, digest(1), &alice.phone.code(now))
            .expect("with the right time the right code signs");
    }
}

fn delays_ended_early(keystore: Keystore, tries: &mut Tries) {
    let clock = Clock::new();
    let hsm = Hsm::start(keystore);
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
