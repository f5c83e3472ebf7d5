//! The custodian's policy in the plugin: versions, limits that no race slips past, payees, and what is recorded.

use super::*;
use countersign_policy::Per;
use countersign_policy::document::{Counts, DeclaredAsset, DeclaredLimit, Document, FORMAT, Undeclared};
use countersign_wire::client::TrustPayee;

const GWEI: u128 = 1_000_000_000;

/// Transfers of one ether at most in a day, by all of a tenant together; more than a tenth of one only to known payees.
pub(super) fn document(version: u64) -> Document {
    let limit = |name: &str, per, window_secs, most: &str, hard| DeclaredLimit {
        name: name.to_owned(),
        asset: "ether".to_owned(),
        per,
        counts: Counts::Sum,
        window_secs,
        most: most.to_owned(),
        hard,
    };
    Document {
        format: FORMAT,
        name: "test".to_owned(),
        version,
        undeclared: Undeclared::Refuse,
        payee_delay_secs: 600,
        assets: vec![DeclaredAsset {
            name: "ether".to_owned(),
            chain: "eip155:1".to_owned(),
            asset: "native".to_owned(),
            decimals: 18,
        }],
        limits: vec![
            limit("day", Per::Tenant, 86_400, "1000000000000000000", true),
            limit("small", Per::Transaction, 0, "100000000000000000", false),
        ],
        rules: r#"
            @id("small-transfers")
            permit (principal, action == Action::"transfer", resource)
            when { !context.opaque && context.within.contains(Limit::"small") };

            @id("known-payees")
            permit (principal, action == Action::"transfer", resource)
            when { !context.opaque && context.payees == Payees::"known" };
        "#
        .to_owned(),
    }
}

fn with_policy(version: u64) -> (Device, User) {
    let mut device = Device::ready();
    device.tenants[0].policy = Some(document(version).to_bytes().into());
    assert!(device.boot(), "{:?}", device.halted);
    let user = enroll_for_ethereum(&mut device, "alice");
    (device, user)
}

pub(super) fn enroll_for_ethereum(device: &mut Device, name: &'static str) -> User {
    let Answer::Enrolled(enrolled) = device.ask(enroll_act(name, &[Mechanism::Ethereum])).unwrap() else {
        panic!("not enrolled")
    };
    let phone = totp_rs::Totp::from_url(&enrolled.otpauth).unwrap();
    let user = User { name, phone, key: enrolled.key.clone() };
    let now = device.time.unix_secs;
    device.ask(Act::Confirm(two_codes(&user, now - 30))).unwrap();
    device.advance(60);
    user
}

/// A type 2 transfer on chain 1 of so many gwei, with fees of at most 21,000 gwei, to this recipient.
pub(super) fn transfer(nonce: u8, gwei: u128, to: [u8; 20]) -> Payload {
    use alloy_rlp::Encodable;
    let mut fields = Vec::new();
    1u64.encode(&mut fields);
    u64::from(nonce).encode(&mut fields);
    0u64.encode(&mut fields);
    1_000_000_000u64.encode(&mut fields);
    21_000u64.encode(&mut fields);
    to.as_slice().encode(&mut fields);
    (gwei * GWEI).encode(&mut fields);
    [].as_slice().encode(&mut fields);
    alloy_rlp::Header { list: true, payload_length: 0 }.encode(&mut fields);
    let mut bytes = vec![2];
    alloy_rlp::Header { list: true, payload_length: fields.len() }.encode(&mut bytes);
    bytes.extend(fields);
    Payload::Ethereum(bytes.into())
}

fn transfer_act(device: &Device, user: &User, payload: Payload) -> Act {
    let approval = Some(Approval::Code(typed(&user.code(device.time.unix_secs))));
    Act::Sign(Sign { key: user.key.label.clone(), payload, approval })
}

fn pay(device: &mut Device, user: &User, nonce: u8, gwei: u128) -> Result<Signed, Reason> {
    device.advance(30);
    let act = transfer_act(device, user, transfer(nonce, gwei, [9; 20]));
    device.ask(act).map(|answer| match answer {
        Answer::Signed(signed) => signed,
        other => panic!("{other:?}"),
    })
}

#[test]
fn i15_a_denied_transfer_burns_no_code_and_a_permitted_one_is_booked() {
    let (mut device, user) = with_policy(1);
    device.advance(30);
    device.ops.clear();
    let act = transfer_act(&device, &user, transfer(0, 200_000_000, [9; 20]));
    assert_eq!(device.ask(act).unwrap_err(), Reason::LimitExceeded, "less of it would be permitted");
    assert!(!device.ops.contains(&"mac"));
    let act = transfer_act(&device, &user, transfer(0, 90_000_000, [9; 20]));
    assert!(device.ask(act).is_ok(), "the same code is still good");
    for nonce in 1..11 {
        pay(&mut device, &user, nonce, 90_000_000).unwrap();
    }
    assert_eq!(pay(&mut device, &user, 11, 90_000_000).unwrap_err(), Reason::LimitExceeded);
    pay(&mut device, &user, 11, 9_000_000).unwrap();
    assert!(device.boot());
    assert_eq!(
        pay(&mut device, &user, 12, 9_000_000).unwrap_err(),
        Reason::LimitExceeded,
        "a restart frees nothing"
    );
    device.advance(2 * 86_400);
    pay(&mut device, &user, 12, 90_000_000).unwrap();
}

#[test]
fn racing_clients_never_pass_a_limit_that_they_share() {
    let (mut device, first) = with_policy(1);
    let names = ["u1", "u2", "u3", "u4", "u5", "u6", "u7", "u8", "u9", "u10", "u11", "u12", "u13", "u14"];
    let mut users = vec![first];
    users.extend(names.map(|name| enroll_for_ethereum(&mut device, name)));
    // Eleven transfers of 90 million gwei and their fees fit one ether.
    let tickets: Vec<u64> = users
        .iter()
        .map(|user| {
            let act = transfer_act(&device, user, transfer(0, 90_000_000, [9; 20]));
            device.begin_as("a", act)
        })
        .collect();
    device.settle();
    let outcomes: Vec<_> = tickets.into_iter().map(|ticket| device.reply(ticket).unwrap()).collect();
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 11);
    let refused = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
    assert!(refused.clone().all(|refusal| refusal.reason == Reason::LimitExceeded));
    assert_eq!(refused.count(), 4);
    // Those who were too late kept their codes, and nothing counts as a failure.
    for user in &users {
        assert_eq!(show(&mut device, user).failures_left, 10);
        assert_eq!(show(&mut device, user).consecutive_failures, 0);
    }
}

#[test]
fn through_pkcs11_the_limit_is_booked_when_the_data_comes() {
    let (mut device, user) = with_policy(1);
    let operation =
        |id: u8| Operation { id: [id; 16].into(), key: user.key.id, mechanism: Mechanism::Ethereum };
    let mut granted = 0;
    for id in 0..14 {
        device.advance(30);
        let approval = Approval::Code(typed(&user.code(device.time.unix_secs)));
        device.ask(Act::ContextLogin(ContextLogin { operation: operation(id), approval })).unwrap();
        let payload = transfer(id, 90_000_000, [9; 20]);
        match device.ask(Act::ContextSign(ContextSign { operation: operation(id), payload })) {
            Ok(_) => granted += 1,
            Err(reason) => assert_eq!(reason, Reason::LimitExceeded),
        }
    }
    assert_eq!(granted, 11);
}

#[test]
fn i8_a_payee_is_trusted_with_the_users_code_and_only_after_the_delay() {
    let (mut device, user) = with_policy(1);
    let address = countersign_intent::ethereum::address(&[9; 20]).to_string();
    let set = |address: &str, known, approval| {
        let (account, address) = (user.name.parse().unwrap(), address.to_owned());
        Act::TrustPayee(TrustPayee { account, address, known, approval })
    };
    let trust = |address: &str, approval| set(address, true, approval);
    assert_eq!(device.ask(trust(&address, None)).unwrap_err(), Reason::ApprovalMissing);
    let code = |at| Some(Approval::Code(typed(&user.code(at))));
    let now = device.time.unix_secs;
    // Another form of the address, which no intent would ever pay, costs no code.
    let without_checksum = format!("0x{}", "ab".repeat(20));
    for other in ["no address\n", &without_checksum, &address[2..]] {
        assert_eq!(device.ask(trust(other, code(now))).unwrap_err(), Reason::MalformedAddress);
    }
    assert_eq!(pay(&mut device, &user, 0, 200_000_000).unwrap_err(), Reason::LimitExceeded);
    let now = device.time.unix_secs;
    let Answer::Account(info) = device.ask(trust(&address, code(now))).unwrap() else { panic!("no account") };
    assert_eq!(info.payees, std::slice::from_ref(&address));
    assert_eq!(device.ask(trust(&address, code(now))).unwrap_err(), Reason::CodeUsed);
    assert_eq!(
        pay(&mut device, &user, 0, 200_000_000).unwrap_err(),
        Reason::LimitExceeded,
        "not for long enough"
    );
    device.advance(600);
    pay(&mut device, &user, 0, 200_000_000).unwrap();

    // It is taken off again, with the user's code as well, and at once.
    device.advance(30);
    let now = device.time.unix_secs;
    assert_eq!(device.ask(set(&address, false, None)).unwrap_err(), Reason::ApprovalMissing);
    let Answer::Account(info) = device.ask(set(&address, false, code(now))).unwrap() else {
        panic!("no account")
    };
    assert_eq!(info.payees, [""; 0]);
    assert_eq!(pay(&mut device, &user, 1, 200_000_000).unwrap_err(), Reason::LimitExceeded);
}

#[test]
fn i8_a_policy_never_goes_back_and_never_goes_away() {
    let (mut device, user) = with_policy(2);
    let refused = |device: &mut Device, policy: Option<Vec<u8>>, part: &str| {
        device.tenants[0].policy = policy.map(Into::into);
        assert!(!device.boot());
        let why = device.halted.clone().unwrap_or_default();
        assert!(why.starts_with("the policy of tenant a is refused: ") && why.contains(part), "{why}");
    };
    refused(&mut device, Some(document(1).to_bytes()), "older than version 2");
    refused(&mut device, None, "version 2 was in force");
    refused(&mut device, Some(b"garbage".to_vec()), "not a policy document");
    let mut other = document(2);
    other.name = "other".to_owned();
    refused(&mut device, Some(other.to_bytes()), "another version 2");
    let mut loose = document(3);
    loose.rules = "permit (principal, action, resource);".to_owned();
    refused(&mut device, Some(loose.to_bytes()), "");
    device.tenants[0].policy = Some(document(3).to_bytes().into());
    assert!(device.boot());
    pay(&mut device, &user, 0, 90_000_000).unwrap();
    refused(&mut device, Some(document(2).to_bytes()), "older than version 3");
}

#[test]
fn i9_each_tenant_has_its_own_policy() {
    let (mut device, _) = with_policy(1);
    let Answer::Enrolled(enrolled) = device.ask_as("b", enroll_act("alice", &[Mechanism::Ethereum])).unwrap()
    else {
        panic!("not enrolled")
    };
    let phone = totp_rs::Totp::from_url(&enrolled.otpauth).unwrap();
    let user = User { name: "alice", phone, key: enrolled.key.clone() };
    let now = device.time.unix_secs;
    device.ask_as("b", Act::Confirm(two_codes(&user, now - 30))).unwrap();
    device.advance(60);
    let act = transfer_act(&device, &user, transfer(0, 5_000_000_000, [9; 20]));
    assert!(device.ask_as("b", act).is_ok(), "no limit of tenant a counts here");
}
