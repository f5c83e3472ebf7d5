//! Every reason for which a document is not taken, each with its twin that is.

use crate::world::{ANY_TRANSFER, address, document, limit};
use countersign_policy::document::{
    ACCOUNT_LIMITS_MAX, ASSETS_MAX, Counts, DOCUMENT_MAX_BYTES, DeclaredAsset, LIMITS_MAX,
    PAYEE_DELAY_MAX_SECS, WINDOW_MAX_SECS,
};
use countersign_policy::{
    DEPTH_MAX, Document, Per, Policy, RULES_MAX, RULES_MAX_BYTES, STEPS_MAX, STRING_MAX_BYTES,
};

fn sound() -> Document {
    document(ANY_TRANSFER, vec![limit("day", "eth", Per::Account, 86_400, 100)])
}

/// What the problems of this document say.
fn problems(change: impl FnOnce(&mut Document)) -> String {
    let mut document = sound();
    change(&mut document);
    match Policy::of(document) {
        Ok(_) => String::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    }
}

fn refuses(what: &str, change: impl FnOnce(&mut Document)) {
    let found = problems(change);
    assert!(found.contains(what), "expected {what:?}, found {found:?}");
}

fn refuses_rules(what: &str, rules: &str) {
    refuses(what, |document| rules.clone_into(&mut document.rules));
}

fn takes_rules(rules: &str) {
    assert_eq!(problems(|document| rules.clone_into(&mut document.rules)), "", "{rules}");
}

fn when(condition: &str) -> String {
    format!("@id(\"x\") permit (principal, action, resource) when {{ {condition} }};")
}

#[test]
fn takes_a_sound_document() {
    assert_eq!(problems(|_| ()), "");
    assert!(Policy::read(&sound().to_bytes()).is_ok());
}

#[test]
fn refuses_bytes_that_are_not_the_canonical_encoding() {
    let bytes = sound().to_bytes();
    assert!(Policy::read(&[]).is_err());
    assert!(Policy::read(&[bytes.as_slice(), &[0]].concat()).is_err(), "trailing bytes");
    assert!(Policy::read(&bytes[..bytes.len() - 1]).is_err());
    // The same map with an indefinite length.
    let indefinite = [&[0xbf], &bytes[1..], &[0xff]].concat();
    assert!(Policy::read(&indefinite).is_err());
    let mut map: std::collections::BTreeMap<String, u8> = std::collections::BTreeMap::new();
    map.insert("format".to_owned(), 1);
    assert!(Policy::read(&countersign_wire::encode(&map)).is_err(), "missing fields");
}

#[test]
fn refuses_to_replace_a_version_by_itself_or_an_older_one() {
    let of = |version| Document { version, ..sound() };
    assert_eq!(of(2).check_replaces(&of(1)), Ok(()));
    assert!(of(1).check_replaces(&of(1)).is_err());
    assert!(of(1).check_replaces(&of(2)).unwrap_err().to_string().contains("version 3 or a higher one"));
}

#[test]
fn refuses_an_unknown_field() {
    #[derive(serde::Serialize)]
    struct Longer {
        format: u8,
        name: String,
        version: u64,
        undeclared: countersign_policy::document::Undeclared,
        payee_delay_secs: u64,
        assets: Vec<DeclaredAsset>,
        limits: Vec<countersign_policy::document::DeclaredLimit>,
        rules: String,
        more: u8,
    }
    let Document { format, name, version, undeclared, payee_delay_secs, assets, limits, rules } = sound();
    let longer =
        Longer { format, name, version, undeclared, payee_delay_secs, assets, limits, rules, more: 1 };
    assert!(Policy::read(&countersign_wire::encode(&longer)).is_err());
}

#[test]
fn refuses_a_document_that_is_too_large() {
    refuses("too long", |document| document.rules = format!("//{}\n", "x".repeat(RULES_MAX_BYTES)));
    refuses("too large", |document| document.rules = format!("//{}\n", "x".repeat(DOCUMENT_MAX_BYTES)));
    assert!(Policy::read(&vec![0; DOCUMENT_MAX_BYTES + 1]).unwrap_err().to_string().contains("too large"));
    takes_rules(&format!("//{}\n{ANY_TRANSFER}", "x".repeat(RULES_MAX_BYTES - 200)));
}

#[test]
fn refuses_another_format_a_bad_name_and_a_delay_beyond_a_year() {
    refuses("format 2 is not known", |document| document.format = 2);
    for bad in ["", "Main", "1st", "a b", "a_b", "ä", &"a".repeat(41)] {
        refuses("name: not a name", |document| bad.clone_into(&mut document.name));
    }
    refuses("payee_delay_secs", |document| document.payee_delay_secs = PAYEE_DELAY_MAX_SECS + 1);
    assert_eq!(problems(|document| document.payee_delay_secs = PAYEE_DELAY_MAX_SECS), "");
}

#[test]
fn refuses_assets_that_are_not_one_asset_on_one_chain() {
    let with = |chain: &str, asset: &str| {
        let (chain, asset) = (chain.to_owned(), asset.to_owned());
        move |document: &mut Document| {
            document.assets.push(DeclaredAsset { name: "x".to_owned(), chain, asset, decimals: 0 });
        }
    };
    let contract = address(0xdd);
    assert_eq!(problems(with("eip155:1", &format!("erc1155:{contract}"))), "");
    for asset in ["", "native ", "erc20:", "erc20", "erc777:0x", &format!("erc721:{contract}/1")] {
        refuses("not a chain and an asset", with("eip155:1", asset));
    }
    let lower = contract.as_str().to_lowercase();
    refuses(&format!("is written {contract}"), with("eip155:1", &format!("erc20:{lower}")));
    refuses("a chain is eip155:ID", with("eip155:01", "native"));
    refuses("on Bitcoin, the asset is native", with("bitcoin:main", &format!("erc20:{contract}")));
    refuses("own coin is not declared", with("eip155:56", &format!("erc20:{contract}")));
    refuses("declared twice", with("eip155:1", "native"));
    refuses("two assets have this name", |document| document.assets[1].name = "eth".to_owned());
    refuses("this name is taken", |document| document.assets[0].name = "other".to_owned());
    refuses("more than 77", |document| document.assets[0].decimals = 78);
    refuses("too many assets", |document| {
        for number in 0..ASSETS_MAX {
            let chain = format!("eip155:{}", 1_000 + number);
            with(&chain, "native")(document);
        }
    });
}

#[test]
fn refuses_limits_that_limit_nothing_or_cannot_be_counted() {
    refuses("two limits have this name", |document| {
        let again = document.limits[0].clone();
        document.limits.push(again);
    });
    refuses("not a declared asset", |document| document.limits[0].asset = "gold".to_owned());
    for bad in ["", "1.5", "-1", "01", "1e18", "0x10"] {
        refuses("not an amount", |document| bad.clone_into(&mut document.limits[0].most));
    }
    for bad in [0, 59, WINDOW_MAX_SECS + 1, u64::MAX] {
        refuses("not a window", |document| document.limits[0].window_secs = bad);
    }
    refuses("not a window", |document| document.limits[0].per = Per::Transaction);
    refuses("fees are paid in", |document| {
        document.limits[0].asset = "usdc".to_owned();
        document.limits[0].counts = Counts::Fee;
    });
    refuses("name is taken", |document| document.limits[0].name = "none".to_owned());
    let many = |per, count: usize| {
        move |document: &mut Document| {
            document.limits = (0..count).map(|n| limit(&format!("l{n}"), "eth", per, 60, 1)).collect();
        }
    };
    refuses("too many limits", many(Per::Tenant, LIMITS_MAX + 1));
    assert_eq!(problems(many(Per::Tenant, LIMITS_MAX)), "");
    refuses("too many limits per account", many(Per::Account, ACCOUNT_LIMITS_MAX + 1));
    assert_eq!(problems(many(Per::Account, ACCOUNT_LIMITS_MAX)), "");
}

#[test]
fn refuses_rules_without_a_name_of_their_own() {
    refuses_rules("no name", "permit (principal, action, resource);");
    refuses_rules("no name", "@id permit (principal, action, resource);");
    refuses_rules("no name", "@id(\"Not a name\") permit (principal, action, resource);");
    refuses_rules("rules 2:1: two rules have this name", &[ANY_TRANSFER, ANY_TRANSFER].join("\n"));
}

#[test]
fn refuses_names_that_are_not_declared() {
    takes_rules(&when("context.within.contains(Limit::\"day\")"));
    for (condition, why) in [
        ("context.within.contains(Limit::\"dya\")", "Limit"),
        ("context.within == [Limit::\"dya\"]", "Limit"),
        ("context.assets.contains(Asset::\"ehh\")", "Asset"),
        ("context.chain == Chain::\"eip155:2\"", "Chain"),
        ("context.approved_at_least.contains(Approval::\"pass-key\")", "Approval"),
        ("context.payees == Payees::\"knwon\"", "Payees"),
        ("context.warnings.contains(Warning::\"opaqe\")", "Warning"),
        ("action == Action::\"transfers\"", "Action"),
        ("context.within.contains(\"day\")", "type"),
        ("context.amount < 10", "amount"),
        ("principal.name == \"alice\"", "name"),
    ] {
        refuses_rules(why, &when(condition));
    }
}

#[test]
fn refuses_rules_that_the_schema_does_not_carry() {
    refuses_rules("rules 1:", "@id(\"x\") permit (principal, action);");
    refuses_rules("rules 1:", &when("context.hour_utc == \"6\""));
    refuses_rules("rules 1:", &when("context.hour_utc"));
    refuses_rules("templates", "@id(\"x\") permit (principal == ?principal, action, resource);");
    // It never applies: whoever wrote it meant something else.
    refuses_rules("rules 1:", &when("context.opaque && !context.opaque && false"));
    refuses_rules("extension types", &when("decimal(\"1.5\").lessThan(decimal(\"2.0\"))"));
    refuses_rules("extension types", &when("ip(\"10.0.0.1\").isLoopback()"));
}

#[test]
fn refuses_addresses_that_would_never_match() {
    let known = address(0xab);
    takes_rules(&when(&format!("context.recipients.contains(\"{known}\")")));
    let lower = known.as_str().to_lowercase();
    refuses_rules(
        &format!("is written {known}"),
        &when(&format!("context.recipients.contains(\"{lower}\")")),
    );
    refuses_rules("40 hex digits", &when("context.recipients.contains(\"0x12\")"));
    refuses_rules(
        "in lower case",
        &when("context.recipients.contains(\"BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4\")"),
    );
}

#[test]
fn refuses_text_that_people_cannot_see_for_what_it_is() {
    takes_rules(&format!("// größer als zehn, ничего\n{ANY_TRANSFER}"));
    refuses_rules("hidden character", &format!("// \u{202e}\n{ANY_TRANSFER}"));
    refuses_rules("hidden character", &format!("// \u{200b}\n{ANY_TRANSFER}"));
    refuses_rules("hidden character", &format!("// \r{ANY_TRANSFER}"));
    refuses_rules("a character that rules do not have", &format!("\u{a0}{ANY_TRANSFER}"));
    refuses_rules("a character that rules do not have", &format!("{ANY_TRANSFER}\0"));
    refuses_rules("a character that strings do not have", &when("principal == Account::\"аlice\""));
    refuses_rules("a character that strings do not have", &when("principal == Account::\"a\nb\""));
    refuses_rules("a string is not closed", "@id(\"x");
}

#[test]
fn refuses_brackets_that_do_not_match_and_rules_that_do_not_end() {
    refuses_rules("closes that was not opened", &format!("{ANY_TRANSFER})"));
    refuses_rules("is not closed", "@id(\"x\") permit (principal");
    refuses_rules("inside brackets", "@id(\"x\") permit (principal; )");
    refuses_rules("rules 1:", "@id(\"x\") permit (principal, action, resource)");
}

#[test]
fn refuses_what_nests_too_deep_before_the_parser_sees_it() {
    let nested = |depth: usize| when(&format!("{}context.opaque{}", "(".repeat(depth), ")".repeat(depth)));
    takes_rules(&nested(DEPTH_MAX - 1));
    refuses_rules("too deep", &nested(DEPTH_MAX));
    refuses_rules("too deep", &nested(10_000));
    let chosen = |depth: usize| {
        when(&format!("{} context.opaque", "if context.opaque then context.limited else ".repeat(depth)))
    };
    takes_rules(&chosen(DEPTH_MAX - 1));
    refuses_rules("too deep", &chosen(DEPTH_MAX));
    // Brackets in strings and comments are none, and an escaped quote ends no string.
    takes_rules(&when("principal == Account::\"a\\\"((((((((((((((\""));
    refuses_rules("too deep", &when("principal == Account::\"a\\\\\" || ((((((((((((((1"));
    takes_rules(&format!("// {}\n{}", "(".repeat(100), when("principal == Account::\"((((((((((((((\"")));
}

#[test]
fn refuses_rules_that_are_too_long_a_chain() {
    let chain = |operands: usize| when(&vec!["context.opaque"; operands].join(" && "));
    takes_rules(&chain(STEPS_MAX / 2));
    let again = chain(STEPS_MAX / 2).replace("\"x\"", "\"y\"");
    takes_rules(&format!("{}\n{again}", chain(STEPS_MAX / 2)));
    refuses_rules("the rule is too long", &chain(STEPS_MAX / 2 + 1));
    refuses_rules("the rule is too long", &when(&format!("{}context.opaque", "!".repeat(STEPS_MAX))));
    refuses_rules("the rule is too long", &when(&format!("context{}", ".a".repeat(STEPS_MAX))));
    refuses_rules("the rule is too long", &when(&format!("1 {} == 1", "+ 1".repeat(STEPS_MAX))));
    let conditions = "when { true } ".repeat(STEPS_MAX + 1);
    refuses_rules(
        "the rule is too long",
        &format!("@id(\"x\") permit (principal, action, resource) {conditions};"),
    );
}

#[test]
fn refuses_too_many_rules() {
    let many = |count: usize| -> String {
        let rule = |number| format!("@id(\"r{number}\") permit (principal, action, resource);");
        (0..count).map(rule).collect::<Vec<_>>().join("\n")
    };
    takes_rules(&many(RULES_MAX));
    refuses_rules("too many rules", &many(RULES_MAX + 1));
}

#[test]
fn a_problem_says_where_and_what_to_do() {
    let rules = format!("// The first line.\n{ANY_TRANSFER}\n\n  permit (principal, action, resource);");
    let found = problems(|document| document.rules = rules);
    assert_eq!(found, "rules 4:3: the rule has no name (put @id(\"a-name\") before it: a-z, 0-9 and '-')");
    let two = problems(|document| {
        document.limits[0].most = "x".to_owned();
        document.format = 9;
    });
    assert_eq!(two.lines().count(), 2, "all problems are told at once: {two}");
}

#[test]
fn refuses_strings_that_a_pattern_would_take_long_to_match() {
    let of = |length: usize| when(&format!("principal == Account::\"{}\"", "a".repeat(length)));
    takes_rules(&of(STRING_MAX_BYTES - 1));
    refuses_rules("a string is too long", &of(STRING_MAX_BYTES));
    refuses_rules("a string is too long", &of(RULES_MAX_BYTES / 2));
}
