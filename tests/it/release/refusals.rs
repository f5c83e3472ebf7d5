//! Each refusal by its word, by a real HSM.

use countersign_release::image::{HEADER_BYTES, MAGIC};
use countersign_release::{Channel, Image};
use countersign_tests::backend::digest;
use countersign_tests::cli::run;
use countersign_tests::people::{Stage, measurement, refused, signatures_of, word};
use countersign_tests::{Hsm, Keystore, artefacts, seed};
use countersign_wire::client::Mechanism::Digest;
use fastrand::Rng;
use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn i12_an_image_that_enough_people_signed_runs_and_signs() {
    let stage = Stage::set_up();
    let mut hsm = stage.init(&stage.signed("one.image", 1, &[]));
    hsm.run();
    assert_eq!((hsm.ready().channel.as_str(), hsm.ready().version.as_str()), ("release", "1.0.0"));
    let alice = hsm.user("alice", &[Digest]);
    hsm.sign(&alice, digest(1), &alice.phone.code(hsm.now())).expect("a right code signs");
    assert!(!hsm.log().contains("for development: nobody has signed"));
}

#[test]
fn i12_refuses_what_too_few_people_signed() {
    let stage = Stage::set_up();
    let image = stage.signed("one.image", 1, &[]);
    let mut hsm = stage.init(&image);
    let all = fs::read_to_string(signatures_of(&image)).expect("signatures");
    let (alices, bobs) =
        all.split_at(all.find("-----END").expect("an end") + "-----END SSH SIGNATURE-----\n".len());
    fs::remove_file(signatures_of(&image)).expect("it can be removed");
    stage.sign(&image, &["alice-again"]);
    let alices_other = fs::read_to_string(signatures_of(&image)).expect("a signature");
    fs::remove_file(signatures_of(&image)).expect("it can be removed");
    stage.sign(&image, &["mallory"]);
    let mallorys = fs::read_to_string(signatures_of(&image)).expect("a signature");
    for (what, signatures, expected) in [
        ("k-1 people", alices.to_owned(), "too-few-people"),
        ("one person twice, with one key", alices.repeat(2), "too-few-people"),
        ("one person twice, with two keys", alices.to_owned() + &alices_other, "too-few-people"),
        ("one person and a stranger", alices.to_owned() + &mallorys, "too-few-people"),
        ("nobody", String::new(), "image-unsigned"),
        ("a signature cut short", all[..all.len() - 9].to_owned(), "signatures-damaged"),
        ("something else", "signed, bob\n".to_owned(), "signatures-damaged"),
    ] {
        fs::write(signatures_of(&image), signatures).expect("signatures can be written");
        assert_eq!(refused(&mut hsm, &image), expected, "{what}");
    }
    fs::remove_file(signatures_of(&image)).expect("it can be removed");
    assert_eq!(refused(&mut hsm, &image), "image-unsigned", "no file at all");
    fs::write(signatures_of(&image), bobs.to_owned() + &mallorys + &alices_other).expect("written");
    hsm.run();
}

#[test]
fn i12_refuses_an_image_with_a_byte_changed_anywhere_and_a_swapped_manifest() {
    let stage = Stage::set_up();
    let path = stage.signed("one.image", 1, &[]);
    let mut hsm = stage.init(&path);
    let good = fs::read(&path).expect("the image can be read");
    let manifest_ends = good.len() - Image::parse(&good).expect("an image").elf.len();
    let mut random = Rng::with_seed(seed("changed bytes of an image"));
    let ends = [0, HEADER_BYTES - 1, HEADER_BYTES, manifest_ends - 1, manifest_ends, good.len() - 1];
    let in_manifest: Vec<_> = (0..12).map(|_| random.usize(HEADER_BYTES..manifest_ends)).collect();
    let in_elf: Vec<_> = (0..24).map(|_| random.usize(manifest_ends..good.len())).collect();
    for place in ends.into_iter().chain(in_manifest).chain(in_elf) {
        let mut changed = good.clone();
        changed[place] ^= 1 << random.u8(..8);
        fs::write(&path, changed).expect("it can be written");
        let word = refused(&mut hsm, &path);
        // Where the text is free, the form stays good, and it is another image: one that nobody signed.
        let expected: &[&str] = if place < manifest_ends {
            &["image-damaged", "too-few-people", "development-image"]
        } else {
            &["image-damaged"]
        };
        assert!(expected.contains(&word.as_str()), "byte {place}: {word}");
    }
    for (what, bytes) in
        [("cut short", &good[..good.len() - 1]), ("longer", &[&good[..], &[0]].concat()), ("empty", &[])]
    {
        fs::write(&path, bytes).expect("it can be written");
        assert_eq!(refused(&mut hsm, &path), "image-damaged", "{what}");
    }
    // The manifest of another image before this one's executable: of the same executable, so that it describes it truly, and of another.
    fs::write(&path, stage.packed(2, Channel::Release, &[])).expect("it can be written");
    assert_eq!(refused(&mut hsm, &path), "too-few-people", "another image's manifest with these signatures");
    let manifest = &good[HEADER_BYTES..manifest_ends];
    let length = u32::try_from(manifest.len()).expect("it is bounded").to_be_bytes();
    let foreign = [MAGIC.as_slice(), &length, manifest, b"\x7fELF of something else"].concat();
    fs::write(&path, foreign).expect("it can be written");
    assert_eq!(refused(&mut hsm, &path), "image-damaged", "a manifest that describes another executable");
    fs::write(&path, &good).expect("it can be written");
    hsm.image = path;
    hsm.run();
}

#[test]
fn i12_a_release_hsm_refuses_development_images_and_other_keys() {
    let stage = Stage::set_up();
    let image = stage.signed("one.image", 1, &[]);
    let mut hsm = stage.init(&image);
    assert_eq!(refused(&mut hsm, &artefacts::image()), "development-image");
    let kept = hsm.home().join("ceremony/release-keys");
    let keys = fs::read_to_string(&kept).expect("the HSM keeps the list");
    for changed in [keys.replacen("bob", "eve", 1), keys.clone() + "# a comment\n", String::new()] {
        fs::write(&kept, changed).expect("it can be written");
        assert_eq!(refused(&mut hsm, &image), "release-keys-changed");
    }
    fs::remove_file(&kept).expect("it can be removed");
    assert_eq!(refused(&mut hsm, &image), "release-keys-changed", "no list at all");
    fs::write(&kept, keys).expect("it can be written");
    hsm.image = image;
    hsm.run();
}

#[test]
fn i12_a_development_hsm_runs_its_one_image_alone_and_is_never_upgraded() {
    let stage = Stage::set_up();
    let mut hsm = Hsm::init(Keystore::Embedded, &["default"]);
    let own = measurement(&artefacts::image());
    let release = stage.signed("one.image", 9, &[own]);
    let other = stage.image_file("other.image", &stage.packed(9, Channel::Development, &[own]));
    assert_eq!(refused(&mut hsm, &release), "release-image");
    assert_eq!(refused(&mut hsm, &other), "not-pinned");
    for image in [&release, &other] {
        assert_eq!(word(&hsm.upgrade(image)), "development-hsm");
    }
    hsm.image = artefacts::image();
    hsm.run();
    assert_eq!(hsm.ready().channel, "development");
    assert!(hsm.log().contains("the image is for development: nobody has signed it"), "it says so");
}

#[test]
fn no_hsm_is_initialised_with_an_image_that_it_would_not_take() {
    let stage = Stage::set_up();
    let good = stage.signed("good.image", 1, &[]);
    let unsigned = stage.image_file("unsigned.image", &stage.packed(1, Channel::Release, &[]));
    let refused = |image: &Path, options: &[&str]| {
        let refused = Hsm::init_for(Keystore::Embedded, image, options).err();
        word(&refused.unwrap_or_else(|| panic!("{options:?} is initialised")))
    };
    let keys = stage.release_keys();
    let keys = keys.to_str().expect("UTF-8");
    let with = |threshold: &'static str| ["--release-keys", keys, "--threshold", threshold];
    assert_eq!(refused(&unsigned, &with("2")), "image-unsigned");
    assert_eq!(refused(&good, &with("3")), "too-few-people");
    assert_eq!(refused(&good, &with("4")), "bad-threshold", "three people have four keys");
    assert_eq!(refused(&artefacts::image(), &with("2")), "development-image");
    assert_eq!(refused(&good, &["--development"]), "release-image");
    let bad = stage.file("bad-keys");
    fs::write(&bad, "*@example.org ssh-ed25519 AAAA\n").expect("it can be written");
    let bad = ["--release-keys", bad.to_str().expect("UTF-8"), "--threshold", "1"];
    assert_eq!(refused(&good, &bad), "release-keys-damaged");
}

#[test]
fn an_hsm_for_release_has_no_manual_clock_unless_it_is_for_tests() {
    let stage = Stage::set_up();
    let image = stage.signed("one.image", 1, &[]);
    let home = stage.file("hsm");
    let mut init = Command::new(artefacts::hsm());
    init.arg("init").arg("--home").arg(&home).arg("--image").arg(&image).args(stage.purpose());
    let output = init.args(["--clock", "manual"]).output().expect("countersign-hsm can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--manual-clock-for-tests"), "{said}");
    assert!(!home.exists(), "nothing was made");
}

#[test]
fn an_hsm_for_release_with_a_manual_clock_attests_that_it_is_for_development() {
    let stage = Stage::set_up();
    let mut hsm = stage.init(&stage.signed("one.image", 1, &[]));
    hsm.run();
    let root = hsm.initialised.root_fingerprint.clone();
    let file = stage.file("hsm.eat");
    let file = file.to_str().expect("UTF-8");
    let nonce = "00112233445566778899aabbccddeeff";
    run(&hsm, &["attest", "--nonce", nonce, "--out", file]).done();
    let verify = |allowed: &[&str]| {
        let arguments = [&["attest", "verify", "--root", &root, file], allowed].concat();
        let ended = run(&hsm, &arguments);
        (ended.code, ended.json["refused"].as_str().map(str::to_owned))
    };
    let no_policy = ["--allow", "no-policy"];
    assert_eq!(verify(&no_policy), (3, Some("development-image".into())));
    let clock_left = [&no_policy[..], &["--allow", "development-image"]].concat();
    assert_eq!(verify(&clock_left), (3, Some("manual-clock".into())));
}

#[test]
fn what_an_hsm_is_for_must_be_said_when_it_is_initialised() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut init = Command::new(artefacts::hsm());
    init.arg("init").arg("--home").arg(folder.path().join("hsm")).arg("--image").arg(artefacts::image());
    let output = init.output().expect("countersign-hsm can be started");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("--release-keys") && said.contains("--development"), "{said}");
}
