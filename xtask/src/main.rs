//! `cargo xtask`: the one entry to everything that is done with this repository.
//!
//! Progress goes to stderr; stdout carries the result alone, so that scripts can read it.
//!
//! * [`workspace`]: where the repository is, and how cargo is called in it;
//! * [`setup`]: what must be installed before something can run;
//! * [`artefacts`]: building the programs;
//! * [`machine`]: what a virtual machine starts with;
//! * [`image`]: building the frozen image, recording it, building it again elsewhere;
//! * [`package`]: Debian packages;
//! * [`hsm`]: one HSM: initialised, running, stopped, killed;
//! * [`phone`]: the user's side: an authenticator app;
//! * [`accounts`]: enrolled and confirmed accounts in any number;
//! * [`stop`]: SIGINT and SIGTERM;
//! * [`dev`], [`demo`], [`suite`], [`attack`], [`simulate`], [`fuzz`], [`timing`], [`mutants`], [`tidy`], [`book`]: the commands.

mod accounts;
mod artefacts;
mod attack;
mod book;
mod demo;
mod dev;
mod fuzz;
mod hsm;
mod image;
mod machine;
mod mutants;
mod package;
mod phone;
mod setup;
mod simulate;
mod stop;
mod suite;
mod tidy;
mod timing;
mod workspace;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Builds, demonstrates and tests Countersign"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the main job from start to end: no signature without the user's code
    Demo(demo::Arguments),
    /// Play the demo in a folder that `demo` has prepared
    #[command(hide = true)]
    DemoOnStage(demo::Stage),
    /// Install what the tests need, build everything, and run all tests
    Test,
    /// Own everything outside the boundary and try to move funds; writes docs/attacks.md
    Attack(attack::Arguments),
    /// Run the benchmarks; a full run records itself in docs/benchmarks
    Bench(suite::BenchArguments),
    /// Measure whether comparisons take the same time whatever is compared
    Timing(timing::Arguments),
    /// Run simulated histories of the plugin under faults and attacks, and judge them
    Simulate(simulate::Arguments),
    /// Check what the house asks of its files: lengths, leftovers, documentation, a test for each promise
    Tidy,
    /// Change the code that decides, one place at a time, and see whether a test notices
    Mutants(mutants::Arguments),
    /// Fuzz every decoder of bytes from outside, from the saved corpora on
    Fuzz(fuzz::Arguments),
    /// Run an HSM with enrolled accounts in the foreground, for development
    Dev(dev::Arguments),
    /// Build the frozen image: the same bytes from any folder
    Image(image::Arguments),
    /// Build what a virtual machine starts with, and print its platform measurement
    Machine,
    /// Build the manual, and follow every link of the repository's pages
    Book(book::Arguments),
    /// Make Debian packages of the programs
    Package(package::Arguments),
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Demo(arguments) => demo::prepare_and_play(&arguments),
        Command::DemoOnStage(stage) => Ok(demo::play(&stage)),
        Command::Test => suite::test(),
        Command::Attack(arguments) => attack::run_attacks(&arguments),
        Command::Bench(arguments) => suite::bench(&arguments),
        Command::Mutants(arguments) => mutants::run_mutants(&arguments),
        Command::Timing(arguments) => timing::run(&arguments),
        Command::Simulate(arguments) => simulate::run(&arguments),
        Command::Tidy => tidy::run(),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
        Command::Dev(arguments) => dev::run(&arguments),
        Command::Image(arguments) => image::run(&arguments),
        Command::Machine => machine::run(),
        Command::Book(arguments) => book::run(&arguments),
        Command::Package(arguments) => package::run(&arguments),
    }
}
