//! An account as its device sees it.

use super::codec::{List, Text, entry, statement, words};
use super::{
    ApprovalKind, HEADLINE_MAX_BYTES, HISTORY_MAX, IntentState, KEY_TEXT_MAX_BYTES, KEYS_MAX, KeyEntry,
    NAME_MAX_BYTES, OPEN_INTENTS_MAX,
};

words! {
    /// What an account is.
    pub enum AccountState {
        /// Enrolled, but not confirmed yet: it signs nothing.
        Open = "open",
        /// In use.
        Confirmed = "confirmed",
        /// It signs nothing and checks no code until the HSM's operators lift it.
        Frozen = "frozen",
    }
}

statement! {
    "countersign account request v1", |_| true,
    /// What a device signs to see its account.
    pub struct AccountRequest {
        /// The HSM's id.
        hsm: [u8; 16],
        /// The tenant's name.
        tenant: String as Text<NAME_MAX_BYTES>,
        /// The account's name.
        account: String as Text<NAME_MAX_BYTES>,
        /// The device's own, random.
        device_nonce: [u8; 32],
    }
}

entry! {
    /// An intent that is remembered.
    pub struct OpenIntent {
        /// Its id.
        intent: [u8; 16],
        /// What became of it.
        state: IntentState,
        /// When it ends, in seconds since 1970 by the HSM's clock.
        expires_unix_secs: u64,
    }
}

entry! {
    /// One signature of the account.
    pub struct HistoryEntry {
        /// Which signature of the account it is, from 1.
        counter: u64,
        /// When, in seconds since 1970 by the HSM's clock.
        time_unix_secs: u64,
        /// What approved it.
        approval: ApprovalKind,
        /// `ACCOUNT/KEY`.
        key: String as Text<KEY_TEXT_MAX_BYTES>,
        /// The hash of the intent: by it a device finds what it approved.
        intent_hash: [u8; 32],
        /// The first line of the summary that is no warning, shortened.
        headline: String as Text<HEADLINE_MAX_BYTES>,
    }
}

statement! {
    "countersign account v1", |_| true,
    /// An account: what it is, what waits, what it signed. Signed by the identity's signing key.
    pub struct AccountView {
        /// The HSM's id.
        hsm: [u8; 16],
        /// The tenant's name.
        tenant: String as Text<NAME_MAX_BYTES>,
        /// The account's name.
        account: String as Text<NAME_MAX_BYTES>,
        /// Back from the request.
        device_nonce: [u8; 32],
        /// When this was said, in seconds since 1970 by the HSM's clock.
        now_unix_secs: u64,
        /// What it is.
        state: AccountState,
        /// For how long its codes are locked, in seconds; 0 when they are not.
        locked_for_secs: u64,
        /// What the next act is bound to.
        act_nonce: [u8; 32],
        /// How many signatures it ever made.
        signatures: u64,
        /// The intents that are remembered.
        intents: Vec<OpenIntent> as List<OpenIntent, OPEN_INTENTS_MAX>,
        /// The last signatures, newest last.
        history: Vec<HistoryEntry> as List<HistoryEntry, HISTORY_MAX>,
        /// All keys of the account.
        keys: Vec<KeyEntry> as List<KeyEntry, KEYS_MAX>,
    }
}
