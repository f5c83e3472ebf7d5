//! What is not read, one test for each rule.

use super::*;

fn refused(what: &str, document: &Any) {
    assert_eq!(read(document), Err(Reason::MalformedTypedData), "{what}: {document}");
}

fn mail_with(edit: impl FnOnce(&mut Any)) -> Any {
    let mut document = mail();
    edit(&mut document);
    document
}

fn remove(from: &mut Any, name: &str) {
    from.as_object_mut().unwrap().remove(name).unwrap();
}

#[test]
fn refuses_documents_that_have_not_exactly_their_four_members() {
    for name in ["types", "primaryType", "domain", "message"] {
        refused("missing", &mail_with(|document| remove(document, name)));
    }
    refused("unknown", &mail_with(|document| document["comment"] = json!("hi")));
    refused("a list", &json!([mail()]));
    refused(
        "primary type that is not there",
        &mail_with(|document| document["primaryType"] = json!("Letter")),
    );
    refused("primary type in brackets", &mail_with(|document| document["primaryType"] = json!("Mail[]")));
    refused(
        "the domain as message",
        &mail_with(|document| {
            document["primaryType"] = json!("EIP712Domain");
            document["message"] = document["domain"].clone();
        }),
    );
}

#[test]
fn refuses_names_that_stand_twice_and_what_is_not_json() {
    let text = serde_json::to_string(&mail()).unwrap();
    assert!(TypedData::read(text.as_bytes()).is_ok());
    for (from, to) in [
        (r#""primaryType":"Mail""#, r#""primaryType":"Mail","primaryType":"Mail""#),
        (r#""contents":"Hello, Bob!""#, r#""contents":"Hello, Bob!","contents":"Hello, Eve!""#),
        (r#""chainId":1"#, r#""chainId":1,"chainId":1"#),
        (r#""Person":["#, r#""Person":[],"Person":["#),
    ] {
        let twice = text.replacen(from, to, 1);
        assert_ne!(twice, text, "{from}");
        assert_eq!(TypedData::read(twice.as_bytes()), Err(Reason::MalformedTypedData), "{to}");
    }
    for bytes in [&text.as_bytes()[1..], &[text.as_bytes(), b" x"].concat(), b""] {
        assert_eq!(TypedData::read(bytes), Err(Reason::MalformedTypedData));
    }
    let spaced = format!(" {}\n", text.replace("\":", "\" :\t"));
    assert_eq!(
        TypedData::read(spaced.as_bytes()),
        TypedData::read(text.as_bytes()),
        "white space means nothing"
    );
}

#[test]
fn refuses_structs_with_a_member_too_many_or_too_few_or_null() {
    refused("too many", &mail_with(|document| document["message"]["cc"] = json!("Eve")));
    refused("too few", &mail_with(|document| remove(&mut document["message"], "contents")));
    refused("null", &mail_with(|document| document["message"]["contents"] = Any::Null));
    refused("nested too many", &mail_with(|document| document["message"]["to"]["age"] = json!(1)));
    refused("nested too few", &mail_with(|document| remove(&mut document["message"]["to"], "name")));
    refused("a list for a struct", &mail_with(|document| document["message"]["to"] = json!(["Bob", "0x"])));
}

/// "One or more of the below fields", and no other; a chain id is not 0 and fits 64 bits.
#[test]
fn refuses_domains_that_are_not_those_of_eip_712() {
    let domain = |list: &[&str], values: Any| {
        mail_with(|document| {
            document["types"]["EIP712Domain"] = members(list);
            document["domain"] = values;
        })
    };
    refused("empty", &domain(&[], json!({})));
    refused("no type", &mail_with(|document| remove(&mut document["types"], "EIP712Domain")));
    refused("a field too few", &mail_with(|document| remove(&mut document["domain"], "version")));
    refused(
        "a field too many",
        &mail_with(|document| document["domain"]["salt"] = json!(format!("0x{}", "00".repeat(32)))),
    );
    // As in the first versions of assets/eip-712/Example.js.
    refused(
        "httpOrigin",
        &domain(&["string name", "string httpOrigin"], json!({ "name": "a", "httpOrigin": "b" })),
    );
    refused("a struct inside", &domain(&["Person name"], json!({ "name": mail()["message"]["to"] })));
    for (kind, value) in [
        ("uint64 chainId", json!(1)),
        ("string chainId", json!("1")),
        ("uint256 chainId", json!(0)),
        ("uint256 chainId", json!("18446744073709551616")),
        ("uint256 chainId", json!("1.0")),
    ] {
        refused(kind, &domain(&[kind], json!({ "chainId": value })));
    }
    refused("bytes16 salt", &domain(&["bytes16 salt"], json!({ "salt": format!("0x{}", "00".repeat(16)) })));
    refused(
        "bytes20 contract",
        &domain(
            &["bytes20 verifyingContract"],
            json!({ "verifyingContract": format!("0x{}", "00".repeat(20)) }),
        ),
    );
}

#[test]
fn refuses_types_that_eip_712_does_not_have() {
    for kind in [
        "uint",
        "int",
        "uint0",
        "uint7",
        "uint12",
        "int20",
        "uint264",
        "uint08",
        "uint256 ",
        " uint256",
        "int512",
        "bytes0",
        "bytes33",
        "bytes01",
        "byte",
        "fixed128x18",
        "function",
        "Nobody",
        "",
        "[]",
        "uint8[0]",
        "uint8[01]",
        "uint8[-1]",
        "uint8[",
        "uint8]",
        "uint8[]x",
        "uint8[][][][][]",
        "uint8[99999]",
        "address payable",
        "Person memory",
        "uint256 it,bool",
    ] {
        for value in [json!(1), json!("0x01"), json!([]), json!([1])] {
            refused(kind, &with_member(kind, &value));
        }
    }
    refused("bytes33", &with_member("bytes33", &json!(format!("0x{}", "00".repeat(33)))));
}

#[test]
fn refuses_names_that_are_no_identifiers_or_stand_for_types() {
    for name in ["", "1a", "a b", "a-b", "a(b", "a,b", "Person[]", "\u{e9}", &"a".repeat(65)] {
        refused(name, &mail_with(|document| document["types"][name] = json!([])));
        refused(
            name,
            &mail_with(|document| {
                document["types"]["Mail"][2]["name"] = json!(name);
                let contents = document["message"].as_object_mut().unwrap().remove("contents").unwrap();
                document["message"][name] = contents;
            }),
        );
    }
    for name in [
        "address",
        "bool",
        "string",
        "bytes",
        "bytes32",
        "uint",
        "uint256",
        "int8",
        "function",
        "fixed128x18",
        "byte",
    ] {
        refused(name, &mail_with(|document| document["types"][name] = json!([])));
    }
    assert!(read(&mail_with(|document| document["types"]["$_a1"] = json!([]))).is_ok());
    assert!(read(&mail_with(|document| document["types"]["Uint256"] = json!([]))).is_ok());
    refused(
        "twice",
        &mail_with(|document| document["types"]["Person"] = members(&["string name", "address name"])),
    );
    refused(
        "more than name and type",
        &mail_with(|document| document["types"]["Person"][0]["note"] = json!("")),
    );
    refused("no type", &mail_with(|document| remove(&mut document["types"]["Person"][0], "type")));
}

#[test]
fn refuses_structs_that_name_a_member_twice_even_where_no_value_shows_it() {
    let mut twice = with_member("Double[]", &json!([]));
    twice["types"]["Double"] = members(&["string name", "address other"]);
    assert!(read(&twice).is_ok());
    twice["types"]["Double"] = members(&["string name", "address name"]);
    refused("twice", &twice);
}

#[test]
fn refuses_types_that_contain_themselves() {
    let mut list = with_member("Node", &json!({ "next": [] }));
    list["types"]["Node"] = members(&["Node[] next"]);
    refused("itself", &list);
    list["types"]["Node"] = members(&["Other[] next"]);
    list["types"]["Other"] = members(&["Node[] next"]);
    refused("in a circle", &list);
    refused("unused", &mail_with(|document| document["types"]["Loop"] = members(&["Loop[] it"])));
}

/// Nothing is converted: each type takes the JSON that can only mean it.
#[test]
fn refuses_values_that_are_not_of_their_type() {
    let max_plus_one = "115792089237316195423570985008687907853269984665640564039457584007913129639936";
    for (kind, value) in [
        ("bool", json!(1)),
        ("bool", json!("true")),
        ("string", json!(1)),
        ("string", json!(true)),
        ("uint8", json!(256)),
        ("uint8", json!("257")),
        ("uint8", json!(-1)),
        ("uint256", json!("-1")),
        ("uint256", json!(max_plus_one)),
        ("uint256", json!(1.0)),
        ("uint256", json!("1.0")),
        ("uint256", json!("1e3")),
        ("uint256", json!("")),
        ("uint256", json!("007")),
        ("uint256", json!("+1")),
        ("uint256", json!(" 1")),
        ("uint256", json!("1_000")),
        ("uint256", json!("0x")),
        ("uint256", json!("0X1")),
        ("uint256", json!("0xg")),
        ("uint256", json!(format!("0x{}", "0".repeat(65)))),
        ("uint256", json!(true)),
        ("uint256", json!([1])),
        ("int8", json!(128)),
        ("int8", json!(-129)),
        ("int8", json!("-0")),
        ("int8", json!("--1")),
        ("int256", json!("0xff")),
        ("int256", json!("57896044618658097711785492504343953926634992332820282019728792003956564819968")),
        ("address", json!("0xCCCCCcccCCCCcCCCCCCcCcCccCcCCCcCcccccccC")),
        ("address", json!("cccccccccccccccccccccccccccccccccccccccc")),
        ("address", json!("0xcccccccccccccccccccccccccccccccccccccc")),
        ("address", json!("0xcccccccccccccccccccccccccccccccccccccccccc")),
        ("address", json!(1)),
        ("bytes4", json!("0x010203")),
        ("bytes4", json!("0x0102030405")),
        ("bytes4", json!("01020304")),
        ("bytes4", json!([1, 2, 3, 4])),
        ("bytes", json!("0x123")),
        ("bytes", json!("12")),
        ("bytes", json!("")),
        ("bytes", json!("text")),
        ("uint8[]", json!(1)),
        ("uint8[]", json!({ "0": 1 })),
        ("uint8[2]", json!([1])),
        ("uint8[2]", json!([1, 2, 3])),
        ("uint8[]", json!([1, "x"])),
    ] {
        refused(kind, &with_member(kind, &value));
    }
}

#[test]
fn i14_sizes_counts_and_depths_are_bounded() {
    let long = |length: usize| with_member("string", &json!("a".repeat(length)));
    assert!(read(&long(TYPED_DATA_MAX_BYTES - 1024)).is_ok());
    refused("size", &long(TYPED_DATA_MAX_BYTES));
    let many = |count: usize| with_member("uint8[]", &json!(vec![1; count]));
    // The domain is five values, the struct's member is one (the struct itself is not counted), the list another.
    assert!(read(&many(200)).is_ok());
    refused("values", &many(values::VALUES_MAX));
    let types = |count: usize| {
        mail_with(|document| (3..count).for_each(|at| document["types"][format!("T{at}")] = json!([])))
    };
    assert!(read(&types(32)).is_ok());
    refused("types", &types(33));
    let wide = |count: usize| {
        mail_with(|document| {
            let names: Vec<String> = (0..count).map(|at| format!("bool b{at}")).collect();
            document["types"]["Wide"] = members(&names.iter().map(String::as_str).collect::<Vec<_>>());
        })
    };
    assert!(read(&wide(64)).is_ok());
    refused("members", &wide(65));
    let mut deep = with_member("T0", &json!({}));
    let mut message = json!({ "it": 1 });
    for at in 0..20 {
        let inner = if at == 19 { "uint8 it".to_owned() } else { format!("T{} it", at + 1) };
        deep["types"][format!("T{at}")] = members(&[&inner]);
        message = json!({ "it": message });
    }
    deep["message"] = message;
    refused("depth", &deep);
}

/// ethereum/go-ethereum, signer/core/testdata/expfail_*.json, as edits of the mail that they start from.
#[test]
fn refuses_what_go_ethereum_expects_to_fail() {
    refused(
        "arraytype_overload",
        &mail_with(|document| {
            document["types"]["Person[]"] = members(&["string baz"]);
            document["types"]["Mail"] = members(&["Person from", "Person[] to", "string contents"]);
            document["message"]["to"] = json!({ "baz": "foo" });
        }),
    );
    refused("datamismatch_1", &mail_with(|document| document["types"]["Mail"][2]["type"] = json!("Person")));
    refused(
        "extradata-1",
        &mail_with(|document| {
            document["types"]["EIP712Domain"][2]["type"] =
                json!("uint256 ... and now for something completely different");
        }),
    );
    refused("extradata-2", &mail_with(|document| document["message"]["blahonga"] = json!("zonk bonk")));
    refused(
        "malformeddomainkeys",
        &mail_with(|document| {
            let contract = document["domain"].as_object_mut().unwrap().remove("verifyingContract").unwrap();
            document["domain"]["vFAILFAILerifyingContract"] = contract;
        }),
    );
    refused(
        "nonexistant_type",
        &mail_with(|document| document["types"]["Mail"][0]["type"] = json!("Blahonga")),
    );
    refused("toolargeuint", &with_member("uint8", &json!("257")));
    refused("toolargeuint2", &with_member("uint8", &json!(257)));
    refused("unconvertiblefloat", &with_member("uint8", &json!("255.3")));
    refused("unconvertiblefloat2", &with_member("uint8", &json!(255.3)));
}
