//! Staged intents, receipts, identities.

use super::{Show, duration, headline, hex, hex_0x, line, printable, utc, warning};
use countersign_client::device::{Hsm, Root, VerifiedReceipt};
use countersign_wire::client::{IntentInfo, Staged};
use serde::Serialize;
use std::path::Path;

/// The summary as people read it: all of it, warnings first.
pub(crate) fn summary(out: &mut String, text: &str) {
    let (warnings, rest): (Vec<&str>, Vec<&str>) =
        text.lines().partition(|line| line.starts_with("warning: "));
    for told in warnings {
        warning(out, &printable(told));
    }
    for told in rest {
        out.push_str(&printable(told));
        out.push('\n');
    }
}

/// `account invite`.
#[derive(Serialize)]
pub(crate) struct InvitedShown {
    pub(crate) account: String,
    pub(crate) tenant: String,
    pub(crate) invitation: String,
    pub(crate) expires_in_secs: u64,
    pub(crate) root_fingerprint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) link: Option<String>,
}

impl Show for InvitedShown {
    fn for_people(&self, out: &mut String) {
        headline(out, &format!("Invited a device of {}.", self.account));
        line(out, "Tenant", &self.tenant);
        line(out, "Account", &self.account);
        line(out, "Invitation", &self.invitation);
        line(out, "Good for", &duration(self.expires_in_secs));
        line(out, "Root", &self.root_fingerprint);
        if let Some(link) = &self.link {
            line(out, "Link", link);
        }
        out.push_str("The user compares the root with the one published elsewhere, not with this line.\n");
    }
}

/// `intent stage` and `intent payee`.
#[derive(Serialize)]
pub(crate) struct StagedShown {
    intent: String,
    summary: String,
    digests: Vec<String>,
    expires_unix_time: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<String>,
}

impl StagedShown {
    pub(crate) fn new(staged: &Staged, link: Option<String>) -> Self {
        Self {
            intent: hex(&*staged.intent),
            summary: staged.summary.clone(),
            digests: staged.digests.iter().map(|digest| hex_0x(&**digest)).collect(),
            expires_unix_time: staged.expires_unix_secs,
            link,
        }
    }
}

impl Show for StagedShown {
    fn for_people(&self, out: &mut String) {
        headline(out, "Staged, for the user to approve:");
        summary(out, &self.summary);
        out.push('\n');
        line(out, "Intent", &self.intent);
        line(out, "Expires", &utc(self.expires_unix_time));
        if let Some(link) = &self.link {
            line(out, "Link", link);
        }
    }
}

/// `intent show`.
#[derive(Serialize)]
pub(crate) struct IntentShown {
    intent: String,
    state: &'static str,
    approval: Option<&'static str>,
    expires_unix_time: u64,
}

impl IntentShown {
    pub(crate) fn new(intent: &[u8; 16], info: &IntentInfo) -> Self {
        Self {
            intent: hex(intent),
            state: info.state.word(),
            approval: info.approval.map(countersign_wire::client::ApprovalKind::word),
            expires_unix_time: info.expires_unix_secs,
        }
    }
}

impl Show for IntentShown {
    fn for_people(&self, out: &mut String) {
        line(out, "Intent", &self.intent);
        line(out, "State", self.state);
        if let Some(approval) = self.approval {
            line(out, "Approved by", approval);
        }
        line(out, "Expires", &utc(self.expires_unix_time));
    }
}

/// `identity`.
#[derive(Serialize)]
pub(crate) struct IdentityShown {
    hsm_id: String,
    measurement: String,
    clock: &'static str,
    signing_key: String,
    sealing_key: String,
    root: String,
    root_fingerprint: String,
    /// Whether the root is the one that was given.
    pinned: bool,
}

impl IdentityShown {
    pub(crate) fn new(hsm: &Hsm, root: &Root, pinned: bool) -> Self {
        let identity = hsm.identity();
        Self {
            hsm_id: hex(&identity.hsm),
            measurement: hex(&identity.measurement),
            clock: identity.clock.word(),
            signing_key: hex(identity.signing_key.as_bytes()),
            sealing_key: hex(identity.sealing_key.as_bytes()),
            root: hex(hsm.endorsed().root.as_slice()),
            root_fingerprint: root.to_string(),
            pinned,
        }
    }
}

impl Show for IdentityShown {
    fn for_people(&self, out: &mut String) {
        if self.pinned {
            headline(out, "The HSM is endorsed by the root that you trust.");
        } else {
            warning(
                out,
                "This is what the HSM says of itself: compare the root with one from somewhere else.",
            );
        }
        line(out, "HSM", &self.hsm_id);
        line(out, "Measurement", &self.measurement);
        clock(out, self.clock);
        line(out, "Signing key", &self.signing_key);
        line(out, "Sealing key", &self.sealing_key);
        line(out, "Root", &self.root_fingerprint);
    }
}

/// A clock, and what a manual one means.
pub(crate) fn clock(out: &mut String, word: &str) {
    let told = if word == "manual" { "manual: this HSM is for tests, never for money" } else { word };
    line(out, "Clock", told);
}

/// `receipt find`, `receipt verify`, and part of what devices show.
#[derive(Serialize)]
pub(crate) struct ReceiptShown {
    hsm_id: String,
    measurement: String,
    clock: &'static str,
    tenant: String,
    account: String,
    key: String,
    key_id: String,
    mechanism: String,
    digests: Vec<String>,
    summary: String,
    approval: &'static str,
    counter: u64,
    unix_time: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

impl ReceiptShown {
    pub(crate) fn new(verified: &VerifiedReceipt, file: Option<&Path>) -> Self {
        let (receipt, identity) = (verified.receipt(), verified.identity());
        Self {
            hsm_id: hex(&receipt.hsm),
            measurement: hex(&receipt.measurement),
            clock: identity.clock.word(),
            tenant: receipt.tenant.clone(),
            account: receipt.account.clone(),
            key: receipt.key.clone(),
            key_id: hex(&receipt.key_id),
            mechanism: receipt.mechanism.clone(),
            digests: receipt.digests.iter().map(|digest| hex_0x(digest)).collect(),
            summary: receipt.summary.clone(),
            approval: receipt.approval.word(),
            counter: receipt.counter,
            unix_time: receipt.time_unix_secs,
            file: file.map(|file| file.display().to_string()),
        }
    }
}

impl Show for ReceiptShown {
    fn for_people(&self, out: &mut String) {
        headline(out, "The receipt is good. The HSM signed:");
        summary(out, &self.summary);
        out.push('\n');
        line(out, "Key", &self.key);
        line(out, "Approved by", self.approval);
        line(out, "Number", &self.counter.to_string());
        line(out, "Time", &utc(self.unix_time));
        line(out, "Tenant", &self.tenant);
        line(out, "HSM", &self.hsm_id);
        line(out, "Measurement", &self.measurement);
        clock(out, self.clock);
        for digest in &self.digests {
            line(out, "Digest", digest);
        }
        if let Some(file) = &self.file {
            line(out, "Saved", file);
        }
    }
}
