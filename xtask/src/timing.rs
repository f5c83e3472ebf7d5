//! `cargo xtask timing`: whether comparisons take the same time whatever is compared, by the clock and by instructions.

use crate::artefacts::build_timing;
use crate::setup::{Package, ensure_packages};
use crate::suite::clean_commit;
use crate::workspace::{output, root, say};
use anyhow::{Context, Result, bail};
use std::fmt::Write;
use std::fs;
use std::process::{Command, ExitCode};

/// Where a run is recorded.
const RECORD: &str = "docs/benchmarks/timing.md";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Measurements of each class
    #[arg(long, value_name = "N", default_value_t = 2_000_000)]
    measurements: usize,
    /// Write what was found into docs/benchmarks/timing.md
    #[arg(long)]
    record: bool,
}

/// Measures, prints, and fails where classes of inputs can be told apart.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    ensure_packages(&[Package::Valgrind])?;
    // Asked before anything is measured: it may not be known.
    let at = arguments.record.then(commit).transpose()?;
    let meter = build_timing()?;
    say("measuring with the clock");
    let clock = Command::new(&meter)
        .args(["statistics", "--measurements", &arguments.measurements.to_string()])
        .output()
        .context("the meter cannot be run")?;
    let table = String::from_utf8(clock.stdout)?;
    print!("{table}");
    say("counting instructions");
    let counts = output(Command::new(&meter).arg("instructions"))?;
    let counts = lines_of(&counts)?;
    print!("\n{counts}");
    if !clock.status.success() {
        bail!("{}", String::from_utf8_lossy(&clock.stderr).trim());
    }
    if let Some(at) = at {
        fs::write(root().join(RECORD), document(arguments.measurements, &at, &table, &counts)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The instructions of every case, as a table.
fn lines_of(counts: &str) -> Result<String> {
    let all: serde_json::Value = serde_json::from_str(counts).context("the meter prints JSON")?;
    let mut table = String::from("| wrong input | instructions of two comparisons |\n| --- | --- |\n");
    for cases in all.as_object().context("an object of checks")?.values() {
        for (case, count) in cases.as_object().context("an object of cases")? {
            writeln!(table, "| `{case}` | {count} |")?;
        }
    }
    Ok(table)
}

/// What was measured.
fn commit() -> Result<String> {
    Ok(clean_commit()?
        .map_or_else(|| "a work tree with changes".to_owned(), |commit| format!("commit `{commit}`")))
}

fn document(measurements: usize, commit: &str, table: &str, counts: &str) -> Result<String> {
    let processor = fs::read_to_string("/proc/cpuinfo")?;
    let model = processor.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches([' ', '\t', ':']).to_owned();
    let date = output(Command::new("date").args(["--utc", "+%F"]))?;
    let date = date.trim();
    Ok(format!(
        "# The time that comparisons and lookups take
`cargo xtask timing --record` wrote this page. All inputs are wrong: that a right one is told apart is what the answer says anyway.

## By the clock
Welch's t-test over {measurements} measurements of each of two classes, taken in turn in an order drawn at random, the longest tenth left out (the method of
dudect). Beyond |t| = 4.5 the classes can be told apart. The control compares until one digit differs, so that it is known that a leak would be seen. Measured on {model}, on {date},
at {commit}.

{table}
## By instructions
Counted by valgrind (callgrind), exactly; the attacks `timing/…` of [attacks](../attacks.md) fail when two of a kind differ. What takes different time with the same
instructions (a division, a cache) is the clock's to see.

{counts}"
    ))
}
