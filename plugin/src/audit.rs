//! What is recorded of every decision. Events travel in the same atomic change as the decision itself.

use countersign_wire::names::{AccountName, TenantName};
use countersign_wire::reason::Reason;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;

/// One decision. No secret and no code ever stands in one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// The HSM's time.
    pub unix_secs: u64,
    /// Whose API key asked; `None` where none was good.
    pub tenant: Option<TenantName>,
    /// Which account it was about.
    pub account: Option<AccountName>,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum What {
    /// The plugin was started.
    Booted {
        /// How often it was started.
        boot_count: u64,
    },
    /// An enrolment was opened, with its first key.
    Enrolled {
        /// The key's id.
        key: ByteArray<16>,
    },
    /// Two codes finished an enrolment.
    Confirmed,
    /// Two codes reopened an account.
    Unlocked,
    /// A further key was made.
    KeyCreated {
        /// The key's id.
        key: ByteArray<16>,
    },
    /// A code is about to be checked, and counts as failed until it is spent.
    CodeCounted,
    /// A code was spent for a PKCS#11 operation.
    LoggedIn {
        /// The operation's key.
        key: ByteArray<16>,
        /// The step that was spent.
        step: u64,
    },
    /// A code was spent for a digest.
    Granted {
        /// The key that may sign.
        key: ByteArray<16>,
        /// The step that was spent.
        step: u64,
        /// What it may sign.
        digest: ByteArray<32>,
    },
    /// A logged-in operation was bound to a digest.
    Bound {
        /// The operation's key.
        key: ByteArray<16>,
        /// What it may sign.
        digest: ByteArray<32>,
    },
    /// A request was refused.
    Refused {
        /// What was asked, in one word.
        act: String,
        /// The key, where the request named one by its id.
        key: Option<ByteArray<16>>,
        /// Why.
        reason: Reason,
    },
    /// A signature was released again for the same request.
    Repeated {
        /// The key that signed.
        key: ByteArray<16>,
        /// What it signed.
        digest: ByteArray<32>,
    },
    /// Requests that could not be read or named no good API key, since the last event of this kind.
    Unreadable {
        /// How many.
        count: u64,
    },
}
