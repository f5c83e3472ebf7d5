//! Another image than the one that was measured.

use crate::attack::{Attack, Family, On, Tries};
use countersign_release::image::{Contents, pack};
use countersign_release::{Image, Version};
use countersign_tests::{Hsm, Keystore, artefacts};
use std::fs;

pub(crate) const FAMILY: Family = Family {
    name: "image",
    title: "The HSM is given another image: a changed one, or the same program packed as another version",
    invariants: &["I12"],
    attacks: &[Attack {
        name: "another-image",
        had: "the file that the HSM is started with",
        does: "changes bytes of it, cuts it, packs the same executable anew under another version",
        guards: &["pinned-image"],
        faults: &[],
        on: On::Both,
        play: another_image,
    }],
};

fn another_image(keystore: Keystore, tries: &mut Tries) {
    let mut hsm = Hsm::init(keystore, &["default"]);
    let good = hsm.image.clone();
    let file = fs::read(artefacts::image()).expect("the image can be read");
    let Image { manifest, elf, .. } = Image::parse(&file).expect("an image");
    let contents = Contents {
        version: Version::new(99, 0, 0),
        channel: manifest.channel,
        target: manifest.target,
        succeeds: Vec::new(),
        sbom: manifest.sbom,
    };
    let mut images =
        vec![pack(elf, &contents).expect("an image"), file[..file.len() - 1].to_vec(), Vec::new()];
    images.extend([9, 60, file.len() / 2, file.len() - 1].map(|place| {
        let mut changed = file.clone();
        changed[place] ^= 1;
        changed
    }));
    for image in images {
        hsm.image = hsm.folder().join("another.image");
        fs::write(&hsm.image, image).expect("the image can be written");
        match hsm.try_run() {
            Ok(()) => {
                tries.got("another image runs, with the state and the keys of the right one");
                return;
            }
            Err(ended) => tries.refused(&ended.refused.expect("it says why")),
        }
    }
    hsm.image = good;
    hsm.run();
}
