//! What of cargo's configuration may reach the build of an image.
//!
//! Cargo reads a file of configuration in its home, and one in the folder `.cargo` of the sources and of each folder above them
//! (the Cargo book, "Configuration"). The one of the sources is a part of them. The others could name a linker, a wrapper around
//! the compiler, flags, profiles or variables, and no option keeps them out: so an image is not built while one of them sets
//! anything that could change it.

use crate::plan::Plan;
use anyhow::{Context, Result, bail};
use std::io::ErrorKind;
use std::path::PathBuf;

/// What such a file may be called. Where there are both, cargo reads the second, which is the old name.
pub const CONFIGURATION_FILES: [&str; 2] = ["config.toml", "config"];

/// What such a file may set: where crates come from, whose checksums are in `Cargo.lock`, and what cargo shows and keeps.
const HARMLESS: [&str; 14] = [
    "alias",
    "build.jobs",
    "cache",
    "cargo-new",
    "credential-alias",
    "doc",
    "future-incompat-report",
    "http",
    "install",
    "net",
    "registries",
    "registry",
    "source",
    "term",
];

/// Refuses to build while a file of configuration outside the sources sets anything that could change the image.
pub(crate) fn refuse_what_changes_the_image(plan: &Plan) -> Result<()> {
    for file in files_outside(plan) {
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => continue,
            Err(error) => {
                return Err(error).with_context(|| {
                    format!("{} reaches the build of an image and cannot be read", file.display())
                });
            }
        };
        let table = text.parse::<toml::Table>().with_context(|| format!("{} is not TOML", file.display()))?;
        let keys = keys_that_matter(&table);
        if !keys.is_empty() {
            bail!(
                "{} sets {}, which could change the image; it may set nothing but {} while an image is built: move the rest \
                 away, or build with a CARGO_HOME and in a folder that it does not reach",
                file.display(),
                keys.join(" and "),
                HARMLESS.join(", ")
            );
        }
    }
    Ok(())
}

/// Every file that cargo would read, but that of the sources.
fn files_outside(plan: &Plan) -> Vec<PathBuf> {
    // Cargo asks the system where it is, and the answer has no links in it.
    let source = plan.source.canonicalize().unwrap_or_else(|_| plan.source.clone());
    let above = source.ancestors().skip(1).map(|folder| folder.join(".cargo"));
    let folders = std::iter::once(plan.cargo_home.clone()).chain(above);
    folders.flat_map(|folder| CONFIGURATION_FILES.map(|name| folder.join(name))).collect()
}

/// The keys of a file of configuration that are not harmless, by table and name.
fn keys_that_matter(configuration: &toml::Table) -> Vec<String> {
    let mut keys = Vec::new();
    for (table, value) in configuration {
        if HARMLESS.contains(&table.as_str()) {
            continue;
        }
        match value.as_table().filter(|table| !table.is_empty()) {
            None => keys.push(table.clone()),
            Some(inner) => keys.extend(inner.keys().map(|key| format!("{table}.{key}"))),
        }
    }
    keys.retain(|key| !HARMLESS.contains(&key.as_str()));
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Sources two folders deep, and a home of cargo beside them.
    fn stage() -> (tempfile::TempDir, Plan) {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        let plan = Plan {
            source: at("above/tree"),
            folder: at("above/tree/target"),
            cargo_home: at("home"),
            environment: Vec::new(),
            jobs: None,
            umask: None,
            user: None,
        };
        for path in ["above/tree/.cargo", "above/.cargo", ".cargo", "home"] {
            fs::create_dir_all(at(path)).unwrap();
        }
        (folder, plan)
    }

    fn refused(plan: &Plan) -> Option<String> {
        // What asks for a build is refused, not only what is asked here.
        plan.cargo_build("x86_64-unknown-linux-gnu").err().map(|error| format!("{error:#}"))
    }

    #[test]
    fn refuses_whatever_could_change_the_image_and_names_file_and_key() {
        let (folder, plan) = stage();
        for (file, text, key) in [
            ("home/config.toml", "[build]\nrustc-wrapper = \"/w\"\n", "build.rustc-wrapper"),
            (
                "home/config",
                "[target.x86_64-unknown-linux-gnu]\nlinker = \"/l\"\n",
                "target.x86_64-unknown-linux-gnu",
            ),
            ("above/.cargo/config.toml", "[profile.image]\nlto = false\n", "profile.image"),
            ("above/.cargo/config", "[env]\nCFLAGS = \"-g\"\n", "env.CFLAGS"),
            (".cargo/config.toml", "build.rustflags = [\"-g\"]\n", "build.rustflags"),
            (".cargo/config.toml", "paths = [\"/other\"]\n", "paths"),
            (".cargo/config.toml", "include = [\"more.toml\"]\n", "include"),
            (".cargo/config.toml", "[patch.crates-io]\nsha2 = { path = \"/s\" }\n", "patch.crates-io"),
            (".cargo/config.toml", "[unstable]\nbuild-std = [\"std\"]\n", "unstable.build-std"),
            (".cargo/config.toml", "[no-such-table]\n", "no-such-table"),
        ] {
            let path = folder.path().join(file);
            fs::write(&path, text).unwrap();
            let said = refused(&plan).unwrap_or_else(|| panic!("{file} with {text} is taken"));
            assert!(said.contains(&format!("{} sets {key}, which", path.display())), "{said}");
            fs::remove_file(path).unwrap();
        }
        assert_eq!(refused(&plan), None);
    }

    #[test]
    fn takes_what_cannot_change_it_and_what_is_part_of_the_sources() {
        let (folder, plan) = stage();
        let harmless = "[alias]\nx = \"run\"\n[build]\njobs = 2\n[net]\noffline = true\n[term]\nquiet = true\n\
            [source.crates-io]\nreplace-with = \"mirror\"\n[source.mirror]\ndirectory = \"/v\"\n[registries.other]\nindex = \"i\"\n";
        for file in ["home/config.toml", "above/.cargo/config", ".cargo/config.toml"] {
            fs::write(folder.path().join(file), harmless).unwrap();
        }
        fs::write(plan.source.join(".cargo/config.toml"), "[build]\nrustflags = [\"-g\"]\n").unwrap();
        assert_eq!(refused(&plan), None);
    }

    #[test]
    fn refuses_what_cannot_be_read() {
        let (folder, plan) = stage();
        let path = folder.path().join("home/config.toml");
        for text in [&b"[build"[..], b"\xff"] {
            fs::write(&path, text).unwrap();
            assert!(refused(&plan).is_some_and(|said| said.contains("home/config.toml")), "{text:?}");
        }
    }
}
