//! The malicious backend, played: he owns everything outside the boundary and tries to move funds.
//!
//! `cargo xtask attack` runs it. Every attack is played against a real HSM process with the frozen image, on both keystores where
//! a keystore has a part in it, else on the embedded one, and must get nothing. Then it is played against a test build in which the
//! guard that it aims at is switched off, and must get what it wants: an attack that gets nothing there shows nothing.
//!
//! * [`families`]: the attacks, a file for each kind; they read as what an attacker does.
//! * [`attack`]: what an attack is, and what came of one.
//! * [`relay`]: his relay, and a user whose device goes through it.
//! * [`play`]: plays one, in a process of its own.
//! * [`twin`]: programs of the test build, told what is off.
//! * [`report`]: the tables.

#![forbid(unsafe_code)]

mod attack;
mod families;
mod play;
mod relay;
mod report;
mod twin;

use clap::Parser;
use play::{Against, Job};
use report::Report;
use std::path::PathBuf;
use std::process::ExitCode;

/// Owns everything outside the boundary and tries to move funds
#[derive(Parser)]
struct Arguments {
    /// What to play: a family, or FAMILY/ATTACK [default: everything]
    #[arg(value_name = "ATTACK")]
    names: Vec<String>,
    /// List the attacks and play none
    #[arg(long)]
    list: bool,
    /// Leave out the test build with guards switched off
    #[arg(long)]
    no_twins: bool,
    /// Write the tables into this file
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    write: Option<PathBuf>,
    /// Fail unless this file holds the tables
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
    /// Play one attack in this process and say what came of it, for the process that plays them all
    #[arg(long, value_name = "JOB", hide = true)]
    job: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(job) = &arguments.job {
        return play::play_here(job);
    }
    let chosen = match families::chosen(&arguments.names) {
        Ok(chosen) => chosen,
        Err(unknown) => {
            eprintln!("there is no attack {unknown}; --list names them");
            return ExitCode::from(2);
        }
    };
    if arguments.list {
        for (family, attack) in chosen {
            println!("{}/{}: {}", family.name, attack.name, attack.does);
        }
        return ExitCode::SUCCESS;
    }
    let is_whole = arguments.names.is_empty() && !arguments.no_twins;
    if arguments.check.is_some() && !is_whole {
        eprintln!("--check compares the tables of everything; leave the names and --no-twins away");
        return ExitCode::from(2);
    }
    let guards = twin::guards();
    let jobs: Vec<Job> = chosen
        .iter()
        // Faults are the test build's, too.
        .filter(|(_, attack)| !arguments.no_twins || attack.faults.is_empty())
        .flat_map(|(family, attack)| {
            let real = attack.on.keystores().iter().map(|keystore| Against::Real(*keystore));
            // Under faults the real run is one of the test build already.
            let control = (!arguments.no_twins && attack.faults.is_empty()).then_some(Against::Control);
            let twins =
                attack.guards.iter().filter(|_| !arguments.no_twins).map(|guard| Against::Twin(guard));
            real.chain(control).chain(twins).map(|against| Job { family, attack, against })
        })
        .collect();
    let report = Report::of(&chosen, &guards, play::play_all(&jobs), !arguments.no_twins);
    print!("{}", report.summary());
    let good = report.is_good() && (!is_whole || report.covers_all_guards());
    let recorded = match (&arguments.write, &arguments.check) {
        (Some(file), _) if good && is_whole => report.write(file),
        (_, Some(file)) if good => report.compare(file),
        _ => Ok(()),
    };
    if let Err(why) = &recorded {
        println!("{why}");
    }
    if good && recorded.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
