//! The lineage in NVRAM, and the state key that it carries on.
//!
//! The state key is made once, at initialisation, and never leaves NVRAM in the clear. It lies there under a key that is
//! derived from the device secret and the lineage's head, so that it opens to the image that the firmware measured, if
//! that is the current one, and to no other. An upgrade opens it and puts it under the next head: one write of one slot moves
//! the lineage and the key together, and a crash leaves the old image working or the new one. Before anything is served, both
//! slots hold the same: what an interrupted upgrade left in the older one, and would open to the old image, is written over.
//!
//! What a slot holds:
//! ```text
//! offset  size  what
//! 0       164   the lineage (`countersign-release`, `lineage`)
//! 164     48    the state key under AES-256-GCM: 32 bytes and the tag
//! ```
//! The nonce is zero: the key that wraps follows from the head, and under each head there is one state key to wrap. The
//! authenticated data is the lineage's bytes.

use crate::HsmError;
use crate::fuses::{Fuses, KEY_BYTES};
use crate::nvram::{LINEAGE_SLOT_BYTES, Slots};
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use countersign_release::Release;
use countersign_release::lineage::{LINEAGE_BYTES, Lineage, Member};
use std::path::Path;
use zeroize::Zeroizing;

const TAG_BYTES: usize = 16;
const NONCE_BYTES: usize = 12;

/// Length of what a slot holds.
pub const KEPT_BYTES: usize = LINEAGE_BYTES + KEY_BYTES + TAG_BYTES;

/// The lineage of one HSM, in its NVRAM.
#[derive(Debug)]
pub struct Kept {
    slots: Slots,
    lineage: Lineage,
}

/// What carries the state on. Holding one proves that the image which runs is the current one.
pub struct StateKey(Zeroizing<[u8; KEY_BYTES]>);

impl StateKey {
    /// The key.
    pub fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl core::fmt::Debug for StateKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("StateKey(redacted)")
    }
}

/// Makes the NVRAM of an HSM that is initialised with this image.
pub fn create(path: &Path, fuses: &Fuses, first: &Release) -> Result<(), HsmError> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    getrandom::fill(key.as_mut_slice()).map_err(HsmError::io("make the state key"))?;
    let kept = encode(fuses, &Lineage::begin(first), &StateKey(key))?;
    Slots::create(path, LINEAGE_SLOT_BYTES, &kept)
}

impl Kept {
    /// Opens it, and finishes an upgrade that was interrupted. The root must be the one in the fuses.
    pub fn open(path: &Path, fuses: &Fuses) -> Result<Self, HsmError> {
        let mut slots = Slots::open(path, LINEAGE_SLOT_BYTES)?;
        let lineage = match decode(slots.content()) {
            Some((lineage, _)) if lineage.root().measurement == fuses.first_image => lineage,
            _ => {
                let refused = format!("{} does not hold this HSM's lineage", path.display());
                return Err(HsmError::StoreRefused(refused));
            }
        };
        slots.settle().map_err(|error| {
            HsmError::StoreRefused(format!(
                "the older slot of {} may still open to an older image and cannot be written: {error}; mend the disk and \
                 start again",
                path.display()
            ))
        })?;
        Ok(Self { slots, lineage })
    }

    /// The lineage.
    pub fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// The state key, for the image that the firmware measured.
    pub fn state_key(&self, fuses: &Fuses, measured: &Release) -> Result<StateKey, HsmError> {
        self.lineage.runs(measured).map_err(HsmError::Refused)?;
        self.open_for(fuses, measured.into())
    }

    /// Whether that image is the current one plays no part here: it is in the key.
    fn open_for(&self, fuses: &Fuses, measured: Member) -> Result<StateKey, HsmError> {
        let refused = || HsmError::StoreRefused("the state key does not open to this image".into());
        let (lineage, wrapped) = decode(self.slots.content()).ok_or_else(refused)?;
        let aad = lineage.to_bytes();
        let cipher = cipher(fuses, &lineage, measured);
        let payload = Payload { msg: wrapped, aad: &aad };
        let key = cipher.decrypt(&Nonce::from([0; NONCE_BYTES]), payload).map(Zeroizing::new);
        let key = key.map_err(|_| refused())?;
        let key: [u8; KEY_BYTES] = key.as_slice().try_into().map_err(|_| refused())?;
        Ok(StateKey(Zeroizing::new(key)))
    }

    /// Moves the state to the image that `next` ends with. Durable when it returns; after an error, the old image has the
    /// state or the new one, and opening it anew tells which.
    pub fn move_to(&mut self, fuses: &Fuses, next: Lineage) -> Result<(), HsmError> {
        let key = self.open_for(fuses, self.lineage.current())?;
        let kept = encode(fuses, &next, &key)?;
        // The first write decides. The second leaves nothing in NVRAM that would still open to the old image.
        self.slots.write(&kept).and_then(|()| self.slots.settle()).map_err(HsmError::io(
            "write the lineage to NVRAM; the old image has the state or the new one, and the same upgrade once more finishes it",
        ))?;
        self.lineage = next;
        Ok(())
    }
}

fn cipher(fuses: &Fuses, lineage: &Lineage, measured: Member) -> Aes256Gcm {
    let key = fuses.lineage_key(&lineage.head_with(measured));
    Aes256Gcm::new_from_slice(key.as_slice()).expect("the key has 32 bytes")
}

fn encode(fuses: &Fuses, lineage: &Lineage, key: &StateKey) -> Result<Vec<u8>, HsmError> {
    let aad = lineage.to_bytes();
    let payload = Payload { msg: key.expose().as_slice(), aad: &aad };
    let wrapped = cipher(fuses, lineage, lineage.current())
        .encrypt(&Nonce::from([0; NONCE_BYTES]), payload)
        .map_err(|_| HsmError::Keystore("the state key cannot be wrapped".into()))?;
    Ok([aad.as_slice(), &wrapped].concat())
}

fn decode(content: &[u8]) -> Option<(Lineage, &[u8])> {
    let (lineage, wrapped) = content.split_first_chunk::<LINEAGE_BYTES>()?;
    (content.len() == KEPT_BYTES).then_some(())?;
    Some((Lineage::from_bytes(lineage)?, wrapped))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuses::tests::fuses;
    use crate::image::SealedImage;
    use crate::image::tests::packed;
    use countersign_release::{Channel, Measurement, Version};
    use countersign_wire::client::ClockMode;
    use std::path::PathBuf;

    fn release(byte: u8, version: u32) -> Release {
        Release {
            measurement: Measurement::from_bytes([byte; 48]),
            version: Version::new(version, 0, 0),
            channel: Channel::Release,
        }
    }

    /// NVRAM of an HSM whose root is what the test's fuses say.
    fn fresh() -> (tempfile::TempDir, PathBuf, Fuses) {
        let folder = tempfile::tempdir().unwrap();
        let (path, fuses) = (folder.path().join("lineage"), fuses(ClockMode::System));
        create(&path, &fuses, &release(3, 1)).unwrap();
        (folder, path, fuses)
    }

    /// The image that comes after that root, and the lineage with it.
    fn successor(folder: &Path, lineage: &Lineage) -> (Release, Lineage) {
        let file = folder.join("next.image");
        let current = lineage.current();
        std::fs::write(&file, packed(current.version.major + 1, Channel::Release, &[current.measurement]))
            .unwrap();
        let image = SealedImage::load(&file).unwrap();
        (image.release(), lineage.step(&image.release(), image.manifest()).unwrap())
    }

    #[test]
    fn i12_the_state_key_opens_to_the_measured_image_and_to_no_other() {
        let (_folder, path, fuses) = fresh();
        let kept = Kept::open(&path, &fuses).unwrap();
        let key = kept.state_key(&fuses, &release(3, 1)).unwrap();
        assert_eq!(
            Kept::open(&path, &fuses).unwrap().state_key(&fuses, &release(3, 1)).unwrap().expose(),
            key.expose()
        );
        for other in [release(4, 1), release(3, 2), release(4, 2)] {
            assert!(kept.open_for(&fuses, (&other).into()).is_err(), "by derivation, not by comparison");
            assert_eq!(kept.state_key(&fuses, &other).unwrap_err().exit_code(), 3);
        }
        let other_clock = crate::fuses::tests::fuses(ClockMode::Manual);
        assert!(kept.state_key(&other_clock, &release(3, 1)).is_err());
        assert!(!format!("{key:?}").contains(char::is_numeric));
    }

    #[test]
    fn an_upgrade_carries_the_state_key_on_and_shuts_the_old_image_out() {
        let (folder, path, fuses) = fresh();
        let mut kept = Kept::open(&path, &fuses).unwrap();
        let key = kept.state_key(&fuses, &release(3, 1)).unwrap();
        let (next, lineage) = successor(folder.path(), kept.lineage());
        kept.move_to(&fuses, lineage).unwrap();
        for kept in [kept, Kept::open(&path, &fuses).unwrap()] {
            assert_eq!(kept.state_key(&fuses, &next).unwrap().expose(), key.expose());
            assert_eq!(kept.lineage().root().measurement, fuses.first_image);
            let refused = kept.state_key(&fuses, &release(3, 1)).unwrap_err();
            assert!(refused.to_string().contains("versions never fall"), "{refused}");
            assert!(kept.open_for(&fuses, (&release(3, 1)).into()).is_err());
        }
    }

    #[test]
    fn after_an_upgrade_no_slot_opens_to_the_old_image() {
        let (folder, path, fuses) = fresh();
        let mut kept = Kept::open(&path, &fuses).unwrap();
        let (_, lineage) = successor(folder.path(), kept.lineage());
        kept.move_to(&fuses, lineage).unwrap();
        let file = std::fs::read(&path).unwrap();
        for slot in [0, 1] {
            let mut one = file.clone();
            one[(1 - slot) * LINEAGE_SLOT_BYTES..][..LINEAGE_SLOT_BYTES].fill(0);
            std::fs::write(&path, &one).unwrap();
            let kept = Kept::open(&path, &fuses).unwrap();
            assert_eq!(kept.lineage().steps(), 1, "slot {slot}");
            assert!(kept.open_for(&fuses, (&release(3, 1)).into()).is_err(), "slot {slot}");
        }
    }

    /// The lineage that the slot holds, if it is valid.
    fn in_slot(path: &Path, slot: usize) -> Option<Lineage> {
        let file = std::fs::read(path).unwrap();
        let (_, content) = crate::nvram::decode(
            &file[slot * LINEAGE_SLOT_BYTES..][..LINEAGE_SLOT_BYTES],
            LINEAGE_SLOT_BYTES,
        )?;
        Some(decode(content)?.0)
    }

    #[test]
    fn i12_opening_finishes_an_upgrade_that_ended_between_its_writes() {
        let (folder, path, fuses) = fresh();
        let mut kept = Kept::open(&path, &fuses).unwrap();
        let (_, lineage) = successor(folder.path(), kept.lineage());
        let before = std::fs::read(&path).unwrap();
        kept.move_to(&fuses, lineage.clone()).unwrap();
        let after = std::fs::read(&path).unwrap();
        let between = [&after[..LINEAGE_SLOT_BYTES], &before[LINEAGE_SLOT_BYTES..]].concat();
        std::fs::write(&path, between).unwrap();
        assert_eq!(in_slot(&path, 1).unwrap().steps(), 0, "it would open to the old image");
        let reopened = Kept::open(&path, &fuses).unwrap();
        assert_eq!(reopened.lineage(), &lineage);
        assert_eq!([0, 1].map(|slot| in_slot(&path, slot)), [Some(lineage.clone()), Some(lineage)]);
    }

    #[test]
    fn an_upgrade_that_is_torn_at_any_byte_leaves_the_old_image_or_the_new_one() {
        let (folder, path, fuses) = fresh();
        let mut kept = Kept::open(&path, &fuses).unwrap();
        let key = kept.state_key(&fuses, &release(3, 1)).unwrap();
        let (next, lineage) = successor(folder.path(), kept.lineage());
        let before = std::fs::read(&path).unwrap();
        kept.move_to(&fuses, lineage).unwrap();
        let after = std::fs::read(&path).unwrap();
        // Both were valid before, the second newer: the first is written first.
        for torn_at in 0..=2 * LINEAGE_SLOT_BYTES {
            let torn = [&after[..torn_at], &before[torn_at..]].concat();
            std::fs::write(&path, &torn).unwrap();
            let kept = Kept::open(&path, &fuses).unwrap();
            assert_eq!(in_slot(&path, 0), in_slot(&path, 1), "torn at {torn_at}");
            let working: Vec<_> = [release(3, 1), next]
                .iter()
                .filter_map(|image| kept.state_key(&fuses, image).ok())
                .map(|key| *key.expose())
                .collect();
            assert_eq!(working, [*key.expose()], "torn at {torn_at}: one image, and the same key");
        }
    }

    #[test]
    fn refuses_the_lineage_of_another_root_and_whatever_was_edited() {
        let (_folder, path, fuses) = fresh();
        let mut other = crate::fuses::tests::fuses(ClockMode::System);
        other.first_image = Measurement::from_bytes([9; 48]);
        assert_eq!(Kept::open(&path, &other).unwrap_err().exit_code(), 4);
        let content = Kept::open(&path, &fuses).unwrap().slots.content().to_vec();
        for at in 0..content.len() {
            let mut edited = content.clone();
            edited[at] ^= 1;
            let mut slots = Slots::open(&path, LINEAGE_SLOT_BYTES).unwrap();
            slots.write(&edited).unwrap();
            let opened =
                Kept::open(&path, &fuses).and_then(|kept| kept.open_for(&fuses, (&release(3, 1)).into()));
            assert!(opened.is_err(), "byte {at}");
        }
    }
}
