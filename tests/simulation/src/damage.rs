//! What an attacker who owns the disk does to it.

use crate::choices::Choices;
use crate::disk::Disk;

/// A copy of the disk that the attacker took.
#[derive(Clone)]
pub struct Copy {
    log: (u64, Vec<u8>),
    archive: (u64, Vec<u8>),
}

impl Copy {
    /// Takes one.
    pub fn of(disk: &Disk) -> Self {
        Self { log: disk.log.copy(), archive: disk.archive.copy() }
    }
}

/// Every kind of damage, by the name under which it is counted.
pub const KINDS: &[&str] = &[
    "damage: bit flipped",
    "damage: log truncated",
    "damage: whole disk rolled back",
    "damage: log alone rolled back",
    "damage: archive alone rolled back",
    "damage: range put back",
    "damage: entries swapped",
    "damage: records swapped",
    "damage: other hsm",
    "damage: other clock",
    "damage: older version",
    "damage: random bytes",
    "damage: empty",
    "damage: front missing",
    "damage: junk at the end",
    "damage: archive truncated",
    "damage: archive edited",
];

/// Damages the disk in one way; `None` where that way is not open.
pub fn damage(rng: &mut Choices, disk: &mut Disk, copies: &[Copy]) -> Option<&'static str> {
    let kind = KINDS[rng.usize(..KINDS.len())];
    let length = disk.log.bytes_mut().len();
    if length < 100 {
        return None;
    }
    let copy = rng.choice(copies);
    match kind {
        "damage: bit flipped" => disk.log.bytes_mut()[rng.usize(..length)] ^= 1 << rng.u8(..8),
        "damage: log truncated" => disk.log.bytes_mut().truncate(rng.usize(..length)),
        "damage: whole disk rolled back" => {
            let copy = copy?.clone();
            disk.log.replace(copy.log.0, copy.log.1);
            disk.archive.replace(copy.archive.0, copy.archive.1);
        }
        "damage: log alone rolled back" => {
            let (base, bytes) = copy?.log.clone();
            disk.log.replace(base, bytes);
        }
        "damage: archive alone rolled back" => {
            let (base, bytes) = copy?.archive.clone();
            disk.archive.replace(base, bytes);
        }
        "damage: range put back" => put_back(rng, disk, copy?)?,
        "damage: entries swapped" => swap_entries(rng, disk.log.bytes_mut())?,
        "damage: records swapped" => swap_records(rng, disk.log.bytes_mut())?,
        "damage: other hsm" => disk.log.bytes_mut()[24 + rng.usize(..8)] ^= 0x80,
        "damage: other clock" => disk.log.bytes_mut()[32] ^= 1,
        "damage: older version" => disk.log.bytes_mut()[3] = b'1',
        "damage: random bytes" => rng.fill(disk.log.bytes_mut()),
        "damage: empty" => disk.log.bytes_mut().clear(),
        "damage: front missing" => {
            let entries = entries(disk.log.bytes_mut());
            let cut = entries.get(rng.usize(1..entries.len().max(2)))?.start;
            let (base, bytes) = disk.log.copy();
            disk.log.replace(base + cut as u64, bytes[cut..].to_vec());
        }
        "damage: junk at the end" => {
            disk.log.bytes_mut().extend_from_slice(b"CSE2 and something that is no entry");
        }
        "damage: archive truncated" => {
            let length = disk.archive.bytes_mut().len();
            disk.archive.bytes_mut().truncate(rng.usize(..length.max(1)));
        }
        "damage: archive edited" => {
            let bytes = disk.archive.bytes_mut();
            let at = rng.usize(..bytes.len().max(1));
            *bytes.get_mut(at)? ^= 1;
        }
        other => unreachable!("{other} is not in the list"),
    }
    Some(kind)
}

/// A range of the log as it was in the copy.
fn put_back(rng: &mut Choices, disk: &mut Disk, copy: &Copy) -> Option<()> {
    let begin = disk.log.begin().max(copy.log.0);
    let end = disk.log.end().min(copy.log.0 + copy.log.1.len() as u64);
    if begin >= end {
        return None;
    }
    let from = rng.u64(begin..end);
    let to = rng.u64(from..end) + 1;
    let at = |base: u64| usize::try_from(from - base).ok().zip(usize::try_from(to - base).ok());
    let ((a, b), (c, d)) = (at(disk.log.begin())?, at(copy.log.0)?);
    disk.log.bytes_mut()[a..b].copy_from_slice(&copy.log.1[c..d]);
    Some(())
}

type Range = core::ops::Range<usize>;

fn number(bytes: &[u8], at: usize, length: usize) -> Option<usize> {
    bytes
        .get(at..at + length)?
        .iter()
        .try_fold(0usize, |n, byte| n.checked_mul(256)?.checked_add(usize::from(*byte)))
}

/// Where the entries lie (`plugin/src/store/log.rs` has the layout), as far as these bytes are entries.
fn entries(bytes: &[u8]) -> Vec<Range> {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(length) =
        number(bytes, at + 4, 4).filter(|length| *length >= 35 && at + length <= bytes.len())
    {
        found.push(at..at + length);
        at += length;
    }
    found
}

/// Where the sealed bytes of an entry's records lie.
fn sealed(bytes: &[u8], entry: &Range) -> Vec<Range> {
    let (mut found, mut at) = (Vec::new(), entry.start + 35);
    while let Some(length) = number(bytes, at + 33, 4).filter(|length| at + 37 + length <= entry.end) {
        found.push(at + 37..at + 37 + length);
        at += 37 + length;
    }
    found
}

fn swap_entries(rng: &mut Choices, bytes: &mut Vec<u8>) -> Option<()> {
    let entries = entries(bytes);
    if entries.len() < 2 {
        return None;
    }
    let first = rng.usize(..entries.len() - 1);
    let second = rng.usize(first + 1..entries.len());
    let (a, b) = (entries[first].clone(), entries[second].clone());
    let swapped =
        [&bytes[..a.start], &bytes[b.clone()], &bytes[a.end..b.start], &bytes[a], &bytes[b.end..]].concat();
    *bytes = swapped;
    Some(())
}

/// Two records of the same length exchange their sealed bytes.
fn swap_records(rng: &mut Choices, bytes: &mut [u8]) -> Option<()> {
    let entries = entries(bytes);
    let records: Vec<Range> = entries.iter().flat_map(|entry| sealed(bytes, entry)).collect();
    let one = rng.choice(&records)?.clone();
    let twins: Vec<&Range> =
        records.iter().filter(|other| other.len() == one.len() && **other != one).collect();
    let other = (*rng.choice(&twins)?).clone();
    let kept = bytes[one.clone()].to_vec();
    bytes.copy_within(other.clone(), one.start);
    bytes[other].copy_from_slice(&kept);
    Some(())
}
