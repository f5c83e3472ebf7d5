//! The image as it runs: a copy in memory that can never change again.
//!
//! [`SealedImage::load`] copies the file into such memory and measures that; the executable goes into a second such
//! memory, and is what runs. What the file looks like is `countersign-release`'s business.

use crate::HsmError;
use countersign_release::image::IMAGE_MAX_BYTES;
use countersign_release::signatures::SIGNATURES_MAX_BYTES;
use countersign_release::{Image, Manifest, Measurement, Refusal, Release};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Reads an image file whole, within its bound.
pub fn read_file(path: &Path) -> Result<Vec<u8>, HsmError> {
    let bytes = read_at_most(path, IMAGE_MAX_BYTES)
        .map_err(HsmError::io(format!("read the image {}", path.display())))?;
    bytes.ok_or(HsmError::Refused(Refusal::ImageDamaged("it is too large")))
}

/// The signatures of the image in this file: the file beside it. Where there is none, there are none.
pub fn read_signatures(image: &Path) -> Result<Vec<u8>, HsmError> {
    let path = signatures_of(image);
    match read_at_most(&path, SIGNATURES_MAX_BYTES) {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(HsmError::Refused(Refusal::SignaturesDamaged("the file is too long".into()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(HsmError::io(format!("read {}", path.display()))(error)),
    }
}

/// Where the signatures of the image in this file lie: its name and `.sig`.
pub fn signatures_of(image: &Path) -> PathBuf {
    let mut name = OsString::from(image);
    name.push(".sig");
    name.into()
}

/// `None` where there is more.
pub(crate) fn read_at_most(path: &Path, bytes_max: usize) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= bytes_max).then_some(bytes))
}

/// Sealed memory with these bytes, which may be run. Landlock lets nobody run a file; this is none.
pub fn seal_executable(name: &str, bytes: &[u8]) -> Result<File, HsmError> {
    seal(name, bytes, Executable::Yes)
}

/// Sealed memory with these bytes, which is not run as it is.
pub(crate) fn seal_data(name: &str, bytes: &[u8]) -> Result<File, HsmError> {
    seal(name, bytes, Executable::No)
}

/// An image in memory that nobody can change any more. Holding one proves that its executable is the one that was measured
/// and that its manifest describes it; not that this HSM may run it ([`crate::trust`] says that).
#[derive(Debug)]
pub struct SealedImage {
    release: Release,
    manifest: Manifest,
    elf: File,
}

impl SealedImage {
    /// Copies the file into sealed memory and measures what is sealed there.
    pub fn load(path: &Path) -> Result<Self, HsmError> {
        let image = seal("countersign-image", &read_file(path)?, Executable::No)?;
        let image = read_sealed(&image)?;
        let image = Image::parse(&image).map_err(HsmError::Refused)?;
        let elf = seal("countersign-plugin", image.elf, Executable::Yes)?;
        if Measurement::of(&read_sealed(&elf)?) != image.manifest.elf_sha384 {
            let what = "its executable changed on its way into sealed memory";
            return Err(HsmError::Refused(Refusal::ImageDamaged(what)));
        }
        Ok(Self { release: image.release(), manifest: image.manifest, elf })
    }

    /// What counts of the sealed image: measurement, version and channel.
    pub fn release(&self) -> Release {
        self.release
    }

    /// What it says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
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

/// How often it is tried to seal memory.
const SEALING_TRIES: u32 = 20;

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
    add_seals(&memory, seals).map_err(failed)?;
    let held = rustix::fs::fcntl_get_seals(&memory).map_err(failed)?;
    if held.contains(seals) {
        Ok(memory)
    } else {
        Err(HsmError::Plugin("the kernel did not seal the image".into()))
    }
}

/// Seals as soon as nobody uses the memory: the kernel itself holds pages for a moment where it moves them about, waits a fraction of a
/// second, and then says `EBUSY`.
fn add_seals(memory: &File, seals: SealFlags) -> rustix::io::Result<()> {
    for _ in 1..SEALING_TRIES {
        match rustix::fs::fcntl_add_seals(memory, seals) {
            Err(Errno::BUSY) => {}
            other => return other,
        }
    }
    rustix::fs::fcntl_add_seals(memory, seals)
}

pub(crate) fn read_sealed(memory: &File) -> Result<Vec<u8>, HsmError> {
    let failed = || HsmError::io("read the sealed image");
    let length = memory.metadata().map_err(failed())?.len();
    let mut bytes = vec![0; usize::try_from(length).expect("images are bounded by IMAGE_MAX_BYTES")];
    memory.read_exact_at(&mut bytes, 0).map_err(failed())?;
    Ok(bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use countersign_release::image::{Contents, pack};
    use countersign_release::sbom::{Component, Kind, Sbom};
    use countersign_release::{Channel, Version};

    pub(crate) const ELF: &[u8] = b"\x7fELF and the rest";

    /// An image file's bytes.
    pub(crate) fn packed(version: u32, channel: Channel, succeeds: &[Measurement]) -> Vec<u8> {
        let component = Component {
            kind: Kind::Application,
            name: "probe".into(),
            version: "1".into(),
            hashes: Vec::new(),
            licenses: Vec::new(),
            purl: None,
        };
        let contents = Contents {
            version: Version::new(version, 0, 0),
            channel,
            target: "x86_64-unknown-linux-gnu".into(),
            succeeds: succeeds.to_vec(),
            sbom: Sbom::new(component, Vec::new()),
        };
        pack(ELF, &contents).unwrap()
    }

    #[test]
    fn i12_what_was_measured_can_never_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        let file = packed(1, Channel::Development, &[]);
        std::fs::write(&path, &file).unwrap();
        let sealed = SealedImage::load(&path).unwrap();
        assert_eq!(sealed.release().measurement, Measurement::of(&file));
        assert!(sealed.executable().write_at(b"x", 0).is_err());
        assert!(sealed.executable().set_len(1).is_err());
        assert!(sealed.executable().set_len(1000).is_err());
        std::fs::write(&path, b"replaced").unwrap();
        assert_eq!(read_sealed(sealed.executable()).unwrap(), ELF);
    }

    #[test]
    fn signatures_lie_beside_the_image_and_within_their_bound() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("countersign.image");
        assert_eq!(read_signatures(&image).unwrap(), b"");
        let beside = folder.path().join("countersign.image.sig");
        std::fs::write(&beside, b"x").unwrap();
        assert_eq!(read_signatures(&image).unwrap(), b"x");
        std::fs::write(&beside, vec![b'x'; SIGNATURES_MAX_BYTES + 1]).unwrap();
        assert_eq!(read_signatures(&image).unwrap_err().exit_code(), 3);
    }
}
