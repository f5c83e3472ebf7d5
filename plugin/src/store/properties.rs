//! What must hold of the bytes of the store and of NVRAM, whoever wrote them. The functions panic when a property is breached,
//! and say whether the bytes were read; tests and fuzzers call them. Never part of an image.

use super::RecordId;
use super::log::{
    Chain, ENTRY_HEADER_BYTES, Entry, EntryBuilder, Foreign, Kind, Owner, RECORD_HEADER_BYTES, look_at,
    read_record, split_first,
};
use super::nvram::{BYTES, Nvram, Seal};
use super::seal::{Name, Sealer};
use super::trail::Reader;
use countersign_wire::client::ClockMode;
use countersign_wire::hal::APPEND_MAX_BYTES;

const SEALING_KEY: [u8; 32] = [1; 32];
const HSM_ID: [u8; 16] = [2; 16];
const OWNER: Owner = Owner { hsm: [2; 8], clock: ClockMode::Manual };

/// The content of NVRAM that is read is written as the same bytes again.
pub fn check_nvram(bytes: &[u8]) -> bool {
    let Ok(nvram) = Nvram::decode(bytes) else { return false };
    assert_eq!(bytes.len(), BYTES);
    assert_eq!(nvram.encode(), bytes);
    true
}

/// The entries at the front of a log: each is within its bounds, made again of its records it is the same bytes, and cut
/// short it is no entry. A lone record says what its entry says of it. What does not open is no content.
pub fn check_log(bytes: &[u8]) -> bool {
    let (mut rest, mut entries) = (bytes, 0);
    while let Ok(Some(entry)) = split_first(rest) {
        check_entry(&entry);
        rest = rest.get(entry.bytes.len()..).expect("an entry is a part of what it was cut off");
        entries += 1;
    }
    let record = read_record(bytes);
    if let Ok((.., sealed)) = record {
        assert_eq!(sealed.len() + RECORD_HEADER_BYTES as usize, bytes.len());
    }
    let is_long = bytes.len() >= ENTRY_HEADER_BYTES as usize;
    assert!(is_long || look_at(bytes, OWNER) == Err(Foreign::NotALog));
    if let Ok((records, length)) = Reader::new(&SEALING_KEY, HSM_ID).entry(bytes) {
        let least = ENTRY_HEADER_BYTES as usize + records.len() * RECORD_HEADER_BYTES as usize;
        assert!((least..=bytes.len()).contains(&length));
    }
    entries > 0 || record.is_ok()
}

fn check_entry(entry: &Entry<'_>) {
    let bytes = entry.bytes;
    assert!((ENTRY_HEADER_BYTES as usize..=APPEND_MAX_BYTES).contains(&bytes.len()));
    for cut in [bytes.len() - 1, bytes.len() / 2] {
        assert!(matches!(split_first(&bytes[..cut]), Ok(None)), "cut at {cut}, more is needed");
    }
    let boot_count = u64::from_be_bytes(bytes[8..16].try_into().expect("eight bytes"));
    let hsm = bytes[24..32].try_into().expect("eight bytes");
    let clock = if bytes[32] == 0 { ClockMode::System } else { ClockMode::Manual };
    let mut again = EntryBuilder::new(Owner { hsm, clock }, boot_count, entry.sequence);
    for (name, placed) in &entry.records {
        let begin = usize::try_from(placed.offset).expect("within the entry");
        let end = begin + RECORD_HEADER_BYTES as usize + placed.sealed_bytes as usize;
        let (alone, position, sealed) = read_record(&bytes[begin..end]).expect("a record of an entry");
        assert_eq!((alone, position), (*name, placed.position));
        assert_eq!(again.push(*name, position, sealed), *placed);
    }
    let mut again = again.finish();
    // Nobody believes the clock mode of an entry; it may hold anything.
    again[32] = bytes[32];
    assert_eq!(again, bytes, "an entry has one encoding");
}

/// A log of two entries, their first record, and the NVRAM of the log, for a fuzzer to begin with.
pub fn stores() -> Vec<Vec<u8>> {
    let mut sealer = Sealer::new(&SEALING_KEY, HSM_ID, 3);
    let account = RecordId { tenant: [4; 8], account: [5; 8] };
    let mut log = Vec::new();
    let mut nvram = Nvram::first(
        Seal { clock: ClockMode::Manual, key_check: sealer.key_check() },
        sealer.first_head(),
        sealer.first_archive_head(),
    );
    let mut chain = Chain::from(sealer.first_head(), 0);
    for sequence in 1..=2 {
        let mut entry = EntryBuilder::new(OWNER, 3, sequence);
        let contents = crate::properties::records();
        let kinds = [(Kind::Account, account), (Kind::Audit, RecordId::AUDIT)];
        for ((kind, id), plain) in kinds.into_iter().zip([&contents[0], &contents[3]]) {
            let name = Name { kind, id, version: sequence };
            let (position, text) = sealer.seal(name, plain).expect("a few records");
            entry.push(name, position, &text);
        }
        let entry = entry.finish();
        chain.append(&entry);
        log.extend_from_slice(&entry);
    }
    nvram.head = chain;
    let entry = split_first(&log).ok().flatten().expect("an entry");
    let length = (RECORD_HEADER_BYTES + entry.records[0].1.sealed_bytes) as usize;
    let record = log[ENTRY_HEADER_BYTES as usize..][..length].to_vec();
    let empty = EntryBuilder::new(OWNER, 1, 1).finish();
    vec![nvram.encode(), record, empty, log]
}
