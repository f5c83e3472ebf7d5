//! A disk that is full, fails or dawdles: refusals with their own reason, nothing decided, and the HSM goes on when
//! the disk does. What cannot be believed any more ends the HSM, and it opens again with nothing lost.

use countersign_tests::backend::{assert_signed_by, digest, enroll_act, operation, reason};
use countersign_tests::faults::{Fault, Faults};
use countersign_tests::hsm::TENANT;
use countersign_tests::{Hsm, Keystore, User, on_both_keystores, on_embedded};
use countersign_wire::client::Mechanism::Digest;
use countersign_wire::reason::Reason;
use std::path::PathBuf;

on_both_keystores!(short_and_interrupted_writes_are_harmless);
on_embedded!(
    i5_on_a_full_disk_nothing_is_decided_and_the_same_code_works_when_there_is_room,
    i5_a_write_that_only_half_fits_is_undone,
    i1_a_grant_whose_binding_finds_no_room_signs_nothing,
    i5_an_hsm_does_not_start_on_a_full_disk_and_starts_when_there_is_room,
    i4_i6_a_failed_sync_ends_the_hsm_and_it_opens_again,
    i4_i6_a_failed_write_ends_the_hsm_and_it_opens_again,
    i5_a_disk_that_cannot_be_read_refuses_and_the_hsm_goes_on,
);

/// An HSM that serves, its faults, and a user with a used code.
fn set_up(keystore: Keystore) -> (Hsm, Faults, User) {
    let (mut hsm, faults) = Hsm::init(keystore, &[TENANT]).with_faults();
    hsm.run();
    let alice = hsm.user("alice", &[Digest]);
    (hsm, faults, alice)
}

/// The code of the present step, which is unused.
fn fresh_code(hsm: &Hsm, alice: &User) -> String {
    alice.phone.code(hsm.advance(30))
}

#[track_caller]
fn signs(hsm: &Hsm, alice: &User, number: u8, code: &str) {
    let signed = hsm.sign(alice, digest(number), code).expect("a right code signs");
    assert_signed_by(&alice.key, &[number; 32], &signed.signature[..]);
    assert_eq!(reason(hsm.sign(alice, digest(number), code)), Reason::CodeUsed, "and once only");
}

/// Everything that writes is refused, and nothing is decided.
fn refuses_while_full(fault: Fault) {
    let (mut hsm, faults, alice) = set_up(Keystore::Embedded);
    let (pid, code) = (hsm.ready().pid, fresh_code(&hsm, &alice));
    let failures = hsm.show(&alice).expect("alice is there").consecutive_failures;
    faults.set(fault, &hsm.store_folder());
    for _ in 0..3 {
        assert_eq!(reason(hsm.sign(&alice, digest(1), &code)), Reason::StoreFull);
        assert_eq!(
            reason(hsm.sign(&alice, digest(1), &alice.phone.wrong_code(hsm.now()))),
            Reason::StoreFull
        );
        let login = hsm.context_login(&alice, &operation(&alice.key, Digest), &code);
        assert_eq!(reason(login), Reason::StoreFull);
        assert_eq!(reason(hsm.enroll(hsm.api_key(), enroll_act("bob", &[Digest]))), Reason::StoreFull);
        assert_eq!(reason(hsm.create_key(&alice, "second", &[Digest])), Reason::StoreFull);
        hsm.status();
    }
    let shown = hsm.show(&alice).expect("what is known is still told");
    assert_eq!(
        (shown.consecutive_failures, shown.keys.len()),
        (failures, 1),
        "nothing was counted, nothing made"
    );
    faults.clear();
    signs(&hsm, &alice, 1, &code);
    hsm.user("bob", &[Digest]);
    assert_eq!(hsm.ready().pid, pid);
    hsm.stop();
    hsm.run();
    assert_eq!(reason(hsm.sign(&alice, digest(2), &code)), Reason::CodeUsed);
}

fn i5_on_a_full_disk_nothing_is_decided_and_the_same_code_works_when_there_is_room(_: Keystore) {
    refuses_while_full(Fault::Full);
}

fn i5_a_write_that_only_half_fits_is_undone(_: Keystore) {
    refuses_while_full(Fault::FullHalfWay);
}

fn i1_a_grant_whose_binding_finds_no_room_signs_nothing(keystore: Keystore) {
    let (hsm, faults, alice) = set_up(keystore);
    let (code, login) = (fresh_code(&hsm, &alice), operation(&alice.key, Digest));
    hsm.context_login(&alice, &login, &code).expect("a right code logs in");
    faults.set(Fault::Full, &hsm.store_folder());
    assert_eq!(reason(hsm.context_sign(&alice, &login, digest(1))), Reason::StoreFull);
    faults.clear();
    // A refusal burns the grant, and the code with it.
    assert_eq!(reason(hsm.context_sign(&alice, &login, digest(1))), Reason::ApprovalMissing);
    assert_eq!(reason(hsm.sign(&alice, digest(1), &code)), Reason::CodeUsed);
    signs(&hsm, &alice, 1, &fresh_code(&hsm, &alice));
}

fn i5_an_hsm_does_not_start_on_a_full_disk_and_starts_when_there_is_room(keystore: Keystore) {
    let (mut hsm, faults, alice) = set_up(keystore);
    let code = fresh_code(&hsm, &alice);
    hsm.stop();
    faults.set(Fault::Full, &hsm.store_folder());
    let before = hsm.log().len();
    let ended = hsm.try_run().expect_err("it cannot record that it was started");
    assert_eq!(ended.exit_code, Some(4), "{}", ended.log);
    assert!(ended.log[before..].contains("the store's disk is full"), "{}", &ended.log[before..]);
    faults.clear();
    hsm.run();
    signs(&hsm, &alice, 1, &code);
}

/// After a fault the HSM refuses, ends with exit code 4, and opens again: what was acknowledged is there, and the
/// refused code, of which nothing was decided, works.
fn ends_and_opens_again(fault: Fault, folder: fn(&Hsm) -> PathBuf) {
    let (mut hsm, faults, alice) = set_up(Keystore::Embedded);
    let used = fresh_code(&hsm, &alice);
    signs(&hsm, &alice, 1, &used);
    let code = fresh_code(&hsm, &alice);
    faults.set(fault, &folder(&hsm));
    let refused = reason(hsm.sign(&alice, digest(2), &code));
    assert!(matches!(refused, Reason::StoreRefused | Reason::HsmUnreachable), "{refused}");
    assert_eq!(hsm.wait_for_end(), Some(4), "{}", hsm.log());
    faults.clear();
    hsm.run();
    assert_eq!(reason(hsm.sign(&alice, digest(2), &used)), Reason::CodeUsed);
    signs(&hsm, &alice, 2, &code);
}

fn i4_i6_a_failed_sync_ends_the_hsm_and_it_opens_again(_: Keystore) {
    ends_and_opens_again(Fault::SyncFails, Hsm::store_folder);
    ends_and_opens_again(Fault::SyncFails, |hsm| hsm.home().join("nvram"));
}

fn i4_i6_a_failed_write_ends_the_hsm_and_it_opens_again(_: Keystore) {
    ends_and_opens_again(Fault::WriteFails, Hsm::store_folder);
    ends_and_opens_again(Fault::WriteFails, |hsm| hsm.home().join("nvram"));
}

fn i5_a_disk_that_cannot_be_read_refuses_and_the_hsm_goes_on(keystore: Keystore) {
    let (mut hsm, faults, alice) = set_up(keystore);
    let code = fresh_code(&hsm, &alice);
    hsm.stop();
    // Started anew, the HSM has checked the store but keeps no account in memory yet.
    hsm.run();
    let pid = hsm.ready().pid;
    faults.set(Fault::ReadFails, &hsm.store_folder());
    for _ in 0..3 {
        assert_eq!(reason(hsm.sign(&alice, digest(1), &code)), Reason::StoreUnreadable);
        assert_eq!(reason(hsm.show(&alice)), Reason::StoreUnreadable);
        hsm.status();
    }
    faults.clear();
    signs(&hsm, &alice, 1, &code);
    assert_eq!(hsm.ready().pid, pid);
    assert_eq!(
        hsm.show(&alice).expect("alice can be read").consecutive_failures,
        1,
        "the code that was used twice"
    );
    hsm.stop();
    faults.set(Fault::ReadFails, &hsm.store_folder());
    let ended = hsm.try_run().expect_err("a store that cannot be read is not believed");
    assert_eq!(ended.exit_code, Some(4), "{}", ended.log);
    faults.clear();
    hsm.run();
    assert_eq!(reason(hsm.sign(&alice, digest(2), &code)), Reason::CodeUsed);
}

fn short_and_interrupted_writes_are_harmless(keystore: Keystore) {
    let (mut hsm, faults, alice) = set_up(keystore);
    let mut number = 0;
    for fault in [Fault::ShortWrites, Fault::Interrupted] {
        faults.set(fault, &hsm.home());
        for _ in 0..2 {
            let code = fresh_code(&hsm, &alice);
            number += 1;
            signs(&hsm, &alice, number, &code);
            hsm.user(&format!("user-{number}"), &[Digest]);
            hsm.stop();
            hsm.run();
            assert_eq!(reason(hsm.sign(&alice, digest(number), &code)), Reason::CodeUsed);
        }
        faults.clear();
        let noted = faults.take_trace();
        for file in [hsm.store(), hsm.nvram()] {
            let write = format!("pwrite64 {}", file.display());
            assert!(noted.contains(&write), "{fault:?} befell no {write}: {noted:?}");
        }
        hsm.stop();
        hsm.run();
        hsm.show(&alice).expect("alice is there");
    }
}
