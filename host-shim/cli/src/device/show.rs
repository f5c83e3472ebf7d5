//! What a device shows.

use crate::device::enrol::keys_of;
use crate::device::file::Contents;
use crate::show::account::secret_in;
use crate::show::intent::{clock, summary};
use crate::show::{Show, duration, headline, hex, hex_0x, line, utc, warning};
use countersign_client::device::statement::{AccountView, KeyEntry};
use countersign_client::device::{AccountSeen, Enrolled, Hsm, IntentSeen};
use serde::Serialize;
use std::path::Path;
use zeroize::Zeroizing;

/// A key whose address was checked here.
#[derive(Serialize)]
pub(super) struct KeySeen {
    label: String,
    id: String,
    public_key: String,
    mechanisms: Vec<String>,
    floor: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    network: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    path: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    address: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    xpub: String,
}

impl From<&KeyEntry> for KeySeen {
    fn from(key: &KeyEntry) -> Self {
        Self {
            label: key.key.clone(),
            id: hex(&key.key_id),
            public_key: hex(&key.public_key),
            mechanisms: key.mechanisms.clone(),
            floor: key.floor.word(),
            network: key.network.clone(),
            path: key.path.clone(),
            address: key.address.clone(),
            xpub: key.xpub.clone(),
        }
    }
}

impl KeySeen {
    fn for_people(&self, out: &mut String) {
        line(out, "Key", &self.label);
        line(out, "  signs", &self.mechanisms.join(", "));
        line(out, "  floor", self.floor);
        let facts = [
            ("network", &self.network),
            ("path", &self.path),
            ("address", &self.address),
            ("xpub", &self.xpub),
        ];
        for (label, fact) in facts.into_iter().filter(|(_, fact)| !fact.is_empty()) {
            line(out, &format!("  {label}"), fact);
        }
    }
}

/// `device enroll`. Borrows the secret, which its owner wipes.
#[derive(Serialize)]
pub(super) struct EnrolledShown<'a> {
    account: &'a str,
    tenant: &'a str,
    device: String,
    otpauth: &'a str,
    pub(super) confirmed: bool,
    confirm_within_secs: u64,
    hsm_id: String,
    measurement: String,
    clock: &'static str,
    policy: String,
    keys: Vec<KeySeen>,
    keys_file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) qr_file: Option<String>,
    #[serde(skip)]
    pub(super) qr: Option<Zeroizing<String>>,
}

impl<'a> EnrolledShown<'a> {
    pub(super) fn new(enrolled: &'a Enrolled, device: String, keys_file: &Path) -> Self {
        let receipt = enrolled.receipt();
        Self {
            account: &receipt.account,
            tenant: &receipt.tenant,
            device,
            otpauth: enrolled.otpauth(),
            confirmed: false,
            confirm_within_secs: enrolled.confirm_within_secs(),
            hsm_id: hex(&receipt.hsm),
            measurement: hex(&receipt.measurement),
            clock: receipt.clock.word(),
            policy: hex(&receipt.policy),
            keys: keys_of(&receipt.keys),
            keys_file: keys_file.display().to_string(),
            qr_file: None,
            qr: None,
        }
    }

    /// What the authenticator takes, once everything was checked.
    pub(super) fn to_scan(&self) -> Zeroizing<String> {
        let mut out = Zeroizing::new(String::with_capacity(8192));
        headline(
            &mut out,
            "The HSM is the one that you trust, and the new account has no factor but this device's.",
        );
        if let Some(qr) = &self.qr {
            out.push('\n');
            out.push_str(qr);
            out.push_str("\nScan this with an authenticator app. It is shown only this once.\n");
        }
        if let Some(secret) = secret_in(self.otpauth) {
            line(&mut out, "Secret", secret);
        }
        line(&mut out, "Link", self.otpauth);
        if let Some(file) = &self.qr_file {
            line(&mut out, "QR code", &format!("{file} (holds the secret: delete it once it is scanned)"));
        }
        out
    }

    /// The account, and where its keys are.
    pub(super) fn after_confirming(&self, out: &mut String) {
        if self.confirmed {
            headline(out, &format!("Enrolled {} on this device.", self.account));
        } else {
            let within = duration(self.confirm_within_secs);
            warning(
                out,
                &format!("Not finished: within {within}, give two codes with countersign device confirm."),
            );
        }
        line(out, "Account", &format!("{} of {}", self.account, self.tenant));
        line(out, "HSM", &self.hsm_id);
        line(out, "Measurement", &self.measurement);
        clock(out, self.clock);
        line(out, "Policy", &self.policy);
        for key in &self.keys {
            key.for_people(out);
        }
        line(out, "Device keys", &format!("{} (keep a copy, and the passphrase)", self.keys_file));
    }
}

impl Show for EnrolledShown<'_> {
    fn for_people(&self, out: &mut String) {
        out.push_str(&self.to_scan());
        out.push('\n');
        self.after_confirming(out);
    }
}

/// `device approve`: what is shown before the code is asked for, and what came of it.
#[derive(Serialize)]
pub(super) struct ApprovedShown {
    intent: String,
    pub(super) state: &'static str,
    purpose: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    key: String,
    mechanism: String,
    summary: String,
    floor: &'static str,
    digests: Vec<String>,
    intent_hash: String,
    approval_digest: String,
    expires_unix_time: u64,
    clock: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) counter: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) receipt_file: Option<String>,
    #[serde(skip)]
    expires_in_secs: u64,
    #[serde(skip)]
    verbose: bool,
}

impl ApprovedShown {
    pub(super) fn new(seen: &IntentSeen, clock: &'static str, verbose: bool) -> Self {
        let view = seen.view();
        Self {
            intent: hex(&view.intent),
            state: view.state.word(),
            purpose: view.purpose.word(),
            key: view.key.clone(),
            mechanism: view.mechanism.clone(),
            summary: view.summary.clone(),
            floor: view.floor.word(),
            digests: view.digests.iter().map(|digest| hex_0x(digest)).collect(),
            intent_hash: hex(&view.intent_hash()),
            approval_digest: hex(&view.approval_digest()),
            expires_unix_time: view.expires_unix_secs,
            clock,
            counter: None,
            receipt_file: None,
            expires_in_secs: seen.expires_in_secs(),
            verbose,
        }
    }

    /// What is said once it is approved.
    pub(super) fn outcome(&self) -> Zeroizing<String> {
        let mut out = Zeroizing::new(String::new());
        match self.counter {
            Some(counter) => {
                headline(&mut out, &format!("Approved and signed: signature {counter} of this account."));
            }
            None if self.state == "signed" => headline(&mut out, "Approved, and done."),
            None => headline(&mut out, "Approved: good for one signature of exactly this, within 5 minutes."),
        }
        if let Some(file) = &self.receipt_file {
            line(&mut out, "Receipt", file);
        }
        out
    }
}

impl Show for ApprovedShown {
    fn for_people(&self, out: &mut String) {
        let asked = if self.purpose == "payee" {
            "You are asked to approve a payee:"
        } else {
            "You are asked to approve:"
        };
        headline(out, asked);
        summary(out, &self.summary);
        out.push('\n');
        if !self.key.is_empty() {
            line(out, "Key", &self.key);
        }
        line(out, "Signed as", &self.mechanism);
        line(out, "State", self.state);
        line(out, "Expires in", &duration(self.expires_in_secs));
        if self.clock == "manual" {
            clock(out, self.clock);
        }
        if self.verbose {
            for digest in &self.digests {
                line(out, "Digest", digest);
            }
            line(out, "Intent hash", &self.intent_hash);
            line(out, "Approves", &self.approval_digest);
        }
    }
}

/// What was done to an account.
#[derive(Serialize)]
pub(super) struct ActShown {
    pub(super) account: String,
    pub(super) state: &'static str,
}

impl Show for ActShown {
    fn for_people(&self, out: &mut String) {
        let told = match self.state {
            "confirmed" => "The enrolment is finished: the account can sign what you approve.",
            "unlocked" => "The account is open again.",
            "frozen" => "The account is frozen: it signs nothing until the HSM's operators lift it.",
            "declined" => "Declined: it will not be signed.",
            _ => "The recovery is cancelled.",
        };
        headline(out, told);
        line(out, "Account", &self.account);
    }
}

#[derive(Serialize)]
struct Entry {
    counter: u64,
    unix_time: u64,
    approval: &'static str,
    key: String,
    intent_hash: String,
    headline: String,
    /// Whether it was approved on this device.
    known: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<String>,
}

/// `device history`.
#[derive(Serialize)]
pub(super) struct HistoryShown {
    account: String,
    signatures: u64,
    entries: Vec<Entry>,
}

impl HistoryShown {
    pub(super) fn new(seen: &AccountSeen, contents: &Contents) -> Self {
        let view = seen.view();
        let entries = view.history.iter().map(|entry| {
            let intent_hash = hex(&entry.intent_hash);
            let summary = contents.summary_of(&intent_hash).map(str::to_owned);
            Entry {
                counter: entry.counter,
                unix_time: entry.time_unix_secs,
                approval: entry.approval.word(),
                key: entry.key.clone(),
                headline: entry.headline.clone(),
                known: summary.is_some(),
                summary,
                intent_hash,
            }
        });
        Self { account: view.account.clone(), signatures: view.signatures, entries: entries.collect() }
    }
}

impl Show for HistoryShown {
    fn for_people(&self, out: &mut String) {
        line(out, "Account", &self.account);
        line(out, "Signatures", &self.signatures.to_string());
        for entry in &self.entries {
            let head = format!("{}  {}", utc(entry.unix_time), entry.headline);
            line(out, &format!("  {}", entry.counter), &head);
            line(out, "", &format!("{}, approved by {}", entry.key, entry.approval));
            if !entry.known {
                warning(
                    out,
                    "              Not approved on this device: elsewhere, or so long ago that it was forgotten.",
                );
            }
        }
    }
}

#[derive(Serialize)]
struct Waiting {
    intent: String,
    state: &'static str,
    expires_unix_time: u64,
}

/// `device show`.
#[derive(Serialize)]
pub(super) struct DeviceShown {
    account: String,
    tenant: String,
    state: &'static str,
    locked_for_secs: u64,
    signatures: u64,
    intents: Vec<Waiting>,
    keys: Vec<KeySeen>,
    receipts: usize,
    hsm_id: String,
    measurement: String,
    clock: &'static str,
    root_fingerprint: String,
}

impl DeviceShown {
    pub(super) fn new(hsm: &Hsm, view: &AccountView, contents: &Contents) -> Self {
        let intents = view.intents.iter().map(|intent| Waiting {
            intent: hex(&intent.intent),
            state: intent.state.word(),
            expires_unix_time: intent.expires_unix_secs,
        });
        Self {
            account: view.account.clone(),
            tenant: view.tenant.clone(),
            state: view.state.word(),
            locked_for_secs: view.locked_for_secs,
            signatures: view.signatures,
            intents: intents.collect(),
            keys: keys_of(&view.keys),
            receipts: contents.receipts.len(),
            hsm_id: hex(&view.hsm),
            measurement: hex(&hsm.identity().measurement),
            clock: hsm.identity().clock.word(),
            root_fingerprint: contents.root.clone(),
        }
    }
}

impl Show for DeviceShown {
    fn for_people(&self, out: &mut String) {
        line(out, "Account", &format!("{} of {}", self.account, self.tenant));
        let state = match (self.state, self.locked_for_secs) {
            ("open", _) => "waiting for two codes (device confirm)".to_owned(),
            ("frozen", _) => "FROZEN; the HSM's operators can lift it".to_owned(),
            (state, 0) => state.to_owned(),
            (_, secs) => format!("locked for {} (device unlock)", duration(secs)),
        };
        line(out, "  state", &state);
        line(out, "  signed", &self.signatures.to_string());
        for intent in &self.intents {
            line(
                out,
                "  intent",
                &format!("{} {}, until {}", intent.intent, intent.state, utc(intent.expires_unix_time)),
            );
        }
        for key in &self.keys {
            key.for_people(out);
        }
        line(out, "HSM", &self.hsm_id);
        line(out, "Measurement", &self.measurement);
        clock(out, self.clock);
        line(out, "Root", &self.root_fingerprint);
    }
}
