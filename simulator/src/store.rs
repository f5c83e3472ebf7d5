//! The store: one append-only file on the untrusted disk. Its bytes mean nothing to the firmware.
//!
//! After a failed write or sync nobody knows what the disk holds, and a second sync that succeeds proves nothing.
//! So the first failure poisons the store: every later operation fails until the HSM is started again.

use crate::{HsmError, durable};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Why an operation on the store failed.
#[derive(Debug)]
pub enum StoreFault {
    /// The operating system failed, or the file is not as the firmware left it. The store is poisoned.
    Io(io::Error),
    /// An earlier operation failed.
    Poisoned,
    /// The operation does not fit the length of the store; nothing was done.
    OutOfRange,
}

/// The open store. Reads may run beside one writer; the caller sees to it that there is only one.
#[derive(Debug)]
pub struct Store {
    file: File,
    length_bytes: AtomicU64,
    poisoned: AtomicBool,
}

impl Store {
    /// Makes an empty store.
    pub fn create(path: &Path) -> Result<(), HsmError> {
        durable::create_file(path, b"").map(drop)
    }

    /// Opens the store as it lies on the disk.
    pub fn open(path: &Path) -> Result<Self, HsmError> {
        let refused = |error: io::Error| {
            HsmError::StoreRefused(format!("the store {} cannot be opened: {error}", path.display()))
        };
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(refused)?;
        Self::from_file(file).map_err(refused)
    }

    fn from_file(file: File) -> io::Result<Self> {
        let length_bytes = AtomicU64::new(file.metadata()?.len());
        Ok(Self { file, length_bytes, poisoned: AtomicBool::new(false) })
    }

    /// Length in bytes.
    pub fn length_bytes(&self) -> u64 {
        self.length_bytes.load(Ordering::Acquire)
    }

    /// Whether a failure made the store unusable until the HSM is started again.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// Makes the store unusable until the HSM is started again.
    pub fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
    }

    /// Reads exactly this range.
    pub fn read(&self, offset: u64, length_bytes: u32) -> Result<Vec<u8>, StoreFault> {
        self.usable()?;
        let end = offset.checked_add(u64::from(length_bytes)).ok_or(StoreFault::OutOfRange)?;
        if end > self.length_bytes() {
            return Err(StoreFault::OutOfRange);
        }
        let mut bytes = vec![0; length_bytes as usize];
        // A failed read says nothing about what is written, so it poisons nothing.
        self.file.read_exact_at(&mut bytes, offset).map_err(StoreFault::Io)?;
        Ok(bytes)
    }

    /// Cuts the store to this length, which is not more than it has, and syncs it.
    pub fn truncate(&self, length_bytes: u64) -> Result<(), StoreFault> {
        self.usable()?;
        if length_bytes > self.length_bytes() {
            return Err(StoreFault::OutOfRange);
        }
        self.or_poison(self.file.set_len(length_bytes).and_then(|()| self.file.sync_all()))?;
        self.length_bytes.store(length_bytes, Ordering::Release);
        Ok(())
    }

    /// Appends at `offset`, which is where the store ends, and syncs it.
    pub fn append(&self, offset: u64, bytes: &[u8]) -> Result<(), StoreFault> {
        self.usable()?;
        if offset != self.length_bytes() {
            return Err(StoreFault::OutOfRange);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        self.or_poison(self.append_synced(offset, bytes))?;
        self.length_bytes.store(offset + bytes.len() as u64, Ordering::Release);
        Ok(())
    }

    fn append_synced(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let found = self.file.metadata()?.len();
        if found != offset {
            return Err(io::Error::other(format!("the store ends at {found} and was left at {offset}")));
        }
        self.file.write_all_at(bytes, offset)?;
        self.file.sync_data()
    }

    fn usable(&self) -> Result<(), StoreFault> {
        if self.is_poisoned() { Err(StoreFault::Poisoned) } else { Ok(()) }
    }

    fn or_poison(&self, result: io::Result<()>) -> Result<(), StoreFault> {
        result.map_err(|error| {
            self.poison();
            StoreFault::Io(error)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> (tempfile::TempDir, std::path::PathBuf, Store) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        Store::create(&path).unwrap();
        let store = Store::open(&path).unwrap();
        (folder, path, store)
    }

    #[test]
    fn appends_only_at_the_end_and_reads_only_what_is_there() {
        let (_folder, path, store) = fresh();
        store.append(0, b"hello").unwrap();
        assert!(matches!(store.append(4, b"x"), Err(StoreFault::OutOfRange)));
        assert!(matches!(store.append(6, b"x"), Err(StoreFault::OutOfRange)));
        store.append(5, b" you").unwrap();
        assert_eq!(store.read(1, 4).unwrap(), b"ello");
        assert!(matches!(store.read(6, 4), Err(StoreFault::OutOfRange)));
        assert!(matches!(store.read(u64::MAX, 4), Err(StoreFault::OutOfRange)));
        assert!(matches!(store.truncate(10), Err(StoreFault::OutOfRange)));
        store.truncate(2).unwrap();
        store.append(2, b"y").unwrap();
        assert!(!store.is_poisoned(), "asking for what is not there poisons nothing");
        assert_eq!(std::fs::read(path).unwrap(), b"hey");
    }

    #[test]
    fn a_failed_write_poisons_until_the_next_start() {
        let (_folder, path, store) = fresh();
        store.append(0, b"hello").unwrap();
        let read_only = Store::from_file(File::open(&path).unwrap()).unwrap();
        assert!(matches!(read_only.append(5, b"x"), Err(StoreFault::Io(_))));
        assert!(matches!(read_only.append(5, b"x"), Err(StoreFault::Poisoned)));
        assert!(matches!(read_only.read(0, 1), Err(StoreFault::Poisoned)));
        assert!(matches!(read_only.truncate(0), Err(StoreFault::Poisoned)));
        assert_eq!(Store::open(&path).unwrap().read(0, 5).unwrap(), b"hello");
    }

    #[test]
    fn a_store_changed_beneath_the_firmware_is_noticed_before_anything_is_appended() {
        let (_folder, path, store) = fresh();
        store.append(0, b"hello").unwrap();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(3).unwrap();
        assert!(matches!(store.append(5, b"x"), Err(StoreFault::Io(_))));
        assert!(store.is_poisoned());
        assert_eq!(std::fs::read(path).unwrap(), b"hel");
    }

    #[test]
    fn refuses_to_open_a_store_that_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let refused = Store::open(&folder.path().join("log")).unwrap_err();
        assert_eq!(refused.exit_code(), 4);
    }
}
