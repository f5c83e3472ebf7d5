//! What every request passes: whose it is, what its refusal leaves in the log, and what a device's leaves.

use super::log::texts;
use super::phone::Owner;
use super::*;
use countersign_wire::client::{RANDOM_MAX_BYTES, StagePayee, StageSign, Subject, TrustPayee};
use countersign_wire::device::{
    DeviceAct, DevicePurpose, EnrollSealed, ViewAccount, ViewIntent, ViewReceipt,
};
use countersign_wire::names::TenantName;

/// The last line of the log, from the account on.
fn last(device: &mut Device) -> String {
    let text = texts(device, "a").pop().unwrap();
    let at = ["\"account\"", "\"act\""].iter().filter_map(|label| text.find(label)).min();
    text[at.unwrap_or_else(|| panic!("no decision: {text}"))..].to_owned()
}

#[test]
fn i13_every_decision_that_is_refused_is_told_by_its_act_and_whom_it_named() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    let (account, wrong) = (user.name.parse().unwrap(), || typed("12 456"));
    let two = || TwoCodes { account: user.name.parse().unwrap(), first: wrong(), second: wrong() };
    let operation = || Operation { id: [5; 16].into(), key: user.key.id, mechanism: Mechanism::Digest };
    let payload = || Payload::Digest([1; 32].into());
    let code = || Approval::Code(wrong());
    let Act::Enroll(again) = enroll_act("alice", &[Mechanism::Digest]) else { unreachable!() };
    let address = || "no address".to_owned();
    let trust = TrustPayee { account, address: address(), known: true, approval: Some(code()) };
    let payee = StagePayee { account: user.name.parse().unwrap(), address: address(), known: true };
    let ethereum = Payload::Ethereum(vec![1; 3].into());
    let stage = StageSign { key: user.key.label.clone(), payload: ethereum };
    let create = CreateKey { label: user.key.label.clone(), plan: KeyPlan::of(vec![Mechanism::Digest]) };
    for (act, word) in [
        (Act::Enroll(again.clone()), "enroll"),
        (Act::Confirm(two()), "confirm"),
        (Act::Unlock(two()), "unlock"),
        (Act::TrustPayee(trust), "trust-payee"),
        (Act::CreateKey(create), "create-key"),
        (sign_act(&user, 1, "12 456"), "sign"),
        (Act::ContextLogin(ContextLogin { operation: operation(), approval: code() }), "context-login"),
        (Act::ContextSign(ContextSign { operation: operation(), payload: payload() }), "context-sign"),
        (Act::Invite(again), "invite"),
        (Act::Stage(Subject::Sign(stage)), "stage"),
        (Act::Stage(Subject::Payee(payee)), "stage"),
    ] {
        let before = texts(&mut device, "a").len();
        let reason = device.ask(act).unwrap_err().word();
        assert_eq!(texts(&mut device, "a").len(), before + 1, "{word}");
        let key = data_encoding::HEXLOWER.encode(user.key.id.as_slice());
        let expected = match word {
            "context-login" | "context-sign" => {
                format!("\"act\":\"{word}\",\"key\":\"{key}\",\"reason\":\"{reason}\"}}")
            }
            _ => format!("\"account\":\"alice\",\"act\":\"{word}\",\"reason\":\"{reason}\"}}"),
        };
        assert_eq!(last(&mut device), expected);
    }
    // Reads decide nothing.
    let before = texts(&mut device, "a").len();
    device.ask(Act::ShowAccount("nobody".parse().unwrap())).unwrap_err();
    device.ask(Act::Random(0)).unwrap_err();
    assert_eq!(texts(&mut device, "a").len(), before);
}

#[test]
fn i9_for_a_device_a_tenant_that_is_not_there_is_the_same_miss_as_a_name_that_is_not() {
    let mut device = Device::ready();
    let mut alice = Owner::enrolled(&mut device, "alice", 11, KeyPlan::of(vec![Mechanism::Digest]));
    let Act::DeviceAct(freeze) = alice.act(&device, DevicePurpose::Freeze, None) else { unreachable!() };
    let enroll = alice.request([9; 16].into(), false);
    let account = || "bob".parse().unwrap();
    let nonce = || [1; 32].into();
    let acts = |tenant: &str| -> [Act; 5] {
        let tenant = || tenant.parse::<TenantName>().unwrap();
        [
            Act::ViewIntent(ViewIntent {
                tenant: tenant(),
                account: account(),
                intent: [1; 16].into(),
                device_nonce: nonce(),
            }),
            Act::ViewReceipt(ViewReceipt { tenant: tenant(), account: account(), intent: [1; 16].into() }),
            Act::ViewAccount(ViewAccount {
                tenant: tenant(),
                account: account(),
                device: freeze.device,
                device_nonce: nonce(),
                signature: [1; 64].into(),
            }),
            Act::DeviceAct(DeviceAct { tenant: tenant(), account: account(), ..freeze.clone() }),
            Act::EnrollSealed(Box::new(EnrollSealed {
                tenant: tenant(),
                account: account(),
                ..enroll.clone()
            })),
        ]
    };
    let reasons: Vec<Reason> =
        acts("nobody").into_iter().map(|act| device.ask_plainly(act).unwrap_err()).collect();
    let expected = [
        Reason::UnknownIntent,
        Reason::UnknownIntent,
        Reason::UnknownDevice,
        Reason::UnknownDevice,
        Reason::UnknownInvitation,
    ];
    for ((act, reason), expected) in acts("a").into_iter().zip(reasons).zip(expected) {
        assert_eq!((device.ask_plainly(act).unwrap_err(), reason), (expected, expected));
    }
}

#[test]
fn i13_one_refusal_of_a_device_leaves_one_line() {
    let mut device = Device::ready();
    let mut alice = Owner::enrolled(&mut device, "alice", 11, KeyPlan::of(vec![Mechanism::Digest]));
    alice.account(&mut device).unwrap();
    let before = texts(&mut device, "a").len();
    let stop = alice.act(&device, DevicePurpose::CancelRecovery, None);
    assert_eq!(device.ask_plainly(stop).unwrap_err(), Reason::NoRecovery);
    assert_eq!(texts(&mut device, "a").len(), before + 1);
    assert_eq!(last(&mut device), "\"account\":\"alice\",\"act\":\"device-act\",\"reason\":\"no-recovery\"}");
}

#[test]
fn random_bytes_are_as_many_as_were_asked_for_and_never_the_same() {
    let mut device = Device::ready();
    let mut bytes = |length| match device.ask(Act::Random(length)) {
        Ok(Answer::Random(bytes)) => Ok(bytes.into_vec()),
        Ok(other) => panic!("{other:?}"),
        Err(reason) => Err(reason),
    };
    for length in [0, RANDOM_MAX_BYTES + 1, u16::MAX] {
        assert_eq!(bytes(length), Err(Reason::MalformedRequest));
    }
    for length in [1, 32, RANDOM_MAX_BYTES] {
        assert_eq!(bytes(length).unwrap().len(), usize::from(length));
    }
    assert_ne!(bytes(32), bytes(32));
}
