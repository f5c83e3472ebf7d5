//! What is kept of a run: a page and a plot.

use crate::results::Results;
use crate::{plot, report};
use nix::sys::utsname::uname;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the record goes and what it says of the run itself.
#[derive(Debug, clap::Args)]
pub(crate) struct Record {
    /// Write the record into this folder
    #[arg(long = "record", value_name = "DIR")]
    folder: Option<PathBuf>,
    /// The command that the record names
    #[arg(long, value_name = "TEXT", default_value = "cargo xtask bench")]
    command: String,
    /// The commit that the record names
    #[arg(long, value_name = "ID")]
    commit: Option<String>,
}

/// The plot's file, beside the page.
const PLOT: &str = "benchmarks.svg";

impl Record {
    /// Writes the record, if it is wanted. `conditions` says how much was measured.
    pub(crate) fn write(&self, results: &Results, conditions: &str) {
        let Some(folder) = &self.folder else { return };
        fs::create_dir_all(folder).expect("the record's folder can be made");
        fs::write(folder.join(PLOT), plot::svg(results)).expect("the plot can be written");
        fs::write(folder.join("README.md"), self.page(results, conditions)).expect("the page can be written");
        eprintln!("recorded in {}", folder.display());
    }

    fn page(&self, results: &Results, conditions: &str) -> String {
        let commit = self.commit.as_ref().map_or_else(
            || "with changes that were not committed".to_owned(),
            |commit| format!("at commit `{commit}`"),
        );
        format!(
            "# Benchmarks\n\
             `cargo xtask bench` measures gated signatures (count first, check, spend, sign, verify, each step durable) \
             next to peers that sign without such a gate, in the same run: the contenders take turns, round after round, \
             so that what else the machine does falls on all of them. Figures are medians over the rounds. The ratios hold \
             better than the absolute figures, which depend on the machine.\n\n\
             | | |\n| --- | --- |\n| command | `{}`, {commit} |\n| date | {} |\n| machine | {} |\n| measured | {conditions} |\n\n\
             ![Throughput by number of clients and of accounts]({PLOT})\n{}",
            self.command,
            today(),
            machine(),
            report::markdown(results)
        )
    }
}

/// Cores, processor, kernel.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("a processor without a name", |(_, model)| model);
    let virtual_machine = if info.contains(" hypervisor") { ", virtual" } else { "" };
    let system = uname().expect("Linux says what it is");
    let (name, release) = (system.sysname().to_string_lossy(), system.release().to_string_lossy());
    format!("{cores} cores of {model}{virtual_machine}; {name} {release}")
}

/// The date in UTC, as `2026-01-31`.
fn today() -> String {
    let output = Command::new("date").args(["-u", "+%F"]).output().expect("every Linux has `date`");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A folder for the HSMs of this run, on the disk that the record speaks of.
pub(crate) fn scratch(kept: Option<&Path>) -> (PathBuf, Option<tempfile::TempDir>) {
    if let Some(folder) = kept {
        fs::create_dir_all(folder).expect("the folder for HSMs can be made");
        return (folder.to_owned(), None);
    }
    let folder = tempfile::Builder::new().prefix("countersign-bench-").tempdir().expect("a temporary folder");
    (folder.path().to_owned(), Some(folder))
}
