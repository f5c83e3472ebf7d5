//! What is inside an executable: the crates that were compiled for it, the files that the compiler read, their lines.
//!
//! All of it is what cargo and rustc said of this build, not what the manifests promise: cargo names each crate that it
//! compiled for the target, and rustc writes beside each which files it read.

use crate::plan::{IMAGE_PACKAGE, IMAGE_PROFILE, Plan, fixed_flags};
use crate::{output, read, sha256_hex};
use anyhow::{Context, Result, bail};
use countersign_release::sbom::{Component, Hash, Kind, License};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
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
    /// The files that the compiler read for it.
    pub files: BTreeSet<PathBuf>,
}

/// What an executable was made of.
#[derive(Clone, Debug)]
pub struct Inside {
    /// The executable.
    pub elf: PathBuf,
    /// The crates, sorted by name and version, the executable's own among them.
    pub crates: Vec<Crate>,
    /// How many there are and how long, of ours and of others.
    pub counts: Counts,
    /// SHA-256 over everything that goes in from the repository; see [`sources`].
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
}

/// Compiles the image's executable for `target`.
pub fn compile(plan: &Plan, target: &str) -> Result<Inside> {
    let said = output(&mut plan.cargo_build(target)?)?;
    let lock = Lock::read(&plan.source)?;
    // What only runs while something is compiled is compiled for the host, beside the target's folder.
    let folder = plan.folder.join(target);
    let (mut crates, mut elf) = (Vec::new(), None);
    for line in said.lines() {
        let message: Message = serde_json::from_str(line).context("cargo did not print JSON")?;
        let for_target = message.filenames.iter().any(|file| file.starts_with(&folder));
        if message.reason != "compiler-artifact" || !for_target {
            continue;
        }
        elf = elf.or_else(|| message.executable.clone());
        crates.push(lock.crate_of(plan, &message)?);
    }
    leave_each_file_to_one(&mut crates);
    crates.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    let elf = elf.context("cargo built no executable")?;
    let counts = count(&crates)?;
    let sources = sources(plan, &crates)?;
    Ok(Inside { elf, crates, counts, sources_sha256: sha256_hex(sources.as_bytes()) })
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

    fn crate_of(&self, plan: &Plan, message: &Message) -> Result<Crate> {
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
        Ok(Crate {
            licence: field("license"),
            features: message.features.clone(),
            checksum,
            files: files_of(plan, message)?,
            name,
            version,
        })
    }
}

fn text(path: &Path) -> Result<String> {
    String::from_utf8(read(path)?).with_context(|| format!("{} is not text", path.display()))
}

/// The files that rustc read for a crate, absolute. What build scripts made is left out: it follows from the rest.
fn files_of(plan: &Plan, message: &Message) -> Result<BTreeSet<PathBuf>> {
    let listing = if let Some(executable) = &message.executable {
        executable.with_file_name(format!("{IMAGE_PACKAGE}.d"))
    } else {
        let library = message.filenames.iter().find(|file| file.extension().is_some_and(|end| end == "rlib"));
        let library = library.context("cargo names no library")?;
        let name = library.file_stem().and_then(|stem| stem.to_str()?.strip_prefix("lib"));
        library.with_file_name(format!("{}.d", name.context("a library is called lib….rlib")?))
    };
    let files = read_listing(&text(&listing)?).into_iter().map(|file| plan.source.join(file));
    let files: BTreeSet<_> = files.filter(|file| !file.starts_with(&plan.folder)).collect();
    if files.is_empty() {
        bail!("{} names no source file", listing.display());
    }
    Ok(files)
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

/// Everything that goes in from the repository, as text: the flags and the profile, each crate with its features and checksum, and
/// each file of ours that the compiler read with its hash.
fn sources(plan: &Plan, crates: &[Crate]) -> Result<String> {
    let mut lines = fixed_flags().fold(String::new(), |lines, flag| lines + "flag " + flag + "\n");
    lines.push_str(&profiles(&plan.source)?);
    for one in crates {
        let checksum = one.checksum.as_deref().unwrap_or("ours");
        writeln!(lines, "crate {} {} {checksum} {}", one.name, one.version, one.features.join(","))?;
        if one.checksum.is_some() {
            continue;
        }
        for file in &one.files {
            let name = file.strip_prefix(&plan.source).unwrap_or(file).display();
            writeln!(lines, "file {} {name}", sha256_hex(&read(file)?))?;
        }
    }
    Ok(lines)
}

/// The image's profile and the one that it inherits from.
fn profiles(source: &Path) -> Result<String> {
    let root: toml::Table =
        toml::from_str(&text(&source.join("Cargo.toml"))?).context("Cargo.toml cannot be read")?;
    let profiles = root.get("profile").and_then(toml::Value::as_table).context("there are no profiles")?;
    let mut lines = String::new();
    for name in ["release", IMAGE_PROFILE] {
        let profile = profiles.get(name).with_context(|| format!("there is no profile {name}"))?;
        writeln!(lines, "profile {name} {profile}")?;
    }
    Ok(lines)
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
    fn what_goes_in_is_covered_by_the_hash_of_the_sources() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let profiles = "[profile.release]\nlto = \"thin\"\n[profile.image]\ninherits = \"release\"\n";
        std::fs::write(root.join("Cargo.toml"), profiles).unwrap();
        std::fs::write(root.join("lib.rs"), "one\n").unwrap();
        let plan = Plan {
            source: root.to_owned(),
            folder: root.join("target"),
            cargo_home: root.to_owned(),
            environment: Vec::new(),
            jobs: None,
            umask: None,
            user: None,
        };
        let ours = Crate {
            name: "ours".into(),
            version: "1.0.0".into(),
            licence: None,
            features: vec!["a".into()],
            checksum: None,
            files: [root.join("lib.rs")].into(),
        };
        let theirs = Crate { checksum: Some("ab".into()), ..ours.clone() };
        let hash = |crates: &[Crate]| sources(&plan, crates).unwrap();
        let before = hash(&[ours.clone(), theirs.clone()]);
        assert_eq!(before, hash(&[ours.clone(), theirs.clone()]));
        assert!(!before.contains(root.to_str().unwrap()), "no path of this machine: {before}");
        let changes = [
            Crate { features: Vec::new(), ..theirs.clone() },
            Crate { checksum: Some("cd".into()), ..theirs.clone() },
            Crate { version: "1.0.1".into(), ..theirs.clone() },
        ];
        for changed in changes {
            assert_ne!(hash(&[ours.clone(), changed]), before);
        }
        std::fs::write(root.join("Cargo.toml"), profiles.replace("thin", "fat")).unwrap();
        assert_ne!(hash(&[ours.clone(), theirs.clone()]), before, "a profile");
        std::fs::write(root.join("Cargo.toml"), profiles).unwrap();
        std::fs::write(root.join("lib.rs"), "two\n").unwrap();
        assert_ne!(hash(&[ours, theirs]), before, "a file");
    }
}
