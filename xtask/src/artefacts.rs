//! Building the programs, and the frozen image for development.

use crate::workspace::{cargo, root, run, say, target};
use anyhow::{Result, anyhow};
use countersign_release::image::{Contents, pack};
use countersign_release::sbom::{Component, Kind, Sbom};
use countersign_release::{Channel, Measurement, Version};
use countersign_release_build::Plan;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

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

/// Builds programs and image in a fraction of the time, and slower ones: for who begins, and develops against them. The image is none that
/// is recorded anywhere.
pub(crate) fn build_quickly() -> Result<(Programs, PathBuf)> {
    say("building the programs and an image, with little optimisation");
    let plan = Plan::here(&root())?;
    let folder = target().join("quick");
    let mut programs = cargo();
    programs.args([
        "build",
        "-p",
        "countersign-simulator",
        "-p",
        "countersign-cli",
        "-p",
        "countersign-pkcs11",
    ]);
    let mut image = plan.command("cargo");
    image.env("CARGO_ENCODED_RUSTFLAGS", plan.flags()?);
    image.args(["build", "-p", "countersign-image", "--target", HOST]);
    for build in [&mut programs, &mut image] {
        build_with_little_optimisation(build, &folder)?;
    }
    let release = folder.join("release");
    let path = folder.join("countersign.image");
    let elf = fs::read(folder.join(HOST).join("release/countersign-image"))?;
    fs::write(&path, packed("countersign-image", &elf)?)?;
    let programs = Programs {
        hsm: release.join("countersign-hsm"),
        cli: release.join("countersign"),
        module: release.join("libcountersign_pkcs11.so"),
    };
    Ok((programs, path))
}

/// Finishes and runs a build of what is built often, or in a hurry, and runs briefly.
pub(crate) fn build_with_little_optimisation(build: &mut Command, folder: &Path) -> Result<()> {
    build.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1").env("CARGO_PROFILE_RELEASE_LTO", "off");
    build.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16").env("CARGO_PROFILE_RELEASE_DEBUG", "false");
    build.args(["--locked", "--release", "--target-dir"]).arg(folder);
    run(build)
}

/// An executable in an image for development, without a list of what is linked into it.
fn packed(name: &str, elf: &[u8]) -> Result<Vec<u8>> {
    let version: Version = env!("CARGO_PKG_VERSION").parse().map_err(|what: &str| anyhow!("{what}"))?;
    let component = Component {
        kind: Kind::Application,
        name: name.into(),
        version: version.to_string(),
        purl: Some(format!("pkg:cargo/{name}@{version}")),
        hashes: Vec::new(),
        licenses: Vec::new(),
    };
    let sbom = Sbom::new(component, Vec::new());
    let contents =
        Contents { version, channel: Channel::Development, target: HOST.into(), succeeds: Vec::new(), sbom };
    Ok(pack(elf, &contents)?)
}

/// Builds what the tests preload into the HSM, so that its disk fails.
pub(crate) fn build_faults() -> Result<PathBuf> {
    say("building the faults for the tests");
    build_release(&["countersign-faults"])?;
    Ok(target().join("release/libcountersign_faults.so"))
}

/// Builds the plugin's comparisons for a meter.
pub(crate) fn build_timing() -> Result<PathBuf> {
    say("building what measures time");
    build_release(&["countersign-timing"])?;
    Ok(target().join("release/countersign-timing"))
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

/// What tries to get out of the sandbox, for the tests: built as the image is, and packed. Its executable, and its image.
pub(crate) fn build_hostile() -> Result<(PathBuf, PathBuf)> {
    say("building the hostile image for the tests");
    let plan = Plan::here(&root())?;
    let elf =
        build_static(&plan, "countersign-hostile", &["--profile", "image", "-p", "countersign-hostile"])?;
    let image = plan.folder.join("hostile.image");
    fs::write(&image, packed("countersign-hostile", &fs::read(&elf)?)?)?;
    Ok((elf, image))
}

/// The machine that static programs are built for.
pub(crate) const HOST: &str = "x86_64-unknown-linux-gnu";

/// Builds one program of a package as the image is built: static, and the same bytes from any folder.
pub(crate) fn build_static(plan: &Plan, program: &str, options: &[&str]) -> Result<PathBuf> {
    let mut build = plan.command("cargo");
    build.env("CARGO_ENCODED_RUSTFLAGS", plan.flags()?);
    build.args(["build", "--locked"]).args(options).args(["--bin", program, "--target", HOST]);
    build.arg("--target-dir").arg(&plan.folder);
    run(&mut build)?;
    let profile = if options.contains(&"image") { "image" } else { "release" };
    Ok(plan.folder.join(HOST).join(profile).join(program))
}
