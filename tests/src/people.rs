//! Who signs images, and the images.

use crate::cli::{Ended, run_command};
use crate::{Hsm, Keystore, artefacts};
use countersign_release::image::{self, Contents};
use countersign_release::{Channel, Image, Measurement, Version};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A folder with keys and images, and two people of three who must sign.
pub struct Stage {
    folder: tempfile::TempDir,
    /// The executable and what is packed with it.
    image: Vec<u8>,
}

/// Who has keys: two of alice's, so that one person can sign twice.
const KEYS: [(&str, &str, &str); 4] = [
    ("alice", "alice", "ed25519"),
    ("alice-again", "alice", "ecdsa"),
    ("bob", "bob", "ecdsa"),
    ("carol", "carol", "ed25519"),
];

/// How many must sign.
pub const THRESHOLD: &str = "2";

impl Stage {
    /// With keys that were made just now.
    pub fn set_up() -> Self {
        let folder = tempfile::Builder::new().prefix("countersign-release-").tempdir().expect("a folder");
        let stage = Self { folder, image: fs::read(artefacts::image()).expect("the image can be read") };
        let lines = KEYS.map(|(file, person, kind)| {
            stage.make_key(file, kind);
            let key =
                fs::read_to_string(stage.file(file).with_extension("pub")).expect("ssh-keygen wrote it");
            format!("{person} namespaces=\"countersign-image\" {key}")
        });
        fs::write(stage.release_keys(), lines.concat()).expect("the list can be written");
        stage.make_key("mallory", "ed25519");
        stage
    }

    fn make_key(&self, file: &str, kind: &str) {
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", kind, "-N", "", "-C", file, "-f"])
            .arg(self.file(file))
            .status()
            .expect("ssh-keygen can be started");
        assert!(made.success());
    }

    /// A file in the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The list of release keys.
    pub fn release_keys(&self) -> PathBuf {
        self.file("release-keys")
    }

    /// The executable under test in an image of this version and channel, which succeeds these.
    pub fn packed(&self, version: u32, channel: Channel, succeeds: &[Measurement]) -> Vec<u8> {
        let Image { manifest, elf, .. } = Image::parse(&self.image).expect("the image under test");
        let (target, sbom) = (manifest.target, manifest.sbom);
        let (version, succeeds) = (Version::new(version, 0, 0), succeeds.to_vec());
        image::pack(elf, &Contents { version, channel, target, succeeds, sbom }).expect("an image")
    }

    /// A file of it, unsigned.
    pub fn image_file(&self, name: &str, image: &[u8]) -> PathBuf {
        let path = self.file(name);
        fs::write(&path, image).expect("an image can be written");
        path
    }

    /// An image for release in a file, signed by alice and bob.
    pub fn signed(&self, name: &str, version: u32, succeeds: &[Measurement]) -> PathBuf {
        let path = self.image_file(name, &self.packed(version, Channel::Release, succeeds));
        self.sign(&path, &["alice", "bob"]);
        path
    }

    /// Signs an image with these keys, by the command line.
    pub fn sign(&self, image: &Path, keys: &[&str]) {
        for key in keys {
            let signed = countersign(&["image", "sign"], &[image, Path::new("--key"), &self.file(key)]);
            assert_eq!(signed.code, 0, "{}{}", signed.stdout, signed.stderr);
        }
    }

    /// The options of `countersign-hsm init` that name this folder's people.
    pub fn purpose(&self) -> [String; 4] {
        let keys = self.release_keys().to_str().expect("a temporary folder is UTF-8").to_owned();
        ["--release-keys".into(), keys, "--threshold".into(), THRESHOLD.into()]
    }

    /// Initialises an HSM for release with this image.
    pub fn try_init(&self, image: &Path) -> Result<Hsm, Output> {
        Hsm::init_for(Keystore::Embedded, image, &self.purpose().each_ref().map(String::as_str))
    }

    /// The same, which succeeds.
    pub fn init(&self, image: &Path) -> Hsm {
        self.try_init(image).unwrap_or_else(|output| panic!("{}", String::from_utf8_lossy(&output.stderr)))
    }
}

/// The measurement of an image in a file.
pub fn measurement(image: &Path) -> Measurement {
    Measurement::of(&fs::read(image).expect("it can be read"))
}

/// Where the signatures of an image lie.
pub fn signatures_of(image: &Path) -> PathBuf {
    PathBuf::from(format!("{}.sig", image.display()))
}

/// `countersign ARGUMENTS PATHS --json`, which asks no HSM.
#[track_caller]
pub fn countersign(arguments: &[&str], paths: &[&Path]) -> Ended {
    let mut command = Command::new(artefacts::cli());
    run_command(command.args(arguments).args(paths).arg("--json").stdin(Stdio::null()), None)
}

/// The word by which a program refused, and its exit code.
#[track_caller]
pub fn word(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    told["refused"].as_str().expect("a word").to_owned()
}

/// Runs an HSM with this image, which it does not take: the word.
#[track_caller]
pub fn refused(hsm: &mut Hsm, image: &Path) -> String {
    image.clone_into(&mut hsm.image);
    let Err(ended) = hsm.try_run() else { panic!("{} runs", image.display()) };
    assert_eq!(ended.exit_code, Some(3), "{}", ended.log);
    ended.refused.unwrap_or_else(|| panic!("no word: {}", ended.log))
}
