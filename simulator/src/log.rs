//! The firmware's log: plain lines on standard error. No secrets, no request bodies.

use core::fmt::Display;
use std::io::Write;

/// What every line begins with.
pub const PREFIX: &str = "countersign-hsm: ";

/// Writes one line. A log that cannot be written stops nothing.
pub fn line(text: impl Display) {
    let _ = writeln!(std::io::stderr(), "{PREFIX}{text}");
}
