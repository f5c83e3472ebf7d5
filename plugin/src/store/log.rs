//! The log's bytes. All integers are big-endian.
//!
//! ```text
//! entry
//! offset  size  what
//! 0       4     "CSE2"
//! 4       4     length of the whole entry in bytes
//! 8       8     boot count under which it was written
//! 16      8     sequence: 1 for the first entry, then one more each; in the archive, 1 for its first block
//! 24      8     the first 8 bytes of the HSM's id
//! 32      1     clock mode: 0 system, 1 manual
//! 33      2     number of records
//! 35            the records
//!
//! record
//! 0       1     kind: 1 account, 2 tenant, 3 audit events, 4 tree of an audit log
//! 1       8     tenant fingerprint (0 for audit events)
//! 9       8     account fingerprint (0 unless kind is 1)
//! 17      8     version: of an account, one more with each change; else the sequence of the entry that it was made in
//! 25      8     position: where its nonce stands ([`super::seal`])
//! 33      4     length of the sealed bytes
//! 37      n     sealed bytes: AES-256-GCM ciphertext and 16-byte tag
//! ```
//!
//! Nothing in a record depends on where it lies, so cleaning ([`super::cleaning`]) moves it as it is. HSM id and clock
//! mode only say whose a wrong store is: that it is ours is proved by the chain.
//!
//! The chain: `head(0)` is derived from the sealing key ([`super::seal`]), so a store opens only under the key that it
//! was begun with, and `head(n) = SHA-256("countersign entry v2" ‖ head(n-1) ‖ entry n)`. NVRAM holds the head before the
//! first entry that is kept, the newest head, and where both lie; so every byte between is fixed: nothing can be removed,
//! reordered, edited or rolled back unseen. The archive is such a chain of its own.

use super::RecordId;
use super::seal::{Name, Position};
use countersign_wire::client::ClockMode;
use countersign_wire::hal::APPEND_MAX_BYTES;
use sha2::{Digest, Sha256};

const MAGIC: [u8; 4] = *b"CSE2";
/// What every version's entries begin with, before the version's own character.
const MAGIC_OF_ANY_VERSION: &[u8] = b"CSE";

/// Length of an entry without its records.
pub(crate) const ENTRY_HEADER_BYTES: u32 = 35;
/// Length of a record without its sealed bytes.
pub(crate) const RECORD_HEADER_BYTES: u32 = 37;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Account = 1,
    Tenant = 2,
    Audit = 3,
    Tree = 4,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Account, Self::Tenant, Self::Audit, Self::Tree].into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// Where a record lies within its entry, and where its nonce stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    /// Of the record's first byte.
    pub(crate) offset: u64,
    /// Of the sealed bytes, without the record's header.
    pub(crate) sealed_bytes: u32,
    pub(crate) position: Position,
}

/// Whose log it is: in the clear, for telling an operator what is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) hsm: [u8; 8],
    pub(crate) clock: ClockMode,
}

/// The chain of hashes over all entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    head: [u8; 32],
    length_bytes: u64,
}

impl Chain {
    /// A chain that goes on from here.
    pub fn from(head: [u8; 32], length_bytes: u64) -> Self {
        Self { head, length_bytes }
    }

    /// Takes one more entry in.
    pub fn append(&mut self, entry: &[u8]) {
        let mut hash = Sha256::new();
        hash.update(b"countersign entry v2");
        hash.update(self.head);
        hash.update(entry);
        self.head = hash.finalize().into();
        self.length_bytes += entry.len() as u64;
    }

    /// The newest head.
    pub fn head(&self) -> [u8; 32] {
        self.head
    }

    /// Where the next entry begins.
    pub fn length_bytes(&self) -> u64 {
        self.length_bytes
    }
}

/// Builds one entry.
pub(crate) struct EntryBuilder {
    bytes: Vec<u8>,
    records: u16,
}

impl EntryBuilder {
    pub(crate) fn new(owner: Owner, boot_count: u64, sequence: u64) -> Self {
        let mut bytes = Vec::with_capacity(4096);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&boot_count.to_be_bytes());
        bytes.extend_from_slice(&sequence.to_be_bytes());
        bytes.extend_from_slice(&owner.hsm);
        bytes.push(clock_byte(owner.clock));
        bytes.extend_from_slice(&[0; 2]);
        Self { bytes, records: 0 }
    }

    pub(crate) fn length_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether one more record can be counted.
    pub(crate) fn has_room(&self) -> bool {
        self.records < u16::MAX
    }

    /// Puts a sealed record at the end.
    pub(crate) fn push(&mut self, name: Name, position: Position, sealed: &[u8]) -> Placed {
        let sealed_bytes = u32::try_from(sealed.len()).expect("records are bounded far below 4 GiB");
        let offset = self.bytes.len() as u64;
        self.bytes.push(name.kind as u8);
        self.bytes.extend_from_slice(&name.id.tenant);
        self.bytes.extend_from_slice(&name.id.account);
        self.bytes.extend_from_slice(&name.version.to_be_bytes());
        self.bytes.extend_from_slice(&position.to_bytes());
        self.bytes.extend_from_slice(&sealed_bytes.to_be_bytes());
        self.bytes.extend_from_slice(sealed);
        self.records += 1;
        Placed { offset, sealed_bytes, position }
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).expect("entries are bounded by the largest append");
        self.bytes[4..8].copy_from_slice(&length.to_be_bytes());
        self.bytes[33..35].copy_from_slice(&self.records.to_be_bytes());
        self.bytes
    }
}

pub(crate) fn clock_byte(clock: ClockMode) -> u8 {
    match clock {
        ClockMode::System => 0,
        ClockMode::Manual => 1,
    }
}

/// Why bytes are no entry of this HSM's log, as far as they say so themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// They are no entry at all.
    NotALog,
    /// They are an entry in the form of another version.
    OtherVersion,
    /// Another HSM wrote them.
    OtherHsm,
    /// This HSM wrote them under another clock mode.
    OtherClock,
}

/// Whether the beginning of a log looks like ours. It proves nothing: it only chooses what an operator is told.
pub(crate) fn look_at(beginning: &[u8], owner: Owner) -> Result<(), Foreign> {
    let Some(header) = beginning.first_chunk::<{ ENTRY_HEADER_BYTES as usize }>() else {
        return Err(Foreign::NotALog);
    };
    if !header.starts_with(&MAGIC) {
        let other = header.starts_with(MAGIC_OF_ANY_VERSION) && header[3].is_ascii_digit();
        return Err(if other { Foreign::OtherVersion } else { Foreign::NotALog });
    }
    if header[24..32] != owner.hsm {
        return Err(Foreign::OtherHsm);
    }
    if header[32] != clock_byte(owner.clock) {
        return Err(Foreign::OtherClock);
    }
    Ok(())
}

/// One entry as it was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) sequence: u64,
    pub(crate) records: Vec<(Name, Placed)>,
}

/// The bytes are no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotAnEntry;

/// How long the entry is that begins here, if one does: its own word for it, within the bounds.
pub(crate) fn entry_length(beginning: &[u8]) -> Option<usize> {
    let length = beginning.strip_prefix(&MAGIC)?.first_chunk()?;
    let length = u32::from_be_bytes(*length) as usize;
    (ENTRY_HEADER_BYTES as usize..=APPEND_MAX_BYTES).contains(&length).then_some(length)
}

/// Cuts the first whole entry off. `None`: more bytes are needed. The result is untrusted until the chain over it
/// ended in the head that NVRAM holds.
pub(crate) fn split_first(buffer: &[u8]) -> Result<Option<Entry<'_>>, NotAnEntry> {
    if buffer.len() < ENTRY_HEADER_BYTES as usize {
        return Ok(None);
    }
    let mut reader = Reader { bytes: buffer, at: 0 };
    if reader.array::<4>()? != MAGIC {
        return Err(NotAnEntry);
    }
    let length = u32::from_be_bytes(reader.array()?) as usize;
    if !(ENTRY_HEADER_BYTES as usize..=APPEND_MAX_BYTES).contains(&length) {
        return Err(NotAnEntry);
    }
    let Some(bytes) = buffer.get(..length) else { return Ok(None) };
    let mut reader = Reader { bytes, at: reader.at };
    let _boot_count: [u8; 8] = reader.array()?;
    let sequence = u64::from_be_bytes(reader.array()?);
    let _owner: [u8; 9] = reader.array()?;
    let count = u16::from_be_bytes(reader.array()?);
    let mut records = Vec::with_capacity(usize::from(count).min(length / RECORD_HEADER_BYTES as usize));
    for _ in 0..count {
        let offset = reader.at as u64;
        let (name, position, sealed_bytes) = reader.record_header()?;
        reader.skip(sealed_bytes as usize)?;
        records.push((name, Placed { offset, sealed_bytes, position }));
    }
    if reader.at == bytes.len() { Ok(Some(Entry { bytes, sequence, records })) } else { Err(NotAnEntry) }
}

/// One whole record, as it was read from the disk: what it says of itself, and its sealed bytes.
pub(crate) fn read_record(bytes: &[u8]) -> Result<(Name, Position, &[u8]), NotAnEntry> {
    let mut reader = Reader { bytes, at: 0 };
    let (name, position, sealed_bytes) = reader.record_header()?;
    let sealed = bytes.get(reader.at..).unwrap_or_default();
    if sealed.len() == sealed_bytes as usize { Ok((name, position, sealed)) } else { Err(NotAnEntry) }
}

/// The sealed bytes of a record that lies there in an entry.
pub(crate) fn sealed_at(entry: &[u8], placed: Placed) -> Option<&[u8]> {
    let begin = usize::try_from(placed.offset + u64::from(RECORD_HEADER_BYTES)).ok()?;
    entry.get(begin..)?.get(..placed.sealed_bytes as usize)
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

    fn record_header(&mut self) -> Result<(Name, Position, u32), NotAnEntry> {
        let [kind] = self.array()?;
        let kind = Kind::from_byte(kind).ok_or(NotAnEntry)?;
        let id = RecordId { tenant: self.array()?, account: self.array()? };
        let version = u64::from_be_bytes(self.array()?);
        let position = Position::from_bytes(self.array()?);
        let sealed_bytes = u32::from_be_bytes(self.array()?);
        Ok((Name { kind, id, version }, position, sealed_bytes))
    }

    fn skip(&mut self, length: usize) -> Result<(), NotAnEntry> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len()).ok_or(NotAnEntry)?;
        self.at = end;
        Ok(())
    }
}

const _: () = assert!(RECORD_HEADER_BYTES == 1 + 8 + 8 + 8 + 8 + 4);
const _: () = assert!(ENTRY_HEADER_BYTES == 4 + 4 + 8 + 8 + 8 + 1 + 2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::seal::Sealer;
    use proptest::prelude::*;

    const OWNER: Owner = Owner { hsm: [2; 8], clock: ClockMode::Manual };

    fn entry() -> Vec<u8> {
        let mut sealer = Sealer::new(&[1; 32], [2; 16], 3);
        let mut entry = EntryBuilder::new(OWNER, 3, 1);
        let account = RecordId { tenant: [4; 8], account: [5; 8] };
        let audit = RecordId { tenant: [0; 8], account: [0; 8] };
        for (kind, id, version, plain) in
            [(Kind::Account, account, 7, &b"account"[..]), (Kind::Audit, audit, 1, b"events")]
        {
            let name = Name { kind, id, version };
            let (position, ciphertext) = sealer.seal(name, plain).unwrap();
            entry.push(name, position, &ciphertext);
        }
        entry.finish()
    }

    #[test]
    fn an_entry_comes_out_as_it_went_in() {
        let bytes = entry();
        let mut two = bytes.clone();
        two.extend_from_slice(&bytes);
        let first = split_first(&two).unwrap().unwrap();
        assert_eq!((first.bytes, first.sequence, first.records.len()), (bytes.as_slice(), 1, 2));
        let (name, placed) = first.records[0];
        assert_eq!((name.kind, name.id.account, name.version), (Kind::Account, [5; 8], 7));
        let at = usize::try_from(placed.offset).unwrap();
        let record = &bytes[at..at + RECORD_HEADER_BYTES as usize + placed.sealed_bytes as usize];
        let (again, position, sealed) = read_record(record).unwrap();
        assert_eq!((again, position), (name, placed.position));
        let plain = Sealer::new(&[1; 32], [2; 16], 9).open(name, position, sealed).unwrap();
        assert_eq!(plain.as_slice(), b"account");
        for cut in 0..bytes.len() {
            assert!(matches!(split_first(&bytes[..cut]), Ok(None)), "cut at {cut}");
        }
        for cut in 0..record.len() {
            assert_eq!(read_record(&record[..cut]), Err(NotAnEntry), "cut at {cut}");
        }
    }

    #[test]
    fn a_log_says_whose_it_is() {
        let bytes = entry();
        assert_eq!(look_at(&bytes, OWNER), Ok(()));
        assert_eq!(look_at(&bytes, Owner { hsm: [3; 8], ..OWNER }), Err(Foreign::OtherHsm));
        assert_eq!(look_at(&bytes, Owner { clock: ClockMode::System, ..OWNER }), Err(Foreign::OtherClock));
        let mut older = bytes.clone();
        older[3] = b'1';
        assert_eq!(look_at(&older, OWNER), Err(Foreign::OtherVersion));
        assert_eq!(look_at(&bytes[1..], OWNER), Err(Foreign::NotALog));
        assert_eq!(look_at(&bytes[..10], OWNER), Err(Foreign::NotALog));
    }

    #[test]
    fn every_entry_moves_the_head() {
        let mut one = Chain::from([1; 32], 0);
        let mut other = Chain::from([1; 32], 0);
        one.append(b"ab");
        other.append(b"a");
        other.append(b"b");
        assert_ne!(one.head(), other.head());
        assert_eq!(one.length_bytes(), other.length_bytes());
    }

    proptest! {
        #[test]
        fn i14_no_bytes_of_the_store_can_panic_the_reader(bytes: Vec<u8>, at: usize, value: u8) {
            let _ = (split_first(&bytes), read_record(&bytes), look_at(&bytes, OWNER));
            let mut edited = entry();
            let at = at % edited.len();
            edited[at] = value;
            let _ = split_first(&edited);
        }
    }
}
