//! Gated signatures per second, next to `SoftHSM` doing the same without a gate, in the same run.
//!
//! ```text
//! cargo xtask bench [--quick]
//! cargo bench -p countersign-tests --bench gated -- [--quick] [--check] [--json FILE]
//! ```
//!
//! The contenders take turns, round after round, so that what else the machine does falls on all of them; the
//! figures are medians over the rounds. Every gated signature needs a fresh code, so there are many accounts, each
//! signs once per round, and the clock is advanced between rounds, outside the time that counts.
//!
//! * [`gated`]: an HSM, through the module and natively;
//! * [`softhsm`]: the library itself, with plain and with always-authenticate keys;
//! * [`rounds`]: one round on many threads, and what comes out of many;
//! * [`report`]: the table and the JSON file.

mod gated;
mod report;
mod rounds;
mod softhsm;

use countersign_tests::Keystore;
use gated::{Bench, Gated, Way};
use rounds::{Contender, Figures};
use softhsm::{Peer, Token};
use std::path::PathBuf;
use std::process::ExitCode;

/// Client threads that are measured.
const THREADS: [usize; 3] = [1, 2, 32];

/// How much is measured.
#[derive(Clone, Copy)]
struct Size {
    rounds: usize,
    accounts: usize,
}

impl Size {
    const FULL: Self = Self { rounds: 11, accounts: 1024 };
    const QUICK: Self = Self { rounds: 3, accounts: 128 };

    /// Signatures of one round: fewer where fewer threads make them, so that rounds take about as long.
    fn signatures(self, threads: usize) -> usize {
        match threads {
            1 => self.accounts / 4,
            2 => self.accounts / 2,
            _ => self.accounts,
        }
    }
}

struct Options {
    size: Size,
    check: bool,
    json: Option<PathBuf>,
}

fn options() -> Result<Options, String> {
    let mut options = Options { size: Size::FULL, check: false, json: None };
    let mut arguments = std::env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--quick") => options.size = Size::QUICK,
            Some("--check") => options.check = true,
            Some("--json") => options.json = Some(arguments.next().ok_or("--json needs a file")?.into()),
            // What `cargo bench` itself adds.
            Some("--bench") => {}
            _ => {
                return Err(format!(
                    "unknown argument {}; known are --quick, --check, --json FILE",
                    argument.display()
                ));
            }
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    let Options { size, check, json } = match options() {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let token = Token::create();
    let benches =
        [Keystore::Embedded, Keystore::Softhsm].map(|keystore| Bench::prepare(keystore, size.accounts));
    let mut contenders: Vec<Box<dyn Contender + '_>> = Vec::new();
    for threads in THREADS {
        let signatures = size.signatures(threads);
        for kind in Peer::ALL {
            contenders.push(Box::new(token.contender(kind, threads, signatures)));
        }
        for bench in &benches {
            for way in Way::ALL {
                contenders.push(Box::new(Gated::new(bench, way, threads, signatures)));
            }
        }
    }
    let mut figures: Vec<Figures> =
        contenders.iter().map(|contender| Figures::of(contender.name())).collect();
    for round in 0..=size.rounds {
        for (contender, figures) in contenders.iter().zip(&mut figures) {
            let outcome = contender.round();
            // The first round fills caches and connections; it does not count.
            if round > 0 {
                figures.add(outcome);
            }
        }
        eprintln!("round {round} of {}", size.rounds);
    }
    let report = report::Report::new(&figures);
    report.print();
    if let Some(file) = json {
        std::fs::write(&file, report.json()).expect("the JSON file can be written");
    }
    if check && !report.targets_are_met() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
