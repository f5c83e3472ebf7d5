//! kill -9 at every write of the HSM's process, one after the other: before it, half way through it, after it.

use super::BETWEEN_ROUNDS_SECS;
use super::ledger::{Ledger, Lost, Way};
use countersign_tests::faults::{Fault, Faults, Moment};
use countersign_tests::hsm::TENANT;
use countersign_tests::{Hsm, Keystore, on_both_keystores, on_embedded};
use countersign_wire::client::Mechanism::Digest;
use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;

on_both_keystores!(i2_i4_i6_kills_at_every_write_accept_no_code_twice_and_lose_nothing_acknowledged);
// What the keystore writes when it is started is the same every time.
on_embedded!(
    i6_kills_at_every_write_of_the_first_start_leave_an_hsm_that_starts,
    i2_i6_kills_at_every_write_of_a_start_that_discards_a_tail_lose_nothing,
);

/// What is killed: some of everything that changes the store.
fn story(hsm: &Hsm, alice: &mut Ledger) -> Result<(), Lost> {
    let now = AtomicU64::new(hsm.try_status().ok_or(Lost)?.unix_time_secs);
    alice.enroll(hsm, &now)?;
    alice.fail(hsm, &now)?;
    alice.sign(hsm, Way::Native, 1, &now)?;
    alice.sign(hsm, Way::Pkcs11, 2, &now)
}

/// Starts the HSM, runs the story and stops the HSM; whether it survived that.
fn survives(hsm: &mut Hsm, alice: &mut Ledger) -> bool {
    if let Err(ended) = hsm.try_run() {
        assert_eq!(ended.exit_code, None, "it is killed or it serves: {}", ended.log);
        return false;
    }
    let told = story(hsm, alice);
    let code = hsm.end();
    if let Some(code) = code {
        assert_eq!((code, told.is_ok()), (0, true), "it answers until it is killed or stopped");
    }
    if told.is_err() {
        alice.was_cut_off();
    }
    code.is_some()
}

/// The write points at which the HSM was killed: which call on which file of the home, or below which folder of it.
fn killed_at(hsm: &Hsm, faults: &Faults) -> Vec<String> {
    let home = hsm.home().display().to_string();
    let short = |line: String| line.replace(&home, "").split('/').take(3).collect::<Vec<_>>().join("/");
    faults.take_trace().into_iter().map(short).collect()
}

#[track_caller]
fn assert_covers(points: &BTreeSet<String>, wanted: &[(&str, &str)]) {
    for (call, folder) in wanted {
        let wanted = format!("{call} {folder}");
        assert!(points.iter().any(|point| point.starts_with(&wanted)), "no kill at a {wanted}: {points:#?}");
    }
}

fn i2_i4_i6_kills_at_every_write_accept_no_code_twice_and_lose_nothing_acknowledged(keystore: Keystore) {
    let (mut hsm, faults) = Hsm::init(keystore, &[TENANT]).with_faults();
    hsm.run();
    let mut alice = Ledger::new(hsm.user("alice", &[Digest]), hsm.now());
    for moment in [Moment::Before, Moment::Half, Moment::After] {
        let (mut points, mut kills) = (BTreeSet::new(), 0);
        loop {
            hsm.stop();
            faults.set(Fault::Kill(moment, kills + 1), &hsm.home());
            let survived = survives(&mut hsm, &mut alice);
            faults.clear();
            hsm.run();
            let point = killed_at(&hsm, &faults);
            alice.hold_to_account(
                &hsm,
                &format!("killed {moment:?} write {} of its process, {point:?}", kills + 1),
            );
            hsm.advance(BETWEEN_ROUNDS_SECS);
            if survived {
                break;
            }
            points.extend(point);
            kills += 1;
        }
        eprintln!("{kills} kills {moment:?} a write on {}: {points:#?}", keystore.word());
        assert_covers(&points, &[("pwrite64", "/store/"), ("pwrite64", "/nvram/state")]);
        if moment != Moment::Half {
            assert_covers(&points, &[("fdatasync", "/store/"), ("fdatasync", "/nvram/state")]);
        }
    }
}

fn i6_kills_at_every_write_of_the_first_start_leave_an_hsm_that_starts(keystore: Keystore) {
    for moment in [Moment::Before, Moment::Half, Moment::After] {
        let mut kills = 0;
        loop {
            let (mut hsm, faults) = Hsm::init(keystore, &[TENANT]).with_faults();
            faults.set(Fault::Kill(moment, kills + 1), &hsm.home());
            let served = hsm.try_run();
            faults.clear();
            if served.is_ok() {
                // Stopping it may write, too.
                hsm.end();
                break;
            }
            hsm.run();
            hsm.user("alice", &[Digest]);
            kills += 1;
        }
        eprintln!("{kills} kills {moment:?} a write of the first start on {}", keystore.word());
        assert!(kills > 2, "NVRAM and store are written at the first start");
    }
}

/// A commit that came as far as the store and not to NVRAM; the next start cuts it off.
fn leave_a_tail(hsm: &mut Hsm, faults: &Faults, alice: &mut Ledger) {
    faults.set(Fault::KillAtFirst(Moment::Before, "pwrite64"), &hsm.nvram());
    let now = AtomicU64::new(hsm.now());
    alice.sign(hsm, Way::Native, 1, &now).expect_err("it is killed before NVRAM hears of the attempt");
    assert_eq!(hsm.end(), None);
    alice.was_cut_off();
    assert_eq!(killed_at(hsm, faults), ["pwrite64 /nvram/state"]);
}

fn i2_i6_kills_at_every_write_of_a_start_that_discards_a_tail_lose_nothing(keystore: Keystore) {
    let (mut hsm, faults) = Hsm::init(keystore, &[TENANT]).with_faults();
    hsm.run();
    let mut alice = Ledger::new(hsm.user("alice", &[Digest]), hsm.now());
    for moment in [Moment::Before, Moment::Half, Moment::After] {
        let mut points = BTreeSet::new();
        for nth in 1.. {
            leave_a_tail(&mut hsm, &faults, &mut alice);
            faults.set(Fault::Kill(moment, nth), &hsm.home());
            let served = hsm.try_run().is_ok();
            faults.clear();
            if served {
                // Write points are counted from the start of a process.
                hsm.stop();
            }
            hsm.run();
            points.extend(killed_at(&hsm, &faults));
            alice.hold_to_account(&hsm, &format!("killed {moment:?} write {nth} of a start"));
            hsm.advance(BETWEEN_ROUNDS_SECS);
            if served {
                break;
            }
        }
        assert_covers(&points, &[("pwrite64", "/store/"), ("pwrite64", "/nvram/state")]);
        if moment != Moment::Half {
            assert_covers(&points, &[("ftruncate64", "/store/"), ("fsync", "/store/")]);
        }
    }
}
