//! The first process of the virtual machine, and the one beside it. It brings the plugin up as process 1, in the same sandbox
//! that it has as a process, and carries its messages to the one device that the machine has.
//!
//! ```text
//! firmware ── socket ── virtio port 1 ── carry ── socket pair ── plugin (process 1)
//! firmware ── pipe ──── virtio port 2 ─────────────────────────── its standard error
//! ```
//! The machine has no disk, no network and no clock device that anything here uses; its memory is gone when it stops.

use anyhow::{Context, Result, bail};
use countersign_simulator::image::seal_executable;
use countersign_simulator::sandbox::verify::{self, Found};
use countersign_simulator::sandbox::{Layer, Layers, memory, stages};
use countersign_simulator::vm;
use nix::sched::CloneFlags;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::process::{Resource, Rlimit};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;
use zeroize::Zeroize;

/// The kernel's modules, loaded in the order of their names.
const MODULES: &str = "/modules";

/// The plugin's executable, as the firmware measured it.
const PLUGIN: &str = "/plugin";

/// The ports of the one device: the plugin's messages, and what it writes to standard error.
const MESSAGES: &str = "/dev/vport0p1";
const SAID: &str = "/dev/vport0p2";

/// The argument of the process that carries.
const CARRY: &str = "carry";

/// How often it is looked whether the device is there, and how many times.
const LOOK_EVERY: Duration = Duration::from_millis(2);
const LOOKS: usize = 5000;

/// What carries moves at once, in bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// How long the plugin may take to say that it runs, where the machine is interpreted and its host busy.
const STARTED_TIME: Duration = Duration::from_mins(1);

fn main() -> ExitCode {
    let done = match std::env::args().nth(1).as_deref() {
        Some(CARRY) => carry().inspect_err(|error| stop(format_args!("{error:#}"))),
        _ => start().map(|never| match never {}),
    };
    if let Err(error) = done {
        eprintln!("{error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn layers() -> Layers {
    Layers::of(&vm::LAYERS)
}

/// Process 1 becomes the plugin.
fn start() -> Result<std::convert::Infallible> {
    if std::process::id() != 1 {
        bail!("this is the first process of a virtual machine, and nothing else");
    }
    for (kind, place) in [("proc", "/proc"), ("devtmpfs", "/dev")] {
        match rustix::mount::mount(kind, place, kind, MountFlags::empty(), None) {
            // The kernel may have mounted it already.
            Ok(()) | Err(Errno::BUSY) => {}
            Err(error) => return Err(error).with_context(|| format!("mount {place}")),
        }
    }
    load_modules()?;
    // Standard error first: what fails from here on is told.
    rustix::stdio::dup2_stderr(&port(SAID)?)?;
    let messages = port(MESSAGES)?;
    let (outer, inner) = UnixStream::pair()?;
    // It is process 1's child, and the machine stops with either.
    Command::new("/proc/self/exe")
        .arg(CARRY)
        .env_clear()
        .stdin(Stdio::from(messages))
        .stdout(Stdio::from(OwnedFd::from(outer)))
        .spawn()
        .context("start carrying")?;
    let plugin = seal_executable("countersign-plugin", &std::fs::read(PLUGIN).context(PLUGIN)?)?;
    rustix::stdio::dup2_stdin(&inner)?;
    rustix::stdio::dup2_stdout(&plugin)?;
    drop((inner, plugin));
    // Nobody else needs the machine's memory.
    let all = Rlimit { current: None, maximum: None };
    rustix::process::setrlimit(Resource::Memlock, all).context("RLIMIT_MEMLOCK")?;
    // Whoever carries keeps its own view: it has to look the plugin's memory up.
    nix::sched::unshare(CloneFlags::CLONE_NEWNS).context("a mount namespace of its own")?;
    stages::confine(&layers(), stages::Root::Empty)
}

fn load_modules() -> Result<()> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(MODULES).context(MODULES)? {
        names.push(entry?.path());
    }
    names.sort();
    for name in names {
        let module = File::open(&name)?;
        rustix::system::finit_module(&module, c"", 0).with_context(|| format!("load {}", name.display()))?;
    }
    Ok(())
}

/// Opens a port as soon as the device has it. The kernel names a port before it can be opened: in between, opening it finds nothing
/// (`ENXIO`).
fn port(path: &str) -> Result<File> {
    for _ in 0..LOOKS {
        match rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
            Ok(port) => return Ok(File::from(port)),
            Err(Errno::NOENT | Errno::NXIO) => std::thread::sleep(LOOK_EVERY),
            Err(error) => return Err(error).with_context(|| format!("open {path}")),
        }
    }
    bail!("the machine has no {path}")
}

/// Waits until the firmware's end is known to be there: before, a port reads as if it had ended.
fn wait_for_the_other_end(port: &File) -> Result<()> {
    for _ in 0..LOOKS {
        let mut looked = [PollFd::new(port, PollFlags::OUT)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut looked, Some(&at_once))?;
        if !looked[0].revents().contains(PollFlags::HUP) {
            return Ok(());
        }
        std::thread::sleep(LOOK_EVERY);
    }
    bail!("nobody is at the other end of the port")
}

/// Asks the kernel whether process 1 is the plugin in these layers.
fn check(layers: &Layers) -> Result<()> {
    match verify::verify_first(layers)? {
        Found::Confined => Ok(()),
        Found::Gone => bail!("the plugin is gone"),
    }
}

/// What the plugin has from the moment at which it is executed. Its memory it locks when it has been told which.
fn layers_at_start() -> Layers {
    let all = vm::LAYERS;
    Layers::of(&all.into_iter().filter(|layer| *layer != Layer::MemoryLock).collect::<Vec<_>>())
}

/// Introduces the plugin, then carries bytes in both directions until one side ends; then the machine stops.
fn carry() -> Result<()> {
    let port = File::from(rustix::io::dup(std::io::stdin())?);
    let plugin = UnixStream::from(rustix::io::dup(std::io::stdout())?);
    wait_for_the_other_end(&port)?;
    // It runs when the plugin has said that it does, and before it is told anything.
    let confined = || check(&layers_at_start()).map(|()| 1).map_err(std::io::Error::other);
    memory::introduce(&plugin, &layers(), STARTED_TIME, confined)
        .context("the plugin did not start as it should")?;
    let (mut from_plugin, mut to_port) = (plugin.try_clone()?, port.try_clone()?);
    std::thread::spawn(move || {
        let ended = first_word(&from_plugin).and_then(|()| Ok(pass(&mut from_plugin, &mut to_port)?));
        stop(format_args!("the plugin's socket ended: {ended:?}"));
    });
    pass(&mut &port, &mut &plugin)?;
    stop(format_args!("the firmware's end of the port is gone"));
    Ok(())
}

/// Waits until the plugin says something: by then its memory is locked as well, and nothing that it says passes before that was seen.
fn first_word(plugin: &UnixStream) -> Result<()> {
    poll(&mut [PollFd::new(plugin, PollFlags::IN)], None)?;
    check(&layers())
}

fn pass(from: &mut impl Read, to: &mut impl Write) -> std::io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let count = from.read(&mut piece)?;
        if count == 0 {
            return Ok(());
        }
        let passed = to.write_all(&piece[..count]);
        piece[..count].zeroize();
        passed?;
    }
}

/// Says why, and stops the machine. The plugin may be one that would go on.
fn stop(why: std::fmt::Arguments<'_>) {
    eprintln!("{why}");
    // The firmware ends the machine in any case.
    let _ = rustix::system::reboot(rustix::system::RebootCommand::PowerOff);
}
