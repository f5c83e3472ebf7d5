//! The image as a file that people release: what is in it, who signed it, and whose state it may take over.
//!
//! The firmware and the command line share it; it is not linked into the image. It does no I/O and knows no clock, so a
//! real HSM's firmware can use it as it is.
//!
//! Principles:
//! * Each file has one form: what was read is written again and compared.
//! * People count, not keys: two signatures of one person are one.
//! * State moves one way only: from an image to one of a higher version that names it.
//! * Any doubt is a [`Refusal`], and each has a word that never changes.
//!
//! Modules:
//! * [`image`]: the file, byte by byte; [`manifest`]: what an image says of itself; [`sbom`]: what is inside it.
//! * [`message`]: what release keys sign; [`signatures`]: the file beside the image.
//! * [`keys`]: who may release, and how many of them it takes.
//! * [`lineage`]: the images that had an HSM's state, one after the other.
//! * [`measurement`], [`version`]: the two things that name an image. [`refusal`]: why one is not taken.

#![forbid(unsafe_code)]

pub mod image;
pub mod keys;
pub mod lineage;
pub mod manifest;
pub mod measurement;
pub mod message;
#[cfg(feature = "properties")]
pub mod properties;
pub mod refusal;
pub mod sbom;
pub mod signatures;
#[cfg(test)]
#[path = "people/tests.rs"]
mod test_people;
pub mod version;

pub use image::Image;
pub use keys::{ReleaseKeys, Rule};
pub use lineage::Lineage;
pub use manifest::{Channel, Manifest};
pub use measurement::Measurement;
pub use message::Release;
pub use refusal::Refusal;
pub use version::Version;
