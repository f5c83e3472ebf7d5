//! `cargo xtask test` and `cargo xtask bench`: the whole suite, with everything it needs around it.
//!
//! Tests that span crates find what was built through environment variables, and fail without them.

use crate::artefacts::{Programs, build_faults, build_image, build_programs};
use crate::setup::{Package, ensure_packages, ensure_python};
use crate::workspace::{cargo, say};
use anyhow::{Context, Result};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::Instant;

/// What tests that span crates run on.
struct Artefacts {
    programs: Programs,
    image: PathBuf,
    /// What the tests preload into the HSM.
    faults: Option<PathBuf>,
    python: Option<PathBuf>,
}

impl Artefacts {
    fn name_to(&self, command: &mut Command) {
        command
            .env("COUNTERSIGN_TEST_IMAGE", &self.image)
            .env("COUNTERSIGN_TEST_HSM", &self.programs.hsm)
            .env("COUNTERSIGN_TEST_CLI", &self.programs.cli)
            .env("COUNTERSIGN_TEST_MODULE", &self.programs.module);
        if let Some(faults) = &self.faults {
            command.env("COUNTERSIGN_TEST_FAULTS", faults);
        }
        if let Some(python) = &self.python {
            command.env("COUNTERSIGN_TEST_PYTHON", python);
        }
    }
}

fn build(faults: Option<PathBuf>, python: Option<PathBuf>) -> Result<Artefacts> {
    let programs = build_programs()?;
    let image = build_image(&programs.hsm, None)?.image;
    Ok(Artefacts { programs, image, faults, python })
}

/// Installs what is missing, builds everything and runs all tests.
pub(crate) fn test() -> Result<ExitCode> {
    let began = Instant::now();
    ensure_packages(&[Package::SoftHsm2, Package::OpenSc, Package::PythonVenv])?;
    let artefacts = build(Some(build_faults()?), Some(ensure_python()?))?;
    say("running the tests");
    let mut tests = cargo();
    tests.args(["test", "--locked", "--workspace", "--no-fail-fast"]).stdout(Stdio::piped());
    artefacts.name_to(&mut tests);
    let (status, total) = run_and_count(&mut tests)?;
    say(&format!("{total} in {} s", began.elapsed().as_secs()));
    Ok(exit_code(status))
}

/// Runs the benchmarks.
pub(crate) fn bench(quick: bool) -> Result<ExitCode> {
    ensure_packages(&[Package::SoftHsm2])?;
    let artefacts = build(None, None)?;
    say("running the benchmarks");
    let mut bench = cargo();
    bench.args(["bench", "--locked", "-p", "countersign-tests", "--bench", "gated"]).stdout(Stdio::inherit());
    if quick {
        bench.args(["--", "--quick"]);
    }
    artefacts.name_to(&mut bench);
    Ok(exit_code(bench.status().context("cannot start cargo")?))
}

fn exit_code(status: ExitStatus) -> ExitCode {
    status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// How many tests there were.
#[derive(Debug, Default, PartialEq, Eq)]
struct Total {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl std::fmt::Display for Total {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} tests passed, {} failed, {} ignored", self.passed, self.failed, self.ignored)
    }
}

impl Total {
    /// Adds up a line like `test result: ok. 3 passed; 0 failed; 0 ignored; …`; other lines are none.
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
        let words: Vec<_> = result.split([' ', ';', '.']).filter(|word| !word.is_empty()).collect();
        for pair in words.windows(2) {
            let Ok(count) = pair[0].parse::<u64>() else { continue };
            match pair[1] {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.ignored += count,
                _ => {}
            }
        }
    }
}

/// Passes on what the tests print, and counts them.
fn run_and_count(tests: &mut Command) -> Result<(ExitStatus, Total)> {
    let mut child = tests.spawn().context("cannot start cargo")?;
    let stdout = child.stdout.take().context("cargo has no stdout")?;
    let mut total = Total::default();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        total.add(&line);
    }
    Ok((child.wait()?, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_up_the_results_of_all_test_programs() {
        let mut total = Total::default();
        total.add("running 5 tests");
        total.add(
            "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.05s",
        );
        total.add("test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured; 7 filtered out; finished in 1.05s");
        assert_eq!(total, Total { passed: 7, failed: 3, ignored: 1 });
    }
}
