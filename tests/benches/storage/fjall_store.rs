//! `fjall`: a log-structured merge tree.

use crate::Store;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use std::path::{Path, PathBuf};

/// As much memory as the whole plugin may have.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;

pub(crate) struct Fjall {
    folder: PathBuf,
    database: Database,
    records: Keyspace,
}

impl Fjall {
    pub(crate) fn create(folder: &Path) -> Self {
        let database = Database::builder(folder).cache_size(CACHE_BYTES).open().expect("a new database");
        let records = database.keyspace("records", KeyspaceCreateOptions::default).expect("a new keyspace");
        Self { folder: folder.to_owned(), database, records }
    }
}

impl Store for Fjall {
    fn name(&self) -> &'static str {
        "fjall"
    }

    fn commit(&mut self, records: &[(u64, Vec<u8>)]) {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for (id, record) in records {
            batch.insert(&self.records, id.to_be_bytes(), record.as_slice());
        }
        batch.commit().expect("the commit is durable");
    }

    fn read(&self, id: u64) -> Vec<u8> {
        let found = self.records.get(id.to_be_bytes()).expect("the disk gives it back");
        found.expect("the record is there").to_vec()
    }

    fn folder(&self) -> &Path {
        &self.folder
    }

    fn settle(&mut self) {
        self.records.rotate_memtable_and_wait().expect("what is in memory goes to the disk");
        self.records.major_compact().expect("the tree is merged");
    }
}
