//! The samples are what they say: each loads, passes its own cases, and comes back out of its document.

use countersign_policy::tool::{Sources, advice, explanation_text, format_rules, pack, read_cases, unpack};
use countersign_policy::{Document, Policy};

macro_rules! sample {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../samples/", $name, "/policy.toml")),
            include_str!(concat!("../../samples/", $name, "/policy.cedar")),
            include_str!(concat!("../../samples/", $name, "/cases.toml")),
        )
    };
}

const SAMPLES: [(&str, &str, &str, &str); 3] =
    [sample!("retail-exchange-hot-wallet"), sample!("institutional-treasury"), sample!("development")];

fn document(toml: &str, cedar: &str) -> Document {
    let sources = Sources { policy_toml: toml.to_owned(), policy_cedar: cedar.to_owned() };
    pack(&sources).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn policy(toml: &str, cedar: &str) -> Policy {
    Policy::of(document(toml, cedar)).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

#[test]
fn every_sample_passes_its_cases() {
    for (name, toml, cedar, cases) in SAMPLES {
        let policy = policy(toml, cedar);
        let cases = read_cases(&policy, cases).unwrap_or_else(|problem| panic!("{name}: {problem}"));
        assert!(cases.len() >= 10, "{name} shows too little");
        for case in cases {
            let outcome = case.run(&policy);
            assert!(outcome.passed, "{name}: {outcome}\n{}", explanation_text(&policy, &outcome.explanation));
        }
    }
}

#[test]
fn a_case_that_expects_something_else_fails() {
    let (_, toml, cedar, cases) = SAMPLES[2];
    let policy = policy(toml, cedar);
    for (was, wrong) in [
        ("expect = \"permit\"", "expect = \"deny\""),
        ("rule = \"blind-key\"", "rule = \"clear-transfer\""),
        ("why = \"blind\"", "why = \"no-rule\""),
    ] {
        let cases = read_cases(&policy, &cases.replacen(was, wrong, 1)).unwrap();
        assert_eq!(cases.iter().filter(|case| !case.run(&policy).passed).count(), 1, "{wrong}");
    }
}

#[test]
fn every_sample_comes_back_out_of_its_document() {
    for (name, toml, cedar, _) in SAMPLES {
        let document = document(toml, cedar);
        assert_eq!(pack(&unpack(&document)).unwrap(), document, "{name}");
        assert_eq!(Document::read(&document.to_bytes()).unwrap(), document, "{name}");
        let saved_on_windows =
            Sources { policy_toml: toml.replace('\n', "\r\n"), policy_cedar: cedar.replace('\n', "\r\n") };
        assert_eq!(pack(&saved_on_windows).unwrap(), document, "{name}");
    }
}

#[test]
fn the_built_in_policy_is_the_sample() {
    let (_, toml, cedar, _) = SAMPLES[2];
    assert_eq!(Policy::development().document(), &document(toml, cedar));
}

#[test]
fn the_samples_are_formatted_and_only_development_gets_advice() {
    for (name, toml, cedar, _) in SAMPLES {
        assert_eq!(format_rules(cedar).unwrap().trim(), cedar.trim(), "{name}");
        let advice = advice(&policy(toml, cedar));
        assert_eq!(advice.is_empty(), name != "development", "{name}: {advice:?}");
    }
}
