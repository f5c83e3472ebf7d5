//! The audit log.

use super::{Show, headline, hex, line, utc, warning};
use countersign_client::log::tlog::Checkpoint;
use countersign_client::log::{Cosigned, Exported, Verified};
use serde::Serialize;
use serde_json::Value;
use std::fmt::Write;
use std::path::Path;

/// `log export`.
#[derive(Serialize)]
pub(crate) struct ExportedShown {
    folder: String,
    origin: String,
    size: u64,
    new: u64,
    root: String,
    vkey: String,
    /// Whether the key was known from somewhere else than the log.
    key_given: bool,
}

impl ExportedShown {
    pub(crate) fn new(exported: &Exported, folder: &Path, key_given: bool) -> Self {
        let Checkpoint { origin, size, root, .. } = &exported.checkpoint;
        Self {
            folder: folder.display().to_string(),
            origin: origin.clone(),
            size: *size,
            new: exported.new,
            root: hex(root),
            vkey: exported.vkey.clone(),
            key_given,
        }
    }
}

impl Show for ExportedShown {
    fn for_people(&self, out: &mut String) {
        headline(out, &format!("{} new entries; the log has {}.", self.new, self.size));
        line(out, "Folder", &self.folder);
        line(out, "Log", &self.origin);
        line(out, "Root", &self.root);
        line(out, "Key", &self.vkey);
        if !self.key_given {
            warning(
                out,
                "Nothing ties this key to the HSM: name its attestation with --attestation and --root.",
            );
        }
    }
}

/// One entry.
#[derive(Serialize)]
pub(crate) struct EntryShown {
    index: u64,
    entry: Value,
}

impl EntryShown {
    pub(crate) fn new(index: u64, entry: &[u8]) -> Self {
        // Whoever is shown what is no JSON sees it as text.
        let text = || Value::String(String::from_utf8_lossy(entry).into_owned());
        Self { index, entry: serde_json::from_slice(entry).unwrap_or_else(|_| text()) }
    }

    fn field(&self, name: &str) -> &str {
        self.entry.get(name).and_then(Value::as_str).unwrap_or_default()
    }
}

impl Show for EntryShown {
    fn for_people(&self, out: &mut String) {
        let time = self.entry.get("time").and_then(Value::as_u64).map(utc).unwrap_or_default();
        let mut text = format!("{time}  {:<14}{}", self.field("what"), self.field("account"));
        if let Some(fields) = self.entry.as_object() {
            let told = ["v", "time", "of", "what", "account", "summary", "summary_sha256", "summary_base64"];
            for (name, value) in fields.iter().filter(|(name, _)| !told.contains(&name.as_str())) {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let _ = write!(text, " {name}={value}");
            }
        }
        line(out, &self.index.to_string(), &text);
        for summary in self.field("summary").lines() {
            line(out, "", &format!("    {summary}"));
        }
    }
}

/// `log tail`.
#[derive(Serialize)]
pub(crate) struct TailShown {
    pub(crate) entries: Vec<EntryShown>,
}

impl Show for TailShown {
    fn for_people(&self, out: &mut String) {
        for entry in &self.entries {
            entry.for_people(out);
        }
    }
}

#[derive(Serialize)]
struct WitnessShown {
    name: String,
    unix_time: u64,
}

/// `log verify`.
#[derive(Serialize)]
pub(crate) struct VerifiedShown {
    origin: String,
    size: u64,
    root: String,
    witnesses: Vec<WitnessShown>,
    seen_before: Option<u64>,
    /// Whether the key came from somewhere else than the folder.
    key_given: bool,
}

impl VerifiedShown {
    pub(crate) fn new(verified: Verified, key_given: bool) -> Self {
        let Checkpoint { origin, size, root, .. } = verified.checkpoint;
        let witnesses = verified.witnesses.into_iter();
        let witnesses = witnesses.map(|(name, unix_time)| WitnessShown { name, unix_time }).collect();
        Self { origin, size, root: hex(&root), witnesses, seen_before: verified.seen_before, key_given }
    }
}

impl Show for VerifiedShown {
    fn for_people(&self, out: &mut String) {
        headline(out, &format!("All {} entries are as the HSM signed them.", self.size));
        line(out, "Log", &self.origin);
        line(out, "Root", &self.root);
        for witness in &self.witnesses {
            line(out, "Witness", &format!("{}, {}", witness.name, utc(witness.unix_time)));
        }
        match self.seen_before {
            Some(seen) => line(out, "Goes on from", &format!("the {seen} entries that were verified before")),
            None => line(out, "Goes on from", "nothing: no log was verified here before"),
        }
        if !self.key_given {
            warning(
                out,
                "The key lies beside the log: name the HSM's attestation with --attestation and --root, or the key with --vkey.",
            );
        }
    }
}

/// `log prove`.
#[derive(Serialize)]
pub(crate) struct ProofShown {
    proof: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

impl ProofShown {
    pub(crate) fn new(proof: String, of: Option<(u64, &[u8])>, file: Option<&Path>) -> Self {
        Self {
            proof,
            index: of.map(|(index, _)| index),
            entry: of.map(|(_, entry)| String::from_utf8_lossy(entry).into_owned()),
            file: file.map(|file| file.display().to_string()),
        }
    }
}

impl Show for ProofShown {
    fn for_people(&self, out: &mut String) {
        let Some(file) = &self.file else {
            out.push_str(&self.proof);
            return;
        };
        headline(out, "Proved.");
        line(out, "Written to", file);
        if let Some(entry) = &self.entry {
            line(out, "Entry", entry);
        }
    }
}

/// `log cosign`.
#[derive(Serialize)]
pub(crate) struct CosignedShown {
    origin: String,
    size: u64,
    before: u64,
    unix_time: u64,
    vkey: String,
}

impl CosignedShown {
    pub(crate) fn new(cosigned: &Cosigned, vkey: String, unix_time: u64) -> Self {
        let Checkpoint { origin, size, .. } = &cosigned.checkpoint;
        Self { origin: origin.clone(), size: *size, before: cosigned.before, unix_time, vkey }
    }
}

impl Show for CosignedShown {
    fn for_people(&self, out: &mut String) {
        headline(
            out,
            &format!("Signed {} entries; {} when this witness signed last.", self.size, self.before),
        );
        line(out, "Log", &self.origin);
        line(out, "Witness", &self.vkey);
    }
}

/// `log witness-key`.
#[derive(Serialize)]
pub(crate) struct WitnessKeyShown {
    vkey: String,
    file: String,
}

impl WitnessKeyShown {
    pub(crate) fn new(vkey: String, file: &Path) -> Self {
        Self { vkey, file: file.display().to_string() }
    }
}

impl Show for WitnessKeyShown {
    fn for_people(&self, out: &mut String) {
        headline(out, "Made a witness's key.");
        line(out, "Key", &self.vkey);
        line(out, "Secret", &self.file);
    }
}
