//! Building the programs and the frozen image.

use crate::workspace::{cargo, output, root, run, say, target};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What goes into the image: the plugin's executable.
const IMAGE_PACKAGE: &str = "countersign-image";

/// Variables that reach the build of the image. Everything else is kept out: flags, wrappers, profiles, locale.
const IMAGE_ENV: &[&str] = &[
    "PATH",
    "HOME",
    "TMPDIR",
    "TERM",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "CARGO_NET_OFFLINE",
    "CARGO_HTTP_CAINFO",
    "CARGO_HTTP_PROXY",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "http_proxy",
    "https_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

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
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Image {
    /// Where it is; absolute.
    pub(crate) image: PathBuf,
    /// SHA-384 of the file, in hex.
    pub(crate) measurement: String,
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

/// Builds the simulator alone: it packs the image.
pub(crate) fn build_simulator() -> Result<PathBuf> {
    say("building the simulator");
    build_release(&["countersign-simulator"])?;
    Ok(target().join("release/countersign-hsm"))
}

fn build_release(packages: &[&str]) -> Result<()> {
    let mut build = cargo();
    build.args(["build", "--release", "--locked", "--target-dir"]).arg(target());
    for package in packages {
        build.args(["-p", package]);
    }
    run(&mut build)
}

/// Builds the plugin as a static executable and packs it into one file with one measurement. The bits depend on
/// the sources, the Rust toolchain and the host's C start files alone, not on the folder or the environment.
pub(crate) fn build_image(hsm: &Path, out: Option<&Path>) -> Result<Image> {
    say("building the image");
    let host = host_target()?;
    let folder = target().join("image");
    let elf = build_static(IMAGE_PACKAGE, &folder, &host)?;
    let out = match out {
        Some(out) => std::path::absolute(out)?,
        None => folder.join("countersign.image"),
    };
    pack(hsm, &elf, &host, out)
}

/// What tries to get out of the sandbox, for the tests: built as the image is, and packed. Its executable, and its image.
pub(crate) fn build_hostile(hsm: &Path) -> Result<(PathBuf, PathBuf)> {
    say("building the hostile image for the tests");
    let host = host_target()?;
    let folder = target().join("image");
    let elf = build_static("countersign-hostile", &folder, &host)?;
    let packed = pack(hsm, &elf, &host, folder.join("hostile.image"))?;
    Ok((elf, packed.image))
}

/// Builds one package as the image is built: a static executable.
fn build_static(package: &str, folder: &Path, host: &str) -> Result<PathBuf> {
    run(&mut image_build(package, folder, host)?)?;
    Ok(folder.join(host).join("image").join(package))
}

fn pack(hsm: &Path, elf: &Path, host: &str, out: PathBuf) -> Result<Image> {
    if let Some(parent) = out.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    let mut pack = Command::new(hsm);
    pack.args(["image", "pack", "--version", env!("CARGO_PKG_VERSION"), "--target", host]);
    pack.arg("--elf").arg(elf).arg("--out").arg(&out);
    let packed: Image = serde_json::from_str(&output(&mut pack)?).context("image pack printed no JSON")?;
    Ok(Image { image: out, measurement: packed.measurement })
}

/// One package alone: built with others, feature unification would give it other bytes.
fn image_build(package: &str, folder: &Path, host: &str) -> Result<Command> {
    let mut build = cargo();
    build.env_clear();
    for name in IMAGE_ENV {
        if let Some(value) = env::var_os(name) {
            build.env(name, value);
        }
    }
    build.env("LC_ALL", "C").env("CARGO_ENCODED_RUSTFLAGS", image_flags(&root(), folder, &cargo_home()?)?);
    build.args(["build", "--locked", "--profile", "image", "-p", package]);
    build.args(["--target", host, "--target-dir"]).arg(folder);
    Ok(build)
}

/// A static position-independent executable in which no path of this machine is left. The separator is U+001F,
/// as cargo wants it.
fn image_flags(root: &Path, folder: &Path, cargo_home: &Path) -> Result<String> {
    let text = |path: &Path| {
        path.to_str().map(str::to_owned).with_context(|| format!("{} is not UTF-8", path.display()))
    };
    Ok([
        "-Ctarget-feature=+crt-static".to_owned(),
        "-Crelocation-model=pie".to_owned(),
        format!("--remap-path-prefix={}=/src", text(root)?),
        // What build scripts generate; the last that fits is taken.
        format!("--remap-path-prefix={}=/target", text(folder)?),
        format!("--remap-path-prefix={}=/cargo", text(cargo_home)?),
    ]
    .join("\u{1f}"))
}

fn cargo_home() -> Result<PathBuf> {
    let home = || env::home_dir().map(|home| home.join(".cargo"));
    env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home).context("neither CARGO_HOME nor HOME is set")
}

/// The target triple of this machine. Static glibc is what the image is made with.
pub(crate) fn host_target() -> Result<String> {
    let version = output(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    if !host.ends_with("-unknown-linux-gnu") {
        bail!("the image is built on Linux with glibc, and this Rust is for {host}");
    }
    Ok(host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_flag_of_the_image_keeps_a_path_of_this_machine() {
        let flags = image_flags(
            Path::new("/somewhere/tree"),
            Path::new("/somewhere/tree/target/image"),
            Path::new("/home/me/.cargo"),
        )
        .unwrap();
        let flags: Vec<_> = flags.split('\u{1f}').collect();
        assert!(flags.contains(&"--remap-path-prefix=/somewhere/tree=/src"), "{flags:?}");
        assert!(flags.contains(&"--remap-path-prefix=/home/me/.cargo=/cargo"), "{flags:?}");
    }

    #[test]
    fn the_environment_cannot_change_how_the_image_is_built() {
        let build = image_build(IMAGE_PACKAGE, Path::new("/out"), "x86_64-unknown-linux-gnu").unwrap();
        for (name, _) in build.get_envs() {
            let name = name.to_str().unwrap();
            let ours = ["LC_ALL", "CARGO_ENCODED_RUSTFLAGS"];
            assert!(IMAGE_ENV.contains(&name) || ours.contains(&name), "{name} leaks in");
        }
        for leak in ["RUSTFLAGS", "RUSTC_WRAPPER", "CARGO_PROFILE_IMAGE_LTO", "CFLAGS", "LANG"] {
            assert!(!IMAGE_ENV.contains(&leak), "{leak}");
        }
    }
}
