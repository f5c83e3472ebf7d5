//! A witness: it signs a checkpoint when it goes on from the last one of that log that it signed, and remembers it first, durably;
//! one checkpoint at a time, however many ask at once
//! ([c2sp.org/tlog-witness](https://c2sp.org/tlog-witness), [c2sp.org/tlog-cosignature](https://c2sp.org/tlog-cosignature)).

use super::folder::{Folder, Locked, Tree, read, write};
use super::{LogFault, SignedCheckpoint};
use countersign_tlog::proof::{self, is_consistent};
use countersign_tlog::tree::empty_hash;
use countersign_tlog::{Checkpoint, SigningKey, VerifierKey};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A witness's key and its memory.
pub struct Witness {
    key: SigningKey,
    memory: PathBuf,
}

/// What a witness signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosigned {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// How many entries it had when the witness signed last.
    pub before: u64,
}

/// The last tree of a log that was signed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Remembered {
    size: u64,
    root: String,
}

impl Witness {
    /// With this key, and a file in which it keeps what it signed.
    pub fn new(key: SigningKey, memory: &Path) -> Self {
        Self { key, memory: memory.to_owned() }
    }

    /// Signs a folder's checkpoint at this time, if the log of this key made it and it goes on from what was signed before.
    pub fn cosign(&self, folder: &Folder, log: &VerifierKey, unix_secs: u64) -> Result<Cosigned, LogFault> {
        // From reading what was signed before until this signature is remembered nobody else may sign: two forks that were both
        // compared with the same memory would both be signed.
        let _alone = Locked::take(&self.memory)?;
        let SignedCheckpoint { mut note, checkpoint } = SignedCheckpoint::verify(&folder.checkpoint()?, log)?;
        let mut memory = self.memory()?;
        let malformed = || LogFault::MalformedState(self.memory.clone());
        let (before, root) = match memory.get(&checkpoint.origin) {
            Some(last) => {
                let root = HEXLOWER.decode(last.root.as_bytes()).ok();
                (last.size, root.and_then(|root| root.try_into().ok()).ok_or_else(malformed)?)
            }
            None => (0, empty_hash()),
        };
        let size = checkpoint.size;
        if before > size {
            return Err(LogFault::RolledBack { seen: before, now: size });
        }
        let path = proof::consistency(&Tree::new(folder, size), before, size)?.unwrap_or_default();
        if !is_consistent((before, &root), (size, &checkpoint.root), &path) {
            return Err(LogFault::Forked { seen: before });
        }
        // Remembered first: a signature that nobody gets does no harm, one that is forgotten does.
        let now = Remembered { size, root: HEXLOWER.encode(&checkpoint.root) };
        memory.insert(checkpoint.origin.clone(), now);
        let text = serde_json::to_vec_pretty(&memory).expect("it has only strings and numbers");
        write(&self.memory, &text)?;
        let signature = self.key.cosign(note.text(), unix_secs);
        note.add(signature);
        folder.write("checkpoint", note.to_text().as_bytes())?;
        Ok(Cosigned { checkpoint, before })
    }

    fn memory(&self) -> Result<BTreeMap<String, Remembered>, LogFault> {
        match read(&self.memory)? {
            Some(bytes) => {
                serde_json::from_slice(&bytes).map_err(|_| LogFault::MalformedState(self.memory.clone()))
            }
            None => Ok(BTreeMap::new()),
        }
    }
}
