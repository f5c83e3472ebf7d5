//! One HSM of the simulator: initialised, running, stopped, killed.

use crate::machine::Machine;
use crate::workspace::output;
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use countersign_client::{Client, HostConfig};
use countersign_wire::client::{Act, Answer, Status};
use countersign_wire::names::ApiKey;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

/// Where keys are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Keystore {
    /// In the simulator itself; needs nothing installed
    Embedded,
    /// In SoftHSM2, through PKCS#11
    Softhsm,
}

/// Where the HSM's time comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Clock {
    /// This machine's clock
    System,
    /// Stands still until `countersign clock advance`
    Manual,
}

impl Keystore {
    /// The word on the command line.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Softhsm => "softhsm",
        }
    }
}

impl Clock {
    /// The word on the command line.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Manual => "manual",
        }
    }
}

/// A home folder, and the program and image that run it.
#[derive(Clone, Debug)]
pub(crate) struct Hsm {
    /// `countersign-hsm`.
    pub(crate) program: PathBuf,
    /// The frozen image.
    pub(crate) image: PathBuf,
    /// The home folder; absolute.
    pub(crate) home: PathBuf,
    /// Run even where layers of the sandbox are missing.
    pub(crate) weak_sandbox: bool,
    /// The virtual machine that the plugin runs in, if it is one.
    pub(crate) machine: Option<Machine>,
}

/// Where the HSM's log goes.
pub(crate) enum Log<'a> {
    /// To this process's stderr.
    Stderr,
    /// To the end of a file.
    File(&'a Path),
}

/// An HSM that serves. Dropping it stops it.
pub(crate) struct RunningHsm {
    child: Child,
    pidfd: OwnedFd,
    /// Kept open, so that the HSM never writes into a broken pipe.
    _stdout: BufReader<ChildStdout>,
    /// What it said when it began to serve.
    pub(crate) serving: Serving,
}

/// The line that `countersign-hsm run` prints when it serves.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Serving {
    /// Where clients connect.
    pub(crate) socket: PathBuf,
    /// The development-only control channel; only with a manual clock.
    pub(crate) control: Option<PathBuf>,
    /// What the firmware measured.
    pub(crate) measurement: String,
}

/// The line that it prints instead when it does not take the image.
#[derive(Deserialize)]
struct Refused {
    #[serde(rename = "refused")]
    _word: String,
}

/// The HSM did not begin to serve.
#[derive(Debug)]
pub(crate) struct NotServing {
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// What it logged, where the log is a file.
    pub(crate) said: String,
}

impl std::fmt::Display for NotServing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "the HSM did not start ({}){}{}",
            self.status,
            if self.said.is_empty() { "" } else { ": " },
            self.said
        )
    }
}

impl std::error::Error for NotServing {}

#[derive(Deserialize)]
struct Initialised {
    api_keys: std::collections::BTreeMap<String, ApiKey>,
}

impl Hsm {
    /// Initialises the home folder, which must be new or empty; returns the API key of its one tenant.
    pub(crate) fn init(&self, keystore: Keystore, clock: Clock) -> Result<ApiKey> {
        let mut init = Command::new(&self.program);
        init.args(["init", "--development"]).arg("--home").arg(&self.home).arg("--image").arg(&self.image);
        init.args(["--keystore", keystore.word(), "--clock", clock.word()]);
        if let Some(machine) = &self.machine {
            machine.name_to(&mut init);
        }
        let line = output(&mut init).context("the HSM was not initialised")?;
        let done: Initialised = serde_json::from_str(&line).context("init printed no JSON")?;
        done.api_keys.into_values().next().context("init printed no API key")
    }

    /// Runs the HSM and waits until it serves. It is in a process group of its own, so that a key typed at the
    /// terminal reaches only this process, which then stops it in order.
    pub(crate) fn start(&self, log: &Log<'_>) -> Result<RunningHsm> {
        let mut run = Command::new(&self.program);
        run.arg("run").arg("--home").arg(&self.home).arg("--image").arg(&self.image);
        if self.weak_sandbox {
            run.arg("--weak-sandbox");
        }
        let mut log_file = match log {
            Log::Stderr => None,
            Log::File(path) => Some(append_to(path)?),
        };
        let log_starts_at = log_file.as_mut().map_or(Ok(0), |file| file.seek(SeekFrom::End(0)))?;
        if let Some(file) = &log_file {
            run.stderr(file.try_clone()?);
        }
        let mut child = run
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())
            .context("cannot watch the HSM's process")?;
        let mut stdout = BufReader::new(child.stdout.take().context("the HSM has no stdout")?);
        let mut line = String::new();
        if stdout.read_line(&mut line)? == 0 || serde_json::from_str::<Refused>(&line).is_ok() {
            let status = child.wait()?;
            let said = log_file.map_or(Ok(String::new()), |file| read_from(file, log_starts_at))?;
            return Err(NotServing { status, said }.into());
        }
        match serde_json::from_str(&line) {
            Ok(serving) => Ok(RunningHsm { child, pidfd, _stdout: stdout, serving }),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error).context("the HSM did not say where it serves")
            }
        }
    }
}

fn append_to(path: &Path) -> Result<File> {
    let file = OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path);
    file.with_context(|| format!("cannot write {}", path.display()))
}

fn read_from(mut file: File, offset: u64) -> Result<String> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(offset))?;
    file.read_to_string(&mut text)?;
    Ok(text.trim_end().to_owned())
}

impl RunningHsm {
    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Something that becomes readable when the process ends; see [`wait_for_end`].
    pub(crate) fn pidfd(&self) -> Result<OwnedFd> {
        Ok(self.pidfd.try_clone()?)
    }

    /// How hosts reach it.
    pub(crate) fn host_config(&self) -> HostConfig {
        HostConfig { control: self.serving.control.clone(), ..HostConfig::for_socket(&self.serving.socket) }
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) fn stop(mut self) -> Result<()> {
        let status = self.end(Signal::TERM)?;
        if !status.success() {
            bail!("the HSM did not stop in order ({status})");
        }
        Ok(())
    }

    /// Kills it with SIGKILL: it has no chance to do anything more.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.end(Signal::KILL)?;
        Ok(())
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait(mut self) -> Result<ExitStatus> {
        Ok(self.child.wait()?)
    }

    fn end(&mut self, signal: Signal) -> Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        pidfd_send_signal(&self.pidfd, signal)?;
        Ok(self.child.wait()?)
    }
}

impl Drop for RunningHsm {
    fn drop(&mut self) {
        if let Err(error) = self.end(Signal::TERM) {
            eprintln!("xtask: the HSM could not be stopped: {error:#}");
        }
    }
}

/// Returns when the process behind [`RunningHsm::pidfd`] has ended.
pub(crate) fn wait_for_end(pidfd: &OwnedFd) -> Result<()> {
    loop {
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], None) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot watch the HSM's process"),
        }
    }
}

/// Writes the `host.toml` of an HSM's hosts.
pub(crate) fn write_host_toml(path: &Path, serving: &Serving, api_key_file: &Path) -> Result<()> {
    // A JSON string is a TOML basic string: the same quotes and the same escapes.
    let quoted = |path: &Path| -> Result<String> {
        Ok(serde_json::to_string(path.to_str().context("a path is not UTF-8")?)?)
    };
    let mut lines = vec![format!("socket = {}", quoted(&serving.socket)?)];
    if let Some(control) = &serving.control {
        lines.push(format!("control = {}", quoted(control)?));
    }
    lines.push(format!("api_key_file = {}\n", quoted(api_key_file)?));
    write_private(path, &lines.join("\n"))
}

/// Writes a file that only its owner may read, in one piece: there is never half of it.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// The HSM's own word on how it is.
pub(crate) fn status(client: &Client) -> Result<Status> {
    match client.call(None, Act::Status).context("the HSM gives no status")? {
        Answer::Status(status) => Ok(status),
        _ => bail!("the HSM answered something else than its status"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_toml_reads_back_as_it_was_meant() {
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("a \"quoted\" \\ näme\t");
        let serving = Serving {
            socket: odd.join("hsm.sock"),
            control: Some(odd.join("control.sock")),
            measurement: String::new(),
        };
        let path = folder.path().join("host.toml");
        write_host_toml(&path, &serving, &odd.join("api-key")).unwrap();
        let config = HostConfig::from_file(&path).unwrap();
        assert_eq!(config.socket, serving.socket);
        assert_eq!(config.control, serving.control);
        assert_eq!(config.api_key_file, Some(odd.join("api-key")));
    }

    #[test]
    fn a_private_file_is_private_and_replaced_whole() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        write_private(&path, "one, and rather long").unwrap();
        write_private(&path, "two").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
