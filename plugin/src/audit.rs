//! What is recorded of every decision. Events travel in the same atomic change as the decision itself.

use countersign_wire::names::{AccountName, TenantName};
use countersign_wire::reason::Reason;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;

/// One decision. No secret and no code ever stands in one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Event {
    /// The HSM's time.
    pub(crate) unix_secs: u64,
    /// Whose API key asked; `None` where none was good.
    pub(crate) tenant: Option<TenantName>,
    /// Which account it was about.
    pub(crate) account: Option<AccountName>,
    /// What happened.
    pub(crate) what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum What {
    /// The plugin was started.
    Booted { boot_count: u64 },
    /// An enrolment was opened, with its first key.
    Enrolled { key: ByteArray<16> },
    /// Two codes finished an enrolment.
    Confirmed,
    /// Two codes reopened an account.
    Unlocked,
    /// A further key was made.
    KeyCreated { key: ByteArray<16> },
    /// A code is about to be checked, and counts as failed until it is spent.
    CodeCounted,
    /// A code was spent for a PKCS#11 operation.
    LoggedIn { key: ByteArray<16>, step: u64 },
    /// A code was spent for a digest.
    Granted { key: ByteArray<16>, step: u64, digest: ByteArray<32> },
    /// A logged-in operation was bound to a digest.
    Bound { key: ByteArray<16>, digest: ByteArray<32> },
    /// A request was refused; with the key where it named one by its id.
    Refused { act: String, key: Option<ByteArray<16>>, reason: Reason },
    /// A signature was released again for the same request.
    Repeated { key: ByteArray<16>, digest: ByteArray<32> },
    /// Requests that could not be read or named no good API key, since the last event of this kind.
    Unreadable { count: u64 },
}
