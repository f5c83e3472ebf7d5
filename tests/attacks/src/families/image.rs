//! Another image than the one that was measured.

use crate::attack::{Attack, Family, On, Tries};
use countersign_release::image::{Contents, pack};
use countersign_release::{Channel, Image, Version};
use countersign_tests::backend::digest;
use countersign_tests::people::{Stage, measurement, word};
use countersign_tests::{Hsm, Keystore, artefacts};
use countersign_wire::client::Mechanism::Digest;
use std::fs;
use std::path::Path;

pub(crate) const FAMILY: Family = Family {
    name: "image",
    title: "The HSM is given another image: a changed one, or the same program packed as another version",
    invariants: &["I12"],
    attacks: &[
        Attack {
            name: "another-image",
            had: "the file that the HSM is started with",
            does: "changes bytes of it, cuts it, packs the same executable anew under another version",
            guards: &["pinned-image"],
            faults: &[],
            on: On::Both,
            play: another_image,
        },
        Attack {
            name: "downgrade",
            had: "the release before, which enough people signed",
            does: "starts the HSM with the old release, and moves the state back to it",
            guards: &["pinned-image"],
            faults: &[],
            on: On::Embedded,
            play: downgrade,
        },
        Attack {
            name: "too-few-people",
            had: "one release key of three, of which two must sign",
            does: "signs an image of his own with it, once and twice, and moves the state to that image",
            guards: &["quorum"],
            faults: &[],
            on: On::Embedded,
            play: too_few_people,
        },
    ],
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

/// He starts the HSM with this image: the word by which it is refused.
fn start(hsm: &mut Hsm, image: &Path) -> Result<(), String> {
    image.clone_into(&mut hsm.image);
    hsm.try_run().map_err(|ended| ended.refused.expect("it says why"))
}

fn tried(tries: &mut Tries, what: &str, outcome: Result<(), String>) {
    match outcome {
        Ok(()) => tries.got(what),
        Err(word) => tries.refused(&word),
    }
}

fn downgrade(_: Keystore, tries: &mut Tries) {
    let stage = Stage::set_up();
    let one = stage.signed("one.image", 1, &[]);
    let two = stage.signed("two.image", 2, &[measurement(&one)]);
    let mut hsm = stage.init(&one);
    hsm.run();
    let alice = hsm.user("alice", &[Digest]);
    hsm.stop();
    assert!(hsm.upgrade(&two).status.success(), "the state moves to the next release");
    tried(tries, "the old release runs with the present state", start(&mut hsm, &one));
    let moved = hsm.upgrade(&one);
    let outcome = if moved.status.success() { Ok(()) } else { Err(word(&moved)) };
    tried(tries, "the state moves back", outcome);
    if tries.got.is_empty() {
        start(&mut hsm, &two).expect("the new release runs");
        let code = alice.phone.code(hsm.advance(60));
        hsm.sign(&alice, digest(1), &code).expect("and signs for her");
    }
}

fn too_few_people(_: Keystore, tries: &mut Tries) {
    let stage = Stage::set_up();
    let one = stage.signed("one.image", 1, &[]);
    let mut hsm = stage.init(&one);
    hsm.run();
    hsm.stop();
    let his = stage.image_file("his.image", &stage.packed(2, Channel::Release, &[measurement(&one)]));
    for key in ["alice", "alice-again", "mallory"] {
        stage.sign(&his, &[key]);
        tried(tries, "an image of his own runs", start(&mut hsm, &his));
        let moved = hsm.upgrade(&his);
        let outcome = if moved.status.success() { Ok(()) } else { Err(word(&moved)) };
        tried(tries, "the state moves to an image of his own", outcome);
        if !tries.got.is_empty() {
            return;
        }
    }
    start(&mut hsm, &one).expect("the release runs as before");
}
