//! Builds the frozen image: the same sources, compiler and C library give the same bytes, wherever and by whomever it is built.
//!
//! `countersign image` and `cargo xtask image` are two ways to call it, and there is no other way to build an image.
//!
//! * [`plan`]: how cargo is called, and what of the environment reaches it; [`configuration`]: what of cargo's configuration may.
//! * [`toolchain`]: what else goes in: the compiler, and the C library's start files.
//! * [`inside`]: which crates were linked, which of their files the compiler read, and how many lines these have.
//! * [`sources`]: all that goes in from the repository, as one text with one hash.
//! * [`image`]: all of it together, with the bill of materials.
//! * [`record`]: `plugin/measurements.toml`, the images that were built; [`history`]: what git remembers of it.
//! * [`compare`]: where two images differ first.

#![forbid(unsafe_code)]

pub mod compare;
pub mod configuration;
pub mod history;
pub mod image;
pub mod inside;
pub mod plan;
pub mod record;
mod sources;
pub mod toolchain;

pub use image::{Built, build};
pub use plan::Plan;

use anyhow::{Context, Result, bail};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use std::path::Path;
use std::process::{Command, Stdio};

/// SHA-256 in lower-case hex.
fn sha256_hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn text(path: &Path) -> Result<String> {
    String::from_utf8(read(path)?).with_context(|| format!("{} is not text", path.display()))
}

/// Runs a program to its end and returns what it wrote to standard output; standard error is passed on.
fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().display().to_string();
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {name}"))?;
    if !output.status.success() {
        bail!("{name} failed ({})", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("{name} did not print text"))
}
