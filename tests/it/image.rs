//! The image: one file, one measurement, the same bits from any folder, and no other ever runs.

use countersign_tests::{Hsm, Keystore, artefacts, on_embedded};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

on_embedded!(
    i12_an_image_with_any_byte_changed_is_refused,
    i12_another_good_image_is_refused,
    i12_an_hsm_that_refused_an_image_still_runs_its_own,
);

fn refused_with(hsm: &mut Hsm, image: &Path) -> String {
    image.clone_into(&mut hsm.image);
    let Err(ended) = hsm.try_run() else { panic!("an image that was not pinned runs") };
    assert_eq!(ended.exit_code, Some(3), "{}", ended.log);
    ended.log
}

fn i12_an_image_with_any_byte_changed_is_refused(keystore: Keystore) {
    let mut hsm = Hsm::init(keystore, &["default"]);
    let good = fs::read(artefacts::image()).expect("the image can be read");
    let changed = hsm.folder().join("changed.image");
    for place in [0, 9, 20, 60, good.len() / 3, good.len() / 2, good.len() - 1] {
        let mut bytes = good.clone();
        bytes[place] ^= 1;
        fs::write(&changed, &bytes).expect("the image can be written");
        refused_with(&mut hsm, &changed);
    }
    for bytes in [&good[..good.len() - 1], &[&good[..], &[0]].concat(), &[]] {
        fs::write(&changed, bytes).expect("the image can be written");
        refused_with(&mut hsm, &changed);
    }
}

fn i12_another_good_image_is_refused(keystore: Keystore) {
    let mut hsm = Hsm::init(keystore, &["default"]);
    let image = fs::read(artefacts::image()).expect("the image can be read");
    let start = image.windows(4).position(|window| window == b"\x7fELF").expect("an executable in it");
    let (elf, other) = (hsm.folder().join("plugin.elf"), hsm.folder().join("other.image"));
    fs::write(&elf, &image[start..]).expect("the executable can be written");
    let packed = Command::new(artefacts::hsm())
        .args(["image", "pack", "--version", "99.0.0", "--target", "x86_64-unknown-linux-gnu"])
        .arg("--elf")
        .arg(&elf)
        .arg("--out")
        .arg(&other)
        .output()
        .expect("countersign-hsm can be started");
    assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
    let packed: serde_json::Value = serde_json::from_slice(&packed.stdout).expect("one JSON object");
    let log = refused_with(&mut hsm, &other);
    let measurement = packed["measurement"].as_str().expect("a measurement");
    assert!(log.contains(measurement) && log.contains(&hsm.initialised.measurement), "it names both: {log}");
}

fn i12_an_hsm_that_refused_an_image_still_runs_its_own(keystore: Keystore) {
    let mut hsm = Hsm::init(keystore, &["default"]);
    let nothing = hsm.folder().join("nothing.image");
    fs::write(&nothing, b"CSIMAGE1").expect("it can be written");
    refused_with(&mut hsm, &nothing);
    hsm.image = artefacts::image();
    hsm.run();
    assert_eq!(hsm.ready().measurement, hsm.initialised.measurement);
}

#[test]
fn i12_the_image_is_the_same_bits_from_another_folder_and_another_cargo_home() {
    let folder = tempfile::Builder::new().prefix("another folder ").tempdir().expect("a temporary folder");
    let (tree, cargo_home) = (folder.path().join("the tree"), folder.path().join("cargo"));
    copy_sources(&artefacts::workspace(), &tree);
    symlink(real_cargo_home(), &cargo_home).expect("a link can be made");
    let elf = build_image(&tree, &cargo_home);
    let out = folder.path().join("again.image");
    let inspected = tool(&["image", "inspect"], &[&artefacts::image()]);
    let manifest = inspected.get("manifest").unwrap_or(&inspected);
    let text =
        |name: &str| manifest[name].as_str().unwrap_or_else(|| panic!("{name} in {inspected}")).to_owned();
    let arguments = ["image", "pack", "--version", &text("version"), "--target", &text("target")];
    let packed = tool(&arguments, &[Path::new("--elf"), &elf, Path::new("--out"), &out]);
    let same = fs::read(&out).expect("the image can be read")
        == fs::read(artefacts::image()).expect("and the other");
    assert!(same, "other bits from {}: {packed}", tree.display());
}

fn tool(arguments: &[&str], paths: &[&Path]) -> serde_json::Value {
    let output =
        Command::new(artefacts::hsm()).args(arguments).args(paths).output().expect("it can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

/// Copies what git knows of or would add; a checkout of the same sources has nothing else.
fn copy_sources(from: &Path, to: &Path) {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(from)
        .output()
        .expect("git can be started");
    assert!(listed.status.success(), "the sources are in a git checkout");
    for name in String::from_utf8(listed.stdout).expect("names are UTF-8").split_terminator('\0') {
        let (source, copy) = (from.join(name), to.join(name));
        if source.is_file() {
            fs::create_dir_all(copy.parent().expect("a parent")).expect("a folder can be made");
            fs::copy(source, copy).expect("a source file can be copied");
        }
    }
}

fn real_cargo_home() -> PathBuf {
    let own = || std::env::home_dir().expect("a home folder").join(".cargo");
    std::env::var_os("CARGO_HOME").map_or_else(own, PathBuf::from)
}

/// The build of the image as `ARCHITECTURE.md` documents it, in a clean environment.
fn build_image(tree: &Path, cargo_home: &Path) -> PathBuf {
    let target = env_target();
    let flags = [
        "-Ctarget-feature=+crt-static".to_owned(),
        "-Crelocation-model=pie".to_owned(),
        format!("--remap-path-prefix={}=/src", tree.display()),
        format!("--remap-path-prefix={}=/target", tree.join("target").display()),
        format!("--remap-path-prefix={}=/cargo", cargo_home.display()),
    ];
    let keep = |name: &str| Some((OsString::from(name), std::env::var_os(name)?));
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "build",
            "--quiet",
            "--locked",
            "--profile",
            "image",
            "-p",
            "countersign-image",
            "--target",
            &target,
        ])
        .current_dir(tree)
        .env_clear()
        .envs(["PATH", "HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"].into_iter().filter_map(keep))
        .env("CARGO_HOME", cargo_home)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .status()
        .expect("cargo can be started");
    assert!(status.success(), "the image builds in {}", tree.display());
    tree.join("target").join(target).join("image/countersign-image")
}

fn env_target() -> String {
    let output = Command::new("rustc").arg("-vV").output().expect("rustc can be started");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host").to_owned()
}
