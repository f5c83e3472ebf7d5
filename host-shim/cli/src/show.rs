//! What is shown for each answer: the JSON shape for programs, and a text for people.
//!
//! * `account`: accounts and enrolments;
//! * `attest`: attestations;
//! * `intent`: staged intents, receipts, identities.

pub(crate) mod account;
pub(crate) mod attest;
pub(crate) mod intent;
pub(crate) mod log;

use anstyle::{AnsiColor, Style};
use countersign_wire::client::{ApprovalKind, KeyInfo, Mechanism, Network, Signed, Status};
use countersign_wire::path::DerivationPath;
use data_encoding::{BASE64, HEXLOWER};
use serde::Serialize;
use std::fmt::Write;
use zeroize::Zeroizing;

/// An answer that can be shown to programs (its JSON shape) and to people.
pub(crate) trait Show: Serialize {
    /// Appends the text for a person.
    fn for_people(&self, out: &mut String);
}

/// One answer as text, ready to be written out.
pub(crate) fn text(answer: &impl Show, json: bool) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(4096));
    if json {
        *out = serde_json::to_string(answer).expect("the shapes have only strings, numbers, lists and names");
        out.push('\n');
    } else {
        answer.for_people(&mut out);
    }
    out
}

/// Text from elsewhere, without what could steer a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// "4 minutes 59 seconds": the two largest units.
pub(crate) fn duration(secs: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")];
    let at = UNITS.iter().position(|(unit, _)| secs >= *unit).unwrap_or(UNITS.len() - 1);
    let mut text = String::new();
    let mut rest = secs;
    for (unit, name) in UNITS.iter().skip(at).take(2) {
        let count = rest / unit;
        rest %= unit;
        if count > 0 || text.is_empty() {
            let (gap, plural) = (if text.is_empty() { "" } else { " " }, if count == 1 { "" } else { "s" });
            let _ = write!(text, "{gap}{count} {name}{plural}");
        }
    }
    text
}

/// "2026-03-01 12:00:05 UTC". Days to date after Howard Hinnant's `civil_from_days`.
pub(crate) fn utc(unix_time_secs: u64) -> String {
    let (days, secs) = (unix_time_secs / 86_400, unix_time_secs % 86_400);
    let shifted = days + 719_468; // days since 0000-03-01
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hours, minutes) = (secs / 3600, secs % 3600 / 60);
    format!("{year:04}-{month:02}-{day:02} {hours:02}:{minutes:02}:{:02} UTC", secs % 60)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

pub(crate) fn hex_0x(bytes: &[u8]) -> String {
    format!("0x{}", hex(bytes))
}

pub(crate) fn line(out: &mut String, label: &str, value: &str) {
    let dim = Style::new().dimmed();
    let _ = writeln!(out, "{dim}{label:<14}{dim:#}{}", printable(value));
}

pub(crate) fn headline(out: &mut String, text: &str) {
    coloured(out, AnsiColor::Green, text);
}

pub(crate) fn warning(out: &mut String, text: &str) {
    coloured(out, AnsiColor::Yellow, text);
}

fn coloured(out: &mut String, colour: AnsiColor, text: &str) {
    let style = Style::new().bold().fg_color(Some(colour.into()));
    let _ = writeln!(out, "{style}{text}{style:#}");
}

/// `status`.
#[derive(Serialize)]
pub(crate) struct StatusShown {
    version: String,
    hsm_id: String,
    measurement: String,
    clock: &'static str,
    unix_time: u64,
    clock_sure: bool,
    keystore: String,
    boot_count: u64,
    missing_sandbox_layers: Vec<String>,
    store_room_bytes: Option<u64>,
    refused_for_room: u64,
}

impl From<Status> for StatusShown {
    fn from(status: Status) -> Self {
        Self {
            version: status.version,
            hsm_id: hex(&*status.hsm_id),
            measurement: hex(&*status.measurement),
            clock: status.clock.word(),
            unix_time: status.unix_time_secs,
            clock_sure: status.clock_sure,
            keystore: status.keystore,
            boot_count: status.boot_count,
            missing_sandbox_layers: status.missing_sandbox_layers,
            store_room_bytes: status.store_room_bytes,
            refused_for_room: status.refused_for_room,
        }
    }
}

impl Show for StatusShown {
    fn for_people(&self, out: &mut String) {
        match (self.clock_sure, self.missing_sandbox_layers.is_empty()) {
            (true, true) => headline(out, "The HSM is ready."),
            (true, false) => warning(out, "The HSM runs, but its sandbox is not complete."),
            (false, true) => warning(out, "The HSM runs, but refuses codes: its clock is unsure."),
            (false, false) => {
                warning(
                    out,
                    "The HSM runs, but refuses codes: its clock is unsure. Its sandbox is not complete.",
                );
            }
        }
        line(out, "HSM", &self.hsm_id);
        line(out, "Plugin", &self.version);
        line(out, "Measurement", &self.measurement);
        line(out, "Clock", &format!("{}, {} ({})", self.clock, utc(self.unix_time), self.unix_time));
        if !self.clock_sure {
            line(
                out,
                "",
                "UNSURE: the clock is behind time already seen; codes are refused until an operator sets it",
            );
        }
        line(out, "Keystore", &self.keystore);
        line(out, "Boots", &self.boot_count.to_string());
        if self.missing_sandbox_layers.is_empty() {
            line(out, "Sandbox", "complete");
        } else {
            line(out, "Sandbox", &format!("WEAK, without: {}", self.missing_sandbox_layers.join(", ")));
        }
        let room = self.store_room_bytes.map(|bytes| format!("{} MiB", bytes / (1024 * 1024)));
        line(out, "Store's room", &room.unwrap_or_else(|| "unknown".to_owned()));
        if self.refused_for_room > 0 {
            line(out, "", &format!("{} requests were refused for want of room", self.refused_for_room));
        }
    }
}

/// `clock show`.
#[derive(Serialize)]
pub(crate) struct ClockShown {
    unix_time: u64,
    clock: &'static str,
}

impl From<Status> for ClockShown {
    fn from(status: Status) -> Self {
        Self { unix_time: status.unix_time_secs, clock: status.clock.word() }
    }
}

impl Show for ClockShown {
    fn for_people(&self, out: &mut String) {
        line(out, "Time", &format!("{} ({})", utc(self.unix_time), self.unix_time));
        line(out, "Clock", self.clock);
    }
}

/// `clock advance`.
#[derive(Serialize)]
pub(crate) struct Advanced {
    pub(crate) unix_time: u64,
}

impl Show for Advanced {
    fn for_people(&self, out: &mut String) {
        line(out, "Time", &format!("{} ({})", utc(self.unix_time), self.unix_time));
    }
}

/// One key; all of `key create`, and part of other answers.
#[derive(Serialize)]
pub(crate) struct KeyShown {
    label: String,
    id: String,
    public_key: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    ethereum_address: String,
    mechanisms: Vec<Mechanism>,
    floor: ApprovalKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<Network>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<DerivationPath>,
    #[serde(skip_serializing_if = "Option::is_none")]
    xpub: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    descriptor: Option<String>,
}

impl From<&KeyInfo> for KeyShown {
    fn from(key: &KeyInfo) -> Self {
        Self {
            label: key.label.to_string(),
            id: hex(&*key.id),
            public_key: hex(&*key.public_key),
            ethereum_address: key.ethereum_address.clone(),
            mechanisms: key.plan.mechanisms.clone(),
            floor: key.plan.floor,
            network: key.plan.network,
            path: key.plan.path.clone(),
            xpub: key.watch.as_ref().map(|watch| watch.xpub.clone()),
            descriptor: key.watch.as_ref().map(|watch| watch.descriptor.clone()),
        }
    }
}

impl Show for KeyShown {
    fn for_people(&self, out: &mut String) {
        let words: Vec<&str> = self.mechanisms.iter().map(|mechanism| mechanism.word()).collect();
        line(out, "Key", &self.label);
        line(out, "  signs", &words.join(", "));
        line(out, "  floor", self.floor.word());
        match self.network {
            None => line(out, "  address", &self.ethereum_address),
            Some(network) => line(out, "  network", network.word()),
        }
        let facts = [
            ("  path", self.path.as_ref().map(ToString::to_string)),
            ("  xpub", self.xpub.clone()),
            ("  watch", self.descriptor.clone()),
        ];
        for (label, fact) in facts {
            if let Some(fact) = fact {
                line(out, label, &fact);
            }
        }
        line(out, "  id", &self.id);
        line(out, "  public key", &self.public_key);
    }
}

/// `key list`.
#[derive(Serialize)]
pub(crate) struct KeysShown {
    pub(crate) keys: Vec<KeyShown>,
}

impl Show for KeysShown {
    fn for_people(&self, out: &mut String) {
        if self.keys.is_empty() {
            out.push_str("No keys.\n");
        }
        for key in &self.keys {
            key.for_people(out);
        }
    }
}

/// `sign`.
#[derive(Serialize)]
pub(crate) struct SignedShown {
    signature: String,
    hash: String,
    digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_transaction: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    psbt: Option<String>,
    summary: String,
}

impl From<Signed> for SignedShown {
    fn from(signed: Signed) -> Self {
        let digest = hex_0x(&*signed.digest);
        Self {
            signature: format!("{}{:02x}", hex_0x(&*signed.signature), signed.y_parity),
            hash: signed.transaction_hash.map_or_else(|| digest.clone(), |hash| hex_0x(&*hash)),
            digest,
            raw_transaction: signed.raw_transaction.map(|raw| hex_0x(&raw)),
            psbt: signed.psbt.map(|psbt| BASE64.encode(&psbt)),
            summary: signed.summary,
        }
    }
}

impl Show for SignedShown {
    fn for_people(&self, out: &mut String) {
        headline(out, "Signed:");
        for told in self.summary.lines() {
            out.push_str(&printable(told));
            out.push('\n');
        }
        out.push('\n');
        if let Some(psbt) = &self.psbt {
            line(out, "PSBT", psbt);
            out.push_str("The PSBT holds the signatures: finalise it and broadcast.\n");
            return;
        }
        line(out, "Signature", &self.signature);
        line(out, "Digest", &self.digest);
        if let Some(raw) = &self.raw_transaction {
            line(out, "Transaction", &self.hash);
            line(out, "Raw", raw);
            out.push_str("The raw transaction is complete: broadcast it as it is.\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_show_their_two_largest_units() {
        for (secs, text) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (299, "4 minutes 59 seconds"),
            (300, "5 minutes"),
            (3600, "1 hour"),
            (3605, "1 hour"),
            (90_000, "1 day 1 hour"),
            (172_800 + 7200 + 59, "2 days 2 hours"),
        ] {
            assert_eq!(duration(secs), text, "{secs}");
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (secs, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_111_111_109, "2005-03-18 01:58:29 UTC"),
            (1_709_164_800, "2024-02-29 00:00:00 UTC"),
            (20_000_000_000, "2603-10-11 11:33:20 UTC"),
        ] {
            assert_eq!(utc(secs), text, "{secs}");
        }
    }

    #[test]
    fn control_characters_are_replaced() {
        assert_eq!(printable("a\x1b[31mb\r\n\u{9b}c"), "a\u{fffd}[31mb\u{fffd}\u{fffd}\u{fffd}c");
    }
}
