//! Attestations.

use super::{Show, headline, hex, line, utc, warning};
use crate::attest::log_key;
use countersign_attestation::claims::Claims;
use countersign_attestation::{Attestation, Expected, Refused};
use data_encoding::BASE64URL_NOPAD;
use serde::Serialize;
use std::path::Path;

/// `attest`.
#[derive(Serialize)]
pub(crate) struct AttestedShown {
    nonce: String,
    attestation: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

impl AttestedShown {
    pub(crate) fn new(nonce: &[u8], attestation: &[u8], file: Option<&Path>) -> Self {
        Self {
            nonce: hex(nonce),
            attestation: BASE64URL_NOPAD.encode(attestation),
            file: file.map(|file| file.display().to_string()),
        }
    }
}

impl Show for AttestedShown {
    fn for_people(&self, out: &mut String) {
        line(out, "Nonce", &self.nonce);
        if let Some(file) = &self.file {
            line(out, "Attestation", file);
        } else {
            out.push_str(&self.attestation);
            out.push('\n');
        }
        out.push_str(
            "Nothing of it is checked yet: countersign attest verify does that, with the HSM's root.\n",
        );
    }
}

/// `attest verify`.
#[allow(clippy::struct_excessive_bools, reason = "each is one field of the JSON")]
#[derive(Serialize)]
pub(crate) struct AttestationShown {
    hsm_id: String,
    root_fingerprint: String,
    measurement: String,
    image_version: String,
    version: String,
    development: bool,
    unix_time: u64,
    clock: String,
    clock_sure: bool,
    keystore: String,
    boundary: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<String>,
    sandbox_layers: Vec<String>,
    missing_sandbox_layers: Vec<String>,
    hardware_model: String,
    firmware_version: String,
    lineage: LineageShown,
    #[serde(skip_serializing_if = "Option::is_none")]
    release_keys: Option<ReleaseKeysShown>,
    tenant: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<PolicyShown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    officers: Option<String>,
    boot_count: u64,
    store_head: String,
    statement_key: String,
    sealing_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_key: Option<String>,
    /// The same as checkpoints are verified with: under the name of the tenant's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    log_vkey: Option<String>,
    attestation_key: String,
    /// Whether the nonce was checked, whether the measurement was, and whether the virtual machine's was.
    fresh: bool,
    measurement_expected: bool,
    platform_expected: bool,
    weaknesses: Vec<&'static str>,
    #[serde(skip)]
    told: Vec<&'static str>,
}

#[derive(Serialize)]
struct LineageShown {
    first: String,
    upgrades: u64,
    head: String,
}

#[derive(Serialize)]
struct ReleaseKeysShown {
    sha256: String,
    threshold: u64,
}

#[derive(Serialize)]
struct PolicyShown {
    version: u64,
    sha256: String,
}

impl AttestationShown {
    pub(crate) fn new(found: &Attestation, expected: &Expected) -> Self {
        let Claims { plugin, .. } = &found.claims;
        let claims = &found.claims;
        let weaknesses = expected.weaknesses(claims);
        let sentence = |word: &str| {
            let refused = Refused::ALL.iter().find(|refused| refused.word() == word);
            refused.map_or("", |refused| refused.sentence())
        };
        Self {
            hsm_id: hex(&claims.hsm_id),
            root_fingerprint: hex(&found.root.fingerprint()),
            measurement: hex(&claims.measurement),
            image_version: claims.image_version.clone(),
            version: plugin.version.clone(),
            development: weaknesses.contains(&countersign_attestation::Allowed::DevelopmentImage),
            unix_time: claims.issued_unix_secs,
            clock: claims.clock.clone(),
            clock_sure: plugin.clock_sure,
            keystore: claims.keystore.clone(),
            boundary: claims.boundary.clone(),
            platform: claims.platform.map(|platform| hex(&platform)),
            sandbox_layers: claims.layers.clone(),
            missing_sandbox_layers: claims.missing_layers.clone(),
            hardware_model: claims.hardware_model.clone(),
            firmware_version: claims.firmware_version.clone(),
            lineage: LineageShown {
                first: hex(&claims.lineage.first),
                upgrades: claims.lineage.upgrades,
                head: hex(&claims.lineage.head),
            },
            release_keys: claims
                .release_keys
                .map(|keys| ReleaseKeysShown { sha256: hex(&keys.sha256), threshold: keys.threshold }),
            tenant: plugin.tenant.clone(),
            policy: plugin.policy.map(|(version, sha256)| PolicyShown { version, sha256: hex(&sha256) }),
            officers: plugin.officers.map(|officers| hex(&officers)),
            boot_count: plugin.boot_count,
            store_head: hex(&plugin.store_head),
            statement_key: hex(&plugin.statement_key),
            sealing_key: hex(&plugin.sealing_key),
            log_key: plugin.log_key.map(|key| hex(&key)),
            log_vkey: log_key(claims).and_then(Result::ok).map(|key| key.to_text()),
            attestation_key: hex(found.attestation_key.as_bytes()),
            fresh: expected.nonce.is_some(),
            measurement_expected: !expected.measurements.is_empty(),
            platform_expected: !expected.platforms.is_empty(),
            told: weaknesses.iter().map(|weakness| sentence(weakness.word())).collect(),
            weaknesses: weaknesses.iter().map(|weakness| weakness.word()).collect(),
        }
    }

    fn who(&self, out: &mut String) {
        line(out, "HSM", &self.hsm_id);
        line(out, "Root", &self.root_fingerprint);
        line(out, "Hardware", &format!("{} {}", self.hardware_model, self.firmware_version));
        line(out, "Time", &utc(self.unix_time));
        let sure = if self.clock_sure { "" } else { ", in doubt" };
        line(out, "Clock", &format!("{}{sure}", self.clock));
        line(out, "Keystore", &self.keystore);
        line(out, "Boundary", &format!("{}: {}", self.boundary, self.sandbox_layers.join(", ")));
        if let Some(platform) = &self.platform {
            line(out, "Platform", platform);
        }
        if !self.missing_sandbox_layers.is_empty() {
            line(out, "Missing", &self.missing_sandbox_layers.join(", "));
        }
    }

    fn what_runs(&self, out: &mut String) {
        line(out, "Image", &self.image_version);
        line(out, "Measurement", &self.measurement);
        match self.lineage.upgrades {
            0 => line(out, "Lineage", "its first image"),
            upgrades => line(out, "Lineage", &format!("{upgrades} upgrades since {}", self.lineage.first)),
        }
        match &self.release_keys {
            Some(keys) => line(out, "Releases", &format!("by {} people of {}", keys.threshold, keys.sha256)),
            None => line(out, "Releases", "unsigned: for development"),
        }
        line(out, "Tenant", &self.tenant);
        match &self.policy {
            Some(policy) => line(out, "Policy", &format!("version {}, {}", policy.version, policy.sha256)),
            None => line(out, "Policy", "development: permits every transfer"),
        }
        line(out, "Officers", self.officers.as_deref().unwrap_or("none"));
        line(out, "Starts", &self.boot_count.to_string());
        line(out, "Store head", &self.store_head);
        line(out, "Receipt key", &self.statement_key);
        line(out, "Sealing key", &self.sealing_key);
        if let Some(key) = &self.log_vkey {
            line(out, "Log key", key);
        }
    }
}

impl Show for AttestationShown {
    fn for_people(&self, out: &mut String) {
        headline(out, "The root that you trust stands behind this attestation.");
        for told in &self.told {
            warning(out, told);
        }
        if !self.fresh {
            warning(out, "No nonce was given: it may be old.");
        }
        if !self.measurement_expected {
            warning(out, "No measurement was given: compare the one below with the releases.");
        }
        self.who(out);
        self.what_runs(out);
    }
}
