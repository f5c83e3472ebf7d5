//! What devices and the HSM say to each other, from outside the crate.
//!
//! * `vectors`: `docs/approvals-vectors.json` is what this crate makes, and what it accepts and refuses.
//! * `statements`: what is read is what was written, and nothing else is read.
//! * `tampering`: ten thousand changed envelopes and assertions, none of them accepted.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod json;
mod samples;
mod statements;
mod tampering;
mod vectors;
