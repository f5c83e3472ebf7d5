//! The version of an image: three numbers, which only rise.

use serde::{Deserialize, Serialize};

/// Length of a version in bytes, as it is hashed and kept: three numbers of four bytes, big-endian.
pub const VERSION_BYTES: usize = 12;

/// A version `MAJOR.MINOR.PATCH` ([Semantic Versioning 2.0.0](https://semver.org/spec/v2.0.0.html), section 2), without
/// pre-release or build parts: they would have an order that nobody remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second.
    pub minor: u32,
    /// The third.
    pub patch: u32,
}

impl Version {
    /// From its three numbers.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// As it is hashed and kept.
    pub fn to_bytes(self) -> [u8; VERSION_BYTES] {
        let mut bytes = [0; VERSION_BYTES];
        for (room, number) in bytes.chunks_exact_mut(4).zip([self.major, self.minor, self.patch]) {
            room.copy_from_slice(&number.to_be_bytes());
        }
        bytes
    }

    /// From what [`Self::to_bytes`] made.
    pub fn from_bytes(bytes: &[u8; VERSION_BYTES]) -> Self {
        let mut numbers = [0; 3];
        for (number, part) in numbers.iter_mut().zip(bytes.chunks_exact(4)) {
            *number = part.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
        }
        let [major, minor, patch] = numbers;
        Self::new(major, minor, patch)
    }
}

impl core::fmt::Display for Version {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl core::str::FromStr for Version {
    type Err = &'static str;

    /// Reads it in its one form: what is read is written as the same text.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = "a version is MAJOR.MINOR.PATCH, three numbers without leading zeros";
        let mut numbers = text.split('.').map(|number| number.parse::<u32>().map_err(|_| bad));
        let mut next = || numbers.next().unwrap_or(Err(bad));
        let version = Self::new(next()?, next()?, next()?);
        if version.to_string() == text { Ok(version) } else { Err(bad) }
    }
}

impl TryFrom<String> for Version {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_one_form_and_the_order_of_their_numbers() {
        for good in ["0.0.0", "1.2.3", "4294967295.0.10"] {
            assert_eq!(good.parse::<Version>().unwrap().to_string(), good);
        }
        let bad = [
            "",
            "1",
            "1.2",
            "1.2.3.4",
            "01.2.3",
            "1.2.3-rc.1",
            "1.2.3+x",
            " 1.2.3",
            "+1.2.3",
            "1..3",
            "4294967296.0.0",
        ];
        for bad in bad {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
        assert!(Version::new(0, 10, 0) > Version::new(0, 9, 99));
        let version = Version::new(1, 0x0203, u32::MAX);
        assert_eq!(Version::from_bytes(&version.to_bytes()), version);
    }
}
