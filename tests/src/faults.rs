//! Faults in the HSM's own process: kill -9 at a chosen write, and a disk that fails. `countersign-faults`, preloaded
//! into `countersign-hsm`, brings them about; the plugin's process is static and has no such thing.
//!
//! A plan may be changed while the HSM runs.

use crate::artefacts;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Longer than anything takes; what takes longer hangs.
const PATIENCE: Duration = Duration::from_mins(1);

/// Where in a write point's call the HSM is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before anything of it was done.
    Before,
    /// When half of the bytes were written. Calls that write less than two bytes are no write points then.
    Half,
    /// When it was done.
    After,
}

impl Moment {
    fn word(self) -> &'static str {
        match self {
            Self::Before => "kill-before",
            Self::Half => "kill-half",
            Self::After => "kill-after",
        }
    }
}

/// What happens to an HSM's files below a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing; every write point is noted.
    Trace,
    /// kill -9 at this write point of the process, counted from 1.
    Kill(Moment, usize),
    /// kill -9 at the first write point that is this call of the C library.
    KillAtFirst(Moment, &'static str),
    /// The first write point of the process that is this call of the C library takes until something else is said.
    HoldFirst(&'static str),
    /// Nothing new can be written: `ENOSPC`.
    Full,
    /// The same, but half of what is written first still finds room.
    FullHalfWay,
    /// No sync succeeds: `EIO`.
    SyncFails,
    /// No write succeeds: `EIO`.
    WriteFails,
    /// No read succeeds: `EIO`.
    ReadFails,
    /// Every write writes only half of what it is given.
    ShortWrites,
    /// Every other write is interrupted: `EINTR`.
    Interrupted,
}

impl Fault {
    fn words(self) -> String {
        match self {
            Self::Trace => "trace".into(),
            Self::Kill(moment, nth) => format!("{} {nth} any", moment.word()),
            Self::KillAtFirst(moment, call) => format!("{} 1 {call}", moment.word()),
            Self::HoldFirst(call) => format!("hold 1 {call}"),
            Self::Full => "full".into(),
            Self::FullHalfWay => "full-half".into(),
            Self::SyncFails => "sync-fails".into(),
            Self::WriteFails => "write-fails".into(),
            Self::ReadFails => "read-fails".into(),
            Self::ShortWrites => "short".into(),
            Self::Interrupted => "interrupted".into(),
        }
    }
}

/// The faults of one HSM.
#[derive(Clone, Debug)]
pub struct Faults {
    plan: PathBuf,
    trace: PathBuf,
}

impl Faults {
    /// No faults yet; the plan is kept in this folder.
    pub fn none_in(folder: &Path) -> Self {
        Self { plan: folder.join("faults.plan"), trace: folder.join("faults.trace") }
    }

    /// From the next call on this happens to files below `folder`, or to the file of that name, until something else is said.
    pub fn set(&self, fault: Fault, folder: &Path) {
        // In one step: the HSM may be reading it.
        let beside = self.plan.with_extension("new");
        fs::write(&beside, format!("{} {}\n", fault.words(), folder.display()))
            .expect("the plan can be written");
        fs::rename(beside, &self.plan).expect("the plan can be put in place");
    }

    /// From the next call on nothing is wrong any more.
    pub fn clear(&self) {
        fs::remove_file(&self.plan).expect("there is a plan to remove");
    }

    /// The write points noted since the last time, as `CALL PATH`: those that were traced, that killed, that were held,
    /// short or interrupted.
    pub fn take_trace(&self) -> Vec<String> {
        let noted = fs::read_to_string(&self.trace).unwrap_or_default();
        fs::write(&self.trace, "").expect("the trace can be emptied");
        noted.lines().map(str::to_owned).collect()
    }

    /// Waits until the HSM has come to the write point that is held.
    pub fn wait_until_held(&self) {
        let started = Instant::now();
        while fs::metadata(&self.trace).map_or(0, |trace| trace.len()) == 0 {
            assert!(started.elapsed() < PATIENCE, "the HSM does not come to what is to be held");
            std::thread::yield_now();
        }
    }

    /// Sets a command up for it.
    pub(crate) fn preload(&self, command: &mut Command) {
        command.env("LD_PRELOAD", artefacts::faults());
        command.env("COUNTERSIGN_FAULTS", &self.plan).env("COUNTERSIGN_FAULTS_TRACE", &self.trace);
    }
}
