//! The untrusted disk: the log and the archive as the operating system shows them, what of it would survive a power
//! cut, and a replica of what was written, which only the operator of the simulation has.

use crate::choices::Choices;

/// A segment that has grown to this length is followed by a new one; the front goes away segment by segment.
const SEGMENT_BYTES: u64 = 48 * 1024;

/// Writes tear at these boundaries.
const SECTOR_BYTES: usize = 512;

/// One append-only file, whose front may go away.
#[derive(Clone, Default)]
pub struct File {
    base: u64,
    bytes: Vec<u8>,
    /// Up to here a power cut changes nothing.
    synced: u64,
    replica_base: u64,
    replica: Vec<u8>,
}

fn part(base: u64, bytes: &[u8], begin: u64, end: u64) -> Option<&[u8]> {
    let from = usize::try_from(begin.checked_sub(base)?).ok()?;
    let to = usize::try_from(end.checked_sub(base)?).ok()?;
    bytes.get(from..to)
}

impl File {
    /// The first byte that is there.
    pub fn begin(&self) -> u64 {
        self.base
    }

    /// The first byte that is not there any more.
    pub fn end(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    /// The bytes from `begin` to `end`, if all are there.
    pub fn read(&self, begin: u64, end: u64) -> Option<&[u8]> {
        part(self.base, &self.bytes, begin, end)
    }

    /// What was written there, whatever the disk made of it.
    pub fn written(&self, begin: u64, end: u64) -> Option<&[u8]> {
        part(self.replica_base, &self.replica, begin, end)
    }

    /// Whether the disk holds there what was written.
    pub fn is_as_written(&self, begin: u64, end: u64) -> bool {
        self.read(begin, end).is_some_and(|bytes| self.written(begin, end) == Some(bytes))
    }

    /// Writes at the end. Nothing of it survives a power cut yet.
    pub fn append(&mut self, bytes: &[u8]) {
        self.replica.truncate(usize::try_from(self.end() - self.replica_base).unwrap_or(usize::MAX));
        self.bytes.extend_from_slice(bytes);
        self.replica.extend_from_slice(bytes);
    }

    /// Makes what was written survive.
    pub fn sync(&mut self) {
        self.synced = self.end();
    }

    /// Cuts the end off, and syncs.
    pub fn cut(&mut self, end: u64) {
        self.bytes.truncate(usize::try_from(end.saturating_sub(self.base)).unwrap_or(usize::MAX));
        self.replica.truncate(usize::try_from(end.saturating_sub(self.replica_base)).unwrap_or(usize::MAX));
        self.synced = self.end();
    }

    /// Lets the front go.
    pub fn discard_before(&mut self, begin: u64) {
        let gone = usize::try_from(begin.saturating_sub(self.base)).unwrap_or_default().min(self.bytes.len());
        self.bytes.drain(..gone);
        self.base += gone as u64;
        let gone = usize::try_from(begin.saturating_sub(self.replica_base))
            .unwrap_or_default()
            .min(self.replica.len());
        self.replica.drain(..gone);
        self.replica_base += gone as u64;
        self.synced = self.synced.max(self.base);
    }

    /// The power goes: of what was not synced some sectors reached the disk, some did not. Gives whether it tore.
    pub fn power_cut(&mut self, rng: &mut Choices) -> bool {
        let Some(synced) = self.synced.checked_sub(self.base).and_then(|synced| usize::try_from(synced).ok())
        else {
            return false;
        };
        if synced >= self.bytes.len() {
            return false;
        }
        let end = rng.usize(synced..=self.bytes.len());
        let torn = end > synced && end < self.bytes.len();
        self.bytes.truncate(end);
        if rng.u8(..3) == 0 {
            // The length reached the disk before the content did.
            for sector in self.bytes[synced..].chunks_mut(SECTOR_BYTES).filter(|_| rng.bool()) {
                sector.fill(0);
            }
        }
        self.synced = self.end();
        torn
    }

    /// The operator puts the replica back.
    pub fn restore(&mut self) {
        self.base = self.replica_base;
        self.bytes.clone_from(&self.replica);
        self.synced = self.end();
    }

    /// The bytes as they lie there, for whoever owns the disk.
    pub fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Replaces the whole file, for whoever owns the disk.
    pub fn replace(&mut self, base: u64, bytes: Vec<u8>) {
        (self.base, self.bytes) = (base, bytes);
        self.synced = self.end();
    }

    /// What an attacker copies away.
    pub fn copy(&self) -> (u64, Vec<u8>) {
        (self.base, self.bytes.clone())
    }
}

/// The disk.
#[derive(Clone, Default)]
pub struct Disk {
    /// The log.
    pub log: File,
    /// The archive.
    pub archive: File,
    /// Where the log's segments begin.
    segments: Vec<u64>,
    /// What of the log is not needed any more.
    unneeded_before: u64,
    /// Whether there is no room.
    pub full: bool,
    /// Whether a sync lied since the disk was known to be good.
    pub suspect: bool,
}

impl Disk {
    /// Writes to the log.
    pub fn append(&mut self, bytes: &[u8]) {
        let end = self.log.end();
        if self.segments.last().is_none_or(|begin| end - begin >= SEGMENT_BYTES) {
            self.segments.push(end);
        }
        self.log.append(bytes);
    }

    /// The log before this is not needed.
    pub fn no_need_before(&mut self, offset: u64) {
        self.unneeded_before = self.unneeded_before.max(offset);
    }

    /// Lets the segments go that are not needed. Gives whether there were any.
    pub fn discard(&mut self) -> bool {
        let needed_from = self.unneeded_before;
        let dispensable = self.segments.iter().skip(1).take_while(|next| **next <= needed_from).count();
        if dispensable == 0 {
            return false;
        }
        self.segments.drain(..dispensable);
        self.log.discard_before(self.segments[0]);
        true
    }

    /// Whether a power cut would change nothing.
    pub fn is_synced(&self) -> bool {
        self.log.synced >= self.log.end() && self.archive.synced >= self.archive.end()
    }

    /// Cuts log and archive to these ends.
    pub fn cut(&mut self, log_end: u64, archive_end: u64) {
        self.log.cut(log_end);
        self.archive.cut(archive_end);
        while self.segments.len() > 1 && self.segments.last().is_some_and(|begin| *begin > log_end) {
            self.segments.pop();
        }
    }

    /// The power goes. Gives whether a write tore.
    pub fn power_cut(&mut self, rng: &mut Choices) -> bool {
        let log = self.log.power_cut(rng);
        self.archive.power_cut(rng) || log
    }

    /// The operator puts the good disk back.
    pub fn restore(&mut self) {
        self.log.restore();
        self.archive.restore();
        self.suspect = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_cut_takes_what_was_not_synced_and_the_replica_brings_it_back() {
        let mut disk = Disk::default();
        disk.append(&[1; 600]);
        disk.log.sync();
        disk.append(&[2; 600]);
        for seed in 0..50 {
            let mut cut = disk.clone();
            cut.power_cut(&mut Choices::of_seed(seed));
            assert!(cut.log.end() <= 1200 && cut.log.is_as_written(0, 600));
            cut.restore();
            assert!(cut.log.is_as_written(0, 1200));
        }
    }

    #[test]
    fn the_front_goes_away_segment_by_segment() {
        let mut disk = Disk::default();
        for _ in 0..10 {
            disk.append(&vec![0; 30_000]);
        }
        disk.no_need_before(59_999);
        assert!(!disk.discard());
        disk.no_need_before(60_000);
        assert!(disk.discard());
        assert_eq!((disk.log.begin(), disk.log.end()), (60_000, 300_000));
        assert_eq!(disk.log.read(0, 10), None);
    }
}
