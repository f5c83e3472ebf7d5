//! Gated signatures, next to peers that sign without a gate, in the same run. `cargo xtask bench` builds and starts it.
//!
//! The contenders take turns, round after round, so that what else the machine does falls on all of them; the
//! figures are medians over the rounds. Every gated signature needs a fresh code, so there are many accounts, each
//! signs at most once per round, and the clock is advanced between rounds, outside the time that counts.
//!
//! What is measured ([`Part`]):
//! * throughput and latency by number of clients: [`gated`] HSMs, their [`peers`], and the [`syncs`] and [`handovers`] alone; [`cleaning`] meanwhile;
//! * [`growth`]: the same work with up to a million accounts, memory, disk and start times;
//! * [`approvals`]: what a sealed code and a passkey cost beside a plain code;
//! * [`log`]: what the audit log costs beside a gated signature;
//! * [`intents`]: what it takes to read what is signed and to ask the policy;
//! * [`instructions`] for one signature by station.
//!
//! How:
//! * [`rounds`]: one round on many threads, turns, and what comes out of many;
//! * [`population`]: HSMs with any number of accounts, made by the plugin's core [`in_process`];
//! * [`results`], [`targets`]: what was measured, and what was promised;
//! * [`report`], [`plot`], [`record`]: tables, the plot, and the page that is kept.

mod approvals;
mod cleaning;
mod gated;
mod growth;
mod handovers;
mod in_process;
mod instructions;
mod intents;
mod log;
mod peers;
mod plot;
mod population;
mod record;
mod report;
mod results;
mod rounds;
mod syncs;
mod targets;

use clap::{Parser, Subcommand, ValueEnum};
use countersign_tests::Keystore;
use gated::{Bench, Gated, Way};
use growth::{Grown, Growth, Users};
use handovers::Handovers;
use instructions::Meter;
use peers::{Peer, Peers};
use population::Population;
use record::Record;
use results::{Results, Section};
use rounds::{Contender, LONE_TURNS, take_turns};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use syncs::Syncs;

/// Clients that are measured.
const THREADS: [usize; 5] = [1, 2, 8, 32, 128];

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Signatures a second and their latency by number of clients
    Throughput,
    /// The same by number of accounts, with memory and disk
    Growth,
    /// Decoding, digests and policy by kind of intent, as a share of a gated signature
    Intents,
    /// Instructions of one signature by station
    Instructions,
    /// Time from the start of an HSM until it serves
    Start,
}

/// How much is measured.
#[derive(Clone, Copy)]
struct Size {
    rounds: usize,
    /// Accounts of the HSMs whose throughput is measured.
    accounts: usize,
    /// Numbers of accounts that embedded keystores grow to.
    embedded: &'static [usize],
    /// The same with SoftHSM, which needs a millisecond to make a key.
    softhsm: &'static [usize],
    /// Signatures of one round of growth.
    growth_signatures: usize,
    growth_rounds: usize,
    /// Keystores whose instructions are counted.
    counted: &'static [Keystore],
}

impl Size {
    const FULL: Self = Self {
        rounds: 7,
        accounts: 1024,
        embedded: &[1_000, 10_000, 100_000, 1_000_000],
        softhsm: &[1_000, 10_000, 100_000],
        growth_signatures: 1000,
        growth_rounds: 9,
        counted: &[Keystore::Embedded, Keystore::Softhsm],
    };
    const QUICK: Self = Self {
        rounds: 2,
        accounts: 128,
        embedded: &[1_000, 10_000],
        softhsm: &[1_000],
        growth_signatures: 256,
        growth_rounds: 2,
        counted: &[Keystore::Embedded],
    };

    /// Signatures of one turn: fewer where fewer threads make them, so that rounds take about as long.
    fn signatures(self, threads: usize) -> usize {
        match threads {
            1 => self.accounts / 8 / LONE_TURNS,
            2 => self.accounts / 4,
            8 => self.accounts / 2,
            _ => self.accounts,
        }
    }
}

#[derive(Debug, Parser)]
struct Arguments {
    /// Short runs: shows that it works, measures little
    #[arg(long)]
    quick: bool,
    /// Fail if a target was missed
    #[arg(long)]
    check: bool,
    /// Write the results into this file, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// What to measure [default: everything]
    #[arg(long, value_name = "PART", num_args = 1.., value_delimiter = ',')]
    only: Vec<Part>,
    /// Keep the HSMs with their accounts in this folder, and use those that are there
    #[arg(long, value_name = "DIR")]
    home_cache: Option<PathBuf>,
    #[command(flatten)]
    record: Record,
    /// What `cargo bench` itself adds
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    errand: Option<Errand>,
}

/// What this program starts itself for, as a process of its own.
#[derive(Debug, Subcommand)]
enum Errand {
    #[command(hide = true)]
    Populate(population::Order),
    #[command(hide = true)]
    Firmware(instructions::Firmware),
    #[command(hide = true)]
    Sign(instructions::Signatures),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.errand {
        Some(Errand::Populate(order)) => order.carry_out(),
        Some(Errand::Firmware(firmware)) => firmware.carry_out(),
        Some(Errand::Sign(signatures)) => signatures.carry_out(),
        None => return run(&arguments),
    }
    ExitCode::SUCCESS
}

fn run(arguments: &Arguments) -> ExitCode {
    let size = if arguments.quick { Size::QUICK } else { Size::FULL };
    let is_wanted = |part| arguments.only.is_empty() || arguments.only.contains(&part);
    let (folder, _temporary) = record::scratch(arguments.home_cache.as_deref());
    let mut results = Results::default();
    let peers = Peers::create();
    if is_wanted(Part::Throughput) {
        throughput(&mut results, &peers, size, &folder);
    }
    if is_wanted(Part::Intents) {
        intents(&mut results, size, &folder);
    }
    if is_wanted(Part::Instructions) {
        count_instructions(&mut results, size, &folder);
    }
    if is_wanted(Part::Growth) || is_wanted(Part::Start) {
        grow(&mut results, &peers, size, &folder, is_wanted(Part::Growth), is_wanted(Part::Start));
    }
    println!("{}", report::markdown(&results));
    if let Some(file) = &arguments.json {
        std::fs::write(file, results.json()).expect("the JSON file can be written");
    }
    let conditions = format!(
        "{} rounds of up to {} signatures, {} of growth; each user signs once in a round",
        size.rounds, size.accounts, size.growth_rounds
    );
    arguments.record.write(&results, &conditions);
    if arguments.check && !check(&results) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Whether every target that was measured is met, and there was one.
fn check(results: &Results) -> bool {
    let outcomes = targets::outcomes(results);
    for missed in outcomes.iter().filter(|outcome| !outcome.is_met) {
        eprintln!("missed: {}: {} instead of {}", missed.what, missed.found, missed.wanted);
    }
    !outcomes.is_empty() && outcomes.iter().all(|outcome| outcome.is_met)
}

fn throughput(results: &mut Results, peers: &Peers, size: Size, folder: &Path) {
    let populations = [Keystore::Embedded, Keystore::Softhsm]
        .map(|keystore| Population::provide(folder, keystore, size.accounts));
    results.commits = syncs::commits_of_a_signature(&populations[0]);
    results.cleaned = Some(cleaning::watch(&populations[0]));
    let most = *THREADS.iter().max().expect("some threads are measured");
    let benches = populations.map(|population| Bench::start(population, most));
    let telling = Population::provide(&folder.join("observed"), Keystore::Embedded, size.accounts);
    let telling = Bench::start_observed(telling, gated::OBSERVED_CLIENTS);
    let syncs_folder = tempfile::tempdir_in(folder).expect("a folder beside the HSMs");
    let mut contenders: Vec<Box<dyn Contender + '_>> = Vec::new();
    for threads in THREADS {
        let signatures = size.signatures(threads);
        for peer in Peer::ALL {
            contenders.push(Box::new(peers.contender(peer, threads, peer.signatures(signatures))));
        }
        for bench in &benches {
            for way in Way::ALL {
                contenders.push(Box::new(Gated::new(bench, way, threads, signatures)));
            }
        }
        if threads == gated::OBSERVED_CLIENTS {
            contenders.push(Box::new(Gated::new(&telling, Way::Native, threads, signatures)));
        }
        if threads == 1 {
            // Beside those whose time it is compared with.
            let syncs = Syncs::new(syncs_folder.path(), results.commits, signatures);
            contenders.push(Box::new(syncs));
            contenders.push(Box::new(Handovers::new(signatures)));
        }
    }
    results.throughput = Some(Section { figures: take_turns("throughput", &contenders, size.rounds) });
}

fn intents(results: &mut Results, size: Size, folder: &Path) {
    let population = Population::provide(folder, Keystore::Embedded, size.accounts);
    let bench = Bench::start(population, 32);
    let policy = intents::policy();
    let readings = intents::readings(&policy, size.accounts);
    results.intent_bytes = readings.iter().map(|reading| (reading.name(), reading.length_bytes())).collect();
    let mut contenders: Vec<Box<dyn Contender + '_>> =
        vec![Box::new(Gated::new(&bench, Way::Native, 32, size.signatures(32)))];
    contenders.extend(readings.into_iter().map(|reading| Box::new(reading) as Box<dyn Contender>));
    contenders.extend(approvals::kinds(size.accounts).map(|kind| Box::new(kind) as Box<dyn Contender>));
    contenders.extend(log::kinds(size.accounts).into_iter().map(|kind| Box::new(kind) as Box<dyn Contender>));
    results.intents = Some(Section { figures: take_turns("intents", &contenders, size.rounds) });
}

fn count_instructions(results: &mut Results, size: Size, folder: &Path) {
    let meters = Meter::all_that_work();
    if meters.is_empty() {
        eprintln!("neither perf nor valgrind can count here: instructions are not counted");
        return;
    }
    for keystore in size.counted {
        let population = Population::provide(folder, *keystore, meters.len() * instructions::ACCOUNTS);
        results.costs.extend(instructions::count(&population, &meters));
    }
}

fn grow(results: &mut Results, peers: &Peers, size: Size, folder: &Path, rounds: bool, starts: bool) {
    let embedded = size.embedded.iter().map(|accounts| (Keystore::Embedded, *accounts));
    let softhsm = size.softhsm.iter().map(|accounts| (Keystore::Softhsm, *accounts));
    results.memory = growth::settle_memory();
    let grown: Vec<Grown> = embedded
        .chain(softhsm)
        .map(|(keystore, accounts)| {
            Grown::start(Population::provide(folder, keystore, accounts), results.memory, starts)
        })
        .collect();
    if rounds {
        let mut contenders: Vec<Box<dyn Contender + '_>> = Vec::new();
        for (peer, threads) in
            [(Peer::Plain, 2), (Peer::Plain, growth::CLIENTS), (Peer::AlwaysAuthenticate, 2)]
        {
            contenders.push(Box::new(peers.contender(
                peer,
                threads,
                peer.signatures(size.growth_signatures),
            )));
        }
        for grown in &grown {
            for users in Users::of(grown.keystore(), grown.accounts()) {
                contenders.push(Box::new(Growth::new(grown, *users, size.growth_signatures)));
            }
        }
        results.growth = Some(Section { figures: take_turns("growth", &contenders, size.growth_rounds) });
    }
    results.footprints = grown.iter().map(Grown::footprint).collect();
}
