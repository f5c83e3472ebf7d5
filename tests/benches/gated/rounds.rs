//! One round on many threads, and what comes out of many.

use countersign_tests::processes::cpu_ticks;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// Something that signs as fast as it can.
pub(crate) trait Contender {
    /// What the figures are called.
    fn name(&self) -> String;
    /// One round.
    fn round(&self) -> Round;
}

/// CPU time that a process spent in a round, in clock ticks: in user code, in the kernel.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    pub(crate) user: u64,
    pub(crate) system: u64,
}

/// Processes whose CPU time is told apart.
pub(crate) const PROCESSES: [&str; 3] = ["client", "firmware", "plugin"];

/// What one round took.
pub(crate) struct Round {
    wall: Duration,
    latencies: Vec<Duration>,
    cpu: [Cpu; 3],
}

/// Runs `work(thread, number)` for every number below `signatures`, the numbers dealt out to the threads, and
/// takes the time of each and of all. `pids` are the processes besides this one, in the order of [`PROCESSES`].
pub(crate) fn measure(
    threads: usize,
    signatures: usize,
    pids: &[u32],
    work: impl Fn(usize, usize) + Sync,
) -> Round {
    let all: Vec<u32> = [std::process::id()].into_iter().chain(pids.iter().copied()).collect();
    let start = Barrier::new(threads + 1);
    let (wall, latencies, before) = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let (start, work) = (&start, &work);
                scope.spawn(move || {
                    start.wait();
                    let numbers = (thread..signatures).step_by(threads);
                    numbers.map(|number| timed(|| work(thread, number))).collect::<Vec<Duration>>()
                })
            })
            .collect();
        let before: Vec<_> = all.iter().map(|pid| cpu_ticks(*pid)).collect();
        start.wait();
        let began = Instant::now();
        let latencies: Vec<_> =
            workers.into_iter().flat_map(|worker| worker.join().expect("every signature succeeds")).collect();
        (began.elapsed(), latencies, before)
    });
    let mut cpu = [Cpu::default(); 3];
    for ((spent, pid), (user, system)) in cpu.iter_mut().zip(&all).zip(before) {
        let after = cpu_ticks(*pid);
        *spent = Cpu { user: after.0 - user, system: after.1 - system };
    }
    Round { wall, latencies, cpu }
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
    cpu: [Cpu; 3],
}

impl Figures {
    pub(crate) fn of(name: String) -> Self {
        Self { name, per_second: Vec::new(), latencies: Vec::new(), cpu: [Cpu::default(); 3] }
    }

    pub(crate) fn add(&mut self, round: Round) {
        self.per_second.push(as_f64(round.latencies.len()) / round.wall.as_secs_f64());
        self.latencies.extend(round.latencies);
        for (sum, spent) in self.cpu.iter_mut().zip(round.cpu) {
            sum.user += spent.user;
            sum.system += spent.system;
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
        let mut sorted = self.latencies.clone();
        sorted.sort();
        sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)].as_secs_f64() * 1e6
    }

    /// CPU time per signature of each of [`PROCESSES`], in microseconds: in user code, in the kernel.
    pub(crate) fn cpu_us(&self) -> [(f64, f64); 3] {
        // Linux has counted in hundredths of a second for user space on every architecture for decades.
        let per_signature = |ticks: u64| {
            let ticks = usize::try_from(ticks).expect("a short run");
            as_f64(ticks) * 10_000.0 / as_f64(self.latencies.len())
        };
        self.cpu.map(|cpu| (per_signature(cpu.user), per_signature(cpu.system)))
    }
}

fn as_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).expect("a benchmark makes fewer than four billion signatures"))
}
