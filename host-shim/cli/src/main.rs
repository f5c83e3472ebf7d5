//! `countersign`: all that a person types.
//!
//! It lives outside the boundary and decides nothing: it turns words into requests and answers into words. With
//! `--json` every outcome is one JSON object on standard output; without it, people read standard output and are
//! told of refusals on standard error. `docs/cli.md` lists commands, shapes, exit codes and reasons.
//!
//! Modules:
//!
//! * `arguments`: the commands, their options and their help;
//! * `codes`: one-time codes from the command line, standard input or a prompt;
//! * `commands`: one function for each command;
//! * `device`: the command line as a user's own device;
//! * `doctor`: checking an installation;
//! * `failure`: what can go wrong, and the exit codes;
//! * `image`: building, signing and checking images;
//! * `intents`: inviting devices, staging intents;
//! * `log`: the tenant's audit log;
//! * `payload`: what is to be signed, from a file or the command line;
//! * `policy`: writing policies: check, pack, test, explain, format;
//! * `qr`: QR codes for the terminal and as files;
//! * `receipts`: receipts and the HSM's identity;
//! * `relay`: the relay, from its options to its end;
//! * `session`: asking the HSM with the tenant's rights;
//! * `show`: what is shown for each answer, to programs and to people;
//! * `wallet`: addresses, from what the HSM says of keys.

mod arguments;
mod attest;
mod codes;
mod commands;
mod device;
mod doctor;
mod failure;
mod image;
mod intents;
mod log;
mod payload;
mod policy;
mod qr;
mod receipts;
mod relay;
mod session;
mod show;
mod wallet;

use clap::Parser;
use clap::error::ErrorKind;
use failure::Failure;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = match arguments::Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return not_understood(&error),
    };
    let outcome = commands::run(&arguments).and_then(|text| write_out(&text));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(arguments.json),
    }
}

/// Help and the version are no failures; everything else that clap refuses is a usage error.
fn not_understood(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|argument| argument == "--json");
    if error.use_stderr() && json {
        return Failure::Usage(in_one_line(error)).report(true);
    }
    // Nothing better can be done where even this cannot be written.
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(failure::EXIT_USAGE) } else { ExitCode::SUCCESS }
}

/// What clap says, without the usage line and the hint that it appends after the first paragraph.
fn in_one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // Here clap shows the help of what came last.
        let usage =
            text.lines().find_map(|line| line.strip_prefix("Usage: ")).unwrap_or("countersign <COMMAND>");
        return format!("a command is missing: {usage}");
    }
    let first = text.split("\n\n").next().unwrap_or_default();
    first.trim_start_matches("error: ").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn write_out(text: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::Output)
}
