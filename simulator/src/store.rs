//! The store: a log and an archive on the untrusted disk. Their bytes mean nothing to the firmware.
//!
//! ```text
//! store/log-0000000000000000   the log's first segment: the bytes from this offset (hexadecimal) on
//! store/log-0000000001000123   the next one begins where it ends
//! store/archive                what only grows
//! ```
//!
//! An append goes whole into one segment and is synced before it counts; a segment that has grown to
//! [`SEGMENT_BYTES`] is followed by a new one. Discarding the front of the log removes the segments that lie wholly
//! before it.
//!
//! A write that finds no room is undone: the file is cut back to where it was, and nothing has happened. After any
//! other failed write, or a failed sync, nobody knows what the disk holds, and a second sync that succeeds proves
//! nothing; so it poisons the store: every later operation fails until the HSM is started again.

use crate::{HsmError, durable, log};
use countersign_wire::hal::Extent;
use rustix::fs::OFlags;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A segment that has reached this length is full.
pub const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;

const SEGMENT_PREFIX: &str = "log-";
const ARCHIVE: &str = "archive";

/// Why an operation on the store failed.
#[derive(Debug)]
pub enum StoreFault {
    /// The operating system failed, or a file is not as the firmware left it. The store is poisoned.
    Io(io::Error),
    /// The disk has no room. Nothing was changed.
    Full(io::Error),
    /// The disk did not give what was asked for. Nothing was changed.
    Unreadable(io::Error),
    /// An earlier operation failed.
    Poisoned,
    /// The operation does not fit the length of the store; nothing was done.
    OutOfRange,
}

/// The open store. Reads may run beside one writer of the log and one of the archive; the caller sees to it that there
/// is only one of each.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    segment_bytes: u64,
    segments: RwLock<BTreeMap<u64, Arc<Segment>>>,
    archive: RwLock<Segment>,
    poisoned: AtomicBool,
}

/// One file, and how much of it counts.
#[derive(Debug)]
struct Segment {
    file: File,
    length_bytes: AtomicU64,
}

impl Segment {
    fn open(path: &Path) -> io::Result<Self> {
        // The folder is not trusted: what lies there might be the way to another file, one of our own.
        let no_link = i32::try_from(OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits()).unwrap_or_default();
        let file = OpenOptions::new().read(true).write(true).custom_flags(no_link).open(path)?;
        let found = file.metadata()?;
        if !found.is_file() || found.nlink() != 1 {
            return Err(io::Error::other("it is not a file of its own"));
        }
        let length_bytes = found.len().into();
        Ok(Self { file, length_bytes })
    }

    fn length_bytes(&self) -> u64 {
        self.length_bytes.load(Ordering::Acquire)
    }

    /// Appends and syncs. Where there is no room, the file is as it was before.
    fn append(&self, bytes: &[u8]) -> Result<(), StoreFault> {
        let length = self.length_bytes();
        let found = self.file.metadata().map_err(StoreFault::Io)?.len();
        if found != length {
            let changed = format!("a file of it ends at {found} and was left at {length}");
            return Err(StoreFault::Io(io::Error::other(changed)));
        }
        self.file.write_all_at(bytes, length).map_err(|error| {
            if !is_full(&error) {
                return StoreFault::Io(error);
            }
            // Nothing was synced and nothing names these bytes: without them the file is what it was.
            self.file.set_len(length).map_or_else(StoreFault::Io, |()| StoreFault::Full(error))
        })?;
        self.file.sync_data().map_err(StoreFault::Io)?;
        self.length_bytes.store(length + bytes.len() as u64, Ordering::Release);
        Ok(())
    }

    fn cut(&self, length: u64) -> Result<(), StoreFault> {
        self.file.set_len(length).and_then(|()| self.file.sync_all()).map_err(StoreFault::Io)?;
        self.length_bytes.store(length, Ordering::Release);
        Ok(())
    }
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

impl Store {
    /// Makes an empty store in this folder, which exists.
    pub fn create(folder: &Path) -> Result<(), HsmError> {
        durable::create_file(&folder.join(ARCHIVE), b"")?;
        durable::create_file(&segment_path(folder, 0), b"").map(drop)
    }

    /// Opens the store as it lies on the disk.
    pub fn open(folder: &Path) -> Result<Self, HsmError> {
        Self::open_with(folder, SEGMENT_BYTES)
    }

    fn open_with(folder: &Path, segment_bytes: u64) -> Result<Self, HsmError> {
        let refused = |path: &Path, why: &dyn core::fmt::Display| {
            HsmError::StoreRefused(format!("the store cannot be opened: {}: {why}", path.display()))
        };
        let mut segments = BTreeMap::new();
        for entry in std::fs::read_dir(folder).map_err(|error| refused(folder, &error))? {
            let entry = entry.map_err(|error| refused(folder, &error))?;
            if let Some(begin) = segment_begin(&entry.file_name()) {
                let segment = Segment::open(&entry.path()).map_err(|error| refused(&entry.path(), &error))?;
                segments.insert(begin, Arc::new(segment));
            }
        }
        if segments.is_empty() {
            return Err(refused(folder, &"the log has no file"));
        }
        let path = folder.join(ARCHIVE);
        let archive = RwLock::new(Segment::open(&path).map_err(|error| refused(&path, &error))?);
        let folder = folder.to_owned();
        let (segments, poisoned) = (RwLock::new(segments), AtomicBool::new(false));
        Ok(Self { folder, segment_bytes, segments, archive, poisoned })
    }

    /// What of the log is there, in one piece from its first file on.
    pub fn extent(&self) -> Extent {
        let segments = self.segments();
        let Some((begin, _)) = segments.first_key_value() else { return Extent::default() };
        let mut end = *begin;
        for (begin, segment) in &*segments {
            if *begin != end {
                // A file is missing or too short: what lies behind does not connect.
                break;
            }
            end = begin.saturating_add(segment.length_bytes());
        }
        Extent { begin: *begin, end }
    }

    /// Length of the archive in bytes.
    pub fn archive_bytes(&self) -> u64 {
        self.archive.read().expect("nothing panics while it holds the archive").length_bytes()
    }

    /// Whether a failure made the store unusable until the HSM is started again.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// Makes the store unusable until the HSM is started again.
    pub fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
    }

    /// Reads exactly this range of the log.
    pub fn read(&self, offset: u64, length_bytes: u32) -> Result<Vec<u8>, StoreFault> {
        self.usable()?;
        let end = offset.checked_add(u64::from(length_bytes)).ok_or(StoreFault::OutOfRange)?;
        let mut bytes = vec![0; length_bytes as usize];
        let (mut at, mut left) = (offset, bytes.as_mut_slice());
        while at < end {
            let (begin, segment) = self.segment_at(at).ok_or(StoreFault::OutOfRange)?;
            let there = end.min(begin.saturating_add(segment.length_bytes()));
            if there <= at {
                return Err(StoreFault::OutOfRange);
            }
            let part = usize::try_from(there - at).expect("a part of what fits a u32");
            let (now, rest) = left.split_at_mut(part);
            // A failed read says nothing about what is written, so it poisons nothing.
            segment.file.read_exact_at(now, at - begin).map_err(StoreFault::Unreadable)?;
            (at, left) = (there, rest);
        }
        Ok(bytes)
    }

    /// Reads exactly this range of the archive.
    pub fn read_archive(&self, offset: u64, length_bytes: u32) -> Result<Vec<u8>, StoreFault> {
        self.usable()?;
        let archive = self.archive();
        let end = offset.checked_add(u64::from(length_bytes));
        if end.is_none_or(|end| end > archive.length_bytes()) {
            return Err(StoreFault::OutOfRange);
        }
        let mut bytes = vec![0; length_bytes as usize];
        archive.file.read_exact_at(&mut bytes, offset).map_err(StoreFault::Unreadable)?;
        Ok(bytes)
    }

    /// What the file system has room for, in bytes, for whoever this process is.
    pub fn room_bytes(&self) -> io::Result<u64> {
        let found = nix::sys::statvfs::statvfs(&self.folder)?;
        Ok(found.blocks_available().saturating_mul(found.fragment_size()))
    }

    /// Cuts log and archive to these ends, which are not beyond what they have, and syncs them.
    pub fn cut(&self, end: u64, archive_bytes: u64) -> Result<(), StoreFault> {
        self.usable()?;
        let extent = self.extent();
        if end < extent.begin || end > extent.end || archive_bytes > self.archive_bytes() {
            return Err(StoreFault::OutOfRange);
        }
        self.or_poison(self.cut_log(end))?;
        self.or_poison(self.archive().cut(archive_bytes))
    }

    fn cut_log(&self, end: u64) -> Result<(), StoreFault> {
        let mut segments = self.segments_mut();
        // Last to first, so that a crash leaves one piece; the very first file stays.
        while let Some((&begin, _)) = segments.last_key_value().filter(|(begin, _)| **begin >= end)
            && segments.len() > 1
        {
            std::fs::remove_file(segment_path(&self.folder, begin)).map_err(StoreFault::Io)?;
            segments.remove(&begin);
        }
        if let Some((begin, last)) = segments.last_key_value() {
            last.cut(end - begin)?;
        }
        drop(segments);
        durable::sync_folder(&self.folder)
            .map_err(|error| StoreFault::Io(io::Error::other(error.to_string())))
    }

    /// Appends at `offset`, which is where the log ends, and syncs it.
    pub fn append(&self, offset: u64, bytes: &[u8]) -> Result<(), StoreFault> {
        self.usable()?;
        let last = self.segments().last_key_value().map(|(begin, last)| (*begin, Arc::clone(last)));
        let (begin, last) = last.ok_or(StoreFault::OutOfRange)?;
        if begin.checked_add(last.length_bytes()) != Some(offset) {
            return Err(StoreFault::OutOfRange);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let segment = if last.length_bytes() < self.segment_bytes {
            last
        } else {
            self.or_poison(self.add_segment(offset))?
        };
        self.or_poison(segment.append(bytes))
    }

    fn add_segment(&self, begin: u64) -> Result<Arc<Segment>, StoreFault> {
        let path = segment_path(&self.folder, begin);
        let file =
            OpenOptions::new().read(true).write(true).create_new(true).open(&path).map_err(|error| {
                if is_full(&error) { StoreFault::Full(error) } else { StoreFault::Io(error) }
            })?;
        durable::sync_folder(&self.folder)
            .map_err(|error| StoreFault::Io(io::Error::other(error.to_string())))?;
        let segment = Arc::new(Segment { file, length_bytes: 0.into() });
        self.segments_mut().insert(begin, Arc::clone(&segment));
        Ok(segment)
    }

    /// Appends to the archive at `offset`, which is where it ends, and syncs it.
    pub fn append_to_archive(&self, offset: u64, bytes: &[u8]) -> Result<(), StoreFault> {
        self.usable()?;
        if offset != self.archive_bytes() {
            return Err(StoreFault::OutOfRange);
        }
        self.or_poison(self.archive().append(bytes))
    }

    /// Forgets what lies before `offset`, as far as whole files do. What cannot be removed now is removed another time.
    pub fn discard_before(&self, offset: u64) {
        let outdated: Vec<u64> = {
            let segments = self.segments();
            let begins = segments.keys().copied();
            let next = segments.keys().copied().skip(1);
            begins.zip(next).take_while(|(_, next)| *next <= offset).map(|(begin, _)| begin).collect()
        };
        for begin in outdated {
            // First to last, so that a crash leaves one piece.
            if let Err(error) = std::fs::remove_file(segment_path(&self.folder, begin)) {
                log::say(
                    log::Event::StoreFileStays,
                    format_args!("an outdated file of the store cannot be removed: {error}"),
                );
                return;
            }
            self.segments_mut().remove(&begin);
        }
    }

    fn segment_at(&self, offset: u64) -> Option<(u64, Arc<Segment>)> {
        let segments = self.segments();
        segments.range(..=offset).next_back().map(|(begin, segment)| (*begin, Arc::clone(segment)))
    }

    fn segments(&self) -> RwLockReadGuard<'_, BTreeMap<u64, Arc<Segment>>> {
        self.segments.read().expect("nothing panics while it holds the segments")
    }

    fn segments_mut(&self) -> RwLockWriteGuard<'_, BTreeMap<u64, Arc<Segment>>> {
        self.segments.write().expect("nothing panics while it holds the segments")
    }

    fn archive(&self) -> RwLockReadGuard<'_, Segment> {
        self.archive.read().expect("nothing panics while it holds the archive")
    }

    fn usable(&self) -> Result<(), StoreFault> {
        if self.is_poisoned() { Err(StoreFault::Poisoned) } else { Ok(()) }
    }

    fn or_poison<T>(&self, result: Result<T, StoreFault>) -> Result<T, StoreFault> {
        if matches!(result, Err(StoreFault::Io(_))) {
            self.poison();
        }
        result
    }
}

fn segment_path(folder: &Path, begin: u64) -> PathBuf {
    folder.join(format!("{SEGMENT_PREFIX}{begin:016x}"))
}

fn segment_begin(name: &std::ffi::OsStr) -> Option<u64> {
    let digits = name.to_str()?.strip_prefix(SEGMENT_PREFIX)?;
    let is_canonical = digits.len() == 16 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if is_canonical { u64::from_str_radix(digits, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: u64 = 8;

    fn fresh() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        Store::create(folder.path()).unwrap();
        let store = Store::open_with(folder.path(), SEGMENT).unwrap();
        (folder, store)
    }

    fn names(folder: &tempfile::TempDir) -> Vec<String> {
        let entries = std::fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn appends_only_at_the_end_and_reads_only_what_is_there() {
        let (_folder, store) = fresh();
        store.append(0, b"hello").unwrap();
        assert!(matches!(store.append(4, b"x"), Err(StoreFault::OutOfRange)));
        assert!(matches!(store.append(6, b"x"), Err(StoreFault::OutOfRange)));
        store.append(5, b" you").unwrap();
        assert_eq!(store.read(1, 4).unwrap(), b"ello");
        assert!(matches!(store.read(6, 4), Err(StoreFault::OutOfRange)));
        assert!(matches!(store.read(u64::MAX, 4), Err(StoreFault::OutOfRange)));
        assert!(matches!(store.cut(10, 0), Err(StoreFault::OutOfRange)));
        assert!(matches!(store.cut(0, 1), Err(StoreFault::OutOfRange)));
        store.cut(2, 0).unwrap();
        store.append(2, b"y").unwrap();
        assert!(!store.is_poisoned(), "asking for what is not there poisons nothing");
        assert_eq!(store.read(0, 3).unwrap(), b"hey");
    }

    #[test]
    fn a_full_segment_is_followed_by_another_and_reads_go_across() {
        let (folder, store) = fresh();
        for (offset, part) in [(0, "abcde"), (5, "fghij"), (10, "klm"), (13, "nopqrstu"), (21, "v")] {
            store.append(offset, part.as_bytes()).unwrap();
        }
        assert_eq!(
            names(&folder),
            ["archive", "log-0000000000000000", "log-000000000000000a", "log-0000000000000015"]
        );
        assert_eq!(store.read(3, 18).unwrap(), b"defghijklmnopqrstu");
        let reopened = Store::open_with(folder.path(), SEGMENT).unwrap();
        assert_eq!(reopened.extent(), Extent { begin: 0, end: 22 });
        reopened.discard_before(20);
        assert_eq!(reopened.extent(), Extent { begin: 10, end: 22 });
        assert!(matches!(reopened.read(9, 2), Err(StoreFault::OutOfRange)));
        assert_eq!(reopened.read(10, 12).unwrap(), b"klmnopqrstuv");
        reopened.discard_before(22);
        assert_eq!(names(&folder), ["archive", "log-0000000000000015"], "the last one stays");
    }

    #[test]
    fn cutting_removes_what_begins_behind_the_end() {
        let (folder, store) = fresh();
        store.append(0, b"0123456789").unwrap();
        store.append(10, b"abcdefghij").unwrap();
        store.append(20, b"x").unwrap();
        store.cut(10, 0).unwrap();
        assert_eq!(store.extent(), Extent { begin: 0, end: 10 });
        assert_eq!(names(&folder), ["archive", "log-0000000000000000"]);
        store.append(10, b"again").unwrap();
        store.cut(4, 0).unwrap();
        store.append(4, b"!").unwrap();
        assert_eq!(store.read(0, 5).unwrap(), b"0123!");
        store.cut(0, 0).unwrap();
        assert_eq!(store.extent(), Extent { begin: 0, end: 0 });
    }

    #[test]
    fn what_does_not_connect_is_not_there_and_is_cut_away() {
        let (folder, store) = fresh();
        store.append(0, b"0123456789").unwrap();
        store.append(10, b"abcdefghij").unwrap();
        store.append(20, b"x").unwrap();
        drop(store);
        OpenOptions::new().write(true).open(segment_path(folder.path(), 10)).unwrap().set_len(4).unwrap();
        let store = Store::open_with(folder.path(), SEGMENT).unwrap();
        assert_eq!(store.extent(), Extent { begin: 0, end: 14 });
        assert!(matches!(store.append(14, b"y"), Err(StoreFault::OutOfRange)), "cut first");
        store.cut(14, 0).unwrap();
        store.append(14, b"y").unwrap();
        assert_eq!(store.read(0, 15).unwrap(), b"0123456789abcdy");
    }

    #[test]
    fn the_archive_only_grows_and_is_cut() {
        let (folder, store) = fresh();
        store.append_to_archive(0, b"one").unwrap();
        assert!(matches!(store.append_to_archive(0, b"x"), Err(StoreFault::OutOfRange)));
        store.append_to_archive(3, b"two").unwrap();
        store.cut(0, 4).unwrap();
        assert_eq!(store.archive_bytes(), 4);
        assert_eq!(std::fs::read(folder.path().join(ARCHIVE)).unwrap(), b"onet");
    }

    #[test]
    fn a_failed_write_poisons_until_the_next_start() {
        let (folder, store) = fresh();
        store.append(0, b"hello").unwrap();
        let path = segment_path(folder.path(), 0);
        let read_only = Arc::new(Segment { file: File::open(&path).unwrap(), length_bytes: 5.into() });
        store.segments_mut().insert(0, read_only);
        assert!(matches!(store.append(5, b"x"), Err(StoreFault::Io(_))));
        assert!(matches!(store.append(5, b"x"), Err(StoreFault::Poisoned)));
        assert!(matches!(store.read(0, 1), Err(StoreFault::Poisoned)));
        assert!(matches!(store.cut(0, 0), Err(StoreFault::Poisoned)));
        assert!(matches!(store.append_to_archive(0, b"x"), Err(StoreFault::Poisoned)));
        assert_eq!(Store::open(folder.path()).unwrap().read(0, 5).unwrap(), b"hello");
    }

    #[test]
    fn a_store_changed_beneath_the_firmware_is_noticed_before_anything_is_appended() {
        let (folder, store) = fresh();
        store.append(0, b"hello").unwrap();
        let path = segment_path(folder.path(), 0);
        OpenOptions::new().write(true).open(&path).unwrap().set_len(3).unwrap();
        assert!(matches!(store.append(5, b"x"), Err(StoreFault::Io(_))));
        assert!(store.is_poisoned());
        assert_eq!(std::fs::read(path).unwrap(), b"hel");
    }

    #[test]
    fn refuses_to_open_a_store_that_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Store::open(&folder.path().join("store")).unwrap_err().exit_code(), 4);
        assert_eq!(Store::open(folder.path()).unwrap_err().exit_code(), 4);
        Store::create(folder.path()).unwrap();
        std::fs::remove_file(folder.path().join(ARCHIVE)).unwrap();
        assert_eq!(Store::open(folder.path()).unwrap_err().exit_code(), 4);
    }

    #[test]
    fn a_way_to_another_file_is_not_followed() {
        for name in [ARCHIVE, "log-0000000000000000"] {
            for is_hard in [false, true] {
                let (folder, store) = fresh();
                drop(store);
                let (path, other) = (folder.path().join(name), folder.path().join("something else"));
                std::fs::write(&other, b"precious").unwrap();
                std::fs::remove_file(&path).unwrap();
                if is_hard {
                    std::fs::hard_link(&other, &path).unwrap();
                } else {
                    std::os::unix::fs::symlink(&other, &path).unwrap();
                }
                assert_eq!(Store::open(folder.path()).unwrap_err().exit_code(), 4);
                assert_eq!(std::fs::read(&other).unwrap(), b"precious");
            }
        }
    }

    #[test]
    fn only_files_with_a_segments_name_are_segments() {
        for name in [
            "log-1",
            "log-000000000000000G",
            "log-000000000000000A",
            "log",
            "archive",
            "log-0000000000000000.bak",
        ] {
            assert_eq!(segment_begin(name.as_ref()), None, "{name}");
        }
        assert_eq!(segment_begin("log-00000000000000ff".as_ref()), Some(255));
    }
}
