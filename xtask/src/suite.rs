//! `cargo xtask test` and `cargo xtask bench`: the whole suite, with everything it needs around it.
//!
//! Tests that span crates find what was built through environment variables, and fail without them.

use crate::artefacts::{Programs, build_faults, build_hostile, build_image, build_programs};
use crate::attack;
use crate::machine::{Machine, build_machine};
use crate::setup::{Package, ensure_node, ensure_packages, ensure_page, ensure_promtool, ensure_python};
use crate::workspace::{cargo, output, root, say};
use anyhow::{Context, Result};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::Instant;

/// What tests that span crates run on.
pub(crate) struct Artefacts {
    programs: Programs,
    image: PathBuf,
    /// What the tests preload into the HSM.
    faults: Option<PathBuf>,
    python: Option<PathBuf>,
    /// The scripts in JavaScript, with their libraries.
    node: Option<PathBuf>,
    /// The users' page, as it is served.
    page: Option<PathBuf>,
    /// The virtual machine that the plugin may run in.
    machine: Option<Machine>,
    promtool: Option<PathBuf>,
    /// What tries to get out of the sandbox: the executable, and its image.
    hostile: Option<(PathBuf, PathBuf)>,
}

impl Artefacts {
    pub(crate) fn name_to(&self, command: &mut Command) {
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
        if let Some(node) = &self.node {
            command.env("COUNTERSIGN_TEST_NODE", node);
        }
        if let Some(page) = &self.page {
            command.env("COUNTERSIGN_TEST_PAGE", page);
        }
        if let Some(Machine { kernel, root }) = &self.machine {
            command.env("COUNTERSIGN_TEST_VM_KERNEL", kernel).env("COUNTERSIGN_TEST_VM_ROOT", root);
        }
        if let Some(promtool) = &self.promtool {
            command.env("COUNTERSIGN_TEST_PROMTOOL", promtool);
        }
        if let Some((elf, image)) = &self.hostile {
            command.env("COUNTERSIGN_TEST_HOSTILE_ELF", elf).env("COUNTERSIGN_TEST_HOSTILE_IMAGE", image);
        }
    }
}

fn build() -> Result<Artefacts> {
    let programs = build_programs()?;
    let image = build_image()?.image;
    Ok(Artefacts {
        programs,
        image,
        faults: None,
        python: None,
        node: None,
        page: None,
        promtool: None,
        hostile: None,
        machine: None,
    })
}

/// Installs what is missing, builds everything and runs all tests.
pub(crate) fn test() -> Result<ExitCode> {
    let began = Instant::now();
    ensure_packages(&[
        Package::SoftHsm2,
        Package::OpenSc,
        Package::PythonVenv,
        Package::P11KitHeaders,
        Package::Jdk,
        Package::Node,
        Package::Npm,
        Package::Chromium,
        Package::OpenSsh,
        Package::Cpio,
        Package::Qemu,
        Package::P11Kit,
        Package::P11KitModules,
        Package::OpenSsl,
        Package::OpenSslEngine,
        Package::GnuTlsTools,
        Package::Go,
        Package::GoPkcs11,
        Package::GoCrypto,
        Package::GoSecp256k1,
        Package::BouncyCastle,
        Package::Gson,
        Package::CppCompiler,
        Package::Make,
        Package::NodeHeaders,
    ])?;
    let (faults, python, node) = (Some(build_faults()?), Some(ensure_python()?), Some(ensure_node()?));
    let (page, promtool) = (Some(ensure_page()?), Some(ensure_promtool()?));
    let built = build()?;
    let (hostile, machine) = (Some(build_hostile()?), Some(build_machine(&built.programs.hsm)?));
    let artefacts = Artefacts { faults, python, node, page, machine, promtool, hostile, ..built };
    say("running the tests");
    let mut tests = cargo();
    tests.args(["test", "--locked", "--workspace", "--no-fail-fast"]).stdout(Stdio::piped());
    artefacts.name_to(&mut tests);
    let (status, total) = run_and_count(&mut tests)?;
    say(&format!("{total} in {} s", began.elapsed().as_secs()));
    let in_the_machine = test_in_the_machine(&artefacts)?;
    let attacked = attack::check(|play| artefacts.name_to(play))?;
    let tested = exit_code(if status.success() { in_the_machine } else { status });
    Ok(if tested == ExitCode::SUCCESS { attacked } else { tested })
}

/// What the attacks are played against.
pub(crate) fn artefacts_for_attacks() -> Result<Artefacts> {
    ensure_packages(&[Package::SoftHsm2, Package::OpenSsh])?;
    Ok(Artefacts { faults: Some(build_faults()?), ..build()? })
}

/// The tests of the main job, that an HSM whose plugin runs in a virtual machine passes like any other. What the same plugin decides
/// of the same bytes is the same there; these are what goes through every wall.
const MAIN_JOB: &[&str] = &[
    "approvals::",
    "attestation::an_attestation_answers_one_nonce_of_one_hsm",
    "cli::",
    "enrolment::",
    "limits::",
    "pkcs11_clients::cryptoki",
    "rollback::",
    "sandbox::the_plugin_never_outlives_its_firmware",
    "signing::",
];

/// Once more, with every HSM's plugin in a virtual machine.
fn test_in_the_machine(artefacts: &Artefacts) -> Result<ExitStatus> {
    say("running the tests of the main job in the virtual machine");
    let began = Instant::now();
    let mut tests = cargo();
    // Of the whole workspace, so that nothing is built again with other features.
    tests.args(["test", "--locked", "--workspace", "--test", "it", "--no-fail-fast", "--"]);
    // The keystore is the firmware's, outside the machine: one is enough.
    tests
        .args(MAIN_JOB)
        .args(["--skip", "::softhsm"])
        .stdout(Stdio::piped())
        .env("COUNTERSIGN_TEST_BOUNDARY", "vm");
    artefacts.name_to(&mut tests);
    let (status, total) = run_and_count(&mut tests)?;
    say(&format!("in the virtual machine {total} in {} s", began.elapsed().as_secs()));
    Ok(status)
}

/// What `cargo xtask bench` takes. All but the record is passed on.
#[derive(clap::Args)]
pub(crate) struct BenchArguments {
    /// Short runs: shows that it works, measures little, takes less than a minute
    #[arg(long)]
    quick: bool,
    /// Fail if a target was missed
    #[arg(long)]
    check: bool,
    /// Write the results into this file, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// What to measure: throughput, intents, growth, instructions, start [default: everything]
    #[arg(long, value_name = "PART", num_args = 1.., value_delimiter = ',')]
    only: Vec<String>,
    /// Keep the HSMs with their accounts in this folder, and use those that are there
    #[arg(long, value_name = "DIR")]
    home_cache: Option<PathBuf>,
    /// Record in docs/benchmarks what is not a full run
    #[arg(long)]
    record: bool,
}

impl BenchArguments {
    /// Whether docs/benchmarks is written: a part of a run, or a quick one, does not replace a full one unasked.
    fn is_recorded(&self) -> bool {
        self.record || !self.quick && self.only.is_empty()
    }

    /// The command as the record names it.
    fn command(&self) -> String {
        let mut command = "cargo xtask bench".to_owned();
        if self.quick {
            command.push_str(" --quick");
        }
        if !self.only.is_empty() {
            command.push_str(" --only ");
            command.push_str(&self.only.join(","));
        }
        if self.home_cache.is_some() {
            command.push_str(" --home-cache DIR");
        }
        command
    }

    /// Paths are made absolute: cargo starts the benchmarks in another folder.
    fn pass_on(&self, bench: &mut Command) -> Result<()> {
        for (flag, is_set) in [("--quick", self.quick), ("--check", self.check)] {
            if is_set {
                bench.arg(flag);
            }
        }
        if !self.only.is_empty() {
            bench.arg("--only").arg(self.only.join(","));
        }
        for (flag, path) in [("--json", &self.json), ("--home-cache", &self.home_cache)] {
            if let Some(path) = path {
                bench.arg(flag).arg(std::path::absolute(path)?);
            }
        }
        if self.is_recorded() {
            bench.arg("--record").arg(root().join("docs/benchmarks")).arg("--command").arg(self.command());
            if let Some(commit) = clean_commit()? {
                bench.arg("--commit").arg(commit);
            }
        }
        Ok(())
    }
}

/// The commit that the working tree is, if nothing in it was changed but the record itself.
pub(crate) fn clean_commit() -> Result<Option<String>> {
    let git = |arguments: &[&str]| output(Command::new("git").current_dir(root()).args(arguments));
    let is_clean = git(&["status", "--porcelain", "--", ".", ":!docs/benchmarks"])?.trim().is_empty();
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    Ok(is_clean.then(|| commit.trim().to_owned()))
}

/// Runs the benchmarks.
pub(crate) fn bench(arguments: &BenchArguments) -> Result<ExitCode> {
    ensure_packages(&[Package::SoftHsm2, Package::P11Kit, Package::P11KitModules, Package::Valgrind])?;
    let artefacts = build()?;
    say("running the benchmarks");
    let mut bench = cargo();
    bench.args(["bench", "--locked", "-p", "countersign-tests", "--bench", "gated", "--"]);
    bench.stdout(Stdio::inherit());
    arguments.pass_on(&mut bench)?;
    artefacts.name_to(&mut bench);
    Ok(exit_code(bench.status().context("cannot start cargo")?))
}

/// Runs a program that prints its own results, to its end.
pub(crate) fn exit_code_of(command: &mut Command) -> Result<ExitCode> {
    let name = command.get_program().display().to_string();
    Ok(exit_code(command.status().with_context(|| format!("cannot start {name}"))?))
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
    fn only_a_full_run_replaces_the_record_unasked() {
        let full = || BenchArguments {
            quick: false,
            check: true,
            json: None,
            only: Vec::new(),
            home_cache: None,
            record: false,
        };
        assert!(full().is_recorded());
        assert_eq!(full().command(), "cargo xtask bench");
        let quick = BenchArguments { quick: true, ..full() };
        assert!(!quick.is_recorded());
        let part = BenchArguments { only: vec!["growth".into(), "start".into()], ..full() };
        assert!(!part.is_recorded());
        let asked = BenchArguments { record: true, ..part };
        assert!(asked.is_recorded());
        assert_eq!(asked.command(), "cargo xtask bench --only growth,start");
    }

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

    /// Who plans with figures should find those that were measured.
    #[test]
    fn the_figures_for_capacity_planning_are_those_of_the_benchmarks() {
        let page = include_str!("../../docs/manual/custodians/capacity.md");
        let measured = include_str!("../../docs/benchmarks/README.md");
        let cells = |line: &'static str| -> Vec<&'static str> {
            line.trim_matches('|').split('|').map(str::trim).collect()
        };
        let mut compared = 0;
        for line in page.lines().filter(|line| line.starts_with("| `")) {
            let told = cells(line);
            let found = measured.lines().filter(|line| line.starts_with("| `")).map(cells);
            let rows: Vec<_> = found.filter(|row| row[0] == told[0]).collect();
            let is_measured = rows.iter().any(|row| told.iter().all(|cell| row.contains(cell)));
            assert!(is_measured, "docs/benchmarks/README.md does not say so: {line}");
            compared += 1;
        }
        assert!(compared >= 17, "{compared} rows");
        for figure in ["522", "11.0", "4,943"] {
            assert!(page.contains(figure) && measured.contains(&format!(" {figure} |")), "{figure}");
        }
        // How old they are, and of which machine.
        for fact in ["| command |", "| date |", "| machine |"] {
            let told = measured.lines().find(|line| line.starts_with(fact)).expect("the record says it");
            assert!(page.lines().any(|line| line == told), "{told}");
        }
    }
}
