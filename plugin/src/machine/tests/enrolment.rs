//! Enrolments: what can be enrolled, and for how long an open one stands.

use super::*;
use countersign_wire::client::TotpHash;

fn enroll_with(totp: TotpParameters, mechanisms: &[Mechanism]) -> [Act; 2] {
    let Act::Enroll(enroll) = enroll_act("alice", mechanisms) else { unreachable!() };
    let enroll = Enroll { totp, ..enroll };
    [Act::Enroll(enroll.clone()), Act::Invite(enroll)]
}

#[test]
fn what_no_account_can_have_is_refused_before_anything_is_made() {
    let mut device = Device::ready();
    device.ops.clear();
    let odd = [
        TotpParameters { digits: 7, ..TotpParameters::default() },
        TotpParameters { period_secs: 45, ..TotpParameters::default() },
    ];
    for act in odd.into_iter().flat_map(|totp| enroll_with(totp, &[Mechanism::Digest])) {
        assert_eq!(device.ask(act).unwrap_err(), Reason::UnsupportedFactor);
    }
    for act in enroll_with(TotpParameters::default(), &[]) {
        assert_eq!(device.ask(act).unwrap_err(), Reason::MalformedRequest);
    }
    assert!(!device.ops.iter().any(|op| ["random", "wrap", "generate"].contains(op)), "{:?}", device.ops);
    let totp = TotpParameters { hash: TotpHash::Sha512, digits: 8, period_secs: 60 };
    let [enroll, _] = enroll_with(totp, &[Mechanism::Digest]);
    device.ask(enroll).unwrap();
}

#[test]
fn an_open_enrolment_stands_for_half_an_hour() {
    let mut device = Device::ready();
    device.advance(1_000);
    let (early, late) = (open_account(&mut device, "alice"), open_account(&mut device, "bob"));
    device.advance(1_799);
    let now = device.time.unix_secs;
    device.ask(Act::Confirm(two_codes(&early, now - 30))).unwrap();
    device.advance(1);
    let confirm = Act::Confirm(two_codes(&late, device.time.unix_secs - 30));
    assert_eq!(device.ask(confirm).unwrap_err(), Reason::EnrolmentExpired);
    // Then the name is free again; that of an account is not.
    open_account(&mut device, "bob");
    let again = enroll_act("alice", &[Mechanism::Digest]);
    assert_eq!(device.ask(again).unwrap_err(), Reason::AccountExists);
}

#[test]
fn i5_a_public_key_that_is_no_point_makes_no_account_and_no_key() {
    let mut device = Device::ready();
    let alice = enroll(&mut device, "alice");
    device.corrupt_points = true;
    let plan = KeyPlan::of(vec![Mechanism::Digest]);
    let create = Act::CreateKey(CreateKey { label: "alice/second".parse().unwrap(), plan });
    let bob = || enroll_act("bob", &[Mechanism::Digest]);
    assert_eq!(device.ask(bob()).unwrap_err(), Reason::KeystoreFailed);
    assert_eq!(device.ask(create).unwrap_err(), Reason::KeystoreFailed);
    assert_eq!(show(&mut device, &alice).keys.len(), 1);
    device.corrupt_points = false;
    device.ask(bob()).unwrap();
}
