//! What must hold of every record that is opened, whatever it holds. The functions panic when a property is breached, and say
//! whether the bytes were read; tests and fuzzers call them. Never part of an image.

use crate::audit::{Event, Signs, Used, What};
use crate::limits::Guard;
use crate::record::{
    Account, ApprovedBy, Device, Enrolment, Entry, FORMAT, Key, Passkey, Prior, Source, TenantState, Terms,
    TotpFactor, Wallet,
};
use crate::totp::Code;
use countersign_policy::{Ledger, Payees};
use countersign_wire::client::{ApprovalKind, ClockMode, Mechanism, TotpParameters};
use countersign_wire::hal::LogNames;
use countersign_wire::properties::check_packed;
use countersign_wire::{decode_packed, encode_packed};
use serde_bytes::{ByteArray, ByteBuf};

/// An account, a tenant's state or audit events that are read are written and read again as the same, and can be told and
/// counted with at any time without a panic.
pub fn check_record(bytes: &[u8]) -> bool {
    let others = check_packed::<TenantState>(bytes) | check_packed::<Vec<Event>>(bytes);
    let Ok(account) = decode_packed::<Account>(bytes) else { return others };
    check_packed::<Account>(bytes);
    for elapsed_secs in [0, 1_000_000, u64::MAX] {
        let told = account.info(elapsed_secs, String::new());
        assert_eq!(told.keys.len(), account.keys.len());
        assert_eq!(told.payees.len(), account.payees.list().len());
        let _ = account.is_void(elapsed_secs);
        let mut guard = account.guard;
        guard.count_failure(elapsed_secs);
        let locked = guard.locked_for_secs(elapsed_secs) > 0;
        assert!(!locked || guard.admit(elapsed_secs).is_err(), "a lock locks");
    }
    true
}

/// A code is read exactly if it is as many ASCII digits as the factor's codes have.
pub fn check_code(bytes: &[u8]) -> bool {
    let Ok(text) = core::str::from_utf8(bytes) else { return false };
    let read = [6, 8].map(|digits| Code::parse(text, digits).is_ok());
    let is_code = |digits: usize| text.chars().count() == digits && text.chars().all(|c| c.is_ascii_digit());
    assert_eq!(read, [is_code(6), is_code(8)]);
    read.contains(&true)
}

/// A record of each kind, for a fuzzer to begin with.
pub fn records() -> Vec<Vec<u8>> {
    let key = |source: Source, mechanism: Mechanism| Key {
        name: "key".parse().expect("a name"),
        id: ByteArray::new([1; 16]),
        public_key: ByteArray::new([4; 65]),
        source,
        mechanisms: vec![mechanism],
        network: None,
        floor: ApprovalKind::SealedCode,
    };
    let path = "m/44h/60h/0h/0/0".parse().expect("a path");
    let mut payees = Payees::default();
    payees.add("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", 7).expect("an address");
    let account = Account {
        format: FORMAT,
        tenant: "default".parse().expect("a name"),
        name: "alice".parse().expect("a name"),
        version: 3,
        enrolment: Enrolment::Confirmed,
        totp: TotpFactor {
            parameters: TotpParameters::default(),
            wrapped: ByteBuf::from([2; 36]),
            highest_used_step: 58_000_000,
        },
        guard: Guard::default(),
        wallet: Some(Wallet { wrapped: ByteBuf::from([3; 48]), fingerprint: ByteArray::new([4; 4]) }),
        keys: vec![
            key(Source::Wrapped(ByteBuf::from([5; 48])), Mechanism::Ethereum),
            key(Source::Derived { path, extended: Some(ByteArray::new([6; 78])) }, Mechanism::Digest),
        ],
        ledger: Ledger::default(),
        payees,
        devices: vec![Device { key: ByteArray::new([4; 65]) }],
        passkeys: vec![Passkey {
            credential_id: ByteBuf::from([5; 32]),
            public_key: ByteArray::new([4; 65]),
            rp_id: "example.com".to_owned(),
            origin: "https://example.com".to_owned(),
            sign_count: 9,
            backup_eligible: true,
        }],
        prior: vec![Prior {
            intent: ByteArray::new([6; 16]),
            key: ByteArray::new([1; 16]),
            intent_hash: ByteArray::new([7; 32]),
            by: ApprovedBy { kind: ApprovalKind::Passkey, backed_up: true },
            nonce: ByteArray::new([8; 32]),
            expires_unix_secs: 600,
            until_elapsed_secs: 300,
            until_unix_secs: 300,
        }],
        acts: 2,
        frozen: Some(1),
        signatures: 8,
        history: vec![Entry {
            counter: 8,
            unix_secs: 1_767_225_600,
            kind: ApprovalKind::SealedCode,
            key: "key".parse().expect("a name"),
            intent_hash: ByteArray::new([7; 32]),
            headline: "kind: transfer".to_owned(),
        }],
    };
    let open = Account {
        enrolment: Enrolment::Open { until_elapsed_secs: 1_800 },
        wallet: None,
        keys: Vec::new(),
        ..account.clone()
    };
    let tenant = TenantState { terms: Some(terms()), ..TenantState::new(account.tenant.clone()) };
    let signs = Signs {
        digests: vec![ByteArray::new([7; 32])],
        summary: "kind: transfer\n".to_owned(),
        summary_sha256: ByteArray::new([8; 32]),
        rule: "any-transfer".to_owned(),
    };
    let event = |what: What| Event {
        unix_secs: 1_767_225_600,
        tenant: Some(account.tenant.clone()),
        account: Some(account.name.clone()),
        names: LogNames::Plain,
        what,
    };
    let events = vec![
        event(What::Booted {
            boot_count: 1,
            version: "1.2.3".to_owned(),
            measurement: ByteArray::new([5; 48]),
            clock: ClockMode::System,
        }),
        event(What::CodeCounted),
        event(What::Granted {
            key: ByteArray::new([1; 16]),
            used: Used::Step(9),
            kind: ApprovalKind::Code,
            signs,
        }),
    ];
    vec![encode_packed(&account), encode_packed(&open), encode_packed(&tenant), encode_packed(&events)]
}

fn terms() -> Terms {
    Terms {
        api_key: ByteArray::new([3; 8]),
        plain_enrolment: true,
        failures_per_hour: Some(200),
        accounts_max: None,
        log_names: LogNames::Hashed,
    }
}
