//! Do the plugin's comparisons take the same time whatever is compared? Two meters say.
//!
//! * [`instructions`]: valgrind counts the instructions of one comparison, exactly. They must be the same for every wrong
//!   input. What takes different time with the same instructions (a division, a cache) it does not see.
//! * [`statistics`]: the clock measures many comparisons of two classes of inputs in turn, and Welch's t-test says whether
//!   the classes can be told apart, as in dudect (Reparaz, Balasch, Verbauwhede: "Dude, is my code constant time?", 2017).
//!
//! * [`cases`]: what is compared with what.

#![forbid(unsafe_code)]

mod cases;
mod instructions;
mod statistics;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Measures whether comparisons take the same time whatever is compared
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Count the instructions of every case with valgrind, and print them as JSON
    Instructions,
    /// Measure classes of inputs against each other with the clock, and print a table
    Statistics {
        /// Measurements of each class
        #[arg(long, value_name = "N", default_value_t = 400_000)]
        measurements: usize,
    },
    /// Run one case, for a meter to count
    #[command(hide = true)]
    Run {
        /// Its name
        case: String,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Instructions => instructions::print(),
        Command::Statistics { measurements } => statistics::print(measurements),
        Command::Run { case } => cases::run(&case),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
