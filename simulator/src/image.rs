//! The image file: the plugin as one frozen, measured file.
//!
//! ```text
//! offset  size  what
//! 0       8     "CSIMAGE1"
//! 8       4     length of the manifest in bytes, unsigned, big-endian
//! 12      m     manifest: JSON in the one form that `pack` writes
//! 12 + m  n     the ELF executable, to the end of the file
//! ```
//! The measurement is the SHA-384 of the whole file. [`SealedImage::load`] copies the file into memory that can
//! never change again and measures that; the executable goes into a second such memory, and is what runs.

use crate::HsmError;
use data_encoding::HEXLOWER;
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha384};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

const MAGIC: &[u8; 8] = b"CSIMAGE1";
const HEADER_BYTES: usize = 12;
const MANIFEST_MAX_BYTES: usize = 4096;

/// The largest image file, in bytes.
pub const IMAGE_MAX_BYTES: u64 = 64 * 1024 * 1024;

/// The name that every image carries.
pub const IMAGE_NAME: &str = "countersign";

/// SHA-384 of an image file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Measurement([u8; 48]);

impl Measurement {
    /// From its bytes.
    pub const fn from_bytes(bytes: [u8; 48]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 48] {
        &self.0
    }

    /// In lower-case hex.
    pub fn to_hex(self) -> String {
        HEXLOWER.encode(&self.0)
    }

    fn of(bytes: &[u8]) -> Self {
        Self(Sha384::digest(bytes).into())
    }
}

impl core::fmt::Debug for Measurement {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.to_hex())
    }
}

/// What the image says about itself. Fields stand in the file in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Always [`IMAGE_NAME`].
    pub name: String,
    /// Version of the plugin.
    pub version: String,
    /// Target triple that the executable was built for.
    pub target: String,
    /// Length of the executable in bytes.
    pub elf_bytes: u64,
    /// SHA-384 of the executable, in lower-case hex.
    pub elf_sha384: String,
}

/// Packs an executable into an image file's bytes. The same input gives the same bytes.
pub fn pack(elf: &[u8], version: &str, target: &str) -> Result<Vec<u8>, HsmError> {
    if !elf.starts_with(b"\x7fELF") {
        return Err(HsmError::Image("the file to pack is not an ELF executable".into()));
    }
    let manifest = Manifest {
        name: IMAGE_NAME.into(),
        version: version.into(),
        target: target.into(),
        elf_bytes: elf.len() as u64,
        elf_sha384: Measurement::of(elf).to_hex(),
    };
    let text = manifest_text(&manifest);
    let length = u32::try_from(text.len()).expect("a manifest is a few hundred bytes");
    let mut image = Vec::with_capacity(HEADER_BYTES + text.len() + elf.len());
    image.extend_from_slice(MAGIC);
    image.extend_from_slice(&length.to_be_bytes());
    image.extend_from_slice(text.as_bytes());
    image.extend_from_slice(elf);
    parse(&image)?;
    Ok(image)
}

/// Reads an image file's bytes: the manifest, which describes the executable truly, and the executable.
pub fn parse(image: &[u8]) -> Result<(Manifest, &[u8]), HsmError> {
    let bad = |what: &str| HsmError::Image(format!("this is not an image of Countersign: {what}"));
    if image.len() as u64 > IMAGE_MAX_BYTES {
        return Err(bad("it is too large"));
    }
    let (header, rest) = image.split_first_chunk::<HEADER_BYTES>().ok_or_else(|| bad("it is cut short"))?;
    if !header.starts_with(MAGIC) {
        return Err(bad("it does not begin with CSIMAGE1"));
    }
    let length =
        u32::from_be_bytes(header[8..].try_into().expect("the header has four bytes there")) as usize;
    if length > MANIFEST_MAX_BYTES || length > rest.len() {
        return Err(bad("the length of its manifest is wrong"));
    }
    let (text, elf) = rest.split_at(length);
    let manifest: Manifest = serde_json::from_slice(text).map_err(|_| bad("its manifest cannot be read"))?;
    if manifest_text(&manifest).as_bytes() != text {
        return Err(bad("its manifest is not in the one form it can have"));
    }
    if manifest.name != IMAGE_NAME {
        return Err(bad("it carries another name"));
    }
    if manifest.elf_bytes != elf.len() as u64 || manifest.elf_sha384 != Measurement::of(elf).to_hex() {
        return Err(bad("its executable is not the one that its manifest describes"));
    }
    Ok((manifest, elf))
}

fn manifest_text(manifest: &Manifest) -> String {
    serde_json::to_string(manifest).expect("a manifest holds only strings and a number")
}

/// Measurement of an image file's bytes.
pub fn measure(image: &[u8]) -> Measurement {
    Measurement::of(image)
}

/// Reads an image file whole, within its bound.
pub fn read_file(path: &Path) -> Result<Vec<u8>, HsmError> {
    let failed = || HsmError::io(format!("read the image {}", path.display()));
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed())?;
    file.take(IMAGE_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed())?;
    if bytes.len() as u64 > IMAGE_MAX_BYTES {
        return Err(HsmError::Image(format!("{} is larger than any image", path.display())));
    }
    Ok(bytes)
}

/// An image in memory that nobody can change any more. Holding one proves that its executable is the one that
/// was measured.
#[derive(Debug)]
pub struct SealedImage {
    measurement: Measurement,
    elf: File,
}

impl SealedImage {
    /// Copies the file into sealed memory and measures what is sealed there.
    pub fn load(path: &Path) -> Result<Self, HsmError> {
        let image = seal("countersign-image", &read_file(path)?, Executable::No)?;
        let image = read_sealed(&image)?;
        let measurement = measure(&image);
        let (manifest, elf) = parse(&image)?;
        let elf = seal("countersign-plugin", elf, Executable::Yes)?;
        if Measurement::of(&read_sealed(&elf)?).to_hex() != manifest.elf_sha384 {
            return Err(HsmError::Image("the executable changed on its way into sealed memory".into()));
        }
        Ok(Self { measurement, elf })
    }

    /// As [`SealedImage::load`], for the one image that the fuses allow.
    pub fn load_pinned(path: &Path, pinned: Measurement) -> Result<Self, HsmError> {
        let image = Self::load(path)?;
        if image.measurement == pinned {
            Ok(image)
        } else {
            Err(HsmError::NotPinned { pinned: pinned.to_hex(), measured: image.measurement.to_hex() })
        }
    }

    /// SHA-384 of the sealed image.
    pub fn measurement(&self) -> Measurement {
        self.measurement
    }

    /// The sealed executable.
    pub fn executable(&self) -> &File {
        &self.elf
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Executable {
    Yes,
    No,
}

/// Puts `bytes` into new memory and seals it against every change, the seals included.
fn seal(name: &str, bytes: &[u8], executable: Executable) -> Result<File, HsmError> {
    let failed = |errno: Errno| HsmError::io("make sealed memory for the image")(errno);
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let kind = if executable == Executable::Yes { MemfdFlags::EXEC } else { MemfdFlags::NOEXEC_SEAL };
    // Kernels before 6.3 do not know the flags of `kind` and make every memfd executable.
    let memory = match rustix::fs::memfd_create(name, flags | kind) {
        Err(Errno::INVAL) => rustix::fs::memfd_create(name, flags).map_err(failed)?,
        other => other.map_err(failed)?,
    };
    let mut memory = File::from(memory);
    memory.write_all(bytes).map_err(HsmError::io("copy the image into memory"))?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&memory, seals).map_err(failed)?;
    let held = rustix::fs::fcntl_get_seals(&memory).map_err(failed)?;
    if held.contains(seals) {
        Ok(memory)
    } else {
        Err(HsmError::Image("the kernel did not seal the image".into()))
    }
}

fn read_sealed(memory: &File) -> Result<Vec<u8>, HsmError> {
    let failed = || HsmError::io("read the sealed image");
    let length = memory.metadata().map_err(failed())?.len();
    let mut bytes = vec![0; usize::try_from(length).expect("images are bounded by IMAGE_MAX_BYTES")];
    memory.read_exact_at(&mut bytes, 0).map_err(failed())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ELF: &[u8] = b"\x7fELF and the rest";

    fn packed() -> Vec<u8> {
        pack(ELF, "1.2.3", "x86_64-unknown-linux-gnu").unwrap()
    }

    #[test]
    fn packing_is_deterministic_and_parses_back() {
        let image = packed();
        assert_eq!(image, packed());
        let (manifest, elf) = parse(&image).unwrap();
        assert_eq!((manifest.version.as_str(), manifest.elf_bytes, elf), ("1.2.3", ELF.len() as u64, ELF));
        let text = String::from_utf8_lossy(&image[HEADER_BYTES..]);
        assert!(text.starts_with(r#"{"name":"countersign","version":"1.2.3","target":"#));
    }

    #[test]
    fn refuses_an_image_with_any_byte_changed_cut_or_added() {
        let image = packed();
        for at in 0..image.len() {
            let mut changed = image.clone();
            changed[at] ^= 1;
            let same = parse(&changed).map(|(manifest, _)| manifest);
            // Version and target are free text: they change the measurement, not the form.
            let free = same.is_ok_and(|manifest| manifest.name == IMAGE_NAME);
            assert!(!free || measure(&changed) != measure(&image), "byte {at}");
            assert!(parse(&image[..at]).is_err(), "cut at {at}");
        }
        assert!(parse(&[image.as_slice(), b"x"].concat()).is_err());
        assert!(pack(b"#!/bin/sh", "1", "t").is_err());
    }

    #[test]
    fn refuses_a_manifest_in_another_form() {
        let image = packed();
        let (_, elf) = parse(&image).unwrap();
        let text = std::str::from_utf8(&image[HEADER_BYTES..image.len() - elf.len()]).unwrap();
        for other in [text.replace(",\"version\"", ", \"version\""), text.replace("\"}", "\",\"extra\":1}")] {
            let mut changed = MAGIC.to_vec();
            changed.extend_from_slice(&u32::try_from(other.len()).unwrap().to_be_bytes());
            changed.extend_from_slice(other.as_bytes());
            changed.extend_from_slice(elf);
            assert!(parse(&changed).is_err(), "{other}");
        }
    }

    #[test]
    fn i12_what_was_measured_can_never_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        std::fs::write(&path, packed()).unwrap();
        let sealed = SealedImage::load(&path).unwrap();
        assert_eq!(sealed.measurement(), measure(&packed()));
        assert!(sealed.executable().write_at(b"x", 0).is_err());
        assert!(sealed.executable().set_len(1).is_err());
        assert!(sealed.executable().set_len(1000).is_err());
        std::fs::write(&path, b"replaced").unwrap();
        assert_eq!(read_sealed(sealed.executable()).unwrap(), ELF);
    }

    #[test]
    fn i12_refuses_every_image_but_the_pinned_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        std::fs::write(&path, packed()).unwrap();
        assert!(SealedImage::load_pinned(&path, measure(&packed())).is_ok());
        std::fs::write(&path, pack(ELF, "1.2.4", "x86_64-unknown-linux-gnu").unwrap()).unwrap();
        let refused = SealedImage::load_pinned(&path, measure(&packed())).unwrap_err();
        assert_eq!(refused.exit_code(), 3);
    }
}
