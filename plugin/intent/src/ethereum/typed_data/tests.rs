use super::*;
use crate::ethereum::address_of;
use crate::ethereum::properties::check_typed_data;
use crate::ethereum::tests::unhex;
use crate::model::Kind;
use crate::summary;
use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
use proptest::prelude::*;
use serde_bytes::ByteArray;
use serde_json::{Value as Any, json};

mod generated;
mod permits;
mod refusals;

/// Members as `type name`, one after the other.
fn members(list: &[&str]) -> Any {
    let member = |text: &&str| {
        let (kind, name) = text.rsplit_once(' ').unwrap();
        json!({ "name": name, "type": kind })
    };
    list.iter().map(member).collect()
}

fn domain_type() -> Any {
    members(&["string name", "string version", "uint256 chainId", "address verifyingContract"])
}

/// The example of EIP-712, `eth_signTypedData`.
fn mail() -> Any {
    json!({
        "types": {
            "EIP712Domain": domain_type(),
            "Person": members(&["string name", "address wallet"]),
            "Mail": members(&["Person from", "Person to", "string contents"]),
        },
        "primaryType": "Mail",
        "domain": {
            "name": "Ether Mail",
            "version": "1",
            "chainId": 1,
            "verifyingContract": "0xCcCCccccCCCCcCCCCCCcCcCccCcCCCcCcccccccC",
        },
        "message": {
            "from": { "name": "Cow", "wallet": "0xCD2a3d9F938E13CD947Ec05AbC7FE734Df8DD826" },
            "to": { "name": "Bob", "wallet": "0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB" },
            "contents": "Hello, Bob!",
        },
    })
}

fn read(document: &Any) -> Result<TypedData, Reason> {
    let bytes = serde_json::to_vec(document).unwrap();
    check_typed_data(&bytes);
    TypedData::read(&bytes)
}

fn accepted(document: &Any) -> TypedData {
    read(document).unwrap_or_else(|refused| panic!("{refused}: {document}"))
}

fn digest(document: &Any) -> String {
    hex(&accepted(document).digest())
}

/// A document with one struct `Test` that has one member.
fn with_member(kind: &str, value: &Any) -> Any {
    let mut document = mail();
    document["types"]["Test"] = members(&[&format!("{kind} it")]);
    document["primaryType"] = json!("Test");
    document["message"] = json!({ "it": value });
    document
}

/// The signature that EIP-712 gives for its example, and the account that made it.
#[test]
fn eip_712_example_has_its_digest_and_its_signer() {
    let read = accepted(&mail());
    let digest = "0xbe609aee343fb3c4b28e1df9e632fca64fcfaede20f02e86244efddf30957bd2";
    assert_eq!(hex(&read.digest()), digest);
    let bytes = unhex(
        "0x4355c47d63924e8a72e509b65029052eb6c299d53a04e167c5775fd466751c9d07299936d304c153f6443dfa05f40ff007d72911b6f72307f996231605b915621c",
    );
    let (signature, recovery) =
        (Signature::from_slice(&bytes[..64]).unwrap(), RecoveryId::from_byte(bytes[64] - 27));
    let key = VerifyingKey::recover_from_prehash(&read.digest(), &signature, recovery.unwrap()).unwrap();
    let point: [u8; 65] = key.to_sec1_point(false).as_bytes().try_into().unwrap();
    assert_eq!(address_of(&ByteArray::new(point)).as_str(), "0xCD2a3d9F938E13CD947Ec05AbC7FE734Df8DD826");
}

#[test]
fn typed_data_is_shown_in_full_and_is_opaque() {
    let read = accepted(&mail());
    let expected = "warning: the HSM cannot see all that this does\n\
        sign: typed data on Ethereum (eip155:1)\n\
        domain name: Ether Mail\n\
        domain version: 1\n\
        domain contract: 0xCcCCccccCCCCcCCCCCCcCcCccCcCCCcCcccccccC\n\
        domain type: EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)\n\
        data type: Mail(Person from,Person to,string contents)Person(string name,address wallet)\n\
        data: from.name: Cow\n\
        data: from.wallet: 0xCD2a3d9F938E13CD947Ec05AbC7FE734Df8DD826\n\
        data: to.name: Bob\n\
        data: to.wallet: 0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB\n\
        data: contents: Hello, Bob!\n";
    assert_eq!(summary::render(&read.intent()), expected);
    assert!(read.intent().opaque);
}

/// The same mail with arrays, as in trustwallet/wallet-core and 0xsequence/ethkit.
#[test]
fn eip_712_arrays_of_structs_and_of_addresses_have_their_digest() {
    let mut document = mail();
    document["types"]["Person"] = members(&["string name", "address[] wallets"]);
    document["types"]["Mail"] = members(&["Person from", "Person[] to", "string contents"]);
    document["message"]["from"] = json!({ "name": "Cow", "wallets": [
        "0xCD2a3d9F938E13CD947Ec05AbC7FE734Df8DD826", "0xDeaDbeefdEAdbeefdEadbEEFdeadbeEFdEaDbeeF",
    ]});
    document["message"]["to"] = json!([{ "name": "Bob", "wallets": [
        "0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB",
        "0xB0BdaBea57B0BDABeA57b0bdABEA57b0BDabEa57",
        "0xB0B0b0b0b0b0B000000000000000000000000000",
    ]}]);
    assert_eq!(digest(&document), "0xa85c2e2b118698e88db68a8105b794a8cc7cec074e89ef991cb4f5f533819cc2");
    let shown = summary::render(&accepted(&document).intent());
    assert!(
        shown.contains("data: to[0].wallets[2]: 0xB0B0b0b0b0b0B000000000000000000000000000\n"),
        "{shown}"
    );
}

/// EIP-712: "User-agents should accept fields in any order as specified by the `EIP712Domain` type."
#[test]
fn eip_712_domain_fields_are_taken_in_the_order_of_their_type() {
    let mut other = mail();
    other["types"]["EIP712Domain"] =
        members(&["uint256 chainId", "address verifyingContract", "string version", "string name"]);
    assert_ne!(digest(&other), digest(&mail()));
    let mut salted = mail();
    salted["types"]["EIP712Domain"] = members(&["string name", "bytes32 salt"]);
    salted["domain"] = json!({ "name": "Ether Mail", "salt": format!("0x{}", "ab".repeat(32)) });
    let intent = accepted(&salted).intent();
    assert_eq!((intent.chain, intent.warnings), (None, vec![Warning::Opaque, Warning::AnyChain]));
}

/// Every type, at the ends of its range, against the other encoder.
#[test]
fn values_of_every_type_are_encoded_as_others_do() {
    let two_to_the =
        |bits: u32| if bits == 256 { String::new() } else { (crate::model::Amount::ONE << bits).to_string() };
    let max = crate::model::Amount::MAX.to_string();
    let bytes32 = format!("0x{}", "Ab".repeat(32));
    for (kind, value, shown) in [
        ("bool", json!(true), "true".to_owned()),
        ("uint8", json!(255), "255".to_owned()),
        ("uint256", json!(max), max.clone()),
        ("uint256", json!((1_u64 << 53) - 1), "9007199254740991".to_owned()),
        ("uint256", json!(u64::MAX.to_string()), u64::MAX.to_string()),
        ("uint256", json!("0x00fF"), "255".to_owned()),
        ("int8", json!(-128), "-128".to_owned()),
        ("int8", json!(127), "127".to_owned()),
        ("int16", json!("-32768"), "-32768".to_owned()),
        ("int256", json!(format!("-{}", two_to_the(255))), format!("-{}", two_to_the(255))),
        (
            "address",
            json!("0xcccccccccccccccccccccccccccccccccccccccc"),
            "0xCcCCccccCCCCcCCCCCCcCcCccCcCCCcCcccccccC".to_owned(),
        ),
        (
            "address",
            json!("0xCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC"),
            "0xCcCCccccCCCCcCCCCCCcCcCccCcCCCcCcccccccC".to_owned(),
        ),
        ("bytes1", json!("0xff"), "0xff".to_owned()),
        ("bytes32", json!(bytes32), bytes32.to_lowercase()),
        ("bytes", json!("0x"), "0x".to_owned()),
        ("bytes", json!("0x1fFf"), "0x1fff".to_owned()),
        ("string", json!(""), String::new()),
        ("string", json!(" a "), " a ".to_owned()),
        ("string", json!("0x10"), "0x10".to_owned()),
    ] {
        let intent = accepted(&with_member(kind, &value)).intent();
        assert_eq!(intent.details.last().unwrap().text, format!("it: {shown}"), "{kind}");
    }
}

#[test]
fn arrays_of_arrays_and_empty_things_are_encoded_as_others_do_and_shown() {
    let shown = |kind: &str, value: Any| {
        let details = accepted(&with_member(kind, &value)).intent().details;
        details.into_iter().filter(|line| line.label == "data").map(|line| line.text).collect::<Vec<_>>()
    };
    assert_eq!(
        shown("uint8[2][]", json!([[1, 2], [3, 4]])),
        ["it[0][0]: 1", "it[0][1]: 2", "it[1][0]: 3", "it[1][1]: 4"]
    );
    assert_eq!(shown("uint8[]", json!([])), ["it: no elements"]);
    assert_eq!(shown("string[][2]", json!([[], ["a"]])), ["it[0]: no elements", "it[1][0]: a"]);
    let mut empty = with_member("Nothing[]", &json!([{}, {}]));
    empty["types"]["Nothing"] = json!([]);
    let texts: Vec<String> = accepted(&empty).intent().details.into_iter().map(|line| line.text).collect();
    assert!(texts.ends_with(&["it[0]: no members".to_owned(), "it[1]: no members".to_owned()]), "{texts:?}");
}

#[test]
fn referenced_types_are_sorted_by_name_wherever_they_stand() {
    let mut document = with_member("Zebra[]", &json!([{ "a": { "b": 1 }, "c": { "b": 2 } }]));
    document["types"]["Zebra"] = members(&["Ant a", "Ant c"]);
    document["types"]["Ant"] = members(&["uint8 b"]);
    let intent = accepted(&document).intent();
    let encoding = &intent.details.iter().find(|line| line.label == "data type").unwrap().text;
    assert_eq!(encoding, "Test(Zebra[] it)Ant(uint8 b)Zebra(Ant a,Ant c)");
}

#[test]
fn text_from_the_document_cannot_pass_for_a_line_of_the_summary() {
    let shown = summary::render(&accepted(&with_member("string", &json!("a\ndata: it: b"))).intent());
    assert!(shown.ends_with("data: it: a\\ndata: it: b\n"), "{shown}");
}

/// Every value of a document, replaced by another of its kind.
fn mutations(value: &Any) -> Vec<Any> {
    let other = match value {
        Any::Bool(value) => json!(!value),
        Any::Number(value) => json!(value.as_u64().unwrap() + 1),
        Any::String(text) if text.starts_with("0x") => {
            let last = if text.ends_with('0') { "1" } else { "0" };
            json!(format!("{}{last}", &text[..text.len() - 1]).to_lowercase())
        }
        Any::String(text) if text.parse::<u64>().is_ok() => json!(format!("{text}1")),
        Any::String(text) => json!(format!("{text}x")),
        Any::Array(items) => {
            let mut all: Vec<Any> = (0..items.len())
                .flat_map(|at| {
                    mutations(&items[at]).into_iter().map(move |other| (at, other)).collect::<Vec<_>>()
                })
                .map(|(at, other)| {
                    let mut items = items.clone();
                    items[at] = other;
                    Any::Array(items)
                })
                .collect();
            let mut longer = items.clone();
            longer.extend(items.last().cloned());
            all.extend([
                Any::Array(longer),
                items.iter().rev().cloned().collect(),
                Any::Array(items[1..].to_vec()),
            ]);
            return all.into_iter().filter(|other| other != value).collect();
        }
        Any::Object(entries) => {
            let each = |name: &String| {
                let replaced = mutations(&entries[name]).into_iter().map(|other| {
                    let mut entries = entries.clone();
                    entries[name] = other;
                    Any::Object(entries)
                });
                let (mut removed, mut renamed) = (entries.clone(), entries.clone());
                removed.remove(name);
                let value = renamed.remove(name).unwrap();
                renamed.insert(format!("{name}x"), value);
                replaced.chain([Any::Object(removed), Any::Object(renamed)]).collect::<Vec<_>>()
            };
            return entries.keys().flat_map(each).collect();
        }
        Any::Null => unreachable!("no document has it"),
    };
    vec![other]
}

/// Each gives another digest and another summary, or is refused. Types that nothing uses are not part of what is signed.
fn every_change_counts(document: &Any) -> usize {
    let original = accepted(document);
    let told = summary::render(&original.intent());
    let mut accepted = 0;
    for other in mutations(document) {
        if let Ok(changed) = read(&other) {
            accepted += 1;
            assert_ne!(changed.digest(), original.digest(), "{other}");
            assert_ne!(summary::render(&changed.intent()), told, "{other}");
        }
    }
    accepted
}

#[test]
fn a_change_of_any_field_changes_the_digest_and_the_summary_or_is_refused() {
    let mut rich = with_member("Part[]", &json!([]));
    rich["types"]["Part"] =
        members(&["bool a", "int64 b", "bytes4 c", "bytes d", "string[2] e", "uint256 f"]);
    rich["message"]["it"] = json!([
        { "a": true, "b": 5, "c": "0x01020304", "d": "0xff", "e": ["x", "y"], "f": "12345678901234567890123" },
        { "a": false, "b": 6, "c": "0x01020305", "d": "0xffff", "e": ["z", "y"], "f": 7 },
    ]);
    for document in [mail(), rich] {
        let mut used = document;
        let types = used["types"].as_object_mut().unwrap();
        if types.contains_key("Test") {
            types.remove("Mail");
            types.remove("Person");
        }
        assert!(every_change_counts(&used) > 10, "most changes of values are accepted");
    }
    for (document, _) in permits::every_permit() {
        assert!(every_change_counts(&document) > 5);
    }
}

proptest! {
    #[test]
    fn i14_no_bytes_can_panic_the_reader(bytes: Vec<u8>, text: String) {
        check_typed_data(&bytes);
        check_typed_data(text.as_bytes());
    }

    #[test]
    fn i14_one_changed_byte_is_read_the_same_by_others(at: prop::sample::Index, value in 0x20_u8..0x7f) {
        for document in [mail(), with_member("int64[]", &json!([-5, "6"])), permits::every_permit().remove(0).0] {
            let mut bytes = serde_json::to_vec(&document).unwrap();
            let at = at.index(bytes.len());
            bytes[at] = value;
            check_typed_data(&bytes);
        }
    }

    #[test]
    fn integers_are_encoded_as_others_do(bits in 1_u64..=32, text in "-?[0-9]{1,78}", number: i64) {
        for sign in ["int", "uint"] {
            let kind = format!("{sign}{}", bits * 8);
            let _ = read(&with_member(&kind, &json!(text)));
            let _ = read(&with_member(&kind, &json!(number)));
        }
    }
}
