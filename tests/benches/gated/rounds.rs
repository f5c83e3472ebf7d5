//! One round on many threads, and what comes out of many.

use countersign_tests::processes::thread_cpu_ns;
use nix::time::{ClockId, clock_gettime};
use std::collections::BTreeMap;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// Something that signs as fast as it can.
pub(crate) trait Contender {
    /// What the figures are called.
    fn name(&self) -> String;
    /// On how many threads it signs.
    fn threads(&self) -> usize;
    /// One turn of a round.
    fn round(&self) -> Round;
}

/// Turns that a contender on one thread takes in a round, where others take one: their times are set off against each
/// other, so they are measured close together.
pub(crate) const LONE_TURNS: usize = 8;

/// A process whose CPU time is told apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watched {
    pub(crate) name: &'static str,
    pub(crate) pid: u32,
    /// Whether its threads are told apart by their names.
    pub(crate) by_thread: bool,
}

/// CPU time in nanoseconds by station: `client`, and the name of each watched process, its threads' behind it.
pub(crate) type Cpu = BTreeMap<String, u64>;

/// What one round took.
pub(crate) struct Round {
    wall: Duration,
    latencies: Vec<Duration>,
    cpu: Cpu,
}

/// What the threads of a round do.
pub(crate) trait Work: Sync {
    /// Before the time that counts: whatever a client that has been running for a while has done already.
    fn warm_up(&self, _thread: usize) {}
    /// The signature of that number.
    fn sign(&self, thread: usize, number: usize);
}

/// Signs every number below `signatures`, the numbers dealt out to the threads, and takes the time of each and of all.
pub(crate) fn measure(threads: usize, signatures: usize, watched: &[Watched], work: &impl Work) -> Round {
    let (warm, start) = (Barrier::new(threads + 1), Barrier::new(threads + 1));
    let (shares, before) = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let (warm, start) = (&warm, &start);
                scope.spawn(move || {
                    work.warm_up(thread);
                    warm.wait();
                    start.wait();
                    let began = Instant::now();
                    let numbers = (thread..signatures).step_by(threads);
                    let latencies = numbers.map(|number| timed(|| work.sign(thread, number))).collect();
                    Share { began, ended: Instant::now(), latencies }
                })
            })
            .collect();
        warm.wait();
        let before = cpu_now(watched);
        start.wait();
        let joined = workers.into_iter().map(|worker| worker.join().expect("every signature succeeds"));
        (joined.collect::<Vec<Share>>(), before)
    });
    let mut cpu = cpu_now(watched);
    for (station, spent) in &mut cpu {
        // A thread that ended meanwhile takes its time with it: connections come and go.
        *spent = spent.saturating_sub(before.get(station).copied().unwrap_or_default());
    }
    let began = shares.iter().map(|share| share.began).min().expect("a round has threads");
    let ended = shares.iter().map(|share| share.ended).max().expect("a round has threads");
    let latencies = shares.into_iter().flat_map(|share| share.latencies).collect();
    Round { wall: ended - began, latencies, cpu }
}

/// What one thread did in a round.
struct Share {
    began: Instant,
    ended: Instant,
    latencies: Vec<Duration>,
}

fn cpu_now(watched: &[Watched]) -> Cpu {
    let own = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).expect("Linux has this clock");
    let own = Duration::from(own);
    let mut cpu = Cpu::from([("client".to_owned(), u64::try_from(own.as_nanos()).expect("a short run"))]);
    for process in watched {
        for (thread, spent) in thread_cpu_ns(process.pid) {
            let name = if process.by_thread {
                format!("{} {thread}", process.name)
            } else {
                process.name.to_owned()
            };
            *cpu.entry(name).or_default() += spent;
        }
    }
    cpu
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

/// What came out of all rounds of one contender.
pub(crate) struct Figures {
    pub(crate) name: String,
    per_second: Vec<f64>,
    latencies: Vec<Duration>,
    cpu: Cpu,
}

impl Figures {
    fn of(name: String) -> Self {
        Self { name, per_second: Vec::new(), latencies: Vec::new(), cpu: Cpu::new() }
    }

    fn add(&mut self, round: Round) {
        self.per_second.push(as_f64(round.latencies.len()) / round.wall.as_secs_f64());
        self.latencies.extend(round.latencies);
        for (station, spent) in round.cpu {
            *self.cpu.entry(station).or_default() += spent;
        }
    }

    /// Median over the rounds.
    pub(crate) fn per_second(&self) -> f64 {
        let mut sorted = self.per_second.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }

    /// Latency that so many of a hundred signatures stay below, in microseconds.
    pub(crate) fn percentile_us(&self, percent: usize) -> f64 {
        percentile_us(&self.latencies, percent)
    }

    /// CPU time per signature of each station, in microseconds.
    pub(crate) fn cpu_us(&self) -> Vec<(&str, f64)> {
        let signatures = as_f64(self.latencies.len());
        let per_signature = |spent: u64| Duration::from_nanos(spent).as_secs_f64() * 1e6 / signatures;
        self.cpu.iter().map(|(station, spent)| (station.as_str(), per_signature(*spent))).collect()
    }
}

/// The latency that so many of a hundred stay below, in microseconds.
pub(crate) fn percentile_us(latencies: &[Duration], percent: usize) -> f64 {
    let mut sorted = latencies.to_vec();
    sorted.sort();
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)].as_secs_f64() * 1e6
}

/// Lets the contenders take turns, round after round, so that what else the machine does falls on all of them.
pub(crate) fn take_turns(what: &str, contenders: &[Box<dyn Contender + '_>], rounds: usize) -> Vec<Figures> {
    let mut figures: Vec<Figures> =
        contenders.iter().map(|contender| Figures::of(contender.name())).collect();
    for round in 0..=rounds {
        for turn in 0..LONE_TURNS {
            for (contender, figures) in contenders.iter().zip(&mut figures) {
                if turn > 0 && contender.threads() > 1 {
                    continue;
                }
                let outcome = contender.round();
                // The first round fills caches and connections; it does not count.
                if round > 0 {
                    figures.add(outcome);
                }
            }
        }
        eprintln!("{what}: round {round} of {rounds}");
    }
    figures
}

/// Counts as numbers to divide.
pub(crate) fn as_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).expect("a benchmark counts to fewer than four billion"))
}
