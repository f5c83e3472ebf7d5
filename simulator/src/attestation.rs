//! What the HSM attests: what the firmware knows of itself, and what the image says that it measured and runs. The form is
//! that of `countersign-attestation`.

use crate::boundary::InForce;
use crate::fuses::{Boundary, Fuses, Purpose};
use countersign_attestation::claims::{self, DebugStatus, ReleaseKeys, SIMULATOR};
use countersign_attestation::{Claims, PluginClaims, issue};
use countersign_release::Release;
use countersign_release::lineage::Lineage;
use countersign_wire::client::ClockMode;
use countersign_wire::hal;

/// What the firmware knows.
pub struct Facts<'a> {
    /// What is fixed.
    pub fuses: &'a Fuses,
    /// The image that runs.
    pub release: &'a Release,
    /// The images that had the state.
    pub lineage: &'a Lineage,
    /// Name of the keystore.
    pub keystore: &'a str,
    /// What holds around the plugin.
    pub in_force: &'a InForce,
    /// The HSM's time.
    pub unix_secs: u64,
}

impl Facts<'_> {
    /// The attestation, for this nonce.
    pub fn attest(&self, nonce: Vec<u8>, said: hal::PluginClaims) -> Vec<u8> {
        let fuses = self.fuses;
        let release_keys = match fuses.purpose {
            Purpose::Development => None,
            Purpose::Release { keys_sha256, threshold } => {
                Some(ReleaseKeys { sha256: keys_sha256, threshold: threshold.into() })
            }
        };
        let claims = Claims {
            nonce,
            hsm_id: fuses.hsm_id,
            issued_unix_secs: self.unix_secs,
            hardware_model: SIMULATOR.to_owned(),
            firmware_version: env!("CARGO_PKG_VERSION").to_owned(),
            debug: debug_status(fuses),
            measurement: *self.release.measurement.as_bytes(),
            image_version: self.release.version.to_string(),
            clock: fuses.clock.word().to_owned(),
            keystore: self.keystore.to_owned(),
            layers: self.in_force.layers.clone(),
            missing_layers: self.in_force.missing.clone(),
            boundary: self.in_force.boundary.to_owned(),
            platform: match fuses.boundary {
                Boundary::Process => None,
                Boundary::Machine(platform) => Some(platform),
            },
            lineage: claims::Lineage {
                first: *self.lineage.root().measurement.as_bytes(),
                upgrades: self.lineage.steps().into(),
                head: self.lineage.head_with(self.lineage.current()),
            },
            release_keys,
            plugin: of_plugin(said),
        };
        issue(&claims, &fuses.attestation_key(), &fuses.root())
    }
}

/// Whoever moves the clock chooses the code that is good: that is an HSM for tests, whatever images it runs.
fn debug_status(fuses: &Fuses) -> DebugStatus {
    match (fuses.purpose, fuses.clock) {
        (Purpose::Release { .. }, ClockMode::System) => DebugStatus::DisabledPermanently,
        (Purpose::Development, _) | (_, ClockMode::Manual) => DebugStatus::Enabled,
    }
}

fn of_plugin(said: hal::PluginClaims) -> PluginClaims {
    PluginClaims {
        version: said.version,
        boot_count: said.boot_count,
        tenant: said.tenant.to_string(),
        policy: said.policy.map(|policy| (policy.version, policy.sha256.into_array())),
        officers: said.officers_sha256.map(serde_bytes::ByteArray::into_array),
        statement_key: said.statement_key.into_array(),
        sealing_key: said.sealing_key.into_array(),
        log_key: Some(said.log_key.into_array()),
        store_head: said.store_head.into_array(),
        clock_sure: said.clock_sure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuses::tests::fuses;

    #[test]
    fn only_an_hsm_for_release_with_a_clock_of_its_own_attests_that_it_cannot_be_debugged() {
        let of = |purpose, clock| {
            let mut fuses = fuses(clock);
            fuses.purpose = purpose;
            debug_status(&fuses)
        };
        let release = fuses(ClockMode::System).purpose;
        assert_eq!(of(release, ClockMode::System), DebugStatus::DisabledPermanently);
        assert_eq!(of(release, ClockMode::Manual), DebugStatus::Enabled);
        assert_eq!(of(Purpose::Development, ClockMode::System), DebugStatus::Enabled);
        assert_eq!(of(Purpose::Development, ClockMode::Manual), DebugStatus::Enabled);
    }
}
