//! The operator's folder, inside the boundary: who the tenants are. Only its owner can read or change it.

use crate::{HsmError, durable};
use countersign_wire::hal::Tenant;
use countersign_wire::names::{ApiKey, TenantName};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;
use sha2::{Digest, Sha256};
use std::path::Path;
use zeroize::Zeroizing;

/// `tenants.toml` as it is written.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TenantsFile {
    #[serde(default)]
    tenant: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: TenantName,
    api_key_sha256: String,
    plain_enrolment: bool,
    failures_per_hour: Option<u32>,
}

/// What the operator decides for a tenant.
#[derive(Clone, Copy, Debug)]
pub struct TenantTerms {
    /// Whether the backend may see TOTP secrets at enrolment.
    pub plain_enrolment: bool,
    /// Failed checks allowed an hour across the tenant; `None`: the plugin's default.
    pub failures_per_hour: Option<u32>,
}

/// Makes `tenants.toml` without tenants.
pub fn create(path: &Path) -> Result<(), HsmError> {
    durable::create_file(path, b"# Written by `countersign-hsm tenant add`.\n").map(drop)
}

/// Adds a tenant and returns its API key, of which only the SHA-256 is kept.
pub fn add_tenant(path: &Path, name: &TenantName, terms: TenantTerms) -> Result<ApiKey, HsmError> {
    let mut file = read(path)?;
    if file.tenant.iter().any(|entry| entry.name == *name) {
        return Err(HsmError::Ceremony(format!("there is a tenant {name} already; nothing was changed")));
    }
    let mut random = Zeroizing::new([0; 32]);
    getrandom::fill(random.as_mut_slice()).map_err(HsmError::io("make an API key"))?;
    let api_key = ApiKey::from_random(&random, name);
    file.tenant.push(Entry {
        name: name.clone(),
        api_key_sha256: HEXLOWER.encode(&Sha256::digest(api_key.expose().as_bytes())),
        plain_enrolment: terms.plain_enrolment,
        failures_per_hour: terms.failures_per_hour,
    });
    let text = toml::to_string_pretty(&file)
        .map_err(|error| HsmError::Ceremony(format!("the tenants cannot be written: {error}")))?;
    durable::replace_file(path, text.as_bytes())?;
    Ok(api_key)
}

/// The tenants, for the plugin.
pub fn tenants(path: &Path) -> Result<Vec<Tenant>, HsmError> {
    let file = read(path)?;
    let bad = |name: &TenantName, what: &str| {
        HsmError::Ceremony(format!("tenant {name} in {}: {what}", path.display()))
    };
    let mut tenants: Vec<Tenant> = Vec::with_capacity(file.tenant.len());
    for entry in file.tenant {
        let hash = HEXLOWER.decode(entry.api_key_sha256.as_bytes()).ok();
        let Some(hash) = hash.and_then(|hash| <[u8; 32]>::try_from(hash).ok()) else {
            return Err(bad(&entry.name, "api_key_sha256 is not 64 lower-case hex digits"));
        };
        if tenants.iter().any(|tenant| tenant.name == entry.name) {
            return Err(bad(&entry.name, "stands there twice"));
        }
        tenants.push(Tenant {
            name: entry.name,
            api_key_sha256: ByteArray::new(hash),
            plain_enrolment: entry.plain_enrolment,
            failures_per_hour: entry.failures_per_hour,
        });
    }
    Ok(tenants)
}

fn read(path: &Path) -> Result<TenantsFile, HsmError> {
    let text = std::fs::read_to_string(path).map_err(HsmError::io(format!("read {}", path.display())))?;
    toml::from_str(&text)
        .map_err(|error| HsmError::Ceremony(format!("{} cannot be read: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: TenantTerms = TenantTerms { plain_enrolment: true, failures_per_hour: Some(7) };

    #[test]
    fn keeps_only_the_hash_of_an_api_key_and_never_replaces_a_tenant() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tenants.toml");
        create(&path).unwrap();
        assert_eq!(tenants(&path).unwrap(), []);
        let name = TenantName::parse("default").unwrap();
        let key = add_tenant(&path, &name, TERMS).unwrap();
        let found = tenants(&path).unwrap();
        assert_eq!(found[0].api_key_sha256.as_slice(), Sha256::digest(key.expose().as_bytes()).as_slice());
        assert_eq!((found[0].plain_enrolment, found[0].failures_per_hour), (true, Some(7)));
        assert!(!std::fs::read_to_string(&path).unwrap().contains(key.expose()));
        assert!(add_tenant(&path, &name, TERMS).is_err());
        let other = TenantName::parse("other").unwrap();
        add_tenant(&path, &other, TenantTerms { plain_enrolment: false, failures_per_hour: None }).unwrap();
        assert_eq!(tenants(&path).unwrap().len(), 2);
    }

    #[test]
    fn refuses_a_file_it_does_not_wholly_understand() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tenants.toml");
        let good = format!(
            "[[tenant]]\nname = \"a\"\napi_key_sha256 = \"{}\"\nplain_enrolment = true\n",
            "ab".repeat(32)
        );
        std::fs::write(&path, &good).unwrap();
        assert!(tenants(&path).is_ok());
        for bad in [
            good.replace("true", "1"),
            good.replace("abab", "AB"),
            good.replace("\"a\"", "\"A\""),
            format!("{good}typo = 1\n"),
            format!("{good}{good}"),
        ] {
            std::fs::write(&path, &bad).unwrap();
            assert!(tenants(&path).is_err(), "{bad}");
        }
    }
}
