//! Sealed enrolment: an invitation, a device, a receipt that says everything; and which floors there can be.

use super::*;
use countersign_approvals::digest::registration_challenge;

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
fn i2_what_was_signed_for_an_enrolment_that_is_void_is_void_with_it() {
    let mut device = Device::ready();
    let mut alice = Owner::meets(&mut device, "alice", 11);
    let mut nonces = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let invitation = invite(&mut device, "alice", KeyPlan::of(vec![Mechanism::Digest])).unwrap();
        let request = alice.request(invitation, false);
        let answer = device.ask_plainly(Act::EnrollSealed(Box::new(request))).unwrap();
        alice.take(answer);
        assert!(nonces.insert(alice.act_nonce), "an act that was signed before would be good again");
        device.advance(1_800);
    }
}

#[test]
fn four_passkeys_can_be_enrolled_and_no_fifth() {
    let mut device = Device::ready();
    let plan = || KeyPlan::of(vec![Mechanism::Digest]);
    let invitation = invite(&mut device, "alice", plan()).unwrap();
    let mut alice = Owner::meets(&mut device, "alice", 11);
    let mut request = alice.request(invitation, false);
    let device_key = request.device_key.into_array();
    let challenge =
        registration_challenge(&alice.identity.hsm, "a", "alice", &invitation.into_array(), &device_key);
    request.passkeys = (40..45).map(|seed| Authenticator::new(seed).register(&challenge)).collect();
    alice.sign_request(&mut request);
    let five = device.ask_plainly(Act::EnrollSealed(Box::new(request.clone())));
    assert_eq!(five.unwrap_err(), Reason::TooManyPasskeys);
    request.passkeys.pop();
    alice.sign_request(&mut request);
    device.ask_plainly(Act::EnrollSealed(Box::new(request))).unwrap();
    let Answer::Account(info) = device.ask(Act::ShowAccount("alice".parse().unwrap())).unwrap() else {
        panic!("no account")
    };
    assert_eq!((info.devices, info.passkeys), (1, 4));
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
