//! The plan: one line, `FAULT FOLDER` or `FAULT NUMBER CALL FOLDER`. Instead of a folder it may name one file.

use crate::paths::Target;
use libc::{c_char, c_int, c_long};
use std::ffi::CStr;

const PLAN_MAX_BYTES: usize = 1200;

/// What is to happen below the folder.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `trace`: every write point is noted.
    Trace,
    /// `kill-before N CALL`, `kill-after N CALL`: kill -9 at the N-th write point that is this call, or `any`.
    KillBefore(u64),
    KillAfter(u64),
    /// `kill-half N CALL`: half of the bytes of the N-th write of two bytes or more are written, then kill -9.
    KillHalf(u64),
    /// `hold 1 CALL`: the first write point that is this call, or `any`, waits until there is another plan.
    Hold,
    /// `full`: nothing can be made or written (`ENOSPC`).
    Full,
    /// `full-half`: of two writes the first writes half, the second finds no room.
    FullHalf,
    /// `sync-fails`, `write-fails`, `read-fails`: `EIO`.
    SyncFails,
    WriteFails,
    ReadFails,
    /// `short`: every write writes half, and is noted.
    Short,
    /// `interrupted`: every other write is interrupted (`EINTR`), and is noted.
    Interrupted,
}

/// A plan as it was read just now.
pub(crate) struct Plan {
    pub(crate) fault: Fault,
    text: [u8; PLAN_MAX_BYTES],
    call: (usize, usize),
    folder: (usize, usize),
}

impl Plan {
    /// The plan, if there is one.
    pub(crate) fn read() -> Option<Self> {
        let mut text = [0; PLAN_MAX_BYTES];
        let fd = open(c"COUNTERSIGN_FAULTS", libc::O_RDONLY)?;
        let length = kernel!(SYS_read, fd, text.as_mut_ptr(), PLAN_MAX_BYTES);
        close(fd);
        let line = text.get(..usize::try_from(length).ok()?)?.strip_suffix(b"\n")?;
        let mut at = 0;
        let mut word = || {
            let length = line.get(at..)?.iter().position(|byte| *byte == b' ')?;
            let word = (at, at + length);
            at += length + 1;
            Some(word)
        };
        let text_of = |(begin, end): (usize, usize)| std::str::from_utf8(line.get(begin..end)?).ok();
        let fault = text_of(word()?)?;
        let (mut number, mut call) = (0, (0, 0));
        if fault.starts_with("kill-") || fault == "hold" {
            number = text_of(word()?)?.parse().ok()?;
            call = word()?;
        }
        let fault = match fault {
            "trace" => Fault::Trace,
            "kill-before" => Fault::KillBefore(number),
            "kill-after" => Fault::KillAfter(number),
            "kill-half" => Fault::KillHalf(number),
            "hold" => Fault::Hold,
            "full" => Fault::Full,
            "full-half" => Fault::FullHalf,
            "sync-fails" => Fault::SyncFails,
            "write-fails" => Fault::WriteFails,
            "read-fails" => Fault::ReadFails,
            "short" => Fault::Short,
            "interrupted" => Fault::Interrupted,
            _ => return None,
        };
        let folder = (at, line.len());
        Some(Self { fault, text, call, folder })
    }

    /// Whether it is about this call.
    pub(crate) fn is_about(&self, call: &CStr) -> bool {
        let about = &self.text[self.call.0..self.call.1];
        about.is_empty() || about == b"any" || about == call.to_bytes()
    }

    /// Below which folder.
    pub(crate) fn folder(&self) -> &[u8] {
        &self.text[self.folder.0..self.folder.1]
    }
}

/// Notes a write point in the file that `COUNTERSIGN_FAULTS_TRACE` names: `CALL PATH`.
pub(crate) fn note(call: &CStr, target: &Target) {
    let Some(fd) = open(c"COUNTERSIGN_FAULTS_TRACE", libc::O_WRONLY | libc::O_APPEND | libc::O_CREAT) else {
        return;
    };
    for part in [call.to_bytes(), b" ", target.bytes(), b"\n"] {
        kernel!(SYS_write, fd, part.as_ptr(), part.len());
    }
    close(fd);
}

/// Opens the file that a variable names.
fn open(variable: &CStr, flags: c_int) -> Option<c_long> {
    const MODE: c_int = 0o600;
    // SAFETY: nobody in this process changes its environment; the value ends with a NUL.
    let path: *const c_char = unsafe { libc::getenv(variable.as_ptr()) };
    if path.is_null() {
        return None;
    }
    let fd = kernel!(SYS_openat, libc::AT_FDCWD, path, flags | libc::O_CLOEXEC, MODE);
    (fd >= 0).then_some(fd)
}

fn close(fd: c_long) {
    kernel!(SYS_close, fd);
}
