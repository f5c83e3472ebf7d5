//! What devices see of an account and do to it, and what everybody else learns of it: nothing.

use super::*;

#[test]
fn a_frozen_account_signs_nothing_and_checks_nothing_until_the_operator_lifts_that_freeze() {
    let mut device = Device::ready();
    let mut owner = owner(&mut device, ApprovalKind::Code);
    let (intent, view) = seen(&mut device, &mut owner, 1);
    let act = owner.approve(intent, by_code(&device, &owner, &view));
    assert_eq!(device.ask_plainly(act), Ok(Answer::Approved));
    device.advance(30);
    let (open, open_view) = seen(&mut device, &mut owner, 2);
    assert_eq!(owner.account(&mut device).unwrap().state, AccountState::Confirmed);
    let mut freeze = owner.act(&device, DevicePurpose::Freeze, None);
    let Act::DeviceAct(act) = &mut freeze else { unreachable!() };
    act.expires_unix_secs += 1;
    assert_eq!(device.ask_plainly(freeze).unwrap_err(), Reason::ApprovalExpired, "too far ahead");
    let freeze = owner.act(&device, DevicePurpose::Freeze, None);
    let mut other = freeze.clone();
    let Act::DeviceAct(act) = &mut other else { unreachable!() };
    act.purpose = DevicePurpose::CancelRecovery;
    assert_eq!(device.ask_plainly(other).unwrap_err(), Reason::WrongDeviceSignature);
    assert_eq!(device.ask_plainly(freeze.clone()), Ok(Answer::CarriedOut));

    device.ops.clear();
    let code = Approval::Code(typed(&owner.code(device.time.unix_secs)));
    assert_eq!(sign_with(&mut device, &owner, 3, code.clone()).unwrap_err(), Reason::AccountFrozen);
    assert_eq!(c_sign(&mut device, &owner, 1).unwrap_err(), Reason::ApprovalMissing);
    assert_eq!(owner.view(&mut device, open).unwrap().state, StateWord::Declined);
    let late = owner.approve(open, by_code(&device, &owner, &open_view));
    assert_eq!(device.ask_plainly(late).unwrap_err(), Reason::IntentNotOpen);
    let login = ContextLogin { operation: operation(&mut device, &owner, 6), approval: code.clone() };
    assert_eq!(device.ask(Act::ContextLogin(login)).unwrap_err(), Reason::AccountFrozen);
    assert_eq!(stage_digest(&mut device, &owner, 4).unwrap_err(), Reason::AccountFrozen);
    assert!(!device.ops.contains(&"mac") && !device.ops.contains(&"sign"));
    assert_eq!(owner.account(&mut device).unwrap().state, AccountState::Frozen);
    assert!(device.boot());
    assert_eq!(sign_with(&mut device, &owner, 3, code.clone()).unwrap_err(), Reason::AccountFrozen);

    let Answer::Account(info) = device.ask(Act::ShowAccount("alice".parse().unwrap())).unwrap() else {
        panic!("no account")
    };
    let number = info.frozen.unwrap();
    let lifted = |freeze| countersign_wire::hal::Lifted { account: "alice".parse().unwrap(), freeze };
    device.tenants[0].lifted = vec![lifted(number + 1)];
    assert!(device.boot());
    assert_eq!(owner.account(&mut device).unwrap().state, AccountState::Frozen, "another freeze's number");
    device.tenants[0].lifted = vec![lifted(number)];
    assert!(device.boot());
    assert!(sign_with(&mut device, &owner, 3, code).is_ok());
    assert_eq!(c_sign(&mut device, &owner, 1).unwrap_err(), Reason::ApprovalMissing, "it was void");
    // The old freeze does not come back, and the next one is not lifted by the old number.
    assert_eq!(device.ask_plainly(freeze).unwrap_err(), Reason::WrongDeviceSignature);
    owner.account(&mut device).unwrap();
    let again = owner.act(&device, DevicePurpose::Freeze, None);
    assert_eq!(device.ask_plainly(again), Ok(Answer::CarriedOut));
    assert!(device.boot());
    assert_eq!(owner.account(&mut device).unwrap().state, AccountState::Frozen);
}

#[test]
fn a_freeze_goes_ahead_of_what_the_backend_has_asked_of_the_account() {
    let mut device = Device::ready();
    let mut owner = owner(&mut device, ApprovalKind::Code);
    owner.account(&mut device).unwrap();
    let sign = |owner: &Owner, secs: u64| {
        let approval = Some(Approval::Code(typed(&owner.code(START + secs))));
        Act::Sign(Sign { key: owner.label(), payload: payload(1), approval })
    };
    let ask = |device: &mut Device, id: u8, api_key, act| {
        device.send(&Request { id: [id; 16].into(), api_key, act })
    };
    let now = device.time.unix_secs - START;
    let first = ask(&mut device, 1, Some(api_key("a")), sign(&owner, now));
    assert!(!device.under_way().is_empty(), "it has its turn");
    let second = ask(&mut device, 2, Some(api_key("a")), sign(&owner, now + 30));
    // What only looks like a freeze of the user's goes ahead of nobody.
    let mut forged = owner.act(&device, DevicePurpose::Freeze, None);
    let Act::DeviceAct(act) = &mut forged else { unreachable!() };
    act.signature[5] ^= 1;
    let forged = ask(&mut device, 3, None, forged);
    let freeze = owner.act(&device, DevicePurpose::Freeze, None);
    let freeze = ask(&mut device, 4, None, freeze);
    device.settle();
    assert!(device.reply(first).unwrap().is_ok(), "it was there first");
    assert_eq!(device.reply(freeze), Some(Ok(Answer::CarriedOut)));
    assert_eq!(device.reply(second).unwrap().unwrap_err().reason, Reason::AccountFrozen);
    assert_eq!(device.reply(forged).unwrap().unwrap_err().reason, Reason::WrongDeviceSignature);
}

#[test]
fn a_freeze_finds_a_place_whatever_else_is_asked_in_its_tenants_name() {
    let mut device = Device::ready();
    let mut owner = owner(&mut device, ApprovalKind::Code);
    owner.account(&mut device).unwrap();
    let ask = |device: &mut Device, act| device.send(&Request { id: [9; 16].into(), api_key: None, act });
    // All places of devices, with acts that wait for the account: it is being worked on.
    let code = Some(Approval::Code(typed(&owner.code(device.time.unix_secs))));
    let act = Act::Sign(Sign { key: owner.label(), payload: payload(1), approval: code });
    let working = device.send(&Request { id: [1; 16].into(), api_key: Some(api_key("a")), act });
    assert!(!device.under_way().is_empty());
    let Act::DeviceAct(mut forged) = owner.act(&device, DevicePurpose::Unlock, Some(&["000000", "000001"]))
    else {
        unreachable!()
    };
    forged.signature[5] ^= 1;
    let held: Vec<_> = (0..80).map(|_| ask(&mut device, Act::DeviceAct(forged.clone()))).collect();
    let freeze = owner.act(&device, DevicePurpose::Freeze, None);
    let freeze = ask(&mut device, freeze);
    device.settle();
    assert!(device.reply(working).unwrap().is_ok());
    assert_eq!(device.reply(freeze), Some(Ok(Answer::CarriedOut)));
    let reasons: Vec<_> =
        held.into_iter().map(|ticket| device.reply(ticket).unwrap().unwrap_err().reason).collect();
    assert_eq!(reasons.iter().filter(|reason| **reason == Reason::Busy).count(), 16, "beyond 64");
}

#[test]
fn what_the_backend_tries_spoils_no_freeze() {
    let mut device = Device::ready();
    let mut owner = owner(&mut device, ApprovalKind::Code);
    owner.account(&mut device).unwrap();
    let freeze = owner.act(&device, DevicePurpose::Freeze, None);
    let two = |first: &str, second: &str| TwoCodes {
        account: "alice".parse().unwrap(),
        first: typed(first),
        second: typed(second),
    };
    assert_eq!(device.ask(Act::Unlock(two("000000", "000001"))).unwrap_err(), Reason::WrongCode);
    assert_eq!(device.ask_plainly(freeze), Ok(Answer::CarriedOut));
}

#[test]
fn a_device_unlocks_its_account_and_finds_no_recovery_to_cancel() {
    let mut device = Device::ready();
    let mut owner = owner(&mut device, ApprovalKind::Code);
    for _ in 0..5 {
        let wrong = Approval::Code(typed("000000"));
        let _ = sign_with(&mut device, &owner, 1, wrong);
    }
    assert!(owner.account(&mut device).unwrap().locked_for_secs > 0);
    device.advance(30);
    let now = device.time.unix_secs;
    let codes = [owner.code(now - 30), owner.code(now)];
    let unlock = owner.act(&device, DevicePurpose::Unlock, Some(&[&codes[0], &codes[1]]));
    assert_eq!(device.ask_plainly(unlock), Ok(Answer::CarriedOut));
    assert_eq!(owner.account(&mut device).unwrap().locked_for_secs, 0);
    let cancel = owner.act(&device, DevicePurpose::CancelRecovery, None);
    assert_eq!(device.ask_plainly(cancel).unwrap_err(), Reason::NoRecovery);
}

#[test]
fn i2_no_act_of_a_device_has_a_nonce_that_another_one_had() {
    let mut device = Device::ready();
    let mut owner = Owner::meets(&mut device, "alice", 11);
    let invitation = invite(&mut device, "alice", plan(&[Mechanism::Digest], ApprovalKind::Code)).unwrap();
    let request = owner.request(invitation, false);
    let answer = device.ask_plainly(Act::EnrollSealed(Box::new(request))).unwrap();
    owner.take(answer);
    let mut nonces = vec![owner.act_nonce];
    device.advance(90);
    let now = device.time.unix_secs;
    let wrong = owner.act(&device, DevicePurpose::Confirm, Some(&["000000", "000001"]));
    assert_eq!(device.ask_plainly(wrong.clone()).unwrap_err(), Reason::WrongCode);
    assert_eq!(device.ask_plainly(wrong).unwrap_err(), Reason::WrongDeviceSignature, "no second guess");
    owner.account(&mut device).unwrap();
    assert!(!nonces.contains(&owner.act_nonce));
    nonces.push(owner.act_nonce);
    let codes = [owner.code(now - 60), owner.code(now - 30)];
    let confirm = owner.act(&device, DevicePurpose::Confirm, Some(&[&codes[0], &codes[1]]));
    assert_eq!(device.ask_plainly(confirm), Ok(Answer::CarriedOut));
    for _ in 0..3 {
        owner.account(&mut device).unwrap();
        assert!(!nonces.contains(&owner.act_nonce), "it was another act's");
        nonces.push(owner.act_nonce);
        // The same message again is no second guess.
        device.advance(3600);
        let unlock = owner.act(&device, DevicePurpose::Unlock, Some(&["000000", "000001"]));
        assert_eq!(device.ask_plainly(unlock.clone()).unwrap_err(), Reason::WrongCode);
        assert_eq!(device.ask_plainly(unlock).unwrap_err(), Reason::WrongDeviceSignature);
    }
}

#[test]
fn what_waits_is_listed_once_and_no_more_than_fits() {
    let mut device = Device::ready();
    let mut owner = owner(&mut device, ApprovalKind::SealedCode);
    let (intent, view) = seen(&mut device, &mut owner, 1);
    let act = owner.approve(intent, by_code(&device, &owner, &view));
    assert_eq!(device.ask_plainly(act), Ok(Answer::Approved));
    let listed = |device: &mut Device, owner: &mut Owner| {
        let account = owner.account(device).unwrap();
        account.intents.iter().map(|open| open.intent).collect::<Vec<_>>()
    };
    assert_eq!(listed(&mut device, &mut owner), [intent.into_array()], "staged and approved");
    assert!(device.boot());
    assert_eq!(listed(&mut device, &mut owner), [intent.into_array()], "approved before the restart");
    for byte in 2..6 {
        let staged = stage_digest(&mut device, &owner, byte).unwrap().intent.into_array();
        assert!(listed(&mut device, &mut owner).contains(&staged));
    }
    assert_eq!(listed(&mut device, &mut owner).len(), countersign_approvals::statement::OPEN_INTENTS_MAX);
}

#[test]
fn receipts_and_history_tell_every_signature() {
    let mut device = Device::ready();
    let mut owner = owner(&mut device, ApprovalKind::Code);
    let code = Approval::Code(typed(&owner.code(device.time.unix_secs)));
    sign_with(&mut device, &owner, 9, code).unwrap();
    device.advance(30);
    let (intent, view) = seen(&mut device, &mut owner, 1);
    assert_eq!(owner.receipt_of(&mut device, intent).unwrap_err(), Reason::UnknownReceipt);
    let touched = owner.assertion(&view);
    assert_eq!(device.ask_plainly(owner.approve(intent, touched)), Ok(Answer::Approved));
    assert_eq!(owner.receipt_of(&mut device, intent).unwrap_err(), Reason::UnknownReceipt);
    c_sign(&mut device, &owner, 1).unwrap();
    let receipt = owner.receipt_of(&mut device, intent).unwrap();
    assert_eq!((receipt.counter, receipt.approval.word()), (2, "passkey"));
    assert_eq!((&receipt.digests, &receipt.summary), (&vec![[1; 32]], &view.summary));
    assert_eq!((receipt.measurement, receipt.time_unix_secs), ([5; 48], device.time.unix_secs));

    let account = owner.account(&mut device).unwrap();
    let told: Vec<_> = account.history.iter().map(|entry| (entry.counter, entry.approval.word())).collect();
    assert_eq!((account.signatures, &told[..]), (2, &[(1, "code"), (2, "passkey")][..]));
    assert_eq!(account.history[1].intent_hash, view.intent_hash());
    assert!(view.summary.contains(&account.history[1].headline));

    // Found again by what was signed, also after a restart; nothing else has one.
    assert!(device.boot());
    let label = owner.label();
    let find = |byte| Act::FindReceipt(FindReceipt { key: label.clone(), payload: payload(byte) });
    let Answer::Receipt(found) = device.ask(find(1)).unwrap() else { panic!("no receipt") };
    assert_eq!(owner.verified::<countersign_approvals::statement::Receipt>(&found), receipt);
    assert_eq!(device.ask(find(2)).unwrap_err(), Reason::UnknownReceipt);
    for number in 0..6 {
        device.advance(30);
        let code = Approval::Code(typed(&owner.code(device.time.unix_secs)));
        sign_with(&mut device, &owner, 20 + number, code).unwrap();
    }
    let account = owner.account(&mut device).unwrap();
    let counters: Vec<_> = account.history.iter().map(|entry| entry.counter).collect();
    assert_eq!((account.signatures, counters), (8, vec![5, 6, 7, 8]));
    assert_eq!(device.ask(find(1)).unwrap_err(), Reason::UnknownReceipt, "it is not among the last");
}

#[test]
fn i9_devices_and_backends_of_others_meet_the_same_miss() {
    let mut device = Device::ready();
    let mut owner = owner(&mut device, ApprovalKind::SealedCode);
    let (intent, view) = seen(&mut device, &mut owner, 1);
    let show =
        Act::ShowIntent(countersign_wire::client::StagedIntent { account: "alice".parse().unwrap(), intent });
    assert_eq!(device.ask_as("b", show).unwrap_err(), Reason::UnknownIntent);
    let mut act = owner.approve(intent, by_code(&device, &owner, &view));
    let Act::Approve(approve) = &mut act else { unreachable!() };
    approve.tenant = "b".parse().unwrap();
    assert_eq!(device.ask_plainly(act.clone()).unwrap_err(), Reason::UnknownIntent);
    let Act::Approve(approve) = &mut act else { unreachable!() };
    approve.tenant = "nobody".parse().unwrap();
    assert_eq!(device.ask_plainly(act).unwrap_err(), Reason::UnknownIntent);
    nobody_is_told_who_has_an_account(&mut device, &owner);
    // A backend asks as a backend, a device as a device.
    let approve = owner.approve(intent, by_code(&device, &owner, &view));
    assert_eq!(device.ask(approve).unwrap_err(), Reason::MalformedRequest);
    let subject = Subject::Sign(StageSign { key: owner.label(), payload: payload(2) });
    assert_eq!(device.ask_plainly(Act::Stage(subject)).unwrap_err(), Reason::WrongApiKey);
    // One account's intent is not another's.
    let bob = Owner::enrolled(&mut device, "bob", 61, plan(&[Mechanism::Digest], ApprovalKind::SealedCode));
    let mut stolen = bob.approve(intent, by_code(&device, &bob, &view));
    assert_eq!(device.ask_plainly(stolen.clone()).unwrap_err(), Reason::UnknownIntent);
    let Act::Approve(approve) = &mut stolen else { unreachable!() };
    approve.account = "alice".parse().unwrap();
    assert_eq!(device.ask_plainly(stolen).unwrap_err(), Reason::UnknownDevice);
}

/// There and not there are the same to whoever has no device of the account.
fn nobody_is_told_who_has_an_account(device: &mut Device, owner: &Owner) {
    let mut thief = Owner::meets(device, "alice", 71);
    let mut nobody = Owner::meets(device, "nobody", 71);
    let reasons = [&mut thief, &mut nobody].map(|one| one.account(device).unwrap_err());
    assert_eq!(reasons, [Reason::UnknownDevice; 2]);
    for purpose in [DevicePurpose::Freeze, DevicePurpose::CancelRecovery] {
        let acts = [&thief, &nobody].map(|one| one.act(device, purpose, None));
        for mut act in acts {
            assert_eq!(device.ask_plainly(act.clone()).unwrap_err(), Reason::UnknownDevice);
            let Act::DeviceAct(old) = &mut act else { unreachable!() };
            old.expires_unix_secs = 0;
            assert_eq!(device.ask_plainly(act).unwrap_err(), Reason::UnknownDevice);
        }
    }
    let _ = owner;
}

#[test]
fn i8_plain_codes_do_not_unlock_an_account_that_takes_none() {
    let mut device = Device::ready();
    let owner = owner(&mut device, ApprovalKind::SealedCode);
    let now = device.time.unix_secs;
    device.ops.clear();
    let unlock = Act::Unlock(TwoCodes {
        account: "alice".parse().unwrap(),
        first: typed(&owner.code(now - 30)),
        second: typed(&owner.code(now)),
    });
    assert_eq!(device.ask(unlock).unwrap_err(), Reason::BelowFloor);
    assert!(!device.ops.contains(&"mac"));
}

#[test]
fn i14_refusals_of_strangers_do_not_fill_the_trail() {
    let mut device = Device::ready();
    let mut owner = owner(&mut device, ApprovalKind::SealedCode);
    let (intent, view) = seen(&mut device, &mut owner, 1);
    let thief = Owner::meets(&mut device, "alice", 41);
    let before: usize = device.written.iter().map(Vec::len).sum();
    for _ in 0..500 {
        let forged = thief.sealed_code(&view, "000000");
        assert_eq!(device.ask_plainly(owner.approve(intent, forged)).unwrap_err(), Reason::UnknownDevice);
    }
    let written = device.written.iter().map(Vec::len).sum::<usize>() - before;
    assert!(written < 60 * 1024, "{written} bytes for 500 refusals");
    assert_eq!(told(&device), (60, 0));
    // What the user's own device said is recorded all the same, and with it how many were not.
    let wrong = owner.sealed_code(&view, "000000");
    assert_eq!(device.ask_plainly(owner.approve(intent, wrong)).unwrap_err(), Reason::WrongCode);
    assert_eq!(told(&device), (61, 440));
}

#[test]
fn i14_a_message_that_a_device_signed_is_not_recorded_each_time_that_it_is_sent() {
    let mut device = Device::ready();
    let mut owner = owner(&mut device, ApprovalKind::SealedCode);
    owner.account(&mut device).unwrap();
    let captured = owner.act(&device, DevicePurpose::CancelRecovery, None);
    for _ in 0..500 {
        assert_eq!(device.ask_plainly(captured.clone()).unwrap_err(), Reason::NoRecovery);
    }
    assert_eq!(told(&device), (20, 0));
    device.advance(600);
    owner.account(&mut device).unwrap();
    let fresh = owner.act(&device, DevicePurpose::CancelRecovery, None);
    assert_eq!(device.ask_plainly(fresh).unwrap_err(), Reason::NoRecovery);
    assert_eq!(told(&device), (21, 480));
}

#[test]
fn i14_refusals_leave_the_last_room_to_whoever_freezes() {
    let mut device = Device::ready();
    let mut owner = owner(&mut device, ApprovalKind::SealedCode);
    owner.account(&mut device).unwrap();
    device.room = Some(countersign_wire::hal::STORE_RESERVE_BYTES - 1);
    device.advance(1);
    device.ask_plainly(Act::Status).unwrap();
    let before = device.written.len();
    let refused = owner.act(&device, DevicePurpose::CancelRecovery, None);
    let mut forged = refused.clone();
    let Act::DeviceAct(act) = &mut forged else { unreachable!() };
    act.purpose = DevicePurpose::Freeze;
    assert_eq!(device.ask_plainly(refused).unwrap_err(), Reason::NoRecovery);
    assert_eq!(device.ask_plainly(forged).unwrap_err(), Reason::WrongDeviceSignature);
    assert_eq!(device.written.len(), before);
    let freeze = owner.act(&device, DevicePurpose::Freeze, None);
    assert_eq!(device.ask_plainly(freeze), Ok(Answer::CarriedOut));
    assert!(device.written.len() > before);
}

/// How many refusals of devices the trail has, and how many it says that it has not. Each names the account if the account's device
/// said it, and only then.
fn told(device: &Device) -> (usize, u64) {
    use crate::store::trail::{Content, Reader, What};
    let mut reader = Reader::new(&[9; 32], [7; 16]);
    let entries = device.written.iter().filter_map(|entry| reader.entry(entry).ok());
    let records: Vec<_> = entries.flat_map(|(records, _)| records).collect();
    let events = records.iter().filter_map(|record| match &record.content {
        Content::Events(events) => Some(events),
        _ => None,
    });
    let (mut refused, mut not_recorded) = (0, 0);
    for event in events.flatten() {
        match &event.what {
            What::Refused { act, reason, .. } if matches!(act.as_str(), "approve" | "device-act") => {
                assert_eq!(event.account.is_some(), *reason != Reason::UnknownDevice, "{reason:?}");
                refused += 1;
            }
            What::DevicesRefused { count } => not_recorded += count,
            _ => {}
        }
    }
    (refused, not_recorded)
}

#[test]
fn what_a_device_signs_for_its_account_is_good_for_ten_minutes() {
    for (later_secs, expected) in
        [(0, Ok(Answer::CarriedOut)), (600, Ok(Answer::CarriedOut)), (601, Err(Reason::ApprovalExpired))]
    {
        let mut device = Device::ready();
        let mut owner = owner(&mut device, ApprovalKind::Code);
        owner.account(&mut device).unwrap();
        let freeze = owner.act(&device, DevicePurpose::Freeze, None);
        device.advance(later_secs);
        assert_eq!(device.ask_plainly(freeze), expected, "{later_secs} s later");
    }
    // It names a second more than it may.
    let mut device = Device::ready();
    let mut owner = owner(&mut device, ApprovalKind::Code);
    owner.account(&mut device).unwrap();
    device.time.unix_secs += 1;
    let freeze = owner.act(&device, DevicePurpose::Freeze, None);
    device.time.unix_secs -= 1;
    assert_eq!(device.ask_plainly(freeze), Err(Reason::ApprovalExpired));
}
