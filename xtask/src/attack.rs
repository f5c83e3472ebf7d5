//! `cargo xtask attack`: builds everything, and the test build in which guards can be switched off, and plays the attacks.

use crate::artefacts::{build_timing, build_with_little_optimisation};
use crate::setup::{Package, ensure_packages};
use crate::suite;
use crate::workspace::{cargo, root, run, say, target};
use anyhow::{Context, Result, anyhow};
use countersign_edits::{Other, edited, guards, mirror, switch};
use countersign_release_build::Plan;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Where the tables are recorded.
const RECORD: &str = "docs/attacks.md";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What to play: a family, or FAMILY/ATTACK [default: everything]
    #[arg(value_name = "ATTACK")]
    names: Vec<String>,
    /// List the attacks and play none
    #[arg(long)]
    list: bool,
    /// Leave out the test build with guards switched off
    #[arg(long)]
    no_twins: bool,
    /// Compare the tables with those in docs/attacks.md and leave them as they are
    #[arg(long)]
    check: bool,
}

/// The test build: programs in which a guard can be switched off.
#[derive(Clone, Debug)]
pub(crate) struct Twins {
    hsm: PathBuf,
    cli: PathBuf,
    timing: PathBuf,
    elf: PathBuf,
}

impl Twins {
    fn name_to(&self, command: &mut Command) {
        command.env("COUNTERSIGN_TWIN_HSM", &self.hsm).env("COUNTERSIGN_TWIN_CLI", &self.cli);
        command.env("COUNTERSIGN_TWIN_TIMING", &self.timing).env("COUNTERSIGN_TWIN_ELF", &self.elf);
    }
}

/// Builds and plays.
pub(crate) fn run_attacks(arguments: &Arguments) -> Result<ExitCode> {
    let mut play = command()?;
    play.args(&arguments.names);
    if arguments.list {
        play.arg("--list");
        return suite::exit_code_of(&mut play);
    }
    suite::artefacts_for_attacks()?.name_to(&mut play);
    name_meter(&mut play)?;
    if arguments.no_twins {
        play.arg("--no-twins");
    } else {
        build_twins()?.name_to(&mut play);
    }
    play.arg(if arguments.check { "--check" } else { "--write" }).arg(root().join(RECORD));
    say("playing the attacks");
    suite::exit_code_of(&mut play)
}

/// The plugin's comparisons for a meter, and the meter.
fn name_meter(play: &mut Command) -> Result<()> {
    ensure_packages(&[Package::Valgrind])?;
    play.env("COUNTERSIGN_TEST_TIMING", build_timing()?);
    Ok(())
}

/// The program that plays them, built.
pub(crate) fn command() -> Result<Command> {
    say("building the attacks");
    let mut build = cargo();
    build.args(["build", "--locked", "--workspace", "--bin", "countersign-attacks"]);
    run(&mut build)?;
    Ok(Command::new(target().join("debug/countersign-attacks")))
}

/// Plays all of them against what was built, and compares the tables.
pub(crate) fn check(name_artefacts: impl FnOnce(&mut Command)) -> Result<ExitCode> {
    let mut play = command()?;
    name_artefacts(&mut play);
    name_meter(&mut play)?;
    build_twins()?.name_to(&mut play);
    play.arg("--check").arg(root().join(RECORD));
    say("playing the attacks");
    suite::exit_code_of(&mut play)
}

/// Copies the sources with the edits of every guard made, and builds firmware and image from them.
fn build_twins() -> Result<Twins> {
    say("building firmware, command line and image in which guards can be switched off");
    let sources = target().join("twins/sources");
    mirror(&root(), &sources, &edited_files()?).context("cannot copy the sources")?;
    let folder = target().join("twins/target");
    let plan = Plan { folder: folder.clone(), ..Plan::here(&sources)? };
    let mut programs = cargo();
    programs.current_dir(&sources).env("RUSTFLAGS", "-Awarnings");
    programs.args(["build", "-p", "countersign-simulator", "-p", "countersign-cli"]);
    // By itself: what it needs of the plugin is not to be in the others.
    let mut timing = cargo();
    timing.current_dir(&sources).env("RUSTFLAGS", "-Awarnings");
    timing.args(["build", "-p", "countersign-timing"]);
    let mut image = plan.command("cargo");
    image.env("CARGO_ENCODED_RUSTFLAGS", format!("{}\u{1f}-Awarnings", plan.flags()?));
    image.args(["build", "-p", "countersign-image", "--target", crate::artefacts::HOST]);
    for build in [&mut programs, &mut timing, &mut image] {
        build_with_little_optimisation(build, &folder)?;
    }
    Ok(Twins {
        hsm: folder.join("release/countersign-hsm"),
        cli: folder.join("release/countersign"),
        timing: folder.join("release/countersign-timing"),
        elf: folder.join(crate::artefacts::HOST).join("release/countersign-image"),
    })
}

/// The files of the copy that are not as they are in the repository.
fn edited_files() -> Result<Other> {
    let table = fs::read_to_string(root().join("tests/attacks/guards.toml"))?;
    let mut other = Other::new();
    let mut crates = BTreeSet::new();
    for edit in guards(&table).map_err(|why| anyhow!(why))?.iter().flat_map(|guard| &guard.edit) {
        let path = PathBuf::from(&edit.file);
        let text = text_of(&other, &path)?;
        other.insert(path, edited(&text, edit).map_err(|why| anyhow!(why))?.into_bytes());
        crates.insert(source_folder(&edit.file)?);
    }
    for folder in crates {
        let root_file = folder.join("lib.rs");
        let text = text_of(&other, &root_file)?;
        // After the attributes and the documentation of the crate, before its first item.
        other.insert(root_file, format!("{text}\nmod twin;\n").into_bytes());
        other.insert(folder.join(switch::MODULE_FILE), switch::MODULE.as_bytes().to_vec());
    }
    Ok(other)
}

fn text_of(other: &Other, path: &Path) -> Result<String> {
    let bytes = match other.get(path) {
        Some(bytes) => bytes.clone(),
        None => fs::read(root().join(path)).with_context(|| format!("cannot read {}", path.display()))?,
    };
    String::from_utf8(bytes).with_context(|| format!("{} is not text", path.display()))
}

/// The folder with the crate's `lib.rs`.
fn source_folder(file: &str) -> Result<PathBuf> {
    let at = file.find("/src/").with_context(|| format!("{file} lies in no crate's src"))?;
    Ok(PathBuf::from(&file[..at + 4]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_edit_of_a_guard_still_finds_its_place() {
        let files = edited_files().unwrap();
        assert!(files.keys().any(|path| path.ends_with(switch::MODULE_FILE)));
        let asks = files.values().filter(|text| String::from_utf8_lossy(text).contains("twin::off(")).count();
        assert!(asks > 0);
    }
}
