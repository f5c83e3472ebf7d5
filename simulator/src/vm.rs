//! The boundary as a virtual machine: the same image as process 1 of a minimal Linux, with one device to the outside.
//!
//! * [`Platform`]: the kernel and the first root that the machine starts with, sealed and measured;
//! * [`qemu`]: the machine's process, and what has to hold around it;
//! * [`archive`]: the form of a first root.
//!
//! The machine's process 1 is the plugin, in the sandbox that it has as a process, but for the namespaces: the machine is in their
//! place. What starts it there, and checks that it has it, is `countersign-guest`.

pub mod archive;
pub mod qemu;

use crate::home::MachineFiles;
use crate::image::{self, SealedImage};
use crate::sandbox::Layer;
use crate::{HsmError, durable};
use archive::Archive;
use sha2::{Digest, Sha384};
use std::fs::File;
use std::path::{Path, PathBuf};

/// The modules that the one device needs, in the order in which they are loaded, below the kernel's `drivers`.
const MODULES: [&str; 6] = [
    "virtio/virtio_ring",
    "virtio/virtio",
    "virtio/virtio_pci_modern_dev",
    "virtio/virtio_pci_legacy_dev",
    "virtio/virtio_pci",
    "char/virtio_console",
];

/// The layers that the plugin has inside the machine, which itself stands in the place of the namespaces. `memory-lock` holds only if
/// the host, too, locks the machine's memory: [`qemu::probe`] says whether it can.
pub const LAYERS: [Layer; 4] = [Layer::Landlock, Layer::Seccomp, Layer::MemoryLock, Layer::Tsc];

/// What the kernel is told: no console, an end instead of a restart after a panic, Landlock among the security modules, the
/// processor's random numbers believed, nothing loaded later on.
const COMMAND_LINE: &str = "quiet panic=-1 lsm=lockdown,landlock lockdown=confidentiality random.trust_cpu=on mitigations=auto ipv6.disable=1";

/// The largest kernel or first root, in bytes.
const FILE_MAX_BYTES: usize = 64 * 1024 * 1024;

/// Packs a first root: the guest, and the modules of this kernel.
pub fn pack_root(guest: &Path, drivers: &Path) -> Result<Vec<u8>, HsmError> {
    let mut root = Archive::default();
    for folder in ["dev", "proc", "modules"] {
        root.folder(folder);
    }
    root.file("init", &read(guest)?);
    for (number, module) in MODULES.iter().enumerate() {
        let content = read(&drivers.join(format!("{module}.ko")))?;
        root.file(&format!("modules/{number}.ko"), &content);
    }
    Ok(root.finish())
}

fn read(path: &Path) -> Result<Vec<u8>, HsmError> {
    let bytes = image::read_at_most(path, FILE_MAX_BYTES)
        .map_err(HsmError::io(format!("read {}", path.display())))?;
    bytes.ok_or_else(|| HsmError::Home(format!("{} is too large for a virtual machine", path.display())))
}

/// The platform measurement: SHA-384 over a name, the kernel's SHA-384, the first root's, and the kernel's command line.
pub fn measure(kernel: &[u8], root: &[u8]) -> [u8; 48] {
    let mut measurement = Sha384::new();
    measurement.update(b"countersign virtual machine v1\0");
    measurement.update(Sha384::digest(kernel));
    measurement.update(Sha384::digest(root));
    measurement.update(COMMAND_LINE.as_bytes());
    measurement.finalize().into()
}

/// The platform measurement that an HSM initialised with these files has.
pub fn measure_files(files: &MachineFiles) -> Result<[u8; 48], HsmError> {
    Ok(measure(&read(&files.kernel)?, &read(&files.root)?))
}

/// The kernel and the first root of an HSM's machine, where nobody can change them any more.
#[derive(Debug)]
pub struct Platform {
    kernel: File,
    root: Vec<u8>,
    measurement: [u8; 48],
}

impl Platform {
    /// Where an HSM keeps them.
    fn files(folder: &Path) -> [PathBuf; 2] {
        ["vm-kernel", "vm-root"].map(|name| folder.join(name))
    }

    /// Copies them into an HSM's folder, when it is initialised.
    pub fn install(folder: &Path, files: &MachineFiles) -> Result<(), HsmError> {
        for (from, to) in [&files.kernel, &files.root].into_iter().zip(Self::files(folder)) {
            durable::create_file(&to, &read(from)?)?;
        }
        Ok(())
    }

    /// Reads, seals and measures them.
    pub fn load(folder: &Path) -> Result<Self, HsmError> {
        let [kernel, root] = Self::files(folder);
        let kernel = image::seal_data("countersign-kernel", &read(&kernel)?)?;
        let root = read(&root)?;
        let measurement = measure(&image::read_sealed(&kernel)?, &root);
        Ok(Self { kernel, root, measurement })
    }

    /// What [`measure`] said of them.
    pub fn measurement(&self) -> &[u8; 48] {
        &self.measurement
    }

    /// The first root with the plugin in it, sealed.
    fn root_with(&self, image: &SealedImage) -> Result<File, HsmError> {
        let mut plugin = Archive::default();
        plugin.file("plugin", &image::read_sealed(image.executable())?);
        image::seal_data("countersign-root", &[self.root.as_slice(), &plugin.finish()].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_third_party_computes_the_platform_that_an_hsm_has() {
        let folder = tempfile::tempdir().unwrap();
        let [kernel, root] = ["kernel", "root"].map(|name| folder.path().join(name));
        std::fs::write(&kernel, "a kernel").unwrap();
        std::fs::write(&root, "a first root").unwrap();
        let files = MachineFiles { kernel: kernel.clone(), root: root.clone() };
        let home = folder.path().join("home");
        std::fs::create_dir(&home).unwrap();
        Platform::install(&home, &files).unwrap();
        let platform = measure_files(&files).unwrap();
        assert_eq!(Platform::load(&home).unwrap().measurement(), &platform);
        // As `sha384sum` and the documentation have it.
        let by_hand = [
            b"countersign virtual machine v1\0".as_slice(),
            &Sha384::digest(b"a kernel"),
            &Sha384::digest(b"a first root"),
            COMMAND_LINE.as_bytes(),
        ];
        assert_eq!(platform.as_slice(), Sha384::digest(by_hand.concat()).as_slice());
        for changed in [&kernel, &root] {
            let before = std::fs::read(changed).unwrap();
            std::fs::write(changed, "another").unwrap();
            assert_ne!(measure_files(&files).unwrap(), platform);
            std::fs::write(changed, before).unwrap();
        }
    }

    #[test]
    fn the_documentation_has_the_kernels_command_line() {
        let text = include_str!("../../docs/release.md");
        assert!(text.contains(COMMAND_LINE));
    }
}
