//! What policies permit and refuse, from the outside.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod decisions;
mod failures;
mod loading;
mod reference;
mod samples;
mod stack;
mod tools;
mod velocity;
mod world;
