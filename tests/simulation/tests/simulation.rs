//! The simulation as part of the suite: a bounded number of seeds, and tests of the simulation itself.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use countersign_simulation::seeds::WITH_DEVICES;
use countersign_simulation::{breaks, checkers, damage, seeds};
use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::Path;

/// Enough for every fault and every refusal to occur.
const SEEDS: u64 = 1200;

/// The same of histories in which users have devices.
const DEVICE_SEEDS: u64 = 300;

/// What must occur within these, besides.
const MUST_OCCUR_TO_DEVICES: &[&str] = &[
    "an owner signs at the end",
    "answered: approved",
    "answered: carried-out",
    "answered: declined",
    "answered: enrolled-sealed",
    "answered: staged",
    "answered: view",
    "refused: account-frozen",
    "refused: approval-expired",
    "refused: approval-missing",
    "refused: intent-not-open",
    "refused: too-many-intents",
    "refused: unknown-intent",
    "refused: unknown-invitation",
    "refused: wrong-device-signature",
];

/// What must occur within these seeds, besides each kind of damage.
const MUST_OCCUR: &[&str] = &[
    "boot: nvram lost",
    "boot: other clock mode",
    "boot: other sealing key",
    "crash: killed",
    "crash: power cut",
    "crash: torn write",
    "crash: within a commit",
    "crash: within an append to the archive",
    "crash: while a region is read",
    "damage: bit flipped while running",
    "disk: archive appended",
    "disk: archive cut at start",
    "disk: cut at start",
    "disk: discard put off",
    "disk: segment discarded",
    "fault: archive write",
    "fault: clock jumped ahead",
    "fault: clock jumped back",
    "fault: commit done but said to have failed",
    "fault: flipped read",
    "fault: full disk, archive",
    "fault: full disk, commit",
    "fault: keystore",
    "fault: log write",
    "fault: lying sync of the archive",
    "fault: lying sync of the log",
    "fault: nvram write refused",
    "fault: rng",
    "fault: unreadable",
    "fault: wrong signature",
    "operator: the good disk was put back",
    "answered: account",
    "answered: ended",
    "answered: enrolled",
    "answered: key",
    "answered: keys",
    "answered: logged-in",
    "answered: signed",
    "refused: account-exists",
    "refused: account-over-budget",
    "refused: already-confirmed",
    "refused: approval-missing",
    "refused: clock-unsure",
    "refused: code-used",
    "refused: enrolment-expired",
    "refused: hsm-not-ready",
    "refused: internal-error",
    "refused: key-exists",
    "refused: keystore-failed",
    "refused: limit-exceeded",
    "refused: locked",
    "refused: malformed-code",
    "refused: malformed-request",
    "refused: mechanism-not-allowed",
    "refused: not-confirmed",
    "refused: request-id-reused",
    "refused: store-full",
    "refused: store-refused",
    "refused: store-unreadable",
    "refused: tenant-full",
    "refused: tenant-over-budget",
    "refused: try-later",
    "refused: unknown-account",
    "refused: unknown-key",
    "refused: unsupported-factor",
    "refused: wrong-api-key",
    "refused: wrong-code",
    "halted: store refused: a record does not open",
    "halted: store refused: it belongs to another HSM",
    "halted: store refused: it holds bytes that are not log entries",
    "halted: store refused: it is empty",
    "halted: store refused: it is not what NVRAM remembers",
    "halted: store refused: it is shorter than NVRAM remembers",
    "halted: store refused: it was changed while the HSM ran",
    "halted: store refused: it was written by another image",
    "halted: store refused: it was written by another version",
    "halted: store refused: it was written under another clock mode",
    "halted: store refused: its beginning is missing",
    "halted: store refused: its disk is full",
    "halted: store refused: the archive of audit events is shorter",
    "halted: store refused: the firmware could not read or write it",
    "halted: store refused: this HSM has never written a store",
];

#[test]
fn no_history_violates_an_invariant_and_every_fault_and_refusal_occurs() {
    let must_occur: Vec<&str> = MUST_OCCUR.iter().chain(damage::KINDS).copied().collect();
    assert_none_violates(0..SEEDS, &must_occur);
}

#[test]
fn no_history_of_devices_violates_an_invariant() {
    assert_none_violates(WITH_DEVICES..WITH_DEVICES + DEVICE_SEEDS, MUST_OCCUR_TO_DEVICES);
}

fn assert_none_violates(range: Range<u64>, must_occur: &[&str]) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let histories = range.end - range.start;
    let summary = match seeds::run_all(range, threads, |_| {}) {
        Ok(summary) => summary,
        Err((seed, failure)) => panic!(
            "violated: {}\n{}\n{}\nreplay: cargo xtask simulate --seed {seed}",
            failure.violation.invariant, failure.violation.seen, failure.tail
        ),
    };
    assert_eq!(summary.histories, histories);
    let occurred =
        |what: &str| summary.coverage.iter().any(|(name, count)| name.starts_with(what) && count > 0);
    let missing: Vec<_> = must_occur.iter().filter(|what| !occurred(what)).collect();
    assert!(missing.is_empty(), "these never occurred: {missing:#?}");
}

#[test]
fn the_same_seed_is_the_same_history() {
    for seed in [0, 1, 2, 3, 4, 5, WITH_DEVICES, WITH_DEVICES + 1] {
        let (one, other) = (seeds::run(seed).unwrap(), seeds::run(seed).unwrap());
        assert_eq!(one.hash, other.hash, "seed {seed}");
        assert_eq!(one.coverage, other.coverage, "seed {seed}");
    }
    assert_ne!(seeds::run(1).unwrap().hash, seeds::run(2).unwrap().hash);
}

#[test]
fn how_many_threads_there_are_changes_nothing() {
    let (one, two) = (seeds::run_all(0..12, 1, |_| {}).unwrap(), seeds::run_all(0..12, 3, |_| {}).unwrap());
    assert_eq!((one.hash, one.coverage), (two.hash, two.coverage));
}

#[test]
fn every_break_still_fits_the_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let mut names = BTreeSet::new();
    for broken in breaks::all() {
        assert!(names.insert(broken.name.clone()), "{} stands twice", broken.name);
        assert!(
            !broken.edit.is_empty() && !broken.found_by.is_empty() && broken.within > 0,
            "{}",
            broken.name
        );
        for edit in &broken.edit {
            let text = fs::read_to_string(root.join(&edit.file)).unwrap();
            let changed =
                countersign_edits::edited(&text, edit).unwrap_or_else(|why| panic!("{}: {why}", broken.name));
            assert_ne!(changed, text, "{}", broken.name);
        }
    }
}

#[test]
fn every_checker_finds_a_break() {
    let found: BTreeSet<String> = breaks::all().into_iter().flat_map(|broken| broken.found_by).collect();
    let idle: Vec<_> = checkers::INVARIANTS.iter().filter(|name| !found.contains(**name)).collect();
    // Broken in no way that a text edit could, so far.
    assert_eq!(idle, [&"every-request-is-answered-once"]);
}
