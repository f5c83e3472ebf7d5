//! kill -9 at random moments under load, and the store copied, restored and mixed in between.
//!
//! Each round loads the HSM from several threads, each with users of its own, until so many requests were answered
//! as the seed says, then kills it: firmware and plugin, firmware alone, plugin alone, or firmware in the middle of
//! starting. Before it is started again, the attacker may put something else in the store's place, made of what he
//! copied before. Such a store is refused with exit code 4 and a sentence, unless what counts of it is what the good
//! one holds; the good one opens again and has lost nothing.
//!
//! `COUNTERSIGN_TEST_KILLS` is the number of rounds on each keystore.

use super::BETWEEN_ROUNDS_SECS;
use super::ledger::{Ledger, Lost};
use super::oracle::Remembered;
use countersign_tests::hsm::{PATIENCE, kill_now, kill_tree};
use countersign_tests::processes::wait_until_ended;
use countersign_tests::store_files::StoreFiles;
use countersign_tests::{Hsm, Keystore, on_both_keystores, seed};
use countersign_wire::client::Mechanism::Digest;
use fastrand::Rng;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};

on_both_keystores!(i2_i4_i6_kills_under_load_with_stores_put_back_and_mixed_lose_nothing_acknowledged);

/// Rounds, unless told otherwise.
const ROUNDS: usize = 60;
const THREADS: usize = 4;
const USERS_OF_A_THREAD: usize = 2;

/// How many copies of the store the attacker keeps.
const COPIES_MAX: usize = 6;

/// How one round ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kill {
    Both,
    FirmwareAlone,
    PluginAlone,
    BothAndAgainWhileStarting,
}

impl Kill {
    fn choose(random: &mut Rng) -> Self {
        match random.u8(0..10) {
            0..5 => Self::Both,
            5..7 => Self::FirmwareAlone,
            7..9 => Self::PluginAlone,
            _ => Self::BothAndAgainWhileStarting,
        }
    }
}

/// What the attacker makes of the store.
#[derive(Clone, Copy, Debug)]
enum Deed {
    PutOlderBack,
    PutOneOlderFileBack,
    Mix,
    Truncate,
    FlipOneBit,
    SwapFiles,
    SwapParts,
    Remove,
    Append,
}

const DEEDS: [Deed; 9] = [
    Deed::PutOlderBack,
    Deed::PutOneOlderFileBack,
    Deed::Mix,
    Deed::Truncate,
    Deed::FlipOneBit,
    Deed::SwapFiles,
    Deed::SwapParts,
    Deed::Remove,
    Deed::Append,
];

impl Deed {
    fn done_to(self, good: &StoreFiles, copies: &[StoreFiles], random: &mut Rng) -> StoreFiles {
        let older = &copies[random.usize(..copies.len())];
        let mut made = good.clone();
        let name = random.choice(good.0.keys()).expect("a store has files").clone();
        let other = random.choice(good.0.keys()).expect("a store has files").clone();
        let bytes = made.0.get_mut(&name).expect("it was chosen from these");
        match self {
            Self::PutOlderBack => return older.clone(),
            Self::PutOneOlderFileBack => {
                made.0.extend(older.0.get(&name).map(|bytes| (name, bytes.clone())));
            }
            Self::Mix => {
                for (name, bytes) in &older.0 {
                    if random.bool() {
                        made.0.insert(name.clone(), bytes.clone());
                    }
                }
            }
            Self::Truncate => bytes.truncate(random.usize(..=bytes.len())),
            Self::FlipOneBit if !bytes.is_empty() => {
                let at = random.usize(..bytes.len());
                bytes[at] ^= 1 << random.u8(..8);
            }
            Self::SwapFiles => {
                let bytes = std::mem::take(bytes);
                let others = made.0.insert(other, bytes).expect("it was chosen from these");
                made.0.insert(name, others);
            }
            Self::SwapParts if bytes.len() > 4 => {
                let length = random.usize(1..=bytes.len() / 4);
                let half = bytes.len() / 2;
                let (first, second) = bytes.split_at_mut(half);
                first[..length].swap_with_slice(&mut second[..length]);
            }
            Self::Remove => drop(made.0.remove(&name)),
            Self::Append => {
                let length = random.usize(1..5000);
                bytes.extend(std::iter::repeat_with(|| random.u8(..)).take(length));
            }
            Self::FlipOneBit | Self::SwapParts => {}
        }
        made
    }
}

/// Who has the disk, what he copied, and what came of what he did.
struct Attacker {
    copies: Vec<StoreFiles>,
    refused: usize,
    opened: usize,
}

impl Attacker {
    /// Copies the store as it is, in the place of another copy if there are many.
    fn copy(&mut self, hsm: &Hsm, random: &mut Rng) {
        if self.copies.len() == COPIES_MAX {
            self.copies.swap_remove(random.usize(..COPIES_MAX));
        }
        self.copies.push(hsm.copy_files());
    }

    /// Puts something in the place of a stopped HSM's store, lets the HSM find it, and leaves a good store.
    fn act(&mut self, hsm: &mut Hsm, random: &mut Rng, when: &str) {
        let (good, remembered) = (hsm.copy_files(), Remembered::by(hsm));
        let deed = DEEDS[random.usize(..DEEDS.len())];
        let made = deed.done_to(&good, &self.copies, random);
        hsm.put_files(&made);
        let before = hsm.log().len();
        match hsm.try_run() {
            Ok(()) => {
                assert!(
                    !remembered.forbids(&made, &good),
                    "{when}, {deed:?}: a store that lacks something opens"
                );
                self.opened += 1;
                hsm.kill();
            }
            Err(ended) => {
                let said = &ended.log[before..];
                assert_eq!(ended.exit_code, Some(4), "{when}, {deed:?}: {said}");
                assert!(
                    said.contains("store refused: ") || said.contains("the store cannot be opened"),
                    "{when}, {deed:?}: {said}"
                );
                assert_eq!(hsm.copy_files(), made, "{when}, {deed:?}: a refused store is left as it is");
                hsm.put_files(&good);
                self.refused += 1;
            }
        }
    }
}

/// Lets the killer wait until so many requests were answered.
#[derive(Default)]
struct Answered {
    count: Mutex<usize>,
    more: Condvar,
}

impl Answered {
    fn one_more(&self) {
        *self.count.lock().expect("nobody panics with it") += 1;
        self.more.notify_all();
    }

    fn wait_for(&self, enough: usize) {
        let count = self.count.lock().expect("nobody panics with it");
        let waited = self.more.wait_timeout_while(count, PATIENCE, |count| *count < enough);
        let (count, waited) = waited.expect("nobody panics with it");
        assert!(!waited.timed_out(), "{} of {enough} requests were answered, and then none", *count);
    }
}

/// A moment between two events, without sleeping: some turns of a loop.
fn linger(random: &mut Rng, turns_max: u32) {
    for _ in 0..random.u32(0..=turns_max) {
        std::hint::spin_loop();
    }
}

/// Works on a thread's users until the HSM is gone.
fn load(
    hsm: &Hsm,
    users: &mut [Ledger],
    random: &mut Rng,
    now: &AtomicU64,
    answered: &Answered,
    stop: &AtomicBool,
) {
    while !stop.load(Ordering::Relaxed) {
        for user in &mut *users {
            match user.act(hsm, random, now) {
                Ok(()) => answered.one_more(),
                Err(Lost) => return,
            }
        }
    }
}

/// One round up to its kill. The plugin alone is killed beneath running workers, which then stop by themselves.
fn load_and_kill(hsm: &Hsm, users: &mut [Ledger], attacker: &mut Attacker, random: &mut Rng) -> Killed {
    let (kill, enough) = (Kill::choose(random), random.usize(1..80));
    let (now, answered, stop) = (AtomicU64::new(hsm.now()), Answered::default(), AtomicBool::new(false));
    let (doomed, plugin) = (hsm.ready().pid, hsm.plugin_pid());
    std::thread::scope(|scope| {
        for users in users.chunks_mut(USERS_OF_A_THREAD) {
            let (now, answered, stop, mut random) = (&now, &answered, &stop, random.fork());
            scope.spawn(move || load(hsm, users, &mut random, now, answered, stop));
        }
        answered.wait_for(enough / 2);
        if random.u8(..4) == 0 {
            attacker.copy(hsm, random);
        }
        answered.wait_for(enough);
        linger(random, 200_000);
        match kill {
            Kill::PluginAlone => kill_now(plugin),
            Kill::FirmwareAlone => kill_now(doomed),
            Kill::Both | Kill::BothAndAgainWhileStarting => {
                kill_now(doomed);
                kill_now(plugin);
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    Killed { kill, plugin }
}

/// What was killed, and which plugin ran then.
struct Killed {
    kill: Kill,
    plugin: u32,
}

/// Finishes the kill, lets the attacker at the store, and starts the HSM again.
fn bring_back(hsm: &mut Hsm, killed: &Killed, attacker: &mut Attacker, random: &mut Rng, when: &str) {
    match killed.kill {
        Kill::PluginAlone => return hsm.wait_until_it_answers(),
        Kill::FirmwareAlone => {
            // Which was killed before, and has no plugin any more that could be found from it.
            hsm.kill_firmware_alone();
            wait_until_ended(&[killed.plugin]);
        }
        Kill::Both => hsm.kill(),
        Kill::BothAndAgainWhileStarting => {
            hsm.kill();
            let mut starting = hsm.spawn();
            // A start takes some tens of milliseconds; this is up to about as long.
            linger(random, 5_000_000);
            kill_tree(&mut starting);
        }
    }
    if random.bool() {
        attacker.act(hsm, random, when);
    }
    hsm.run();
}

fn rounds() -> usize {
    std::env::var("COUNTERSIGN_TEST_KILLS")
        .map_or(ROUNDS, |text| text.parse().expect("COUNTERSIGN_TEST_KILLS is a number"))
}

fn i2_i4_i6_kills_under_load_with_stores_put_back_and_mixed_lose_nothing_acknowledged(keystore: Keystore) {
    let (rounds, mut random) = (rounds(), Rng::with_seed(seed("kills under load")));
    let mut hsm = Hsm::start(keystore);
    let mut attacker = Attacker { copies: vec![hsm.copy_files()], refused: 0, opened: 0 };
    let mut users: Vec<Ledger> = (0..THREADS * USERS_OF_A_THREAD)
        .map(|number| Ledger::new(hsm.user(&format!("user-{number}"), &[Digest]), hsm.now()))
        .collect();
    for round in 0..rounds {
        let lost = |users: &[Ledger]| users.iter().map(|user| user.grants_lost).sum::<usize>();
        let before = lost(&users);
        let killed = load_and_kill(&hsm, &mut users, &mut attacker, &mut random);
        let kill = killed.kill;
        let when = format!("round {round}, {kill:?}");
        // Grants live as long as the plugin: where one was answered as missing, another plugin answered.
        assert!(kill == Kill::PluginAlone || lost(&users) == before, "{when}");
        bring_back(&mut hsm, &killed, &mut attacker, &mut random, &when);
        for user in &mut users {
            user.hold_to_account(&hsm, &when);
        }
        hsm.advance(BETWEEN_ROUNDS_SECS);
        if random.u8(..4) == 0 {
            attacker.copy(&hsm, &mut random);
        }
    }
    let signatures: usize = users.iter().map(|user| user.signatures).sum();
    let in_doubt: usize = users.iter().map(|user| user.in_doubt).sum();
    let Attacker { refused, opened, .. } = attacker;
    eprintln!(
        "{rounds} kills on {}: {signatures} signatures, {in_doubt} requests cut off, {refused} stores refused, \
         {opened} opened that had all that counts",
        keystore.word()
    );
    assert!(signatures > rounds && in_doubt > rounds / 10, "the kills fell into real work");
    assert!(refused > rounds / 10, "the attacker did something");
}
