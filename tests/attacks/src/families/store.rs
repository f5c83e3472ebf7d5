//! The HSM's disk is his.

use crate::attack::{Attack, Family, On, Tries};
use countersign_tests::backend::{User, digest};
use countersign_tests::disk::Copy;
use countersign_tests::{Hsm, Keystore};
use countersign_wire::client::Mechanism::Digest;

pub(crate) const FAMILY: Family = Family {
    name: "store",
    title: "The store on the disk is put back, cut, mixed, or filled up to its length again",
    invariants: &["I2", "I3", "I6"],
    attacks: &[
        Attack {
            name: "yesterday",
            had: "a copy of the disk from before a code was used",
            does: "puts it back, starts the HSM and uses the code again",
            guards: &["head-in-nvram"],
            faults: &[],
            on: On::Both,
            play: yesterday,
        },
        Attack {
            name: "cut",
            had: "the disk",
            does: "cuts the store wherever it was written last, in steps of 64 bytes, so that the last things never happened",
            guards: &["head-in-nvram"],
            faults: &[],
            on: On::Embedded,
            play: cut,
        },
        Attack {
            name: "left-out",
            had: "the disk, from before a code was used and from after another user used hers",
            does: "leaves out each run of entries in between, puts each in the place of its neighbour, and says each twice; all that came later stays",
            guards: &["head-in-nvram"],
            faults: &[],
            on: On::Embedded,
            play: left_out,
        },
        Attack {
            name: "filled-up",
            had: "a copy of the disk from before a code was used",
            does: "puts it back with the length that the store has now: filled up with zeros, with ones, with its own end",
            guards: &["head-in-nvram"],
            faults: &[],
            on: On::Embedded,
            play: filled_up,
        },
        Attack {
            name: "put-back-while-it-runs",
            had: "a copy of the disk from before a code was used",
            does: "puts it back under the running HSM",
            guards: &["head-in-nvram"],
            faults: &[],
            on: On::Embedded,
            play: put_back_while_it_runs,
        },
    ],
};

/// A stopped HSM, its user, a code that she used, and the disk from before that.
fn with_a_used_code(keystore: Keystore) -> (Hsm, User, String, Copy) {
    let mut hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    hsm.stop();
    let before = hsm.copy_store();
    hsm.run();
    let code = alice.phone.code(hsm.now());
    hsm.sign(&alice, digest(1), &code).expect("her code signs");
    hsm.stop();
    (hsm, alice, code, before)
}

/// Starts it with what lies on the disk, and uses the code once more.
fn start_and_use(hsm: &mut Hsm, alice: &User, code: &str, what: &str, tries: &mut Tries) {
    if hsm.try_run().is_err() {
        tries.refused("store-refused at the start");
        return;
    }
    tries.ask(what, hsm.sign(alice, digest(2), code));
    hsm.kill();
}

/// What is left is whole: the right store opens and the code is used.
fn opens_again(hsm: &mut Hsm, alice: &User, code: &str, good: &Copy, tries: &mut Tries) {
    if !tries.got.is_empty() {
        return;
    }
    hsm.restore_store(good);
    hsm.run();
    tries.ask("the used code with the right store", hsm.sign(alice, digest(2), code));
    hsm.sign(alice, digest(2), &alice.phone.code(hsm.advance(30))).expect("the next code signs");
}

fn yesterday(keystore: Keystore, tries: &mut Tries) {
    let (mut hsm, alice, code, before) = with_a_used_code(keystore);
    let good = hsm.copy_store();
    hsm.restore_store(&before);
    start_and_use(&mut hsm, &alice, &code, "a second signature for one code", tries);
    opens_again(&mut hsm, &alice, &code, &good, tries);
}

fn cut(keystore: Keystore, tries: &mut Tries) {
    let (mut hsm, alice, code, before) = with_a_used_code(keystore);
    let good = hsm.copy_store();
    let (from, to) = (before.bytes().len(), good.bytes().len());
    // Where the entries end he does not know; every 64 bytes, and the ends that he saw.
    for keep in (0..to - from).step_by(64).map(|back| to - 1 - back).chain([from]) {
        hsm.write_store(&good.bytes()[..keep]);
        start_and_use(&mut hsm, &alice, &code, "a second signature for one code", tries);
        if !tries.got.is_empty() {
            return;
        }
    }
    opens_again(&mut hsm, &alice, &code, &good, tries);
}

fn left_out(keystore: Keystore, tries: &mut Tries) {
    let mut hsm = Hsm::start(keystore);
    let (alice, bob) = (hsm.user("alice", &[Digest]), hsm.user("bob", &[Digest]));
    hsm.stop();
    let before = hsm.copy_store().bytes().len();
    hsm.run();
    let code = alice.phone.code(hsm.now());
    hsm.sign(&alice, digest(1), &code).expect("her code signs");
    hsm.sign(&bob, digest(1), &bob.phone.code(hsm.now())).expect("so does another user's");
    hsm.stop();
    let good = hsm.copy_store();
    let (kept, rest) = good.bytes().split_at(before);
    let entries = entries(rest);
    let runs = (0..entries.len()).flat_map(|from| (from + 1..entries.len()).map(move |to| (from, to)));
    let mut stories: Vec<Vec<&[u8]>> =
        runs.map(|(from, to)| [&entries[..from], &entries[to..]].concat()).collect();
    for at in 1..entries.len() {
        let mut swapped = entries.clone();
        swapped.swap(at - 1, at);
        let mut twice = entries.clone();
        twice[at] = twice[at - 1];
        stories.extend([swapped, twice]);
    }
    for story in stories {
        hsm.write_store(&[kept, &story.concat()].concat());
        start_and_use(&mut hsm, &alice, &code, "a second signature for one code", tries);
        if !tries.got.is_empty() {
            return;
        }
    }
    opens_again(&mut hsm, &alice, &code, &good, tries);
}

/// The log's entries, as everybody who has the disk can tell them apart: the length of each stands in it.
fn entries(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut entries = Vec::new();
    while let Some(length) = bytes.get(4..8).and_then(|field| field.first_chunk()) {
        let (entry, rest) = bytes.split_at(u32::from_be_bytes(*length) as usize);
        entries.push(entry);
        bytes = rest;
    }
    entries
}

fn filled_up(keystore: Keystore, tries: &mut Tries) {
    let (mut hsm, alice, code, before) = with_a_used_code(keystore);
    let good = hsm.copy_store();
    let (from, to) = (before.bytes().len(), good.bytes().len());
    for filler in [0u8, 0xff] {
        let mut bytes = before.bytes().to_vec();
        bytes.resize(to, filler);
        hsm.write_store(&bytes);
        start_and_use(&mut hsm, &alice, &code, "a second signature for one code", tries);
    }
    // The beginning as it was, and at its end what the user's enrolment had written there before.
    let mut bytes = before.bytes().to_vec();
    bytes.extend_from_slice(&before.bytes()[from.saturating_sub(to - from)..]);
    hsm.write_store(&bytes[..to]);
    start_and_use(&mut hsm, &alice, &code, "a second signature for one code", tries);
    // Of the old length, for a firmware that asks for nothing but the length.
    hsm.restore_store(&before);
    start_and_use(&mut hsm, &alice, &code, "a second signature for one code", tries);
    opens_again(&mut hsm, &alice, &code, &good, tries);
}

fn put_back_while_it_runs(keystore: Keystore, tries: &mut Tries) {
    let mut hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let before = hsm.copy_store();
    let code = alice.phone.code(hsm.now());
    hsm.sign(&alice, digest(1), &code).expect("her code signs");
    let good = hsm.copy_store();
    hsm.restore_store(&before);
    tries.ask("a second signature under the running HSM", hsm.sign(&alice, digest(2), &code));
    hsm.kill();
    start_and_use(&mut hsm, &alice, &code, "a second signature after a restart", tries);
    opens_again(&mut hsm, &alice, &code, &good, tries);
}
