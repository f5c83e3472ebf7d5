//! What passes between firmware and plugin, written down: the one place where every secret of a run comes by, so that a
//! test can look for all of them elsewhere.
//!
//! `COUNTERSIGN_TAP` names where to: `PATH.FD.sent` and `PATH.FD.received` get the bytes of every descriptor that came out of
//! `socketpair`, as they are. Without it nothing is written. The plugin's own process is static and has no such thing.

use libc::{c_int, c_long, c_void, size_t, ssize_t};
use std::ffi::CString;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Descriptors from here on are not listened to.
const FDS: usize = 2048;

/// Which descriptors came out of `socketpair`, one bit each.
static OF_PAIRS: [AtomicU64; FDS / 64] = [const { AtomicU64::new(0) }; FDS / 64];

fn place(fd: c_int) -> Option<(&'static AtomicU64, u64)> {
    let fd = usize::try_from(fd).ok().filter(|fd| *fd < FDS)?;
    Some((&OF_PAIRS[fd / 64], 1 << (fd % 64)))
}

fn target() -> Option<&'static str> {
    static TARGET: OnceLock<Option<String>> = OnceLock::new();
    TARGET.get_or_init(|| std::env::var("COUNTERSIGN_TAP").ok()).as_deref()
}

/// Writes down what a call sent or received, if it is one to be written down. `count` is what the call returned.
pub(crate) fn note(fd: c_int, what: &str, bytes: *const c_void, count: c_long) {
    let Some((place, bit)) = place(fd) else { return };
    if count <= 0 || place.load(Ordering::Relaxed) & bit == 0 {
        return;
    }
    let Some(path) = target().and_then(|target| CString::new(format!("{target}.{fd}.{what}")).ok()) else {
        return;
    };
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND | libc::O_CLOEXEC;
    let file = kernel!(SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags, 0o600);
    kernel!(SYS_write, file, bytes, count);
    kernel!(SYS_close, file);
}

#[unsafe(no_mangle)]
extern "C" fn socketpair(family: c_int, kind: c_int, protocol: c_int, pair: *mut c_int) -> c_int {
    let made = kernel!(SYS_socketpair, family, kind, protocol, pair);
    if made == 0 && target().is_some() {
        // SAFETY: whoever called the function gave it room for two descriptors, and the kernel has written them.
        for (place, bit) in unsafe { [*pair, *pair.add(1)] }.into_iter().filter_map(place) {
            place.fetch_or(bit, Ordering::Relaxed);
        }
    }
    made as c_int
}

#[unsafe(no_mangle)]
extern "C" fn send(fd: c_int, buffer: *const c_void, bytes: size_t, flags: c_int) -> ssize_t {
    let sent = kernel!(SYS_sendto, fd, buffer, bytes, flags, 0, 0);
    note(fd, "sent", buffer, sent);
    sent as ssize_t
}

#[unsafe(no_mangle)]
extern "C" fn recv(fd: c_int, buffer: *mut c_void, bytes: size_t, flags: c_int) -> ssize_t {
    let received = kernel!(SYS_recvfrom, fd, buffer, bytes, flags, 0, 0);
    note(fd, "received", buffer, received);
    received as ssize_t
}

#[unsafe(no_mangle)]
extern "C" fn read(fd: c_int, buffer: *mut c_void, bytes: size_t) -> ssize_t {
    let received = kernel!(SYS_read, fd, buffer, bytes);
    note(fd, "received", buffer, received);
    received as ssize_t
}
