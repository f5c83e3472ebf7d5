//! The sandbox: the plugin as a process that has one socket and nothing else.
//!
//! The firmware starts itself twice over on the way to the plugin, each time as a fresh process with one thread:
//! ```text
//! firmware ── launch ─────────────── confine ───────────────────────── plugin
//!             new namespaces         empty root, no capabilities,      execveat of the sealed
//!             waits for the plugin   limits, landlock, TSC, seccomp    executable, by the same process
//! ```
//! Standard input is the plugin's end of the socket pair, standard output carries the sealed executable and is
//! `/dev/null` before the plugin runs, standard error goes to the firmware's log. Each process dies with the one
//! that started it.
//!
//! * [`stages`]: what `launch` and `confine` do; [`seccomp`]: the system calls that remain.
//! * [`probe`]: which [`Layer`]s this machine has, found out by trying each in a process of its own.
//! * [`memory`]: before the plugin learns anything, it is told what memory it has to lock.
//! * [`verify`]: after the plugin said it is ready, the kernel is asked whether the layers hold.

pub mod memory;
pub mod seccomp;
pub mod stages;
pub mod verify;

use crate::image::SealedImage;
use crate::{HsmError, log};
use core::fmt;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

/// The program of this process, even if its file was replaced on the disk.
pub const OWN_PROGRAM: &str = "/proc/self/exe";

/// What the firmware's processes are called.
pub const OWN_NAME: &str = "countersign-hsm";

/// One layer of the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// User, network, mount, IPC, UTS, process and cgroup namespaces of its own, an empty root that cannot be written,
    /// and no capabilities.
    Namespaces,
    /// No access to any file, the right to execute included (Landlock). Where the kernel's Landlock knows them, no TCP
    /// port, abstract socket or process outside either; where not, the namespaces and seccomp keep those away.
    Landlock,
    /// A list of allowed system calls; any other ends the plugin.
    Seccomp,
    /// All memory that it can write to locked: nothing of it reaches swap.
    MemoryLock,
    /// No time-stamp counter, and so no clock but the HSM's.
    Tsc,
}

impl Layer {
    /// Every layer there is.
    pub const ALL: [Layer; 5] =
        [Layer::Namespaces, Layer::Landlock, Layer::Seccomp, Layer::MemoryLock, Layer::Tsc];

    /// Its name in messages and in the HSM's status.
    pub const fn word(self) -> &'static str {
        match self {
            Layer::Namespaces => "namespaces",
            Layer::Landlock => "landlock",
            Layer::Seccomp => "seccomp",
            Layer::MemoryLock => "memory-lock",
            Layer::Tsc => "tsc",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A word that names no layer.
#[derive(Clone, Copy, Debug)]
pub struct UnknownLayer;

impl fmt::Display for UnknownLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no such sandbox layer")
    }
}

impl std::error::Error for UnknownLayer {}

impl core::str::FromStr for Layer {
    type Err = UnknownLayer;
    fn from_str(word: &str) -> Result<Self, UnknownLayer> {
        Self::ALL.into_iter().find(|layer| layer.word() == word).ok_or(UnknownLayer)
    }
}

/// A layer that this machine does not have.
#[derive(Clone, Debug)]
pub struct MissingLayer {
    /// Which.
    pub layer: Layer,
    /// What the machine said.
    pub why: String,
}

/// Which layers the plugin runs in.
#[derive(Clone, Debug)]
pub struct Layers {
    present: Vec<Layer>,
}

impl Layers {
    /// These layers.
    pub fn of(present: &[Layer]) -> Self {
        Self { present: present.to_vec() }
    }

    /// Whether the plugin runs in this layer.
    pub fn has(&self, layer: Layer) -> bool {
        self.present.contains(&layer)
    }

    /// The layers that the plugin runs in.
    pub fn present(&self) -> &[Layer] {
        &self.present
    }

    /// Names of those of all layers that it does without.
    pub fn missing_words(&self, all: &[Layer]) -> Vec<String> {
        all.iter().filter(|layer| !self.has(**layer)).map(ToString::to_string).collect()
    }

    fn arguments(&self) -> Vec<String> {
        self.present.iter().map(|layer| format!("--layer={layer}")).collect()
    }
}

/// Tries each layer in a process of its own. Returns those that are not available.
pub fn probe() -> Result<Vec<MissingLayer>, HsmError> {
    let mut missing = Vec::new();
    for layer in Layer::ALL {
        if let Some(why) = try_apart(&["probe", layer.word()], layer)? {
            missing.push(MissingLayer { layer, why });
        }
    }
    Ok(missing)
}

/// Runs a probe of this layer in a process of its own: why it failed, if it did.
pub(crate) fn try_apart(probe: &[&str], layer: Layer) -> Result<Option<String>, HsmError> {
    let output = Command::new(OWN_PROGRAM)
        .args(probe)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .map_err(HsmError::io(format!("probe the sandbox layer {layer}")))?;
    if output.status.success() {
        return Ok(None);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Ok(Some(match said.trim().trim_start_matches(log::PREFIX) {
        "" => format!("the probe ended with {}", output.status),
        said => said.to_owned(),
    }))
}

/// How long the plugin may take to say that it runs. Nobody hears meanwhile that the HSM is to stop: it is less than the 30 seconds after which
/// systemd kills what it told to stop.
const STARTED_TIME: Duration = Duration::from_secs(20);

/// A plugin that was started.
#[derive(Debug)]
pub struct Launched {
    /// The `launch` process, or the virtual machine's. Killing it kills the plugin.
    pub child: Child,
    /// The firmware's end of the socket pair.
    pub socket: UnixStream,
    /// What the plugin writes to standard error.
    pub stderr: ChildStderr,
}

/// Starts the plugin. The calling thread must live as long as the plugin may: the kernel ends the plugin with it.
pub fn launch(image: &SealedImage, layers: &Layers) -> Result<Launched, HsmError> {
    let failed = || HsmError::io("start the plugin");
    let (socket, plugin_end) = UnixStream::pair().map_err(failed())?;
    let executable = image.executable().try_clone().map_err(failed())?;
    let mut child = Command::new(OWN_PROGRAM)
        .arg0(OWN_NAME)
        .arg("launch")
        .args(layers.arguments())
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(plugin_end)))
        .stdout(Stdio::from(executable))
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed())?;
    let stderr = child.stderr.take().expect("standard error was asked to be a pipe");
    let plugin_pid = || match verify::child_of(child.id())? {
        Some(process) => Ok(process.pid),
        None => Err(std::io::ErrorKind::NotFound.into()),
    };
    if let Err(error) = memory::introduce(&socket, layers, STARTED_TIME, plugin_pid) {
        log::say(log::Event::PluginGone, format_args!("the plugin did not start as it should: {error}"));
        // Whoever listens to it finds that it is gone.
        let _ = socket.shutdown(Shutdown::Both);
    }
    Ok(Launched { child, socket, stderr })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_present_is_named_as_missing() {
        let layers = Layers::of(&[Layer::Seccomp, Layer::Landlock, Layer::Tsc]);
        assert_eq!(layers.missing_words(&Layer::ALL), ["namespaces", "memory-lock"]);
        assert_eq!(Layers::of(&Layer::ALL).missing_words(&Layer::ALL), [""; 0]);
        for layer in Layer::ALL {
            assert_eq!(layer.word().parse::<Layer>().unwrap(), layer);
        }
        assert!("none".parse::<Layer>().is_err());
    }
}
