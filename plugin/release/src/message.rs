//! What release keys sign.

use crate::{Channel, Measurement, Version};

/// The SSHSIG namespace of release signatures, so that no signature for another purpose counts as one.
pub const NAMESPACE: &str = "countersign-image";

/// What counts of an image where it is signed, run and followed by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// SHA-384 of the image file.
    pub measurement: Measurement,
    /// Its version.
    pub version: Version,
    /// For whom it was made.
    pub channel: Channel,
}

impl Release {
    /// The bytes that release keys sign: four lines, each ended by a line feed. Whoever holds a key can read what it signs.
    pub fn message(&self) -> String {
        let Self { measurement, version, channel } = self;
        format!(
            "countersign image release v1\nmeasurement {measurement}\nversion {version}\nchannel {channel}\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_four_lines_of_text() {
        let release = Release {
            measurement: Measurement::from_bytes([0xab; 48]),
            version: Version::new(1, 20, 3),
            channel: Channel::Release,
        };
        let expected = format!(
            "countersign image release v1\nmeasurement {}\nversion 1.20.3\nchannel release\n",
            "ab".repeat(48)
        );
        assert_eq!(release.message(), expected);
    }
}
