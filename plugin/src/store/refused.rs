//! Why the store is not used, and why a change was not made.

use super::seal::Exhausted;
use crate::hal::HalError;
use countersign_wire::hal::Fault;
use countersign_wire::reason::Reason;

/// Why a change was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommitError {
    /// The account changed since it was loaded: load it again.
    Conflict,
    /// The disk is full. Nothing was changed.
    Full,
    /// It could not be made durable.
    Failed,
}

impl From<CommitError> for Reason {
    fn from(error: CommitError) -> Self {
        match error {
            // A change made in the account's turn meets no conflict; if it does, something is wrong inside.
            CommitError::Conflict => Self::InternalError,
            CommitError::Full => Self::StoreFull,
            CommitError::Failed => Self::StoreRefused,
        }
    }
}

/// Why the store is not used. The text is for the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// NVRAM holds something that this version did not write.
    NvramUnreadable,
    /// Another version of the plugin wrote NVRAM.
    NvramOfOtherVersion,
    /// The HSM was started more often than it can count.
    TooManyBoots,
    /// NVRAM is empty but the store is not.
    Foreign,
    /// NVRAM remembers a store, and there is none.
    Empty,
    /// The store's bytes are not entries.
    NotALog,
    /// Another version of the plugin wrote the store.
    OtherVersion,
    /// Another HSM wrote the store.
    OtherHsm,
    /// The store was written under another clock mode.
    OtherClock,
    /// The store was written under another sealing key.
    OtherKey,
    /// The store begins after what NVRAM needs of it.
    FrontMissing,
    /// The store ends before the head.
    Short,
    /// The store is not the one that NVRAM remembers.
    HeadMismatch,
    /// The archive of audit events ends before what NVRAM remembers.
    ArchiveShort,
    /// A record does not open.
    Record,
    /// The store was changed while the HSM ran.
    Changed,
    /// This boot's key has sealed as much as it may.
    KeyUsedUp,
    /// The firmware failed.
    Hal(Fault),
}

impl StoreError {
    /// The stable word that the sentence ends with: one of [`HALT_WORDS`](countersign_wire::hal::HALT_WORDS).
    pub const fn word(self) -> &'static str {
        match self {
            Self::NvramUnreadable => "nvram-unreadable",
            Self::NvramOfOtherVersion => "nvram-of-other-version",
            Self::TooManyBoots => "too-many-boots",
            Self::Foreign => "store-foreign",
            Self::Empty => "store-empty",
            Self::NotALog => "store-not-a-log",
            Self::OtherVersion => "store-of-other-version",
            Self::OtherHsm => "store-of-other-hsm",
            Self::OtherClock => "store-of-other-clock",
            Self::OtherKey => "store-of-other-image",
            Self::FrontMissing => "store-front-missing",
            Self::Short => "store-short",
            Self::HeadMismatch => "head-mismatch",
            Self::ArchiveShort => "archive-short",
            Self::Record => "record-unreadable",
            Self::Changed => "store-changed",
            Self::KeyUsedUp => "key-used-up",
            Self::Hal(Fault::StoreFull) => "store-full",
            Self::Hal(_) => "store-failed",
        }
    }
}

impl core::fmt::Display for StoreError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let sentence = match self {
            Self::NvramUnreadable => "store refused: NVRAM holds something that this version did not write",
            Self::NvramOfOtherVersion => "store refused: NVRAM was written by another version of the plugin",
            Self::TooManyBoots => {
                "store refused: the HSM was started more often than its records can tell apart"
            }
            Self::Foreign => "store refused: this HSM has never written a store, but there is one",
            Self::Empty => {
                "store refused: it is empty, but NVRAM remembers one; put the HSM's own store back"
            }
            Self::NotALog => {
                "store refused: it holds bytes that are not log entries; it was edited or replaced"
            }
            Self::OtherVersion => "store refused: it was written by another version of the plugin",
            Self::OtherHsm => "store refused: it belongs to another HSM; put this HSM's own store back",
            Self::OtherClock => "store refused: it was written under another clock mode",
            Self::OtherKey => {
                "store refused: it was written by another image, whose sealing key this one does not have"
            }
            Self::FrontMissing => "store refused: its beginning is missing; it was truncated or replaced",
            Self::Short => {
                "store refused: it is shorter than NVRAM remembers; it was truncated or an older copy put back"
            }
            Self::HeadMismatch => {
                "store refused: it is not what NVRAM remembers; a record was changed, exchanged or put back"
            }
            Self::ArchiveShort => {
                "store refused: the archive of audit events is shorter than NVRAM remembers; it was truncated"
            }
            Self::Record => "store refused: a record does not open under this HSM's key",
            Self::Changed => "store refused: it was changed while the HSM ran",
            Self::KeyUsedUp => {
                "store: this start's key has sealed as many records as it may; the next start has its own"
            }
            Self::Hal(Fault::StoreFull) => {
                "store refused: its disk is full; make room and start the HSM again"
            }
            Self::Hal(_) => "store refused: the firmware could not read or write it; see the lines above",
        };
        write!(f, "{sentence} ({})", self.word())
    }
}

impl From<HalError> for StoreError {
    fn from(error: HalError) -> Self {
        Self::Hal(error.0)
    }
}

impl From<Exhausted> for StoreError {
    fn from(_: Exhausted) -> Self {
        Self::KeyUsedUp
    }
}

/// What a request is told of it.
pub(super) fn reason_of(error: StoreError) -> Reason {
    match error {
        StoreError::Hal(fault) => HalError(fault).into(),
        _ => Reason::StoreRefused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_wire::hal::{HALT_WORDS, halt_word};

    #[test]
    fn every_refusal_of_the_store_tells_its_word() {
        use StoreError as E;
        let faults = [Fault::StoreFull, Fault::Store].map(E::Hal);
        let all = [
            &[E::NvramUnreadable, E::NvramOfOtherVersion, E::TooManyBoots, E::Foreign, E::Empty, E::NotALog],
            &[E::OtherVersion, E::OtherHsm, E::OtherClock, E::OtherKey, E::FrontMissing, E::Short],
            &[E::HeadMismatch, E::ArchiveShort, E::Record, E::Changed, E::KeyUsedUp][..],
            &faults[..],
        ];
        let told = all.concat().into_iter().map(|error| halt_word(&error.to_string()).unwrap());
        let told: Vec<_> = told.chain(["policy-refused"]).collect();
        assert_eq!(told, HALT_WORDS);
    }
}
