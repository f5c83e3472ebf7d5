//! Building the programs, and the frozen image for development.

use crate::workspace::{cargo, root, run, say, target};
use anyhow::Result;
use countersign_release::{Channel, Measurement};
use countersign_release_build::Plan;
use std::path::PathBuf;

/// The programs of a release build.
pub(crate) struct Programs {
    /// `countersign-hsm`.
    pub(crate) hsm: PathBuf,
    /// `countersign`.
    pub(crate) cli: PathBuf,
    /// `libcountersign_pkcs11.so`.
    pub(crate) module: PathBuf,
}

/// The frozen image.
pub(crate) struct Image {
    /// Where it is; absolute.
    pub(crate) image: PathBuf,
    /// SHA-384 of the file.
    pub(crate) measurement: Measurement,
}

/// Builds the simulator, the command line and the PKCS#11 module.
pub(crate) fn build_programs() -> Result<Programs> {
    say("building the programs");
    build_release(&["countersign-simulator", "countersign-cli", "countersign-pkcs11"])?;
    let folder = target().join("release");
    Ok(Programs {
        hsm: folder.join("countersign-hsm"),
        cli: folder.join("countersign"),
        module: folder.join("libcountersign_pkcs11.so"),
    })
}

/// Builds what the tests preload into the HSM, so that its disk fails.
pub(crate) fn build_faults() -> Result<PathBuf> {
    say("building the faults for the tests");
    build_release(&["countersign-faults"])?;
    Ok(target().join("release/libcountersign_faults.so"))
}

fn build_release(packages: &[&str]) -> Result<()> {
    let mut build = cargo();
    build.args(["build", "--release", "--locked", "--target-dir"]).arg(target());
    for package in packages {
        build.args(["-p", package]);
    }
    run(&mut build)
}

/// Builds the image for development.
pub(crate) fn build_image() -> Result<Image> {
    say("building the image");
    let plan = Plan::here(&root())?;
    let image = plan.folder.join("countersign.image");
    let built = countersign_release_build::build(&plan, Channel::Development)?;
    built.write(&image)?;
    Ok(Image { image, measurement: built.measurement })
}
