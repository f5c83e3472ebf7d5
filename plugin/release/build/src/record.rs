//! `plugin/measurements.toml`: the images that were built of these sources, so that anybody can build them again and compare.
//!
//! A line for release stays for ever: it is what later images may succeed. Of development there is one line for each target,
//! the newest.

use crate::read;
use anyhow::{Context, Result, bail};
use countersign_release::manifest::SUCCEEDS_MAX;
use countersign_release::{Channel, Measurement, Version};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Where it lies among the sources.
pub const RECORD: &str = "plugin/measurements.toml";

const HEAD: &str = "\
# The images that were built of this repository. `cargo xtask image --record` writes it, `cargo xtask image --check` builds again and
# compares; docs/release.md says what the fields mean. Lines of releases are never changed or removed.

";

/// One image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Its version.
    pub version: Version,
    /// For whom it was made.
    pub channel: Channel,
    /// Target triple.
    pub target: String,
    /// SHA-384 of the image file.
    pub measurement: Measurement,
    /// SHA-384 of the executable in it.
    pub elf_sha384: Measurement,
    /// Version and commit of the compiler.
    pub rustc: String,
    /// The C compiler, which assembles and links.
    pub cc: String,
    /// The packages of the C library's files.
    pub libc: String,
    /// SHA-256 over the C library's files.
    pub libc_sha256: String,
    /// SHA-256 over everything that went in from the repository.
    pub sources_sha256: String,
}

/// The whole list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// In the order in which they were recorded.
    #[serde(default)]
    pub image: Vec<Line>,
}

/// What comparing with the record came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The same bits.
    Same,
    /// The sources are those of the record, but the bits cannot be compared: this machine has another compiler or C library.
    OtherInputs(Vec<String>),
}

/// Which inputs an image may be built from, besides the sources, to be compared with the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inputs {
    /// Those that were recorded, so that the bits are compared.
    Recorded,
    /// Whatever this machine has: then the sources alone are compared.
    Any,
}

impl Verdict {
    /// What to say of it, or why it is not good enough.
    pub fn accept(&self, inputs: Inputs) -> Result<String> {
        match (self, inputs) {
            (Self::Same, _) => Ok(format!("the image is the one in {RECORD}, bit by bit")),
            (Self::OtherInputs(which), Inputs::Any) => Ok(format!(
                "the sources are those of {RECORD}; THE BITS WERE NOT COMPARED, since this machine builds from something else: {}",
                which.join("; ")
            )),
            (Self::OtherInputs(which), Inputs::Recorded) => bail!(
                "the sources are those of {RECORD}, but the bits cannot be compared, since this machine builds from something \
                 else: {}; build where these are the same, or compare the sources alone with --other-inputs-allowed",
                which.join("; ")
            ),
        }
    }
}

impl Record {
    /// Where it lies.
    pub fn path(source: &Path) -> PathBuf {
        source.join(RECORD)
    }

    /// That of these sources. Where there is none, nothing was recorded yet.
    pub fn of(source: &Path) -> Result<Self> {
        let path = Self::path(source);
        if !path.exists() {
            return Ok(Self::default());
        }
        let text =
            String::from_utf8(read(&path)?).with_context(|| format!("{} is not text", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} cannot be read", path.display()))
    }

    /// Writes it.
    pub fn write(&self, source: &Path) -> Result<()> {
        let text = HEAD.to_owned() + &toml::to_string(self).context("the record cannot be written")?;
        let path = Self::path(source);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// The releases of lower versions: those whose state an image of this version may take over. Of more than a manifest may
    /// name, the newest.
    pub fn before(&self, version: Version, target: &str) -> Vec<Measurement> {
        let releases =
            self.image.iter().filter(|line| line.channel == Channel::Release && line.target == target);
        let mut before: Vec<_> = releases.filter(|line| line.version < version).collect();
        before.sort_by_key(|line| line.version);
        let too_many = before.len().saturating_sub(SUCCEEDS_MAX);
        before[too_many..].iter().map(|line| line.measurement).collect()
    }

    /// Compares an image that was just built with the last line of its channel and target.
    pub fn check(&self, built: &Line) -> Result<Verdict> {
        let Some(line) = self.last(built) else {
            bail!(
                "no image of {} for {} is recorded; run cargo xtask image --record",
                built.channel,
                built.target
            );
        };
        if line.sources_sha256 != built.sources_sha256 || line.version != built.version {
            bail!(
                "what goes into the image has changed since it was recorded in plugin/measurements.toml; look at the change, \
                 and record the new image with cargo xtask image --record"
            );
        }
        let inputs = [
            ("rustc", &line.rustc, &built.rustc),
            ("cc", &line.cc, &built.cc),
            ("libc", &line.libc, &built.libc),
            ("libc_sha256", &line.libc_sha256, &built.libc_sha256),
        ];
        let other = inputs.into_iter().filter(|(_, recorded, here)| recorded != here);
        let other: Vec<_> =
            other.map(|(name, recorded, here)| format!("{name} is {here}, and was {recorded}")).collect();
        if !other.is_empty() {
            return Ok(Verdict::OtherInputs(other));
        }
        if (line.measurement, line.elf_sha384) != (built.measurement, built.elf_sha384) {
            bail!(
                "the same sources, compiler and C library gave other bits: the measurement is {}, and {} is recorded",
                built.measurement,
                line.measurement
            );
        }
        Ok(Verdict::Same)
    }

    /// Adds an image. A release that was recorded is never recorded again with other bits.
    pub fn add(&mut self, built: Line) -> Result<()> {
        match built.channel {
            Channel::Development => {
                self.image.retain(|line| line.channel != Channel::Development || line.target != built.target);
            }
            Channel::Release => {
                let last = self.last(&built);
                if last == Some(&built) {
                    return Ok(());
                }
                if let Some(last) = last.filter(|last| last.version >= built.version) {
                    bail!(
                        "version {} was released already; raise the version in Cargo.toml above {} first",
                        built.version,
                        last.version
                    );
                }
            }
        }
        self.image.push(built);
        Ok(())
    }

    fn last(&self, like: &Line) -> Option<&Line> {
        self.image.iter().rfind(|line| line.channel == like.channel && line.target == like.target)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn line(channel: Channel, version: u32, byte: u8) -> Line {
        Line {
            version: Version::new(version, 0, 0),
            channel,
            target: "x86_64-unknown-linux-gnu".into(),
            measurement: Measurement::from_bytes([byte; 48]),
            elf_sha384: Measurement::from_bytes([byte; 48]),
            rustc: "1.95.0 (abc)".into(),
            cc: "(Debian 12) 12".into(),
            libc: "libc6-dev 2.36".into(),
            libc_sha256: "11".into(),
            sources_sha256: format!("{byte}"),
        }
    }

    #[test]
    fn a_change_without_a_new_line_is_refused() {
        let mut record = Record::default();
        let good = line(Channel::Development, 1, 1);
        assert!(record.check(&good).unwrap_err().to_string().contains("is recorded"));
        record.add(good.clone()).unwrap();
        assert_eq!(record.check(&good).unwrap(), Verdict::Same);
        for changed in [
            Line { sources_sha256: "other".into(), ..good.clone() },
            Line { version: Version::new(2, 0, 0), ..good.clone() },
        ] {
            assert!(record.check(&changed).unwrap_err().to_string().contains("has changed"), "{changed:?}");
        }
    }

    #[test]
    fn other_bits_of_the_same_inputs_are_refused_and_of_others_told() {
        let mut record = Record::default();
        let good = line(Channel::Development, 1, 1);
        record.add(good.clone()).unwrap();
        for bits in [
            Line { measurement: Measurement::from_bytes([9; 48]), ..good.clone() },
            Line { elf_sha384: Measurement::from_bytes([9; 48]), ..good.clone() },
        ] {
            assert!(record.check(&bits).unwrap_err().to_string().contains("other bits"));
            let elsewhere = Line { rustc: "1.96.0 (def)".into(), ..bits };
            let told = vec!["rustc is 1.96.0 (def), and was 1.95.0 (abc)".to_owned()];
            assert_eq!(record.check(&elsewhere).unwrap(), Verdict::OtherInputs(told));
            let other_sources = Line { sources_sha256: "other".into(), ..elsewhere };
            assert!(record.check(&other_sources).is_err(), "sources are compared on every machine");
        }
    }

    #[test]
    fn bits_that_cannot_be_compared_are_refused_unless_the_sources_are_enough() {
        let other = Verdict::OtherInputs(vec!["rustc is 2, and was 1".into()]);
        let refused = other.accept(Inputs::Recorded).unwrap_err().to_string();
        assert!(refused.contains("rustc is 2") && refused.contains("--other-inputs-allowed"), "{refused}");
        let told = other.accept(Inputs::Any).unwrap();
        assert!(told.contains("NOT COMPARED") && told.contains("rustc is 2"), "{told}");
        for inputs in [Inputs::Recorded, Inputs::Any] {
            assert!(Verdict::Same.accept(inputs).unwrap().contains("bit by bit"));
        }
    }

    #[test]
    fn of_more_releases_than_a_manifest_may_name_the_newest_are_named() {
        let mut record = Record::default();
        for version in 1..=70 {
            record.add(line(Channel::Release, version, u8::try_from(version).unwrap())).unwrap();
        }
        let before = record.before(Version::new(71, 0, 0), "x86_64-unknown-linux-gnu");
        let newest: Vec<_> = (7..=70).map(|byte| Measurement::from_bytes([byte; 48])).collect();
        assert_eq!(before.len(), SUCCEEDS_MAX);
        assert_eq!(before, newest);
    }

    #[test]
    fn releases_stay_and_the_line_of_development_is_replaced() {
        let mut record = Record::default();
        for (channel, version, byte) in [
            (Channel::Release, 1, 1),
            (Channel::Development, 2, 2),
            (Channel::Release, 2, 3),
            (Channel::Development, 3, 4),
        ] {
            record.add(line(channel, version, byte)).unwrap();
        }
        let kept: Vec<_> = record.image.iter().map(|line| line.version.major).collect();
        assert_eq!(kept, [1, 2, 3]);
        let before = |version| record.before(Version::new(version, 0, 0), "x86_64-unknown-linux-gnu");
        assert_eq!(before(3), [1, 3].map(|byte| Measurement::from_bytes([byte; 48])));
        assert_eq!(before(2), [Measurement::from_bytes([1; 48])]);
        assert_eq!(before(1), []);
        let again = record.clone();
        record.add(line(Channel::Release, 2, 3)).unwrap();
        assert_eq!(record, again, "the same bits once more");
        assert!(record.add(line(Channel::Release, 2, 9)).is_err());
        assert!(record.add(line(Channel::Release, 1, 1)).is_err());
    }

    #[test]
    fn the_record_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Record::of(folder.path()).unwrap(), Record::default());
        std::fs::create_dir(folder.path().join("plugin")).unwrap();
        let mut record = Record::default();
        record.add(line(Channel::Release, 1, 1)).unwrap();
        record.add(line(Channel::Development, 2, 2)).unwrap();
        record.write(folder.path()).unwrap();
        assert_eq!(Record::of(folder.path()).unwrap(), record);
        std::fs::write(Record::path(folder.path()), "[[image]]\nversion = \"1\"\n").unwrap();
        assert!(Record::of(folder.path()).is_err());
    }
}
