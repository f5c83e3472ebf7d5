//! The plugin's core in this process, over the simulator's own parts: what an HSM does, without its processes.

use countersign_plugin::machine::Plugin;
use countersign_simulator::boundary::InForce;
use countersign_simulator::clock::Clock;
use countersign_simulator::home::Home;
use countersign_simulator::image::SealedImage;
use countersign_simulator::keystore::softhsm_token::TokenFiles;
use countersign_simulator::ops::Hardware;
use countersign_tests::artefacts;
use countersign_wire::client::ClockMode;
use countersign_wire::hal::{Delivery, Event, Fault, Op, Output, Time, Value};
use serde_bytes::ByteBuf;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Two of these threads may wait for a sync, of the log and of the archive, while the others work.
const WORKERS: usize = 4;

/// Calls that one worker is handed at once.
const CHUNK: usize = 16;

type Calls = Vec<(u64, Op)>;
type Results = Vec<(u64, Result<Value, Fault>)>;

/// Where SoftHSM finds the token of the HSM in this home.
pub(crate) fn softhsm_configuration(home: &Path) -> PathBuf {
    let home = Home::at(home).expect("the path of an HSM");
    TokenFiles::in_folder(&home.keystore()).configuration()
}

/// Moves the clock of the HSM in this home, which does not run.
pub(crate) fn advance_clock(home: &Path, secs: u64) {
    let home = Home::at(home).expect("the path of an HSM");
    let _lock = home.lock().expect("nobody else runs this HSM");
    let clock = Clock::open(ClockMode::Manual, &home.nvram_clock()).expect("a manual clock");
    clock.advance(secs).expect("a manual clock can be advanced");
}

/// One HSM, booted.
pub(crate) struct InProcess {
    plugin: Plugin,
    hardware: Arc<Hardware>,
    calls: Option<Sender<Calls>>,
    results: Receiver<Results>,
    workers: Vec<JoinHandle<()>>,
    commits: Commits,
    archived: usize,
    longest_turn: Duration,
}

/// What was asked of the disk.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Commits {
    pub(crate) count: usize,
    pub(crate) appended_bytes: usize,
}

impl InProcess {
    /// Takes the HSM in this home for this process and boots it.
    pub(crate) fn start(home: &Path) -> Self {
        let home = Home::at(home).expect("the path of an HSM");
        let claim = home.claim().expect("nobody else runs this HSM");
        let release = SealedImage::load(&artefacts::image()).expect("the image").release();
        let hardware =
            Arc::new(Hardware::open(&home, claim, release, InForce::default()).expect("an HSM's parts"));
        let (calls, waiting) = channel::<Calls>();
        let (done, results) = channel();
        let waiting = Arc::new(Mutex::new(waiting));
        let workers = (0..WORKERS)
            .map(|_| {
                let (hardware, waiting, done) = (Arc::clone(&hardware), Arc::clone(&waiting), done.clone());
                std::thread::spawn(move || work(&hardware, &waiting, &done))
            })
            .collect();
        let mut plugin = Plugin::new();
        let boot = hardware.boot().expect("an HSM that is whole");
        plugin.deliver(Delivery { time: hardware.now(), event: Event::Boot(Box::new(boot)) });
        let mut hsm = Self {
            plugin,
            hardware,
            calls: Some(calls),
            results,
            workers,
            commits: Commits::default(),
            archived: 0,
            longest_turn: Duration::ZERO,
        };
        while !hsm.step().1 {}
        hsm
    }

    /// The HSM's time.
    pub(crate) fn now(&self) -> Time {
        self.hardware.now()
    }

    /// Commits that were asked for since the start.
    pub(crate) fn commits(&self) -> Commits {
        self.commits
    }

    /// Regions of the log that were archived since the start.
    pub(crate) fn archived(&self) -> usize {
        self.archived
    }

    /// The longest time that the plugin has worked without looking up.
    pub(crate) fn longest_turn(&self) -> Duration {
        self.longest_turn
    }

    /// Begins again with [`Self::longest_turn`].
    pub(crate) fn forget_turns(&mut self) {
        self.longest_turn = Duration::ZERO;
    }

    /// Moves the clock.
    pub(crate) fn advance(&self, secs: u64) {
        self.hardware.clock().advance(secs).expect("a manual clock can be advanced");
    }

    /// Hands the plugin a request. Nothing happens before [`Self::turn`].
    pub(crate) fn request(&mut self, ticket: u64, payload: Vec<u8>) {
        let event = Event::Request { ticket, payload: ByteBuf::from(payload) };
        self.plugin.deliver(Delivery { time: self.hardware.now(), event });
    }

    /// Lets the plugin work, waits until at least one call of its is done, and gives the replies so far.
    pub(crate) fn turn(&mut self) -> Vec<(u64, Vec<u8>)> {
        self.step().0
    }

    /// The replies, and whether the plugin became ready.
    fn step(&mut self) -> (Vec<(u64, Vec<u8>)>, bool) {
        let (mut replies, mut calls, mut ready) = (Vec::new(), Vec::new(), false);
        let began = Instant::now();
        let outputs = self.plugin.turn();
        self.longest_turn = self.longest_turn.max(began.elapsed());
        for output in outputs {
            match output {
                Output::Reply { ticket, payload } => replies.push((ticket, payload.into_vec())),
                Output::Call { call, op, .. } => {
                    if let Op::Commit { append, .. } = &op {
                        self.commits.count += 1;
                        self.commits.appended_bytes += append.len();
                    }
                    self.archived += usize::from(matches!(op, Op::Archive { .. }));
                    calls.push((call, op));
                }
                Output::Ready => ready = true,
                Output::Halt { why } => panic!("the plugin halted: {why}"),
            }
        }
        self.hand_out(calls);
        if replies.is_empty() && !ready {
            let first = self.results.recv().expect("the workers live as long as this");
            let all: Vec<Results> = std::iter::once(first).chain(self.results.try_iter()).collect();
            let time = self.hardware.now();
            for (call, result) in all.into_iter().flatten() {
                self.plugin.deliver(Delivery { time, event: Event::Done { call, result } });
            }
        }
        (replies, ready)
    }

    fn hand_out(&self, mut calls: Calls) {
        let queue = self.calls.as_ref().expect("open until it is stopped");
        while !calls.is_empty() {
            let rest = calls.split_off(calls.len().min(CHUNK));
            queue.send(calls).expect("the workers live as long as this");
            calls = rest;
        }
    }

    /// Ends the workers and lets go of the home.
    pub(crate) fn stop(mut self) {
        drop(self.calls.take());
        for worker in self.workers.drain(..) {
            worker.join().expect("no worker panics");
        }
    }
}

fn work(hardware: &Hardware, waiting: &Mutex<Receiver<Calls>>, done: &Sender<Results>) {
    loop {
        let next = waiting.lock().expect("no worker panics").recv();
        let Ok(calls) = next else { return };
        let results = calls.into_iter().map(|(call, op)| (call, hardware.perform(op))).collect();
        if done.send(results).is_err() {
            return;
        }
    }
}
