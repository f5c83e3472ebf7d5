//! `countersign policy`: what custodians write policies with.

use crate::place::{Ended, Place};
use std::fs;
use std::path::{Path, PathBuf};

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policy/samples").join(name)
}

/// A sample in a folder where it can be changed.
fn copy(place: &Place, name: &str) -> PathBuf {
    let folder = place.path("policy");
    fs::create_dir(&folder).unwrap();
    for file in ["policy.toml", "policy.cedar", "cases.toml"] {
        if sample(name).join(file).exists() {
            fs::copy(sample(name).join(file), folder.join(file)).unwrap();
        }
    }
    folder
}

fn run(place: &Place, arguments: &[&str], folder: &Path) -> Ended {
    place.run_json(&[&["policy"], arguments, &[folder.to_str().unwrap()]].concat())
}

#[test]
fn check_says_what_a_policy_has_and_what_is_wrong_with_it() {
    let place = Place::new();
    let folder = copy(&place, "retail-exchange-hot-wallet");
    let ended = run(&place, &["check"], &folder);
    assert_eq!(ended.code, 0, "{}", ended.stdout);
    assert!(!ended.json()["rules"].as_array().unwrap().is_empty());
    fs::write(folder.join("policy.cedar"), "permit (principal, action, resource) when { nonsense };")
        .unwrap();
    let ended = run(&place, &["check"], &folder);
    assert_eq!((ended.code, ended.json()["error"].as_str()), (2, Some("usage")));
}

#[test]
fn fmt_check_changes_nothing_and_fails_where_there_is_something_to_format() {
    let place = Place::new();
    let folder = copy(&place, "retail-exchange-hot-wallet");
    assert_eq!(run(&place, &["fmt", "--check"], &folder).json()["changed"], false);
    let file = folder.join("policy.cedar");
    let crooked = format!("\n\n   {}", fs::read_to_string(&file).unwrap().replace(" when", "   when"));
    fs::write(&file, &crooked).unwrap();
    let ended = run(&place, &["fmt", "--check"], &folder);
    assert_eq!((ended.code, ended.json()["error"].as_str()), (2, Some("usage")));
    assert_eq!(fs::read_to_string(&file).unwrap(), crooked);
    assert_eq!(run(&place, &["fmt"], &folder).json()["changed"], true);
    assert_eq!(run(&place, &["fmt", "--check"], &folder).code, 0);
}

#[test]
fn test_ends_with_3_where_a_case_is_decided_otherwise() {
    let place = Place::new();
    let folder = copy(&place, "retail-exchange-hot-wallet");
    let ended = run(&place, &["test"], &folder);
    assert_eq!((ended.code, &ended.json()["failed"]), (0, &0.into()), "{}", ended.stdout);
    let cases = fs::read_to_string(folder.join("cases.toml")).unwrap();
    fs::write(folder.join("cases.toml"), cases.replacen("\"0.5 eth\"", "\"50 eth\"", 1)).unwrap();
    let ended = run(&place, &["test"], &folder);
    assert_eq!((ended.code, &ended.json()["failed"]), (3, &1.into()), "{}", ended.stdout);
}

/// The transaction of EIP-155's example, with 2 ether in the place of 1.
const TWO_ETHER: &str =
    "0xec098504a817c800825208943535353535353535353535353535353535353535881bc16d674ec8000080018080";

#[test]
fn explain_depends_on_what_the_user_approves_with() {
    let place = Place::new();
    let folder = copy(&place, "retail-exchange-hot-wallet");
    fs::write(place.path("transfer.hex"), TWO_ETHER).unwrap();
    for (kind, permitted) in [("code", false), ("sealed-code", false), ("passkey", true)] {
        let ended = run(&place, &["explain", "--ethereum", "transfer.hex", "--approval", kind], &folder);
        assert_eq!(
            (ended.code, &ended.json()["permitted"]),
            (0, &permitted.into()),
            "{kind}: {}",
            ended.stdout
        );
    }
    let ended = run(&place, &["explain", "--ethereum", "transfer.hex", "--approval", "shouting"], &folder);
    assert_eq!((ended.code, ended.json()["error"].as_str()), (2, Some("usage")));
}
