//! The text of events, word by word, and its bounds.

use super::*;
use countersign_wire::client::ClockMode;
use countersign_wire::reason::Reason;
use proptest::prelude::*;
use serde_bytes::ByteBuf;
use std::collections::BTreeSet;

fn namer() -> LogNamer {
    LogNamer::new(Zeroizing::new([1; 32]))
}

fn signs(summary: &str, digests: usize) -> Signs {
    Signs {
        digests: vec![ByteArray::new([7; 32]); digests],
        summary: summary.to_owned(),
        summary_sha256: ByteArray::new([8; 32]),
        rule: "any".to_owned(),
    }
}

fn event(what: What) -> Event {
    Event {
        unix_secs: 1_800_000_000,
        tenant: Some("a".parse().unwrap()),
        account: Some("alice".parse().unwrap()),
        names: LogNames::Plain,
        what,
    }
}

fn text(event: &Event) -> String {
    String::from_utf8(namer().leaf(event)).unwrap()
}

fn booted() -> What {
    let (version, measurement) = ("1.2.3".to_owned(), ByteArray::new([5; 48]));
    What::Booted { boot_count: 3, version, measurement, clock: ClockMode::System }
}

fn every_kind() -> Vec<What> {
    let (id, hash) = (ByteArray::new([1; 16]), ByteArray::new([2; 32]));
    let (kind, used) = (ApprovalKind::SealedCode, Used::Step(58_000_000));
    vec![
        What::LogOpened { hsm: id },
        booted(),
        What::Enrolled { key: id },
        What::Confirmed,
        What::Unlocked,
        What::KeyCreated { key: id },
        What::CodeCounted,
        What::CountTakenBack,
        What::PayeeSet { address: "0xab".to_owned(), known: true, used: used.clone(), kind },
        What::PolicyChanged { version: 4, sha256: hash },
        What::TermsChanged(Terms {
            api_key: ByteArray::new([3; 8]),
            plain_enrolment: false,
            failures_per_hour: Some(200),
            accounts_max: Some(9),
            log_names: LogNames::Hashed,
        }),
        What::LoggedIn { key: id, used: Used::Login },
        What::Granted { key: id, used: Used::Passkey(ByteBuf::from([5; 3])), kind, signs: signs("s\n", 1) },
        What::Bound { key: id, signs: signs("s\n", 2) },
        What::Invited,
        What::Staged { intent: id, key: Some(id), intent_hash: hash },
        What::Approved { intent: id, key: id, used: Used::Prior(id), kind, signs: signs("s\n", 1) },
        What::Declined { intent: id },
        What::Frozen { freeze: 5 },
        What::Lifted { freeze: 5 },
        What::DevicesRefused { count: 6 },
        What::Refused { act: "sign".to_owned(), key: None, reason: Reason::WrongCode, because: None },
        What::Repeated { key: id, signs: Signs { rule: String::new(), ..signs("", 1) } },
        What::NoRoom { count: 7 },
        What::Unreadable { count: 8 },
    ]
}

#[test]
fn a_leaf_is_this_text() {
    let granted = What::Granted {
        key: ByteArray::new([1; 16]),
        used: Used::Step(9),
        kind: ApprovalKind::Code,
        signs: signs("send: 1 \"ETH\"\n", 2),
    };
    let (digest, hash, key) = ("07".repeat(32), "08".repeat(32), "01".repeat(16));
    assert_eq!(
        text(&event(granted)),
        format!(
            "{{\"v\":1,\"time\":1800000000,\"of\":\"tenant\",\"what\":\"granted\",\"account\":\"alice\",\"key\":\"{key}\",\
             \"approval\":\"code\",\"used_step\":9,\"digests\":[\"{digest}\",\"{digest}\"],\"rule\":\"any\",\
             \"summary_sha256\":\"{hash}\",\"summary\":\"send: 1 \\\"ETH\\\"\\n\"}}"
        )
    );
    let booted = Event { tenant: None, account: None, ..event(booted()) };
    let measurement = "05".repeat(48);
    assert_eq!(
        text(&booted),
        format!(
            "{{\"v\":1,\"time\":1800000000,\"of\":\"hsm\",\"what\":\"booted\",\"boot\":3,\"version\":\"1.2.3\",\
             \"measurement\":\"{measurement}\",\"clock\":\"system\"}}"
        )
    );
}

#[test]
fn every_kind_has_its_word_and_is_json_whose_fields_the_documentation_lists() {
    let documentation = include_str!("../../../../docs/log.md");
    let mut words = BTreeSet::new();
    for what in every_kind() {
        let word = word(&what);
        assert!(words.insert(word), "{word} stands twice");
        assert!(documentation.contains(&format!("| `{word}` |")), "{word} is not documented");
        let text = text(&event(what));
        let leaf: serde_json::Value = serde_json::from_str(&text).unwrap();
        let fields = leaf.as_object().unwrap();
        assert_eq!((fields["v"].as_u64(), fields["what"].as_str()), (Some(1), Some(word)), "{text}");
        for field in fields.keys() {
            assert!(documentation.contains(&format!("`{field}`")), "{word}: {field} is not documented");
        }
    }
    assert_eq!(words.len(), 25);
}

#[test]
fn a_hashed_name_is_of_its_tenant_its_account_and_the_key() {
    let hashed = |tenant: &str, account: &str| {
        namer().name(LogNames::Hashed, &tenant.parse().unwrap(), &account.parse().unwrap())
    };
    let name = hashed("a", "alice");
    assert!(name.starts_with("hmac:") && name.len() == 5 + 32);
    for other in [hashed("b", "alice"), hashed("a", "bob"), hashed("aa", "lice")] {
        assert_ne!(other, name);
    }
    let other = LogNamer::new(Zeroizing::new([2; 32]));
    assert_ne!(other.name(LogNames::Hashed, &"a".parse().unwrap(), &"alice".parse().unwrap()), name);
    for what in every_kind() {
        let text = text(&Event { names: LogNames::Hashed, ..event(what) });
        assert!(!text.contains("alice") && text.contains(&name), "{text}");
    }
}

#[test]
fn i14_no_summary_makes_a_leaf_longer_than_a_bundle_holds() {
    for character in ["a", "\"", "\\", "\n", "\u{1}", "é", "\u{1f600}"] {
        let summary = character.repeat(SUMMARY_MAX_BYTES / character.len());
        let rule = "\u{1}".repeat(RULE_MAX_BYTES);
        let signs = Signs { rule, ..signs(&summary, SIGNATURES_MAX) };
        let used = Used::Passkey(ByteBuf::from([0; 255]));
        let id = ByteArray::new([1; 16]);
        let approved = What::Approved { intent: id, key: id, used, kind: ApprovalKind::Passkey, signs };
        let leaf = text(&event(approved));
        assert!(leaf.len() <= LOG_ENTRY_MAX_BYTES, "{character:?}: {}", leaf.len());
        let read: serde_json::Value = serde_json::from_str(&leaf).unwrap();
        let told = match (&read["summary"], &read["summary_base64"]) {
            (serde_json::Value::String(text), serde_json::Value::Null) => text.clone(),
            (serde_json::Value::Null, serde_json::Value::String(text)) => {
                String::from_utf8(BASE64.decode(text.as_bytes()).unwrap()).unwrap()
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(told, summary, "all of it is there");
    }
}

proptest! {
    #[test]
    fn any_text_is_read_back_as_itself(text: String) {
        let mut quoted = String::new();
        quote(&mut quoted, &text);
        prop_assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), text);
    }
}
