//! What is wrong with a log, by name.

use core::fmt;
use countersign_wire::reason::Refusal;
use std::path::PathBuf;

/// What is wrong. The words are stable: programs may match on them.
#[derive(Debug)]
pub enum LogFault {
    /// The HSM refused to give it.
    Refused(Refusal),
    /// A file cannot be read or written.
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// What is kept beside the log is not what this program keeps there.
    MalformedState(PathBuf),
    /// The key is of another kind than a log's.
    NotALogKey,
    /// The log goes under another key than the one that is trusted.
    OtherKey,
    /// The attestation names no key of a log.
    NoLogKey,
    /// The checkpoint is not one.
    MalformedCheckpoint,
    /// The checkpoint is of another log than the key.
    OtherLog,
    /// The log's key did not sign it.
    WrongSignature,
    /// A witness that was asked for did not sign it.
    WitnessMissing(String),
    /// It is older than one that was seen before.
    RolledBack {
        /// The size that was seen.
        seen: u64,
        /// The size that is shown now.
        now: u64,
    },
    /// It contradicts one that was seen before: the log has two histories.
    Forked {
        /// The size that was seen.
        seen: u64,
    },
    /// Entries are missing in the middle.
    Deleted {
        /// The first that is.
        index: u64,
    },
    /// Entries stand there that were never signed, between those that were.
    Inserted {
        /// The first that does.
        index: u64,
    },
    /// The same entries in another order.
    Reordered {
        /// The first that is out of order.
        index: u64,
    },
    /// An entry is not as it was signed.
    Edited {
        /// Which, where that can be told.
        index: Option<u64>,
    },
    /// Entries are missing at the end.
    Truncated {
        /// How many are left.
        left: u64,
    },
    /// The entries are good, a tile is not: it is missing, or holds something else.
    TileDamaged(String),
    /// The HSM gave fewer entries than it signed, or others.
    NotAsSigned,
    /// The log has no such entry, or was never of that size.
    NoSuchEntry,
}

impl LogFault {
    /// The stable kebab-case word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.reason.word(),
            Self::File { .. } => "log-file",
            Self::MalformedState(_) => "malformed-state",
            Self::NotALogKey => "not-a-log-key",
            Self::OtherKey => "other-key",
            Self::NoLogKey => "no-log-key",
            Self::MalformedCheckpoint => "malformed-checkpoint",
            Self::OtherLog => "other-log",
            Self::WrongSignature => "wrong-signature",
            Self::WitnessMissing(_) => "witness-missing",
            Self::RolledBack { .. } => "rolled-back",
            Self::Forked { .. } => "forked",
            Self::Deleted { .. } => "deleted",
            Self::Inserted { .. } => "inserted",
            Self::Reordered { .. } => "reordered",
            Self::Edited { .. } => "edited",
            Self::Truncated { .. } => "truncated",
            Self::TileDamaged(_) => "tile-damaged",
            Self::NotAsSigned => "not-as-signed",
            Self::NoSuchEntry => "no-such-entry",
        }
    }

    /// The entry that it is about, where there is one.
    pub fn index(&self) -> Option<u64> {
        match self {
            Self::Deleted { index } | Self::Inserted { index } | Self::Reordered { index } => Some(*index),
            Self::Edited { index } => *index,
            Self::Truncated { left } => Some(*left),
            _ => None,
        }
    }
}

impl From<Refusal> for LogFault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl fmt::Display for LogFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => f.write_str(refusal.reason.sentence()),
            Self::File { path, error } => write!(f, "{}: {error}", path.display()),
            Self::MalformedState(path) => {
                write!(f, "{} is not what this program keeps there; somebody changed it", path.display())
            }
            Self::NotALogKey => f.write_str("the key is not one that logs sign with (type 1, Ed25519)"),
            Self::OtherKey => f.write_str(
                "the log goes under another key than the one that is trusted: whoever gave it, or keeps it, is not to be \
                 believed; ask the HSM for an attestation, and export into an empty folder with the key that it names",
            ),
            Self::NoLogKey => f.write_str("the attestation names no key of a log; ask the HSM for a newer one"),
            Self::MalformedCheckpoint => f.write_str("the checkpoint is not a signed note of a log"),
            Self::OtherLog => f.write_str("the checkpoint is of another log than the key"),
            Self::WrongSignature => f.write_str("the log's key did not sign this checkpoint"),
            Self::WitnessMissing(name) => {
                write!(f, "the witness {name} did not sign this checkpoint, or its signature is wrong")
            }
            Self::RolledBack { seen, now } => {
                write!(f, "the log had {seen} entries before and is shown with {now} now: it is an older one")
            }
            Self::Forked { seen } => {
                write!(
                    f,
                    "the log is not the one whose first {seen} entries were seen before: it has two histories"
                )
            }
            Self::Deleted { index } => write!(f, "entry {index} is missing"),
            Self::Inserted { index } => write!(f, "what stands as entry {index} was never signed"),
            Self::Reordered { index } => write!(f, "entries are in another order from entry {index} on"),
            Self::Edited { index: Some(index) } => write!(f, "entry {index} is not as it was signed"),
            Self::Edited { index: None } => f.write_str(
                "the entries are not those that were signed, and the tiles were changed with them",
            ),
            Self::Truncated { left } => write!(f, "the entries end after the first {left}"),
            Self::TileDamaged(path) => write!(f, "{path} is missing or damaged; the entries are good"),
            Self::NotAsSigned => f.write_str("the HSM gave other entries than those that it signed"),
            Self::NoSuchEntry => f.write_str("the log has no such entry, or was never of that size"),
        }
    }
}

impl std::error::Error for LogFault {}
