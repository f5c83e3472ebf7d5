//! What an image says of itself.

use crate::sbom::Sbom;
use crate::{Measurement, Version};
use serde::{Deserialize, Serialize};

/// The name that every image carries.
pub const IMAGE_NAME: &str = "countersign";

/// The most images that one image may name as those whose state it takes over.
pub const SUCCEEDS_MAX: usize = 64;

/// For whom an image was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    /// For development and tests: runs unsigned, on development HSMs alone.
    Development,
    /// For people's money: runs on HSMs that hold release keys, where enough people signed it.
    Release,
}

impl Channel {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Channel::Development => "development",
            Channel::Release => "release",
        }
    }
}

impl core::fmt::Display for Channel {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.word())
    }
}

/// What an image says of itself. Fields stand in the file in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Always [`IMAGE_NAME`].
    pub name: String,
    /// Version of the image.
    pub version: Version,
    /// For whom it was made.
    pub channel: Channel,
    /// Target triple that the executable was built for.
    pub target: String,
    /// Length of the executable in bytes.
    pub elf_bytes: u64,
    /// SHA-384 of the executable.
    pub elf_sha384: Measurement,
    /// The images whose state it may take over: of lower versions, at most [`SUCCEEDS_MAX`], each once.
    pub succeeds: Vec<Measurement>,
    /// What is inside.
    pub sbom: Sbom,
}

impl Manifest {
    /// Its one form: JSON without spaces.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("a manifest holds only strings, numbers and lists of them")
    }

    /// Reads it in its one form.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, &'static str> {
        let manifest: Self = serde_json::from_slice(text).map_err(|_| "its manifest cannot be read")?;
        if manifest.to_text().as_bytes() != text {
            return Err("its manifest is not in the one form it can have");
        }
        if manifest.name != IMAGE_NAME {
            return Err("it carries another name");
        }
        if !manifest.sbom.names_its_format() {
            return Err("its bill of materials is of another format");
        }
        let repeats =
            (1..manifest.succeeds.len()).any(|at| manifest.succeeds[..at].contains(&manifest.succeeds[at]));
        if manifest.succeeds.len() > SUCCEEDS_MAX || repeats {
            return Err("it succeeds too many images, or one of them twice");
        }
        Ok(manifest)
    }
}
