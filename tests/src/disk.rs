//! What an attacker does to the untrusted disk.

use crate::hsm::Hsm;
use std::fs;
use std::path::PathBuf;

/// A copy of the whole store at some moment.
pub struct Copy(Vec<u8>);

impl Copy {
    /// The copied bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Hsm {
    /// Copies the store as it is.
    pub fn copy_store(&self) -> Copy {
        Copy(fs::read(self.store()).expect("the store can be read"))
    }

    /// Puts a copy in the store's place.
    pub fn restore_store(&self, copy: &Copy) {
        self.write_store(copy.bytes());
    }

    /// Puts any bytes in the store's place, in the same file.
    pub fn write_store(&self, bytes: &[u8]) {
        fs::write(self.store(), bytes).expect("the store can be written");
    }

    /// The file of NVRAM that the firmware writes while it runs. Only for faults of the device itself.
    pub fn nvram(&self) -> PathBuf {
        self.home().join("nvram/state")
    }

    /// Everything that lies outside the boundary on the HSM's machine: the store and the log.
    pub fn bytes_outside_the_boundary(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for entry in fs::read_dir(self.home().join("store")).expect("the store's folder can be read") {
            let path = entry.expect("its entries can be read").path();
            all.extend(fs::read(path).expect("its files can be read"));
        }
        all.extend(self.log().into_bytes());
        all
    }
}

/// Whether `needle` stands anywhere in `haystack`.
pub fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    !needle.is_empty() && haystack.windows(needle.len()).any(|window| window == needle)
}

/// The forms in which a secret could leak: as it is, in hex, in base32.
pub fn forms_of(secret: &[u8]) -> Vec<Vec<u8>> {
    vec![
        secret.to_vec(),
        data_encoding::HEXLOWER.encode(secret).into_bytes(),
        data_encoding::HEXUPPER.encode(secret).into_bytes(),
        data_encoding::BASE32_NOPAD.encode(secret).into_bytes(),
        data_encoding::BASE64.encode(secret).trim_end_matches('=').as_bytes().to_vec(),
    ]
}
