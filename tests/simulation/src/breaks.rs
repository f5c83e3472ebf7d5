//! The plugin broken on purpose: each break of `breaks.toml` is made in a copy of the sources, built, and run until a
//! checker finds it.

use countersign_edits::{Edit, Other, make, mirror};
use serde::Deserialize;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

const TABLE: &str = include_str!("../breaks.toml");

/// One guard taken away.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Break {
    /// What is broken.
    pub name: String,
    /// It is found within so many seeds.
    pub within: u64,
    /// In histories in which some users have devices.
    #[serde(default)]
    pub devices: bool,
    /// By a checker of one of these invariants.
    pub found_by: Vec<String>,
    /// How the sources are changed.
    pub edit: Vec<Edit>,
}

#[derive(Deserialize)]
struct Table {
    r#break: Vec<Break>,
}

/// All breaks.
pub fn all() -> Vec<Break> {
    let table: Table = toml::from_str(TABLE).expect("the table is well formed");
    table.r#break
}

/// How a break was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The invariant that did not hold.
    pub invariant: String,
    /// The seed.
    pub seed: u64,
}

/// A copy of the sources that may be broken, with a build folder of its own.
pub struct Bench {
    root: PathBuf,
    copy: PathBuf,
    cargo: String,
}

impl Bench {
    /// Copies the sources of the repository at `root` under its build folder. What did not change is not written again,
    /// so that it is not built again.
    pub fn set_up(root: &Path, cargo: &str) -> io::Result<Self> {
        let copy = root.join("target/simulate-breaks/sources");
        mirror(root, &copy, &Other::new())?;
        Ok(Self { root: root.to_owned(), copy, cargo: cargo.to_owned() })
    }

    /// Makes a break and runs histories until it is found. `Ok(None)`: it was not.
    pub fn try_out(&self, broken: &Break) -> Result<Option<Found>, String> {
        let made = broken.edit.iter().try_for_each(|edit| make(&self.copy, edit));
        let found = made.and_then(|()| self.search(broken));
        for edit in &broken.edit {
            let original = fs::read(self.root.join(&edit.file)).map_err(|error| error.to_string())?;
            fs::write(self.copy.join(&edit.file), original).map_err(|error| error.to_string())?;
        }
        found
    }

    fn search(&self, broken: &Break) -> Result<Option<Found>, String> {
        let built = Command::new(&self.cargo)
            .current_dir(&self.copy)
            .args(["build", "--locked", "--quiet", "-p", "countersign-simulation"])
            .env("CARGO_TARGET_DIR", self.copy.with_file_name("target"))
            // Built often and run briefly.
            .env("CARGO_PROFILE_DEV_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_DEV_DEBUG", "false")
            .env("RUSTFLAGS", "-Awarnings")
            .output()
            .map_err(|error| format!("cannot start cargo: {error}"))?;
        if !built.status.success() {
            return Err(format!("does not build:\n{}", String::from_utf8_lossy(&built.stderr)));
        }
        let program = self.copy.with_file_name("target").join("debug/countersign-simulate");
        let ran = Command::new(program)
            .args(["--seeds", &broken.within.to_string()])
            .args(broken.devices.then_some("--devices"))
            .output()
            .map_err(|error| format!("cannot run: {error}"))?;
        if ran.status.success() {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&ran.stdout);
        let after = |mark: &str| text.lines().find_map(|line| line.strip_prefix(mark));
        let seed = after("replay: cargo xtask simulate --seed ").and_then(|seed| seed.parse().ok());
        match (after("violated: "), seed) {
            (Some(invariant), Some(seed)) => Ok(Some(Found { invariant: invariant.to_owned(), seed })),
            _ => Err(format!("failed without a violation:\n{text}{}", String::from_utf8_lossy(&ran.stderr))),
        }
    }
}

/// Tries all breaks, or those whose name contains `only`, and prints a table. Gives whether each was found as stated.
pub fn try_all(root: &Path, cargo: &str, only: Option<&str>) -> io::Result<bool> {
    let bench = Bench::set_up(root, cargo)?;
    let mut good = true;
    println!("| break | found by | at seed | within |");
    println!("| --- | --- | --- | --- |");
    for broken in all().into_iter().filter(|broken| only.is_none_or(|only| broken.name.contains(only))) {
        let (by, at) = match bench.try_out(&broken) {
            Ok(Some(found)) if broken.found_by.contains(&found.invariant) => {
                (found.invariant, found.seed.to_string())
            }
            Ok(Some(found)) => {
                good = false;
                (format!("{}, which was not expected", found.invariant), found.seed.to_string())
            }
            Ok(None) => {
                good = false;
                ("NOT FOUND".to_owned(), String::new())
            }
            Err(why) => {
                good = false;
                eprintln!("{}: {why}", broken.name);
                ("FAILED".to_owned(), String::new())
            }
        };
        println!("| {} | {by} | {at} | {} |", broken.name, broken.within);
    }
    Ok(good)
}
