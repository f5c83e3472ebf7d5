//! The log's bytes. All integers are big-endian.
//!
//! ```text
//! entry
//! offset  size  what
//! 0       4     "CSE1"
//! 4       4     length of the whole entry in bytes
//! 8       8     boot count under which it was sealed (the epoch)
//! 16      8     sequence: 1 for the first entry, then one more each
//! 24      2     number of records
//! 26            the records
//!
//! record
//! 0       1     kind: 1 account, 2 tenant, 3 audit events
//! 1       8     tenant fingerprint (0 for audit events)
//! 9       8     account fingerprint (0 unless kind is 1)
//! 17      8     version: of an account, one more with each change; else the entry's sequence
//! 25      8     counter: the record's nonce within the epoch
//! 33      4     length of the sealed bytes
//! 37      n     sealed bytes: AES-256-GCM ciphertext and 16-byte tag
//! ```
//!
//! The chain: `head(0)` is derived from the sealing key ([`super::seal`]), so a store opens only under the key that it
//! was begun with, and
//! `head(n) = SHA-256("countersign entry v1" ‖ head(n-1) ‖ entry n)`. NVRAM holds the newest head and the length of the
//! log, so every byte up to there is fixed: nothing can be removed, reordered, edited or rolled back unseen.

use super::RecordId;
use super::seal::{Name, Position, Sealer};
use countersign_wire::hal::APPEND_MAX_BYTES;
use sha2::{Digest, Sha256};

const MAGIC: [u8; 4] = *b"CSE1";
const ENTRY_HEADER_BYTES: usize = 26;
const RECORD_HEADER_BYTES: usize = 37;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Account = 1,
    Tenant = 2,
    Audit = 3,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Account, Self::Tenant, Self::Audit].into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// Where a record's sealed bytes lie within its entry, and where its nonce stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) offset: u64,
    pub(crate) length_bytes: u32,
    pub(crate) position: Position,
}

/// The chain of hashes over all entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    head: [u8; 32],
    length_bytes: u64,
}

impl Chain {
    /// The chain of an empty log.
    pub fn start(first_head: [u8; 32]) -> Self {
        Self { head: first_head, length_bytes: 0 }
    }

    /// Takes one more entry in.
    pub fn append(&mut self, entry: &[u8]) {
        let mut hash = Sha256::new();
        hash.update(b"countersign entry v1");
        hash.update(self.head);
        hash.update(entry);
        self.head = hash.finalize().into();
        self.length_bytes += entry.len() as u64;
    }

    /// The newest head.
    pub fn head(&self) -> [u8; 32] {
        self.head
    }

    /// How long the log is.
    pub fn length_bytes(&self) -> u64 {
        self.length_bytes
    }
}

/// Builds one entry.
pub(crate) struct EntryBuilder {
    bytes: Vec<u8>,
    epoch: u64,
    records: u16,
}

impl EntryBuilder {
    pub(crate) fn new(epoch: u64, sequence: u64) -> Self {
        let mut bytes = Vec::with_capacity(4096);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&epoch.to_be_bytes());
        bytes.extend_from_slice(&sequence.to_be_bytes());
        bytes.extend_from_slice(&[0; 2]);
        Self { bytes, epoch, records: 0 }
    }

    pub(crate) fn length_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Seals a record and puts it at the end.
    pub(crate) fn push(&mut self, name: Name, sealer: &mut Sealer, plain: &[u8]) -> Placed {
        let (position, ciphertext) = sealer.seal(name, plain);
        debug_assert_eq!(position.epoch, self.epoch, "an entry is sealed under the boot that writes it");
        let length_bytes = u32::try_from(ciphertext.len()).expect("records are bounded far below 4 GiB");
        self.bytes.push(name.kind as u8);
        self.bytes.extend_from_slice(&name.id.tenant);
        self.bytes.extend_from_slice(&name.id.account);
        self.bytes.extend_from_slice(&name.version.to_be_bytes());
        self.bytes.extend_from_slice(&position.counter.to_be_bytes());
        self.bytes.extend_from_slice(&length_bytes.to_be_bytes());
        let offset = self.bytes.len() as u64;
        self.bytes.extend_from_slice(&ciphertext);
        self.records += 1;
        Placed { offset, length_bytes, position }
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).expect("entries are bounded by the largest append");
        self.bytes[4..8].copy_from_slice(&length.to_be_bytes());
        self.bytes[24..26].copy_from_slice(&self.records.to_be_bytes());
        self.bytes
    }
}

/// One entry as it was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) records: Vec<(Name, Placed)>,
}

/// The bytes are no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotAnEntry;

/// Cuts the first whole entry off. `None`: more bytes are needed. The result is untrusted until the chain over it
/// ended in the head that NVRAM holds.
pub(crate) fn split_first(buffer: &[u8]) -> Result<Option<Entry<'_>>, NotAnEntry> {
    if buffer.len() < ENTRY_HEADER_BYTES {
        return Ok(None);
    }
    let mut reader = Reader { bytes: buffer, at: 0 };
    if reader.array::<4>()? != MAGIC {
        return Err(NotAnEntry);
    }
    let length = u32::from_be_bytes(reader.array()?) as usize;
    if !(ENTRY_HEADER_BYTES..=APPEND_MAX_BYTES).contains(&length) {
        return Err(NotAnEntry);
    }
    let Some(bytes) = buffer.get(..length) else { return Ok(None) };
    let mut reader = Reader { bytes, at: reader.at };
    let epoch = u64::from_be_bytes(reader.array()?);
    let _sequence: [u8; 8] = reader.array()?;
    let count = u16::from_be_bytes(reader.array()?);
    let mut records = Vec::new();
    for _ in 0..count {
        let [kind] = reader.array()?;
        let kind = Kind::from_byte(kind).ok_or(NotAnEntry)?;
        let id = RecordId { tenant: reader.array()?, account: reader.array()? };
        let version = u64::from_be_bytes(reader.array()?);
        let counter = u64::from_be_bytes(reader.array()?);
        let length_bytes = u32::from_be_bytes(reader.array()?);
        let offset = reader.at as u64;
        reader.skip(length_bytes as usize)?;
        let position = Position { epoch, counter };
        records.push((Name { kind, id, version }, Placed { offset, length_bytes, position }));
    }
    if reader.at == bytes.len() { Ok(Some(Entry { bytes, records })) } else { Err(NotAnEntry) }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], NotAnEntry> {
        let end = self.at + N;
        let array = self.bytes.get(self.at..end).and_then(|bytes| bytes.try_into().ok()).ok_or(NotAnEntry)?;
        self.at = end;
        Ok(array)
    }

    fn skip(&mut self, length: usize) -> Result<(), NotAnEntry> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len()).ok_or(NotAnEntry)?;
        self.at = end;
        Ok(())
    }
}

const _: () = assert!(RECORD_HEADER_BYTES == 1 + 8 + 8 + 8 + 8 + 4);
const _: () = assert!(ENTRY_HEADER_BYTES == 4 + 4 + 8 + 8 + 2);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry() -> Vec<u8> {
        let mut sealer = Sealer::new(&[1; 32], [2; 16], 3);
        let mut entry = EntryBuilder::new(3, 1);
        let id = RecordId { tenant: [4; 8], account: [5; 8] };
        entry.push(Name { kind: Kind::Account, id, version: 7 }, &mut sealer, b"account");
        let id = RecordId { tenant: [0; 8], account: [0; 8] };
        entry.push(Name { kind: Kind::Audit, id, version: 1 }, &mut sealer, b"events");
        entry.finish()
    }

    #[test]
    fn an_entry_comes_out_as_it_went_in() {
        let bytes = entry();
        let mut two = bytes.clone();
        two.extend_from_slice(&bytes);
        let first = split_first(&two).unwrap().unwrap();
        assert_eq!(first.bytes, bytes);
        assert_eq!(first.records.len(), 2);
        let (name, placed) = first.records[0];
        assert_eq!((name.kind, name.id.account, name.version), (Kind::Account, [5; 8], 7));
        let sealed = &bytes[usize::try_from(placed.offset).unwrap()..][..placed.length_bytes as usize];
        let plain = Sealer::new(&[1; 32], [2; 16], 9).open(name, placed.position, sealed).unwrap();
        assert_eq!(plain.as_slice(), b"account");
        for cut in 0..bytes.len() {
            assert!(matches!(split_first(&bytes[..cut]), Ok(None)), "cut at {cut}");
        }
    }

    #[test]
    fn every_entry_moves_the_head() {
        let mut one = Chain::start([1; 32]);
        let mut other = Chain::start([1; 32]);
        one.append(b"ab");
        other.append(b"a");
        other.append(b"b");
        assert_ne!(one.head(), other.head());
        assert_eq!(one.length_bytes(), other.length_bytes());
    }

    proptest! {
        #[test]
        fn i14_no_bytes_of_the_store_can_panic_the_reader(bytes: Vec<u8>, at: usize, value: u8) {
            let _ = split_first(&bytes);
            let mut edited = entry();
            let at = at % edited.len();
            edited[at] = value;
            let _ = split_first(&edited);
        }
    }
}
