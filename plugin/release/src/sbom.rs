//! What is inside an image, as a bill of materials: the part of `CycloneDX` 1.6 (JSON) that says it, and no more.
//!
//! It has no time and no random serial number, so the same contents give the same bytes. Fields stand in the order of the
//! structs; lists are sorted by whoever makes them.

use serde::{Deserialize, Serialize};

/// The format that [`Sbom::bom_format`] names.
pub const BOM_FORMAT: &str = "CycloneDX";

/// The version of the format.
pub const SPEC_VERSION: &str = "1.6";

/// A bill of materials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sbom {
    /// Always [`BOM_FORMAT`].
    #[serde(rename = "bomFormat")]
    pub bom_format: String,
    /// Always [`SPEC_VERSION`].
    #[serde(rename = "specVersion")]
    pub spec_version: String,
    /// Always 1: another image has another bill.
    pub version: u32,
    /// What the bill is of.
    pub metadata: Metadata,
    /// Everything that is linked into the executable.
    pub components: Vec<Component>,
}

/// What a bill is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// The executable.
    pub component: Component,
}

/// One thing that is inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// What kind of thing it is.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Where it lies and what it hashes to, where that is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hashes: Vec<Hash>,
    /// Under which terms it may be used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub licenses: Vec<License>,
    /// Its [package URL](https://github.com/package-url/purl-spec).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purl: Option<String>,
}

/// The kinds that are used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A program.
    Application,
    /// A crate, or a library.
    Library,
    /// One file of a library.
    File,
}

/// A hash of a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hash {
    /// Which one: `SHA-256`.
    pub alg: String,
    /// In lower-case hex.
    pub content: String,
}

/// A license of a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct License {
    /// An SPDX expression.
    pub expression: String,
}

impl Sbom {
    /// The bill of `of`, which consists of `components`.
    pub fn new(of: Component, components: Vec<Component>) -> Self {
        Self {
            bom_format: BOM_FORMAT.into(),
            spec_version: SPEC_VERSION.into(),
            version: 1,
            metadata: Metadata { component: of },
            components,
        }
    }

    /// Whether it is of the format that it is read as.
    pub(crate) fn names_its_format(&self) -> bool {
        self.bom_format == BOM_FORMAT && self.spec_version == SPEC_VERSION && self.version == 1
    }
}

impl Hash {
    /// A SHA-256, in lower-case hex.
    pub fn sha256(content: impl Into<String>) -> Self {
        Self { alg: "SHA-256".into(), content: content.into() }
    }
}
