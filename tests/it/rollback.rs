//! I6: rolling back, swapping, truncating or editing anything in the store is detected and refused.

use countersign_tests::backend::{assert_cannot_serve, digest, reason};
use countersign_tests::{Hsm, Keystore, User, on_both_keystores, on_embedded, seed};
use countersign_wire::client::Mechanism::Digest;
use countersign_wire::reason::Reason;
use std::fs;

on_both_keystores!(i6_yesterdays_store_is_refused_and_todays_still_opens);
on_embedded!(
    i6_a_store_truncated_anywhere_is_refused,
    i6_a_store_with_any_bit_changed_is_refused,
    i6_swapped_parts_of_a_store_are_refused,
    i6_a_missing_store_is_refused,
    i6_another_hsms_store_is_refused,
    i6_what_lies_beyond_the_head_is_discarded,
    i6_a_store_edited_while_the_hsm_runs_is_refused_when_it_is_read,
    i6_a_store_truncated_while_the_hsm_runs_is_refused_when_it_is_written,
    i6_one_torn_slot_of_nvram_loses_nothing_and_two_are_refused,
    i6_an_hsm_that_lost_its_nvram_does_not_believe_its_store,
);

/// An HSM with a used code, stopped.
fn stopped(keystore: Keystore) -> (Hsm, User, String) {
    let mut hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    hsm.user("bob", &[Digest]);
    let code = alice.phone.code(hsm.now());
    hsm.sign(&alice, digest(1), &code).expect("a right code signs");
    hsm.stop();
    (hsm, alice, code)
}

#[track_caller]
fn refuses_to_start(hsm: &mut Hsm, why: &str) {
    let before = hsm.log().len();
    let Err(ended) = hsm.try_run() else {
        panic!("{why}: the HSM serves from a store that was tampered with")
    };
    assert_eq!(ended.exit_code, Some(4), "{why}: {}", ended.log);
    let said = &ended.log[before..];
    assert!(said.contains("store") || said.contains("NVRAM"), "{why}: it says so: {said}");
}

/// The good store opens, and the used code is still used.
#[track_caller]
fn opens(hsm: &mut Hsm, alice: &User, used: &str) {
    hsm.run();
    assert_eq!(reason(hsm.sign(alice, digest(2), used)), Reason::CodeUsed);
    hsm.sign(alice, digest(2), &alice.phone.code(hsm.advance(30))).expect("the next code signs");
}

fn i6_yesterdays_store_is_refused_and_todays_still_opens(keystore: Keystore) {
    let mut hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let code = alice.phone.code(hsm.now());
    hsm.stop();
    let yesterday = hsm.copy_store();
    hsm.run();
    hsm.sign(&alice, digest(1), &code).expect("a right code signs");
    hsm.stop();
    let today = hsm.copy_store();
    hsm.restore_store(&yesterday);
    refuses_to_start(&mut hsm, "yesterday's store");
    assert!(
        hsm.copy_store().bytes() == yesterday.bytes(),
        "a refused store is left as it is, for whoever looks into it"
    );
    hsm.restore_store(&today);
    opens(&mut hsm, &alice, &code);
}

fn i6_a_store_truncated_anywhere_is_refused(keystore: Keystore) {
    let (mut hsm, alice, code) = stopped(keystore);
    let good = hsm.copy_store();
    let length = good.bytes().len();
    for keep in [0, 1, 15, length / 3, length / 2, length - 33, length - 1] {
        hsm.write_store(&good.bytes()[..keep]);
        refuses_to_start(&mut hsm, &format!("{keep} of {length} bytes"));
    }
    hsm.restore_store(&good);
    opens(&mut hsm, &alice, &code);
}

fn i6_a_store_with_any_bit_changed_is_refused(keystore: Keystore) {
    let (mut hsm, alice, code) = stopped(keystore);
    let good = hsm.copy_store();
    let length = good.bytes().len();
    let mut random = fastrand::Rng::with_seed(seed("changed bits"));
    let places = [0, 1, length - 1].into_iter().chain((0..25).map(|_| random.usize(0..length)));
    for place in places.collect::<Vec<_>>() {
        let mut bytes = good.bytes().to_vec();
        let bit = random.u8(0..8);
        bytes[place] ^= 1 << bit;
        hsm.write_store(&bytes);
        refuses_to_start(&mut hsm, &format!("bit {bit} of byte {place} of {length}"));
    }
    hsm.restore_store(&good);
    opens(&mut hsm, &alice, &code);
}

fn i6_swapped_parts_of_a_store_are_refused(keystore: Keystore) {
    let (mut hsm, alice, code) = stopped(keystore);
    let good = hsm.copy_store();
    let mut random = fastrand::Rng::with_seed(seed("swapped parts"));
    for _ in 0..10 {
        let size = random.usize(1..good.bytes().len() / 4);
        let (mut bytes, first) = (good.bytes().to_vec(), random.usize(0..good.bytes().len() / 4));
        let second = random.usize(first + size..=good.bytes().len() - size);
        for at in 0..size {
            bytes.swap(first + at, second + at);
        }
        if bytes == good.bytes() {
            continue;
        }
        hsm.write_store(&bytes);
        refuses_to_start(&mut hsm, &format!("{size} bytes at {first} and {second} swapped"));
    }
    hsm.restore_store(&good);
    opens(&mut hsm, &alice, &code);
}

fn i6_a_missing_store_is_refused(keystore: Keystore) {
    let (mut hsm, alice, code) = stopped(keystore);
    let good = hsm.copy_store();
    fs::remove_file(hsm.store()).expect("the store can be removed");
    refuses_to_start(&mut hsm, "no file");
    assert!(!hsm.store().exists(), "and no new one was made");
    hsm.write_store(&[]);
    refuses_to_start(&mut hsm, "an empty file");
    hsm.restore_store(&good);
    opens(&mut hsm, &alice, &code);
}

fn i6_another_hsms_store_is_refused(keystore: Keystore) {
    let (mut hsm, alice, code) = stopped(keystore);
    let (other, ..) = stopped(keystore);
    let good = hsm.copy_store();
    hsm.restore_store(&other.copy_store());
    refuses_to_start(&mut hsm, "another HSM's store");
    hsm.write_store(&[good.bytes(), other.copy_store().bytes()].concat());
    opens(&mut hsm, &alice, &code);
}

fn i6_what_lies_beyond_the_head_is_discarded(keystore: Keystore) {
    let (mut hsm, alice, code) = stopped(keystore);
    // What a crash between store and NVRAM leaves, what a torn write leaves, and what an attacker would like to add:
    // a copy of what the store holds already.
    let first = hsm.copy_store();
    for beyond in [first.bytes(), &first.bytes()[..77], &[0; 5000], &[0xff; 3], &[0]] {
        let good = hsm.copy_store();
        hsm.write_store(&[good.bytes(), beyond].concat());
        hsm.run();
        let now = hsm.copy_store();
        let appended = now.bytes().strip_prefix(good.bytes()).expect("what was acknowledged stays");
        assert!(!appended.starts_with(beyond), "it is cut off before anything is appended");
        hsm.stop();
    }
    opens(&mut hsm, &alice, &code);
}

fn i6_a_store_edited_while_the_hsm_runs_is_refused_when_it_is_read(keystore: Keystore) {
    let (mut hsm, alice, used) = stopped(keystore);
    // Started anew, the HSM has checked the store but read no account into memory yet.
    hsm.run();
    let good = hsm.copy_store();
    let code = alice.phone.code(hsm.advance(30));
    hsm.write_store(&vec![0x5a; good.bytes().len()]);
    assert_eq!(reason(hsm.sign(&alice, digest(2), &code)), Reason::StoreRefused);
    assert_eq!(reason(hsm.show(&alice)), Reason::StoreRefused);
    hsm.kill();
    refuses_to_start(&mut hsm, "an edited store");
    hsm.restore_store(&good);
    opens(&mut hsm, &alice, &used);
}

fn i6_a_store_truncated_while_the_hsm_runs_is_refused_when_it_is_written(keystore: Keystore) {
    let (mut hsm, alice, used) = stopped(keystore);
    hsm.run();
    let good = hsm.copy_store();
    hsm.show(&alice).expect("alice's record was read");
    let code = alice.phone.code(hsm.advance(30));
    hsm.write_store(&good.bytes()[..good.bytes().len() / 2]);
    assert_eq!(reason(hsm.sign(&alice, digest(2), &code)), Reason::StoreRefused);
    // And it stays refused.
    assert_cannot_serve(hsm.sign(&alice, digest(2), &code));
    hsm.kill();
    refuses_to_start(&mut hsm, "a truncated store");
    hsm.restore_store(&good);
    opens(&mut hsm, &alice, &used);
}

fn i6_one_torn_slot_of_nvram_loses_nothing_and_two_are_refused(keystore: Keystore) {
    let (mut hsm, alice, code) = stopped(keystore);
    let good = fs::read(hsm.nvram()).expect("NVRAM can be read");
    let half = good.len() / 2;
    let sequence = |slot: &[u8]| u64::from_be_bytes(slot[..8].try_into().expect("eight bytes"));
    let older = if sequence(&good[..half]) < sequence(&good[half..]) { 0 } else { half };
    let mut torn = good.clone();
    torn[older + 100..older + half].fill(0);
    fs::write(hsm.nvram(), &torn).expect("NVRAM can be written");
    hsm.run();
    assert_eq!(reason(hsm.sign(&alice, digest(2), &code)), Reason::CodeUsed, "a torn write lost nothing");
    hsm.stop();
    let good = fs::read(hsm.nvram()).expect("NVRAM can be read");
    fs::write(hsm.nvram(), vec![0; good.len()]).expect("NVRAM can be written");
    refuses_to_start(&mut hsm, "no valid slot");
    fs::write(hsm.nvram(), &good).expect("NVRAM can be written");
    opens(&mut hsm, &alice, &code);
}

fn i6_an_hsm_that_lost_its_nvram_does_not_believe_its_store(keystore: Keystore) {
    // A second HSM, never used: its NVRAM remembers nothing, and it is given a store.
    let (other, ..) = stopped(keystore);
    let mut fresh = Hsm::init(keystore, &["default"]);
    fresh.restore_store(&other.copy_store());
    refuses_to_start(&mut fresh, "a store that this HSM never wrote");
}
