//! What must hold of every file that is taken, whoever wrote it. The functions panic when a property is breached, and say
//! whether the bytes were taken; tests and fuzzers call them.

use crate::image::{self, Contents};
use crate::keys::PERSON_MAX_BYTES;
use crate::lineage::LINEAGE_BYTES;
use crate::sbom::{Component, Kind, Sbom};
use crate::{Channel, Image, Lineage, ReleaseKeys, Version, signatures};
use ssh_key::LineEnding;

/// An image that is taken is the one that packing its parts gives.
pub fn check_image(bytes: &[u8]) -> bool {
    let taken = match Image::parse(bytes) {
        Ok(Image { manifest, elf, .. }) => {
            let (version, channel, target) = (manifest.version, manifest.channel, manifest.target.clone());
            let (succeeds, sbom) = (manifest.succeeds.clone(), manifest.sbom.clone());
            if let Ok(again) = image::pack(elf, &Contents { version, channel, target, succeeds, sbom }) {
                assert_eq!(again, bytes, "an image has one encoding");
            }
            true
        }
        Err(_) => false,
    };
    // An executable of all of the bytes.
    let packed = image::pack(&[b"\x7fELF", bytes].concat(), &contents(bytes)).expect("a short target");
    let again = Image::parse(&packed).expect("what was packed is taken");
    assert!(again.elf.ends_with(bytes));
    assert!(Image::parse(&packed[..packed.len() - 1]).is_err(), "cut short");
    taken
}

/// Signatures that are taken are written as the same bytes.
pub fn check_signatures(bytes: &[u8]) -> bool {
    let Ok(signatures) = signatures::parse(bytes) else { return false };
    let again: String =
        signatures.iter().map(|one| one.to_pem(LineEnding::LF).expect("it was read")).collect();
    assert_eq!(again.as_bytes(), bytes, "signatures have one form");
    true
}

/// A list of release keys that is taken names people, and no patterns.
pub fn check_release_keys(bytes: &[u8]) -> bool {
    let Ok(keys) = ReleaseKeys::parse(bytes) else { return false };
    for person in keys.people() {
        assert!(
            person.len() <= PERSON_MAX_BYTES && !person.contains(['*', '?', '!', ',', '"', ' ']),
            "{person}"
        );
    }
    true
}

/// A lineage that is taken is written as the same bytes, and runs its current image alone.
pub fn check_lineage(bytes: &[u8]) -> bool {
    let Ok(bytes) = <[u8; LINEAGE_BYTES]>::try_from(bytes) else { return false };
    let Some(lineage) = Lineage::from_bytes(&bytes) else { return false };
    assert_eq!(lineage.to_bytes(), bytes, "a lineage has one encoding");
    assert!(lineage.root().version <= lineage.floor());
    true
}

fn contents(bytes: &[u8]) -> Contents {
    let component = Component {
        kind: Kind::Application,
        name: String::from_utf8_lossy(bytes).chars().take(64).collect(),
        version: "1".into(),
        hashes: Vec::new(),
        licenses: Vec::new(),
        purl: None,
    };
    Contents {
        version: Version::new(1, 2, 3),
        channel: Channel::Development,
        target: "x86_64-unknown-linux-gnu".into(),
        succeeds: Vec::new(),
        sbom: Sbom::new(component, Vec::new()),
    }
}

/// A signature that `ssh-keygen -Y sign` made, of a key that was thrown away.
const SIGNATURE: &[u8] = b"\
-----BEGIN SSH SIGNATURE-----
U1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAgmauG1eSmi/lLk2UXdkeIbdEQzR
CTtHjKLaRRE8XxymQAAAARY291bnRlcnNpZ24taW1hZ2UAAAAAAAAABnNoYTUxMgAAAFMA
AAALc3NoLWVkMjU1MTkAAABAYElZR9Zu+OHka3ZtgT3JxFdLXrI0U9tNpueJbK8Vq74piP
CR41MjGHC9I7nj39TAF5IukeGV5qbTSN06w2FmDg==
-----END SSH SIGNATURE-----
";

/// An image, a lineage, release keys and a signature, for a fuzzer to begin with.
pub fn files() -> Vec<Vec<u8>> {
    let file = image::pack(b"\x7fELF and more", &contents(b"x")).expect("an executable");
    let lineage = Lineage::begin(&Image::parse(&file).expect("just packed").release()).to_bytes().to_vec();
    let key = b"alice namespaces=\"countersign-image\" ssh-ed25519 \
                AAAAC3NzaC1lZDI1NTE5AAAAICSsaCwSQYr1DzU1CVErJUE7doQ46Myrx2qynjfLmBao laptop\n";
    vec![file, lineage, key.to_vec(), SIGNATURE.to_vec()]
}
