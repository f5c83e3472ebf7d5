//! The boundary as a virtual machine: the same image as process 1 of a minimal Linux, with one device to the outside.
//!
//! * [`Platform`]: the kernel and the first root that the machine starts with, sealed and measured;
//! * [`launch`]: the machine, as QEMU runs it;
//! * [`archive`]: the form of a first root.
//!
//! The machine's process 1 is the plugin, in the sandbox that it has as a process, but for the namespaces: the machine is in their
//! place. What starts it there is `countersign-guest`.

pub mod archive;

use crate::home::MachineFiles;
use crate::image::{self, SealedImage};
use crate::sandbox::{Launched, Layer};
use crate::{HsmError, durable};
use archive::Archive;
use sha2::{Digest, Sha384};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The modules that the one device needs, in the order in which they are loaded, below the kernel's `drivers`.
const MODULES: [&str; 6] = [
    "virtio/virtio_ring",
    "virtio/virtio",
    "virtio/virtio_pci_modern_dev",
    "virtio/virtio_pci_legacy_dev",
    "virtio/virtio_pci",
    "char/virtio_console",
];

/// The layers that the plugin has inside the machine, which itself stands in the place of the namespaces.
pub const LAYERS: [Layer; 4] = [Layer::Landlock, Layer::Seccomp, Layer::MemoryLock, Layer::Tsc];

/// What the kernel is told: no console, an end instead of a restart after a panic, Landlock among the security modules, the
/// processor's random numbers believed, nothing loaded later on.
const COMMAND_LINE: &str = "quiet panic=-1 lsm=lockdown,landlock lockdown=confidentiality random.trust_cpu=on mitigations=auto ipv6.disable=1";

/// Memory of the machine, in MiB: the plugin's and the kernel's.
const MEMORY_MIB: u32 = 384;

/// The hypervisor.
const QEMU: &str = "qemu-system-x86_64";

/// The largest kernel or first root, in bytes.
const FILE_MAX_BYTES: usize = 64 * 1024 * 1024;

/// Who carries out the machine's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceleration {
    /// The processor itself, through KVM: as fast as a process.
    Kvm,
    /// QEMU, one by one: slow, and possible everywhere.
    Interpreted,
}

impl Acceleration {
    const fn word(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Interpreted => "tcg",
        }
    }
}

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
        let mut measurement = Sha384::new();
        measurement.update(b"countersign virtual machine v1\0");
        measurement.update(Sha384::digest(image::read_sealed(&kernel)?));
        measurement.update(Sha384::digest(&root));
        measurement.update(COMMAND_LINE.as_bytes());
        Ok(Self { kernel, root, measurement: measurement.finalize().into() })
    }

    /// SHA-384 over a name, the kernel's SHA-384, the first root's, and the kernel's command line.
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

/// Starts the machine with the plugin in it.
pub fn launch(
    image: &SealedImage,
    platform: &Platform,
    acceleration: Acceleration,
) -> Result<Launched, HsmError> {
    let failed = || HsmError::io(format!("start {QEMU} (is it installed?)"));
    let (socket, guest_end) = UnixStream::pair().map_err(failed())?;
    let root = platform.root_with(image)?;
    let inherited =
        [OwnedFd::from(guest_end), platform.kernel.try_clone().map_err(failed())?.into(), root.into()];
    let numbers = inherited.each_ref().map(AsRawFd::as_raw_fd);
    for fd in &inherited {
        // The machine's process has these, and whatever else this one has open is closed when it begins.
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()).map_err(|errno| failed()(errno.into()))?;
    }
    let child = Command::new(QEMU)
        .args(arguments(numbers, acceleration))
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    drop(inherited);
    let mut child = child.map_err(failed())?;
    let stderr = child.stderr.take().expect("standard error was asked to be a pipe");
    Ok(Launched { child, socket, stderr })
}

fn arguments([messages, kernel, root]: [i32; 3], acceleration: Acceleration) -> Vec<String> {
    let mut arguments: Vec<String> = [
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
        "-display none",
        "-machine q35,usb=off,smbus=off,sata=off",
        "-cpu max",
        "-smp 1",
        "-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        "-device virtio-serial-pci,max_ports=3",
        "-device virtserialport,chardev=messages,nr=1,name=countersign.messages",
        "-device virtserialport,chardev=said,nr=2,name=countersign.said",
        "-chardev file,id=said,path=/dev/fd/2",
    ]
    .iter()
    .flat_map(|words| words.split(' '))
    .map(str::to_owned)
    .collect();
    let mut add = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
    add("-accel", acceleration.word().to_owned());
    add("-m", MEMORY_MIB.to_string());
    add("-chardev", format!("socket,id=messages,fd={messages}"));
    add("-kernel", format!("/dev/fd/{kernel}"));
    add("-initrd", format!("/dev/fd/{root}"));
    add("-append", COMMAND_LINE.to_owned());
    arguments
}
