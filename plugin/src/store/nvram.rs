//! What the plugin keeps in NVRAM. All integers are big-endian.
//!
//! ```text
//! offset  size  what
//! 0       4     "CSN2"
//! 4       8     boot count: raised before the first append of a boot
//! 12      8     sequence of the newest entry; 0 for an empty log
//! 20      8     tail: where the first entry lies that is kept
//! 28      32    head of the chain before that entry
//! 60      8     end: where the next entry will lie
//! 68      32    newest head of the chain
//! 100     8     length of the archive
//! 108     8     blocks in the archive
//! 116     32    head of the archive's chain
//! 148     8     time floor: the latest unix time seen, seconds
//! 156     8     elapsed time: seconds that the HSM has been running over its whole life
//! 164     1     clock mode: 0 system, 1 manual
//! 165     16    a value derived from the sealing key: whether it still is the same one
//! ```
//!
//! It is this long whatever the store holds. The firmware adds the slot's own sequence number and checksum around this,
//! and keeps the two newest.

use super::log::{Chain, clock_byte};
use countersign_wire::client::ClockMode;
use countersign_wire::hal::NVRAM_MAX_BYTES;

const MAGIC: [u8; 4] = *b"CSN2";
/// What every version's content begins with, before the version's own character.
const MAGIC_OF_ANY_VERSION: &[u8] = b"CSN";

/// Length in bytes.
pub const BYTES: usize = 181;

const _: () = assert!(BYTES <= NVRAM_MAX_BYTES, "the worst case fits a slot");

/// The content of NVRAM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nvram {
    /// How often the plugin was started.
    pub boot_count: u64,
    /// The newest entry's number.
    pub sequence: u64,
    /// The chain before the first entry that is kept.
    pub tail: Chain,
    /// The chain after the newest entry.
    pub head: Chain,
    /// The archive's chain.
    pub archive: Chain,
    /// How many blocks the archive has.
    pub archive_blocks: u64,
    /// The latest unix time seen.
    pub unix_floor_secs: u64,
    /// Running time over the whole life.
    pub elapsed_secs: u64,
    /// Whose sealing key it was.
    pub seal: Seal,
}

/// What the store is bound to besides its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// Where time comes from.
    pub clock: ClockMode,
    /// Derived from the sealing key.
    pub key_check: [u8; 16],
}

/// The bytes are not the content of NVRAM as this version writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Another version wrote it.
    OtherVersion,
    /// Nobody did.
    Garbage,
}

impl Nvram {
    /// Before the very first boot.
    pub fn first(seal: Seal, first_head: [u8; 32], first_archive_head: [u8; 32]) -> Self {
        Self {
            boot_count: 0,
            sequence: 0,
            tail: Chain::from(first_head, 0),
            head: Chain::from(first_head, 0),
            archive: Chain::from(first_archive_head, 0),
            archive_blocks: 0,
            unix_floor_secs: 0,
            elapsed_secs: 0,
            seal,
        }
    }

    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.boot_count.to_be_bytes());
        bytes.extend_from_slice(&self.sequence.to_be_bytes());
        for chain in [&self.tail, &self.head] {
            bytes.extend_from_slice(&chain.length_bytes().to_be_bytes());
            bytes.extend_from_slice(&chain.head());
        }
        bytes.extend_from_slice(&self.archive.length_bytes().to_be_bytes());
        bytes.extend_from_slice(&self.archive_blocks.to_be_bytes());
        bytes.extend_from_slice(&self.archive.head());
        for value in [self.unix_floor_secs, self.elapsed_secs] {
            bytes.extend_from_slice(&value.to_be_bytes());
        }
        bytes.push(clock_byte(self.seal.clock));
        bytes.extend_from_slice(&self.seal.key_check);
        bytes
    }

    /// From exactly the bytes that [`Self::encode`] makes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        if !bytes.starts_with(&MAGIC) {
            let other =
                bytes.starts_with(MAGIC_OF_ANY_VERSION) && bytes.get(3).is_some_and(u8::is_ascii_digit);
            return Err(if other { Unreadable::OtherVersion } else { Unreadable::Garbage });
        }
        let bytes: &[u8; BYTES] = bytes.try_into().map_err(|_| Unreadable::Garbage)?;
        let u64_at = |at: usize| {
            let eight = bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok());
            eight.map(u64::from_be_bytes).ok_or(Unreadable::Garbage)
        };
        let hash_at = |at: usize| {
            let hash: Option<[u8; 32]> = bytes.get(at..at + 32).and_then(|hash| hash.try_into().ok());
            hash.ok_or(Unreadable::Garbage)
        };
        let clock =
            [ClockMode::System, ClockMode::Manual].into_iter().find(|mode| clock_byte(*mode) == bytes[164]);
        let key_check = bytes.last_chunk().copied();
        let (clock, key_check) = clock.zip(key_check).ok_or(Unreadable::Garbage)?;
        Ok(Self {
            boot_count: u64_at(4)?,
            sequence: u64_at(12)?,
            tail: Chain::from(hash_at(28)?, u64_at(20)?),
            head: Chain::from(hash_at(68)?, u64_at(60)?),
            archive: Chain::from(hash_at(116)?, u64_at(100)?),
            archive_blocks: u64_at(108)?,
            unix_floor_secs: u64_at(148)?,
            elapsed_secs: u64_at(156)?,
            seal: Seal { clock, key_check },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_out_as_it_went_in_and_only_whole() {
        let nvram = Nvram {
            boot_count: 1,
            sequence: 2,
            tail: Chain::from([3; 32], 4),
            head: Chain::from([5; 32], 6),
            archive: Chain::from([7; 32], 8),
            archive_blocks: 9,
            unix_floor_secs: u64::MAX,
            elapsed_secs: 10,
            seal: Seal { clock: ClockMode::Manual, key_check: [11; 16] },
        };
        let bytes = nvram.encode();
        assert_eq!(bytes.len(), BYTES);
        assert_eq!(Nvram::decode(&bytes), Ok(nvram));
        let mut third_clock = bytes.clone();
        third_clock[164] = 2;
        assert_eq!(Nvram::decode(&third_clock), Err(Unreadable::Garbage));
        assert_eq!(Nvram::decode(&bytes[1..]), Err(Unreadable::Garbage));
        assert_eq!(Nvram::decode(&bytes[..BYTES - 1]), Err(Unreadable::Garbage));
        assert_eq!(Nvram::decode(&[0; BYTES]), Err(Unreadable::Garbage));
        assert_eq!(Nvram::decode(b"CSN1 of an older version"), Err(Unreadable::OtherVersion));
    }
}
