//! NVRAM: at most 4 KiB that the boundary trusts, in files of two slots each.
//!
//! One slot, big-endian:
//! ```text
//! offset      size  what
//! 0           8     sequence: 1 for the first write, one more for each further one
//! 8           4     length of the content in bytes
//! 12          4     zero
//! 16          n     content, zeros behind it
//! slot - 32   32    SHA-256 of everything before it in the slot
//! ```
//! A write goes to the slot with the older sequence and is synced before it counts, so that a torn write leaves
//! the newer slot as it was. Slots begin on sectors of 512 bytes, except those of the manual clock, which exists for tests and
//! development alone. Opening takes the valid slot with the highest sequence, and refuses when there is none. What must not
//! be found again in the older slot is written there, too: [`Slots::settle`].

use crate::{HsmError, durable};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

const HEADER_BYTES: usize = 16;
const CHECKSUM_BYTES: usize = 32;
const SECTOR_BYTES: usize = 512;

/// Length of one slot of the plugin's NVRAM.
pub const STATE_SLOT_BYTES: usize = 2 * SECTOR_BYTES;

/// Length of one slot of the lineage.
pub const LINEAGE_SLOT_BYTES: usize = SECTOR_BYTES;

/// Length of one slot of the manual clock.
pub const CLOCK_SLOT_BYTES: usize = SECTOR_BYTES / 2;

/// What changes of the HSM's NVRAM: all files together.
pub const SLOTS_BYTES: usize = 2 * (STATE_SLOT_BYTES + LINEAGE_SLOT_BYTES + CLOCK_SLOT_BYTES);

/// The most that the fuses take.
pub const FUSES_MAX_BYTES: usize = 512;

const _: () = assert!(SLOTS_BYTES + FUSES_MAX_BYTES <= 4096, "the boundary has 4 KiB of NVRAM");
const _: () = assert!(crate::fuses::FUSES_BYTES <= FUSES_MAX_BYTES, "the fuses fit what is left");
const _: () = assert!(
    HEADER_BYTES + crate::lineage::KEPT_BYTES + CHECKSUM_BYTES <= LINEAGE_SLOT_BYTES,
    "a lineage and its key fit their slot"
);
const _: () = assert!(
    HEADER_BYTES + countersign_wire::hal::NVRAM_MAX_BYTES + CHECKSUM_BYTES <= STATE_SLOT_BYTES,
    "what the plugin may keep fits its slot"
);

/// Two slots in one file.
#[derive(Debug)]
pub struct Slots {
    file: File,
    slot_bytes: usize,
    sequence: u64,
    newest: usize,
    content: Vec<u8>,
    /// Both slots are valid and hold the same.
    settled: bool,
}

impl Slots {
    /// Makes the file with both slots valid and holding `content`.
    pub fn create(path: &Path, slot_bytes: usize, content: &[u8]) -> Result<(), HsmError> {
        let mut both = encode(slot_bytes, 1, content);
        both.extend_from_slice(&encode(slot_bytes, 2, content));
        durable::create_file(path, &both).map(drop)
    }

    /// Opens the file and takes the newest valid slot.
    pub fn open(path: &Path, slot_bytes: usize) -> Result<Self, HsmError> {
        let unreadable = || HsmError::io(format!("read the NVRAM in {}", path.display()));
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(unreadable())?;
        let bytes = std::fs::read(path).map_err(unreadable())?;
        let valid =
            |(index, slot)| decode(slot, slot_bytes).map(|(sequence, content)| (sequence, index, content));
        let slots: Vec<_> = bytes.chunks(slot_bytes).take(2).enumerate().filter_map(valid).collect();
        match slots.iter().max_by_key(|(sequence, ..)| *sequence) {
            Some((sequence, newest, content)) if bytes.len() == 2 * slot_bytes => Ok(Self {
                file,
                slot_bytes,
                sequence: *sequence,
                newest: *newest,
                content: content.to_vec(),
                settled: slots.len() == 2 && slots.iter().all(|(.., other)| other == content),
            }),
            _ => Err(HsmError::StoreRefused(format!(
                "the NVRAM in {} holds no valid slot, so what the HSM last knew is lost; it does not start",
                path.display()
            ))),
        }
    }

    /// What the newest valid slot holds.
    pub fn content(&self) -> &[u8] {
        &self.content
    }

    /// Writes the other slot and syncs it. After an error nothing is known of the file until it is opened again.
    pub fn write(&mut self, content: &[u8]) -> std::io::Result<()> {
        let (sequence, slot) = (self.sequence + 1, 1 - self.newest);
        let bytes = encode(self.slot_bytes, sequence, content);
        self.file.write_all_at(&bytes, (slot * self.slot_bytes) as u64)?;
        self.file.sync_data()?;
        (self.sequence, self.newest) = (sequence, slot);
        self.settled = self.content == content;
        self.content.clear();
        self.content.extend_from_slice(content);
        Ok(())
    }

    /// Leaves nothing in the older slot but what the newest holds: writes it, unless it holds just that. After an error, as
    /// after one of [`Self::write`].
    pub fn settle(&mut self) -> std::io::Result<()> {
        if self.settled {
            return Ok(());
        }
        let content = self.content.clone();
        self.write(&content)
    }
}

pub(crate) fn encode(slot_bytes: usize, sequence: u64, content: &[u8]) -> Vec<u8> {
    assert!(HEADER_BYTES + content.len() + CHECKSUM_BYTES <= slot_bytes, "callers check the length first");
    let length = u32::try_from(content.len()).expect("a slot is far smaller than 4 GiB");
    let mut slot = Vec::with_capacity(2 * slot_bytes);
    slot.extend_from_slice(&sequence.to_be_bytes());
    slot.extend_from_slice(&length.to_be_bytes());
    slot.resize(HEADER_BYTES, 0);
    slot.extend_from_slice(content);
    slot.resize(slot_bytes - CHECKSUM_BYTES, 0);
    let checksum = Sha256::digest(&slot);
    slot.extend_from_slice(&checksum);
    slot
}

/// Takes a slot in its one encoding alone.
pub(crate) fn decode(slot: &[u8], slot_bytes: usize) -> Option<(u64, &[u8])> {
    if slot.len() != slot_bytes {
        return None;
    }
    let (body, _checksum) = slot.split_at(slot_bytes - CHECKSUM_BYTES);
    let sequence = u64::from_be_bytes(*body.first_chunk()?);
    let length = u32::from_be_bytes(*body[8..].first_chunk()?);
    let content = body[HEADER_BYTES..].get(..usize::try_from(length).ok()?)?;
    (encode(slot_bytes, sequence, content) == slot).then_some((sequence, content))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SLOT: usize = LINEAGE_SLOT_BYTES;

    fn fresh(content: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        Slots::create(&path, SLOT, content).unwrap();
        (folder, path)
    }

    #[test]
    fn a_write_torn_at_any_byte_leaves_the_old_or_the_new_content() {
        let (_folder, path) = fresh(b"zero");
        let mut slots = Slots::open(&path, SLOT).unwrap();
        slots.write(b"one").unwrap();
        let before = std::fs::read(&path).unwrap();
        slots.write(b"two").unwrap();
        let after = std::fs::read(&path).unwrap();
        let at = (0..before.len()).find(|&i| before[i] != after[i]).unwrap() / SLOT * SLOT;
        for torn_at in 0..=SLOT {
            let mut torn = before.clone();
            torn[at..at + torn_at].copy_from_slice(&after[at..at + torn_at]);
            std::fs::write(&path, &torn).unwrap();
            let mut reopened = Slots::open(&path, SLOT).unwrap();
            let expected: &[u8] = if torn == after { b"two" } else { b"one" };
            assert_eq!(reopened.content(), expected, "torn at {torn_at}");
            reopened.write(b"three").unwrap();
            assert_eq!(Slots::open(&path, SLOT).unwrap().content(), b"three", "torn at {torn_at}");
        }
    }

    #[test]
    fn refuses_to_open_without_a_valid_slot() {
        let (_folder, path) = fresh(b"zero");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[20] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(Slots::open(&path, SLOT).unwrap().content(), b"zero", "one slot is enough");
        bytes[SLOT + 20] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let refused = Slots::open(&path, SLOT).unwrap_err();
        assert_eq!(refused.exit_code(), 4, "{refused}");
        std::fs::write(&path, b"").unwrap();
        assert!(Slots::open(&path, SLOT).is_err());
    }

    #[test]
    fn settled_slots_hold_the_same_and_are_not_written_again() {
        let (_folder, path) = fresh(b"zero");
        let held = || {
            let bytes = std::fs::read(&path).unwrap();
            [0, 1]
                .map(|slot| decode(&bytes[slot * SLOT..][..SLOT], SLOT).map(|(_, content)| content.to_vec()))
        };
        Slots::open(&path, SLOT).unwrap().write(b"one").unwrap();
        assert_eq!(held(), [Some(b"one".to_vec()), Some(b"zero".to_vec())]);
        Slots::open(&path, SLOT).unwrap().settle().unwrap();
        assert_eq!(held(), [Some(b"one".to_vec()), Some(b"one".to_vec())]);
        let settled = std::fs::read(&path).unwrap();
        Slots::open(&path, SLOT).unwrap().settle().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), settled, "there was nothing to do");
        let mut torn = settled;
        torn[20] ^= 1;
        std::fs::write(&path, &torn).unwrap();
        Slots::open(&path, SLOT).unwrap().settle().unwrap();
        assert_eq!(held(), [Some(b"one".to_vec()), Some(b"one".to_vec())], "a slot that was torn");
    }

    #[test]
    fn refuses_a_slot_that_is_not_in_its_one_encoding() {
        let good = encode(SLOT, 7, b"content");
        assert_eq!(decode(&good, SLOT), Some((7, &b"content"[..])));
        // A byte that must be zero: in the header, right behind the content, and at the end.
        for at in [12, HEADER_BYTES + 7, SLOT - CHECKSUM_BYTES - 1] {
            let mut bad = good.clone();
            bad[at] = 1;
            let checksum = Sha256::digest(&bad[..SLOT - CHECKSUM_BYTES]);
            bad[SLOT - CHECKSUM_BYTES..].copy_from_slice(&checksum);
            assert_eq!(decode(&bad, SLOT), None, "byte {at}");
        }
    }

    #[test]
    fn a_failed_write_is_reported_and_changes_nothing_that_is_read() {
        let (_folder, path) = fresh(b"zero");
        let mut slots = Slots::open(&path, SLOT).unwrap();
        slots.file = File::open(&path).unwrap();
        assert!(slots.write(b"one").is_err());
        assert_eq!(slots.content(), b"zero");
    }

    proptest! {
        #[test]
        fn the_last_synced_write_is_what_opens(writes in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..400), 0..8)) {
            let (_folder, path) = fresh(b"");
            let mut slots = Slots::open(&path, SLOT).unwrap();
            for content in &writes {
                slots.write(content).unwrap();
            }
            let last = writes.last().map_or(&b""[..], Vec::as_slice);
            let reopened = Slots::open(&path, SLOT).unwrap();
            prop_assert_eq!(reopened.content(), last);
        }

        #[test]
        fn no_changed_bit_is_believed(bit in 0..SLOT * 8) {
            let slot = encode(SLOT, 7, b"content");
            let mut changed = slot.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode(&slot, SLOT).is_some());
            prop_assert!(decode(&changed, SLOT).is_none());
        }
    }
}
