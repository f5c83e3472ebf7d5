//! Fuses: what is fixed when the HSM is initialised and never written again.
//!
//! ```text
//! offset  size  what
//! 0       8     "CSFUSES1"
//! 8       16    HSM id
//! 24      32    device secret
//! 56      1     clock mode: 0 system, 1 manual
//! 57      1     keystore: 0 embedded, 1 SoftHSM
//! 58      48    pinned measurement: SHA-384 of the only image that this HSM runs
//! 106     32    SHA-256 of everything before it
//! ```

use crate::image::Measurement;
use crate::keystore::KeystoreKind;
use crate::{HsmError, durable};
use countersign_approvals::es256::SigningKey;
use countersign_wire::client::ClockMode;
use countersign_wire::hal::Secret;
use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use std::path::Path;
use zeroize::Zeroizing;

const MAGIC: &[u8; 8] = b"CSFUSES1";
pub(crate) const CHECKSUM_AT: usize = 106;

/// Length of the fuses in bytes.
pub const FUSES_BYTES: usize = CHECKSUM_AT + 32;

/// The fuses of one HSM.
pub struct Fuses {
    /// Which HSM this is.
    pub hsm_id: [u8; 16],
    device_secret: Zeroizing<[u8; 32]>,
    /// Where time comes from.
    pub clock: ClockMode,
    /// Which keystore holds its keys.
    pub keystore: KeystoreKind,
    /// The only image that it runs.
    pub measurement: Measurement,
}

impl core::fmt::Debug for Fuses {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Fuses")
            .field("clock", &self.clock)
            .field("keystore", &self.keystore)
            .finish_non_exhaustive()
    }
}

impl Fuses {
    /// Fuses of a new HSM with a random id and device secret.
    pub fn generate(
        clock: ClockMode,
        keystore: KeystoreKind,
        measurement: Measurement,
    ) -> Result<Self, getrandom::Error> {
        let mut fuses =
            Self { hsm_id: [0; 16], device_secret: Zeroizing::new([0; 32]), clock, keystore, measurement };
        getrandom::fill(&mut fuses.hsm_id)?;
        getrandom::fill(fuses.device_secret.as_mut_slice())?;
        Ok(fuses)
    }

    /// Burns them: written once, never overwritten.
    pub fn burn(&self, path: &Path) -> Result<(), HsmError> {
        durable::create_file(path, self.encode().as_slice()).map(drop)
    }

    /// Reads them.
    pub fn read(path: &Path) -> Result<Self, HsmError> {
        let bytes = std::fs::read(path).map(Zeroizing::new).map_err(|error| {
            HsmError::Home(format!("{} is not an initialised HSM: {error}", path.display()))
        })?;
        Self::decode(&bytes)
            .ok_or_else(|| HsmError::Home(format!("the fuses in {} are damaged", path.display())))
    }

    /// The key that seals the plugin's records: bound to this device, this image and this clock mode.
    pub fn sealing_key(&self) -> Secret {
        let mut info = Vec::with_capacity(128);
        info.extend_from_slice(b"countersign/simulator/sealing-key/1\0");
        info.extend_from_slice(self.measurement.as_bytes());
        info.push(clock_code(self.clock));
        info.extend_from_slice(&self.hsm_id);
        let mut key = vec![0; 32];
        Hkdf::<Sha256>::new(None, self.device_secret.as_slice())
            .expand(&info, &mut key)
            .expect("32 bytes are within HKDF's limit");
        Secret::new(key)
    }

    /// The root: what this HSM says of the images that it runs, whichever they are. Its public key is shown when the HSM is
    /// initialised; devices have it from there.
    pub fn root(&self) -> SigningKey {
        SigningKey::derive(&self.device_secret, "countersign simulator root v1")
    }

    /// What the HSM attests with. The root says that it is this HSM's.
    pub fn attestation_key(&self) -> SigningKey {
        SigningKey::derive(&self.device_secret, "countersign simulator attestation v1")
    }

    pub(crate) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(FUSES_BYTES));
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.hsm_id);
        bytes.extend_from_slice(self.device_secret.as_slice());
        bytes.push(clock_code(self.clock));
        bytes.push(self.keystore.code());
        bytes.extend_from_slice(self.measurement.as_bytes());
        let checksum = Sha256::digest(bytes.as_slice());
        bytes.extend_from_slice(&checksum);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, checksum) = bytes.split_at_checked(CHECKSUM_AT)?;
        if Sha256::digest(body).as_slice() != checksum || !body.starts_with(MAGIC) {
            return None;
        }
        let clock = match body[56] {
            0 => ClockMode::System,
            1 => ClockMode::Manual,
            _ => return None,
        };
        Some(Self {
            hsm_id: body[8..24].try_into().ok()?,
            device_secret: Zeroizing::new(body[24..56].try_into().ok()?),
            clock,
            keystore: KeystoreKind::from_code(body[57])?,
            measurement: Measurement::from_bytes(body[58..CHECKSUM_AT].try_into().ok()?),
        })
    }
}

fn clock_code(clock: ClockMode) -> u8 {
    match clock {
        ClockMode::System => 0,
        ClockMode::Manual => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fuses(clock: ClockMode, measurement: u8) -> Fuses {
        Fuses {
            hsm_id: [1; 16],
            device_secret: Zeroizing::new([2; 32]),
            clock,
            keystore: KeystoreKind::Softhsm,
            measurement: Measurement::from_bytes([measurement; 48]),
        }
    }

    #[test]
    fn fuses_come_back_as_they_were_burnt_and_are_burnt_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fuses");
        let burnt = fuses(ClockMode::Manual, 3);
        burnt.burn(&path).unwrap();
        let read = Fuses::read(&path).unwrap();
        assert_eq!(read.encode().as_slice(), burnt.encode().as_slice());
        assert_eq!(std::fs::read(&path).unwrap().len(), FUSES_BYTES);
        assert!(burnt.burn(&path).is_err());
        assert!(!format!("{read:?}").contains("secret"));
    }

    #[test]
    fn refuses_fuses_with_any_byte_changed() {
        let good = fuses(ClockMode::System, 3).encode();
        assert!(Fuses::decode(&good).is_some());
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(Fuses::decode(&bad).is_none(), "byte {at}");
            assert!(Fuses::decode(&good[..at]).is_none(), "cut at {at}");
        }
    }

    #[test]
    fn another_image_or_clock_mode_gets_another_sealing_key() {
        let key = fuses(ClockMode::System, 3).sealing_key();
        assert_eq!(key.expose().len(), 32);
        assert_eq!(key, fuses(ClockMode::System, 3).sealing_key());
        assert_ne!(key, fuses(ClockMode::Manual, 3).sealing_key());
        assert_ne!(key, fuses(ClockMode::System, 4).sealing_key());
    }
}
