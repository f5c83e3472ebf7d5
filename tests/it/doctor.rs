//! `countersign doctor` on installations that are as they should be, and on ones that are not.

use countersign_tests::cli::{Ended, command, run, run_command};
use countersign_tests::hsm::toml_string;
use countersign_tests::{Hsm, Keystore, artefacts, on_embedded};
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

on_embedded!(
    an_hsm_for_development_is_healthy_with_warnings,
    warnings_are_refused_where_it_is_strict,
    an_hsm_that_does_not_run_has_exit_code_4,
    another_root_is_a_problem,
    keys_that_lie_open_are_found_on_the_hsms_host,
    a_configuration_that_is_missing_or_broken_is_what_it_reports,
    an_api_key_that_is_not_taken_is_a_problem,
    another_image_than_the_one_that_runs_is_noticed,
    no_secret_is_in_what_it_says,
);

/// What came of one check.
#[track_caller]
fn outcome<'a>(report: &'a Value, check: &str) -> &'a str {
    let checks = report["checks"].as_array().expect("a list of checks");
    let found = checks.iter().find(|found| found["check"] == check);
    let found = found.unwrap_or_else(|| panic!("{check} is always there: {report}"));
    let outcome = found["outcome"].as_str().expect("a word");
    assert_eq!(found["mend"].is_string(), matches!(outcome, "warning" | "problem"), "{found}");
    outcome
}

#[track_caller]
fn assert_outcomes(report: &Value, expected: &[(&str, &str)]) {
    for (check, word) in expected {
        assert_eq!(outcome(report, check), *word, "{check} in {report:#}");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("tests have plain paths")
}

fn an_hsm_for_development_is_healthy_with_warnings(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let (home, module, image) = (hsm.home(), artefacts::module(), artefacts::image());
    let report =
        run(&hsm, &["doctor", "--home", text(&home), "--module", text(&module), "--image", text(&image)])
            .done();
    assert_eq!(
        (&report["healthy"], &report["problems"]),
        (&Value::from(true), &Value::from(0)),
        "{report:#}"
    );
    assert_outcomes(
        &report,
        &[
            ("config-file", "ok"),
            ("config-safe", "ok"),
            ("api-key", "ok"),
            ("socket", "ok"),
            ("hsm-answers", "ok"),
            ("api-key-accepted", "ok"),
            ("hsm-identity", "skipped"),
            ("versions", "ok"),
            ("image-channel", "warning"),
            ("sandbox", "ok"),
            ("policy", "warning"),
            ("clock-sure", "ok"),
            ("clock-mode", "warning"),
            ("clock-agrees", "skipped"),
            ("pkcs11-module", "ok"),
            ("image-file", "ok"),
            ("home", "ok"),
            ("home-private", "ok"),
            ("user-namespaces", "ok"),
            ("sandbox-layers", "ok"),
        ],
    );
}

fn warnings_are_refused_where_it_is_strict(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let ended = run(&hsm, &["doctor", "--strict"]);
    assert_eq!((ended.code, &ended.json["healthy"], &ended.json["problems"]), (3, &false.into(), &0.into()));
}

fn an_hsm_that_does_not_run_has_exit_code_4(keystore: Keystore) {
    let mut hsm = Hsm::start(keystore);
    hsm.stop();
    let ended = run(&hsm, &["doctor"]);
    assert_eq!(ended.code, 4, "{}", ended.stdout);
    assert_outcomes(
        &ended.json,
        &[("socket", "problem"), ("hsm-answers", "problem"), ("clock-sure", "skipped"), ("api-key", "ok")],
    );
}

fn another_root_is_a_problem(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let right = run(&hsm, &["doctor", "--root", &hsm.initialised.root_fingerprint]).done();
    assert_eq!(outcome(&right, "hsm-identity"), "ok");
    let wrong = run(&hsm, &["doctor", "--root", &"ab".repeat(32)]);
    assert_eq!((wrong.code, outcome(&wrong.json, "hsm-identity")), (3, "problem"));
}

fn keys_that_lie_open_are_found_on_the_hsms_host(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let home = hsm.home();
    fs::set_permissions(home.join("keystore"), Permissions::from_mode(0o755)).expect("modes can be changed");
    let ended = run(&hsm, &["doctor", "--home", text(&home)]);
    assert_eq!((ended.code, outcome(&ended.json, "home-private")), (3, "problem"));
    let elsewhere = run(&hsm, &["doctor", "--home", text(hsm.folder())]);
    assert_eq!((elsewhere.code, outcome(&elsewhere.json, "home")), (3, "problem"));
}

/// What `doctor` says under another configuration.
fn under(hsm: &Hsm, config: &Path) -> Ended {
    run_command(command(hsm).env("COUNTERSIGN_CONFIG", config).args(["doctor", "--json"]), None)
}

fn a_configuration_that_is_missing_or_broken_is_what_it_reports(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let config = hsm.folder().join("other.toml");
    for broken in [None, Some("nonsense"), Some("socket = \"/x\"\nunknown = 1")] {
        if let Some(text) = broken {
            fs::write(&config, text).expect("a file can be written");
        }
        let ended = under(&hsm, &config);
        assert_eq!(ended.code, 3, "{broken:?}");
        assert_outcomes(&ended.json, &[("config-file", "problem"), ("hsm-answers", "skipped")]);
    }
    assert_eq!(run_command(command(&hsm).args(["--json", "doctor", "--nonsense"]), None).code, 2);
}

fn an_api_key_that_is_not_taken_is_a_problem(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let (config, key) = (hsm.folder().join("other.toml"), hsm.folder().join("other-key"));
    fs::write(&key, format!("cs1_{}_default", "ab".repeat(32))).expect("a file can be written");
    let lines = [("socket", hsm.ready().socket.clone()), ("api_key_file", key.clone())]
        .map(|(field, path)| format!("{field} = {}\n", toml_string(&path)));
    fs::write(&config, lines.concat()).expect("a file can be written");
    for (mode, check) in [(0o600, "api-key-accepted"), (0o640, "api-key")] {
        fs::set_permissions(&key, Permissions::from_mode(mode)).expect("modes can be changed");
        let ended = under(&hsm, &config);
        assert_eq!((ended.code, outcome(&ended.json, check)), (3, "problem"), "{mode:o}");
    }
}

fn another_image_than_the_one_that_runs_is_noticed(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let other = artefacts::hostile_image();
    let report = run(&hsm, &["doctor", "--image", text(&other)]).done();
    assert_eq!(outcome(&report, "image-file"), "warning");
    let none = run(&hsm, &["doctor", "--image", text(&artefacts::cli())]);
    assert_eq!((none.code, outcome(&none.json, "image-file")), (3, "problem"));
}

fn no_secret_is_in_what_it_says(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let home = hsm.home();
    let key = hsm.api_key().expose().to_owned();
    let secret = key.split('_').nth(1).expect("an API key has three parts");
    for options in [&["doctor", "--home", text(&home)][..], &["doctor", "--json", "--home", text(&home)]] {
        let output = command(&hsm).args(options).output().expect("it runs");
        let said = [output.stdout, output.stderr].concat();
        assert!(!String::from_utf8_lossy(&said).contains(secret));
    }
}
