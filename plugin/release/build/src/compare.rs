//! Where two images differ first: in which field of the manifest, and in which section of the executable.

use countersign_release::image::parts;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;

/// Where two images differ. A field that follows from the executable (`elf_bytes`, `elf_sha384`) is not named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Differences {
    /// The first field of the manifest that differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Field>,
    /// The first byte of the executable that differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elf: Option<Place>,
    /// The first byte of the file that differs.
    pub file_offset: usize,
}

/// A field of the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Field {
    /// As a JSON pointer (RFC 6901).
    pub pointer: String,
    /// What the first image says; absent where it has no such field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<Value>,
    /// What the second says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub second: Option<Value>,
}

/// A place in the executable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The section of the first image's executable; `headers` where it is in none.
    pub section: String,
    /// From the section's beginning.
    pub offset: usize,
    /// From the executable's beginning.
    pub elf_offset: usize,
}

impl core::fmt::Display for Differences {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        if let Some(Field { pointer, first, second }) = &self.manifest {
            let told = |value: &Option<Value>| value.as_ref().map_or("nothing".to_owned(), Value::to_string);
            return write!(
                f,
                "the manifests differ first at {pointer}: {} and {}",
                told(first),
                told(second)
            );
        }
        if let Some(Place { section, offset, elf_offset }) = &self.elf {
            return write!(
                f,
                "the executables differ first in {section} at {offset} (byte {elf_offset} of the executable)"
            );
        }
        write!(f, "the files differ first at byte {}", self.file_offset)
    }
}

/// Where two image files differ; `None` where they are the same.
pub fn differences(first: &[u8], second: &[u8]) -> Option<Differences> {
    let file_offset = first_difference(first, second)?;
    let (manifest, elf) = match (parts(first), parts(second)) {
        (Ok((manifest, elf)), Ok((other_manifest, other_elf))) => {
            (field(manifest, other_manifest), first_difference(elf, other_elf).map(|at| place(elf, at)))
        }
        _ => (None, None),
    };
    Some(Differences { manifest, elf, file_offset })
}

fn first_difference(first: &[u8], second: &[u8]) -> Option<usize> {
    let differs = first.iter().zip(second).position(|(a, b)| a != b);
    differs.or((first.len() != second.len()).then_some(first.len().min(second.len())))
}

fn field(first: &[u8], second: &[u8]) -> Option<Field> {
    let [first, second] = [first, second].map(|text| serde_json::from_slice::<Value>(text).ok());
    first_field(String::new(), first.as_ref(), second.as_ref())
}

/// Fields that follow from the executable.
const FOLLOWING: [&str; 2] = ["/elf_bytes", "/elf_sha384"];

fn first_field(pointer: String, first: Option<&Value>, second: Option<&Value>) -> Option<Field> {
    if first == second || FOLLOWING.contains(&pointer.as_str()) {
        return None;
    }
    let below = |name: &str| format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
    match (first, second) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            // By name: in which order an object has them is another crate's choice.
            let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            names.into_iter().find_map(|name| first_field(below(name), a.get(name), b.get(name)))
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            (0..a.len().max(b.len())).find_map(|at| first_field(below(&at.to_string()), a.get(at), b.get(at)))
        }
        _ => Some(Field { pointer, first: first.cloned(), second: second.cloned() }),
    }
}

/// Where in its sections a byte of an executable lies (System V ABI, ELF-64: file header, section header, string table).
fn place(elf: &[u8], at: usize) -> Place {
    let found = sections(elf).and_then(|sections| {
        let mut sections = sections.into_iter();
        sections.find(|section| (section.begin..section.end).contains(&at))
    });
    match found {
        Some(Section { name, begin, .. }) => Place { section: name, offset: at - begin, elf_offset: at },
        None => Place { section: "headers".into(), offset: at, elf_offset: at },
    }
}

struct Section {
    name: String,
    begin: usize,
    end: usize,
}

/// A section that takes no room in the file.
const SHT_NOBITS: u64 = 8;

fn sections(elf: &[u8]) -> Option<Vec<Section>> {
    let number = |at: usize, bytes: usize| {
        let field = elf.get(at..at.checked_add(bytes)?)?;
        usize::try_from(field.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))).ok()
    };
    let (table, entry, count) = (number(0x28, 8)?, number(0x3a, 2)?, number(0x3c, 2)?);
    let header = |index: usize| table.checked_add(index.checked_mul(entry)?);
    let names = number(header(number(0x3e, 2)?)?.checked_add(0x18)?, 8)?;
    (0..count)
        .map(|index| {
            let header = header(index)?;
            let name = elf.get(names.checked_add(number(header, 4)?)?..)?;
            let name = name.split(|byte| *byte == 0).next()?;
            let begin = number(header.checked_add(0x18)?, 8)?;
            let takes_room = number(header.checked_add(4)?, 4)? as u64 != SHT_NOBITS;
            let length = if takes_room { number(header.checked_add(0x20)?, 8)? } else { 0 };
            let end = begin.checked_add(length)?;
            Some(Section { name: String::from_utf8_lossy(name).into_owned(), begin, end })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_release::image::{Contents, pack};
    use countersign_release::sbom::{Component, Kind, Sbom};
    use countersign_release::{Channel, Version};

    /// This test's own executable: there is hardly one with more sections.
    fn elf() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    fn image(elf: &[u8], version: u32, component: &str) -> Vec<u8> {
        let component = Component {
            kind: Kind::Library,
            name: component.into(),
            version: "1".into(),
            hashes: Vec::new(),
            licenses: Vec::new(),
            purl: None,
        };
        let contents = Contents {
            version: Version::new(version, 0, 0),
            channel: Channel::Development,
            target: "t".into(),
            succeeds: Vec::new(),
            sbom: Sbom::new(component.clone(), vec![component]),
        };
        pack(elf, &contents).unwrap()
    }

    #[test]
    fn names_the_first_field_that_differs() {
        let elf = b"\x7fELF";
        assert_eq!(differences(&image(elf, 1, "a"), &image(elf, 1, "a")), None);
        let at = |other: &[u8]| differences(&image(elf, 1, "a"), other).unwrap().manifest.unwrap().pointer;
        assert_eq!(at(&image(elf, 2, "a")), "/version");
        assert_eq!(at(&image(elf, 1, "b")), "/sbom/components/0/name");
        let told = differences(&image(elf, 1, "a"), &image(elf, 2, "a")).unwrap().to_string();
        assert_eq!(told, "the manifests differ first at /version: \"1.0.0\" and \"2.0.0\"");
    }

    #[test]
    fn names_the_section_and_the_place_in_it_where_executables_differ() {
        let good = elf();
        let text = sections(&good).unwrap().into_iter().find(|section| section.name == ".text").unwrap();
        let mut bad = good.clone();
        bad[text.begin + 17] ^= 1;
        let found = differences(&image(&good, 1, "a"), &image(&bad, 1, "a")).unwrap();
        let place = Place { section: ".text".into(), offset: 17, elf_offset: text.begin + 17 };
        assert_eq!((found.manifest, found.elf), (None, Some(place)));
        let mut bad = good.clone();
        bad[7] ^= 1;
        let found = differences(&image(&good, 1, "a"), &image(&bad, 1, "a")).unwrap();
        assert_eq!(found.elf.unwrap().section, "headers");
    }

    #[test]
    fn files_that_are_no_images_are_compared_by_their_bytes() {
        let found = differences(b"one", b"onf").unwrap();
        assert_eq!(found.to_string(), "the files differ first at byte 2");
        assert_eq!(differences(b"one", b"on").unwrap().file_offset, 2);
        let file = image(b"\x7fELF", 1, "a");
        assert!(differences(&file, &file[..file.len() - 1]).unwrap().elf.is_some());
    }
}
