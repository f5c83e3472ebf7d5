//! The test build in which guards can be switched off: its programs and its image, told what is off.

use countersign_edits::{Guard, switch};
use countersign_release::image::{Contents, pack};
use countersign_release::sbom::{Component, Kind, Sbom};
use countersign_release::{Channel, Version};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use tempfile::TempDir;

/// Every guard and fault that there is.
pub(crate) fn guards() -> Vec<Guard> {
    countersign_edits::guards(include_str!("../guards.toml")).expect("guards.toml is well formed")
}

/// Programs of the test build.
pub(crate) struct Programs {
    /// `countersign-hsm`.
    pub(crate) hsm: PathBuf,
    /// `countersign`.
    pub(crate) cli: PathBuf,
    /// `countersign-timing`.
    pub(crate) timing: PathBuf,
    /// The image.
    pub(crate) image: PathBuf,
    _folder: TempDir,
}

fn named(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable);
    path.unwrap_or_else(|| panic!("{variable} is not set: run `cargo xtask attack`, which builds it")).into()
}

impl Programs {
    /// Those in which these are off.
    pub(crate) fn without(guards: &[&str]) -> Self {
        let folder =
            tempfile::Builder::new().prefix("countersign-twin-").tempdir().expect("a temporary folder");
        let told = |variable| {
            let mut program = fs::read(named(variable)).expect("the test build can be read");
            switch::set(&mut program, guards).expect("the test build has a place for what is off");
            program
        };
        let program = |name: &str, variable| {
            let path = folder.path().join(name);
            fs::write(&path, told(variable)).expect("a file can be written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
                .expect("a file can be made a program");
            path
        };
        let hsm = program("countersign-hsm", "COUNTERSIGN_TWIN_HSM");
        let cli = program("countersign", "COUNTERSIGN_TWIN_CLI");
        let timing = program("countersign-timing", "COUNTERSIGN_TWIN_TIMING");
        let image = folder.path().join("countersign.image");
        fs::write(&image, packed(&told("COUNTERSIGN_TWIN_ELF"))).expect("a file can be written");
        Self { hsm, cli, timing, image, _folder: folder }
    }
}

fn packed(elf: &[u8]) -> Vec<u8> {
    let version: Version = env!("CARGO_PKG_VERSION").parse().expect("a version");
    let component = Component {
        kind: Kind::Application,
        name: "countersign-image".into(),
        version: version.to_string(),
        purl: None,
        hashes: Vec::new(),
        licenses: Vec::new(),
    };
    let target = "x86_64-unknown-linux-gnu".into();
    let sbom = Sbom::new(component, Vec::new());
    let contents = Contents { version, channel: Channel::Development, target, succeeds: Vec::new(), sbom };
    pack(elf, &contents).expect("an executable can be packed")
}
