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

/// The rules that a page shows, without the margin that a list gives them.
fn rules_of(page: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(fence) = lines.by_ref().find(|line| line.trim() == "```cedar") {
        let margin = fence.len() - fence.trim_start().len();
        let block = lines.by_ref().take_while(|line| line.trim() != "```");
        blocks.push(block.map(|line| line.get(margin..).unwrap_or_default()).collect::<Vec<_>>().join("\n"));
    }
    blocks
}

#[test]
fn every_rule_that_the_manual_shows_loads() {
    let (_, toml, _, _) = SAMPLES[0];
    for (page, text, count) in [
        ("incidents.md", include_str!("../../../docs/manual/custodians/incidents.md"), 3),
        ("README.md", include_str!("../../README.md"), 1),
    ] {
        let rules = rules_of(text);
        assert_eq!(rules.len(), count, "{page}");
        for rule in rules {
            policy(toml, &rule);
        }
    }
}

#[test]
fn the_runbooks_rules_stop_everybody_or_one_or_leave_one_a_way_out() {
    const NEW: &str = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
    const OTHER: &str = "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359";
    let rules = rules_of(include_str!("../../../docs/manual/custodians/incidents.md"));
    let [stop, stop_alice, way_out] = rules.as_slice() else { panic!("{rules:?}") };
    let (_, toml, cedar, _) = SAMPLES[2];
    let case = |account: &str, to: &str, outcome: &str| {
        let moves: Vec<_> =
            to.split(' ').map(|to| format!("{{ to = \"{to}\", amount = \"1 base native\" }}")).collect();
        let intent = match to {
            "" => "mechanisms = [\"digest\"]\nintent = { kind = \"digest\" }".to_owned(),
            _ => format!(
                "intent = {{ kind = \"transfer\", chain = \"eip155:1\", moves = [{}] }}",
                moves.join(", ")
            ),
        };
        format!(
            "[[case]]\nname = \"{account} to {to}\"\ntenant = \"acme\"\naccount = \"{account}\"\nexpect = {outcome}\n{intent}\n"
        )
    };
    let both = format!("{NEW} {OTHER}");
    let (permit, stopped) = ("\"permit\"", |rule| format!("\"deny\"\nrule = \"{rule}\""));
    let (alice, out) = (stopped("stop-alice"), stopped("way-out-of-alice"));
    for (beside, cases) in [
        (vec![stop], vec![("alice", NEW, stopped("stop")), ("bob", NEW, stopped("stop"))]),
        (vec![stop_alice], vec![("alice", NEW, alice.clone()), ("bob", OTHER, permit.into())]),
        (
            vec![way_out],
            vec![
                ("alice", NEW, permit.into()),
                ("alice", OTHER, out.clone()),
                ("alice", &both, out.clone()),
                ("alice", "", out),
                ("bob", &both, permit.into()),
                ("bob", "", permit.into()),
            ],
        ),
        // What the runbook warns of: the first still forbids.
        (vec![stop_alice, way_out], vec![("alice", NEW, alice)]),
    ] {
        let all = beside.iter().fold(cedar.to_owned(), |all, rule| format!("{all}\n{rule}\n"));
        let policy = policy(toml, &all);
        let text: String = cases.iter().map(|(account, to, outcome)| case(account, to, outcome)).collect();
        for case in read_cases(&policy, &text).unwrap_or_else(|problem| panic!("{problem}\n{text}")) {
            let outcome = case.run(&policy);
            assert!(
                outcome.passed,
                "{beside:?}: {outcome}\n{}",
                explanation_text(&policy, &outcome.explanation)
            );
        }
    }
}
