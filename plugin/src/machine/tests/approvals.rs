//! Approvals bound to the transaction: what a user's device shows, approves, declines and freezes.

mod account;
mod enrolment;
mod evidence;
mod faults;

use super::phone::{Authenticator, Owner, invite, stage};
use super::policies::{document, transfer};
use super::*;
use countersign_approvals::statement::{AccountState, Factor, IntentState as StateWord, View};
use countersign_wire::client::{
    ApprovalKind, FindReceipt, StagePayee, StageSign, Staged, Subject, TrustPayee,
};
use countersign_wire::device::{DevicePurpose, Evidence, IntentApproval, IntentId, IntentState};

fn plan(mechanisms: &[Mechanism], floor: ApprovalKind) -> KeyPlan {
    KeyPlan { floor, ..KeyPlan::of(mechanisms.to_vec()) }
}

fn owner(device: &mut Device, floor: ApprovalKind) -> Owner {
    Owner::enrolled(device, "alice", 11, plan(&[Mechanism::Digest], floor))
}

fn payload(byte: u8) -> Payload {
    Payload::Digest([byte; 32].into())
}

fn stage_digest(device: &mut Device, owner: &Owner, byte: u8) -> Result<Staged, Reason> {
    stage(device, Subject::Sign(StageSign { key: owner.label(), payload: payload(byte) }))
}

/// A staged digest, as its owner sees it.
fn seen(device: &mut Device, owner: &mut Owner, byte: u8) -> (IntentId, View) {
    let staged = stage_digest(device, owner, byte).unwrap();
    let view = owner.view(device, staged.intent).unwrap();
    assert_eq!((&view.summary, &view.digests[..]), (&staged.summary, &[[byte; 32]][..]));
    (staged.intent, view)
}

fn sign_with(device: &mut Device, owner: &Owner, byte: u8, approval: Approval) -> Result<Signed, Reason> {
    let act = Act::Sign(Sign { key: owner.label(), payload: payload(byte), approval: Some(approval) });
    device.ask(act).map(|answer| match answer {
        Answer::Signed(signed) => signed,
        other => panic!("{other:?}"),
    })
}

fn operation(device: &mut Device, owner: &Owner, id: u8) -> Operation {
    let Answer::Keys(page) = device.ask(Act::FindKeys(KeyQuery::Label(owner.label()))).unwrap() else {
        panic!("no keys")
    };
    Operation { id: [id; 16].into(), key: page.keys[0].id, mechanism: Mechanism::Digest }
}

/// `C_Sign`, by an application that knows no context login.
fn c_sign(device: &mut Device, owner: &Owner, byte: u8) -> Result<Signed, Reason> {
    let operation = operation(device, owner, 99);
    let act = Act::ContextSign(ContextSign { operation, payload: payload(byte) });
    device.ask(act).map(|answer| match answer {
        Answer::Signed(signed) => signed,
        other => panic!("{other:?}"),
    })
}

fn failures_left(device: &mut Device) -> u16 {
    let Answer::Account(info) = device.ask(Act::ShowAccount("alice".parse().unwrap())).unwrap() else {
        panic!("no account")
    };
    info.failures_left
}

fn by_code(device: &Device, owner: &Owner, view: &View) -> Evidence {
    owner.sealed_code(view, &owner.code(device.time.unix_secs))
}

#[test]
fn i1_what_was_approved_is_signed_once_and_nothing_else_is() {
    for passkey in [false, true] {
        let mut device = Device::ready();
        let mut owner = owner(&mut device, ApprovalKind::SealedCode);
        let (intent, view) = seen(&mut device, &mut owner, 1);
        assert_eq!(c_sign(&mut device, &owner, 1).unwrap_err(), Reason::ApprovalMissing);
        let evidence = if passkey { owner.assertion(&view) } else { by_code(&device, &owner, &view) };
        let act = owner.approve(intent, evidence.clone());
        assert_eq!(device.ask_plainly(act.clone()), Ok(Answer::Approved));
        assert_eq!(owner.state(&mut device, intent).unwrap().state, IntentState::Approved);

        assert_eq!(c_sign(&mut device, &owner, 2).unwrap_err(), Reason::ApprovalMissing, "another digest");
        let prior = sign_with(&mut device, &owner, 2, Approval::Prior);
        assert_eq!(prior.unwrap_err(), Reason::ApprovalMissing);
        device.ops.clear();
        let signed = c_sign(&mut device, &owner, 1).unwrap();
        assert_eq!(device.ops.iter().filter(|op| **op == "sign").count(), 1);
        assert_eq!(signed.digest.into_array(), [1; 32]);
        assert_eq!(c_sign(&mut device, &owner, 1).unwrap_err(), Reason::ApprovalMissing, "once");
        assert_eq!(sign_with(&mut device, &owner, 1, Approval::Prior).unwrap_err(), Reason::ApprovalMissing);
        assert_eq!(owner.state(&mut device, intent).unwrap().state, IntentState::Signed);
        // I2: the same evidence makes no second approval, on any way.
        assert_eq!(device.ask_plainly(act).unwrap_err(), Reason::IntentNotOpen);
        let again = Approval::Intent(Box::new(IntentApproval { intent, evidence: evidence.clone() }));
        assert_eq!(sign_with(&mut device, &owner, 1, again).unwrap_err(), Reason::IntentNotOpen);
        // Nor for the next intent of the very same transaction.
        device.advance(30);
        let (next, _) = seen(&mut device, &mut owner, 1);
        let reason = device.ask_plainly(owner.approve(next, evidence)).unwrap_err();
        let expected = if passkey { Reason::PasskeyWrongChallenge } else { Reason::WrongDeviceSignature };
        assert_eq!(reason, expected);
    }
}

#[test]
fn i10_what_was_approved_for_one_key_is_not_signed_with_another_and_stays_for_its_own() {
    let mut device = Device::ready();
    let mut owner = owner(&mut device, ApprovalKind::SealedCode);
    let second: KeyLabel = "alice/second".parse().unwrap();
    let plan = plan(&[Mechanism::Digest], ApprovalKind::SealedCode);
    device.ask(Act::CreateKey(CreateKey { label: second.clone(), plan })).unwrap();
    let (intent, view) = seen(&mut device, &mut owner, 1);
    let approve = owner.approve(intent, by_code(&device, &owner, &view));
    assert_eq!(device.ask_plainly(approve), Ok(Answer::Approved));
    let with_second = Act::Sign(Sign { key: second, payload: payload(1), approval: Some(Approval::Prior) });
    assert_eq!(device.ask(with_second).unwrap_err(), Reason::ApprovalMissing);
    c_sign(&mut device, &owner, 1).unwrap();
}

#[test]
fn i1_an_intent_that_means_something_else_by_now_is_not_approved() {
    use crate::staged::{StagedIntent, StagedKey};
    type Changes = fn(&mut StagedIntent);
    let changes: [Changes; 3] = [
        |held| held.hash = [9; 32],
        |held| held.key = held.key.take().map(|key| StagedKey { id: [9; 16], ..key }),
        |held| {
            held.subject =
                Subject::Sign(StageSign { key: "alice/main".parse().unwrap(), payload: payload(2) });
        },
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut device = Device::ready();
        let mut owner = owner(&mut device, ApprovalKind::SealedCode);
        let intent = stage_digest(&mut device, &owner, 1).unwrap().intent;
        let core = Rc::clone(&device.plugin.core);
        let core = core.get().unwrap();
        let held = core.staged.borrow().of_tenant(&"a".parse().unwrap(), &intent, 0).cloned();
        let mut held = held.unwrap();
        core.staged.borrow_mut().remove(&intent);
        change(&mut held);
        core.staged.borrow_mut().put(intent.into_array(), held, 0, 2).unwrap();
        let view = owner.view(&mut device, intent).unwrap();
        let approve = owner.approve(intent, by_code(&device, &owner, &view));
        assert_eq!(device.ask_plainly(approve).unwrap_err(), Reason::ApprovalForOther, "{number}");
        for byte in [1, 2] {
            assert_eq!(c_sign(&mut device, &owner, byte).unwrap_err(), Reason::ApprovalMissing);
        }
    }
}

#[test]
fn i2_of_several_approvals_a_signature_uses_its_own() {
    let mut device = Device::ready();
    let mut owner = owner(&mut device, ApprovalKind::SealedCode);
    for byte in [1, 2] {
        device.advance(30);
        let (intent, view) = seen(&mut device, &mut owner, byte);
        let act = owner.approve(intent, by_code(&device, &owner, &view));
        assert_eq!(device.ask_plainly(act), Ok(Answer::Approved));
    }
    assert!(c_sign(&mut device, &owner, 2).is_ok());
    assert_eq!(c_sign(&mut device, &owner, 2).unwrap_err(), Reason::ApprovalMissing);
    assert!(c_sign(&mut device, &owner, 1).is_ok(), "that one is still there");
    assert_eq!(c_sign(&mut device, &owner, 1).unwrap_err(), Reason::ApprovalMissing);
}

#[test]
fn i2_an_approval_survives_a_restart_and_is_still_good_only_once() {
    let mut device = Device::ready();
    let mut owner = owner(&mut device, ApprovalKind::SealedCode);
    let (open, _) = seen(&mut device, &mut owner, 2);
    let (intent, view) = seen(&mut device, &mut owner, 1);
    let act = owner.approve(intent, by_code(&device, &owner, &view));
    assert_eq!(device.ask_plainly(act.clone()), Ok(Answer::Approved));
    assert!(device.boot());
    // What was only staged is forgotten, what was approved is not.
    assert_eq!(owner.view(&mut device, open).unwrap_err(), Reason::UnknownIntent);
    assert_eq!(device.ask_plainly(act).unwrap_err(), Reason::UnknownIntent);
    assert!(c_sign(&mut device, &owner, 1).is_ok());
    assert_eq!(c_sign(&mut device, &owner, 1).unwrap_err(), Reason::ApprovalMissing);
    assert!(device.boot());
    assert_eq!(c_sign(&mut device, &owner, 1).unwrap_err(), Reason::ApprovalMissing);
}

#[test]
fn what_is_not_approved_or_not_signed_in_time_expires() {
    let mut device = Device::ready();
    let mut owner = owner(&mut device, ApprovalKind::SealedCode);
    let (intent, view) = seen(&mut device, &mut owner, 1);
    device.advance(601);
    let late = owner.approve(intent, by_code(&device, &owner, &view));
    assert_eq!(device.ask_plainly(late).unwrap_err(), Reason::UnknownIntent);
    let (intent, view) = seen(&mut device, &mut owner, 1);
    // The clock is corrected: by elapsed time there is some left, by what the user was told there is none.
    device.time.unix_secs += 599;
    device.advance(2);
    let late = owner.approve(intent, by_code(&device, &owner, &view));
    assert_eq!(device.ask_plainly(late).unwrap_err(), Reason::ApprovalExpired);
    let (intent, view) = seen(&mut device, &mut owner, 1);
    let good = owner.approve(intent, by_code(&device, &owner, &view));
    assert_eq!(device.ask_plainly(good), Ok(Answer::Approved));
    device.advance(301);
    assert_eq!(c_sign(&mut device, &owner, 1).unwrap_err(), Reason::ApprovalMissing);
}

#[test]
fn a_sealed_approval_goes_with_the_signature_itself_too() {
    let mut device = Device::ready();
    let mut owner = owner(&mut device, ApprovalKind::SealedCode);
    let (intent, view) = seen(&mut device, &mut owner, 1);
    let approval = |evidence| Approval::Intent(Box::new(IntentApproval { intent, evidence }));
    let evidence = by_code(&device, &owner, &view);
    assert_eq!(
        sign_with(&mut device, &owner, 2, approval(evidence.clone())).unwrap_err(),
        Reason::ApprovalForOther
    );
    let request = Request {
        id: [7; 16].into(),
        api_key: Some(api_key("a")),
        act: Act::Sign(Sign { key: owner.label(), payload: payload(1), approval: Some(approval(evidence)) }),
    };
    let ask = |device: &mut Device| {
        let ticket = device.send(&request);
        device.settle();
        device.reply(ticket).unwrap()
    };
    let Ok(Answer::Signed(signed)) = ask(&mut device) else { panic!("not signed") };
    assert_eq!(ask(&mut device), Ok(Answer::Signed(signed)), "a lost answer costs nothing");
    assert_eq!(owner.state(&mut device, intent).unwrap().approval, Some(ApprovalKind::SealedCode));

    // As the PIN of a context login it approves; what is signed after it is exactly that.
    device.advance(30);
    let (intent, view) = seen(&mut device, &mut owner, 3);
    let evidence = owner.assertion(&view);
    let approval = Approval::Intent(Box::new(IntentApproval { intent, evidence }));
    let wrong_key = Operation { mechanism: Mechanism::Message, ..operation(&mut device, &owner, 4) };
    let login = |operation| Act::ContextLogin(ContextLogin { operation, approval: approval.clone() });
    assert_eq!(device.ask(login(wrong_key)).unwrap_err(), Reason::ApprovalForOther);
    let operation = operation(&mut device, &owner, 4);
    assert_eq!(device.ask(login(operation.clone())), Ok(Answer::LoggedIn));
    let sign = |byte| Act::ContextSign(ContextSign { operation: operation.clone(), payload: payload(byte) });
    assert_eq!(device.ask(sign(4)).unwrap_err(), Reason::ApprovalMissing);
    assert!(matches!(device.ask(sign(3)), Ok(Answer::Signed(_))));
    assert_eq!(device.ask(sign(3)).unwrap_err(), Reason::ApprovalMissing);
}

#[test]
fn a_login_with_nothing_to_say_makes_no_grant() {
    let mut device = Device::ready();
    let mut owner = owner(&mut device, ApprovalKind::Code);
    let operation = operation(&mut device, &owner, 5);
    let login = Act::ContextLogin(ContextLogin { operation: operation.clone(), approval: Approval::Prior });
    assert_eq!(device.ask(login.clone()).unwrap_err(), Reason::MalformedCode);
    let (intent, view) = seen(&mut device, &mut owner, 1);
    let act = owner.approve(intent, by_code(&device, &owner, &view));
    assert_eq!(device.ask_plainly(act), Ok(Answer::Approved));
    assert_eq!(device.ask(login.clone()), Ok(Answer::LoggedIn));
    let sign = |byte| Act::ContextSign(ContextSign { operation: operation.clone(), payload: payload(byte) });
    assert_eq!(device.ask(sign(2)).unwrap_err(), Reason::ApprovalMissing);
    assert!(device.ask(sign(1)).is_ok());
    assert_eq!(device.ask(login).unwrap_err(), Reason::MalformedCode);
}

#[test]
fn i2_one_code_approves_one_intent() {
    let mut device = Device::ready();
    let mut owner = owner(&mut device, ApprovalKind::SealedCode);
    let (one, one_view) = seen(&mut device, &mut owner, 1);
    let (two, two_view) = seen(&mut device, &mut owner, 2);
    let first = owner.approve(one, by_code(&device, &owner, &one_view));
    let second = owner.approve(two, by_code(&device, &owner, &two_view));
    assert_eq!(device.ask_plainly(first), Ok(Answer::Approved));
    assert_eq!(device.ask_plainly(second).unwrap_err(), Reason::CodeUsed);
    assert!(c_sign(&mut device, &owner, 1).is_ok());
    assert_eq!(c_sign(&mut device, &owner, 2).unwrap_err(), Reason::ApprovalMissing);
}

#[test]
fn a_declined_intent_is_neither_approved_nor_signed() {
    let mut device = Device::ready();
    let mut owner = owner(&mut device, ApprovalKind::SealedCode);
    let (intent, view) = seen(&mut device, &mut owner, 1);
    let thief = Owner::meets(&mut device, "alice", 51);
    assert_eq!(device.ask_plainly(thief.decline(&view)).unwrap_err(), Reason::UnknownDevice);
    assert_eq!(device.ask_plainly(owner.decline(&view)), Ok(Answer::Declined));
    let late = owner.approve(intent, by_code(&device, &owner, &view));
    assert_eq!(device.ask_plainly(late).unwrap_err(), Reason::IntentNotOpen);
    assert_eq!(owner.view(&mut device, intent).unwrap().state, StateWord::Declined);
    // What was approved and is not signed yet is taken back.
    let (intent, view) = seen(&mut device, &mut owner, 2);
    let act = owner.approve(intent, by_code(&device, &owner, &view));
    assert_eq!(device.ask_plainly(act), Ok(Answer::Approved));
    assert_eq!(device.ask_plainly(owner.decline(&view)), Ok(Answer::Declined));
    assert_eq!(c_sign(&mut device, &owner, 2).unwrap_err(), Reason::ApprovalMissing);
    assert_eq!(device.ask_plainly(owner.decline(&view)).unwrap_err(), Reason::IntentNotOpen);
}

#[test]
fn i14_an_account_has_a_few_open_intents_and_no_more() {
    let mut device = Device::ready();
    let mut owner = owner(&mut device, ApprovalKind::SealedCode);
    let (_, first) = seen(&mut device, &mut owner, 1);
    for byte in 2..=4 {
        stage_digest(&mut device, &owner, byte).unwrap();
    }
    assert_eq!(stage_digest(&mut device, &owner, 5).unwrap_err(), Reason::TooManyIntents);
    assert_eq!(owner.account(&mut device).unwrap().intents.len(), 4);
    assert_eq!(device.ask_plainly(owner.decline(&first)), Ok(Answer::Declined));
    stage_digest(&mut device, &owner, 5).unwrap();
    device.advance(601);
    for byte in 1..=4 {
        stage_digest(&mut device, &owner, byte).unwrap();
    }
}

#[test]
fn policy_is_asked_when_it_is_staged_approved_and_signed() {
    let mut device = Device::ready();
    let mut rules = document(1);
    rules.rules = r#"
        @id("small-or-passkey")
        permit (principal, action == Action::"transfer", resource)
        when { context.within.contains(Limit::"small")
            || context.approved_at_least.contains(Approval::"passkey") && !context.passkey_backed_up };
    "#
    .to_owned();
    device.tenants[0].policy = Some(rules.to_bytes().into());
    assert!(device.boot(), "{:?}", device.halted);
    let plan = plan(&[Mechanism::Ethereum], ApprovalKind::SealedCode);
    let mut owner = Owner::enrolled(&mut device, "alice", 11, plan);
    assert_ne!(owner.receipt.as_ref().unwrap().policy, [0; 32]);
    let label = owner.label();
    let subject = |nonce: u8, gwei: u128| {
        let payload = transfer(nonce, gwei, [9; 20]);
        Subject::Sign(StageSign { key: label.clone(), payload })
    };
    let (eighty, large, too_large) =
        (subject(0, 80_000_000), subject(1, 900_000_000), subject(2, 2_000_000_000));
    assert_eq!(stage(&mut device, too_large).unwrap_err(), Reason::LimitExceeded);
    let staged = stage(&mut device, large).unwrap();
    let view = owner.view(&mut device, staged.intent).unwrap();
    let code = by_code(&device, &owner, &view);
    assert_eq!(device.ask_plainly(owner.approve(staged.intent, code)).unwrap_err(), Reason::PolicyRefused);
    let touched = owner.assertion(&view);
    assert_eq!(device.ask_plainly(owner.approve(staged.intent, touched)), Ok(Answer::Approved));
    // The code that policy did not want is still good, for something that it permits.
    let small = stage(&mut device, eighty.clone()).unwrap();
    let small_view = owner.view(&mut device, small.intent).unwrap();
    let code = by_code(&device, &owner, &small_view);
    assert_eq!(device.ask_plainly(owner.approve(small.intent, code)), Ok(Answer::Approved));
    let sign = |subject: &Subject| {
        let Subject::Sign(StageSign { key, payload }) = subject else { unreachable!() };
        Act::Sign(Sign { key: key.clone(), payload: payload.clone(), approval: Some(Approval::Prior) })
    };
    assert!(device.ask(sign(&subject(1, 900_000_000))).is_ok());
    device.advance(30);
    // The day's limit has room for 0.1 more, and not for what an approval from before would take of it twice.
    assert!(device.ask(sign(&eighty)).is_ok());
    assert_eq!(device.ask(sign(&eighty)).unwrap_err(), Reason::ApprovalMissing);
    let more = stage(&mut device, subject(3, 80_000_000));
    assert_eq!(more.unwrap_err(), Reason::LimitExceeded);
}

#[test]
fn i1_policy_refuses_at_the_signature_what_it_permitted_at_the_approval() {
    let mut device = Device::ready();
    device.tenants[0].policy = Some(document(1).to_bytes().into());
    assert!(device.boot(), "{:?}", device.halted);
    let plan = plan(&[Mechanism::Ethereum], ApprovalKind::SealedCode);
    let mut owner = Owner::enrolled(&mut device, "alice", 11, plan);
    // Twelve of 0.09 are more than the day's one ether; each alone fits when it is approved.
    let mut refused = 0;
    for round in 0..6_u8 {
        device.advance(30);
        let payloads =
            [transfer(2 * round, 90_000_000, [9; 20]), transfer(2 * round + 1, 90_000_000, [9; 20])];
        for payload in payloads {
            device.advance(30);
            let sign = StageSign { key: owner.label(), payload: payload.clone() };
            let Ok(staged) = stage(&mut device, Subject::Sign(sign)) else { continue };
            let view = owner.view(&mut device, staged.intent).unwrap();
            let act = owner.approve(staged.intent, by_code(&device, &owner, &view));
            assert_eq!(device.ask_plainly(act), Ok(Answer::Approved));
        }
        for payload in
            [transfer(2 * round, 90_000_000, [9; 20]), transfer(2 * round + 1, 90_000_000, [9; 20])]
        {
            let sign = Sign { key: owner.label(), payload, approval: Some(Approval::Prior) };
            if let Err(reason) = device.ask(Act::Sign(sign.clone())) {
                assert_eq!(reason, Reason::LimitExceeded);
                // It is not used up by that.
                assert_eq!(device.ask(Act::Sign(sign)).unwrap_err(), Reason::LimitExceeded);
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 1);
}

#[test]
fn a_payee_is_approved_on_a_device() {
    let mut device = Device::ready();
    let mut owner = owner(&mut device, ApprovalKind::SealedCode);
    let address = countersign_intent::ethereum::address(&[0xab; 20]).to_string();
    let subject = |known| {
        Subject::Payee(StagePayee { account: "alice".parse().unwrap(), address: address.clone(), known })
    };
    let staged = stage(&mut device, subject(true)).unwrap();
    let view = owner.view(&mut device, staged.intent).unwrap();
    assert_eq!((view.mechanism.as_str(), view.key.as_str()), ("payee", ""));
    assert!(view.summary.contains(&address));
    let act = owner.approve(staged.intent, by_code(&device, &owner, &view));
    assert_eq!(device.ask_plainly(act), Ok(Answer::Approved));
    let payees = |device: &mut Device| {
        let Answer::Account(info) = device.ask(Act::ShowAccount("alice".parse().unwrap())).unwrap() else {
            panic!("no account")
        };
        info.payees
    };
    assert_eq!(payees(&mut device), std::slice::from_ref(&address));
    device.advance(30);
    let staged = stage(&mut device, subject(false)).unwrap();
    let view = owner.view(&mut device, staged.intent).unwrap();
    let act = owner.approve(staged.intent, by_code(&device, &owner, &view));
    assert_eq!(device.ask_plainly(act), Ok(Answer::Approved));
    assert_eq!(payees(&mut device), Vec::<String>::new());
    let bad = Subject::Payee(StagePayee {
        account: "alice".parse().unwrap(),
        address: address.to_lowercase(),
        known: true,
    });
    assert_eq!(stage(&mut device, bad).unwrap_err(), Reason::MalformedAddress);
}

#[test]
fn an_approval_does_not_wait_while_the_hsm_is_off() {
    for (off_secs, signs) in [(120, true), (301, false), (3 * 24 * 3600, false)] {
        let mut device = Device::ready();
        let mut owner = owner(&mut device, ApprovalKind::SealedCode);
        let (intent, view) = seen(&mut device, &mut owner, 1);
        let act = owner.approve(intent, by_code(&device, &owner, &view));
        assert_eq!(device.ask_plainly(act), Ok(Answer::Approved));
        // Off: the clock goes on, and the time that it ran begins anew.
        device.time.unix_secs += off_secs;
        device.time.running_secs = 0;
        assert!(device.boot());
        assert_eq!(c_sign(&mut device, &owner, 1).is_ok(), signs, "{off_secs}");
    }
}

#[test]
fn an_approval_from_before_a_restart_is_seen_and_can_be_taken_back() {
    let mut device = Device::ready();
    let mut owner = owner(&mut device, ApprovalKind::SealedCode);
    let (intent, view) = seen(&mut device, &mut owner, 1);
    let act = owner.approve(intent, by_code(&device, &owner, &view));
    assert_eq!(device.ask_plainly(act), Ok(Answer::Approved));
    assert!(device.boot());
    let account = owner.account(&mut device).unwrap();
    assert_eq!(account.intents.len(), 1);
    assert_eq!((account.intents[0].intent, account.intents[0].state), (view.intent, StateWord::Approved));
    let thief = Owner::meets(&mut device, "alice", 51);
    assert_eq!(device.ask_plainly(thief.decline(&view)).unwrap_err(), Reason::UnknownDevice);
    assert_eq!(device.ask_plainly(owner.decline(&view)), Ok(Answer::Declined));
    assert_eq!(c_sign(&mut device, &owner, 1).unwrap_err(), Reason::ApprovalMissing);
    assert_eq!(device.ask_plainly(owner.decline(&view)).unwrap_err(), Reason::UnknownIntent);
}

#[test]
fn i1_without_an_approval_nothing_is_said_of_what_was_to_be_signed() {
    let mut device = Device::ready();
    let plan = plan(&[Mechanism::Digest, Mechanism::Ethereum], ApprovalKind::SealedCode);
    let mut owner = Owner::enrolled(&mut device, "alice", 11, plan);
    let digest = operation(&mut device, &owner, 99);
    let ethereum = Operation { mechanism: Mechanism::Ethereum, ..digest.clone() };
    let sign = |device: &mut Device, operation: &Operation| {
        let payload = Payload::Ethereum(vec![0xff; 9].into());
        device.ask(Act::ContextSign(ContextSign { operation: operation.clone(), payload })).unwrap_err()
    };
    assert_eq!(sign(&mut device, &ethereum), Reason::ApprovalMissing);
    assert_eq!(sign(&mut device, &digest), Reason::ApprovalMissing);
    let (intent, view) = seen(&mut device, &mut owner, 1);
    let act = owner.approve(intent, by_code(&device, &owner, &view));
    assert_eq!(device.ask_plainly(act), Ok(Answer::Approved));
    // Something waits: what is wrong with the data is told, but not of data of another kind than the operation's.
    assert_eq!(sign(&mut device, &ethereum), Reason::MalformedTransaction);
    assert_eq!(sign(&mut device, &digest), Reason::ApprovalMissing);
}

#[test]
fn an_intent_can_be_approved_until_the_second_that_it_names() {
    for (late_secs, expected) in [(0, Ok(Answer::Approved)), (1, Err(Reason::ApprovalExpired))] {
        let mut device = Device::ready();
        let mut owner = owner(&mut device, ApprovalKind::SealedCode);
        let (intent, view) = seen(&mut device, &mut owner, 1);
        // Real time goes ahead a little: by the time that it runs it is forgotten at the same moment.
        device.advance(300);
        device.time.unix_secs = view.expires_unix_secs + late_secs;
        let act = owner.approve(intent, by_code(&device, &owner, &view));
        assert_eq!(device.ask_plainly(act), expected, "{late_secs} s late");
    }
}

#[test]
fn after_a_restart_only_what_was_approved_can_still_be_refused() {
    let mut device = Device::ready();
    let mut owner = owner(&mut device, ApprovalKind::SealedCode);
    let (_, open) = seen(&mut device, &mut owner, 2);
    let (intent, view) = seen(&mut device, &mut owner, 1);
    let act = owner.approve(intent, by_code(&device, &owner, &view));
    assert_eq!(device.ask_plainly(act), Ok(Answer::Approved));
    assert!(device.boot());
    assert_eq!(device.ask_plainly(owner.decline(&open)), Err(Reason::UnknownIntent));
    assert_eq!(device.ask_plainly(owner.decline(&view)), Ok(Answer::Declined));
    assert_eq!(c_sign(&mut device, &owner, 1).unwrap_err(), Reason::ApprovalMissing);
    assert_eq!(device.ask_plainly(owner.decline(&view)), Err(Reason::UnknownIntent));
}
