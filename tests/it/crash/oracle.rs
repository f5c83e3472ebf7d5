//! Which stores the HSM may open, judged from the outside: NVRAM says which part of the log counts and how long the
//! archive is at least (the layouts are those of `plugin/src/store/nvram.rs` and `docs/hsm-home.md`).

use countersign_tests::Hsm;
use countersign_tests::store_files::StoreFiles;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;

/// What NVRAM remembers of the store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Remembered {
    tail: u64,
    end: u64,
    archive_bytes: u64,
}

impl Remembered {
    /// Reads the NVRAM of an HSM that does not run.
    pub(super) fn by(hsm: &Hsm) -> Self {
        let nvram = fs::read(hsm.nvram()).expect("NVRAM can be read");
        let number =
            |bytes: &[u8], at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let whole = |slot: &&[u8]| {
            let (body, checksum) = slot.split_at(slot.len() - 32);
            Sha256::digest(body).as_slice() == checksum
        };
        let newest = nvram.chunks(nvram.len() / 2).filter(whole).max_by_key(|slot| number(slot, 0));
        let content = &newest.expect("one slot is whole")[16..];
        assert!(content.starts_with(b"CSN2"), "NVRAM has the layout that is read here");
        Self { tail: number(content, 20), end: number(content, 60), archive_bytes: number(content, 100) }
    }

    /// Whether a store lacks something that the good one has and NVRAM vouches for.
    pub(super) fn forbids(&self, store: &StoreFiles, good: &StoreFiles) -> bool {
        let counts = self.part_that_counts(good).expect("the good store holds what counts");
        self.part_that_counts(store) != Some(counts)
    }

    fn part_that_counts(&self, store: &StoreFiles) -> Option<Vec<u8>> {
        if (store.0.get("archive")?.len() as u64) < self.archive_bytes {
            return None;
        }
        let mut files = BTreeMap::new();
        for (name, bytes) in &store.0 {
            if let Some(begin) = name.strip_prefix("log-") {
                files.insert(u64::from_str_radix(begin, 16).ok()?, bytes);
            }
        }
        let first = *files.keys().next()?;
        let mut log = Vec::new();
        for (begin, bytes) in files {
            if begin == first + log.len() as u64 {
                log.extend_from_slice(bytes);
            }
        }
        let at = |offset: u64| usize::try_from(offset.checked_sub(first)?).ok();
        Some(log.get(at(self.tail)?..at(self.end)?)?.to_vec())
    }
}
