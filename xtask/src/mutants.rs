//! `cargo xtask mutants`: changes the code that decides, one place at a time, and sees whether a test notices.
//!
//! What survives must stand in `tests/mutants.toml` with a reason. It takes hours; CI does not run it.

use crate::workspace::{cargo, output, root, run, say, target};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

/// What is changed, and what may survive.
const LIST: &str = "tests/mutants.toml";

/// The release of cargo-mutants that the list was made with.
const TOOL_VERSION: &str = "27.1.0";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Files to change [default: all in tests/mutants.toml]
    #[arg(value_name = "FILE")]
    files: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    package: Vec<Changed>,
    #[serde(default)]
    survivor: Vec<Survivor>,
}

/// A package, whose own tests must notice.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Changed {
    name: String,
    files: Vec<String>,
    /// Tests that take long: only what no other test notices is tried with them.
    #[serde(default)]
    slow: Vec<String>,
}

/// A change that no test notices, and why that is right.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Survivor {
    mutant: String,
    why: String,
}

/// Runs them, and fails if one survives that has no reason, or if a reason is for one that does not.
pub(crate) fn run_mutants(arguments: &Arguments) -> Result<ExitCode> {
    require_tool()?;
    let list: List = toml::from_str(&fs::read_to_string(root().join(LIST))?).context(LIST)?;
    let listed: BTreeSet<_> = list.package.iter().flat_map(|package| &package.files).collect();
    if let Some(unknown) = arguments.files.iter().find(|file| !listed.contains(file)) {
        bail!("{unknown} is not in {LIST}");
    }
    if let Some(bare) = list.survivor.iter().find(|survivor| survivor.why.trim().is_empty()) {
        bail!("{LIST} gives no reason for {}", bare.mutant);
    }
    let chosen = |file: &String| arguments.files.is_empty() || arguments.files.contains(file);
    let mut found = Found::default();
    for package in &list.package {
        let files: Vec<_> = package.files.iter().filter(|file| chosen(file)).collect();
        if !files.is_empty() {
            let folder = target().join("mutants").join(&package.name);
            let _ = fs::remove_dir_all(&folder);
            found.add(change(package, &files, &folder)?);
        }
    }
    let reasons = counted(list.survivor.iter().map(|survivor| survivor.mutant.clone()));
    let survived = counted(found.survived.iter().map(|line| without_place(line)));
    let of_chosen = |mutant: &str| mutant.split_once(':').is_some_and(|(file, _)| chosen(&file.to_owned()));
    let unexcused: Vec<_> = beyond(&survived, &reasons);
    let stale: Vec<_> = beyond(&reasons, &survived).into_iter().filter(|mutant| of_chosen(mutant)).collect();
    say(&format!(
        "{} changes noticed, {} with which the tests never end, {} not noticed, of which {} have no reason",
        found.caught,
        found.hung.len(),
        found.survived.len(),
        unexcused.len()
    ));
    for mutant in &found.hung {
        println!("the tests do not end: {mutant}");
    }
    for mutant in &unexcused {
        println!("no test notices, and no reason is given: {mutant}");
    }
    for mutant in &stale {
        println!("a test notices, and a reason is given: {mutant}");
    }
    if found.caught == 0 {
        bail!("nothing was changed that a test notices: that is no result");
    }
    Ok(if unexcused.is_empty() && stale.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What came of it. Changes by their full names, with line and column.
#[derive(Default)]
struct Found {
    caught: usize,
    /// No run of the tests ends with them, not in much more time than it takes else, so that they are noticed as well.
    hung: BTreeSet<String>,
    survived: BTreeSet<String>,
}

impl Found {
    /// What a run of cargo-mutants wrote down.
    fn read(folder: &Path) -> Result<Self> {
        let named = |file| Ok::<_, anyhow::Error>(lines_of(folder, file)?.into_iter().collect());
        let caught = lines_of(folder, "caught.txt")?.len();
        Ok(Self { caught, hung: named("timeout.txt")?, survived: named("missed.txt")? })
    }

    fn add(&mut self, other: Self) {
        self.caught += other.caught;
        self.hung.extend(other.hung);
        self.survived.extend(other.survived);
    }

    /// What came of those that were not caught, with the same tests and more time.
    fn with_more_time(&mut self, again: Self) {
        *self = Self { caught: self.caught + again.caught, ..again };
    }

    /// What came of those that were not caught, tried with other tests. These may end where the others did not.
    fn with_other_tests(&mut self, again: &Self) {
        self.caught += again.caught;
        let still_hung = self.hung.intersection(&again.survived).cloned().collect::<BTreeSet<_>>();
        self.survived = again.survived.difference(&still_hung).cloned().collect();
        self.hung = again.hung.union(&still_hung).cloned().collect();
    }
}

/// Each, and how often it is there: a function may have several places of one kind.
fn counted(names: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    counts
}

/// What there is more often here than there.
fn beyond<'a>(here: &'a BTreeMap<String, usize>, there: &BTreeMap<String, usize>) -> Vec<&'a str> {
    let more = |(name, count): &(&String, &usize)| **count > there.get(*name).copied().unwrap_or(0);
    here.iter().filter(more).map(|(name, _)| name.as_str()).collect()
}

fn require_tool() -> Result<()> {
    let found = output(cargo().args(["mutants", "--version"])).unwrap_or_default();
    if !found.contains(TOOL_VERSION) {
        bail!(
            "cargo-mutants {TOOL_VERSION} is missing; run: cargo install --locked cargo-mutants --version {TOOL_VERSION}"
        );
    }
    Ok(())
}

/// Changes the files of a package, one place at a time. Survivors are no failure here.
fn change(package: &Changed, files: &[&String], folder: &Path) -> Result<Found> {
    let built = target().join("mutants/target");
    // What an earlier run left is not what the sources say, and its times can be later than theirs.
    run(cargo()
        .current_dir(root())
        .args(["clean", "--locked", "-p", &package.name, "--target-dir"])
        .arg(&built))?;
    let quick: Vec<_> = package.slow.iter().flat_map(|test| ["--skip", test]).collect();
    let mut found = run_tool(package, files, folder, &built, &["--timeout", "100"], &quick)?;
    if !found.hung.is_empty() {
        // A busy machine may have made it late.
        found.with_more_time(run_tool(
            package,
            files,
            folder,
            &built,
            &["--iterate", "--timeout", "300"],
            &quick,
        )?);
    }
    if !found.survived.is_empty() && !package.slow.is_empty() {
        let slow: Vec<_> = ["--exact"].into_iter().chain(package.slow.iter().map(String::as_str)).collect();
        let again = run_tool(package, files, folder, &built, &["--iterate", "--timeout", "1200"], &slow)?;
        found.with_other_tests(&again);
    }
    Ok(found)
}

/// One run: `how` is for the tool, `tests` is for the tests' own programs.
fn run_tool(
    package: &Changed,
    files: &[&String],
    folder: &Path,
    built: &Path,
    how: &[&str],
    tests: &[&str],
) -> Result<Found> {
    let mut mutants: Command = cargo();
    mutants.current_dir(root()).args(["mutants", "--no-shuffle", "--cargo-arg=--locked"]);
    mutants.args(["--build-timeout", "1200"]).args(how);
    mutants.args(["-p", &package.name, "--test-package", &package.name, "--output"]).arg(folder);
    for file in files {
        mutants.args(["-f", file]);
    }
    // What a property shows it shows with few cases, and there are hundreds of runs.
    mutants.env("PROPTEST_CASES", "16").env("CARGO_PROFILE_DEV_DEBUG", "0");
    mutants.env("CARGO_TARGET_DIR", built);
    mutants.args(["--", "--tests", "--"]).args(tests);
    match mutants.status()?.code() {
        // All noticed; some not; some took too long.
        Some(0 | 2 | 3) => Found::read(folder),
        other => bail!("cargo mutants ended with {other:?}"),
    }
}

fn lines_of(folder: &Path, file: &str) -> Result<Vec<String>> {
    let path = folder.join("mutants.out").join(file);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// `plugin/src/a.rs:12:3: replace …` without the line and the column, which change with every edit.
fn without_place(line: &str) -> String {
    let mut parts = line.splitn(4, ':');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(file), Some(_), Some(_), Some(what)) => format!("{file}:{what}"),
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_names_files_that_are_there_and_gives_every_survivor_a_reason() {
        let list: List = toml::from_str(&fs::read_to_string(root().join(LIST)).unwrap()).unwrap();
        for file in list.package.iter().flat_map(|package| &package.files) {
            assert!(root().join(file).exists(), "{file}");
        }
        for package in &list.package {
            let folder = package.files[0].split_once("src/").unwrap().0;
            for test in &package.slow {
                let (module, name) = test.rsplit_once("::").unwrap();
                let file =
                    root().join(folder).join("src").join(module.replace("::", "/")).with_extension("rs");
                let source = fs::read_to_string(&file).unwrap();
                assert!(source.contains(&format!("fn {name}()")), "{test}");
            }
        }
        for Survivor { mutant, why } in &list.survivor {
            assert!(mutant.contains(": replace") || mutant.contains(": delete"), "{mutant}");
            assert!(why.len() > 20, "{mutant}");
        }
    }

    #[test]
    fn a_reason_is_good_for_as_many_as_it_stands_there() {
        let counts = |names: &[&str]| counted(names.iter().map(|name| (*name).to_owned()));
        assert_eq!(beyond(&counts(&["a", "a", "b"]), &counts(&["a", "b"])), ["a"]);
        assert_eq!(beyond(&counts(&["a"]), &counts(&["a", "b"])), [""; 0]);
        assert_eq!(beyond(&counts(&["a", "b"]), &counts(&["a"])), ["b"]);
    }

    #[test]
    fn what_hung_and_is_not_noticed_by_other_tests_still_hangs() {
        let set = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        let parts = |found: Found| (found.caught, found.hung, found.survived);
        let of = |caught, hung: &[&str], survived: &[&str]| Found {
            caught,
            hung: set(hung),
            survived: set(survived),
        };
        // Two changes of one kind are two.
        let mut found = of(3, &["f:1:1: a", "f:2:1: b"], &["f:9:1: a", "f:3:1: c", "f:4:1: d"]);
        found.with_other_tests(&of(2, &[], &["f:9:1: a", "f:3:1: c", "f:2:1: b"]));
        assert_eq!(parts(found), parts(of(5, &["f:2:1: b"], &["f:9:1: a", "f:3:1: c"])));
        let mut found = of(1, &["f:1:1: a", "f:2:1: b"], &["f:3:1: c"]);
        found.with_more_time(of(1, &["f:2:1: b"], &["f:3:1: c"]));
        assert_eq!(parts(found), parts(of(2, &["f:2:1: b"], &["f:3:1: c"])));
    }

    #[test]
    fn a_mutant_is_named_without_its_place() {
        let named = "plugin/src/a.rs: replace a::b with c::d in e";
        assert_eq!(without_place("plugin/src/a.rs:12:34: replace a::b with c::d in e"), named);
    }
}
