//! How many instructions each case takes, counted by valgrind's callgrind.

use crate::cases::{Check, names};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// The functions whose instructions are counted, with all that they call: what the plugin does with what it is given.
const COUNTED: [&str; 4] = [
    "countersign_plugin::timing::Factor::takes",
    "countersign_plugin::timing::Tenant::takes",
    "countersign_plugin::timing::Lookup::finds_name",
    "countersign_plugin::timing::Lookup::finds_key",
];

/// Prints the counts of every case, by check.
pub(crate) fn print() -> Result<(), String> {
    let mut all = BTreeMap::new();
    for check in Check::ALL {
        let mut counts = BTreeMap::new();
        for name in names(check) {
            let count = count(&name)?;
            counts.insert(name, count);
        }
        all.insert(check.word(), counts);
    }
    println!("{}", serde_json::to_string(&all).map_err(|error| error.to_string())?);
    Ok(())
}

/// The instructions of the case's comparisons.
fn count(case: &str) -> Result<u64, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let counts = folder.path().join("counts");
    let itself = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .args(COUNTED.map(|function| format!("--toggle-collect={function}*")))
        .arg(format!("--callgrind-out-file={}", counts.display()))
        .arg(itself)
        .args(["run", case])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("valgrind cannot be run: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    total(&counts)
}

/// What they add up to.
fn total(counts: &Path) -> Result<u64, String> {
    let text = fs::read_to_string(counts).map_err(|error| format!("{}: {error}", counts.display()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("summary: "));
    let total = line.and_then(|number| number.trim().parse().ok());
    match total {
        Some(0) | None => Err(format!("{} counts nothing: is it a function of its own?", counts.display())),
        Some(total) => Ok(total),
    }
}
