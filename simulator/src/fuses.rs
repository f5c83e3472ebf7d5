//! Fuses: what is fixed when the HSM is initialised and never written again.
//!
//! ```text
//! offset  size  what
//! 0       8     "CSFUSES3"
//! 8       16    HSM id
//! 24      32    device secret
//! 56      1     clock mode: 0 system, 1 manual
//! 57      1     keystore: 0 embedded, 1 SoftHSM
//! 58      1     what it is for: 0 development, 1 release
//! 59      1     how many people must sign an image; 0 for development
//! 60      32    SHA-256 of the list of release keys; zeros for development
//! 92      48    measurement of the first image: the root of the lineage; for development, the only image
//! 140     1     what the plugin runs in: 0 a process, 1 a virtual machine
//! 141     48    measurement of that machine's kernel and first root; zeros for a process
//! 189     32    SHA-256 of everything before it
//! ```

use crate::keystore::KeystoreKind;
use crate::{HsmError, durable};
use countersign_approvals::es256::SigningKey;
use countersign_release::Measurement;
use countersign_release::lineage::{HEAD_BYTES, Member};
use countersign_wire::client::ClockMode;
use countersign_wire::hal::Secret;
use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use std::path::Path;
use zeroize::Zeroizing;

const MAGIC: &[u8; 8] = b"CSFUSES3";
pub(crate) const CHECKSUM_AT: usize = 189;

/// Length of the fuses in bytes.
pub const FUSES_BYTES: usize = CHECKSUM_AT + 32;

/// Length of a key in bytes.
pub const KEY_BYTES: usize = 32;

/// Which images an HSM takes. Fixed for its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The development image that it was initialised with, unsigned.
    Development,
    /// Images for release that enough people signed.
    Release {
        /// SHA-256 of the list of their keys.
        keys_sha256: [u8; 32],
        /// How many people it takes, 1 or more.
        threshold: u8,
    },
}

/// What the plugin runs in. Fixed for the HSM's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundary {
    /// A process in a sandbox.
    Process,
    /// A virtual machine whose kernel and first root measure this ([`crate::vm::Platform`]).
    Machine([u8; 48]),
}

impl Boundary {
    /// The word on the command line and in attestations.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Machine(_) => "vm",
        }
    }

    fn code(&self) -> [u8; 49] {
        let mut code = [0; 49];
        if let Self::Machine(platform) = self {
            code[0] = 1;
            code[1..].copy_from_slice(platform);
        }
        code
    }

    fn of_code(code: &[u8]) -> Option<Self> {
        let (kind, platform) = code.split_first()?;
        let platform: [u8; 48] = platform.try_into().ok()?;
        match kind {
            0 if platform == [0; 48] => Some(Self::Process),
            1 => Some(Self::Machine(platform)),
            _ => None,
        }
    }
}

/// The fuses of one HSM.
pub struct Fuses {
    /// Which HSM this is.
    pub hsm_id: [u8; 16],
    device_secret: Zeroizing<[u8; KEY_BYTES]>,
    /// Where time comes from.
    pub clock: ClockMode,
    /// Which keystore holds its keys.
    pub keystore: KeystoreKind,
    /// Which images it takes.
    pub purpose: Purpose,
    /// The image that it was initialised with.
    pub first_image: Measurement,
    /// What the plugin runs in.
    pub boundary: Boundary,
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
        purpose: Purpose,
        first_image: Measurement,
        boundary: Boundary,
    ) -> Result<Self, getrandom::Error> {
        let device_secret = Zeroizing::new([0; KEY_BYTES]);
        let mut fuses =
            Self { hsm_id: [0; 16], device_secret, clock, keystore, purpose, first_image, boundary };
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

    /// The key under which the state key lies in NVRAM while the lineage has this head. A head that ends with another image
    /// gives another key, so the state key opens to the image that was measured and to no other.
    pub fn lineage_key(&self, head: &[u8; HEAD_BYTES]) -> Zeroizing<[u8; KEY_BYTES]> {
        self.derive(&[], b"countersign/simulator/lineage-key/1\0", &[head])
    }

    /// The key that seals the plugin's records: bound to this device, to the state key that its lineage carries on, to the
    /// lineage's root, to the clock mode, and to who must sign its images.
    pub fn sealing_key(&self, state_key: &[u8; KEY_BYTES], root: &Member) -> Secret {
        let parts = [root.measurement.as_bytes().as_slice(), &root.version.to_bytes()];
        let key = self.derive(state_key, b"countersign/simulator/sealing-key/2\0", &parts);
        Secret::new(key.to_vec())
    }

    /// HKDF-SHA256 with the device secret and `more` as input. The info is the label, the parts, the clock mode, the HSM id, of an HSM
    /// for release how many people must sign and the SHA-256 of the list of their keys, and of a virtual machine its
    /// measurement. The last two have different lengths, so that neither is ever taken for the other.
    fn derive(&self, more: &[u8], label: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; KEY_BYTES]> {
        let input = Zeroizing::new([self.device_secret.as_slice(), more].concat());
        let mut info = [label, &parts.concat(), &[clock_code(self.clock)], &self.hsm_id].concat();
        if let Purpose::Release { keys_sha256, threshold } = &self.purpose {
            info.push(*threshold);
            info.extend_from_slice(keys_sha256);
        }
        if let Boundary::Machine(platform) = &self.boundary {
            info.extend_from_slice(platform);
        }
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        Hkdf::<Sha256>::new(None, &input)
            .expand(&info, key.as_mut_slice())
            .expect("32 bytes are within HKDF's limit");
        key
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
        let (code, threshold, keys_sha256) = match self.purpose {
            Purpose::Development => (0, 0, [0; 32]),
            Purpose::Release { keys_sha256, threshold } => (1, threshold, keys_sha256),
        };
        bytes.extend_from_slice(&[code, threshold]);
        bytes.extend_from_slice(&keys_sha256);
        bytes.extend_from_slice(self.first_image.as_bytes());
        bytes.extend_from_slice(&self.boundary.code());
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
        let keys_sha256: [u8; 32] = body[60..92].try_into().ok()?;
        let purpose = match (body[58], body[59]) {
            (0, 0) if keys_sha256 == [0; 32] => Purpose::Development,
            (1, threshold @ 1..) => Purpose::Release { keys_sha256, threshold },
            _ => return None,
        };
        Some(Self {
            hsm_id: body[8..24].try_into().ok()?,
            device_secret: Zeroizing::new(body[24..56].try_into().ok()?),
            clock,
            keystore: KeystoreKind::from_code(body[57])?,
            purpose,
            first_image: Measurement::from_bytes(body[92..140].try_into().ok()?),
            boundary: Boundary::of_code(&body[140..])?,
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
pub(crate) mod tests {
    use super::*;
    use countersign_release::Version;

    pub(crate) fn fuses(clock: ClockMode) -> Fuses {
        Fuses {
            hsm_id: [1; 16],
            device_secret: Zeroizing::new([2; 32]),
            clock,
            keystore: KeystoreKind::Softhsm,
            purpose: Purpose::Release { keys_sha256: [4; 32], threshold: 2 },
            first_image: Measurement::from_bytes([3; 48]),
            boundary: Boundary::Process,
        }
    }

    fn root(byte: u8, major: u32) -> Member {
        Member { measurement: Measurement::from_bytes([byte; 48]), version: Version::new(major, 0, 0) }
    }

    #[test]
    fn fuses_come_back_as_they_were_burnt_and_are_burnt_once() {
        let folder = tempfile::tempdir().unwrap();
        for purpose in [Purpose::Development, fuses(ClockMode::Manual).purpose] {
            let path = folder.path().join(format!("{purpose:?}"));
            let burnt = Fuses { purpose, ..fuses(ClockMode::Manual) };
            burnt.burn(&path).unwrap();
            let read = Fuses::read(&path).unwrap();
            assert_eq!(read.encode().as_slice(), burnt.encode().as_slice());
            assert_eq!(read.purpose, purpose);
            assert_eq!(std::fs::read(&path).unwrap().len(), FUSES_BYTES);
            assert!(burnt.burn(&path).is_err());
            assert!(!format!("{read:?}").contains("secret"));
        }
    }

    #[test]
    fn refuses_fuses_with_any_byte_changed() {
        let good = fuses(ClockMode::System).encode();
        assert!(Fuses::decode(&good).is_some());
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(Fuses::decode(&bad).is_none(), "byte {at}");
            assert!(Fuses::decode(&good[..at]).is_none(), "cut at {at}");
        }
    }

    #[test]
    fn refuses_a_purpose_that_is_neither_one_nor_the_other() {
        let patched = |code: u8, threshold: u8, key: u8| {
            let mut bytes = fuses(ClockMode::System).encode();
            (bytes[58], bytes[59]) = (code, threshold);
            bytes[60..92].fill(key);
            let checksum = Sha256::digest(&bytes[..CHECKSUM_AT]);
            bytes[CHECKSUM_AT..].copy_from_slice(&checksum);
            Fuses::decode(&bytes)
        };
        assert!(patched(1, 2, 4).is_some() && patched(0, 0, 0).is_some());
        for (code, threshold, key) in [(1, 0, 4), (0, 1, 0), (0, 0, 4), (2, 2, 4)] {
            assert!(patched(code, threshold, key).is_none(), "{code} {threshold} {key}");
        }
    }

    #[test]
    fn i12_another_head_state_root_or_clock_mode_gets_another_key() {
        let (system, manual) = (fuses(ClockMode::System), fuses(ClockMode::Manual));
        let key = system.sealing_key(&[5; 32], &root(3, 1));
        assert_eq!(key.expose().len(), 32);
        assert_eq!(key, system.sealing_key(&[5; 32], &root(3, 1)));
        assert_ne!(key, manual.sealing_key(&[5; 32], &root(3, 1)));
        assert_ne!(key, system.sealing_key(&[6; 32], &root(3, 1)));
        assert_ne!(key, system.sealing_key(&[5; 32], &root(4, 1)));
        assert_ne!(key, system.sealing_key(&[5; 32], &root(3, 2)));
        assert_eq!(system.lineage_key(&[7; 32]), system.lineage_key(&[7; 32]));
        assert_ne!(system.lineage_key(&[7; 32]), system.lineage_key(&[8; 32]));
        assert_ne!(system.lineage_key(&[7; 32]), manual.lineage_key(&[7; 32]));
    }

    #[test]
    fn i12_whoever_else_may_sign_images_gets_other_keys() {
        let keys = |purpose, boundary| {
            let mut fuses = fuses(ClockMode::System);
            (fuses.purpose, fuses.boundary) = (purpose, boundary);
            (fuses.lineage_key(&[7; 32]), fuses.sealing_key(&[5; 32], &root(3, 1)))
        };
        let release = |threshold, byte| Purpose::Release { keys_sha256: [byte; 32], threshold };
        let mut seen = Vec::new();
        for purpose in [release(2, 4), release(1, 4), release(2, 5), Purpose::Development] {
            for boundary in [Boundary::Process, Boundary::Machine([4; 48])] {
                let (lineage, sealing) = keys(purpose, boundary);
                assert_eq!((&lineage, &sealing), (&keys(purpose, boundary).0, &keys(purpose, boundary).1));
                assert!(
                    !seen.iter().any(|(a, b)| *a == lineage || *b == sealing),
                    "{purpose:?} {boundary:?}"
                );
                seen.push((lineage, sealing));
            }
        }
    }
}
