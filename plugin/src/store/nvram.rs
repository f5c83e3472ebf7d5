//! What the plugin keeps in NVRAM. All integers are big-endian.
//!
//! ```text
//! offset  size  what
//! 0       4     "CSN1"
//! 4       8     boot count: raised before the first append of a boot
//! 12      8     sequence of the newest entry; 0 for an empty log
//! 20      32    head of the log
//! 52      8     length of the log in bytes
//! 60      8     time floor: the latest unix time seen, seconds
//! 68      8     elapsed time: seconds that the HSM has been running over its whole life
//! ```
//!
//! The firmware adds the slot's own sequence number and checksum around this, and keeps the two newest.

use countersign_wire::hal::NVRAM_MAX_BYTES;

const MAGIC: [u8; 4] = *b"CSN1";

/// Length in bytes.
pub const BYTES: usize = 76;

const _: () = assert!(BYTES <= NVRAM_MAX_BYTES, "the worst case fits a slot");

/// The content of NVRAM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nvram {
    /// How often the plugin was started.
    pub boot_count: u64,
    /// The newest entry's number.
    pub sequence: u64,
    /// The newest head.
    pub head: [u8; 32],
    /// The log's length.
    pub log_bytes: u64,
    /// The latest unix time seen.
    pub unix_floor_secs: u64,
    /// Running time over the whole life.
    pub elapsed_secs: u64,
}

impl Nvram {
    /// Before the very first boot.
    pub fn first(first_head: [u8; 32]) -> Self {
        Self {
            boot_count: 0,
            sequence: 0,
            head: first_head,
            log_bytes: 0,
            unix_floor_secs: 0,
            elapsed_secs: 0,
        }
    }

    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.boot_count.to_be_bytes());
        bytes.extend_from_slice(&self.sequence.to_be_bytes());
        bytes.extend_from_slice(&self.head);
        for value in [self.log_bytes, self.unix_floor_secs, self.elapsed_secs] {
            bytes.extend_from_slice(&value.to_be_bytes());
        }
        bytes
    }

    /// From exactly the bytes that [`Self::encode`] makes.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; BYTES] = bytes.try_into().ok()?;
        let u64_at = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes);
        if !bytes.starts_with(&MAGIC) {
            return None;
        }
        Some(Self {
            boot_count: u64_at(4)?,
            sequence: u64_at(12)?,
            head: bytes.get(20..52)?.try_into().ok()?,
            log_bytes: u64_at(52)?,
            unix_floor_secs: u64_at(60)?,
            elapsed_secs: u64_at(68)?,
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
            head: [3; 32],
            log_bytes: 4,
            unix_floor_secs: u64::MAX,
            elapsed_secs: 6,
        };
        let bytes = nvram.encode();
        assert_eq!(bytes.len(), BYTES);
        assert_eq!(Nvram::decode(&bytes), Some(nvram));
        assert_eq!(Nvram::decode(&bytes[1..]), None);
        assert_eq!(Nvram::decode(&[0; BYTES]), None);
    }
}
