//! SHA-384 of an image file.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha384};

/// Length of a measurement in bytes.
pub const MEASUREMENT_BYTES: usize = 48;

/// SHA-384 of an image file; as text, 96 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Measurement([u8; MEASUREMENT_BYTES]);

impl Measurement {
    /// From its bytes.
    pub const fn from_bytes(bytes: [u8; MEASUREMENT_BYTES]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; MEASUREMENT_BYTES] {
        &self.0
    }

    /// In lower-case hex.
    pub fn to_hex(self) -> String {
        HEXLOWER.encode(&self.0)
    }

    /// Of an image file's bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha384::digest(bytes).into())
    }
}

impl core::fmt::Debug for Measurement {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl core::fmt::Display for Measurement {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl TryFrom<String> for Measurement {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = HEXLOWER.decode(text.as_bytes()).ok();
        let bytes = bytes.and_then(|bytes| <[u8; MEASUREMENT_BYTES]>::try_from(bytes).ok());
        bytes.map(Self).ok_or("a measurement is 96 lower-case hex digits")
    }
}

impl From<Measurement> for String {
    fn from(measurement: Measurement) -> Self {
        measurement.to_hex()
    }
}
