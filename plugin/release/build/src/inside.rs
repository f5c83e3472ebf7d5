//! What is inside an executable: the crates that were compiled for it, the files that the compiler read, their lines.
//!
//! All of it is what cargo and rustc said of this build, not what the manifests promise: cargo names each crate that it
//! compiled, and rustc writes beside each which files it read.

use crate::plan::{IMAGE_PACKAGE, Plan};
use crate::sources::sources;
use crate::{output, read, sha256_hex, text};
use anyhow::{Context, Result, bail};
use countersign_release::sbom::{Component, Hash, Kind, License};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// One crate.
#[derive(Clone, Debug)]
pub struct Crate {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its licence, an SPDX expression.
    pub licence: Option<String>,
    /// The features that it was compiled with.
    pub features: Vec<String>,
    /// SHA-256 of the package that was downloaded, as Cargo.lock has it; `None`: it is one of ours.
    pub checksum: Option<String>,
    /// What cargo calls its kind: `lib`, `bin`, `proc-macro`, `custom-build`.
    pub kind: String,
    /// The edition of Rust that it is written in.
    pub edition: String,
    /// The files that the compiler read for it. Of a crate of others that only ran while something was compiled, none: its
    /// checksum says which they were.
    pub files: BTreeSet<PathBuf>,
}

/// What an executable was made of.
#[derive(Clone, Debug)]
pub struct Inside {
    /// The executable.
    pub elf: PathBuf,
    /// The crates, sorted by name and version, the executable's own among them.
    pub crates: Vec<Crate>,
    /// The crates that only ran while these were compiled: build scripts, procedural macros, and what they are made of.
    pub host_crates: Vec<Crate>,
    /// How many there are and how long, of ours and of others.
    pub counts: Counts,
    /// SHA-256 over everything that goes in from the repository; see [`crate::sources`].
    pub sources_sha256: String,
}

/// How much is inside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Crates of this repository.
    pub own_crates: usize,
    /// Lines of Rust in the files of theirs that the compiler read.
    pub own_lines: usize,
    /// Crates of others.
    pub other_crates: usize,
    /// Lines of Rust in the files of theirs that the compiler read.
    pub other_lines: usize,
}

impl Counts {
    /// One sentence, which `SECURITY.md` repeats.
    pub fn sentence(&self) -> String {
        let Self { own_crates, own_lines, other_crates, other_lines } = self;
        format!(
            "The image holds {} crates: {own_crates} of ours with {own_lines} lines of Rust, and {other_crates} of others with \
             {other_lines}.",
            own_crates + other_crates
        )
    }
}

/// What cargo says of one crate that it compiled (`--message-format json`).
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    manifest_path: PathBuf,
    #[serde(default)]
    features: Vec<String>,
    #[serde(default)]
    filenames: Vec<PathBuf>,
    #[serde(default)]
    executable: Option<PathBuf>,
    #[serde(default)]
    target: Target,
}

#[derive(Default, Deserialize)]
struct Target {
    #[serde(default)]
    name: String,
    #[serde(default)]
    kind: Vec<String>,
    #[serde(default)]
    edition: String,
}

/// Compiles the image's executable for `target`.
pub fn compile(plan: &Plan, target: &str) -> Result<Inside> {
    let said = output(&mut plan.cargo_build(target)?)?;
    let lock = Lock::read(&plan.source)?;
    // What only runs while something is compiled is compiled for the host, beside the target's folder.
    let folder = plan.folder.join(target);
    let (mut crates, mut host_crates, mut elf) = (Vec::new(), Vec::new(), None);
    for line in said.lines() {
        let message: Message = serde_json::from_str(line).context("cargo did not print JSON")?;
        if message.reason != "compiler-artifact" {
            continue;
        }
        if message.filenames.iter().any(|file| file.starts_with(&folder)) {
            elf = elf.or_else(|| message.executable.clone());
            crates.push(lock.crate_of(plan, &message, Reads::All)?);
        } else {
            host_crates.push(lock.crate_of(plan, &message, Reads::Ours)?);
        }
    }
    leave_each_file_to_one(&mut crates);
    for list in [&mut crates, &mut host_crates] {
        list.sort_by(|a, b| a.order().cmp(&b.order()));
    }
    let elf = elf.context("cargo built no executable")?;
    let counts = count(&crates)?;
    let sources = sources(plan, &crates, &host_crates)?;
    Ok(Inside { elf, crates, host_crates, counts, sources_sha256: sha256_hex(sources.as_bytes()) })
}

/// Of which crates the files are looked up.
#[derive(Clone, Copy, PartialEq)]
enum Reads {
    All,
    Ours,
}

impl Inside {
    /// The executable as a component.
    pub(crate) fn component(&self) -> Result<Component> {
        let main = self.crates.iter().find(|one| one.name == IMAGE_PACKAGE);
        Ok(Component {
            kind: Kind::Application,
            ..main.context("the image's own crate was not built")?.component()
        })
    }

    /// Everything that was linked into it.
    pub(crate) fn components(&self) -> impl Iterator<Item = Component> {
        self.crates.iter().filter(|one| one.name != IMAGE_PACKAGE).map(Crate::component)
    }
}

impl Crate {
    /// Cargo may compile one package more than once for the host.
    fn order(&self) -> (&str, &str, &str, &[String]) {
        (&self.name, &self.version, &self.kind, &self.features)
    }

    fn component(&self) -> Component {
        let version_in_purl = self.version.replace('+', "%2B");
        Component {
            kind: Kind::Library,
            name: self.name.clone(),
            version: self.version.clone(),
            hashes: self.checksum.iter().map(Hash::sha256).collect(),
            licenses: self.licence.iter().map(|one| License { expression: one.clone() }).collect(),
            purl: Some(match self.checksum {
                Some(_) => format!("pkg:cargo/{}@{version_in_purl}", self.name),
                // Ours are published nowhere.
                None => format!("pkg:generic/{}@{version_in_purl}", self.name),
            }),
        }
    }
}

/// `Cargo.lock`: name and version of each package, and its checksum.
struct Lock {
    packages: BTreeMap<(String, String), Option<String>>,
    /// What members of the workspace take from its root.
    workspace: toml::Table,
}

impl Lock {
    fn read(source: &Path) -> Result<Self> {
        #[derive(Deserialize)]
        struct File {
            package: Vec<Package>,
        }
        #[derive(Deserialize)]
        struct Package {
            name: String,
            version: String,
            checksum: Option<String>,
        }
        let lock: File =
            toml::from_str(&text(&source.join("Cargo.lock"))?).context("Cargo.lock cannot be read")?;
        let packages = lock.package.into_iter().map(|one| ((one.name, one.version), one.checksum)).collect();
        let root: toml::Table =
            toml::from_str(&text(&source.join("Cargo.toml"))?).context("Cargo.toml cannot be read")?;
        let workspace =
            root.get("workspace").and_then(|table| table.get("package")).and_then(toml::Value::as_table);
        Ok(Self { packages, workspace: workspace.cloned().unwrap_or_default() })
    }

    fn crate_of(&self, plan: &Plan, message: &Message, reads: Reads) -> Result<Crate> {
        let manifest: toml::Table = toml::from_str(&text(&message.manifest_path)?)
            .with_context(|| format!("{} cannot be read", message.manifest_path.display()))?;
        let package = manifest
            .get("package")
            .and_then(toml::Value::as_table)
            .context("a manifest without a package")?;
        let field = |name: &str| {
            let own = package.get(name)?;
            let own = if own.is_table() { self.workspace.get(name)? } else { own };
            own.as_str().map(str::to_owned)
        };
        let name = field("name").context("a package without a name")?;
        let version = field("version").context("a package without a version")?;
        let checksum = self.packages.get(&(name.clone(), version.clone()));
        let checksum = checksum.with_context(|| format!("{name} {version} is not in Cargo.lock"))?.clone();
        let looked_up = reads == Reads::All || checksum.is_none();
        Ok(Crate {
            licence: field("license"),
            features: message.features.clone(),
            checksum,
            kind: message.target.kind.join(","),
            edition: message.target.edition.clone(),
            files: if looked_up { files_of(plan, message)? } else { BTreeSet::new() },
            name,
            version,
        })
    }
}

/// The files that rustc read for a crate, absolute. What build scripts made is left out: it follows from the rest.
fn files_of(plan: &Plan, message: &Message) -> Result<BTreeSet<PathBuf>> {
    let listing = listing_of(message)?;
    let files = read_listing(&text(&listing)?).into_iter().map(|file| plan.source.join(file));
    let files: BTreeSet<_> = files.filter(|file| !file.starts_with(&plan.folder)).collect();
    if files.is_empty() {
        bail!("{} names no source file", listing.display());
    }
    Ok(files)
}

/// Where rustc wrote which files it read for a crate.
fn listing_of(message: &Message) -> Result<PathBuf> {
    if let Some(executable) = &message.executable {
        return Ok(executable.with_file_name(format!("{IMAGE_PACKAGE}.d")));
    }
    let made = |end: &str| {
        let mut files = message.filenames.iter();
        files.find(|file| file.extension().is_some_and(|extension| extension == end))
    };
    if let Some(library) = made("rlib").or_else(|| made("so")) {
        let name = library.file_stem().and_then(|stem| stem.to_str()?.strip_prefix("lib"));
        let name = name.with_context(|| format!("{} is not called lib…", library.display()))?;
        return Ok(library.with_file_name(format!("{name}.d")));
    }
    // A build script lies in a folder of its own, and its listing carries a hash in its name.
    let script = message.filenames.first().and_then(|script| script.parent());
    let folder = script.context("cargo names no file that it made of a crate")?;
    let begins = message.target.name.replace('-', "_") + "-";
    let is_listing = |path: &PathBuf| {
        let name = path.file_stem().and_then(|name| name.to_str());
        path.extension().is_some_and(|end| end == "d") && name.is_some_and(|name| name.starts_with(&begins))
    };
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut listings = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_listing);
    match (listings.next(), listings.next()) {
        (Some(listing), None) => Ok(listing),
        _ => bail!(
            "{} does not hold one listing of what {} was compiled from",
            folder.display(),
            message.target.name
        ),
    }
}

/// The files that the first rule of a makefile depends on; a space in a name has a backslash before it.
fn read_listing(listing: &str) -> Vec<String> {
    let rule = listing.lines().find_map(|line| line.split_once(": ")).map_or("", |(_, files)| files);
    let (mut files, mut name, mut escaped) = (Vec::new(), String::new(), false);
    for c in rule.chars().chain([' ']) {
        match c {
            '\\' if !escaped => escaped = true,
            ' ' if !escaped => {
                if !name.is_empty() {
                    files.push(std::mem::take(&mut name));
                }
            }
            c => {
                if escaped && c != ' ' && c != '\\' {
                    name.push('\\');
                }
                name.push(c);
                escaped = false;
            }
        }
    }
    files
}

/// The executable's listing has the files of the crates that it links, too.
fn leave_each_file_to_one(crates: &mut [Crate]) {
    let linked = crates.iter().filter(|one| one.name != IMAGE_PACKAGE);
    let linked: BTreeSet<PathBuf> = linked.flat_map(|one| one.files.iter().cloned()).collect();
    for main in crates.iter_mut().filter(|one| one.name == IMAGE_PACKAGE) {
        main.files.retain(|file| !linked.contains(file));
    }
}

fn count(crates: &[Crate]) -> Result<Counts> {
    let mut counts = Counts::default();
    for one in crates {
        let rust = one.files.iter().filter(|file| file.extension().is_some_and(|end| end == "rs"));
        let lines = rust.map(|file| Ok(read(file)?.split(|byte| *byte == b'\n').count() - 1));
        let lines: usize = lines.collect::<Result<Vec<_>>>()?.into_iter().sum();
        if one.checksum.is_none() {
            (counts.own_crates, counts.own_lines) = (counts.own_crates + 1, counts.own_lines + lines);
        } else {
            (counts.other_crates, counts.other_lines) = (counts.other_crates + 1, counts.other_lines + lines);
        }
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_files_of_a_makefile_with_spaces_in_their_names() {
        let listing = "/t/lib.rlib: src/lib.rs /a\\ b/c.rs /back\\\\slash.rs\n\nsrc/lib.rs:\n";
        assert_eq!(read_listing(listing), ["src/lib.rs", "/a b/c.rs", "/back\\slash.rs"]);
        assert!(read_listing("").is_empty());
    }

    #[test]
    fn the_sentence_adds_up() {
        let counts = Counts { own_crates: 6, own_lines: 1000, other_crates: 99, other_lines: 250_000 };
        assert_eq!(
            counts.sentence(),
            "The image holds 105 crates: 6 of ours with 1000 lines of Rust, and 99 of others with 250000."
        );
    }

    #[test]
    fn finds_what_was_read_for_a_library_a_macro_and_a_build_script() {
        let folder = tempfile::tempdir().unwrap();
        let message = |name: &str, file: &str| Message {
            reason: "compiler-artifact".into(),
            manifest_path: PathBuf::new(),
            features: Vec::new(),
            filenames: vec![folder.path().join(file)],
            executable: None,
            target: Target { name: name.into(), ..Target::default() },
        };
        let listing = |name: &str, file: &str| listing_of(&message(name, file));
        let at = |file: &str| folder.path().join(file);
        assert_eq!(listing("ours", "libours-1f.rlib").unwrap(), at("ours-1f.d"));
        assert_eq!(listing("ours-derive", "libours_derive-1f.so").unwrap(), at("ours_derive-1f.d"));
        let script = || listing("build-script-build", "build-script-build");
        assert!(script().is_err(), "none");
        std::fs::write(at("build_script_build-1f.d"), "").unwrap();
        std::fs::write(at("build_script_build-1f"), "").unwrap();
        assert_eq!(script().unwrap(), at("build_script_build-1f.d"));
        std::fs::write(at("build_script_build-2e.d"), "").unwrap();
        assert!(script().is_err(), "which of them is not known");
    }
}
