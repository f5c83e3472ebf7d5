//! A tenant's audit log outside: exported, verified, proved from, and cosigned. It asks an HSM for nothing but entries and
//! checkpoints, and trusts neither; what it needs to trust is the log's key, and what it saw before.
//!
//! * [`Export`]: keeps a folder up to date, in the form of [c2sp.org/tlog-tiles](https://c2sp.org/tlog-tiles);
//! * [`attested_key`]: the log's key, from what an attestation says;
//! * [`verify`]: whether a folder holds exactly what a checkpoint says, and goes on from what was seen before;
//! * [`prove_inclusion`], [`prove_consistency`]: proofs out of a folder;
//! * [`Witness`]: says that what it sees is consistent with all that it saw ([c2sp.org/tlog-cosignature](https://c2sp.org/tlog-cosignature));
//! * [`LogFault`]: what is wrong, by name;
//! * `folder`: the files.

mod export;
mod fault;
mod folder;
mod prove;
mod verify;
mod witness;

#[cfg(test)]
mod tests;

pub use countersign_tlog as tlog;
pub use export::{Export, Exported, LogSource, Recent, TenantLog, pinned_key, read_recent};
pub use fault::LogFault;
pub use folder::Folder;
pub use prove::{prove_consistency, prove_inclusion};
pub use verify::{Trusted, Verified, verify};
pub use witness::{Cosigned, Witness};

use countersign_tlog::note::KeyType;
use countersign_tlog::{Checkpoint, Note, VerifierKey};
use data_encoding::HEXLOWER;

/// The key of a tenant's log, from what a verified attestation says: which HSM it is, which tenant asked, and the key itself.
pub fn attested_key(hsm_id: &[u8; 16], tenant: &str, key: &[u8; 32]) -> Result<VerifierKey, LogFault> {
    let origin = format!("countersign/{}/{tenant}", HEXLOWER.encode(hsm_id));
    VerifierKey::of_log(&origin, key).ok_or(LogFault::NotALogKey)
}

/// A checkpoint whose signature by its log's key was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    /// As it was signed, with every signature.
    pub note: Note,
    /// What it says.
    pub checkpoint: Checkpoint,
}

impl SignedCheckpoint {
    /// Reads a note and verifies that the log of this key signed it as its own.
    pub fn verify(note: &str, key: &VerifierKey) -> Result<Self, LogFault> {
        if key.kind() != KeyType::Log {
            return Err(LogFault::NotALogKey);
        }
        let note = Note::parse(note).ok_or(LogFault::MalformedCheckpoint)?;
        let checkpoint = Checkpoint::parse(note.text()).ok_or(LogFault::MalformedCheckpoint)?;
        if checkpoint.origin != key.name() {
            return Err(LogFault::OtherLog);
        }
        note.verify(key).ok_or(LogFault::WrongSignature)?;
        Ok(Self { note, checkpoint })
    }
}
