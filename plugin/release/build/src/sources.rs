//! Everything that goes into an image from the repository, as one text, whose hash `plugin/measurements.toml` records.
//!
//! It names what the compiler was told (flags, profiles, cargo's configuration of the repository), each crate that was compiled
//! for the image or ran while it was compiled, and each file of ours that the compiler read for one of them. Crates of others are
//! named by the checksum of their package.

use crate::configuration::CONFIGURATION_FILES;
use crate::inside::Crate;
use crate::plan::{IMAGE_PROFILE, Plan, fixed_flags};
use crate::{read, sha256_hex, text};
use anyhow::{Context, Result};
use std::fmt::Write;
use std::path::Path;

/// The text. Two builds with the same text have the same sources.
pub(crate) fn sources(plan: &Plan, crates: &[Crate], host_crates: &[Crate]) -> Result<String> {
    let mut lines = fixed_flags().fold(String::new(), |lines, flag| lines + "flag " + flag + "\n");
    lines.push_str(&configuration(&plan.source)?);
    lines.push_str(&profiles(&plan.source)?);
    for one in crates {
        describe(&mut lines, plan, "crate", one)?;
    }
    for one in host_crates {
        describe(&mut lines, plan, "host-crate", one)?;
    }
    Ok(lines)
}

fn describe(lines: &mut String, plan: &Plan, what: &str, one: &Crate) -> Result<()> {
    let Crate { name, version, kind, edition, .. } = one;
    let checksum = one.checksum.as_deref().unwrap_or("ours");
    writeln!(lines, "{what} {name} {version} {kind} {edition} {checksum} {}", one.features.join(","))?;
    if one.checksum.is_some() {
        return Ok(());
    }
    for file in &one.files {
        let name = file.strip_prefix(&plan.source).unwrap_or(file).display();
        writeln!(lines, "file {} {name}", sha256_hex(&read(file)?))?;
    }
    Ok(())
}

/// Cargo's configuration that lies in the repository.
fn configuration(source: &Path) -> Result<String> {
    let mut lines = String::new();
    for name in CONFIGURATION_FILES.map(|name| format!(".cargo/{name}")) {
        let file = source.join(&name);
        if file.try_exists().with_context(|| format!("cannot look for {}", file.display()))? {
            writeln!(lines, "configuration {} {name}", sha256_hex(&read(&file)?))?;
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

    const PROFILES: &str = "[profile.release]\nlto = \"thin\"\n[profile.image]\ninherits = \"release\"\n";

    /// A folder with sources, and how they are built.
    fn stage() -> (tempfile::TempDir, Plan) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::write(root.join("Cargo.toml"), PROFILES).unwrap();
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
        (folder, plan)
    }

    fn ours(plan: &Plan) -> Crate {
        Crate {
            name: "ours".into(),
            version: "1.0.0".into(),
            licence: None,
            features: vec!["a".into()],
            checksum: None,
            kind: "lib".into(),
            edition: "2024".into(),
            files: [plan.source.join("lib.rs")].into(),
        }
    }

    #[test]
    fn what_goes_in_is_covered_by_the_hash_of_the_sources() {
        let (folder, plan) = stage();
        let ours = ours(&plan);
        let theirs = Crate { checksum: Some("ab".into()), ..ours.clone() };
        let hash = |crates: &[Crate]| sources(&plan, crates, &[]).unwrap();
        let before = hash(&[ours.clone(), theirs.clone()]);
        assert_eq!(before, hash(&[ours.clone(), theirs.clone()]));
        assert!(!before.contains(folder.path().to_str().unwrap()), "no path of this machine: {before}");
        let changes = [
            Crate { features: Vec::new(), ..theirs.clone() },
            Crate { checksum: Some("cd".into()), ..theirs.clone() },
            Crate { version: "1.0.1".into(), ..theirs.clone() },
            Crate { edition: "2021".into(), ..theirs.clone() },
        ];
        for changed in changes {
            assert_ne!(hash(&[ours.clone(), changed]), before);
        }
        std::fs::write(plan.source.join("Cargo.toml"), PROFILES.replace("thin", "fat")).unwrap();
        assert_ne!(hash(&[ours.clone(), theirs.clone()]), before, "a profile");
        std::fs::write(plan.source.join("Cargo.toml"), PROFILES).unwrap();
        std::fs::write(plan.source.join("lib.rs"), "two\n").unwrap();
        assert_ne!(hash(&[ours, theirs]), before, "a file");
    }

    #[test]
    fn what_only_runs_while_it_is_compiled_is_covered_too() {
        let (_folder, plan) = stage();
        let script = Crate { kind: "custom-build".into(), ..ours(&plan) };
        let derive = Crate { kind: "proc-macro".into(), checksum: Some("ab".into()), ..ours(&plan) };
        let hash = |host: &[Crate]| sources(&plan, &[], host).unwrap();
        let before = hash(&[script.clone(), derive.clone()]);
        assert_ne!(hash(std::slice::from_ref(&script)), before, "a procedural macro fewer");
        assert_ne!(hash(&[script.clone(), Crate { checksum: Some("cd".into()), ..derive.clone() }]), before);
        std::fs::write(plan.source.join("lib.rs"), "two\n").unwrap();
        assert_ne!(hash(&[script, derive]), before, "a build script of ours");
    }

    #[test]
    fn the_configuration_of_cargo_in_the_repository_is_covered_under_either_name() {
        let (_folder, plan) = stage();
        let hash = || sources(&plan, &[], &[]).unwrap();
        std::fs::create_dir(plan.source.join(".cargo")).unwrap();
        let mut seen = vec![hash()];
        for (name, content) in
            [("config.toml", "[alias]\n"), ("config.toml", "[build]\n"), ("config", "[build]\n")]
        {
            std::fs::write(plan.source.join(".cargo").join(name), content).unwrap();
            assert!(!seen.contains(&hash()), "{name}: {content}");
            seen.push(hash());
        }
    }
}
