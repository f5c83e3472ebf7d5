//! What operators see: metrics, health, logs and traces of a real HSM.

use countersign_tests::backend::{digest, reason};
use countersign_tests::metrics::{self, ON_A_FREE_PORT};
use countersign_tests::{Hsm, Keystore, artefacts, hsm, on_both_keystores, on_embedded};
use countersign_wire::client::Mechanism::Digest;
use countersign_wire::reason::Reason;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Longer than anything takes; what takes longer hangs.
const PATIENCE: Duration = Duration::from_mins(1);

on_both_keystores!(metrics_tell_what_was_asked_and_what_came_of_it);
on_embedded!(
    metrics_tell_of_a_plugin_that_died_and_of_one_that_hangs,
    an_hsm_that_refuses_its_store_says_so_before_it_ends,
    an_hsm_that_is_told_nothing_tells_nothing,
    tenants_are_named_only_if_the_operator_asks,
    a_thousand_slow_readers_of_the_metrics_delay_no_signature,
    the_log_for_programs_has_one_object_on_each_line,
    a_trace_holds_a_request_with_its_calls,
    nothing_is_traced_at_ratio_0,
);

fn observed(keystore: Keystore, options: &[&str]) -> Hsm {
    let mut hsm = Hsm::init(keystore, &[hsm::TENANT]);
    hsm.options = options.iter().map(ToString::to_string).collect();
    hsm.run();
    hsm
}

/// Waits until something is there.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{what} never came");
        std::thread::yield_now();
    }
}

/// Waits until a path is answered with that status.
fn until_answered(hsm: &Hsm, path: &str, status: u16) -> String {
    until(path, || Some(metrics::get(hsm, path)).filter(|answer| answer.0 == status)).1
}

fn metrics_tell_what_was_asked_and_what_came_of_it(keystore: Keystore) {
    let hsm = observed(keystore, &ON_A_FREE_PORT);
    let now = |name: &str| metrics::now(&hsm, name);
    assert_eq!(now("countersign_refusals_total{reason=\"code-used\"}"), Some(0.0), "there before it happens");
    let alice = hsm.user("alice", &[Digest]);
    let code = alice.phone.code(hsm.now());
    hsm.sign(&alice, digest(1), &code).expect("signs");
    assert_eq!(reason(hsm.sign(&alice, digest(2), &code)), Reason::CodeUsed);
    let requests = |labels: &str| now(&format!("countersign_requests_total{{act=\"sign\",{labels}}}"));
    assert_eq!(requests("outcome=\"done\",reason=\"none\""), Some(1.0));
    assert_eq!(requests("outcome=\"refused\",reason=\"code-used\""), Some(1.0));
    assert_eq!(now("countersign_refusals_total{reason=\"code-used\"}"), Some(1.0));
    assert_eq!(now("countersign_request_duration_seconds_count{act=\"sign\"}"), Some(2.0));
    assert_eq!(now("countersign_hal_calls_total{call=\"sign-digest\",outcome=\"done\"}"), Some(1.0));
    let commits = now("countersign_hal_calls_total{call=\"commit\",outcome=\"done\"}").expect("told");
    assert_eq!(now("countersign_hal_call_duration_seconds_count{call=\"commit\"}"), Some(commits));
    assert!(commits >= 4.0, "the start, the enrolment, the count and the spend: {commits}");
    let appended = now("countersign_store_appended_bytes_total{file=\"log\"}").expect("told");
    assert_eq!(now("countersign_store_bytes{file=\"log\"}"), Some(appended), "a new log");
    for good in ["plugin_ready", "plugin_answers", "clock_sure", "plugin_starts_total", "boot_count"] {
        // The plugin is given a second to answer.
        let name = format!("countersign_{good}");
        let told =
            || metrics::try_get(&hsm, "/metrics").ok().and_then(|(_, text)| metrics::sample(&text, &name));
        until(good, || told().filter(|told| told.total_cmp(&1.0).is_eq()));
    }
    assert_eq!(now("countersign_requests_in_flight"), Some(0.0), "the question how it is is not counted");
    assert_eq!(
        now("countersign_clock_unix_seconds"),
        Some(f64::from(u32::try_from(hsm.now()).expect("2106")))
    );
    for layer in ["namespaces", "landlock", "seccomp", "memory-lock", "tsc"] {
        assert_eq!(now(&format!("countersign_sandbox_layer{{layer=\"{layer}\"}}")), Some(1.0));
    }
    for process in ["firmware", "plugin"] {
        let memory = |kind: &str| {
            now(&format!("countersign_process_memory_bytes{{process=\"{process}\",kind=\"{kind}\"}}"))
        };
        assert!(memory("resident") > Some(1e6), "{process}");
        assert_eq!(memory("swapped"), Some(0.0), "{process}");
    }
}

fn metrics_tell_of_a_plugin_that_died_and_of_one_that_hangs(keystore: Keystore) {
    let hsm = observed(keystore, &ON_A_FREE_PORT);
    let now = |name: &str| metrics::now(&hsm, name);
    until_answered(&hsm, "/readyz", 200);
    assert_eq!(now("countersign_plugin_restarts_total"), Some(0.0));
    hsm.kill_plugin();
    assert_eq!(now("countersign_plugin_restarts_total"), Some(1.0));
    assert_eq!(now("countersign_plugin_ends_total{end=\"gone\"}"), Some(1.0));
    let plugin = hsm.plugin_pid();
    hsm::signal(plugin, Signal::SIGSTOP);
    // To wait for the plugin takes half of the time that an answer may take.
    let body = until_answered(&hsm, "/readyz", 503);
    assert!(body.contains("plugin-not-answering"), "{body}");
    let text = until_answered(&hsm, "/metrics", 200);
    let told = |name: &str| metrics::sample(&text, name);
    assert_eq!(
        (told("countersign_plugin_ready"), told("countersign_plugin_answers")),
        (Some(1.0), Some(0.0))
    );
    // The process lives all the same.
    until_answered(&hsm, "/healthz", 200);
    hsm::signal(plugin, Signal::SIGCONT);
    until_answered(&hsm, "/readyz", 200);
    until_answered(&hsm, "/nothing", 404);
}

fn an_hsm_that_refuses_its_store_says_so_before_it_ends(keystore: Keystore) {
    let mut hsm = Hsm::start(keystore);
    hsm.user("alice", &[Digest]);
    hsm.stop();
    let mut log = std::fs::read(hsm.store()).expect("the store");
    // Within the last entry.
    let at = log.len() - 10;
    log[at] ^= 1;
    std::fs::write(hsm.store(), log).expect("the disk is the attacker's");
    let socket = hsm.folder().join("metrics.sock");
    hsm.options = vec!["--metrics".into(), format!("unix:{}", socket.display())];
    let mut child = hsm.spawn();
    let refused = "countersign_not_serving{reason=\"head-mismatch\"}";
    until("the reason", || hsm.log().contains("tells why").then_some(()));
    let (_, text) = metrics::get_at(&socket, "/metrics").expect("it lingers");
    assert_eq!(metrics::sample(&text, refused), Some(1.0));
    assert_eq!(metrics::sample(&text, "countersign_plugin_ready"), Some(0.0));
    let (status, body) = metrics::get_at(&socket, "/readyz").expect("it lingers");
    assert_eq!((status, body.contains("head-mismatch")), (503, true), "{body}");
    hsm::signal(child.id(), Signal::SIGTERM);
    assert_eq!(child.wait().expect("it ends").code(), Some(4), "{}", hsm.log());
    assert!(!socket.exists() && hsm.log().contains("(head-mismatch)"), "{}", hsm.log());
}

fn an_hsm_that_is_told_nothing_tells_nothing(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    assert_eq!(hsm.ready().metrics, None);
    let told = std::fs::read_dir(format!("/proc/{}/task", hsm.ready().pid)).expect("its threads");
    let names = told.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    assert!(names.into_iter().all(|name| !["metrics", "traces"].contains(&name.trim())));
}

fn tenants_are_named_only_if_the_operator_asks(keystore: Keystore) {
    for (options, named) in [(vec![], false), (vec!["--metrics-tenants"], true)] {
        let hsm = observed(keystore, &[&ON_A_FREE_PORT[..], &options].concat());
        hsm.user("alice", &[Digest]);
        let (_, text) = metrics::get(&hsm, "/metrics");
        assert_eq!(text.contains("tenant=\"default\""), named);
        assert!(!text.contains("alice"));
    }
}

fn a_thousand_slow_readers_of_the_metrics_delay_no_signature(keystore: Keystore) {
    let hsm = observed(keystore, &ON_A_FREE_PORT);
    let alice = hsm.user("alice", &[Digest]);
    let address = hsm.ready().metrics.clone().expect("metrics are served");
    // None of them ever asks for anything; those that find no place in the socket's queue are still waiting for one.
    let readers: Vec<_> = (0..1000)
        .map_while(|_| {
            let address = address.parse().expect("an address");
            TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()
        })
        .collect();
    assert!(readers.len() > 100, "{}", readers.len());
    for index in 0..5 {
        hsm.sign(&alice, digest(index), &alice.phone.code(hsm.advance(30))).expect("signs meanwhile");
    }
    drop(readers);
    // And is there again for those who ask.
    until_answered(&hsm, "/readyz", 200);
}

fn the_log_for_programs_has_one_object_on_each_line(keystore: Keystore) {
    let mut hsm = observed(keystore, &["--log-format", "json"]);
    hsm.kill_plugin();
    hsm.stop();
    let log = hsm.log();
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    for line in &lines {
        for field in ["time", "level", "event", "message"] {
            assert!(line[field].is_string(), "{line}");
        }
    }
    let events: Vec<_> = lines.iter().filter_map(|line| line["event"].as_str()).collect();
    for event in ["policy-missing", "plugin-ready", "plugin-gone", "plugin-restarted", "plugin-ended"] {
        assert!(events.contains(&event), "{event}: {log}");
    }
    let restarted = lines.iter().find(|line| line["event"] == "plugin-restarted");
    assert_eq!(restarted.map(|line| &line["wait_ms"]), Some(&0.into()));
}

/// The spans in a file of traces so far.
fn spans(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    // The last line may be under way.
    let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let traces = lines.map(|line| serde_json::from_str::<Value>(line).expect("one object on each line"));
    traces
        .flat_map(|line| {
            line["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().cloned().unwrap_or_default()
        })
        .collect()
}

fn traced(keystore: Keystore, ratio: &str) -> (Hsm, PathBuf) {
    let mut hsm = Hsm::init(keystore, &[hsm::TENANT]);
    let file = hsm.folder().join("traces.jsonl");
    hsm.options =
        ["--traces", file.to_str().expect("UTF-8"), "--traces-ratio", ratio].map(str::to_owned).into();
    hsm.run();
    (hsm, file)
}

fn a_trace_holds_a_request_with_its_calls(keystore: Keystore) {
    let (hsm, file) = traced(keystore, "1");
    let alice = hsm.user("alice", &[Digest]);
    hsm.sign(&alice, digest(1), &alice.phone.code(hsm.now())).expect("signs");
    let root = until("the trace", || spans(&file).into_iter().find(|span| span["name"] == "sign"));
    assert_eq!((&root["kind"], root.get("parentSpanId")), (&2.into(), None));
    assert_eq!(root["traceId"].as_str().map(str::len), Some(32));
    let spans = spans(&file);
    let children: Vec<_> = spans.iter().filter(|span| span["parentSpanId"] == root["spanId"]).collect();
    let mut names: Vec<_> = children.iter().filter_map(|span| span["name"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["commit", "commit", "mac", "sign-digest"], "counted, compared, spent, signed");
    let time = |span: &Value, end: &str| {
        span[end].as_str().and_then(|nanos| nanos.parse::<u64>().ok()).expect("a time")
    };
    for child in children {
        assert_eq!((&child["traceId"], &child["kind"]), (&root["traceId"], &1.into()));
        assert!(time(child, "startTimeUnixNano") >= time(&root, "startTimeUnixNano"));
        let shared = child["attributes"]
            .as_array()
            .expect("attributes")
            .iter()
            .find(|one| one["key"] == "countersign.shared");
        assert_eq!(shared.map(|one| &one["value"]["boolValue"]), Some(&(child["name"] == "commit").into()));
    }
    let text = std::fs::read_to_string(&file).expect("the file");
    assert!(!text.contains("alice") && !text.contains(hsm::TENANT), "nothing of what was asked");
}

fn nothing_is_traced_at_ratio_0(keystore: Keystore) {
    let (mut hsm, file) = traced(keystore, "0");
    hsm.user("alice", &[Digest]);
    hsm.stop();
    assert_eq!(std::fs::read_to_string(&file).expect("the file is there"), "");
}

#[test]
fn alerts_are_well_formed_and_fire_when_they_should() {
    let folder = artefacts::workspace().join("docs/observability");
    for arguments in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]] {
        let ended = Command::new(artefacts::promtool()).args(arguments).current_dir(&folder).output();
        let ended = ended.expect("promtool can be started");
        let said = [ended.stdout, ended.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
        assert!(ended.status.success(), "{said:?}");
    }
}
