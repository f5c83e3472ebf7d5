//! `fjall`: a log-structured merge tree.

use crate::Store;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use std::path::{Path, PathBuf};

/// As much memory as the whole plugin may have.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;

pub(crate) struct Fjall {
    folder: PathBuf,
    /// Nothing only while it is closed to be opened again.
    open: Option<(Database, Keyspace)>,
}

fn open(folder: &Path) -> (Database, Keyspace) {
    let database = Database::builder(folder).cache_size(CACHE_BYTES).open().expect("the database opens");
    let records = database.keyspace("records", KeyspaceCreateOptions::default).expect("the keyspace opens");
    (database, records)
}

impl Fjall {
    pub(crate) fn create(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), open: Some(open(folder)) }
    }
}

impl Fjall {
    fn parts(&self) -> &(Database, Keyspace) {
        self.open.as_ref().expect("it is open")
    }
}

impl Store for Fjall {
    fn name(&self) -> &'static str {
        "fjall"
    }

    fn commit(&mut self, records: &[(u64, Vec<u8>)]) {
        let (database, keyspace) = self.parts();
        let mut batch = database.batch().durability(Some(PersistMode::SyncData));
        for (id, record) in records {
            batch.insert(keyspace, id.to_be_bytes(), record.as_slice());
        }
        batch.commit().expect("the commit is durable");
    }

    fn read(&self, id: u64) -> Vec<u8> {
        let found = self.parts().1.get(id.to_be_bytes()).expect("the disk gives it back");
        found.expect("the record is there").to_vec()
    }

    fn folder(&self) -> &Path {
        &self.folder
    }

    fn settle(&mut self) {
        let keyspace = &self.parts().1;
        keyspace.rotate_memtable_and_wait().expect("what is in memory goes to the disk");
        keyspace.major_compact().expect("the tree is merged");
        // What was merged and journals that are not needed go when it is opened the next time.
        drop(self.open.take());
        self.open = Some(open(&self.folder));
    }
}
