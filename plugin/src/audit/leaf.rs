//! The leaf of an event: one JSON object without spaces, its fields in a fixed order, those that do not apply left out. What
//! each field means is in `docs/log.md`. An event has one leaf for ever: it depends on nothing but the event and, where
//! accounts are hashed, on a key that follows from the sealing key.
//!
//! Strings are escaped as RFC 8785 section 3.2.2.2 says; numbers are decimal integers; bytes are lower-case hexadecimal.

use super::{Event, RULE_MAX_BYTES, Signs, Used, What};
use crate::intent::SIGNATURES_MAX;
use crate::record::Terms;
use core::fmt::Write;
use countersign_intent::summary::SUMMARY_MAX_BYTES;
use countersign_wire::client::ApprovalKind;
use countersign_wire::hal::LogNames;
use countersign_wire::log::LOG_ENTRY_MAX_BYTES;
use countersign_wire::names::{AccountName, TenantName};
use data_encoding::{BASE64, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use serde_bytes::ByteArray;
use sha2::Sha256;
use zeroize::Zeroizing;

/// The version of the form.
const VERSION: u64 = 1;

/// A summary that takes more than this as a JSON string is told in base64, so that no text of somebody else's makes a leaf longer
/// than a bundle can hold.
const SUMMARY_AS_STRING_MAX_BYTES: usize = SUMMARY_MAX_BYTES.div_ceil(3) * 4;

// Digests as 64 digits, quotes and a comma; a rule of control characters; names, ids and numbers.
const _: () = assert!(
    SUMMARY_AS_STRING_MAX_BYTES + 67 * SIGNATURES_MAX + 6 * RULE_MAX_BYTES + 2048 <= LOG_ENTRY_MAX_BYTES,
    "the longest leaf fits"
);

/// Names accounts in logs.
pub(crate) struct LogNamer(Zeroizing<[u8; 32]>);

impl LogNamer {
    pub(crate) fn new(key: Zeroizing<[u8; 32]>) -> Self {
        Self(key)
    }

    /// What the log of this tenant calls the account.
    pub(crate) fn name(&self, names: LogNames, tenant: &TenantName, account: &AccountName) -> String {
        match names {
            LogNames::Plain => account.as_str().to_owned(),
            LogNames::Hashed => self.pseudonym(tenant, account),
        }
    }

    /// `hmac:` and 16 bytes: HMAC-SHA-256 over the tenant's name and the account's, each behind its length. No name has a colon.
    fn pseudonym(&self, tenant: &TenantName, account: &AccountName) -> String {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(self.0.as_slice()).expect("HMAC takes keys of any length");
        for part in [tenant.as_str(), account.as_str()] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        let tag: [u8; 32] = mac.finalize().into_bytes().into();
        format!("hmac:{}", HEXLOWER.encode(&tag[..16]))
    }

    /// The leaf of an event.
    pub(crate) fn leaf(&self, event: &Event) -> Vec<u8> {
        let mut leaf = Object::new();
        leaf.number("v", VERSION);
        leaf.number("time", event.unix_secs);
        leaf.string("of", if event.tenant.is_some() { "tenant" } else { "hsm" });
        leaf.string("what", word(&event.what));
        if let (Some(tenant), Some(account)) = (&event.tenant, &event.account) {
            leaf.string("account", &self.name(event.names, tenant, account));
        }
        describe(&mut leaf, event);
        leaf.finish()
    }
}

/// The word for what happened.
fn word(what: &What) -> &'static str {
    match what {
        What::LogOpened { .. } => "log-opened",
        What::Booted { .. } => "booted",
        What::Enrolled { .. } => "enrolled",
        What::Confirmed => "confirmed",
        What::Unlocked => "unlocked",
        What::KeyCreated { .. } => "key-created",
        What::CodeCounted => "code-counted",
        What::CountTakenBack => "count-taken-back",
        What::PayeeSet { .. } => "payee-set",
        What::PolicyChanged { .. } => "policy-changed",
        What::TermsChanged(_) => "terms-changed",
        What::LoggedIn { .. } => "logged-in",
        What::Granted { .. } => "granted",
        What::Bound { .. } => "bound",
        What::Invited => "invited",
        What::Staged { .. } => "staged",
        What::Approved { .. } => "approved",
        What::Declined { .. } => "declined",
        What::Frozen { .. } => "frozen",
        What::Lifted { .. } => "freeze-lifted",
        What::DevicesRefused { .. } => "devices-refused",
        What::Refused { .. } => "refused",
        What::Repeated { .. } => "repeated",
        What::NoRoom { .. } => "no-room",
        What::Unreadable { .. } => "unreadable",
    }
}

fn describe(leaf: &mut Object, event: &Event) {
    match &event.what {
        What::Confirmed | What::Unlocked | What::CodeCounted | What::CountTakenBack | What::Invited => {}
        What::LogOpened { hsm } => {
            leaf.bytes("hsm", hsm.as_slice());
            leaf.string("tenant", event.tenant.as_ref().map_or("", TenantName::as_str));
        }
        What::Booted { boot_count, version, measurement, clock } => {
            leaf.number("boot", *boot_count);
            leaf.string("version", version);
            leaf.bytes("measurement", measurement.as_slice());
            leaf.string("clock", clock.word());
        }
        What::Enrolled { key } | What::KeyCreated { key } => leaf.bytes("key", key.as_slice()),
        What::PayeeSet { address, known, used, kind } => {
            leaf.string("address", address);
            leaf.flag("known", *known);
            leaf.approval(used, *kind);
        }
        What::PolicyChanged { version, sha256 } => {
            leaf.number("version", *version);
            leaf.bytes("sha256", sha256.as_slice());
        }
        What::TermsChanged(terms) => leaf.terms(terms),
        What::LoggedIn { key, used } => {
            leaf.bytes("key", key.as_slice());
            leaf.used(used);
        }
        What::Granted { key, used, kind, signs } => {
            leaf.bytes("key", key.as_slice());
            leaf.approval(used, *kind);
            leaf.signs(signs);
        }
        What::Bound { key, signs } | What::Repeated { key, signs } => {
            leaf.bytes("key", key.as_slice());
            leaf.signs(signs);
        }
        What::Staged { intent, key, intent_hash } => {
            leaf.bytes("intent", intent.as_slice());
            leaf.some_bytes("key", key.as_ref());
            leaf.bytes("intent_hash", intent_hash.as_slice());
        }
        What::Approved { intent, key, used, kind, signs } => {
            leaf.bytes("intent", intent.as_slice());
            leaf.bytes("key", key.as_slice());
            leaf.approval(used, *kind);
            leaf.signs(signs);
        }
        What::Declined { intent } => leaf.bytes("intent", intent.as_slice()),
        What::Frozen { freeze } | What::Lifted { freeze } => leaf.number("freeze", *freeze),
        What::Refused { act, key, reason, because } => {
            leaf.string("act", act);
            leaf.some_bytes("key", key.as_ref());
            leaf.string("reason", reason.word());
            if let Some(because) = because {
                leaf.string("because", because);
            }
        }
        What::DevicesRefused { count } | What::NoRoom { count } | What::Unreadable { count } => {
            leaf.number("count", *count);
        }
    }
}

/// A JSON object that is being written.
struct Object(String);

impl Object {
    fn new() -> Self {
        Self(String::with_capacity(512))
    }

    fn name(&mut self, name: &str) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        quote(&mut self.0, name);
        self.0.push(':');
    }

    fn string(&mut self, name: &str, text: &str) {
        self.name(name);
        quote(&mut self.0, text);
    }

    fn number(&mut self, name: &str, number: u64) {
        self.name(name);
        write!(self.0, "{number}").expect("a string takes everything");
    }

    fn flag(&mut self, name: &str, flag: bool) {
        self.name(name);
        self.0.push_str(if flag { "true" } else { "false" });
    }

    fn bytes(&mut self, name: &str, bytes: &[u8]) {
        self.name(name);
        self.hex(bytes);
    }

    fn hex(&mut self, bytes: &[u8]) {
        self.0.push('"');
        HEXLOWER.encode_append(bytes, &mut self.0);
        self.0.push('"');
    }

    fn some_bytes<const N: usize>(&mut self, name: &str, bytes: Option<&ByteArray<N>>) {
        if let Some(bytes) = bytes {
            self.bytes(name, bytes.as_slice());
        }
    }

    /// What approved it, and what of it was used up.
    fn approval(&mut self, used: &Used, kind: ApprovalKind) {
        self.string("approval", kind.word());
        self.used(used);
    }

    fn terms(&mut self, terms: &Terms) {
        self.bytes("api_key", terms.api_key.as_slice());
        self.flag("plain_enrolment", terms.plain_enrolment);
        for (name, number) in
            [("failures_per_hour", terms.failures_per_hour), ("accounts_max", terms.accounts_max)]
        {
            if let Some(number) = number {
                self.number(name, number.into());
            }
        }
        self.string("log_names", terms.log_names.word());
    }

    fn used(&mut self, used: &Used) {
        match used {
            Used::Step(step) => self.number("used_step", *step),
            Used::Passkey(credential) => self.bytes("used_passkey", credential),
            Used::Prior(intent) => self.bytes("used_intent", intent.as_slice()),
            Used::Login => self.flag("used_login", true),
        }
    }

    fn signs(&mut self, signs: &Signs) {
        self.name("digests");
        self.0.push('[');
        for (place, digest) in signs.digests.iter().enumerate() {
            if place > 0 {
                self.0.push(',');
            }
            self.hex(digest.as_slice());
        }
        self.0.push(']');
        if !signs.rule.is_empty() {
            self.string("rule", &signs.rule);
        }
        self.bytes("summary_sha256", signs.summary_sha256.as_slice());
        if !signs.summary.is_empty() {
            self.summary(&signs.summary);
        }
    }

    fn summary(&mut self, summary: &str) {
        let before = self.0.len();
        self.name("summary");
        let begin = self.0.len();
        quote(&mut self.0, summary);
        if self.0.len() - begin > SUMMARY_AS_STRING_MAX_BYTES {
            self.0.truncate(before);
            self.string("summary_base64", &BASE64.encode(summary.as_bytes()));
        }
    }

    fn finish(mut self) -> Vec<u8> {
        self.0.push('}');
        self.0.into_bytes()
    }
}

/// RFC 8785 section 3.2.2.2.
fn quote(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            control if control < ' ' => {
                write!(out, "\\u{:04x}", u32::from(control)).expect("a string takes everything");
            }
            shown => out.push(shown),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests;
