//! The audit log of a real HSM: exported, verified by others, through restarts, cleaning and kills; and what the command line
//! says to whoever changes it.

use countersign_client::log::tlog::note::KeyType;
use countersign_client::log::tlog::tile::{Content, Tile};
use countersign_client::log::tlog::{Note, VerifierKey};
use countersign_tests::backend::{digest, reason, sign_act};
use countersign_tests::{Hsm, Keystore, User, cli, on_both_keystores, on_embedded};
use countersign_wire::client::Act;
use countersign_wire::client::Mechanism::Digest;
use countersign_wire::log::{LogQuery, LogStart};
use countersign_wire::reason::Reason;
use data_encoding::BASE64;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

on_both_keystores!(i13_an_exported_log_verifies_with_others_and_goes_on_through_restarts_kills_and_cleaning);
on_embedded!(
    i13_whatever_is_done_to_an_export_is_named,
    i13_the_key_that_is_attested_is_the_one_that_signs_checkpoints,
    i13_an_export_under_another_key_than_the_attested_one_is_refused,
    i9_a_tenants_log_names_no_other_tenant_and_hashed_names_name_nobody,
    proofs_and_cosignatures_are_what_ordinary_tooling_takes,
    the_newest_entries_are_shown_and_the_room_is_told,
    i7_no_secret_and_no_code_stands_in_a_log,
);

fn log_folder(hsm: &Hsm) -> PathBuf {
    hsm.folder().join("audit")
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a test's folder has a plain name")
}

fn export(hsm: &Hsm) -> Value {
    cli::run(hsm, &["log", "export", "--out", path(&log_folder(hsm))]).done()
}

/// Verifies with the key of the first export, kept apart.
fn verify(hsm: &Hsm, vkey: &str) -> cli::Ended {
    let seen = hsm.folder().join("seen");
    cli::run(hsm, &["log", "verify", path(&log_folder(hsm)), "--vkey", vkey, "--seen", path(&seen)])
}

/// RFC 6962 section 2.1, word by word, and nothing of the code under test.
fn root(leaves: &[[u8; 32]]) -> [u8; 32] {
    match leaves {
        [] => Sha256::digest([]).into(),
        [leaf] => *leaf,
        more => {
            let (left, right) = more.split_at(more.len().next_power_of_two() / 2);
            Sha256::digest([&[1][..], &root(left), &root(right)].concat()).into()
        }
    }
}

fn leaf(entry: &[u8]) -> [u8; 32] {
    Sha256::digest([&[0][..], entry].concat()).into()
}

/// RFC 6962 section 2.1.1, word by word.
fn audit_path(index: usize, leaves: &[[u8; 32]]) -> Vec<[u8; 32]> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
    let (mut path, sibling) = if index < left.len() {
        (audit_path(index, left), root(right))
    } else {
        (audit_path(index - left.len(), right), root(left))
    };
    path.push(sibling);
    path
}

/// The entries of an export, read as the specifications say: the note's signature verified, the root worked out from the
/// bundles, the leaf tiles compared. (`host-shim/client` verifies exports with `signed_note` and `tlog_tiles` as well.)
fn verified_by_others(folder: &Path, vkey: &str) -> Vec<Value> {
    let (entries, leaves) = bundles(folder);
    let note = fs::read_to_string(folder.join("checkpoint")).expect("there is a checkpoint");
    let key = VerifierKey::parse(vkey).expect("a key");
    assert!(Note::parse(&note).expect("it is a note").verify(&key).is_some(), "the log's key signed it");
    let mut lines = note.lines();
    assert_eq!(lines.next(), Some(key.name()));
    assert_eq!(lines.next(), Some(entries.len().to_string().as_str()));
    assert_eq!(lines.next(), Some(BASE64.encode(&root(&leaves)).as_str()));
    assert!(lines.next().expect("an extension").starts_with("countersign-store-head "));
    for (tile, hashes) in Tile::of_level(Content::Hashes(0), 0, leaves.len() as u64).zip(leaves.chunks(256)) {
        assert_eq!(fs::read(folder.join(tile.path())).expect("every tile is there"), hashes.as_flattened());
    }
    entries.iter().map(|entry| serde_json::from_slice(entry).expect("an entry is JSON")).collect()
}

/// Every entry of an export, and its leaf.
fn bundles(folder: &Path) -> (Vec<Vec<u8>>, Vec<[u8; 32]>) {
    let note = fs::read_to_string(folder.join("checkpoint")).expect("there is a checkpoint");
    let size: u64 = note.lines().nth(1).and_then(|size| size.parse().ok()).expect("a size");
    let mut entries = Vec::new();
    for tile in Tile::of_level(Content::Entries, 0, size) {
        let bytes = fs::read(folder.join(tile.path())).expect("every bundle is there");
        let mut rest = bytes.as_slice();
        while let Some((length, more)) = rest.split_first_chunk::<2>() {
            let (entry, more) = more.split_at(u16::from_be_bytes(*length).into());
            entries.push(entry.to_vec());
            rest = more;
        }
    }
    let leaves = entries.iter().map(|entry| leaf(entry)).collect();
    (entries, leaves)
}

fn count(entries: &[Value], what: &str) -> usize {
    entries.iter().filter(|entry| entry["what"] == what).count()
}

/// Refusals grow the store and cost little.
fn refuse(hsm: &Hsm, alice: &User, times: usize) {
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..times / 8 {
                    let act = sign_act(&alice.key.label, digest(1), Some("12 456"));
                    assert_eq!(reason(hsm.ask(act)), Reason::MalformedCode);
                }
            });
        }
    });
}

fn i13_an_exported_log_verifies_with_others_and_goes_on_through_restarts_kills_and_cleaning(
    keystore: Keystore,
) {
    let mut hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    hsm.sign(&alice, digest(1), &alice.phone.code(hsm.advance(30))).expect("a right code signs");
    assert_eq!(reason(hsm.sign(&alice, digest(1), &alice.phone.wrong_code(hsm.now()))), Reason::WrongCode);
    let first = export(&hsm);
    let vkey = first["vkey"].as_str().expect("a key").to_owned();
    let entries = verified_by_others(&log_folder(&hsm), &vkey);
    assert_eq!(entries[0]["what"], "log-opened");
    assert_eq!((count(&entries, "granted"), count(&entries, "refused")), (1, 1));
    verify(&hsm, &vkey).done();
    let archive = hsm.store_folder().join("archive");
    let archived = || fs::metadata(&archive).expect("it is there").len();
    while archived() == 0 {
        refuse(&hsm, &alice, 800);
    }
    let grown = export(&hsm);
    let entries = verified_by_others(&log_folder(&hsm), &vkey);
    assert_eq!(grown["size"], entries.len());
    assert_eq!(verify(&hsm, &vkey).done()["seen_before"], first["size"]);
    hsm.kill_and_run();
    hsm.sign(&alice, digest(2), &alice.phone.code(hsm.advance(30))).expect("a right code signs");
    hsm.stop();
    hsm.run();
    let last = export(&hsm);
    let after = verified_by_others(&log_folder(&hsm), &vkey);
    assert_eq!(after[..entries.len()], entries, "what was there stays");
    assert_eq!((count(&after, "booted"), count(&after, "granted")), (3, 2));
    assert_eq!(verify(&hsm, &vkey).done()["size"], last["size"]);
    // From the very beginning, into another folder: the same.
    let other = hsm.folder().join("again");
    let again = cli::run(&hsm, &["log", "export", "--out", path(&other), "--vkey", &vkey]).done();
    assert_eq!(again["root"], last["root"]);
    assert_eq!(verified_by_others(&other, &vkey), after);
}

fn i13_whatever_is_done_to_an_export_is_named(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    refuse(&hsm, &alice, 320);
    let exported = export(&hsm);
    let vkey = exported["vkey"].as_str().expect("a key").to_owned();
    let folder = log_folder(&hsm);
    let bundle = folder.join("tile/entries/000");
    let good = fs::read(&bundle).expect("it has more than 256 entries");
    let named = |word: &str| {
        let ended = verify(&hsm, &vkey);
        assert_eq!((ended.code, &ended.json["refused"]), (3, &Value::from(word)), "{}", ended.json);
        assert_eq!(ended.json["by"], "verifier");
    };
    let mut edited = good.clone();
    edited[10] ^= 1;
    fs::write(&bundle, &edited).expect("the folder is ours");
    named("edited");
    let first = 2 + usize::from(u16::from_be_bytes([good[0], good[1]]));
    fs::write(&bundle, &good[first..]).expect("the folder is ours");
    named("deleted");
    let second = first + 2 + usize::from(u16::from_be_bytes([good[first], good[first + 1]]));
    let swapped = [&good[first..second], &good[..first], &good[second..]].concat();
    fs::write(&bundle, swapped).expect("the folder is ours");
    named("reordered");
    fs::write(&bundle, &good).expect("the folder is ours");
    let size = exported["size"].as_u64().expect("a size");
    let last = Tile::of_level(Content::Entries, size - 1, size).next().expect("there is one");
    let last = folder.join(last.path());
    let kept = fs::read(&last).expect("it is there");
    fs::remove_file(&last).expect("the folder is ours");
    named("truncated");
    fs::write(&last, kept).expect("the folder is ours");
    let checkpoint = folder.join("checkpoint");
    let note = fs::read_to_string(&checkpoint).expect("it is there");
    fs::write(&checkpoint, note.replace(&format!("\n{size}\n"), &format!("\n{}\n", size - 1)))
        .expect("the folder is ours");
    named("wrong-signature");
    fs::write(&checkpoint, &note).expect("the folder is ours");
    verify(&hsm, &vkey).done();
    // An older copy of the whole export.
    let older = hsm.folder().join("older");
    fs::rename(&folder, &older).expect("the folder is ours");
    refuse(&hsm, &alice, 8);
    export(&hsm);
    verify(&hsm, &vkey).done();
    fs::remove_dir_all(&folder).expect("the folder is ours");
    fs::rename(&older, &folder).expect("the folder is ours");
    named("rolled-back");
}

/// What every HSM of these tests is: for development, with a manual clock, and without a policy.
const ALLOWED: [&str; 6] =
    ["--allow", "development-image", "--allow", "manual-clock", "--allow", "no-policy"];

/// An attestation of this HSM, and the options that take the log's key from it.
fn attest(hsm: &Hsm) -> Vec<String> {
    let file = hsm.folder().join("hsm.eat");
    cli::run(hsm, &["attest", "--out", path(&file)]).done();
    let options = ["--attestation", path(&file), "--root", &hsm.initialised.root_fingerprint];
    options.into_iter().chain(ALLOWED).map(str::to_owned).collect()
}

/// Exports from this HSM with more options.
fn export_with(hsm: &Hsm, options: &[String]) -> cli::Ended {
    let folder = log_folder(hsm);
    let options = options.iter().map(String::as_str);
    let arguments: Vec<_> = ["log", "export", "--out", path(&folder)].into_iter().chain(options).collect();
    cli::run(hsm, &arguments)
}

#[track_caller]
fn refused(ended: &cli::Ended, word: &str) {
    assert_eq!((ended.code, &ended.json["refused"]), (3, &Value::from(word)), "{}", ended.stdout);
    assert_eq!(ended.json["by"], "verifier");
}

fn i13_the_key_that_is_attested_is_the_one_that_signs_checkpoints(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let attested = attest(&hsm);
    let root = &hsm.initialised.root_fingerprint;
    let shown = ["attest", "verify", "--root", root, &attested[1]];
    let shown = cli::run(&hsm, &[shown.as_slice(), &ALLOWED].concat()).done();
    let vkey = shown["log_vkey"].as_str().expect("a key").to_owned();
    let key = VerifierKey::parse(&vkey).expect("tooling takes it");
    assert_eq!(key.name(), format!("countersign/{}/default", hsm.initialised.hsm_id));
    assert_eq!(shown["log_key"], data_encoding::HEXLOWER.encode(&key.public_key()));
    // What that key signed is what the HSM serves: told by a reader that shares no code with the export.
    let exported = export_with(&hsm, &attested).done();
    assert_eq!(
        (&exported["vkey"], &exported["key_given"]),
        (&Value::from(vkey.as_str()), &Value::from(true))
    );
    verified_by_others(&log_folder(&hsm), &vkey);
    let folder = log_folder(&hsm);
    let verify: Vec<_> =
        ["log", "verify", path(&folder)].into_iter().chain(attested.iter().map(String::as_str)).collect();
    assert_eq!(cli::run(&hsm, &verify).done()["key_given"], true);
    // Without it, it is not said that anything ties the key to the HSM.
    assert_eq!(export(&hsm)["key_given"], false);
    // An HSM for tests is taken by name alone, and a root that is not its own never.
    let strict = &attested[..4];
    refused(&export_with(&hsm, strict), "development-image");
    let mut stranger = attested.clone();
    stranger[3] = "00".repeat(32);
    refused(&export_with(&hsm, &stranger), "wrong-root");
}

fn i13_an_export_under_another_key_than_the_attested_one_is_refused(keystore: Keystore) {
    let (hsm, other) = (Hsm::start(keystore), Hsm::start(keystore));
    let (attested, others) = (attest(&hsm), attest(&other));
    // The key that is served: whoever answers is another HSM than the attested one.
    refused(&export_with(&hsm, &others), "other-key");
    assert!(!log_folder(&hsm).join("checkpoint").exists() && !log_folder(&hsm).join("tile").exists());
    // The key that is kept: the folder was begun with another one.
    export_with(&hsm, &attested).done();
    let (ours, theirs) = (log_folder(&hsm), log_folder(&other));
    export_with(&other, &others).done();
    fs::remove_dir_all(&ours).expect("the folder is ours");
    fs::rename(&theirs, &ours).expect("the folder is ours");
    refused(&export_with(&hsm, &attested), "other-key");
    // And a log that another HSM signed does not verify.
    let verify: Vec<_> =
        ["log", "verify", path(&ours)].into_iter().chain(attested.iter().map(String::as_str)).collect();
    refused(&cli::run(&hsm, &verify), "other-log");
}

fn i9_a_tenants_log_names_no_other_tenant_and_hashed_names_name_nobody(keystore: Keystore) {
    let mut hsm = Hsm::init(keystore, &["default", "other"]);
    hsm.set_tenant("default", &["--log-names", "hashed"]);
    hsm.run();
    let (ours, theirs) = (hsm.api_key().clone(), hsm.api_key_of("other").clone());
    let (alice, bobby) = (hsm.user_of(&ours, "alice", &[Digest]), hsm.user_of(&theirs, "bobby", &[Digest]));
    export(&hsm);
    let text = fs::read_dir(log_folder(&hsm).join("tile/entries/000.p")).expect("it is short");
    let text: Vec<u8> = text.flat_map(|file| fs::read(file.expect("listed").path()).expect("read")).collect();
    let text = String::from_utf8_lossy(&text);
    assert!(!text.contains("alice") && !text.contains("bobby") && !text.contains("other"), "{text}");
    let shown = hsm.show(&alice).expect("shown").log_name;
    assert!(shown.starts_with("hmac:") && text.contains(&shown));
    assert_eq!(hsm.show(&bobby).expect("shown").log_name, "bobby", "the other tenant chose otherwise");
}

fn proofs_and_cosignatures_are_what_ordinary_tooling_takes(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let before = export(&hsm)["size"].as_u64().expect("a size");
    refuse(&hsm, &alice, 16);
    let exported = export(&hsm);
    let (folder, vkey) = (log_folder(&hsm), exported["vkey"].as_str().expect("a key").to_owned());
    let (key, proof) = (hsm.folder().join("witness.key"), hsm.folder().join("entry.tlog-proof"));
    let made =
        cli::run(&hsm, &["log", "witness-key", "--name", "witness.example/w", "--out", path(&key)]).done();
    let witness = made["vkey"].as_str().expect("a key").to_owned();
    let missing = cli::run(&hsm, &["log", "verify", path(&folder), "--vkey", &vkey, "--witness", &witness]);
    assert_eq!(missing.json["refused"], "witness-missing");
    let cosign = ["log", "cosign", path(&folder), "--key", path(&key), "--vkey", &vkey];
    assert_eq!(cli::run(&hsm, &cosign).done()["before"], 0);
    let verified =
        cli::run(&hsm, &["log", "verify", path(&folder), "--vkey", &vkey, "--witness", &witness]).done();
    assert_eq!(verified["witnesses"][0]["name"], "witness.example/w");
    let proved = cli::run(
        &hsm,
        &["log", "prove", path(&folder), "--vkey", &vkey, "--index", "3", "--out", path(&proof)],
    )
    .done();
    assert_proves(&proof, &folder, 3, proved["entry"].as_str().expect("the entry").as_bytes());
    let from = before.to_string();
    let grown = cli::run(&hsm, &["log", "prove", path(&folder), "--vkey", &vkey, "--from", &from]).done();
    assert!(grown["proof"].as_str().expect("a proof").starts_with(&format!("old {before}\n")));
    let none = cli::run(&hsm, &["log", "prove", path(&folder), "--vkey", &vkey, "--index", "99999"]);
    assert_eq!((none.code, &none.json["refused"]), (3, &Value::from("no-such-entry")));
    assert_eq!(VerifierKey::parse(&witness).expect("a key").kind(), KeyType::Witness);
}

/// Reads a proof as c2sp.org/tlog-proof says, and compares it with what RFC 6962 says that it is.
fn assert_proves(file: &Path, folder: &Path, index: usize, entry: &[u8]) {
    let text = fs::read_to_string(file).expect("it was written");
    let (head, note) = text.split_once("\n\n").expect("a proof, then a checkpoint");
    let mut lines = head.lines();
    assert_eq!(lines.next(), Some("c2sp.org/tlog-proof@v1"));
    assert_eq!(lines.next(), Some(format!("index {index}").as_str()));
    let (entries, leaves) = bundles(folder);
    let path: Vec<String> = audit_path(index, &leaves).iter().map(|hash| BASE64.encode(hash)).collect();
    assert!(lines.eq(path.iter().map(String::as_str)));
    assert_eq!(entries[index], entry);
    assert_eq!(note, fs::read_to_string(folder.join("checkpoint")).expect("it is there"));
}

fn the_newest_entries_are_shown_and_the_room_is_told(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    refuse(&hsm, &alice, 8);
    let tail = cli::run(&hsm, &["log", "tail", "-n", "3"]).done();
    let entries = tail["entries"].as_array().expect("entries");
    let size = export(&hsm)["size"].as_u64().expect("a size");
    assert_eq!(entries.len(), 3);
    assert_eq!(entries[2]["index"], size - 1);
    assert!(entries.iter().all(|entry| entry["entry"]["reason"] == "malformed-code"));
    let shown = cli::run(&hsm, &["status"]).done();
    assert!(shown["store_room_bytes"].as_u64().expect("it is known") > 0);
    assert_eq!(shown["refused_for_room"], 0);
    let query = LogQuery { from: LogStart::After([7; 48].into()), entries_max: 1 };
    assert_eq!(reason(hsm.ask(Act::ReadLog(query))), Reason::MalformedRequest, "an invented place");
}

fn i7_no_secret_and_no_code_stands_in_a_log(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let codes: Vec<String> = (0..4)
        .map(|number| {
            let code = alice.phone.code(hsm.advance(30));
            hsm.sign(&alice, digest(number), &code).expect("a right code signs");
            code
        })
        .collect();
    let wrong = alice.phone.wrong_code(hsm.now());
    assert_eq!(reason(hsm.sign(&alice, digest(9), &wrong)), Reason::WrongCode);
    let vkey = export(&hsm)["vkey"].as_str().expect("a key").to_owned();
    for entry in verified_by_others(&log_folder(&hsm), &vkey) {
        for (field, value) in entry.as_object().expect("an object") {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            for code in codes.iter().chain([&wrong]) {
                assert_ne!(&text, code, "{field}");
            }
            assert!(!text.contains("otpauth") && !text.contains(hsm.api_key().expose()), "{field}");
        }
    }
}
