//! Approvals bound to the transaction: what a user's device shows, approves, declines and freezes.

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
fn a_device_enrols_and_its_receipt_says_all_that_was_made() {
    let mut device = Device::ready();
    let owner = owner(&mut device, ApprovalKind::SealedCode);
    let receipt = owner.receipt.as_ref().unwrap();
    let [
        Factor::Totp { hash, digits: 6, period_secs: 30 },
        Factor::Device { key },
        Factor::Passkey { rp_id, origin, .. },
    ] = &receipt.factors[..]
    else {
        panic!("{:?}", receipt.factors)
    };
    assert_eq!((hash.as_str(), *key), ("sha1", owner.key.public_key()));
    assert_eq!((rp_id.as_str(), origin.as_str()), (phone::RP_ID, phone::ORIGIN));
    let [made] = &receipt.keys[..] else { panic!("{:?}", receipt.keys) };
    assert_eq!((made.key.as_str(), made.floor.word()), ("alice/main", "sealed-code"));
    assert_eq!(made.address, countersign_intent::ethereum::address_of(&made.public_key.into()).to_string());
    assert_eq!((receipt.measurement, receipt.policy), ([5; 48], [0; 32]));
    let Answer::Account(info) = device.ask(Act::ShowAccount("alice".parse().unwrap())).unwrap() else {
        panic!("no account")
    };
    assert!(info.confirmed && info.devices == 1 && info.passkeys == 1);
}

#[test]
fn i8_an_invitation_is_good_for_one_device_and_the_account_it_names() {
    let mut device = Device::ready();
    let invitation = invite(&mut device, "alice", KeyPlan::of(vec![Mechanism::Digest])).unwrap();
    let mut alice = Owner::meets(&mut device, "alice", 11);
    let good = alice.request(invitation, true);
    let refused =
        |device: &mut Device, request| device.ask_plainly(Act::EnrollSealed(Box::new(request))).unwrap_err();
    let mut other = good.clone();
    other.account = "bob".parse().unwrap();
    alice.sign_request(&mut other);
    assert_eq!(refused(&mut device, other), Reason::UnknownInvitation);
    let mut other = good.clone();
    other.tenant = "b".parse().unwrap();
    assert_eq!(refused(&mut device, other), Reason::UnknownInvitation);
    // Whoever stands between puts his own keys in the place of the device's.
    let thief = Owner::meets(&mut device, "alice", 31);
    let mut stolen = good.clone();
    stolen.device_sealing_key = (*thief.key.public_key().as_bytes()).into();
    assert_eq!(refused(&mut device, stolen), Reason::WrongDeviceSignature);
    let mut stolen = good.clone();
    stolen.device_nonce = [9; 32].into();
    assert_eq!(refused(&mut device, stolen), Reason::WrongDeviceSignature);
    let mut stolen = good.clone();
    stolen.passkeys.clear();
    assert_eq!(refused(&mut device, stolen), Reason::WrongDeviceSignature);
    let mut off_curve = good.clone();
    off_curve.device_key = [4; 65].into();
    assert_eq!(refused(&mut device, off_curve), Reason::MalformedDeviceKey);
    let mut twice = good.clone();
    twice.passkeys.push(good.passkeys[0].clone());
    alice.sign_request(&mut twice);
    assert_eq!(refused(&mut device, twice), Reason::TooManyPasskeys);

    let answer = device.ask_plainly(Act::EnrollSealed(Box::new(good.clone()))).unwrap();
    alice.take(answer);
    assert_eq!(refused(&mut device, good), Reason::UnknownInvitation);
    let again = invite(&mut device, "alice", KeyPlan::of(vec![Mechanism::Digest]));
    assert_eq!(again.unwrap_err(), Reason::AccountExists);
    device.advance(1801);
    let invitation = invite(&mut device, "alice", KeyPlan::of(vec![Mechanism::Digest])).unwrap();
    device.advance(1801);
    let late = alice.request(invitation, false);
    assert_eq!(refused(&mut device, late), Reason::UnknownInvitation);
}

#[test]
fn i8_an_account_of_a_device_is_not_confirmed_in_the_clear() {
    let mut device = Device::ready();
    let invitation = invite(&mut device, "alice", KeyPlan::of(vec![Mechanism::Digest])).unwrap();
    let mut alice = Owner::meets(&mut device, "alice", 11);
    let request = alice.request(invitation, false);
    let answer = device.ask_plainly(Act::EnrollSealed(Box::new(request))).unwrap();
    alice.take(answer);
    let now = device.time.unix_secs;
    let codes = [alice.code(now - 30), alice.code(now)];
    let act = Act::Confirm(TwoCodes {
        account: "alice".parse().unwrap(),
        first: typed(&codes[0]),
        second: typed(&codes[1]),
    });
    assert_eq!(device.ask(act).unwrap_err(), Reason::BelowFloor);
    let one = alice.act(&device, DevicePurpose::Confirm, Some(&[&codes[0]]));
    assert_eq!(device.ask_plainly(one).unwrap_err(), Reason::MalformedCode);
    let wrong = alice.act(&device, DevicePurpose::Confirm, Some(&[&codes[1], &codes[0]]));
    assert_eq!(device.ask_plainly(wrong.clone()).unwrap_err(), Reason::WrongCode);
    // Whoever carries it does not have the same guess counted again.
    assert_eq!(device.ask_plainly(wrong).unwrap_err(), Reason::WrongDeviceSignature);
    assert_eq!(failures_left(&mut device), 9);
    alice.account(&mut device).unwrap();
    let good = alice.act(&device, DevicePurpose::Confirm, Some(&[&codes[0], &codes[1]]));
    assert_eq!(device.ask_plainly(good.clone()), Ok(Answer::CarriedOut));
    // The act nonce has changed: nothing that was signed for an act counts twice.
    assert_eq!(device.ask_plainly(good).unwrap_err(), Reason::WrongDeviceSignature);
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
fn a_plain_code_below_the_floor_is_refused_and_is_no_guess() {
    for floor in [ApprovalKind::SealedCode, ApprovalKind::Passkey] {
        let mut device = Device::ready();
        let mut owner = owner(&mut device, floor);
        let wrong = "000000";
        device.ops.clear();
        for code in [wrong.to_owned(), owner.code(device.time.unix_secs)] {
            let plain = Approval::Code(typed(&code));
            assert_eq!(sign_with(&mut device, &owner, 1, plain.clone()).unwrap_err(), Reason::BelowFloor);
            let login =
                ContextLogin { operation: operation(&mut device, &owner, 1), approval: plain.clone() };
            assert_eq!(device.ask(Act::ContextLogin(login)).unwrap_err(), Reason::BelowFloor);
            let payee = Act::TrustPayee(TrustPayee {
                account: "alice".parse().unwrap(),
                address: countersign_intent::ethereum::address(&[7; 20]).to_string(),
                known: true,
                approval: Some(plain),
            });
            assert_eq!(device.ask(payee).unwrap_err(), Reason::BelowFloor);
        }
        assert!(!device.ops.contains(&"mac") && !device.ops.contains(&"sign"));
        assert_eq!(failures_left(&mut device), 10);
        // A sealed code is enough for one floor and not for the other.
        let (intent, view) = seen(&mut device, &mut owner, 1);
        let sealed = owner.approve(intent, by_code(&device, &owner, &view));
        let answer = device.ask_plainly(sealed);
        if floor == ApprovalKind::SealedCode {
            assert_eq!(answer, Ok(Answer::Approved));
        } else {
            assert_eq!(answer, Err(Reason::BelowFloor));
            assert_eq!(failures_left(&mut device), 10);
            let touched = owner.assertion(&view);
            assert_eq!(device.ask_plainly(owner.approve(intent, touched)), Ok(Answer::Approved));
        }
    }
}

#[test]
fn i8_no_key_has_a_floor_that_cannot_be_reached_or_is_below_the_first_ones() {
    let mut device = Device::ready();
    let strong = |floor| plan(&[Mechanism::Digest], floor);
    let mut act = enroll_act("bob", &[Mechanism::Digest]);
    let Act::Enroll(enroll) = &mut act else { unreachable!() };
    enroll.plan.floor = ApprovalKind::SealedCode;
    assert_eq!(device.ask(act).unwrap_err(), Reason::FloorNotPossible);
    let _ = owner(&mut device, ApprovalKind::SealedCode);
    let mut create = |name: &str, floor| {
        let label = format!("alice/{name}").parse().unwrap();
        device.ask(Act::CreateKey(CreateKey { label, plan: strong(floor) })).map(drop)
    };
    assert_eq!(create("weak", ApprovalKind::Code), Err(Reason::FloorNotPossible));
    assert_eq!(create("same", ApprovalKind::SealedCode), Ok(()));
    assert_eq!(create("strong", ApprovalKind::Passkey), Ok(()));
    enroll_plain_cannot_have_more_than_codes(&mut device);
}

fn enroll_plain_cannot_have_more_than_codes(device: &mut Device) {
    let user = enroll(device, "carol");
    let label = user.key.label.account.as_str();
    let label = format!("{label}/second").parse().unwrap();
    let plan = plan(&[Mechanism::Digest], ApprovalKind::SealedCode);
    assert_eq!(device.ask(Act::CreateKey(CreateKey { label, plan })).unwrap_err(), Reason::FloorNotPossible);
    let subject = Subject::Sign(StageSign { key: user.key.label.clone(), payload: payload(1) });
    assert_eq!(stage(device, subject).unwrap_err(), Reason::NoDevice);
}

#[test]
fn i4_an_authentic_wrong_code_counts_and_what_no_device_signed_does_not() {
    let mut device = Device::ready();
    let mut owner = owner(&mut device, ApprovalKind::SealedCode);
    let (intent, view) = seen(&mut device, &mut owner, 1);
    let good = owner.code(device.time.unix_secs);
    let thief = Owner::meets(&mut device, "alice", 41);
    let forged = thief.sealed_code(&view, &good);
    assert_eq!(device.ask_plainly(owner.approve(intent, forged)).unwrap_err(), Reason::UnknownDevice);
    let Evidence::SealedCode(mut forged) = thief.sealed_code(&view, &good) else { unreachable!() };
    forged.device = owner.device_id().into();
    let act = owner.approve(intent, Evidence::SealedCode(forged));
    assert_eq!(device.ask_plainly(act).unwrap_err(), Reason::WrongDeviceSignature);
    assert_eq!(failures_left(&mut device), 10);
    let malformed = owner.sealed_code(&view, "12 456");
    assert_eq!(device.ask_plainly(owner.approve(intent, malformed)).unwrap_err(), Reason::MalformedCode);
    assert_eq!(failures_left(&mut device), 10);
    let wrong = owner.sealed_code(&view, if good == "000000" { "000001" } else { "000000" });
    assert_eq!(device.ask_plainly(owner.approve(intent, wrong)).unwrap_err(), Reason::WrongCode);
    assert_eq!(failures_left(&mut device), 9);
    assert!(device.boot());
    assert_eq!(failures_left(&mut device), 9);
}

/// A code that was sealed for one transaction signs no other one, however its envelope is changed.
#[test]
fn i1_ten_thousand_changed_envelopes_approve_nothing_and_are_no_guesses() {
    let mut device = Device::ready();
    let mut owner = owner(&mut device, ApprovalKind::SealedCode);
    let (_, view) = seen(&mut device, &mut owner, 1);
    let (other, _) = seen(&mut device, &mut owner, 2);
    let (same, same_view) = seen(&mut device, &mut owner, 3);
    let Evidence::SealedCode(good) = by_code(&device, &owner, &view) else { unreachable!() };
    let Evidence::SealedCode(fitting) = by_code(&device, &owner, &same_view) else { unreachable!() };
    let mut reasons = std::collections::BTreeMap::<Reason, u32>::new();
    let mut draw = 0x2545_f491_4f6c_dd1d_u64;
    for turn in 0..10_000_u32 {
        draw ^= draw << 13;
        draw ^= draw >> 7;
        draw ^= draw << 17;
        // Sealed for the first, sent for the second: as it is, or with parts of one that fits, or with bits changed.
        let mut sent = good.clone();
        let intent = if turn % 2 == 0 { other } else { same };
        match draw >> 60 & 7 {
            0 => sent.signature = fitting.signature,
            1 => sent.encapsulated = fitting.encapsulated,
            2 => sent.ciphertext = fitting.ciphertext.clone(),
            3 => sent.device = [draw.to_be_bytes()[7]; 16].into(),
            _ => {}
        }
        let flip = |bytes: &mut [u8]| {
            let at = (draw >> 8) as usize % bytes.len();
            bytes[at] ^= 1 << (draw & 7);
        };
        match draw >> 57 & 7 {
            0 => flip(sent.signature.as_mut_slice()),
            1 => flip(sent.encapsulated.as_mut_slice()),
            2 => flip(&mut sent.ciphertext),
            3 => flip(sent.device.as_mut_slice()),
            4 => {
                let length = (draw >> 8) as usize % sent.ciphertext.len();
                sent.ciphertext.truncate(length);
            }
            _ => {}
        }
        let answer = device.ask_plainly(owner.approve(intent, Evidence::SealedCode(sent)));
        *reasons.entry(answer.expect_err("it is for another transaction")).or_default() += 1;
        device.advance(u64::from(turn % 64 == 0));
    }
    let known = [Reason::WrongDeviceSignature, Reason::MalformedDeviceSignature, Reason::UnknownDevice];
    assert!(reasons.keys().all(|reason| known.contains(reason)), "{reasons:?}");
    assert_eq!(failures_left(&mut device), 10);
    for byte in 1..=3 {
        assert_eq!(c_sign(&mut device, &owner, byte).unwrap_err(), Reason::ApprovalMissing);
    }
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
fn i2_a_passkeys_counter_never_falls_and_a_clone_is_noticed() {
    let mut device = Device::ready();
    let mut owner = owner(&mut device, ApprovalKind::Passkey);
    let clone = Authenticator::new(13);
    for byte in 1..=2 {
        let (intent, view) = seen(&mut device, &mut owner, byte);
        let touched = owner.assertion(&view);
        assert_eq!(device.ask_plainly(owner.approve(intent, touched)), Ok(Answer::Approved));
        c_sign(&mut device, &owner, byte).unwrap();
    }
    let (intent, view) = seen(&mut device, &mut owner, 3);
    let mut copied = Authenticator { count: 1, ..clone };
    let touched = Evidence::Passkey(copied.assert(&view.approval_digest()));
    assert_eq!(device.ask_plainly(owner.approve(intent, touched)).unwrap_err(), Reason::PasskeyCounter);
    assert!(device.boot());
    let (intent, view) = seen(&mut device, &mut owner, 3);
    let touched = owner.assertion(&view);
    assert_eq!(device.ask_plainly(owner.approve(intent, touched)), Ok(Answer::Approved));
}

/// A fault of the keystore after the approval was spent: the evidence is used up all the same.
#[test]
fn i2_evidence_is_spent_even_if_the_signature_fails() {
    for passkey in [false, true] {
        let mut device = Device::ready();
        let mut owner = owner(&mut device, ApprovalKind::SealedCode);
        let (intent, view) = seen(&mut device, &mut owner, 1);
        // A passkey without a counter, as synced ones are.
        let touched = owner.passkey.assert_uncounted(&view.approval_digest());
        let evidence = if passkey { Evidence::Passkey(touched) } else { by_code(&device, &owner, &view) };
        let approval = Approval::Intent(Box::new(IntentApproval { intent, evidence }));
        device.corrupt_signatures = true;
        assert_eq!(sign_with(&mut device, &owner, 1, approval.clone()).unwrap_err(), Reason::KeystoreFailed);
        device.corrupt_signatures = false;
        device.ops.clear();
        assert_eq!(sign_with(&mut device, &owner, 1, approval).unwrap_err(), Reason::IntentNotOpen);
        assert!(!device.ops.contains(&"sign"));
    }
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
fn i4_whoever_carries_a_sealed_code_does_not_have_it_counted_twice() {
    let mut device = Device::ready();
    let mut owner = owner(&mut device, ApprovalKind::SealedCode);
    let (intent, view) = seen(&mut device, &mut owner, 1);
    // Kept back until the code is too old, and then sent again and again.
    let kept = owner.approve(intent, by_code(&device, &owner, &view));
    device.advance(120);
    assert_eq!(device.ask_plainly(kept.clone()).unwrap_err(), Reason::WrongCode);
    for _ in 0..20 {
        assert_eq!(device.ask_plainly(kept.clone()).unwrap_err(), Reason::CodeUsed);
    }
    assert_eq!(failures_left(&mut device), 9);
    let act = owner.approve(intent, by_code(&device, &owner, &view));
    assert_eq!(device.ask_plainly(act), Ok(Answer::Approved), "the user is not locked out");
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

/// Really signed by the device, and wrong inside.
#[test]
fn what_a_device_sealed_wrongly_is_refused_by_name_and_is_no_guess() {
    let mut device = Device::ready();
    let mut owner = owner(&mut device, ApprovalKind::SealedCode);
    let (intent, view) = seen(&mut device, &mut owner, 1);
    let (_, other) = seen(&mut device, &mut owner, 2);
    let code = owner.code(device.time.unix_secs);
    let inner = owner.sealed_code_of(
        &view.approval_digest(),
        &view.approval_digest(),
        &other.approval_digest(),
        &code,
    );
    assert_eq!(device.ask_plainly(owner.approve(intent, inner)).unwrap_err(), Reason::ApprovalForOther);
    let associated = owner.sealed_code_of(
        &view.approval_digest(),
        &other.approval_digest(),
        &view.approval_digest(),
        &code,
    );
    assert_eq!(device.ask_plainly(owner.approve(intent, associated)).unwrap_err(), Reason::WrongSeal);
    let signed = owner.sealed_code_of(
        &other.approval_digest(),
        &view.approval_digest(),
        &view.approval_digest(),
        &code,
    );
    assert_eq!(device.ask_plainly(owner.approve(intent, signed)).unwrap_err(), Reason::WrongDeviceSignature);
    assert_eq!(failures_left(&mut device), 10);
    let good = owner.sealed_code_of(
        &view.approval_digest(),
        &view.approval_digest(),
        &view.approval_digest(),
        &code,
    );
    assert_eq!(device.ask_plainly(owner.approve(intent, good)), Ok(Answer::Approved));
}

#[test]
fn each_way_in_which_a_passkey_fails_has_its_name() {
    let mut device = Device::ready();
    let mut owner = owner(&mut device, ApprovalKind::Passkey);
    let (intent, view) = seen(&mut device, &mut owner, 1);
    let digest = view.approval_digest();
    let good = Authenticator::client_data("webauthn.get", &digest);
    let text = String::from_utf8(good.clone()).unwrap();
    let replaced = |from: &str, to: &str| text.replace(from, to).into_bytes();
    owner.passkey.count = 1;
    for (client_data, flags, expected) in [
        (replaced("webauthn.get", "webauthn.create"), 0x05, Reason::PasskeyWrongType),
        (replaced("approve.example.com", "evil.example.com"), 0x05, Reason::PasskeyWrongOrigin),
        (replaced("false", "true"), 0x05, Reason::PasskeyCrossOrigin),
        (replaced("{", "{\"type\":\"webauthn.get\","), 0x05, Reason::PasskeyDuplicateKey),
        (replaced("}", ""), 0x05, Reason::PasskeyMalformed),
        (Authenticator::client_data("webauthn.get", &[1; 32]), 0x05, Reason::PasskeyWrongChallenge),
        (good.clone(), 0x04, Reason::PasskeyUserNotPresent),
        (good.clone(), 0x01, Reason::PasskeyUserNotVerified),
        (good.clone(), 0x15, Reason::PasskeyBackupFlags),
    ] {
        let act = owner.approve(intent, Evidence::Passkey(owner.passkey.assert_with(client_data, flags)));
        assert_eq!(device.ask_plainly(act).unwrap_err(), expected);
    }
    let honest = owner.passkey.assert_with(good, 0x05);
    let mut changed = honest.clone();
    changed.authenticator_data[0] ^= 1;
    let act = owner.approve(intent, Evidence::Passkey(changed));
    assert_eq!(device.ask_plainly(act).unwrap_err(), Reason::PasskeyWrongRp);
    let mut changed = honest.clone();
    changed.signature.truncate(20);
    let act = owner.approve(intent, Evidence::Passkey(changed));
    assert_eq!(device.ask_plainly(act).unwrap_err(), Reason::PasskeyMalformedSignature);
    let mut changed = honest.clone();
    changed.authenticator_data[36] ^= 2;
    let act = owner.approve(intent, Evidence::Passkey(changed));
    assert_eq!(device.ask_plainly(act).unwrap_err(), Reason::PasskeyWrongSignature);
    let mut changed = honest.clone();
    changed.credential_id[0] ^= 1;
    let act = owner.approve(intent, Evidence::Passkey(changed));
    assert_eq!(device.ask_plainly(act).unwrap_err(), Reason::UnknownPasskey);
    let act = owner.approve(intent, Evidence::Passkey(honest));
    assert_eq!(device.ask_plainly(act), Ok(Answer::Approved));
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

/// How many refused approvals the trail has, and how many it says that it has not.
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
            What::Refused { act, .. } if act == "approve" => refused += 1,
            What::DevicesRefused { count } => not_recorded += count,
            _ => {}
        }
    }
    (refused, not_recorded)
}
