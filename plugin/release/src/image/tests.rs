use super::*;
use crate::sbom::{Component, Kind};
use proptest::prelude::*;

const ELF: &[u8] = b"\x7fELF and the rest";

fn component() -> Component {
    Component {
        kind: Kind::Library,
        name: "thing".into(),
        version: "1".into(),
        hashes: Vec::new(),
        licenses: Vec::new(),
        purl: None,
    }
}

fn contents() -> Contents {
    Contents {
        version: Version::new(1, 2, 3),
        channel: Channel::Release,
        target: "x86_64-unknown-linux-gnu".into(),
        succeeds: vec![Measurement::from_bytes([1; 48])],
        sbom: Sbom::new(component(), vec![component()]),
    }
}

fn packed() -> Vec<u8> {
    pack(ELF, &contents()).unwrap()
}

/// The same file with another manifest's text.
fn with_manifest(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    [MAGIC.as_slice(), &length, text.as_bytes(), ELF].concat()
}

fn manifest_text() -> String {
    Image::parse(&packed()).unwrap().manifest.to_text()
}

#[test]
fn packing_is_deterministic_and_parses_back() {
    let file = packed();
    assert_eq!(file, packed());
    let image = Image::parse(&file).unwrap();
    assert_eq!((image.elf, image.measurement), (ELF, Measurement::of(&file)));
    assert_eq!(image.release().version, Version::new(1, 2, 3));
    let text = String::from_utf8_lossy(&file[HEADER_BYTES..]);
    assert!(
        text.starts_with(r#"{"name":"countersign","version":"1.2.3","channel":"release","target":"#),
        "{text}"
    );
}

#[test]
fn refuses_an_image_with_any_byte_changed_cut_or_added() {
    let file = packed();
    for at in 0..file.len() {
        let mut changed = file.clone();
        changed[at] ^= 1;
        // Where a text is free, the form stays good and the measurement tells the difference.
        let same = Image::parse(&changed).is_ok_and(|image| image.measurement == Measurement::of(&file));
        assert!(!same, "byte {at}");
        assert!(Image::parse(&file[..at]).is_err(), "cut at {at}");
    }
    assert!(Image::parse(&[file.as_slice(), b"x"].concat()).is_err());
    assert!(pack(b"#!/bin/sh", &contents()).is_err());
}

#[test]
fn refuses_a_manifest_in_another_form() {
    let good = manifest_text();
    assert!(Image::parse(&with_manifest(&good)).is_ok());
    for (from, to) in [
        (",\"version\"", ", \"version\""),
        ("\"succeeds\"", "\"extra\":1,\"succeeds\""),
        ("\"CycloneDX\"", "\"SPDX\""),
        ("\"1.6\"", "\"1.5\""),
        ("\"countersign\"", "\"other\""),
        ("\"release\"", "\"nightly\""),
        ("1.2.3", "1.2.03"),
        ("1.2.3", "1.2"),
    ] {
        let other = good.replacen(from, to, 1);
        assert_ne!(other, good, "{from}");
        assert!(Image::parse(&with_manifest(&other)).is_err(), "{other}");
    }
    let twice =
        good.replacen("\"name\":\"countersign\"", "\"name\":\"countersign\",\"name\":\"countersign\"", 1);
    assert!(Image::parse(&with_manifest(&twice)).is_err());
}

#[test]
fn refuses_the_manifest_of_another_executable() {
    for other in [&b"\x7fELF and something else"[..], b"\x7fELF and the best"] {
        let other = pack(other, &contents()).unwrap();
        let text = Image::parse(&other).unwrap().manifest.to_text();
        let refused = Image::parse(&with_manifest(&text)).unwrap_err();
        let what = "its executable is not the one that its manifest describes";
        assert_eq!(refused, Refusal::ImageDamaged(what), "of another length, and of the same");
    }
}

#[test]
fn refuses_to_succeed_one_image_twice_or_more_than_the_bound() {
    let with = |succeeds| pack(ELF, &Contents { succeeds, ..contents() });
    let one = |byte| Measurement::from_bytes([byte; 48]);
    assert!(with(vec![one(1), one(2)]).is_ok());
    assert!(with(vec![one(1), one(2), one(1)]).is_err());
    let many = |count: u8| (0..count).map(one).collect::<Vec<_>>();
    assert!(with(many(64)).is_ok());
    assert!(with(many(65)).is_err());
}

#[test]
fn refuses_a_manifest_beyond_its_bound() {
    let long = Contents { target: "x".repeat(MANIFEST_MAX_BYTES), ..contents() };
    assert_eq!(pack(ELF, &long), Err(Refusal::ImageDamaged("its manifest is too long")));
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_in_their_one_form(bytes in proptest::collection::vec(any::<u8>(), 0..200), elf in any::<bool>()) {
        let file = if elf { [&packed()[..], &bytes].concat() } else { bytes };
        if let Ok(image) = Image::parse(&file) {
            let manifest = image.manifest.to_text();
            prop_assert_eq!(&file[HEADER_BYTES..HEADER_BYTES + manifest.len()], manifest.as_bytes());
        }
    }
}
