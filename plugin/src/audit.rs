//! What is recorded of every decision. Events travel in the same atomic change as the decision itself.
//!
//! [`leaf`] is the text of an event: a leaf of its tenant's log.

pub(crate) mod leaf;

use crate::intent::{Intent, SIGNATURES_MAX};
use crate::record::Terms;
use countersign_intent::summary::SUMMARY_MAX_BYTES;
use countersign_wire::client::{ApprovalKind, ClockMode};
use countersign_wire::hal::LogNames;
use countersign_wire::names::{AccountName, TenantName};
use countersign_wire::reason::Reason;
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};
use sha2::{Digest, Sha256};

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
    /// What the tenant's log calls that account: as its operator had decided by then.
    pub names: LogNames,
    /// What happened.
    pub what: What,
}

/// What an intent signs, as the trail keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signs {
    /// Every digest, in order.
    pub digests: Vec<ByteArray<32>>,
    /// The text that people were shown, all of it. Empty in [`What::Repeated`]: it stands with the grant.
    pub summary: String,
    /// SHA-256 of the text.
    pub summary_sha256: ByteArray<32>,
    /// The rule of the policy that permits it.
    pub rule: String,
}

/// What an event comes to, beside what is signed: two names of 64 bytes, ids, a credential id of 255 and a reason.
const EVENT_REST_BYTES: usize = 768;

/// No encoded and sealed event is longer.
pub(crate) const EVENT_MAX_BYTES: usize =
    EVENT_REST_BYTES + SUMMARY_MAX_BYTES + RULE_MAX_BYTES + 34 * SIGNATURES_MAX;

/// No rule's or limit's name is longer.
const RULE_MAX_BYTES: usize = 128;

/// What was used up for an approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Used {
    /// A code of this step.
    Step(u64),
    /// An assertion of this passkey.
    Passkey(ByteBuf),
    /// What was approved before, on a device: this staged intent.
    Prior(ByteArray<16>),
    /// What a context login used up: it stands there.
    Login,
}

impl Signs {
    /// Of an intent.
    pub(crate) fn of(intent: &Intent, rule: &str) -> Self {
        Self { summary: intent.summary().to_owned(), rule: rule.to_owned(), ..Self::again(intent) }
    }

    /// Of an intent that was recorded whole when its approval was spent: whoever repeats it makes the trail grow little.
    pub(crate) fn again(intent: &Intent) -> Self {
        Self {
            digests: intent.digests().map(ByteArray::new).collect(),
            summary: String::new(),
            summary_sha256: ByteArray::new(Sha256::digest(intent.summary()).into()),
            rule: String::new(),
        }
    }
}

impl Event {
    /// What it comes to at the most, encoded and sealed: two names of 64 bytes, a key id, a step and a reason, and what it signs.
    pub(crate) fn size_bound_bytes(&self) -> usize {
        match &self.what {
            What::Granted { signs, .. }
            | What::Approved { signs, .. }
            | What::Bound { signs, .. }
            | What::Repeated { signs, .. } => {
                EVENT_REST_BYTES + signs.summary.len() + signs.rule.len() + 34 * signs.digests.len()
            }
            _ => EVENT_REST_BYTES,
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum What {
    /// The tenant's log begins with this.
    LogOpened {
        /// The HSM's id.
        hsm: ByteArray<16>,
    },
    /// The plugin was started.
    Booted {
        /// How often it was started.
        boot_count: u64,
        /// The plugin's version.
        version: String,
        /// SHA-384 of the image that runs.
        measurement: ByteArray<48>,
        /// Where time comes from.
        clock: ClockMode,
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
    /// A code was right, and was not spent: a limit had no room left by then.
    CountTakenBack,
    /// A code was spent on an address that the account is known to pay from now on, or no longer.
    PayeeSet {
        /// The address.
        address: String,
        /// Whether it is known from now on.
        known: bool,
        /// What was used up.
        used: Used,
        /// Plain, sealed or a passkey.
        kind: ApprovalKind,
    },
    /// A policy document came into force.
    PolicyChanged {
        /// Its version.
        version: u64,
        /// SHA-256 of the document.
        sha256: ByteArray<32>,
    },
    /// The operator decided something else about the tenant than was so at the start before.
    TermsChanged(Terms),
    /// A code was spent for a PKCS#11 operation.
    LoggedIn {
        /// The operation's key.
        key: ByteArray<16>,
        /// What was used up.
        used: Used,
    },
    /// An approval was spent for an intent, to be signed at once.
    Granted {
        /// The key that may sign.
        key: ByteArray<16>,
        /// What was used up.
        used: Used,
        /// Plain, sealed or a passkey.
        kind: ApprovalKind,
        /// What it may sign.
        signs: Signs,
    },
    /// A logged-in operation was bound to an intent.
    Bound {
        /// The operation's key.
        key: ByteArray<16>,
        /// What it may sign.
        signs: Signs,
    },
    /// A device may enrol this account.
    Invited,
    /// Something was staged for the user to approve.
    Staged {
        /// The intent's id.
        intent: ByteArray<16>,
        /// The key; `None`: it is about a payee.
        key: Option<ByteArray<16>>,
        /// The intent hash: what it is.
        intent_hash: ByteArray<32>,
    },
    /// The user approved a staged intent on a device: it may be signed, once.
    Approved {
        /// The intent's id.
        intent: ByteArray<16>,
        /// The key that may sign.
        key: ByteArray<16>,
        /// What was used up.
        used: Used,
        /// Plain, sealed or a passkey.
        kind: ApprovalKind,
        /// What it may sign.
        signs: Signs,
    },
    /// The user refused a staged intent.
    Declined {
        /// The intent's id.
        intent: ByteArray<16>,
    },
    /// The user froze the account.
    Frozen {
        /// The freeze's number.
        freeze: u64,
    },
    /// The operator lifted a freeze.
    Lifted {
        /// The freeze's number.
        freeze: u64,
    },
    /// Refusals of devices that were too many to be recorded one by one, since the last event of this kind.
    DevicesRefused {
        /// How many.
        count: u64,
    },
    /// A request was refused.
    Refused {
        /// What was asked, in one word.
        act: String,
        /// The key, where the request named one by its id.
        key: Option<ByteArray<16>>,
        /// Why.
        reason: Reason,
        /// Where policy refused: the rule or the limit.
        because: Option<String>,
    },
    /// A signature was released again for the same request.
    Repeated {
        /// The key that signed.
        key: ByteArray<16>,
        /// What it signed.
        signs: Signs,
    },
    /// Requests that were refused, and nothing decided, because the disk has little room; since the last event of this kind.
    NoRoom {
        /// How many.
        count: u64,
    },
    /// Requests that could not be read or named no good API key, since the last event of this kind.
    Unreadable {
        /// How many.
        count: u64,
    },
}
