//! I14: what is large stays within its bounds: summaries, lists of payees, the ledgers of many tenants.

use super::device::tenant;
use super::*;
use crate::audit::{EVENT_MAX_BYTES, Event, Signs};
use crate::record::Passkey;
use crate::store::EVENTS_MAX_BYTES;
use crate::store::trail::{Content, Reader, What};
use countersign_intent::ethereum::address;
use countersign_intent::summary::SUMMARY_MAX_BYTES;
use countersign_policy::Per;
use countersign_policy::document::{
    Counts, DeclaredAsset, DeclaredLimit, Document, FORMAT, LIMITS_MAX, Undeclared,
};
use countersign_policy::payees::PAYEES_MAX;
use countersign_wire::client::TrustPayee;

/// An enrolled and confirmed user of any tenant.
fn enroll_as(device: &mut Device, tenant: &str, mechanisms: &[Mechanism]) -> User {
    let Answer::Enrolled(enrolled) = device.ask_as(tenant, enroll_act("alice", mechanisms)).unwrap() else {
        panic!("not enrolled")
    };
    let phone = totp_rs::Totp::from_url(&enrolled.otpauth).unwrap();
    let user = User { name: "alice", phone, key: enrolled.key.clone() };
    let now = device.time.unix_secs;
    device.ask_as(tenant, Act::Confirm(two_codes(&user, now - 30))).unwrap();
    device.advance(60);
    user
}

fn sign_act_of(device: &Device, user: &User, payload: Payload) -> Act {
    let approval = Some(Approval::Code(typed(&user.code(device.time.unix_secs))));
    Act::Sign(Sign { key: user.key.label.clone(), payload, approval })
}

/// Version `version` of a policy that permits everything, with as many limits for the tenant as there can be.
fn many_limits(version: u64) -> Document {
    let limit = |number: usize| DeclaredLimit {
        name: format!("limit-{number}"),
        asset: "ether".to_owned(),
        per: Per::Tenant,
        counts: Counts::Sum,
        window_secs: 86_400,
        most: countersign_intent::Amount::MAX.to_string(),
        hard: true,
    };
    Document {
        format: FORMAT,
        name: "large".to_owned(),
        version,
        undeclared: Undeclared::AskRules,
        payee_delay_secs: 0,
        assets: vec![DeclaredAsset {
            name: "ether".to_owned(),
            chain: "eip155:1".to_owned(),
            asset: "native".to_owned(),
            decimals: 18,
        }],
        limits: (0..LIMITS_MAX).map(limit).collect(),
        rules: "@id(\"all\") permit (principal, action, resource);".to_owned(),
    }
}

/// A legacy transfer on chain 1 of 2^248 wei and no fee.
fn large_transfer(nonce: u8) -> Payload {
    use alloy_rlp::Encodable;
    let mut fields = Vec::new();
    u64::from(nonce).encode(&mut fields);
    0u64.encode(&mut fields);
    21_000u64.encode(&mut fields);
    [9u8; 20].as_slice().encode(&mut fields);
    [&[1u8][..], &[0; 31]].concat().as_slice().encode(&mut fields);
    [0u8; 0].as_slice().encode(&mut fields);
    for number in [1u64, 0, 0] {
        number.encode(&mut fields);
    }
    let mut bytes = Vec::new();
    alloy_rlp::Header { list: true, payload_length: fields.len() }.encode(&mut bytes);
    bytes.extend(fields);
    Payload::Ethereum(bytes.into())
}

/// The device refuses a commit that is too long; before its bound counted tenants, this start made one.
#[test]
fn i14_tenants_with_full_ledgers_and_new_policies_do_not_exceed_one_commit() {
    const TENANTS: usize = 40;
    let mut device = Device::ready();
    let names: Vec<String> = (0..TENANTS).map(|number| format!("t{number}")).collect();
    device.tenants = names.iter().map(|name| tenant(name)).collect();
    for one in &mut device.tenants {
        one.policy = Some(many_limits(1).to_bytes().into());
    }
    assert!(device.boot(), "{:?}", device.halted);
    let users: Vec<User> =
        names.iter().map(|name| enroll_as(&mut device, name, &[Mechanism::Ethereum])).collect();
    // One booking in each slice of the window.
    for slice in 0..16 {
        device.advance(86_400 / 16);
        for (name, user) in names.iter().zip(&users) {
            let act = sign_act_of(&device, user, large_transfer(slice));
            assert!(device.ask_as(name, act).is_ok());
        }
    }
    for one in &mut device.tenants {
        one.policy = Some(many_limits(2).to_bytes().into());
    }
    let before = device.written.len();
    assert!(device.boot(), "{:?}", device.halted);
    let bytes: usize = device.written[before..].iter().map(Vec::len).sum();
    assert!(bytes > countersign_wire::hal::APPEND_MAX_BYTES, "it would not have fitted: {bytes}");
    assert!(device.written.len() - before > 1);
    assert!(device.boot(), "and all of it is there");
}

#[test]
fn i14_what_nobody_would_read_is_refused_before_the_code_and_the_rest_is_recorded_whole() {
    let mut device = Device::ready();
    device.tenants[0].policy = Some(many_limits(1).to_bytes().into());
    assert!(device.boot());
    let user = enroll_as(&mut device, "a", &[Mechanism::Digest, Mechanism::Message]);
    // In hex it takes two characters a byte.
    let message = |length: usize| Payload::Message(vec![7; length].into());
    device.ops.clear();
    let act = sign_act_of(&device, &user, message(SUMMARY_MAX_BYTES / 2));
    assert_eq!(device.ask(act).unwrap_err(), Reason::TooMuchToShow);
    assert!(!device.ops.contains(&"mac"), "no code was looked at");
    let act = sign_act_of(&device, &user, message(SUMMARY_MAX_BYTES / 2 - 128));
    let id = [5; 16].into();
    let request = Request { id, api_key: Some(api_key("a")), act };
    let Answer::Signed(signed) = answered(&mut device, &request) else { panic!("not signed") };
    assert!(signed.summary.len() > SUMMARY_MAX_BYTES - 300);
    let Answer::Signed(again) = answered(&mut device, &request) else { panic!("not signed") };
    assert_eq!(again, signed);

    let mut reader = Reader::new(&[9; 32], [7; 16]);
    let entries = device.written.iter().filter_map(|entry| reader.entry(entry).ok());
    let records: Vec<_> = entries.flat_map(|(records, _)| records).collect();
    let events = records.iter().filter_map(|record| match &record.content {
        Content::Events(events) => Some(events),
        _ => None,
    });
    let (mut granted, mut repeated) = (0, 0);
    for event in events.flatten() {
        match &event.what {
            What::Granted { signs, .. } => {
                assert_eq!(signs.summary, signed.summary, "all of it");
                granted += 1;
            }
            What::Repeated { signs, .. } => {
                assert_eq!((signs.summary.as_str(), &signs.digests[..]), ("", &[signed.digest][..]));
                repeated += 1;
            }
            _ => {}
        }
    }
    assert_eq!((granted, repeated), (1, 1));
}

fn answered(device: &mut Device, request: &Request) -> Answer {
    let ticket = device.send(request);
    device.settle();
    device.reply(ticket).unwrap().unwrap()
}

#[test]
fn a_list_of_payees_that_is_full_takes_no_more_and_costs_no_code() {
    let mut device = Device::ready();
    let user = enroll(&mut device, "alice");
    let set = |device: &Device, byte: usize, known| {
        Act::TrustPayee(TrustPayee {
            account: "alice".parse().unwrap(),
            address: address(&[u8::try_from(byte).unwrap(); 20]).to_string(),
            known,
            approval: Some(Approval::Code(typed(&user.code(device.time.unix_secs)))),
        })
    };
    for byte in 0..PAYEES_MAX {
        device.advance(30);
        let act = set(&device, byte, true);
        device.ask(act).unwrap();
    }
    device.advance(30);
    let act = set(&device, PAYEES_MAX, true);
    assert_eq!(device.ask(act).unwrap_err(), Reason::TooManyPayees);
    // The code is still good; and where one comes off the list another fits.
    let act = set(&device, 0, false);
    device.ask(act).unwrap();
    device.advance(30);
    let act = set(&device, PAYEES_MAX, true);
    device.ask(act).unwrap();
}

/// An account of the least and one of the most that it can hold differ by far: the bound is on what they hold.
#[test]
fn i14_an_account_counts_in_memory_for_what_it_holds() {
    let sample = &crate::properties::records()[0];
    let small: Account = countersign_wire::decode_packed(sample).unwrap();
    let mut large = small.clone();
    for byte in 0..PAYEES_MAX - 1 {
        large.payees.add(address(&[u8::try_from(byte).unwrap(); 20]).as_str(), 0).unwrap();
    }
    let encoded = |account: &Account| countersign_wire::encode_packed(account).len();
    assert!(small.memory_bytes() > encoded(&small));
    assert!(large.memory_bytes() - small.memory_bytes() > encoded(&large) - encoded(&small));
}

fn event(device: &Device, summary: String) -> Event {
    let signs = Signs { digests: Vec::new(), summary, summary_sha256: [0; 32].into(), rule: String::new() };
    let core = device.plugin.core.get().unwrap();
    core.event(Some(&"a".parse().unwrap()), None, What::Repeated { key: [1; 16].into(), signs })
}

#[test]
fn i14_events_that_are_staged_together_go_into_as_many_entries_as_they_need() {
    let mut device = Device::ready();
    let rest = event(&device, String::new()).size_bound_bytes();
    // Of these, one more may come when eight are in an entry.
    let (eight, one) = (EVENTS_MAX_BYTES - EVENT_MAX_BYTES, (EVENTS_MAX_BYTES - EVENT_MAX_BYTES) / 8);
    let sizes = std::iter::once(eight - 7 * one).chain(std::iter::repeat_n(one, 17));
    let changes = sizes.map(|size| event(&device, "x".repeat(size - rest)));
    let changes: Vec<_> = changes.map(|event| Change { account: None, tenant: None, event }).collect();
    let written = stage(&mut device, changes);
    let mut reader = Reader::new(&[9; 32], [7; 16]);
    let counts = written.iter().map(|entry| {
        let (records, _) = reader.entry(entry).unwrap();
        let events = records.iter().filter_map(|record| match &record.content {
            Content::Events(events) => Some(events.len()),
            _ => None,
        });
        events.sum::<usize>()
    });
    assert_eq!(counts.collect::<Vec<_>>(), [9, 9]);
}

#[test]
fn i14_accounts_that_are_staged_together_go_into_as_many_entries_as_they_need() {
    const CREDENTIAL_BYTES: usize = 20_000;
    let mut device = Device::ready();
    enroll(&mut device, "alice");
    let alice = account(&mut device, "alice");
    let changes: Vec<_> = (0..40)
        .map(|number| {
            let name = format!("user-{number}").parse().unwrap();
            let passkey = Passkey {
                credential_id: vec![7; CREDENTIAL_BYTES].into(),
                public_key: [4; 65].into(),
                rp_id: String::new(),
                origin: String::new(),
                sign_count: 0,
                backup_eligible: false,
            };
            let account = Account { name, version: 1, passkeys: vec![passkey], ..alice.clone() };
            Change { account: Some(account), tenant: None, event: event(&device, String::new()) }
        })
        .collect();
    let written = stage(&mut device, changes);
    // The last one that comes in is begun before the bound.
    let most = 256 * 1024 + CREDENTIAL_BYTES + 64 * 1024;
    assert!(written.iter().all(|entry| entry.len() < most), "{:?}", written.iter().map(Vec::len));
    assert_eq!(written.len(), 40 * CREDENTIAL_BYTES / (256 * 1024) + 1, "no more than that takes");
    assert!(device.boot(), "and all of it is there");
}
