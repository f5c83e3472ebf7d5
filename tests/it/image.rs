//! The image: one file, one measurement, and no other ever runs. That it is the same bits wherever it is built is what
//! `cargo xtask image --check` shows.

use countersign_release::image::{Contents, pack};
use countersign_release::{Image, Measurement, Version};
use countersign_tests::{Hsm, Keystore, artefacts, on_embedded};
use std::fs;
use std::path::Path;

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
    let file = fs::read(artefacts::image()).expect("the image can be read");
    let Image { manifest, elf, .. } = Image::parse(&file).expect("an image");
    let contents = Contents {
        version: Version::new(99, 0, 0),
        channel: manifest.channel,
        target: manifest.target,
        succeeds: Vec::new(),
        sbom: manifest.sbom,
    };
    let packed = pack(elf, &contents).expect("an image");
    let other = hsm.folder().join("other.image");
    fs::write(&other, &packed).expect("it can be written");
    let log = refused_with(&mut hsm, &other);
    let measurement = Measurement::of(&packed).to_hex();
    assert!(log.contains(&measurement) && log.contains(&hsm.initialised.measurement), "it names both: {log}");
}

fn i12_an_hsm_that_refused_an_image_still_runs_its_own(keystore: Keystore) {
    let mut hsm = Hsm::init(keystore, &["default"]);
    let nothing = hsm.folder().join("nothing.image");
    fs::write(&nothing, b"CSIMAGE2").expect("it can be written");
    refused_with(&mut hsm, &nothing);
    hsm.image = artefacts::image();
    hsm.run();
    assert_eq!(hsm.ready().measurement, hsm.initialised.measurement);
}
