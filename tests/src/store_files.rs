//! The store's folder as an attacker has it: all of its files, to copy, mix, edit and put back.

use crate::hsm::Hsm;
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;

/// Files by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreFiles(pub BTreeMap<String, Vec<u8>>);

impl Hsm {
    /// Copies the store's files, one after the other; the HSM may be writing them.
    pub fn copy_files(&self) -> StoreFiles {
        let folder = fs::read_dir(self.store_folder()).expect("the store's folder can be listed");
        let files = folder.filter_map(|entry| {
            let entry = entry.expect("its entries can be read");
            let name = entry.file_name().into_string().expect("its files have plain names");
            match fs::read(entry.path()) {
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                read => Some((name, read.expect("its files can be read"))),
            }
        });
        StoreFiles(files.collect())
    }

    /// Makes the store's folder hold these files and no others. The HSM does not run.
    pub fn put_files(&self, files: &StoreFiles) {
        for entry in fs::read_dir(self.store_folder()).expect("the store's folder can be listed") {
            fs::remove_file(entry.expect("its entries can be read").path())
                .expect("its files can be removed");
        }
        for (name, bytes) in &files.0 {
            fs::write(self.store_folder().join(name), bytes).expect("files can be put there");
        }
    }
}
