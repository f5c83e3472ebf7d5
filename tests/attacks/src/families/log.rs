//! What was done leaves a trace, and the trace stays.

use crate::attack::{Attack, Family, On, Tries};
use countersign_tests::backend::digest;
use countersign_tests::{Hsm, Keystore, cli};
use countersign_wire::client::Mechanism::Digest;
use std::fs;
use std::path::Path;

pub(crate) const FAMILY: Family = Family {
    name: "log",
    title: "The attacker covers his traces in the audit log",
    invariants: &["I13"],
    attacks: &[
        Attack {
            name: "guess-unseen",
            had: "nothing",
            does: "guesses, and looks whether the log's size stayed as it was",
            guards: &["refusals-recorded"],
            faults: &[],
            on: On::Both,
            play: guess_unseen,
        },
        Attack {
            name: "rewrite-an-export",
            had: "the auditor's folder, but for the checkpoint that he saw",
            does: "changes entries, takes the last one out, puts yesterday's export back",
            guards: &["log-root"],
            faults: &[],
            on: On::Embedded,
            play: rewrite_an_export,
        },
    ],
};

fn path(path: &Path) -> &str {
    path.to_str().expect("a plain name")
}

fn size(hsm: &Hsm) -> u64 {
    let exported = cli::run(hsm, &["log", "export", "--out", path(&hsm.folder().join("audit"))]).done();
    exported["size"].as_u64().expect("a size")
}

fn guess_unseen(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    for number in 1..=3 {
        let before = size(&hsm);
        let refusal =
            hsm.sign(&alice, digest(number), &alice.phone.wrong_code(hsm.now())).expect_err("a wrong code");
        tries.refused(refusal.reason.word());
        tries.expect("a guess that nobody sees", "the log grew", size(&hsm) >= before + 2);
    }
}

fn rewrite_an_export(keystore: Keystore, tries: &mut Tries) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let (folder, seen) = (hsm.folder().join("audit"), hsm.folder().join("seen"));
    let export = || cli::run(&hsm, &["log", "export", "--out", path(&folder)]).done();
    let vkey = export()["vkey"].as_str().expect("a verifier key").to_owned();
    let verify = || cli::run(&hsm, &["log", "verify", path(&folder), "--vkey", &vkey, "--seen", path(&seen)]);
    let yesterday = contents(&folder);
    hsm.sign(&alice, digest(1), &alice.phone.code(hsm.now())).expect("her code signs");
    export();
    verify().done();
    let today = contents(&folder);
    let mut check = |what: &str| {
        let ended = verify();
        let word = ended.json["refused"].as_str().map(str::to_owned);
        match word {
            Some(word) if ended.code == 3 => tries.refused(&word),
            _ => tries.got(what),
        }
    };
    put(&folder, &yesterday);
    check("yesterday's export, taken for today's");
    put(&folder, &today);
    let (name, entries) = today
        .iter()
        .filter(|(name, _)| name.contains("entries"))
        .max_by_key(|(_, entries)| entries.len())
        .expect("a file of entries");
    for at in [10, entries.len() / 2, entries.len() - 5] {
        let mut changed = entries.clone();
        changed[at] ^= 1;
        fs::write(folder.join(name), changed).expect("a file can be written");
        check("an entry, changed");
    }
    fs::write(folder.join(name), &entries[..entries.len() - 40]).expect("a file can be written");
    check("the last entry, taken out");
    put(&folder, &today);
    verify().done();
}

/// Every file below the folder, by its path from there.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(&next).expect("the folder can be read") {
            let path = entry.expect("its entries can be read").path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                let name = path
                    .strip_prefix(folder)
                    .expect("it lies below")
                    .to_str()
                    .expect("a plain name")
                    .to_owned();
                all.push((name, fs::read(&path).expect("a file can be read")));
            }
        }
    }
    all.sort();
    all
}

fn put(folder: &Path, files: &[(String, Vec<u8>)]) {
    fs::remove_dir_all(folder).expect("the folder can be removed");
    for (name, content) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("it lies below")).expect("a folder can be made");
        fs::write(path, content).expect("a file can be written");
    }
}
