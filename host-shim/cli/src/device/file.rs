//! Where a device's keys lie: one file, encrypted under a passphrase.
//!
//! | bytes | what |
//! | --- | --- |
//! | 24 | `countersign device v1` and three line ends |
//! | 4, 4, 4 | Argon2id (RFC 9106): memory in KiB, passes, lanes; big-endian |
//! | 16 | salt |
//! | 12 | nonce |
//! | … | AES-256-GCM of the contents (JSON); all that comes before it is authenticated, too |
//! | 32 | SHA-256 of all that comes before it: tells damage from a wrong passphrase |
//!
//! It is written anew with a fresh nonce and put in place whole, readable by its owner alone.

use crate::failure::Failure;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use argon2::{Algorithm, Argon2, Params, Version};
use countersign_client::device::ReceiptFile;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use zeroize::{Zeroize, Zeroizing};

const MAGIC: &[u8; 24] = b"countersign device v1\n\n\n";
const FAMILY: &[u8] = b"countersign device ";
const HEADER_BYTES: usize = 24 + 12 + 16 + 12;
const HASH_BYTES: usize = 32;

/// Longer is no such file.
const FILE_MAX_BYTES: u64 = 8 * 1024 * 1024;

/// RFC 9106 section 4, second recommendation but for the lanes, which one thread would run one after the other.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 1;

/// How many approved summaries are kept, newest last.
const KNOWN_MAX: usize = 64;

/// How many receipts are kept, newest last.
const RECEIPTS_MAX: usize = 16;

/// Something that was approved or declined on this device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Known {
    pub(super) intent_hash: String,
    pub(super) summary: String,
}

/// What the file holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Contents {
    /// What both key pairs are derived from, in hex.
    secret: String,
    /// The fingerprint that is trusted.
    pub(super) root: String,
    pub(super) hsm: String,
    /// Of the image that was seen last.
    pub(super) measurement: String,
    pub(super) tenant: String,
    pub(super) account: String,
    /// What was approved here, by the hash of the intent.
    pub(super) known: Vec<Known>,
    pub(super) receipts: Vec<ReceiptFile>,
}

impl Drop for Contents {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl Contents {
    pub(super) fn new(secret: &[u8; 32], root: String, tenant: &str, account: &str) -> Self {
        Self {
            secret: HEXLOWER.encode(secret),
            root,
            hsm: String::new(),
            measurement: String::new(),
            tenant: tenant.to_owned(),
            account: account.to_owned(),
            known: Vec::new(),
            receipts: Vec::new(),
        }
    }

    /// What was approved here under this hash.
    pub(super) fn summary_of(&self, intent_hash: &str) -> Option<&str> {
        self.known.iter().find(|known| known.intent_hash == intent_hash).map(|known| known.summary.as_str())
    }

    pub(super) fn remember(&mut self, intent_hash: String, summary: &str) {
        self.known.retain(|known| known.intent_hash != intent_hash);
        self.known.push(Known { intent_hash, summary: summary.to_owned() });
        let beyond = self.known.len().saturating_sub(KNOWN_MAX);
        self.known.drain(..beyond);
    }

    pub(super) fn keep(&mut self, receipt: ReceiptFile) {
        self.receipts.retain(|kept| *kept != receipt);
        self.receipts.push(receipt);
        let beyond = self.receipts.len().saturating_sub(RECEIPTS_MAX);
        self.receipts.drain(..beyond);
    }
}

/// An open file: its contents, and the key to save them again.
pub(super) struct DeviceFile {
    path: PathBuf,
    key: Zeroizing<[u8; 32]>,
    parameters: [u8; 12],
    salt: [u8; 16],
    pub(super) contents: Contents,
}

impl DeviceFile {
    /// That there is something to be opened. Asked before anybody types a passphrase.
    pub(super) fn is_one(path: &Path) -> Result<(), Failure> {
        read(path).and_then(|bytes| framed(path, &bytes).map(drop))
    }

    /// Opens a file.
    pub(super) fn open(path: &Path, passphrase: &str) -> Result<Self, Failure> {
        let bytes = read(path)?;
        let framed = framed(path, &bytes)?;
        let key = derive(passphrase, &framed.parameters, &framed.salt).ok_or_else(|| damaged(path))?;
        let payload = Payload { msg: framed.ciphertext, aad: framed.header };
        let opened = cipher(&key).decrypt(&Nonce::from(framed.nonce), payload);
        let opened = Zeroizing::new(opened.map_err(|_| Failure::WrongPassphrase)?);
        let contents = serde_json::from_slice(&opened).map_err(|_| other_version(path))?;
        let Framed { parameters, salt, .. } = framed;
        Ok(Self { path: path.to_owned(), key, parameters, salt, contents })
    }

    /// A new file; one that is there is never written over.
    pub(super) fn create(path: &Path, passphrase: &str, contents: Contents) -> Result<Self, Failure> {
        if path.symlink_metadata().is_ok() {
            let told = format!("{} is there already; name another file with --keys", path.display());
            return Err(Failure::Usage(told));
        }
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(|error| unwritable(path, &error))?;
        }
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).expect("a running Linux system always has random bytes");
        let mut parameters = [0; 12];
        for (place, number) in parameters.chunks_mut(4).zip([MEMORY_KIB, PASSES, LANES]) {
            place.copy_from_slice(&number.to_be_bytes());
        }
        let key = derive(passphrase, &parameters, &salt).expect("these parameters are within all bounds");
        let file = Self { path: path.to_owned(), key, parameters, salt, contents };
        file.save()?;
        Ok(file)
    }

    /// The secret that the keys are derived from.
    pub(super) fn secret(&self) -> Result<Zeroizing<[u8; 32]>, Failure> {
        Ok(Zeroizing::new(hex_fixed(&self.contents.secret)?))
    }

    /// Puts the contents in the place of what was there, whole or not at all.
    pub(super) fn save(&self) -> Result<(), Failure> {
        let unwritable = |error| unwritable(&self.path, &error);
        let plain =
            Zeroizing::new(serde_json::to_vec(&self.contents).expect("it has only strings and lists"));
        let mut nonce = [0; 12];
        getrandom::fill(&mut nonce).expect("a running Linux system always has random bytes");
        let mut bytes = [MAGIC.as_slice(), &self.parameters, &self.salt, &nonce].concat();
        let sealed = cipher(&self.key).encrypt(&Nonce::from(nonce), Payload { msg: &plain, aad: &bytes });
        bytes.extend_from_slice(&sealed.expect("the contents are far below what AES-GCM takes"));
        let hash = Sha256::digest(&bytes);
        bytes.extend_from_slice(&hash);
        let beside = self.path.with_extension(format!("new-{}", std::process::id()));
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside).map_err(unwritable)?;
        let written = file.write_all(&bytes).and_then(|()| file.sync_all());
        let placed = written.and_then(|()| fs::rename(&beside, &self.path));
        if placed.is_err() {
            let _ = fs::remove_file(&beside);
        }
        placed.map_err(unwritable)?;
        // The name is on the disk with the folder.
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all()).map_err(unwritable)
    }

    /// Removes a file that never belonged to an account.
    pub(super) fn remove(self) {
        let _ = fs::remove_file(&self.path);
    }
}

struct Framed<'a> {
    header: &'a [u8],
    parameters: [u8; 12],
    salt: [u8; 16],
    nonce: [u8; 12],
    ciphertext: &'a [u8],
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::DeviceFile(format!(
            "cannot read the device's file {}: {error}; enrol with countersign device enroll, or name the file with --keys",
            path.display()
        ))
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_MAX_BYTES).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    Ok(bytes)
}

/// The parts of a file that is whole and of this version.
fn framed<'a>(path: &Path, bytes: &'a [u8]) -> Result<Framed<'a>, Failure> {
    if !bytes.starts_with(FAMILY) {
        return Err(Failure::DeviceFile(format!("{} is not the file of a device", path.display())));
    }
    if !bytes.starts_with(MAGIC) {
        return Err(other_version(path));
    }
    let body =
        bytes.len().checked_sub(HASH_BYTES).filter(|end| *end > HEADER_BYTES).ok_or_else(|| damaged(path))?;
    let (body, hash) = bytes.split_at(body);
    if Sha256::digest(body).as_slice() != hash {
        return Err(damaged(path));
    }
    let (header, ciphertext) = body.split_at(HEADER_BYTES);
    let fixed = "the header has this length";
    Ok(Framed {
        header,
        parameters: header[24..36].try_into().expect(fixed),
        salt: header[36..52].try_into().expect(fixed),
        nonce: header[52..64].try_into().expect(fixed),
        ciphertext,
    })
}

fn cipher(key: &[u8; 32]) -> Aes256Gcm {
    Aes256Gcm::new(key.into())
}

/// Argon2id, within bounds that keep a foreign file from taking all memory or all day.
fn derive(passphrase: &str, parameters: &[u8; 12], salt: &[u8; 16]) -> Option<Zeroizing<[u8; 32]>> {
    let mut numbers =
        parameters.chunks_exact(4).map(|four| u32::from_be_bytes([four[0], four[1], four[2], four[3]]));
    let (memory, passes, lanes) = (numbers.next()?, numbers.next()?, numbers.next()?);
    if memory > 1024 * 1024 || passes > 32 || lanes > 16 {
        return None;
    }
    let params = Params::new(memory, passes, lanes, Some(32)).ok()?;
    let mut key = Zeroizing::new([0; 32]);
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password_into(passphrase.as_bytes(), salt, key.as_mut_slice()).ok()?;
    Some(key)
}

fn damaged(path: &Path) -> Failure {
    Failure::DeviceFile(format!("the device's file {} is damaged; restore it from a copy", path.display()))
}

fn other_version(path: &Path) -> Failure {
    let told = "was written by another version of this program; use that version";
    Failure::DeviceFile(format!("the device's file {} {told}", path.display()))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::DeviceFile(format!("cannot write the device's file {}: {error}", path.display()))
}

/// What this program wrote as hex.
pub(super) fn hex_fixed<const N: usize>(hex: &str) -> Result<[u8; N], Failure> {
    let bytes = HEXLOWER.decode(hex.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| {
        Failure::DeviceFile("the device's file holds something that it never should".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn contents() -> Contents {
        Contents::new(&[7; 32], "ab".repeat(32), "default", "alice")
    }

    fn told(failure: Result<DeviceFile, Failure>) -> String {
        match failure.err().unwrap() {
            Failure::DeviceFile(told) => told,
            Failure::WrongPassphrase => "wrong passphrase".to_owned(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn comes_back_with_the_passphrase_alone_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/device");
        let mut file = DeviceFile::create(&path, "correct horse", contents()).unwrap();
        file.contents.remember("aa".to_owned(), "pays: 1");
        file.save().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
        let again = DeviceFile::open(&path, "correct horse").unwrap();
        assert_eq!(*again.secret().unwrap(), [7; 32]);
        assert_eq!(again.contents.summary_of("aa"), Some("pays: 1"));
        assert_eq!(told(DeviceFile::open(&path, "correct horsf")), "wrong passphrase");
        assert!(matches!(DeviceFile::create(&path, "other", contents()), Err(Failure::Usage(_))));
        let bytes = fs::read(&path).unwrap();
        let shown = |text: &[u8]| bytes.windows(text.len()).any(|found| found == text);
        assert!(!shown(b"alice") && !shown(b"0707070707"), "it is encrypted");
    }

    #[test]
    fn damage_and_other_versions_have_their_own_sentences() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("device");
        DeviceFile::create(&path, "correct horse", contents()).unwrap();
        let good = fs::read(&path).unwrap();
        for at in [24, 40, 60, HEADER_BYTES, good.len() - 40, good.len() - 1] {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            assert!(told(DeviceFile::open(&path, "correct horse")).contains("damaged"), "byte {at}");
        }
        fs::write(&path, &good[..HEADER_BYTES]).unwrap();
        assert!(told(DeviceFile::open(&path, "correct horse")).contains("damaged"));
        let mut newer = good.clone();
        newer[20] = b'2';
        fs::write(&path, &newer).unwrap();
        assert!(told(DeviceFile::open(&path, "correct horse")).contains("another version"));
        fs::write(&path, b"something else").unwrap();
        assert!(told(DeviceFile::open(&path, "correct horse")).contains("is not the file of a device"));
        assert!(told(DeviceFile::open(&folder.path().join("none"), "x")).contains("cannot read"));
    }

    #[test]
    fn a_foreign_file_cannot_ask_for_all_memory_or_all_day() {
        for (memory, passes, lanes) in [(u32::MAX, 1, 1), (8, u32::MAX, 1), (1024, 1, u32::MAX), (0, 0, 0)] {
            let numbers = [memory, passes, lanes].map(u32::to_be_bytes).concat();
            assert!(derive("x", &numbers.try_into().unwrap(), &[0; 16]).is_none());
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut contents = contents();
        for n in 0..100 {
            contents.remember(format!("{n}"), "x");
        }
        assert_eq!((contents.known.len(), contents.known[0].intent_hash.as_str()), (KNOWN_MAX, "36"));
        contents.remember("50".to_owned(), "y");
        assert_eq!((contents.known.len(), contents.summary_of("50")), (KNOWN_MAX, Some("y")));
    }
}
