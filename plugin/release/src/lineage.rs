//! The images that had an HSM's state, one after the other.
//!
//! It begins with the image that the HSM was initialised with, and each step leads from the current image to one that was
//! signed, names the current one, and has a higher version. What is kept of it has one size, however long it grows:
//!
//! ```text
//! offset  size  what
//! 0       8     "CSLINE1", zero
//! 8       4     steps made so far, unsigned, big-endian
//! 12      48    measurement of the first image: the root
//! 60      12    its version
//! 72      32    the head before the current image; zeros where that is the root
//! 104     48    measurement of the current image
//! 152     12    its version: the floor
//! ```
//! The head is SHA-256 over `countersign lineage v1`, a zero byte, and bytes 8 to 11 and 72 to 163 of this; the head before
//! is the same over the image before. So it covers every image that there was, in order.

use crate::measurement::MEASUREMENT_BYTES;
use crate::version::VERSION_BYTES;
use crate::{Channel, Manifest, Measurement, Refusal, Release, Version};
use sha2::{Digest, Sha256};

const MAGIC: &[u8; 8] = b"CSLINE1\0";
const DOMAIN: &[u8] = b"countersign lineage v1\0";

/// Length of a lineage in bytes.
pub const LINEAGE_BYTES: usize = 164;

/// Length of a head in bytes.
pub const HEAD_BYTES: usize = 32;

/// One image of a lineage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// SHA-384 of the image file.
    pub measurement: Measurement,
    /// Its version.
    pub version: Version,
}

/// A lineage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage {
    steps: u32,
    root: Member,
    before: [u8; HEAD_BYTES],
    current: Member,
}

impl From<&Release> for Member {
    fn from(release: &Release) -> Self {
        Self { measurement: release.measurement, version: release.version }
    }
}

impl Lineage {
    /// Of an HSM that is initialised with this image.
    pub fn begin(first: &Release) -> Self {
        let root = Member::from(first);
        Self { steps: 0, root, before: [0; HEAD_BYTES], current: root }
    }

    /// How many upgrades there were.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// The first image.
    pub fn root(&self) -> Member {
        self.root
    }

    /// The image that has the state.
    pub fn current(&self) -> Member {
        self.current
    }

    /// The lowest version that is taken.
    pub fn floor(&self) -> Version {
        self.current.version
    }

    /// The head: it covers every image that had the state, and ends with `running`. It is the lineage's own head only where
    /// that is the current image.
    pub fn head_with(&self, running: Member) -> [u8; HEAD_BYTES] {
        let mut hash = Sha256::new();
        hash.update(DOMAIN);
        hash.update(self.steps.to_be_bytes());
        hash.update(self.before);
        hash.update(running.measurement.as_bytes());
        hash.update(running.version.to_bytes());
        hash.finalize().into()
    }

    /// Whether this image may run on the state.
    pub fn runs(&self, image: &Release) -> Result<(), Refusal> {
        if Member::from(image) == self.current {
            return Ok(());
        }
        if image.version < self.floor() {
            return Err(Refusal::VersionBelowFloor { version: image.version, floor: self.floor() });
        }
        Err(Refusal::ImageNotInLineage { current: self.current.measurement, measured: image.measurement })
    }

    /// The lineage after an upgrade to this image, whose signatures were checked.
    pub fn step(&self, next: &Release, manifest: &Manifest) -> Result<Self, Refusal> {
        if next.channel != Channel::Release {
            return Err(Refusal::DevelopmentImage);
        }
        if next.version <= self.floor() {
            return Err(Refusal::VersionBelowFloor { version: next.version, floor: self.floor() });
        }
        let refused =
            Refusal::ImageNotInLineage { current: self.current.measurement, measured: next.measurement };
        if !manifest.succeeds.contains(&self.current.measurement) {
            return Err(refused);
        }
        let steps = self.steps.checked_add(1).ok_or(refused)?;
        Ok(Self { steps, root: self.root, before: self.head_with(self.current), current: next.into() })
    }

    /// As it is kept.
    pub fn to_bytes(&self) -> [u8; LINEAGE_BYTES] {
        let mut bytes = Vec::with_capacity(LINEAGE_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.steps.to_be_bytes());
        bytes.extend_from_slice(self.root.measurement.as_bytes());
        bytes.extend_from_slice(&self.root.version.to_bytes());
        bytes.extend_from_slice(&self.before);
        bytes.extend_from_slice(self.current.measurement.as_bytes());
        bytes.extend_from_slice(&self.current.version.to_bytes());
        bytes.try_into().expect("the parts add up to LINEAGE_BYTES")
    }

    /// From what [`Self::to_bytes`] made; `None` for anything that no lineage is.
    pub fn from_bytes(bytes: &[u8; LINEAGE_BYTES]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<8>()?;
        let (steps, rest) = rest.split_first_chunk::<4>()?;
        let (root, rest) = member(rest)?;
        let (before, rest) = rest.split_first_chunk::<HEAD_BYTES>()?;
        let (current, _) = member(rest)?;
        let lineage = Self { steps: u32::from_be_bytes(*steps), root, before: *before, current };
        let sound = if lineage.steps == 0 {
            root == current && *before == [0; HEAD_BYTES]
        } else {
            root.version < current.version
        };
        (magic == MAGIC && sound).then_some(lineage)
    }
}

fn member(bytes: &[u8]) -> Option<(Member, &[u8])> {
    let (measurement, rest) = bytes.split_first_chunk::<MEASUREMENT_BYTES>()?;
    let (version, rest) = rest.split_first_chunk::<VERSION_BYTES>()?;
    let measurement = Measurement::from_bytes(*measurement);
    Some((Member { measurement, version: Version::from_bytes(version) }, rest))
}

#[cfg(test)]
mod tests;
