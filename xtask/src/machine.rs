//! The virtual machine that the plugin may run in: Debian's kernel as it is, and a first root of our own.

use crate::artefacts::{build_programs, build_static};
use crate::setup::{Package, ensure_packages};
use crate::workspace::{self, output, root, say, target};
use anyhow::{Context, Result, bail};
use countersign_release_build::Plan;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The package that always depends on the newest kernel for virtual machines.
const KERNEL_PACKAGE: &str = "linux-image-cloud-amd64";

/// What an HSM's machine starts with.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// The kernel.
    pub(crate) kernel: PathBuf,
    /// The first root.
    pub(crate) root: PathBuf,
}

impl Machine {
    /// The options of `countersign-hsm init`.
    pub(crate) fn name_to(&self, init: &mut Command) {
        init.args(["--boundary", "vm", "--vm-kernel"]).arg(&self.kernel).arg("--vm-root").arg(&self.root);
    }
}

/// `cargo xtask machine`: one line of JSON with both files and their platform measurement.
pub(crate) fn run() -> Result<ExitCode> {
    let hsm = build_programs()?.hsm;
    let Machine { kernel, root } = build_machine(&hsm)?;
    let mut measure = Command::new(&hsm);
    measure.args(["vm-platform", "--vm-kernel"]).arg(&kernel).arg("--vm-root").arg(&root);
    let told: serde_json::Value =
        serde_json::from_str(&output(&mut measure)?).context("it printed no JSON")?;
    println!("{}", serde_json::json!({ "kernel": kernel, "root": root, "platform": told["platform"] }));
    Ok(ExitCode::SUCCESS)
}

/// Fetches the kernel, which is not installed, builds what the machine begins with, and packs its first root.
pub(crate) fn build_machine(hsm: &Path) -> Result<Machine> {
    ensure_packages(&[Package::Qemu])?;
    let folder = target().join("machine");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let (kernel, drivers) = fetch_kernel(&folder)?;
    let guest = build_guest()?;
    let root = folder.join("root");
    let mut pack = Command::new(hsm);
    pack.args(["vm-root", "--guest"]).arg(guest).arg("--drivers").arg(drivers).arg("--out").arg(&root);
    output(&mut pack)?;
    Ok(Machine { kernel, root })
}

/// The kernel and its drivers, out of Debian's package: apt checks its signature.
fn fetch_kernel(folder: &Path) -> Result<(PathBuf, PathBuf)> {
    let name = newest_kernel()?;
    let unpacked = folder.join(&name);
    let version = name.trim_start_matches("linux-image-");
    let kernel = unpacked.join("boot").join(format!("vmlinuz-{version}"));
    let drivers = unpacked.join("lib/modules").join(version).join("kernel/drivers");
    if kernel.exists() && drivers.exists() {
        return Ok((kernel, drivers));
    }
    say("fetching the kernel for the virtual machine");
    let download = folder.join("download");
    // What an earlier try left.
    let _ = fs::remove_dir_all(&download);
    fs::create_dir_all(&download)?;
    workspace::run(Command::new("apt-get").args(["download", "--quiet", &name]).current_dir(&download))?;
    let package = fs::read_dir(&download)?.next().context("apt fetched nothing")??.path();
    let partial = folder.join("partial");
    let _ = fs::remove_dir_all(&partial);
    workspace::run(Command::new("dpkg-deb").arg("--extract").arg(package).arg(&partial))?;
    fs::rename(&partial, &unpacked)?;
    if kernel.exists() && drivers.exists() {
        Ok((kernel, drivers))
    } else {
        bail!("{name} has no kernel in it")
    }
}

fn newest_kernel() -> Result<String> {
    let shown = output(Command::new("apt-cache").args(["depends", "--important", KERNEL_PACKAGE]))?;
    let depends = shown.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
    let name = depends.with_context(|| format!("apt knows no {KERNEL_PACKAGE}"))?;
    Ok(name.to_owned())
}

/// `countersign-guest`, static, with the flags of the image: the same bytes from any folder.
fn build_guest() -> Result<PathBuf> {
    say("building what the virtual machine begins with");
    let plan = Plan { folder: target().join("guest"), ..Plan::here(&root())? };
    build_static(&plan, "countersign-guest", &["--release", "-p", "countersign-simulator"])
}
