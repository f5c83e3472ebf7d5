//! `countersign-hsm`: the HSM simulator of Countersign. Everything is in the library.

use clap::Parser;
use countersign_simulator::cli::Cli;
use countersign_simulator::{HsmError, log};
use serde_json::json;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    // A thread that panics leaves the HSM in a state that nobody has thought through: the whole process ends.
    // The message may hold data, so only the place is logged.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or("an unknown place".to_owned(), ToString::to_string);
        log::say(log::Event::InternalFault, format_args!("internal fault at {place}; the HSM stops"));
        std::process::abort();
    }));
    // A process that was started as `/proc/self/exe` is called `exe` otherwise; the name is for people only.
    let _ = rustix::thread::set_name(c"countersign-hsm");
    match Cli::parse().act() {
        Ok(code) => code,
        Err(error) => {
            let known = error.downcast_ref::<HsmError>();
            let code = known.map_or(1, HsmError::exit_code);
            let reason = known.map_or("failed", HsmError::word);
            let fields = [("reason", reason.into()), ("exit_code", code.into())];
            log::say_with(log::Event::Failed, &fields, format_args!("{error:#}"));
            if let Some(HsmError::Refused(refusal)) = known {
                let told = json!({ "refused": refusal.word(), "message": refusal.to_string() });
                // Nobody may be listening; the exit code says it, too.
                let _ = writeln!(std::io::stdout(), "{told}");
            }
            ExitCode::from(code)
        }
    }
}
