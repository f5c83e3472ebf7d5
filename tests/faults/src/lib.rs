//! Faults of the disk, in the real HSM's process: a library for `LD_PRELOAD` that stands before the C library's file
//! functions. For tests alone. ([`tap`] is the other thing that is done from there: it listens to the plugin.)
//!
//! `COUNTERSIGN_FAULTS` names a file with the [`plan`]: what is to fail, and below which folder. It is read again at
//! every call, so that a test can switch while the process runs. Without a plan every call is passed on.
//!
//! The *write points* of a process are its calls that change a file or a folder below the plan's folder, or make that
//! durable, counted from 1. What is interposed is what Rust's standard library and `SoftHSM` call; each call goes on
//! to the kernel by `syscall`, so that nothing here calls itself.

#![allow(unsafe_code, reason = "it takes the place of functions of the C library")]
#![allow(
    clippy::cast_possible_truncation,
    reason = "what the kernel answers fits what the C library answers"
)]

/// A call of the kernel, with the arguments of the C library's function of that name.
macro_rules! kernel {
    ($call:ident $(, $argument:expr)*) => {
        // SAFETY: whoever called the function keeps its contract, and the kernel's call asks no more of its
        // arguments. They are passed on unchanged, except for a length, which may become smaller.
        unsafe { libc::syscall(libc::$call $(, $argument)*) }
    };
}

mod paths;
mod plan;
mod tap;

use libc::{FILE, c_char, c_int, c_long, c_uint, c_void, mode_t, off64_t, size_t, ssize_t};
use paths::Target;
use plan::{Fault, Plan};
use std::ffi::CStr;
use std::sync::atomic::{AtomicU64, Ordering};

/// What kind of call a write point is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It makes something longer, or new.
    Grow,
    Sync,
    /// It makes something shorter, or removes or renames it.
    Change,
}

/// Write points so far, and those of them that write two bytes or more.
static POINTS: AtomicU64 = AtomicU64::new(0);
static WRITES: AtomicU64 = AtomicU64::new(0);

/// What is to be done at a write point, besides the call itself.
enum Verdict {
    Pass,
    Errno(c_int),
    /// Only this many bytes are written, and the process is killed if so told.
    Short {
        bytes: size_t,
        kill: bool,
    },
    KillAfter,
}

/// Decides about one write point. `bytes`: how much a write writes.
fn verdict(call: &CStr, kind: Kind, target: &Target, bytes: Option<size_t>) -> Verdict {
    let Some(plan) = Plan::read() else { return Verdict::Pass };
    if !target.is_below(plan.folder()) || !plan.is_about(call) {
        return Verdict::Pass;
    }
    let half = bytes.map(|bytes| bytes / 2).filter(|half| *half > 0);
    if matches!(plan.fault, Fault::KillHalf(_)) && half.is_none() {
        return Verdict::Pass;
    }
    let nth = POINTS.fetch_add(1, Ordering::Relaxed) + 1;
    let is_odd_write = half.is_some() && WRITES.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
    let here = |at: u64| {
        let here = at == nth;
        if here {
            plan::note(call, target);
        }
        here
    };
    match (plan.fault, half) {
        (Fault::Trace, _) => {
            plan::note(call, target);
            Verdict::Pass
        }
        (Fault::KillBefore(at), _) if here(at) => die(),
        (Fault::KillAfter(at), _) if here(at) => Verdict::KillAfter,
        (Fault::KillHalf(at), Some(bytes)) if here(at) => Verdict::Short { bytes, kill: true },
        (Fault::Hold, _) if here(1) => {
            while Plan::read().is_some_and(|plan| plan.fault == Fault::Hold) {
                kernel!(SYS_sched_yield);
            }
            Verdict::Pass
        }
        (Fault::Full, _) if kind == Kind::Grow => Verdict::Errno(libc::ENOSPC),
        (Fault::FullHalf, Some(bytes)) if kind == Kind::Grow => {
            // Half of it still fits; the rest, which is written next, does not.
            if is_odd_write { Verdict::Short { bytes, kill: false } } else { Verdict::Errno(libc::ENOSPC) }
        }
        (Fault::SyncFails, _) if kind == Kind::Sync => Verdict::Errno(libc::EIO),
        (Fault::WriteFails, Some(_)) => Verdict::Errno(libc::EIO),
        (Fault::Short, Some(bytes)) => {
            plan::note(call, target);
            Verdict::Short { bytes, kill: false }
        }
        (Fault::Interrupted, Some(_)) if is_odd_write => {
            plan::note(call, target);
            Verdict::Errno(libc::EINTR)
        }
        _ => Verdict::Pass,
    }
}

/// kill -9 of this process, at once.
fn die() -> ! {
    let own = kernel!(SYS_getpid);
    kernel!(SYS_kill, own, libc::SIGKILL);
    loop {
        // Killed before this returns.
        std::hint::spin_loop();
    }
}

fn fail(errno: c_int) -> c_long {
    // SAFETY: the C library gives a valid pointer to this thread's errno.
    unsafe { *libc::__errno_location() = errno };
    -1
}

/// A write point that writes no bytes of the caller's.
fn point(call: &CStr, kind: Kind, target: &Target, go_on: impl FnOnce() -> c_long) -> c_long {
    match verdict(call, kind, target, None) {
        Verdict::Errno(errno) => fail(errno),
        Verdict::KillAfter => {
            go_on();
            die()
        }
        Verdict::Pass | Verdict::Short { .. } => go_on(),
    }
}

/// A write point that writes so many bytes; `go_on` writes that many at the most.
fn write_point(call: &CStr, fd: c_int, bytes: size_t, go_on: impl FnOnce(size_t) -> c_long) -> c_long {
    match verdict(call, Kind::Grow, &Target::of_fd(fd), Some(bytes)) {
        Verdict::Pass => go_on(bytes),
        Verdict::Errno(errno) => fail(errno),
        Verdict::Short { bytes, kill } => {
            let written = go_on(bytes);
            if kill { die() } else { written }
        }
        Verdict::KillAfter => {
            go_on(bytes);
            die()
        }
    }
}

/// Whether a read from this file is to fail.
fn read_fails(fd: c_int) -> bool {
    Plan::read()
        .is_some_and(|plan| plan.fault == Fault::ReadFails && Target::of_fd(fd).is_below(plan.folder()))
}

/// What a call names.
fn named(folder: c_int, path: *const c_char) -> Target {
    // SAFETY: whoever called the function that this is for gave it a path that ends with a NUL.
    unsafe { Target::of_path(folder, path) }
}

#[unsafe(no_mangle)]
extern "C" fn write(fd: c_int, buffer: *const c_void, bytes: size_t) -> ssize_t {
    let go_on = |bytes: size_t| kernel!(SYS_write, fd, buffer, bytes);
    let written = write_point(c"write", fd, bytes, go_on);
    tap::note(fd, "sent", buffer, written);
    written as ssize_t
}

#[unsafe(no_mangle)]
extern "C" fn pwrite64(fd: c_int, buffer: *const c_void, bytes: size_t, at: off64_t) -> ssize_t {
    let go_on = |bytes: size_t| kernel!(SYS_pwrite64, fd, buffer, bytes, at);
    write_point(c"pwrite64", fd, bytes, go_on) as ssize_t
}

#[unsafe(no_mangle)]
extern "C" fn pread64(fd: c_int, buffer: *mut c_void, bytes: size_t, at: off64_t) -> ssize_t {
    if read_fails(fd) {
        return fail(libc::EIO) as ssize_t;
    }
    kernel!(SYS_pread64, fd, buffer, bytes, at) as ssize_t
}

#[unsafe(no_mangle)]
extern "C" fn fsync(fd: c_int) -> c_int {
    let go_on = || kernel!(SYS_fsync, fd);
    point(c"fsync", Kind::Sync, &Target::of_fd(fd), go_on) as c_int
}

#[unsafe(no_mangle)]
extern "C" fn fdatasync(fd: c_int) -> c_int {
    let go_on = || kernel!(SYS_fdatasync, fd);
    point(c"fdatasync", Kind::Sync, &Target::of_fd(fd), go_on) as c_int
}

#[unsafe(no_mangle)]
extern "C" fn ftruncate64(fd: c_int, length: off64_t) -> c_int {
    let go_on = || kernel!(SYS_ftruncate, fd, length);
    point(c"ftruncate64", Kind::Change, &Target::of_fd(fd), go_on) as c_int
}

#[unsafe(no_mangle)]
extern "C" fn ftruncate(fd: c_int, length: off64_t) -> c_int {
    ftruncate64(fd, length)
}

#[unsafe(no_mangle)]
extern "C" fn fallocate64(fd: c_int, mode: c_int, at: off64_t, bytes: off64_t) -> c_int {
    let go_on = || kernel!(SYS_fallocate, fd, mode, at, bytes);
    point(c"fallocate64", Kind::Grow, &Target::of_fd(fd), go_on) as c_int
}

/// Opening is a write point where it makes or empties a file.
#[unsafe(no_mangle)]
extern "C" fn openat64(folder: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    let go_on = || kernel!(SYS_openat, folder, path, flags, mode as c_uint);
    let opened = if flags & (libc::O_CREAT | libc::O_TRUNC) == 0 {
        go_on()
    } else {
        let target = named(folder, path);
        point(c"openat64", Kind::Grow, &target, go_on)
    };
    opened as c_int
}

#[unsafe(no_mangle)]
extern "C" fn openat(folder: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    openat64(folder, path, flags, mode)
}

#[unsafe(no_mangle)]
extern "C" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    openat64(libc::AT_FDCWD, path, flags, mode)
}

#[unsafe(no_mangle)]
extern "C" fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    openat64(libc::AT_FDCWD, path, flags, mode)
}

#[unsafe(no_mangle)]
extern "C" fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
    let go_on = || kernel!(SYS_mkdirat, libc::AT_FDCWD, path, mode as c_uint);
    point(c"mkdir", Kind::Grow, &named(libc::AT_FDCWD, path), go_on) as c_int
}

#[unsafe(no_mangle)]
extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    let here = libc::AT_FDCWD;
    let go_on = || kernel!(SYS_renameat2, here, from, here, to, 0);
    point(c"rename", Kind::Change, &named(here, to), go_on) as c_int
}

#[unsafe(no_mangle)]
extern "C" fn unlinkat(folder: c_int, path: *const c_char, flags: c_int) -> c_int {
    let go_on = || kernel!(SYS_unlinkat, folder, path, flags);
    point(c"unlinkat", Kind::Change, &named(folder, path), go_on) as c_int
}

#[unsafe(no_mangle)]
extern "C" fn unlink(path: *const c_char) -> c_int {
    unlinkat(libc::AT_FDCWD, path, 0)
}

#[unsafe(no_mangle)]
extern "C" fn rmdir(path: *const c_char) -> c_int {
    unlinkat(libc::AT_FDCWD, path, libc::AT_REMOVEDIR)
}

// `SoftHSM` writes through streams, whose writes stay inside the C library: a write point is where one is flushed.

unsafe extern "C" {
    /// How many bytes wait in a stream to be written (`stdio_ext.h`).
    fn __fpending(stream: *mut FILE) -> size_t;
}

type OfStream = unsafe extern "C" fn(*mut FILE) -> c_int;

/// Calls the C library's function of this name, which may write what waits in the stream.
fn flush(call: &CStr, stream: *mut FILE) -> c_int {
    // SAFETY: the next function of that name is the C library's, of this type; without one it is null, and so `None`.
    let next: Option<OfStream> = unsafe { std::mem::transmute(libc::dlsym(libc::RTLD_NEXT, call.as_ptr())) };
    let Some(next) = next else { return fail(libc::ENOSYS) as c_int };
    // SAFETY: whoever called the function keeps its contract.
    let go_on = || unsafe { c_long::from(next(stream)) };
    // SAFETY: what is not null is a stream that is open.
    let waiting = !stream.is_null() && unsafe { __fpending(stream) } > 0;
    if !waiting {
        return go_on() as c_int;
    }
    // SAFETY: it is a stream that is open.
    let fd = unsafe { libc::fileno(stream) };
    point(call, Kind::Grow, &Target::of_fd(fd), go_on) as c_int
}

#[unsafe(no_mangle)]
extern "C" fn fflush(stream: *mut FILE) -> c_int {
    flush(c"fflush", stream)
}

#[unsafe(no_mangle)]
extern "C" fn fclose(stream: *mut FILE) -> c_int {
    flush(c"fclose", stream)
}
