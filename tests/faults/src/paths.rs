//! Which file a call is about.

use libc::{c_char, c_int};
use std::ffi::CStr;
use std::io::Write;

/// Longer paths are cut off, which makes them none of the plan's.
const PATH_MAX_BYTES: usize = 1024;

/// A path, as far as it is known. Nothing here allocates: a call may come from anywhere.
pub(crate) struct Target {
    bytes: [u8; PATH_MAX_BYTES],
    length: usize,
}

impl Target {
    fn nothing() -> Self {
        Self { bytes: [0; PATH_MAX_BYTES], length: 0 }
    }

    /// What an open file is called.
    pub(crate) fn of_fd(fd: c_int) -> Self {
        let mut target = Self::nothing();
        let mut link = [0; 40];
        if write!(&mut link[..39], "/proc/self/fd/{fd}").is_err() {
            return target;
        }
        // `link` ends with a NUL, and no more bytes are written than there is room for.
        let (path, room) = (link.as_ptr(), target.bytes.as_mut_ptr());
        let length = kernel!(SYS_readlinkat, libc::AT_FDCWD, path, room, PATH_MAX_BYTES);
        target.length = usize::try_from(length).unwrap_or(0);
        target
    }

    /// A path as a call names it, relative to an open folder or the present one.
    ///
    /// # Safety
    /// `path` ends with a NUL.
    pub(crate) unsafe fn of_path(folder: c_int, path: *const c_char) -> Self {
        // SAFETY: as the caller says.
        let name = unsafe { CStr::from_ptr(path) }.to_bytes();
        let mut target = if name.starts_with(b"/") || folder == libc::AT_FDCWD {
            Self::nothing()
        } else {
            let mut target = Self::of_fd(folder);
            target.push(b"/");
            target
        };
        target.push(name);
        target
    }

    fn push(&mut self, more: &[u8]) {
        match self.bytes.get_mut(self.length..self.length + more.len()) {
            Some(room) => {
                room.copy_from_slice(more);
                self.length += more.len();
            }
            None => self.length = 0,
        }
    }

    /// The path.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Whether it is this folder or lies below it.
    pub(crate) fn is_below(&self, folder: &[u8]) -> bool {
        let rest = self.bytes().strip_prefix(folder);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    }
}
