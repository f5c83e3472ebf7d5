//! kill -9 at random moments under load: no code accepted twice, no acknowledged change lost, and token and store
//! open every time.
//!
//! Each round loads the HSM from several threads, each with users of its own, until so many requests were answered
//! as the seed says, then kills it: firmware and plugin, firmware alone, plugin alone, or firmware in the middle of
//! starting. Each user's [`ledger::Ledger`] holds what was acknowledged; after the restart the HSM is held to it.

mod ledger;
mod points;

use countersign_tests::hsm::kill_tree;
use countersign_tests::{Hsm, Keystore, on_both_keystores, seed};
use countersign_wire::client::Mechanism::Digest;
use fastrand::Rng;
use ledger::{Ledger, Lost, Way};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};

on_both_keystores!(
    i2_i4_two_hundred_kills_under_load_accept_no_code_twice_and_lose_nothing_acknowledged,
    twenty_kills_while_starting_lose_nothing_acknowledged,
);

const ROUNDS: usize = 200;
const THREADS: usize = 4;
const USERS_OF_A_THREAD: usize = 2;

/// Long enough for every failure that a round can leave behind to be forgiven: one each half day.
pub(crate) const BETWEEN_ROUNDS_SECS: u64 = 6 * 12 * 3600;

/// How one round ends.
#[derive(Clone, Copy, Debug)]
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
        drop(self.more.wait_while(count, |count| *count < enough).expect("nobody panics with it"));
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
fn load_and_kill(hsm: &mut Hsm, users: &mut [Ledger], random: &mut Rng) -> Kill {
    let (kill, enough) = (Kill::choose(random), random.usize(1..80));
    let (now, answered, stop) = (AtomicU64::new(hsm.now()), Answered::default(), AtomicBool::new(false));
    let (doomed, plugin) = (hsm.ready().pid, hsm.plugin_pid());
    std::thread::scope(|scope| {
        for users in users.chunks_mut(USERS_OF_A_THREAD) {
            let (hsm, now, answered, stop, mut random) = (&*hsm, &now, &answered, &stop, random.fork());
            scope.spawn(move || load(hsm, users, &mut random, now, answered, stop));
        }
        answered.wait_for(enough);
        linger(random, 200_000);
        match kill {
            Kill::PluginAlone => countersign_tests::hsm::kill_now(plugin),
            Kill::FirmwareAlone => countersign_tests::hsm::kill_now(doomed),
            Kill::Both | Kill::BothAndAgainWhileStarting => {
                countersign_tests::hsm::kill_now(doomed);
                countersign_tests::hsm::kill_now(plugin);
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    kill
}

fn bring_back(hsm: &mut Hsm, kill: Kill, random: &mut Rng) {
    match kill {
        Kill::PluginAlone => hsm.wait_until_it_answers(),
        Kill::FirmwareAlone => {
            hsm.kill_firmware_alone();
            hsm.run();
        }
        Kill::Both => hsm.kill_and_run(),
        Kill::BothAndAgainWhileStarting => {
            hsm.kill();
            kill_while_starting(hsm, random);
            hsm.run();
        }
    }
}

fn kill_while_starting(hsm: &mut Hsm, random: &mut Rng) {
    let mut starting = hsm.spawn();
    // A start takes some tens of milliseconds; this is up to about as long.
    linger(random, 5_000_000);
    kill_tree(&mut starting);
}

fn i2_i4_two_hundred_kills_under_load_accept_no_code_twice_and_lose_nothing_acknowledged(keystore: Keystore) {
    let mut random = Rng::with_seed(seed("two hundred kills"));
    let mut hsm = Hsm::start(keystore);
    let mut users: Vec<Ledger> = (0..THREADS * USERS_OF_A_THREAD)
        .map(|number| Ledger::new(hsm.user(&format!("user-{number}"), &[Digest]), hsm.now()))
        .collect();
    for round in 0..ROUNDS {
        let lost = |users: &[Ledger]| users.iter().map(|user| user.grants_lost).sum::<usize>();
        let before = lost(&users);
        let kill = load_and_kill(&mut hsm, &mut users, &mut random);
        // Grants live as long as the plugin: where one was answered as missing, another plugin answered.
        assert!(matches!(kill, Kill::PluginAlone) || lost(&users) == before, "round {round}, {kill:?}");
        bring_back(&mut hsm, kill, &mut random);
        for user in &mut users {
            user.hold_to_account(&hsm, &format!("round {round}, {kill:?}"));
        }
        hsm.advance(BETWEEN_ROUNDS_SECS);
    }
    let signatures: usize = users.iter().map(|user| user.signatures).sum();
    let in_doubt: usize = users.iter().map(|user| user.in_doubt).sum();
    eprintln!("{ROUNDS} kills on {}: {signatures} signatures, {in_doubt} requests cut off", keystore.word());
    assert!(signatures > ROUNDS && in_doubt > ROUNDS / 10, "the kills fell into real work");
}

fn twenty_kills_while_starting_lose_nothing_acknowledged(keystore: Keystore) {
    let mut random = Rng::with_seed(seed("twenty kills while starting"));
    let mut hsm = Hsm::start(keystore);
    let mut alice = Ledger::new(hsm.user("alice", &[Digest]), hsm.now());
    for round in 0..20 {
        let now = AtomicU64::new(hsm.advance(30));
        alice.sign(&hsm, Way::Native, 1, &now).expect("the HSM answers");
        hsm.kill();
        kill_while_starting(&mut hsm, &mut random);
        hsm.run();
        alice.hold_to_account(&hsm, &format!("round {round}"));
        hsm.advance(BETWEEN_ROUNDS_SECS);
    }
}
