//! What the tools tell people.

use countersign_policy::tool::{Sources, advice, check, explanation_text, pack, read_cases, test};
use countersign_policy::{Document, Policy};

const TOML: &str = r#"format = 1
name = "small"
version = 3
payee_delay = "1h"

[[asset]]
name = "eth"
chain = "eip155:1"
asset = "native"
decimals = 18

[[limit]]
name = "day"
per = "account"
window = "24h"
most = "1.5 eth"
"#;

const CEDAR: &str = "@id(\"any\")\npermit (principal, action == Action::\"transfer\", resource);\n";

fn sources(toml: &str, cedar: &str) -> Sources {
    Sources { policy_toml: toml.to_owned(), policy_cedar: cedar.to_owned() }
}

fn policy() -> Policy {
    check(&sources(TOML, CEDAR)).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn problems(toml: &str, cedar: &str) -> String {
    match check(&sources(toml, cedar)) {
        Ok(_) => String::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    }
}

#[test]
fn amounts_and_times_are_packed_in_base_units_and_seconds() {
    let document: Document = pack(&sources(TOML, CEDAR)).unwrap();
    assert_eq!(document.limits[0].most, "1500000000000000000");
    assert_eq!(document.limits[0].window_secs, 86_400);
    assert_eq!(document.payee_delay_secs, 3_600);
    let in_base_units = TOML.replace("1.5 eth", "1500000000000000000 base eth");
    assert_eq!(pack(&sources(&in_base_units, CEDAR)).unwrap(), document);
}

#[test]
fn every_problem_is_told_with_its_line() {
    for (was, wrong, told) in [
        ("version = 3", "version = 3\nvresion = 4", "policy.toml 4:1: unknown field `vresion`"),
        ("version = 3", "version = \"3\"", "policy.toml 3:11: invalid type"),
        ("window = \"24h\"", "window = \"5s\"", "policy.toml 13:1: limit day: window_secs: not a window"),
        ("window = \"24h\"", "window = \"1 day\"", "policy.toml 13:1: limit day: window: not a time"),
        ("window = \"24h\"\n", "", "policy.toml 13:1: limit day: window: missing"),
        ("1.5 eth", "1.5 btc", "policy.toml 13:1: limit day: most: not an amount of a declared asset"),
        ("1.5 eth", "1.5", "policy.toml 13:1: limit day: most"),
        ("1.5 eth", "7 base gold", "policy.toml 13:1: limit day: most: the asset is not declared"),
        ("1.5 eth", "1.0000000000000000001 eth", "at most 18 digits after the point"),
        ("eip155:1", "eip155:0", "policy.toml 7:1: asset eth: asset: not a chain"),
        ("payee_delay = \"1h\"", "payee_delay = \"1y\"", "policy.toml 4:1: payee_delay: not a time"),
        ("name = \"small\"", "name = \"Small\"", "policy.toml 2:1: name: not a name"),
    ] {
        let found = problems(&TOML.replacen(was, wrong, 1), CEDAR);
        assert!(found.contains(told), "{wrong:?}: {found}");
    }
    let found = problems(TOML, &CEDAR.replace("transfer", "transfre"));
    assert!(
        found.starts_with("rules 2:30:") && found.contains("did you mean `Action::\"transfer\"`"),
        "{found}"
    );
}

#[test]
fn a_table_of_cases_tells_what_was_expected_and_what_was_decided() {
    let cases = r#"
[[case]]
name = "fits"
intent = { kind = "transfer", chain = "eip155:1", moves = [{ to = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", amount = "1 eth" }] }
expect = "permit"

[[case]]
name = "does not fit"
intent = { kind = "transfer", chain = "eip155:1", moves = [{ to = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", amount = "1 eth" }] }
booked = [{ limit = "day", amount = "1 eth", ago = "1h" }]
expect = "permit"
"#;
    let told: Vec<_> = test(&policy(), cases).unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "ok      fits: permitted by any",
            "FAILED  does not fit: expected permitted, but denied (limit day)"
        ]
    );
    let outcome = &test(&policy(), cases).unwrap()[1];
    assert_eq!(
        explanation_text(&policy(), &outcome.explanation),
        "denied: limit day\ncould be permitted in: 1d\npayees: new\n\
         limit day: does not fit, but in 1d: 1 booked and 1 asked, of 1.5 eth\n"
    );
}

#[test]
fn refuses_a_case_that_says_nothing_or_too_much() {
    for (case, told) in [
        ("expect = \"permit\"", "give one of transaction, psbt and intent"),
        ("transaction = \"ec\"\nintent = { kind = \"digest\" }\nexpect = \"deny\"", "give one of"),
        ("transaction = \"xx\"\nexpect = \"deny\"", "not hex"),
        ("transaction = \"00\"\nexpect = \"deny\"", "the transaction is refused"),
        ("psbt = \"cHNidP8=\"\nexpect = \"deny\"", "needs a wallet"),
        ("psbt = \"cHNidP8=\"\nwallet = \"wpkh()\"\nexpect = \"deny\"", "needs a network"),
        (
            "psbt = \"cHNidP8=\"\nwallet = \"wpkh()\"\nnetwork = \"signet\"\nexpect = \"deny\"",
            "no descriptor or public key of the signet network",
        ),
        ("intent = { kind = \"transfre\" }\nexpect = \"deny\"", "no kind of intent"),
        ("intent = { kind = \"transfer\", chain = \"mainnet\" }\nexpect = \"deny\"", "not a chain"),
        (
            "intent = { kind = \"transfer\", chain = \"eip155:100\", moves = [{ to = \"0xA\", amount = \"1 eth\" }] }\nexpect = \"deny\"",
            "is an asset of eip155:1",
        ),
        ("intent = { kind = \"digest\" }\napproval = \"sms\"\nexpect = \"deny\"", "no kind of approval"),
        ("intent = { kind = \"digest\" }\nexpect = \"maybe\"", "unknown variant"),
        ("intent = { kind = \"digest\" }\nexpects = \"deny\"\nexpect = \"deny\"", "unknown field"),
        ("intent = { kind = \"digest\", warnings = [\"bad\"] }\nexpect = \"deny\"", "no warning"),
        (
            "intent = { kind = \"digest\" }\nbooked = [{ limit = \"x\", amount = \"1 eth\", ago = \"1h\" }]\nexpect = \"deny\"",
            "not a limit",
        ),
    ] {
        let problem =
            read_cases(&policy(), &format!("[[case]]\nname = \"x\"\n{case}\n")).unwrap_err().to_string();
        assert!(problem.contains(told), "{case}: {problem}");
    }
}

#[test]
fn advice_is_given_where_a_sound_policy_may_not_be_what_was_meant() {
    assert_eq!(advice(&policy()), Vec::<String>::new());
    let soft = TOML.replace("most = \"1.5 eth\"", "most = \"1.5 eth\"\nhard = false");
    let told = advice(&check(&sources(&soft, CEDAR)).unwrap()).join("\n");
    assert!(
        told.contains("asset eth: no hard limit") && told.contains("limit day: it is not hard"),
        "{told}"
    );
    let open = TOML.replace("version = 3", "version = 3\nundeclared = \"ask-rules\"");
    assert!(advice(&check(&sources(&open, CEDAR)).unwrap()).join("\n").contains("ask-rules"));
}
