//! The machine's process: QEMU, which ends with the firmware, keeps the machine's memory out of swap and dumps, and has no more of the
//! host than it needs.
//!
//! ```text
//! firmware ── machine ─────────────────────────────────── QEMU
//!             dies with the firmware, leaves no dump      by exec, in the same process
//! ```

use super::{COMMAND_LINE, Platform};
use crate::image::SealedImage;
use crate::sandbox::{self, Launched, Layer, Layers, MissingLayer, OWN_NAME, OWN_PROGRAM, stages, verify};
use crate::{HsmError, log};
use anyhow::{Context, Result, ensure};
use rustix::mm::MlockAllFlags;
use std::convert::Infallible;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Memory of the machine, in MiB: the plugin's and the kernel's.
const MEMORY_MIB: u32 = 384;

/// Memory for the machine's code as QEMU translates it, in MiB. All of it is locked; QEMU's own choice is a gigabyte.
const TRANSLATED_MIB: u32 = 64;

/// What must be lockable, in MiB: all that QEMU maps. Measured: 690, of which 240 are neither of the above.
const LOCKED_MIB: usize = 1000;

/// The hypervisor.
const QEMU: &str = "qemu-system-x86_64";

/// How long QEMU may take until it holds what it has to.
const PATIENCE: Duration = Duration::from_mins(1);

/// How often it is looked whether it does.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Who carries out the machine's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceleration {
    /// The processor itself, through KVM: as fast as a process.
    Kvm,
    /// QEMU, one by one: slow, and possible everywhere.
    Interpreted,
}

impl Acceleration {
    fn argument(self) -> String {
        match self {
            Self::Kvm => "kvm".to_owned(),
            Self::Interpreted => format!("tcg,tb-size={TRANSLATED_MIB}"),
        }
    }
}

/// Finds out, in a process of its own, whether the machine's memory can be locked. Returns the layer that is missing.
pub fn probe() -> Result<Vec<MissingLayer>, HsmError> {
    let why = sandbox::try_apart(&["probe-machine"], Layer::MemoryLock)?;
    Ok(why.map(|why| MissingLayer { layer: Layer::MemoryLock, why }).into_iter().collect())
}

/// `probe-machine`: asks for as much memory as the machine has, locked, or says why that is not to be had.
pub fn try_to_lock() -> Result<()> {
    crate::hardening::raise_locked_memory();
    // The kernel decides when memory is mapped; nothing of it is touched.
    rustix::mm::mlockall(MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT).context("mlockall")?;
    let mut memory = Vec::<u8>::new();
    let got = std::hint::black_box(&mut memory).try_reserve_exact(LOCKED_MIB << 20);
    ensure!(
        got.is_ok(),
        "the virtual machine's memory must be locked on this host, {LOCKED_MIB} MiB with QEMU's own, and that may not be: \
         raise the limit 'memlock' to 1 GiB, or run with the capability CAP_IPC_LOCK"
    );
    Ok(())
}

/// Starts the machine with the plugin in it, and returns when nothing of what it is told can reach swap. The calling thread must live as
/// long as the plugin may: the kernel ends the machine with it.
pub fn launch(
    image: &SealedImage,
    platform: &Platform,
    acceleration: Acceleration,
    layers: &Layers,
) -> Result<Launched, HsmError> {
    let failed = || HsmError::io("start the virtual machine");
    let (socket, guest_end) = UnixStream::pair().map_err(failed())?;
    let root = platform.root_with(image)?;
    let inherited =
        [OwnedFd::from(guest_end), platform.kernel.try_clone().map_err(failed())?.into(), root.into()];
    let numbers = inherited.each_ref().map(AsRawFd::as_raw_fd);
    for fd in &inherited {
        // The machine's process has these, and whatever else this one has open is closed when it begins.
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()).map_err(|errno| failed()(errno.into()))?;
    }
    let child = Command::new(OWN_PROGRAM)
        .arg0(OWN_NAME)
        .args(["machine", "--firmware", &std::process::id().to_string(), "--"])
        .args(arguments(numbers, acceleration, layers))
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    drop(inherited);
    let mut child = child.map_err(failed())?;
    let stderr = child.stderr.take().expect("standard error was asked to be a pipe");
    let mut launched = Launched { child, socket, stderr };
    wait_until_held(&mut launched, layers)?;
    Ok(launched)
}

/// `machine`: becomes QEMU. Returns only with an error.
pub fn become_qemu(firmware: u32, arguments: &[String]) -> Result<Infallible> {
    stages::die_with_parent()?;
    // A firmware that was gone before that ends nobody any more.
    ensure!(is_started_by(firmware), "the firmware that started the virtual machine is gone");
    stages::leave_no_dump()?;
    let error = Command::new(QEMU).args(arguments).env_clear().exec();
    Err(error).with_context(|| format!("start {QEMU} (is it installed?)"))
}

fn is_started_by(pid: u32) -> bool {
    rustix::process::getppid().is_some_and(|parent| parent.as_raw_nonzero().get().unsigned_abs() == pid)
}

/// Waits until QEMU has locked its memory and has its filter of system calls. One that ends instead is found to be gone by whoever
/// listens to it.
fn wait_until_held(launched: &mut Launched, layers: &Layers) -> Result<(), HsmError> {
    let Launched { child, socket, .. } = launched;
    let locked_kib = layers.has(Layer::MemoryLock).then_some(u64::from(MEMORY_MIB) * 1024);
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().map_err(HsmError::io("look after the virtual machine"))? {
            log::say(log::Event::PluginGone, format_args!("the virtual machine did not start: {status}"));
            let _ = socket.shutdown(Shutdown::Both);
            return Ok(());
        }
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()));
        let Some(lacks) = verify::hypervisor_lacks(&status.unwrap_or_default(), locked_kib) else {
            return Ok(());
        };
        if Instant::now() >= until {
            end(child);
            return Err(HsmError::Plugin(format!(
                "the virtual machine was ended before it was told anything: QEMU does not have {lacks}"
            )));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn end(child: &mut Child) {
    // They fail only when it is gone.
    let _ = child.kill();
    let _ = child.wait();
}

fn arguments([messages, kernel, root]: [i32; 3], acceleration: Acceleration, layers: &Layers) -> Vec<String> {
    let mut arguments: Vec<String> = [
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
        "-display none",
        "-machine q35,usb=off,smbus=off,sata=off,dump-guest-core=off,mem-merge=off",
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
    if layers.has(Layer::MemoryLock) {
        add("-overcommit", "mem-lock=on".to_owned());
    }
    add("-accel", acceleration.argument());
    add("-m", MEMORY_MIB.to_string());
    add("-chardev", format!("socket,id=messages,fd={messages}"));
    add("-kernel", format!("/dev/fd/{kernel}"));
    add("-initrd", format!("/dev/fd/{root}"));
    add("-append", COMMAND_LINE.to_owned());
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(layers: &[Layer]) -> String {
        arguments([3, 4, 5], Acceleration::Interpreted, &Layers::of(layers)).join(" ")
    }

    #[test]
    fn i7_the_machines_memory_is_locked_and_stays_out_of_dumps() {
        let locked = machine(&crate::vm::LAYERS);
        for option in ["-overcommit mem-lock=on", "dump-guest-core=off", "mem-merge=off", "tb-size=64"] {
            assert!(locked.contains(option), "{option}");
        }
        let weak = machine(&[Layer::Landlock, Layer::Seccomp, Layer::Tsc]);
        assert!(!weak.contains("mem-lock") && weak.contains("dump-guest-core=off"), "{weak}");
    }

    #[test]
    fn a_process_whose_firmware_is_gone_knows_it() {
        let parent = rustix::process::getppid().expect("whoever runs the tests").as_raw_nonzero().get();
        assert!(is_started_by(parent.unsigned_abs()));
        // After the firmware's end it is the child of whoever takes orphans.
        assert!(!is_started_by(std::process::id()));
    }
}
