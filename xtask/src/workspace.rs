//! Where the repository is, and how cargo is called in it.

use anyhow::{Context, Result, bail};
use std::env;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    // Cargo sets the variable for what it runs; the value from compile time serves a binary that is started by hand.
    let own = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    own.parent().expect("xtask lies in the repository's root").to_owned()
}

/// Where everything that is built goes.
pub(crate) fn target() -> PathBuf {
    root().join("target")
}

/// The cargo that started this process, or the one on the path.
pub(crate) fn cargo_program() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Cargo in the repository's root; what it prints goes to stderr, and it never waits for input.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(cargo_program());
    cargo.current_dir(root()).stdin(Stdio::null()).stdout(io::stderr());
    cargo
}

/// Says what is about to happen.
pub(crate) fn say(text: &str) {
    eprintln!("xtask: {text}");
}

/// Runs a program to its end and fails unless it succeeds.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", program(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", program(command));
    }
    Ok(())
}

/// Runs a program to its end and returns what it wrote to stdout; stderr is passed on.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", program(command)))?;
    if !output.status.success() {
        bail!("{} failed ({})", program(command), output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("{} did not print text", program(command)))
}

fn program(command: &Command) -> String {
    Path::new(command.get_program()).file_name().unwrap_or(command.get_program()).display().to_string()
}

/// The target triple of this machine.
pub(crate) fn host_target() -> Result<String> {
    let version = output(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc names no host")?.to_owned())
}
