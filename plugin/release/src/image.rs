//! The image file: the plugin as one frozen, measured file.
//!
//! ```text
//! offset  size  what
//! 0       8     "CSIMAGE2"
//! 8       4     length of the manifest in bytes, unsigned, big-endian, at most 262,144
//! 12      m     manifest: JSON in its one form
//! 12 + m  n     the ELF executable, to the end of the file
//! ```
//! The measurement is the SHA-384 of the whole file.

use crate::manifest::IMAGE_NAME;
use crate::sbom::Sbom;
use crate::{Channel, Manifest, Measurement, Refusal, Release, Version};

/// What every image begins with.
pub const MAGIC: &[u8; 8] = b"CSIMAGE2";

/// Length of what stands before the manifest.
pub const HEADER_BYTES: usize = 12;

/// The longest manifest, in bytes.
pub const MANIFEST_MAX_BYTES: usize = 256 * 1024;

/// The largest image file, in bytes.
pub const IMAGE_MAX_BYTES: usize = 64 * 1024 * 1024;

/// What is packed together with an executable.
#[derive(Clone, Debug)]
pub struct Contents {
    /// Version of the image.
    pub version: Version,
    /// For whom it is made.
    pub channel: Channel,
    /// Target triple that the executable was built for.
    pub target: String,
    /// The images whose state it may take over.
    pub succeeds: Vec<Measurement>,
    /// What is inside.
    pub sbom: Sbom,
}

/// An image file that was read. Holding one proves that the file is in its one form and that the manifest describes the
/// executable truly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image<'a> {
    /// What it says of itself.
    pub manifest: Manifest,
    /// The executable.
    pub elf: &'a [u8],
    /// SHA-384 of the whole file.
    pub measurement: Measurement,
}

impl<'a> Image<'a> {
    /// Reads an image file's bytes.
    pub fn parse(file: &'a [u8]) -> Result<Self, Refusal> {
        let (manifest, elf) = parts(file).map_err(Refusal::ImageDamaged)?;
        let manifest = Manifest::parse(manifest).map_err(Refusal::ImageDamaged)?;
        if manifest.elf_bytes != elf.len() as u64 || manifest.elf_sha384 != Measurement::of(elf) {
            return Err(Refusal::ImageDamaged("its executable is not the one that its manifest describes"));
        }
        Ok(Self { manifest, elf, measurement: Measurement::of(file) })
    }

    /// What counts of it where it is signed and run.
    pub fn release(&self) -> Release {
        let Manifest { version, channel, .. } = self.manifest;
        Release { measurement: self.measurement, version, channel }
    }
}

/// The manifest's text and the executable of an image file, neither of them read.
pub fn parts(file: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    if file.len() > IMAGE_MAX_BYTES {
        return Err("it is too large");
    }
    let (header, rest) = file.split_first_chunk::<HEADER_BYTES>().ok_or("it is cut short")?;
    let [magic @ .., a, b, c, d] = header;
    if magic != MAGIC {
        return Err("it does not begin with CSIMAGE2");
    }
    let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
    if length > MANIFEST_MAX_BYTES {
        return Err("its manifest is too long");
    }
    rest.split_at_checked(length).ok_or("the length of its manifest is wrong")
}

/// Packs an executable into an image file's bytes. The same input gives the same bytes.
pub fn pack(elf: &[u8], contents: &Contents) -> Result<Vec<u8>, Refusal> {
    if !elf.starts_with(b"\x7fELF") {
        return Err(Refusal::ImageDamaged("the file to pack is not an ELF executable"));
    }
    let Contents { version, channel, target, succeeds, sbom } = contents.clone();
    let manifest = Manifest {
        name: IMAGE_NAME.into(),
        version,
        channel,
        target,
        elf_bytes: elf.len() as u64,
        elf_sha384: Measurement::of(elf),
        succeeds,
        sbom,
    };
    let text = manifest.to_text();
    let length = u32::try_from(text.len()).map_err(|_| Refusal::ImageDamaged("its manifest is too long"))?;
    let mut file = Vec::with_capacity(HEADER_BYTES + text.len() + elf.len());
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&length.to_be_bytes());
    file.extend_from_slice(text.as_bytes());
    file.extend_from_slice(elf);
    Image::parse(&file)?;
    Ok(file)
}

#[cfg(test)]
mod tests;
