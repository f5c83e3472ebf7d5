//! An image, from its sources to the file.

use crate::inside::{self, Counts, Inside};
use crate::plan::Plan;
use crate::read;
use crate::record::{Line, Record};
use crate::toolchain::Toolchain;
use anyhow::{Context, Result, anyhow};
use countersign_release::image::{Contents, pack};
use countersign_release::sbom::Sbom;
use countersign_release::{Channel, Image, Measurement, Version};
use std::path::Path;

/// An image that was just built.
#[derive(Clone, Debug)]
pub struct Built {
    /// The file's bytes.
    pub file: Vec<u8>,
    /// SHA-384 of the file.
    pub measurement: Measurement,
    /// How much is inside.
    pub counts: Counts,
    /// What `plugin/measurements.toml` says of such an image.
    pub line: Line,
}

/// Builds an image.
pub fn build(plan: &Plan, channel: Channel) -> Result<Built> {
    let toolchain = Toolchain::of(plan)?;
    let inside = inside::compile(plan, &toolchain.target)?;
    let elf = read(&inside.elf)?;
    let sbom = bill_of(&inside, &toolchain)?;
    let version: Version = sbom
        .metadata
        .component
        .version
        .parse()
        .map_err(|what: &str| anyhow!("the image's package: {what}"))?;
    let succeeds = match channel {
        // An HSM for development never moves to another image.
        Channel::Development => Vec::new(),
        Channel::Release => Record::of(&plan.source)?.before(version, &toolchain.target),
    };
    let contents = Contents { version, channel, target: toolchain.target.clone(), succeeds, sbom };
    let file = pack(&elf, &contents).context("the image cannot be packed")?;
    let image = Image::parse(&file).context("what was packed is no image")?;
    let line = Line {
        version,
        channel,
        target: contents.target,
        measurement: image.measurement,
        elf_sha384: image.manifest.elf_sha384,
        rustc: toolchain.rustc(),
        cc: toolchain.cc.clone(),
        libc: toolchain.c_packages(),
        libc_sha256: toolchain.c_files_sha256(),
        sources_sha256: inside.sources_sha256,
    };
    Ok(Built { measurement: image.measurement, counts: inside.counts, line, file })
}

impl Built {
    /// Writes the file.
    pub fn write(&self, out: &Path) -> Result<()> {
        if let Some(folder) = out.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        std::fs::write(out, &self.file).with_context(|| format!("cannot write {}", out.display()))
    }
}

fn bill_of(inside: &Inside, toolchain: &Toolchain) -> Result<Sbom> {
    let components = inside.components().chain(toolchain.components()).collect();
    Ok(Sbom::new(inside.component()?, components))
}
