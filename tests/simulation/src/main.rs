//! `countersign-simulate`: what `cargo xtask simulate` builds and runs.

use clap::Parser;
use countersign_simulation::{breaks, seeds};
use data_encoding::HEXLOWER;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Runs simulated histories of the plugin and judges them.
#[derive(Parser)]
#[command(bin_name = "cargo xtask simulate")]
struct Arguments {
    /// How many histories
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0, value_name = "S")]
    from: u64,
    /// Histories in which some users have devices of their own
    #[arg(long)]
    devices: bool,
    /// Replay this one seed
    #[arg(long, value_name = "S", conflicts_with_all = ["seeds", "from", "devices"])]
    seed: Option<u64>,
    /// Threads [default: as many as there are cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Break the plugin in every way of the table, and see that each is found
    #[arg(long, conflicts_with_all = ["seeds", "from", "seed", "devices"])]
    breaks: bool,
    /// Only the breaks whose name contains this
    #[arg(long, value_name = "TEXT", requires = "breaks")]
    only: Option<String>,
}

/// Where the repository is: cargo says so to what it runs.
fn root() -> PathBuf {
    let own = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    own.ancestors().nth(2).map_or_else(|| own.clone(), Path::to_owned)
}

fn try_breaks(only: Option<&str>) -> ExitCode {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    match breaks::try_all(&root(), &cargo, only) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cannot copy the sources: {error}");
            ExitCode::FAILURE
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.breaks {
        return try_breaks(arguments.only.as_deref());
    }
    let from = arguments.from + if arguments.devices { seeds::WITH_DEVICES } else { 0 };
    let range = arguments.seed.map_or(from..from + arguments.seeds, |seed| seed..seed + 1);
    let threads =
        arguments.threads.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
    let began = Instant::now();
    let progress = |done: u64| {
        if done > 0 && done.is_multiple_of(10_000) {
            eprintln!("{done} histories in {} s", began.elapsed().as_secs());
        }
    };
    match seeds::run_all(range, threads, progress) {
        Ok(summary) => {
            for (what, count) in summary.coverage.iter() {
                println!("{count:>12}  {what}");
            }
            println!(
                "{} histories without a violation in {:.1} s; hash {}",
                summary.histories,
                began.elapsed().as_secs_f64(),
                HEXLOWER.encode(&summary.hash)
            );
            ExitCode::SUCCESS
        }
        Err((seed, failure)) => {
            println!("violated: {}", failure.violation.invariant);
            println!("{}", failure.violation.seen);
            println!("the last events of seed {seed}:\n{}", failure.tail);
            println!("replay: cargo xtask simulate --seed {seed}");
            ExitCode::FAILURE
        }
    }
}
