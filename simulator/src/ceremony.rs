//! The operator's folder, inside the boundary: who the tenants are. Only its owner can read or change it.

use crate::{HsmError, durable};
use countersign_wire::hal::{LIFTED_MAX, Lifted, LogNames, POLICY_MAX_BYTES, Tenant};
use countersign_wire::names::{AccountName, ApiKey, TenantName};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// `tenants.toml` as it is written.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TenantsFile {
    #[serde(default)]
    tenant: Vec<Entry>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: TenantName,
    api_key_sha256: String,
    plain_enrolment: bool,
    failures_per_hour: Option<u32>,
    accounts_max: Option<u32>,
    /// What its audit log calls accounts.
    #[serde(default)]
    log_names: LogNames,
    /// The freezes that the operator has lifted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    lifted: Vec<LiftedEntry>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LiftedEntry {
    account: AccountName,
    freeze: u64,
}

/// What the operator decides for a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantTerms {
    /// Whether the backend may see TOTP secrets at enrolment.
    pub plain_enrolment: bool,
    /// Failed checks allowed an hour across the tenant; `None`: the plugin's default.
    pub failures_per_hour: Option<u32>,
    /// The most accounts; `None`: the plugin's default.
    pub accounts_max: Option<u32>,
    /// What its audit log calls accounts, from the next start on.
    pub log_names: LogNames,
}

impl Default for TenantTerms {
    fn default() -> Self {
        Self {
            plain_enrolment: true,
            failures_per_hour: None,
            accounts_max: None,
            log_names: LogNames::Plain,
        }
    }
}

/// What the operator changes for a tenant. `None` leaves a term as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct TermsChange {
    /// As in [`TenantTerms`].
    pub plain_enrolment: Option<bool>,
    /// As in [`TenantTerms`].
    pub failures_per_hour: Option<Option<u32>>,
    /// As in [`TenantTerms`].
    pub accounts_max: Option<Option<u32>>,
    /// As in [`TenantTerms`].
    pub log_names: Option<LogNames>,
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
    let (api_key, api_key_sha256) = new_api_key(name)?;
    file.tenant.push(Entry {
        name: name.clone(),
        api_key_sha256,
        plain_enrolment: terms.plain_enrolment,
        failures_per_hour: terms.failures_per_hour,
        accounts_max: terms.accounts_max,
        log_names: terms.log_names,
        lifted: Vec::new(),
    });
    write(path, &file)?;
    Ok(api_key)
}

/// Gives a tenant a new API key in place of its old one, and returns it. Only the SHA-256 is kept.
pub fn replace_api_key(path: &Path, name: &TenantName) -> Result<ApiKey, HsmError> {
    let mut file = read(path)?;
    let (api_key, api_key_sha256) = new_api_key(name)?;
    entry_of(&mut file, name)?.api_key_sha256 = api_key_sha256;
    write(path, &file)?;
    Ok(api_key)
}

/// Lifts a freeze, by its number: the plugin does so at the next start, once. The oldest that stand there make room.
pub fn lift_freeze(
    path: &Path,
    name: &TenantName,
    account: &AccountName,
    freeze: u64,
) -> Result<(), HsmError> {
    let mut file = read(path)?;
    let lifted = &mut entry_of(&mut file, name)?.lifted;
    lifted.retain(|one| one.account != *account);
    lifted.push(LiftedEntry { account: account.clone(), freeze });
    let outdated = lifted.len().saturating_sub(LIFTED_MAX);
    lifted.drain(..outdated);
    write(path, &file)
}

/// Changes a tenant's terms and returns all of them.
pub fn change_terms(path: &Path, name: &TenantName, change: TermsChange) -> Result<TenantTerms, HsmError> {
    let mut file = read(path)?;
    let entry = entry_of(&mut file, name)?;
    entry.plain_enrolment = change.plain_enrolment.unwrap_or(entry.plain_enrolment);
    entry.failures_per_hour = change.failures_per_hour.unwrap_or(entry.failures_per_hour);
    entry.accounts_max = change.accounts_max.unwrap_or(entry.accounts_max);
    entry.log_names = change.log_names.unwrap_or(entry.log_names);
    let terms = TenantTerms {
        plain_enrolment: entry.plain_enrolment,
        failures_per_hour: entry.failures_per_hour,
        accounts_max: entry.accounts_max,
        log_names: entry.log_names,
    };
    write(path, &file)?;
    Ok(terms)
}

fn entry_of<'a>(file: &'a mut TenantsFile, name: &TenantName) -> Result<&'a mut Entry, HsmError> {
    let found = file.tenant.iter_mut().find(|entry| entry.name == *name);
    found.ok_or_else(|| HsmError::Ceremony(format!("there is no tenant {name}; nothing was changed")))
}

fn new_api_key(name: &TenantName) -> Result<(ApiKey, String), HsmError> {
    let mut random = Zeroizing::new([0; 32]);
    getrandom::fill(random.as_mut_slice()).map_err(HsmError::io("make an API key"))?;
    let api_key = ApiKey::from_random(&random, name);
    let hash = HEXLOWER.encode(&Sha256::digest(api_key.expose().as_bytes()));
    Ok((api_key, hash))
}

fn write(path: &Path, file: &TenantsFile) -> Result<(), HsmError> {
    durable::replace_file(path, to_text(file)?.as_bytes())
}

pub(crate) fn to_text(file: &TenantsFile) -> Result<String, HsmError> {
    toml::to_string_pretty(file)
        .map_err(|error| HsmError::Ceremony(format!("the tenants cannot be written: {error}")))
}

/// The tenants, for the plugin.
pub fn tenants(path: &Path) -> Result<Vec<Tenant>, HsmError> {
    let file = read(path)?;
    let bad = |name: &TenantName, what: &str| {
        HsmError::Ceremony(format!("tenant {name} in {}: {what}", path.display()))
    };
    let mut tenants: Vec<Tenant> = Vec::with_capacity(file.tenant.len());
    let mut policies_bytes = 0;
    for entry in file.tenant {
        let hash = HEXLOWER.decode(entry.api_key_sha256.as_bytes()).ok();
        let Some(hash) = hash.and_then(|hash| <[u8; 32]>::try_from(hash).ok()) else {
            return Err(bad(&entry.name, "api_key_sha256 is not 64 lower-case hex digits"));
        };
        if tenants.iter().any(|tenant| tenant.name == entry.name) {
            return Err(bad(&entry.name, "stands there twice"));
        }
        let policy = read_policy(path, &entry.name)?;
        policies_bytes += policy.as_ref().map_or(0, |policy| policy.len());
        if policies_bytes > POLICIES_MAX_BYTES {
            return Err(bad(
                &entry.name,
                &format!("all policies together may have {POLICIES_MAX_BYTES} bytes"),
            ));
        }
        tenants.push(Tenant {
            name: entry.name,
            api_key_sha256: ByteArray::new(hash),
            plain_enrolment: entry.plain_enrolment,
            failures_per_hour: entry.failures_per_hour,
            accounts_max: entry.accounts_max,
            policy,
            lifted: lifted(entry.lifted),
            log_names: entry.log_names,
        });
    }
    Ok(tenants)
}

fn lifted(entries: Vec<LiftedEntry>) -> Vec<Lifted> {
    let newest = entries.len().saturating_sub(LIFTED_MAX);
    let lifted = entries.into_iter().skip(newest);
    lifted.map(|LiftedEntry { account, freeze }| Lifted { account, freeze }).collect()
}

/// What the policies of all tenants may have together, in bytes: they go to the plugin in one message.
const POLICIES_MAX_BYTES: usize = 768 * 1024;

/// Where a tenant's policy document lies.
fn policy_path(tenants: &Path, name: &TenantName) -> PathBuf {
    tenants.with_file_name(format!("{name}.policy"))
}

fn read_policy(tenants: &Path, name: &TenantName) -> Result<Option<ByteBuf>, HsmError> {
    let path = policy_path(tenants, name);
    match std::fs::read(&path) {
        Ok(bytes) if bytes.len() <= POLICY_MAX_BYTES => Ok(Some(bytes.into())),
        Ok(_) => Err(HsmError::Ceremony(format!("{} is longer than a policy can be", path.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(HsmError::io(format!("read {}", path.display()))(error)),
    }
}

/// Gives a tenant a policy document in place of its old one. The plugin reads and checks it at the next start, and takes no
/// older version than it had.
pub fn set_policy(path: &Path, name: &TenantName, document: &[u8]) -> Result<(), HsmError> {
    if document.len() > POLICY_MAX_BYTES {
        return Err(HsmError::Ceremony(format!(
            "a policy has at most {POLICY_MAX_BYTES} bytes; nothing was changed"
        )));
    }
    let mut file = read(path)?;
    entry_of(&mut file, name)?;
    let policy = policy_path(path, name);
    match read_policy(path, name)? {
        // Should the plugin refuse the new one, this is what was good.
        Some(old) => {
            keep(&policy.with_extension("policy.previous"), &old)?;
            durable::replace_file(&policy, document)
        }
        None => durable::create_file(&policy, document).map(drop),
    }
}

fn keep(path: &Path, bytes: &[u8]) -> Result<(), HsmError> {
    if path.exists() {
        durable::replace_file(path, bytes)
    } else {
        durable::create_file(path, bytes).map(drop)
    }
}

fn read(path: &Path) -> Result<TenantsFile, HsmError> {
    let text = std::fs::read_to_string(path).map_err(HsmError::io(format!("read {}", path.display())))?;
    from_text(&text)
        .map_err(|error| HsmError::Ceremony(format!("{} cannot be read: {error}", path.display())))
}

pub(crate) fn from_text(text: &str) -> Result<TenantsFile, toml::de::Error> {
    toml::from_str(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: TenantTerms = TenantTerms {
        plain_enrolment: true,
        failures_per_hour: Some(7),
        accounts_max: Some(50),
        log_names: LogNames::Hashed,
    };

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
        assert_eq!(terms_of(&found[0]), TERMS);
        assert!(!std::fs::read_to_string(&path).unwrap().contains(key.expose()));
        assert!(add_tenant(&path, &name, TERMS).is_err());
        let other = TenantName::parse("other").unwrap();
        let none = TenantTerms { plain_enrolment: false, ..TenantTerms::default() };
        add_tenant(&path, &other, none).unwrap();
        assert_eq!(tenants(&path).unwrap().iter().map(terms_of).collect::<Vec<_>>(), [TERMS, none]);
    }

    fn terms_of(tenant: &Tenant) -> TenantTerms {
        TenantTerms {
            plain_enrolment: tenant.plain_enrolment,
            failures_per_hour: tenant.failures_per_hour,
            accounts_max: tenant.accounts_max,
            log_names: tenant.log_names,
        }
    }

    /// A file with the tenants `one` and `two`.
    fn two_tenants() -> (tempfile::TempDir, PathBuf, [TenantName; 2]) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tenants.toml");
        create(&path).unwrap();
        let names = ["one", "two"].map(|name| TenantName::parse(name).unwrap());
        for name in &names {
            add_tenant(&path, name, TERMS).unwrap();
        }
        (folder, path, names)
    }

    #[test]
    fn a_new_api_key_takes_the_place_of_the_old_one_and_changes_nothing_else() {
        let (_folder, path, [name, _]) = two_tenants();
        let before = tenants(&path).unwrap();
        let key = replace_api_key(&path, &name).unwrap();
        let after = tenants(&path).unwrap();
        assert_eq!(after[0].api_key_sha256.as_slice(), Sha256::digest(key.expose().as_bytes()).as_slice());
        assert_ne!(after[0].api_key_sha256, before[0].api_key_sha256);
        assert_eq!(Tenant { api_key_sha256: before[0].api_key_sha256, ..after[0].clone() }, before[0]);
        assert_eq!(after[1], before[1]);
        assert!(!std::fs::read_to_string(&path).unwrap().contains(key.expose()));
    }

    #[test]
    fn only_the_terms_that_are_named_change() {
        let (_folder, path, [one, two]) = two_tenants();
        let before = tenants(&path).unwrap();
        let change = TermsChange { failures_per_hour: Some(None), ..TermsChange::default() };
        let terms = change_terms(&path, &one, change).unwrap();
        assert_eq!(terms, TenantTerms { failures_per_hour: None, ..TERMS });
        let change = TermsChange {
            plain_enrolment: Some(false),
            accounts_max: Some(Some(9)),
            log_names: Some(LogNames::Plain),
            failures_per_hour: None,
        };
        let terms = change_terms(&path, &two, change).unwrap();
        let log_names = LogNames::Plain;
        assert_eq!(terms, TenantTerms { plain_enrolment: false, accounts_max: Some(9), log_names, ..TERMS });
        let after = tenants(&path).unwrap();
        assert_eq!(terms_of(&after[0]), TenantTerms { failures_per_hour: None, ..TERMS });
        assert_eq!(terms_of(&after[1]), terms);
        assert!(after.iter().map(|one| one.api_key_sha256).eq(before.iter().map(|one| one.api_key_sha256)));
    }

    #[test]
    fn a_policy_document_is_the_plugins_to_read_and_one_tenants_alone() {
        let (_folder, path, [one, two]) = two_tenants();
        assert!(tenants(&path).unwrap().iter().all(|tenant| tenant.policy.is_none()));
        set_policy(&path, &one, b"first").unwrap();
        set_policy(&path, &one, b"second").unwrap();
        let policies: Vec<_> = tenants(&path).unwrap().into_iter().map(|tenant| tenant.policy).collect();
        assert_eq!(policies, [Some(ByteBuf::from(b"second".to_vec())), None]);
        let previous = std::fs::read(path.with_file_name(format!("{one}.policy.previous"))).unwrap();
        assert_eq!(previous, b"first", "what was good is not lost");
        set_policy(&path, &one, b"third").unwrap();
        let previous = std::fs::read(path.with_file_name(format!("{one}.policy.previous"))).unwrap();
        assert_eq!(previous, b"second");
        assert!(set_policy(&path, &two, &vec![0; POLICY_MAX_BYTES + 1]).is_err());
        assert!(set_policy(&path, &TenantName::parse("three").unwrap(), b"x").is_err());
        std::fs::write(policy_path(&path, &two), vec![0; POLICY_MAX_BYTES + 1]).unwrap();
        assert!(tenants(&path).is_err());
    }

    #[test]
    fn policies_that_do_not_fit_one_message_together_are_refused_by_name() {
        let (_folder, path, _) = two_tenants();
        let most = POLICIES_MAX_BYTES / POLICY_MAX_BYTES;
        for number in 0..=most {
            let name = TenantName::parse(&format!("large-{number}")).unwrap();
            add_tenant(&path, &name, TERMS).unwrap();
            set_policy(&path, &name, &vec![0; POLICY_MAX_BYTES]).unwrap();
            let read = tenants(&path);
            assert_eq!(read.is_ok(), number < most, "{number}");
            assert!(read.err().is_none_or(|error| error.to_string().contains(&format!("tenant {name} "))));
        }
    }

    #[test]
    fn a_freeze_is_lifted_by_its_number_in_one_tenant_alone() {
        let (_folder, path, [one, two]) = two_tenants();
        let account = |name: &str| AccountName::parse(name).unwrap();
        lift_freeze(&path, &one, &account("alice"), 3).unwrap();
        lift_freeze(&path, &one, &account("bob"), 0).unwrap();
        lift_freeze(&path, &one, &account("alice"), 7).unwrap();
        let lifted = |tenant: &TenantName| {
            tenants(&path).unwrap().into_iter().find(|one| one.name == *tenant).unwrap().lifted
        };
        let of = |name: &str, freeze| Lifted { account: account(name), freeze };
        assert_eq!(lifted(&one), [of("bob", 0), of("alice", 7)]);
        assert_eq!(lifted(&two), []);
        assert!(lift_freeze(&path, &TenantName::parse("three").unwrap(), &account("alice"), 7).is_err());
        for number in 0..LIFTED_MAX {
            lift_freeze(&path, &two, &account(&format!("user-{number}")), 1).unwrap();
        }
        lift_freeze(&path, &two, &account("alice"), 9).unwrap();
        assert_eq!(lifted(&two).len(), LIFTED_MAX);
        assert_eq!(lifted(&two).last(), Some(&of("alice", 9)));
    }

    #[test]
    fn a_tenant_that_is_not_there_is_refused_and_nothing_changes() {
        let (_folder, path, _) = two_tenants();
        let before = std::fs::read(&path).unwrap();
        let stranger = TenantName::parse("three").unwrap();
        let refusals = [
            replace_api_key(&path, &stranger).map(drop).unwrap_err(),
            change_terms(&path, &stranger, TermsChange::default()).map(drop).unwrap_err(),
        ];
        for refused in refusals {
            assert_eq!(refused.to_string(), "there is no tenant three; nothing was changed");
        }
        assert_eq!(std::fs::read(&path).unwrap(), before);
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
