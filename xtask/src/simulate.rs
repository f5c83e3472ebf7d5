//! `cargo xtask simulate`: builds the deterministic simulation with optimisation and runs it.

use crate::workspace::{cargo, say};
use anyhow::{Context, Result};
use clap::Args;
use std::ffi::OsString;
use std::process::{ExitCode, Stdio};

/// The simulation itself says what it takes: `cargo xtask simulate --help`.
#[derive(Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    /// What is passed on to it: `--seeds N`, `--seed S`, `--breaks`, …
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    passed_on: Vec<OsString>,
}

/// Builds and runs; the exit code is the simulation's.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    say("building the simulation");
    let mut simulation = cargo();
    simulation
        .args(["run", "--locked", "--release", "--quiet", "-p", "countersign-simulation", "--"])
        .args(&arguments.passed_on)
        .stdout(Stdio::inherit());
    let status = simulation.status().context("cannot start cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
