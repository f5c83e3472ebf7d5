//! `cargo xtask simulate`: builds the deterministic simulation with optimisation and runs it.

use crate::workspace::{cargo, say};
use anyhow::{Context, Result};
use clap::Args;
use std::process::{ExitCode, Stdio};

/// What is passed on to the simulation.
#[derive(Args)]
pub(crate) struct Arguments {
    /// How many histories
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0, value_name = "S")]
    from: u64,
    /// Replay this one seed
    #[arg(long, value_name = "S", conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Break the plugin on purpose in every way of the table, and see that each break is found
    #[arg(long, conflicts_with_all = ["seeds", "from", "seed"])]
    breaks: bool,
    /// Only the breaks whose name contains this
    #[arg(long, value_name = "TEXT", requires = "breaks")]
    only: Option<String>,
}

impl Arguments {
    fn passed_on(&self) -> Vec<String> {
        let words = match (self.breaks, self.seed) {
            (true, _) => {
                let only = self.only.iter().flat_map(|only| ["--only", only.as_str()]);
                return std::iter::once("--breaks").chain(only).map(str::to_owned).collect();
            }
            (false, Some(seed)) => vec![("--seed", seed)],
            (false, None) => vec![("--seeds", self.seeds), ("--from", self.from)],
        };
        words.into_iter().flat_map(|(name, value)| [name.to_owned(), value.to_string()]).collect()
    }
}

/// Builds and runs; the exit code is the simulation's.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    say("building the simulation");
    let mut simulation = cargo();
    simulation
        .args(["run", "--locked", "--release", "--quiet", "-p", "countersign-simulation", "--"])
        .args(arguments.passed_on())
        .stdout(Stdio::inherit());
    let status = simulation.status().context("cannot start cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_is_passed_on() {
        let some = Arguments { seeds: 5, from: 7, seed: None, breaks: false, only: None };
        assert_eq!(some.passed_on(), ["--seeds", "5", "--from", "7"]);
        assert_eq!(Arguments { seed: Some(3), ..some }.passed_on(), ["--seed", "3"]);
        let breaks = Arguments { seeds: 5, from: 7, seed: None, breaks: true, only: Some("turn".to_owned()) };
        assert_eq!(breaks.passed_on(), ["--breaks", "--only", "turn"]);
    }
}
