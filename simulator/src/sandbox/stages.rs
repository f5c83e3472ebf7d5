//! The processes between the firmware and the plugin, and the probes of what they need.

use super::{Layer, Layers, OWN_NAME, OWN_PROGRAM, seccomp};
use crate::hardening;
use anyhow::{Context, Result, anyhow, ensure};
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus, Scope,
};
use nix::fcntl::AtFlags;
use nix::sched::CloneFlags;
use rustix::mm::MlockAllFlags;
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::process::{Resource, Rlimit, Signal, TimeStampCounterReadability};
use rustix::thread::{CapabilitySet, CapabilitySets};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;

/// Who the plugin is inside its user namespace: somebody, not root.
const PLUGIN_UID: u32 = 1000;

/// The least that must be lockable: what Linux allows an ordinary process since 5.16. It is enough for an HSM with
/// some tens of thousands of accounts; for more, the operator raises the limit. The firmware bounds what the plugin
/// holds on behalf of clients, so that requests do not exhaust it.
const LOCKED_MIN_BYTES: u64 = 8 * 1024 * 1024;

/// `launch`: makes the namespaces and starts `confine` in them. Returns the exit code of the plugin.
///
/// A process is needed in between, because a new process namespace begins with the next child.
pub fn launch(layers: &Layers) -> Result<u8> {
    if layers.has(Layer::Namespaces) {
        enter_namespaces()?;
    }
    die_with_parent()?;
    if layers.has(Layer::Namespaces) {
        keep_capabilities(CapabilitySet::SYS_ADMIN | CapabilitySet::SYS_CHROOT)?;
    }
    let mut confine = Command::new(OWN_PROGRAM)
        .arg0(OWN_NAME)
        .arg("confine")
        .args(layers.arguments())
        .env_clear()
        .spawn()?;
    drop_capabilities()?;
    // The plugin's end of the socket is now the plugin's alone, so that its end is seen.
    let null = File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    let status = confine.wait()?;
    let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    Ok(u8::try_from(code).unwrap_or(u8::MAX))
}

/// What the plugin has for a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// An empty folder that cannot be written.
    Empty,
    /// That of whoever starts it.
    Whole,
}

/// `confine`: gives up everything and becomes the plugin. Returns only with an error.
pub fn confine(layers: &Layers, root: Root) -> Result<std::convert::Infallible> {
    die_with_parent()?;
    close_other_files()?;
    let executable = rustix::io::fcntl_dupfd_cloexec(std::io::stdout(), seccomp::EXECUTABLE_FD)?;
    ensure!(executable.as_raw_fd() == seccomp::EXECUTABLE_FD, "descriptor 3 was taken");
    let null = File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    drop(null);
    if root == Root::Empty {
        enter_empty_root()?;
    }
    drop_capabilities()?;
    rustix::thread::set_no_new_privs(true)?;
    if layers.has(Layer::Landlock) {
        restrict_files()?;
    }
    set_limits()?;
    if layers.has(Layer::Tsc) {
        forbid_time_stamp_counter()?;
    }
    if layers.has(Layer::Seccomp) {
        restrict_calls(layers)?;
    }
    become_plugin(&executable)
}

/// `probe`: applies one layer to this process, or says why that cannot be done.
pub fn probe(layer: Layer) -> Result<()> {
    match layer {
        Layer::Namespaces => enter_namespaces().and_then(|()| enter_empty_root()),
        Layer::Landlock => restrict_files(),
        Layer::Seccomp => restrict_calls(&Layers::of(&Layer::ALL)),
        Layer::MemoryLock => lock_memory(),
        Layer::Tsc => forbid_time_stamp_counter(),
    }
}

/// From here on the kernel kills this process, and what it becomes, when the thread that started it ends.
pub fn die_with_parent() -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).context("PR_SET_PDEATHSIG")
}

/// No core dumps of this process, nor of what it becomes. A program that dumps are piped to is given them whatever the limit is: it finds
/// no memory in them.
pub fn leave_no_dump() -> Result<()> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(Resource::Core, none).context("setrlimit Core")?;
    match std::fs::write("/proc/self/coredump_filter", "0") {
        // A kernel that makes no dumps.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        done => done.context("/proc/self/coredump_filter"),
    }
}

fn enter_namespaces() -> Result<()> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let all = CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWCGROUP;
    nix::sched::unshare(all).context("unshare (are unprivileged user namespaces allowed here?)")?;
    std::fs::write("/proc/self/setgroups", "deny").context("/proc/self/setgroups")?;
    std::fs::write("/proc/self/gid_map", format!("{PLUGIN_UID} {gid} 1")).context("/proc/self/gid_map")?;
    std::fs::write("/proc/self/uid_map", format!("{PLUGIN_UID} {uid} 1")).context("/proc/self/uid_map")
}

/// Lets the next program that this process runs have these capabilities in the new namespaces, and no others.
fn keep_capabilities(kept: CapabilitySet) -> Result<()> {
    let sets = rustix::thread::capabilities(None).context("capget")?;
    let sets = CapabilitySets { inheritable: kept, ..sets };
    rustix::thread::set_capabilities(None, sets).context("capset")?;
    for capability in kept.iter() {
        rustix::thread::configure_capability_in_ambient_set(capability, true).context("PR_CAP_AMBIENT")?;
    }
    Ok(())
}

/// Makes an empty folder that cannot be written the root: from here on no path leads to anything. Without
/// capabilities and without an open folder there is no way out.
fn enter_empty_root() -> Result<()> {
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    // The folder is only where the new one is put; nobody outside these namespaces sees that.
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .context("make the mounts private")?;
    rustix::mount::mount("none", "/proc", "tmpfs", flags, c"mode=555,nr_inodes=1")
        .context("mount an empty root")?;
    rustix::process::chroot("/proc").context("chroot")?;
    rustix::process::chdir("/").context("chdir")
}

fn close_other_files() -> Result<()> {
    let mut open = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        open.extend(entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    for fd in open.into_iter().filter(|fd| *fd > 2) {
        // One of them was the listing itself, and is closed already.
        let _ = nix::unistd::close(fd);
    }
    Ok(())
}

fn drop_capabilities() -> Result<()> {
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets).context("capset")
}

fn set_limits() -> Result<()> {
    let open_files = u64::from(seccomp::EXECUTABLE_FD.unsigned_abs()) + 1;
    for (resource, most) in [(Resource::Core, 0), (Resource::Fsize, 0), (Resource::Nofile, open_files)] {
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        rustix::process::setrlimit(resource, limit).with_context(|| format!("setrlimit {resource:?}"))?;
    }
    Ok(())
}

/// No rule allows anything, so every access that the kernel's Landlock knows is refused. Access to files, the first
/// version of Landlock, is required; what later versions added is refused where it is known.
fn restrict_files() -> Result<()> {
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V6))?
        .handle_access(AccessNet::from_all(ABI::V6))?
        .scope(Scope::from_all(ABI::V6))?
        .create()?
        .restrict_self()?;
    ensure!(status.ruleset != RulesetStatus::NotEnforced, "Landlock is not enforced by this kernel");
    Ok(())
}

fn forbid_time_stamp_counter() -> Result<()> {
    // Seccomp cannot stop the vDSO's clocks, which read the counter without a system call. This survives exec.
    rustix::process::set_time_stamp_counter_readability(TimeStampCounterReadability::RaiseSIGSEGV)
        .context("PR_SET_TSC")
}

fn restrict_calls(layers: &Layers) -> Result<()> {
    for filter in seccomp::filters(layers)? {
        seccompiler::apply_filter(&filter)?;
    }
    Ok(())
}

fn lock_memory() -> Result<()> {
    hardening::raise_locked_memory();
    let limit = rustix::process::getrlimit(Resource::Memlock).maximum;
    if let Some(limit) = limit.filter(|limit| *limit < LOCKED_MIN_BYTES) {
        return Err(anyhow!(
            "only {} KiB may be locked into memory, and the plugin needs {} KiB (raise the limit 'memlock')",
            limit / 1024,
            LOCKED_MIN_BYTES / 1024
        ));
    }
    // What this process has already is more than the plugin has, and says nothing about it.
    rustix::mm::mlockall(MlockAllFlags::FUTURE).context("mlockall")
}

fn become_plugin(executable: &OwnedFd) -> Result<std::convert::Infallible> {
    let nothing: [&std::ffi::CStr; 0] = [];
    nix::unistd::execveat(executable, c"", &[c"countersign-plugin"], &nothing, AtFlags::AT_EMPTY_PATH)
        .context("run the sealed executable")
}
