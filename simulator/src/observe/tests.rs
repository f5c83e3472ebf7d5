//! What is told is what is documented, and its labels come from short lists.

use super::metrics::{CONNECTIONS, ENDS, value};
use super::words::{CALL_OUTCOMES, CALLS};
use super::*;
use crate::boundary::InForce;
use crate::log;
use crate::sandbox::Layer;
use countersign_wire::client::{Act, Answer, Outcome, Reply};
use countersign_wire::device::ViewIntent;
use countersign_wire::encode;
use countersign_wire::hal::HALT_WORDS;
use countersign_wire::names::{AccountName, ApiKey, TenantName};
use countersign_wire::reason::Refusal;
use serde_bytes::{ByteArray, ByteBuf};
use std::collections::{BTreeMap, BTreeSet};

const DOCUMENTATION: &str = include_str!("../../../docs/observability.md");
const ALERTS: &str = include_str!("../../../docs/observability/alerts.yml");
const ALERT_TESTS: &str = include_str!("../../../docs/observability/alerts.test.yml");
const DASHBOARD: &str = include_str!("../../../docs/observability/grafana-dashboard.json");

/// A metric as it is told or documented: its type and the names of its labels.
type Told = BTreeMap<String, (String, BTreeSet<String>)>;

fn observer(tenants: bool) -> Observer {
    let wanted = Wanted {
        metrics: Some(Address::Unix("/nowhere".into())),
        tenants,
        linger: Duration::ZERO,
        traces: None,
        ratio: "1".parse().unwrap(),
    };
    Observer::new(&wanted).unwrap()
}

fn request(tenant: &str, act: Act) -> Vec<u8> {
    let api_key = Some(ApiKey::from_random(&[0xa5; 32], &TenantName::parse(tenant).unwrap()));
    encode(&countersign_wire::client::Request { id: [7; 16].into(), api_key, act })
}

fn reply(outcome: Outcome) -> Vec<u8> {
    encode(&Reply { id: [7; 16].into(), outcome })
}

/// One of everything.
fn all_that_can_happen(observer: &Observer) -> String {
    let done = observer.request(&request("acme", Act::Status));
    observer.replied(done, &reply(Outcome::Done(Answer::Approved)));
    for reason in Reason::ALL {
        let refused =
            observer.request(&request("evil", Act::ShowAccount(AccountName::parse("alice").unwrap())));
        observer.replied(refused, &reply(Outcome::Refused(Refusal::from(*reason))));
    }
    observer.dropped(observer.request(b"garbage"));
    observer.refused(b"garbage", Reason::HsmNotReady);
    for op in [
        Op::Archive { offset: 0, append: ByteBuf::from([1; 9]) },
        Op::SignDigest { wrapped: ByteBuf::from([0xa5; 40]), digest: ByteArray::new([0xa5; 32]) },
    ] {
        let mut call = observer.call(&op, Vec::new);
        observer.call_begins(&mut call);
        observer.call_ended(call, &Ok(Value::Done));
    }
    for became in [Connected::Admitted, Connected::Stranger, Connected::Full, Connected::Failed] {
        observer.connection(became);
    }
    observer.plugin_started(true);
    for end in [PluginEnd::Stopped, PluginEnd::Halted, PluginEnd::Gone] {
        observer.plugin_ended(end);
    }
    let metrics = observer.metrics().unwrap();
    let labels = [("boundary", "process"), ("keystore", "embedded"), ("clock", "manual")];
    metrics.describe(labels, "00".repeat(48));
    metrics.tell_layers(&in_force("process", &Layer::ALL[1..], &Layer::ALL[..1]));
    metrics.not_serving.get_or_create(&[("reason", "head-mismatch")]).set(1);
    for file in ["log", "archive"] {
        drop(metrics.stored.get_or_create(&[("file", file)]));
    }
    for kind in ["free", "total"] {
        drop(metrics.disk.get_or_create(&[("kind", kind)]));
    }
    drop(metrics.memory.get_or_create(&[("process", "plugin"), ("kind", "locked")]));
    metrics.text()
}

/// The name that is asked for, as `OpenMetrics` makes it of the family's.
fn asked_for(family: &str, kind: &str) -> String {
    match kind {
        "counter" => format!("{family}_total"),
        "info" => format!("{family}_info"),
        _ => family.to_owned(),
    }
}

/// The labels of one sample.
fn labels(sample: &str) -> Vec<(&str, &str)> {
    let Some((_, rest)) = sample.split_once('{') else { return Vec::new() };
    let (inside, _) = rest.split_once('}').unwrap();
    inside
        .split(',')
        .map(|label| label.split_once('=').unwrap())
        .map(|(name, text)| (name, text.trim_matches('"')))
        .collect()
}

fn exposed(text: &str) -> Told {
    let mut told = Told::new();
    let mut family = (String::new(), String::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            family = (asked_for(name, kind), kind.to_owned());
            told.insert(family.0.clone(), (kind.to_owned(), BTreeSet::new()));
        } else if !line.starts_with('#') {
            let names = labels(line).into_iter().map(|(name, _)| name.to_owned()).filter(|name| name != "le");
            told.get_mut(&family.0).unwrap().1.extend(names);
        }
    }
    told
}

fn documented() -> Told {
    let mut told = Told::new();
    for line in DOCUMENTATION.lines().filter(|line| line.starts_with("| `countersign_")) {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let names =
            cells[3].split(',').map(|name| name.trim().trim_matches('`')).filter(|name| !name.is_empty());
        let told_twice = told.insert(
            cells[1].trim_matches('`').to_owned(),
            (cells[2].to_owned(), names.map(str::to_owned).collect()),
        );
        assert!(told_twice.is_none(), "{line}");
    }
    told
}

#[test]
fn what_is_told_is_exactly_what_is_documented() {
    let told = exposed(&all_that_can_happen(&observer(false)));
    let mut documented = documented();
    documented.retain(|name, _| !name.starts_with("countersign_relay_"));
    assert_eq!(told, documented);
}

#[test]
fn labels_have_values_from_short_lists_and_none_from_outside() {
    let reasons = || Reason::ALL.iter().map(|reason| reason.word());
    let mut allowed: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut allow = |name, values: Vec<&'static str>| allowed.entry(name).or_default().extend(values);
    allow("act", Act::WORDS.iter().copied().chain([OTHER]).collect());
    allow("reason", reasons().chain([NONE]).chain(HALT_WORDS.iter().copied()).collect());
    allow(
        "outcome",
        [DONE, REFUSED, DROPPED, "written"].into_iter().chain(CONNECTIONS).chain(CALL_OUTCOMES).collect(),
    );
    allow("call", CALLS.to_vec());
    allow("file", vec!["log", "archive"]);
    allow("kind", vec!["free", "total", "resident", "locked", "swapped"]);
    allow("end", ENDS.to_vec());
    allow("layer", Layer::ALL.map(Layer::word).to_vec());
    allow("process", vec!["firmware", "plugin"]);
    allow("event", log::Event::ALL.iter().map(|event| event.word()).collect());
    allow("level", vec!["info", "warn", "error"]);
    allow("tenant", vec!["acme", OTHER, NONE]);
    let observer = observer(true);
    observer.learn_tenants(&[tenant("acme")]);
    let text = all_that_can_happen(&observer);
    for line in
        text.lines().filter(|line| !line.starts_with('#') && !line.starts_with("countersign_hsm_info"))
    {
        for (name, value) in labels(line).into_iter().filter(|(name, _)| *name != "le") {
            assert!(allowed[name].contains(value), "{line}");
        }
    }
    assert!(!text.contains("alice") && !text.contains("evil"), "nothing that was asked");
    assert!(text.len() < 256 * 1024, "{} bytes", text.len());
}

fn tenant(name: &str) -> Tenant {
    Tenant {
        name: TenantName::parse(name).unwrap(),
        api_key_sha256: ByteArray::new([0; 32]),
        plain_enrolment: true,
        failures_per_hour: None,
        accounts_max: None,
        policy: None,
        lifted: Vec::new(),
        log_names: countersign_wire::hal::LogNames::Plain,
    }
}

#[test]
fn a_tenant_is_named_only_where_that_was_asked_for_and_its_key_is_good() {
    let count = |observer: &Observer, tenant: Option<&'static str>, outcome, reason| {
        let request = Request { act: "login", outcome, reason, tenant };
        let found = observer.metrics().unwrap().requests.get(&request).map(|counter| value(&counter));
        found.unwrap_or(0)
    };
    let quiet = observer(false);
    quiet.learn_tenants(&[tenant("acme")]);
    quiet.replied(quiet.request(&request("acme", Act::Login)), &reply(Outcome::Done(Answer::Approved)));
    assert_eq!(count(&quiet, None, DONE, NONE), 1);
    assert!(!quiet.metrics().unwrap().text().contains("acme"));

    let telling = observer(true);
    telling.learn_tenants(&[tenant("acme")]);
    telling.replied(telling.request(&request("acme", Act::Login)), &reply(Outcome::Done(Answer::Approved)));
    let wrong = reply(Outcome::Refused(Reason::WrongApiKey.into()));
    telling.replied(telling.request(&request("acme", Act::Login)), &wrong);
    assert_eq!(count(&telling, Some("acme"), DONE, NONE), 1);
    assert_eq!(count(&telling, Some(NONE), REFUSED, "wrong-api-key"), 1, "a name proves nothing");
}

#[test]
fn whoever_names_a_tenant_without_its_key_is_counted_under_none() {
    let observer = observer(true);
    observer.learn_tenants(&[tenant("acme")]);
    let refused = |payload: &[u8], reason: Reason| {
        observer.replied(observer.request(payload), &reply(Outcome::Refused(reason.into())));
    };
    // A key of the right form with an act that nobody can read, as whoever is on the socket can send it.
    let mut undecodable = request("acme", Act::Random(9));
    undecodable.pop();
    refused(&undecodable, Reason::MalformedRequest);
    observer.refused(&request("acme", Act::Login), Reason::Busy);
    observer.refused(&request("acme", Act::Login), Reason::HsmNotReady);
    refused(&request("acme", Act::Login), Reason::Busy);
    observer.dropped(observer.request(&request("acme", Act::Login)));
    // What the plugin answers to anybody.
    for act in [Act::Status, Act::Identity] {
        observer.replied(observer.request(&request("acme", act)), &reply(Outcome::Done(Answer::Approved)));
    }
    // What a device asks, without a key.
    let view = ViewIntent {
        tenant: TenantName::parse("acme").unwrap(),
        account: AccountName::parse("alice").unwrap(),
        intent: [2; 16].into(),
        device_nonce: ByteArray::new([3; 32]),
    };
    let view =
        countersign_wire::client::Request { id: [7; 16].into(), api_key: None, act: Act::ViewIntent(view) };
    refused(&encode(&view), Reason::UnknownIntent);
    let text = observer.metrics().unwrap().text();
    assert!(!text.contains("acme"), "{text}");
    assert_eq!(text.matches("tenant=\"none\"").count(), 7, "each is counted, both that are busy as one");
    // What only the tenant is told.
    refused(&request("acme", Act::Login), Reason::StoreFull);
    assert!(observer.metrics().unwrap().text().contains("reason=\"store-full\",tenant=\"acme\""));
}

fn in_force(boundary: &'static str, layers: &[Layer], missing: &[Layer]) -> InForce {
    let words = |layers: &[Layer]| layers.iter().map(ToString::to_string).collect();
    InForce { boundary, layers: words(layers), missing: words(missing) }
}

/// What is told of layers.
fn layers_told(observer: &Observer) -> BTreeMap<String, String> {
    let text = observer.metrics().unwrap().text();
    let samples = text.lines().filter(|line| line.starts_with("countersign_sandbox_layer{"));
    let told = samples
        .map(|sample| (labels(sample)[0].1.to_owned(), sample.split(' ').next_back().unwrap().to_owned()));
    told.collect()
}

#[test]
fn only_layers_that_the_boundary_should_have_are_told_and_only_once_they_are_known() {
    let told = |in_force: Option<InForce>| {
        let observer = observer(false);
        if let Some(in_force) = in_force {
            observer.metrics().unwrap().tell_layers(&in_force);
        }
        let told = layers_told(&observer);
        let told: Vec<_> = told.iter().map(|(layer, is_there)| format!("{layer}={is_there}")).collect();
        told.join(" ")
    };
    assert_eq!(told(None), "", "an HSM that is starting, or cannot");
    assert_eq!(
        told(Some(in_force("process", &Layer::ALL[..4], &Layer::ALL[4..]))),
        "landlock=1 memory-lock=1 namespaces=1 seccomp=1 tsc=0"
    );
    let machine = in_force("vm", &crate::vm::LAYERS, &[]);
    assert_eq!(
        told(Some(machine)),
        "landlock=1 memory-lock=1 seccomp=1 tsc=1",
        "a machine has no namespaces"
    );
}

#[test]
fn the_plugins_memory_in_a_machine_is_that_of_the_process_that_was_started() {
    let mut launched = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let pid = launched.id();
    let (machine, process) = (watch::status_of_plugin("vm", pid), watch::status_of_plugin("process", pid));
    launched.kill().unwrap();
    launched.wait().unwrap();
    assert!(crate::sandbox::verify::kib(&machine.unwrap(), "VmSwap").is_some());
    assert_eq!(process, None, "it started none");
    assert_eq!(watch::status_of_plugin("vm", pid), None, "it is gone");
}

#[test]
fn who_does_not_want_to_see_anything_pays_for_nothing() {
    let observer = Observer::default();
    assert!(observer.request(&request("acme", Act::Status)).0.is_none());
    assert!(observer.call(&Op::GenerateKeyPair, || panic!("nobody asks for traces")).0.is_none());
}

/// Every name that a query asks for.
fn names_in(text: &str) -> BTreeSet<&str> {
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let words = text.split(|c: char| !is_name(c));
    words.filter(|word| word.starts_with("countersign_")).collect()
}

#[test]
fn dashboard_and_alerts_ask_only_for_what_there_is() {
    let mut there = BTreeSet::new();
    for (name, (kind, _)) in documented() {
        if kind == "histogram" {
            there.extend(["bucket", "count", "sum"].map(|part| format!("{name}_{part}")));
        }
        there.insert(name);
    }
    for (file, text) in
        [("alerts.yml", ALERTS), ("alerts.test.yml", ALERT_TESTS), ("the dashboard", DASHBOARD)]
    {
        let asked = names_in(text);
        assert!(asked.len() > 10, "{file}");
        let missing: Vec<_> = asked.iter().filter(|name| !there.contains(**name)).collect();
        assert!(missing.is_empty(), "{file} asks for {missing:?}");
    }
    assert!(serde_json::from_str::<serde_json::Value>(DASHBOARD).is_ok());
}

#[test]
fn alerts_and_dashboard_name_only_reasons_and_words_that_there_are() {
    let known: BTreeSet<&str> = Reason::ALL
        .iter()
        .map(|reason| reason.word())
        .chain(HALT_WORDS.iter().copied())
        .chain(CALL_OUTCOMES)
        .chain(["passkey-wrong-", "passkey-", "store-", "nvram-", "sandbox-incomplete"])
        .collect();
    for text in [ALERTS.to_owned(), DASHBOARD.replace('\\', "")] {
        for (at, _) in text.match_indices("reason") {
            let rest = &text[at + "reason".len()..];
            let operators = ["=~\"", "=\"", "!~\"", "!=\""];
            let Some(rest) = operators.iter().find_map(|operator| rest.strip_prefix(operator)) else {
                continue;
            };
            let list = rest.split('"').next().unwrap();
            for word in list.split('|') {
                let word = word.trim_end_matches(".*");
                assert!(known.contains(word), "{word} in {list}");
            }
        }
    }
}

#[test]
fn every_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not() {
    let alerts: Vec<_> = ALERTS.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 20);
    for alert in alerts {
        let mut tests =
            ALERT_TESTS.split("  - name: ").filter(|test| test.contains(&format!("alertname: {alert}\n")));
        let (fires, quiet) = (tests.next().unwrap_or_default(), tests.next().unwrap_or_default());
        assert!(fires.starts_with(&format!("{alert} fires")) && fires.contains("exp_labels"), "{alert}");
        assert!(
            quiet.starts_with(&format!("{alert} stays quiet")) && quiet.contains("exp_alerts: []"),
            "{alert}"
        );
    }
}

#[test]
fn the_events_of_the_log_are_those_that_are_documented() {
    let (_, section) = DOCUMENTATION.split_once("### Log").unwrap();
    let (section, _) = section.split_once("### Traces").unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let documented: Vec<_> = rows.map(|(event, rest)| (event, rest.split(' ').next().unwrap())).collect();
    let there: Vec<_> = log::Event::ALL.iter().map(|event| (event.word(), event.level().word())).collect();
    assert_eq!(documented, there);
}

#[test]
fn every_reason_not_to_serve_is_documented() {
    let (_, section) = DOCUMENTATION.split_once("Reasons of `countersign_not_serving`").unwrap();
    let (section, _) = section.split_once("### Log").unwrap();
    for word in HALT_WORDS.iter().copied().chain([
        "image",
        "image-not-pinned",
        "sandbox-incomplete",
        "plugin",
        "keystore",
        "home",
        "ceremony",
        "system",
    ]) {
        assert!(section.contains(&format!("`{word}`")), "{word}");
    }
}
