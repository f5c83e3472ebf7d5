//! Whatever call of the firmware fails, nothing is staged, approved, enrolled or frozen by half.

use super::*;
use countersign_approvals::statement::AccountState;

#[test]
fn i5_what_cannot_be_recorded_was_not_staged() {
    let mut device = Device::ready();
    let mut owner = owner(&mut device, ApprovalKind::SealedCode);
    device.fail_next.insert("commit", Fault::StoreFull);
    assert_eq!(stage_digest(&mut device, &owner, 1).unwrap_err(), Reason::StoreFull);
    assert!(owner.account(&mut device).unwrap().intents.is_empty());
    device.fail_next.insert("random", Fault::Rng);
    assert!(stage_digest(&mut device, &owner, 1).is_err());
    assert!(owner.account(&mut device).unwrap().intents.is_empty());
    device.fail_next.insert("commit", Fault::StoreFull);
    let plan = KeyPlan::of(vec![Mechanism::Digest]);
    assert_eq!(invite(&mut device, "bob", plan).unwrap_err(), Reason::StoreFull);
}

#[test]
fn i5_a_failure_of_any_call_approves_nothing() {
    for passkey in [false, true] {
        for (op, fault) in [("mac", Fault::Keystore), ("commit", Fault::StoreFull), ("commit", Fault::Store)]
        {
            if passkey && op == "mac" {
                continue;
            }
            let mut device = Device::ready();
            let mut owner = owner(&mut device, ApprovalKind::SealedCode);
            let (intent, view) = seen(&mut device, &mut owner, 1);
            let evidence = if passkey { owner.assertion(&view) } else { by_code(&device, &owner, &view) };
            device.fail_next.insert(op, fault);
            assert!(device.ask_plainly(owner.approve(intent, evidence)).is_err(), "{op} {fault:?}");
            assert!(device.boot());
            assert_eq!(
                c_sign(&mut device, &owner, 1).unwrap_err(),
                Reason::ApprovalMissing,
                "{op} {fault:?}"
            );
            device.advance(60);
            let (intent, view) = seen(&mut device, &mut owner, 1);
            let evidence = if passkey { owner.assertion(&view) } else { by_code(&device, &owner, &view) };
            assert_eq!(device.ask_plainly(owner.approve(intent, evidence)), Ok(Answer::Approved));
        }
    }
}

#[test]
fn i5_a_failure_of_any_call_enrols_nobody() {
    for op in ["random", "wrap", "generate", "commit"] {
        let mut device = Device::ready();
        let plan = || KeyPlan::of(vec![Mechanism::Digest]);
        let invitation = invite(&mut device, "alice", plan()).unwrap();
        let mut alice = Owner::meets(&mut device, "alice", 11);
        let request = alice.request(invitation, true);
        device.fail_next.insert(op, Fault::Keystore);
        assert!(device.ask_plainly(Act::EnrollSealed(Box::new(request))).is_err(), "{op}");
        assert!(device.boot());
        let invitation = invite(&mut device, "alice", plan()).unwrap();
        let request = alice.request(invitation, true);
        let answer = device.ask_plainly(Act::EnrollSealed(Box::new(request)));
        alice.take(answer.expect("nothing was left behind"));
    }
}

#[test]
fn i5_a_freeze_or_a_refusal_that_cannot_be_recorded_has_not_happened() {
    let mut device = Device::ready();
    let mut owner = owner(&mut device, ApprovalKind::SealedCode);
    let (intent, view) = seen(&mut device, &mut owner, 1);
    let act = owner.approve(intent, by_code(&device, &owner, &view));
    assert_eq!(device.ask_plainly(act), Ok(Answer::Approved));
    device.fail_next.insert("commit", Fault::StoreFull);
    assert_eq!(device.ask_plainly(owner.decline(&view)).unwrap_err(), Reason::StoreFull);
    owner.account(&mut device).unwrap();
    device.fail_next.insert("commit", Fault::StoreFull);
    let freeze = owner.act(&device, DevicePurpose::Freeze, None);
    assert_eq!(device.ask_plainly(freeze).unwrap_err(), Reason::StoreFull);
    assert_eq!(owner.account(&mut device).unwrap().state, AccountState::Confirmed);
    device.fail_next.insert("commit", Fault::StoreFull);
    assert_eq!(c_sign(&mut device, &owner, 1).unwrap_err(), Reason::StoreFull);
    assert!(c_sign(&mut device, &owner, 1).is_ok(), "an approval that was not used up is still good");
    assert_eq!(c_sign(&mut device, &owner, 1).unwrap_err(), Reason::ApprovalMissing);
}

/// A plugin that nobody vouches for would be believed by no device.
#[test]
fn i5_without_the_roots_word_the_plugin_does_not_start() {
    let mut device = Device::ready();
    device.fail_next.insert("endorse", Fault::Keystore);
    assert!(!device.boot());
    assert!(device.boot());
}
