//! The saved corpora as tests: every file, and every file with a few bytes changed, through the check of its target.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use countersign_fuzz_checks::{TARGETS, Target, corpus, name_of, seeds};
use std::collections::BTreeSet;
use std::path::Path;

/// The largest file that is kept, in bytes.
const FILE_MAX_BYTES: usize = 4096;

/// The most that all corpora come to, in bytes.
const CORPORA_MAX_BYTES: usize = 600 * 1024;

/// Files by name.
fn files(target: &Target) -> Vec<(String, Vec<u8>)> {
    let entries =
        std::fs::read_dir(corpus(target.name)).unwrap_or_else(|_| panic!("{} has a corpus", target.name));
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

/// On a thread with that name, so that a breach says which file it was.
fn check(target: Target, name: &str, bytes: Vec<u8>) -> bool {
    let named = std::thread::Builder::new().name(format!("{}/{name}", target.name)).stack_size(8 << 20);
    let hex = data_encoding::HEXLOWER.encode(&bytes);
    let thread = named.spawn(move || (target.check)(&bytes)).unwrap();
    thread.join().unwrap_or_else(|_| panic!("{} breaches {} with the bytes {hex}", name, target.name))
}

#[test]
fn every_saved_input_holds_and_each_corpus_has_what_is_taken_and_what_is_refused() {
    for target in TARGETS {
        let results: Vec<_> =
            files(target).into_iter().map(|(name, bytes)| check(*target, &name, bytes)).collect();
        let taken = results.iter().filter(|taken| **taken).count();
        println!("{}: {taken} of {} are taken", target.name, results.len());
        assert!(taken > 0, "{}: nothing is taken; were the seeds written anew?", target.name);
        // A message is anything that is not too long, and any bytes tell a history.
        assert!(
            taken < results.len() || ["ethereum_message", "plugin_requests"].contains(&target.name),
            "{}: nothing is refused",
            target.name
        );
    }
}

#[test]
fn a_saved_input_with_a_few_bytes_changed_still_holds() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for target in TARGETS {
        for (name, bytes) in files(target) {
            check(*target, &name, changed(bytes, &mut random));
        }
    }
}

fn changed(mut bytes: Vec<u8>, random: &mut fastrand::Rng) -> Vec<u8> {
    for _ in 0..random.usize(1..4) {
        let at = random.usize(..=bytes.len());
        match random.u8(..3) {
            0 if at < bytes.len() => bytes[at] = random.u8(..),
            1 => bytes.truncate(at),
            _ => bytes.insert(at, random.u8(..)),
        }
    }
    bytes
}

#[test]
fn the_seeds_are_taken() {
    for target in TARGETS {
        for bytes in seeds::of(target.name) {
            assert!(check(*target, "a seed", bytes), "{}", target.name);
        }
    }
}

#[test]
fn the_corpora_are_small_and_named_by_their_content() {
    let mut total = 0;
    for target in TARGETS {
        for (name, bytes) in files(target) {
            assert_eq!(name, name_of(&bytes), "{}", target.name);
            assert!(bytes.len() <= FILE_MAX_BYTES, "{}/{name} has {} bytes", target.name, bytes.len());
            total += bytes.len();
        }
    }
    assert!(total <= CORPORA_MAX_BYTES, "{total} bytes");
}

#[test]
fn every_target_has_its_program_and_its_corpus_and_nothing_else_has() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let names = |part: &str| -> BTreeSet<String> {
        let entries = std::fs::read_dir(folder.join(part)).unwrap();
        entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    let targets: BTreeSet<_> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(names("targets"), targets);
    assert_eq!(names("corpus"), targets);
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    for name in &targets {
        let program = format!("name = \"{name}\"\npath = \"targets/{name}.rs\"\n");
        assert!(manifest.contains(&program), "{name} has a program in tests/fuzz/Cargo.toml");
    }
}
