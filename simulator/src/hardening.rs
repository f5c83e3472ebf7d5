//! What the firmware does to its own process before it touches a secret.

use crate::{HsmError, log};
use rustix::fs::Mode;
use rustix::mm::MlockAllFlags;
use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// Open files that the firmware wants to be allowed: connections, and some.
const OPEN_FILES: u64 = 2048;

/// No core dumps, no reading of its memory by others, new files for their owner alone.
pub fn harden() -> Result<(), HsmError> {
    rustix::process::umask(Mode::from_raw_mode(0o077));
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(Resource::Core, none).map_err(HsmError::io("forbid core dumps"))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(HsmError::io("forbid others to read the firmware's memory"))?;
    Ok(())
}

/// Raises the limit on open files as far as it is useful.
pub fn raise_open_files() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(OPEN_FILES, |most| most.min(OPEN_FILES));
    if limit.current.is_some_and(|current| current < wanted) {
        // With fewer, fewer connections are accepted at once; nothing else changes.
        let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
        let _ = rustix::process::setrlimit(Resource::Nofile, raised);
    }
}

/// Raises the limit on locked memory as far as the system lets it. The plugin inherits it.
pub fn raise_locked_memory() {
    let none = Rlimit { current: None, maximum: None };
    if rustix::process::setrlimit(Resource::Memlock, none).is_err() {
        let hard = rustix::process::getrlimit(Resource::Memlock).maximum;
        // What the system does not allow, the probe of the memory-lock layer reports.
        let _ = rustix::process::setrlimit(Resource::Memlock, Rlimit { current: hard, maximum: hard });
    }
}

/// Locks what the firmware touches from here on into memory. Under a limit a later allocation would fail, so that
/// it is tried only without one.
pub fn lock_memory() {
    raise_locked_memory();
    if rustix::process::getrlimit(Resource::Memlock).current.is_some() {
        log::say(
            log::Event::MemoryNotLocked,
            "the firmware's own memory is not locked: the limit on locked memory (memlock) is not unlimited",
        );
        return;
    }
    let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    if let Err(error) = rustix::mm::mlockall(all) {
        log::say(
            log::Event::MemoryNotLocked,
            format_args!("the firmware's own memory is not locked: {error}"),
        );
    }
}

/// What a plugin with a million accounts may want to lock, in bytes.
const LOCKED_MEMORY_WANTED: u64 = 96 * 1024 * 1024;

/// Says so if the limit on locked memory is one that a plugin with many accounts can run into: it then ends at the
/// allocation that does not fit.
pub fn locked_memory_is_short() -> Option<String> {
    let limit = rustix::process::getrlimit(Resource::Memlock).current?;
    let mib = |bytes: u64| bytes / (1024 * 1024);
    (limit < LOCKED_MEMORY_WANTED).then(|| {
        format!(
            "it may lock only {} MiB of memory (memlock), and a million accounts need {} MiB: raise the limit",
            mib(limit),
            mib(LOCKED_MEMORY_WANTED)
        )
    })
}
