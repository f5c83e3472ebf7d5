//! `redb`: a copy-on-write B-tree in one file.

use crate::Store;
use redb::{Database, ReadableDatabase, TableDefinition};
use std::path::{Path, PathBuf};

const RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");

/// As much memory as the whole plugin may have.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

pub(crate) struct Redb {
    folder: PathBuf,
    database: Database,
}

impl Redb {
    pub(crate) fn create(folder: &Path) -> Self {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(folder.join("records.redb"));
        Self { folder: folder.to_owned(), database: database.expect("a new database") }
    }
}

impl Store for Redb {
    fn name(&self) -> &'static str {
        "redb"
    }

    fn commit(&mut self, records: &[(u64, Vec<u8>)]) {
        let transaction = self.database.begin_write().expect("nobody else writes");
        {
            let mut table = transaction.open_table(RECORDS).expect("the table opens");
            for (id, record) in records {
                table.insert(id, record.as_slice()).expect("a record goes in");
            }
        }
        transaction.commit().expect("the commit is durable");
    }

    fn read(&self, id: u64) -> Vec<u8> {
        let transaction = self.database.begin_read().expect("a snapshot");
        let table = transaction.open_table(RECORDS).expect("the table opens");
        table.get(id).expect("the disk gives it back").expect("the record is there").value().to_vec()
    }

    fn folder(&self) -> &Path {
        &self.folder
    }

    fn settle(&mut self) {
        self.database.compact().expect("nothing else is open");
    }
}
