//! kill -9 while the log is cleaned, goes on in a new file and loses an old one. That takes a log of some length: the
//! HSM is made to write until it comes to such a place.

use super::BETWEEN_ROUNDS_SECS;
use super::ledger::{Lost, answered};
use countersign_tests::backend::{assert_signed_by, digest, enroll_act, reason};
use countersign_tests::faults::{Fault, Moment};
use countersign_tests::hsm::{PATIENCE, TENANT, kill_now};
use countersign_tests::{Hsm, Keystore, User, on_embedded};
use countersign_wire::client::Mechanism::Digest;
use countersign_wire::reason::Reason;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

on_embedded!(
    i2_i6_kills_while_the_log_is_cleaned_and_changes_its_files_lose_nothing,
    i5_a_full_disk_holds_up_cleaning_and_nothing_else,
    i6_a_plugin_killed_while_the_firmware_still_writes_for_it_has_a_successor_that_serves,
);

/// Clients that write at once: they share syncs.
const WRITERS: usize = 8;

/// Further keys that a user gets: the more, the longer his record.
const KEYS: usize = 15;

/// More accounts than are needed to come to any of the places, each time.
const ACCOUNTS_MAX: usize = 4000;

/// A new user with all that the HSM acknowledged.
struct Grown {
    user: User,
    keys: usize,
}

/// Makes users with keys until the HSM is gone.
fn grow(hsm: &Hsm, now: u64, names: &AtomicUsize) -> Vec<Grown> {
    let mut grown = Vec::new();
    while add_user(hsm, now, names.fetch_add(1, Ordering::Relaxed), &mut grown).is_ok() {}
    grown
}

fn add_user(hsm: &Hsm, now: u64, number: usize, grown: &mut Vec<Grown>) -> Result<(), Lost> {
    assert!(number < ACCOUNTS_MAX, "the HSM was not killed");
    let act = enroll_act(&format!("user-{number}"), &[Digest]);
    let user = answered(hsm.enroll(hsm.api_key(), act))?.expect("a new name");
    answered(hsm.confirm_at(&user, now))?.expect("two right codes");
    grown.push(Grown { user: user.clone(), keys: 1 });
    for key in 0..KEYS {
        answered(hsm.create_key(&user, &format!("key-{key}"), &[Digest]))?.expect("a new key");
        grown.last_mut().expect("it was put there").keys += 1;
    }
    Ok(())
}

#[track_caller]
fn assert_there(hsm: &Hsm, grown: &[Grown], when: &str) {
    for Grown { user, keys } in grown {
        let shown = hsm.show(user).unwrap_or_else(|refusal| panic!("{when}: {}: {refusal}", user.account));
        assert!(shown.keys.len() >= *keys, "{when}: {} has {} keys", user.account, shown.keys.len());
    }
}

fn i2_i6_kills_while_the_log_is_cleaned_and_changes_its_files_lose_nothing(keystore: Keystore) {
    let (mut hsm, faults) = Hsm::init(keystore, &[TENANT]).with_faults();
    hsm.run();
    let (alice, names) = (hsm.user("alice", &[Digest]), AtomicUsize::new(0));
    let (archive, log) = (hsm.store_folder().join("archive"), hsm.store_folder());
    let mut all = Vec::new();
    for (moment, call, place) in [
        (Moment::Before, "pwrite64", &archive),
        (Moment::Half, "pwrite64", &archive),
        (Moment::After, "pwrite64", &archive),
        (Moment::Before, "fdatasync", &archive),
        (Moment::After, "fdatasync", &archive),
        (Moment::Before, "openat64", &log),
        (Moment::After, "openat64", &log),
        (Moment::Before, "fsync", &log),
        (Moment::After, "fsync", &log),
        (Moment::Before, "unlinkat", &log),
        (Moment::After, "unlinkat", &log),
    ] {
        let when = format!("killed {moment:?} {call} of {}", place.display());
        let now = hsm.advance(30);
        let code = alice.phone.code(now);
        let signed = hsm.sign(&alice, digest(1), &code).expect("a right code signs");
        assert_signed_by(&alice.key, &[1; 32], &signed.signature[..]);
        faults.set(Fault::KillAtFirst(moment, call), place);
        let grown = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(|| grow(&hsm, now, &names))).collect();
            writers
                .into_iter()
                .flat_map(|writer| writer.join().expect("it grows until the kill"))
                .collect::<Vec<_>>()
        });
        assert_eq!(hsm.end(), None, "{when}: the kill ended it");
        faults.clear();
        hsm.run();
        assert_eq!(reason(hsm.sign(&alice, digest(2), &code)), Reason::CodeUsed, "{when}");
        assert_there(&hsm, &grown, &when);
        all.extend(grown);
        hsm.advance(BETWEEN_ROUNDS_SECS);
    }
    eprintln!("{} accounts after all kills", all.len());
    hsm.stop();
    hsm.run();
    assert_there(&hsm, &all, "at the end");
}

/// What the firmware says when a plugin's socket has ended.
const IS_GONE: &str = "the plugin is gone";

/// What the firmware says when a plugin's successor is to be started.
const STARTED_AGAIN: &str = "the plugin is started again";

/// How often the log is looked at, for a firmware that does not wait: about as long as a start takes.
const LOOKS: usize = 2000;

/// What the dead plugin asked for last is finished before its successor is told how long the store is.
fn i6_a_plugin_killed_while_the_firmware_still_writes_for_it_has_a_successor_that_serves(keystore: Keystore) {
    let (mut hsm, faults) = Hsm::init(keystore, &[TENANT]).with_faults();
    hsm.run();
    let names = AtomicUsize::new(0);
    for (call, place) in [
        ("pwrite64", hsm.store_folder().join("archive")),
        ("fdatasync", hsm.store_folder().join("archive")),
        ("pwrite64", hsm.store_folder()),
        ("fdatasync", hsm.nvram()),
    ] {
        // Write points are counted from the start of a process.
        hsm.stop();
        hsm.run();
        faults.take_trace();
        let (now, starts) = (hsm.now(), hsm.log().matches(STARTED_AGAIN).count());
        faults.set(Fault::HoldFirst(call), &place);
        let grown = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(|| grow(&hsm, now, &names))).collect();
            faults.wait_until_held();
            let gone = hsm.log().matches(IS_GONE).count();
            kill_now(hsm.plugin_pid());
            let killed = Instant::now();
            while hsm.log().matches(IS_GONE).count() == gone {
                assert!(killed.elapsed() < PATIENCE, "the firmware does not notice");
                std::thread::yield_now();
            }
            for _ in 0..LOOKS {
                let started = hsm.log().matches(STARTED_AGAIN).count() > starts;
                assert!(!started, "{call} of {} is not waited for", place.display());
                std::thread::yield_now();
            }
            faults.clear();
            writers
                .into_iter()
                .flat_map(|writer| writer.join().expect("it grows until the kill"))
                .collect::<Vec<_>>()
        });
        hsm.wait_until_it_answers();
        assert_there(&hsm, &grown, &format!("killed while {call} of {} took long", place.display()));
        let number = names.fetch_add(1, Ordering::Relaxed);
        add_user(&hsm, now, number, &mut Vec::new()).expect("the successor serves");
    }
}

fn i5_a_full_disk_holds_up_cleaning_and_nothing_else(keystore: Keystore) {
    // As many users as make cleaning due, and some.
    const USERS: usize = 64;
    let (mut hsm, faults) = Hsm::init(keystore, &[TENANT]).with_faults();
    hsm.run();
    let (now, mut grown) = (hsm.now(), Vec::new());
    let archive = |hsm: &Hsm| hsm.copy_files().0["archive"].len();
    faults.set(Fault::Full, &hsm.store_folder().join("archive"));
    for number in 0..USERS {
        add_user(&hsm, now, number, &mut grown).expect("what a user waits for needs no archive");
    }
    assert_eq!(archive(&hsm), 0, "the archive's disk is full");
    assert!(hsm.log().contains("the store's disk is full"), "cleaning was tried");
    faults.clear();
    for number in USERS..2 * USERS {
        add_user(&hsm, now, number, &mut grown).expect("the HSM serves");
    }
    assert!(archive(&hsm) > 0, "cleaning went on");
    hsm.kill_and_run();
    assert_there(&hsm, &grown, "after a kill");
}
