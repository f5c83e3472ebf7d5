//! Why an image is not taken. Each reason has a word that never changes, for programs, and a sentence for people.

use crate::{Measurement, Version};
use core::fmt;

/// Why an image is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The file is not an image, or not one any more.
    ImageDamaged(&'static str),
    /// An image for development, where one for release is asked for.
    DevelopmentImage,
    /// An image for release on an HSM for development.
    ReleaseImage,
    /// There is no signature with it.
    ImageUnsigned,
    /// The file with its signatures is not readable as such.
    SignaturesDamaged(String),
    /// Fewer people signed it than it takes.
    TooFewPeople {
        /// Who did.
        signed: Vec<String>,
        /// How many it takes.
        threshold: u8,
        /// What of the signatures does not count, and why.
        not_counted: Vec<String>,
    },
    /// The list of release keys is not readable as such.
    ReleaseKeysDamaged(String),
    /// The list of release keys is not the one that the HSM was initialised with.
    ReleaseKeysChanged,
    /// No threshold can be met, or every one is.
    BadThreshold {
        /// What was asked for.
        threshold: u8,
        /// How many people have keys.
        people: usize,
    },
    /// Not the image that a development HSM was initialised with.
    NotPinned {
        /// The one that was.
        pinned: Measurement,
        /// The one that was offered.
        measured: Measurement,
    },
    /// Not the image that the HSM's lineage has come to, nor one that takes over from it.
    ImageNotInLineage {
        /// The one that it has come to.
        current: Measurement,
        /// The one that was offered.
        measured: Measurement,
    },
    /// The version does not rise.
    VersionBelowFloor {
        /// Of the image that was offered.
        version: Version,
        /// The lowest that is taken.
        floor: Version,
    },
    /// An HSM for development runs one image for ever.
    DevelopmentHsm,
}

/// Every word there is.
pub const WORDS: &[&str] = &[
    "image-damaged",
    "development-image",
    "release-image",
    "image-unsigned",
    "signatures-damaged",
    "too-few-people",
    "release-keys-damaged",
    "release-keys-changed",
    "bad-threshold",
    "not-pinned",
    "image-not-in-lineage",
    "version-below-floor",
    "development-hsm",
];

impl Refusal {
    /// The word for programs.
    pub const fn word(&self) -> &'static str {
        WORDS[match self {
            Refusal::ImageDamaged(_) => 0,
            Refusal::DevelopmentImage => 1,
            Refusal::ReleaseImage => 2,
            Refusal::ImageUnsigned => 3,
            Refusal::SignaturesDamaged(_) => 4,
            Refusal::TooFewPeople { .. } => 5,
            Refusal::ReleaseKeysDamaged(_) => 6,
            Refusal::ReleaseKeysChanged => 7,
            Refusal::BadThreshold { .. } => 8,
            Refusal::NotPinned { .. } => 9,
            Refusal::ImageNotInLineage { .. } => 10,
            Refusal::VersionBelowFloor { .. } => 11,
            Refusal::DevelopmentHsm => 12,
        }]
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::ImageDamaged(what) => write!(f, "this is not an image of Countersign: {what}"),
            Refusal::DevelopmentImage => f.write_str(
                "this image is for development; build it with --channel release, and have it signed",
            ),
            Refusal::ReleaseImage => f.write_str(
                "this image is for release, and the HSM was initialised for development; it runs development images alone",
            ),
            Refusal::ImageUnsigned => f.write_str(
                "nobody has signed this image; its signatures lie beside it, in a file of its name and .sig",
            ),
            Refusal::SignaturesDamaged(what) => write!(f, "the signatures cannot be read: {what}"),
            Refusal::TooFewPeople { signed, threshold, not_counted } => {
                write!(f, "{threshold} people must sign this image, and {} did", signed.len())?;
                let names = signed.iter().map(String::as_str);
                let lists = names.chain(not_counted.iter().map(String::as_str));
                lists.enumerate().try_for_each(|(at, text)| {
                    write!(f, "{}{text}", if at == 0 { ": " } else { "; " })
                })
            }
            Refusal::ReleaseKeysDamaged(what) => write!(f, "the release keys cannot be read: {what}"),
            Refusal::ReleaseKeysChanged => f.write_str(
                "the release keys are not those that the HSM was initialised with; put that file back",
            ),
            Refusal::BadThreshold { threshold, people } => {
                write!(f, "a threshold of {threshold} cannot be: {people} people have release keys, and it takes one or more of them")
            }
            Refusal::NotPinned { pinned, measured } => write!(
                f,
                "this is not the image that the HSM was initialised with: its measurement is {measured}, and the fuses \
                 pin {pinned}; start the HSM with the pinned image"
            ),
            Refusal::ImageNotInLineage { current, measured } => write!(
                f,
                "this is not an image for the HSM's state: its measurement is {measured}, and the state belongs to \
                 {current}; only an image that names that one as its predecessor takes over, by an upgrade"
            ),
            Refusal::VersionBelowFloor { version, floor } => {
                write!(f, "version {version} is not taken: the HSM has come to {floor}, and versions never fall")
            }
            Refusal::DevelopmentHsm => f.write_str(
                "this HSM was initialised for development: it runs one image for ever, and its state moves to no other",
            ),
        }
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_in_the_documentation_and_no_two_are_the_same() {
        let page = include_str!("../../../docs/release.md");
        for (at, word) in WORDS.iter().enumerate() {
            assert!(page.contains(&format!("| `{word}` |")), "docs/release.md does not list {word}");
            assert!(!WORDS[..at].contains(word), "{word}");
            assert!(word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{word}");
        }
    }

    #[test]
    fn too_few_people_says_who_signed_and_what_does_not_count() {
        let refusal = Refusal::TooFewPeople {
            signed: vec!["alice".into()],
            threshold: 2,
            not_counted: vec!["signature 2: of no release key".into()],
        };
        assert_eq!(refusal.word(), "too-few-people");
        let text = "2 people must sign this image, and 1 did: alice; signature 2: of no release key";
        assert_eq!(refusal.to_string(), text);
    }
}
