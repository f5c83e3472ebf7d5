//! `cargo xtask fuzz`: builds the fuzz targets with coverage, runs them from the saved corpora on, and says what came of it.
//!
//! The flags are those that `cargo fuzz` passes to the compiler, and all of them are stable; its sanitizers are not, and
//! are left out. What is found on the way stays in `target/fuzz/corpus`, a finding in `target/fuzz/findings`. With a seed of its own a run
//! begins with the saved corpora alone.

mod report;

use crate::setup::{Package, ensure_packages};
use crate::workspace::host_target;
use crate::workspace::{cargo, root, run as run_to_its_end, say, target as target_folder};
use anyhow::{Context, Result, bail};
use report::Report;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::time::Instant;

/// Coverage of every edge, in counters that libFuzzer reads, and the operands of comparisons.
const COVERAGE_FLAGS: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "-Ccodegen-units=1",
];

/// The longest input that is made.
const INPUT_MAX_BYTES: u32 = 8192;

/// An input that takes longer is a finding.
const INPUT_TIME_SECS: u32 = 10;

/// A target that takes more memory is a finding.
const MEMORY_MAX_MB: u32 = 2048;

/// The largest file that a saved corpus takes.
const SAVED_FILE_MAX_BYTES: u64 = 4096;

/// How many files a saved corpus takes up to.
const SAVED_FILES_MAX: usize = 96;

/// How much a saved corpus takes up to.
const SAVED_MAX_BYTES: u64 = 36 * 1024;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What to fuzz [default: every target in tests/fuzz/targets]
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// How long each target runs
    #[arg(long, value_name = "N", default_value_t = 10)]
    seconds: u32,
    /// Where the random numbers begin, from the saved corpora alone; 0 takes another one each time, and goes on from what was found before
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u32,
    /// Add small inputs that reach something new to the saved corpora
    #[arg(long, conflicts_with = "seed")]
    save: bool,
    /// Run one target over this file alone
    #[arg(long, value_name = "FILE", conflicts_with = "save")]
    replay: Option<PathBuf>,
}

/// Builds and runs; fails if something was found.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    ensure_packages(&[Package::CppCompiler])?;
    let targets = chosen(&arguments.targets)?;
    let began = Instant::now();
    let programs = build(&targets)?;
    say(&format!("built in {} s", began.elapsed().as_secs()));
    if let Some(file) = &arguments.replay {
        let [target] = targets.as_slice() else { bail!("name the one target to replay it with") };
        let status = Command::new(programs.join(target)).arg(file).status()?;
        return Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let reports = run_all(&targets, &programs, arguments)?;
    print!("{}", report::table(&reports));
    let found: Vec<_> = reports.iter().filter(|report| report.finding.is_some()).collect();
    for report in &found {
        println!("\n{}", report.finding_text());
    }
    if arguments.save && found.is_empty() {
        for target in &targets {
            save(target, &programs.join(target))?;
        }
    }
    Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn fuzz_folder() -> PathBuf {
    root().join("tests/fuzz")
}

/// The targets that there are, or those of them that were asked for.
fn chosen(asked: &[String]) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(fuzz_folder().join("targets"))? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|stem| stem.to_str()).context("a target's name is no text")?;
        all.push(name.to_owned());
    }
    all.sort();
    if let Some(unknown) = asked.iter().find(|asked| !all.contains(asked)) {
        bail!("there is no target {unknown}; there are {}", all.join(", "));
    }
    Ok(if asked.is_empty() { all } else { asked.to_vec() })
}

/// Builds the targets; says in which folder they are.
fn build(targets: &[String]) -> Result<PathBuf> {
    say("building the fuzz targets");
    let (host, folder) = (host_target()?, target_folder().join("fuzz"));
    let mut build = cargo();
    // With a target named, build scripts and macros are built without the flags.
    build.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", COVERAGE_FLAGS.join("\u{1f}"));
    build.args(["build", "--release", "--locked", "--target", &host, "--target-dir"]).arg(&folder);
    build.arg("--manifest-path").arg(fuzz_folder().join("Cargo.toml"));
    for target in targets {
        build.args(["--bin", target]);
    }
    run_to_its_end(&mut build)?;
    Ok(folder.join(host).join("release"))
}

/// As many targets at a time as there are processors.
fn run_all(targets: &[String], programs: &Path, arguments: &Arguments) -> Result<Vec<Report>> {
    let at_once = std::thread::available_parallelism().map_or(1, usize::from).min(targets.len());
    say(&format!("{} targets for {} s each, {at_once} at a time", targets.len(), arguments.seconds));
    let queue = Mutex::new(VecDeque::from(targets.to_vec()));
    let next = || queue.lock().expect("no thread panics with it").pop_front();
    let work = || -> Result<Vec<Report>> {
        let mut reports = Vec::new();
        while let Some(target) = next() {
            reports.push(run_one(&target, &programs.join(&target), arguments)?);
        }
        Ok(reports)
    };
    let mut reports = Vec::new();
    std::thread::scope(|scope| -> Result<()> {
        let threads: Vec<_> = (0..at_once).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            reports.extend(thread.join().expect("it returns its errors")?);
        }
        Ok(())
    })?;
    reports.sort_by(|one, other| one.target.cmp(&other.target));
    Ok(reports)
}

fn run_one(target: &str, program: &Path, arguments: &Arguments) -> Result<Report> {
    let folder = |part: &str| -> Result<PathBuf> {
        let folder = target_folder().join("fuzz").join(part).join(target);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    };
    let corpus = if arguments.seed == 0 {
        folder("corpus")?
    } else {
        // What an earlier run found is no part of what a seed stands for.
        fs::remove_dir_all(folder("of-seed")?)?;
        folder("of-seed")?
    };
    let findings = folder("findings")?;
    let log = folder("log")?.join("last");
    let mut fuzzer = Command::new(program);
    fuzzer
        .arg(format!("-max_total_time={}", arguments.seconds))
        .arg(format!("-seed={}", arguments.seed))
        .arg(format!("-max_len={INPUT_MAX_BYTES}"))
        .arg(format!("-timeout={INPUT_TIME_SECS}"))
        .arg(format!("-rss_limit_mb={MEMORY_MAX_MB}"))
        .arg(format!("-artifact_prefix={}/", findings.display()))
        .arg("-print_final_stats=1")
        .arg(&corpus)
        .arg(fuzz_folder().join("corpus").join(target));
    let dictionary = fuzz_folder().join("dictionaries").join(target);
    if dictionary.exists() {
        fuzzer.arg(format!("-dict={}", dictionary.display()));
    }
    fuzzer.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
    let status = fuzzer.status().with_context(|| format!("cannot start {}", program.display()))?;
    let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    Ok(Report::of(target, status.success(), &said, &log))
}

/// Adds what reaches something new to the saved corpus, as long as that stays small.
fn save(target: &str, program: &Path) -> Result<()> {
    let saved = fuzz_folder().join("corpus").join(target);
    let merged = tempfile::tempdir()?;
    for file in files(&saved)? {
        fs::copy(&file, merged.path().join(file.file_name().context("a file has a name")?))?;
    }
    let mut merge = Command::new(program);
    merge.args(["-merge=1", &format!("-max_len={SAVED_FILE_MAX_BYTES}")]).arg(merged.path());
    merge.arg(target_folder().join("fuzz/corpus").join(target));
    run_to_its_end(merge.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))?;
    let length = |file: &PathBuf| fs::metadata(file).map_or(0, |metadata| metadata.len());
    let kept = files(&saved)?;
    let (mut count, mut bytes) = (kept.len(), kept.iter().map(length).sum::<u64>());
    let mut new = files(merged.path())?;
    new.retain(|file| file.file_name().is_some_and(|name| !saved.join(name).exists()));
    new.sort_by_key(length);
    // As many as there is room for, of all lengths alike.
    let room = SAVED_FILES_MAX.saturating_sub(count).max(1);
    for file in new.iter().step_by(new.len().div_ceil(room).max(1)) {
        let fits = count < SAVED_FILES_MAX && bytes + length(file) <= SAVED_MAX_BYTES;
        if fits && length(file) <= SAVED_FILE_MAX_BYTES {
            (count, bytes) = (count + 1, bytes + length(file));
            fs::copy(file, saved.join(file.file_name().context("a file has a name")?))?;
        }
    }
    say(&format!("{target}: {count} files saved, {bytes} bytes"));
    Ok(())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    Ok(entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?)
}
