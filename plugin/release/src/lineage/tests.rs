use super::*;
use crate::sbom::{Component, Kind, Sbom};
use proptest::prelude::*;

fn release(byte: u8, version: u32) -> Release {
    Release {
        measurement: Measurement::from_bytes([byte; 48]),
        version: Version::new(version, 0, 0),
        channel: Channel::Release,
    }
}

/// The manifest of an image that succeeds these.
fn naming(succeeds: &[u8]) -> Manifest {
    let component = Component {
        kind: Kind::Application,
        name: "countersign-image".into(),
        version: "1".into(),
        hashes: Vec::new(),
        licenses: Vec::new(),
        purl: None,
    };
    Manifest {
        name: "countersign".into(),
        version: Version::new(0, 0, 0),
        channel: Channel::Release,
        target: String::new(),
        elf_bytes: 0,
        elf_sha384: Measurement::from_bytes([0; 48]),
        succeeds: succeeds.iter().map(|byte| Measurement::from_bytes([*byte; 48])).collect(),
        sbom: Sbom::new(component, Vec::new()),
    }
}

fn head(lineage: &Lineage) -> [u8; HEAD_BYTES] {
    lineage.head_with(lineage.current())
}

#[test]
fn a_step_leads_to_a_higher_version_that_names_the_current_image() {
    let first = Lineage::begin(&release(1, 1));
    let second = first.step(&release(2, 2), &naming(&[9, 1])).unwrap();
    assert_eq!((second.steps(), second.root(), second.current()), (1, first.root(), (&release(2, 2)).into()));
    let third = second.step(&release(3, 5), &naming(&[2])).unwrap();
    assert_eq!((third.steps(), third.root(), third.floor()), (2, first.root(), Version::new(5, 0, 0)));
    assert!(third.runs(&release(3, 5)).is_ok());
}

#[test]
fn refuses_a_step_to_an_image_that_does_not_name_the_current_one() {
    let second = Lineage::begin(&release(1, 1)).step(&release(2, 2), &naming(&[1])).unwrap();
    for succeeds in [&[][..], &[1], &[3]] {
        let refused = second.step(&release(3, 3), &naming(succeeds)).unwrap_err();
        assert_eq!(refused.word(), "image-not-in-lineage", "naming the root alone is not enough");
    }
}

#[test]
fn refuses_a_step_to_the_same_version_or_a_lower_one() {
    let lineage = Lineage::begin(&release(1, 2));
    for version in [2, 1, 0] {
        let refused = lineage.step(&release(2, version), &naming(&[1])).unwrap_err();
        assert_eq!(refused.word(), "version-below-floor");
    }
    let development = Release { channel: Channel::Development, ..release(2, 3) };
    assert_eq!(lineage.step(&development, &naming(&[1])), Err(Refusal::DevelopmentImage));
}

#[test]
fn i12_only_the_current_image_runs_and_versions_never_fall() {
    let lineage = Lineage::begin(&release(1, 1)).step(&release(2, 2), &naming(&[1])).unwrap();
    assert_eq!(lineage.runs(&release(2, 2)), Ok(()));
    assert_eq!(lineage.runs(&release(1, 1)).unwrap_err().word(), "version-below-floor");
    assert_eq!(lineage.runs(&release(3, 2)).unwrap_err().word(), "image-not-in-lineage");
    assert_eq!(lineage.runs(&release(3, 3)).unwrap_err().word(), "image-not-in-lineage");
    assert_eq!(
        lineage.runs(&release(2, 3)).unwrap_err().word(),
        "image-not-in-lineage",
        "of another version"
    );
}

#[test]
fn the_head_is_another_for_every_other_image_version_step_and_past() {
    let first = Lineage::begin(&release(1, 1));
    let second = first.step(&release(2, 2), &naming(&[1])).unwrap();
    let other_past = Lineage::begin(&release(4, 1)).step(&release(2, 2), &naming(&[4])).unwrap();
    let longer = second.step(&release(3, 3), &naming(&[2])).unwrap();
    let shorter = first.step(&release(3, 3), &naming(&[1])).unwrap();
    let with = |byte, version| first.head_with((&release(byte, version)).into());
    let heads = [
        head(&first),
        head(&second),
        head(&other_past),
        head(&longer),
        head(&shorter),
        with(2, 1),
        with(1, 2),
    ];
    for (at, head) in heads.iter().enumerate() {
        assert!(!heads[..at].contains(head), "{at}");
    }
}

#[test]
fn the_head_is_what_the_documentation_says() {
    let lineage = Lineage::begin(&release(1, 1)).step(&release(2, 2), &naming(&[1])).unwrap();
    let bytes = lineage.to_bytes();
    let told =
        Sha256::digest([b"countersign lineage v1\0".as_slice(), &bytes[8..12], &bytes[72..164]].concat());
    assert_eq!(head(&lineage).as_slice(), told.as_slice());
}

#[test]
fn refuses_bytes_that_are_no_lineage() {
    let first = Lineage::begin(&release(1, 1));
    let second = first.step(&release(2, 2), &naming(&[1])).unwrap();
    for good in [&first, &second] {
        assert_eq!(Lineage::from_bytes(&good.to_bytes()).as_ref(), Some(good));
    }
    let changed = |good: &Lineage, at: usize| {
        let mut bytes = good.to_bytes();
        bytes[at] ^= 1;
        Lineage::from_bytes(&bytes)
    };
    for at in 0..8 {
        assert_eq!(changed(&first, at), None, "the magic");
    }
    // Without a step there is nothing before, and one image.
    for at in 8..LINEAGE_BYTES {
        assert_eq!(changed(&first, at), None, "byte {at}");
    }
    assert_eq!(changed(&second, 11), None, "two images and no step");
}

proptest! {
    #[test]
    fn lineages_only_rise_whatever_is_offered(offers in proptest::collection::vec((1_u8..6, 0_u32..6, proptest::collection::vec(1_u8..6, 0..3)), 0..12)) {
        let mut lineage = Lineage::begin(&release(1, 1));
        for (byte, version, succeeds) in offers {
            let before = lineage.clone();
            if let Ok(after) = lineage.step(&release(byte, version), &naming(&succeeds)) {
                prop_assert!(after.floor() > before.floor());
                prop_assert!(naming(&succeeds).succeeds.contains(&before.current().measurement));
                prop_assert!(after.runs(&release(byte, version)).is_ok());
                lineage = after;
            }
            prop_assert_eq!(Lineage::from_bytes(&lineage.to_bytes()), Some(lineage.clone()));
            prop_assert_eq!(lineage.root().measurement, Measurement::from_bytes([1; 48]));
        }
    }
}
