//! What the sealed records hold: one for each account, one for each tenant.
//!
//! A record is CBOR with fields by number ([`countersign_wire::encode_packed`]), sealed as [`crate::store`] says.
//! An account's record binds its factor, its keys and its counters as one: none can be exchanged without the rest.

use crate::clock::Moment;
use crate::limits::{Bucket, Guard};
use countersign_policy::{Ledger, Payees};
use countersign_wire::client::{
    AccountInfo, ApprovalKind, KeyInfo, KeyPlan, Mechanism, Network, TotpParameters,
};
use countersign_wire::device::IntentId;
use countersign_wire::hal::{LogNames, Tenant};
use countersign_wire::names::{AccountName, KeyLabel, KeyName, TenantName};
use countersign_wire::path::DerivationPath;
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};
use sha2::{Digest, Sha256};

/// The form of record that this version writes and the only one it reads.
pub const FORMAT: u8 = 3;

/// The most keys an account holds; it bounds the record.
pub const KEYS_MAX: usize = 16;

/// The most approvals of an account that wait for their signature.
pub const PRIOR_MAX: usize = 4;

/// How many of its last signatures an account remembers.
pub const HISTORY_MAX: usize = 4;

/// How much of a summary the history keeps, in bytes.
pub const HEADLINE_MAX_BYTES: usize = 96;

/// How long an enrolment waits for its two codes.
pub const ENROLMENT_OPEN_SECS: u64 = 30 * 60;

/// One user: factor, counters, keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// [`FORMAT`].
    pub format: u8,
    /// Whose account it is.
    pub tenant: TenantName,
    /// Its name.
    pub name: AccountName,
    /// Rises by one with every change.
    pub version: u64,
    /// Whether two codes were shown.
    pub enrolment: Enrolment,
    /// The factor.
    pub totp: TotpFactor,
    /// Locks and budget.
    pub guard: Guard,
    /// The root of the account's wallet, once a key was made from it.
    pub wallet: Option<Wallet>,
    /// The keys, in the order they were made.
    pub keys: Vec<Key>,
    /// What it spent, as far as the policy's limits count it.
    pub ledger: Ledger,
    /// Whom it is known to pay.
    pub payees: Payees,
    /// The user's own devices. Made with the account.
    pub devices: Vec<Device>,
    /// The user's passkeys. Made with the account.
    pub passkeys: Vec<Passkey>,
    /// What the user approved on a device, and is not signed yet.
    pub prior: Vec<Prior>,
    /// How often a device acted on the account: what a device signs to act is good for one count.
    pub acts: u64,
    /// Frozen by its user, at that count of acts.
    pub frozen: Option<u64>,
    /// How many signatures it made.
    pub signatures: u64,
    /// The last of them, newest last.
    pub history: Vec<Entry>,
}

/// A device that belongs to the user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// What it signs with: P-256, SEC 1 uncompressed.
    pub key: ByteArray<65>,
}

/// A passkey (WebAuthn, ES256).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passkey {
    /// Its credential id.
    pub credential_id: ByteBuf,
    /// What it signs with: P-256, SEC 1 uncompressed.
    pub public_key: ByteArray<65>,
    /// The site that it belongs to.
    pub rp_id: String,
    /// The page that it was registered on.
    pub origin: String,
    /// The highest counter that it ever showed.
    pub sign_count: u32,
    /// Whether it may be copied to other devices. Never changes.
    pub backup_eligible: bool,
}

/// An approval that was checked and spent, and is good for one signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prior {
    /// The staged intent.
    pub intent: IntentId,
    /// The key.
    pub key: ByteArray<16>,
    /// What may be signed.
    pub intent_hash: ByteArray<32>,
    /// What approved it.
    pub by: ApprovedBy,
    /// Of what was approved, as a refusal of it names them.
    pub nonce: ByteArray<32>,
    /// Likewise: when the intent would have expired.
    pub expires_unix_secs: u64,
    /// Until when, by the time that the HSM runs.
    pub until_elapsed_secs: u64,
    /// Until when by the clock, which goes on while the HSM is off.
    pub until_unix_secs: u64,
}

impl Prior {
    /// Whether it may still be signed. In doubt about the time it may not.
    pub(crate) fn is_good(&self, now: Moment) -> bool {
        now.sure && now.elapsed_secs < self.until_elapsed_secs && now.unix_secs < self.until_unix_secs
    }
}

/// What approved something, as far as policy asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovedBy {
    /// The kind.
    pub kind: ApprovalKind,
    /// Of a passkey: whether it was copied to other devices by then.
    pub backed_up: bool,
}

impl ApprovedBy {
    /// A plain code.
    pub const CODE: Self = Self { kind: ApprovalKind::Code, backed_up: false };
}

/// One signature that the account made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Which one it was, from 1.
    pub counter: u64,
    /// When.
    pub unix_secs: u64,
    /// What approved it.
    pub kind: ApprovalKind,
    /// The key.
    pub key: KeyName,
    /// What was signed.
    pub intent_hash: ByteArray<32>,
    /// The first line of the summary.
    pub headline: String,
}

/// Whether the user has shown two codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Enrolment {
    /// Not yet; void after this much elapsed time.
    Open {
        /// When it becomes void.
        until_elapsed_secs: u64,
    },
    /// Yes.
    Confirmed,
}

/// A TOTP factor. The secret opens only inside the keystore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TotpFactor {
    /// Its public parameters.
    pub parameters: TotpParameters,
    /// The wrapped secret.
    pub wrapped: ByteBuf,
    /// The highest step that was ever spent. Only rises.
    pub highest_used_step: u64,
}

/// The root of a wallet (BIP-32). What it is made of opens only inside the keystore; see [`crate::wallet`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wallet {
    /// The wrapped MAC key that the root is derived with.
    pub wrapped: ByteBuf,
    /// The fingerprint of the root's public key.
    pub fingerprint: ByteArray<4>,
}

/// Where a private key is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// Wrapped: it opens only inside the keystore.
    Wrapped(ByteBuf),
    /// In the account's wallet.
    Derived {
        /// Where.
        path: DerivationPath,
        /// Of a Bitcoin wallet account, its extended public key (BIP-32, "Serialization format").
        extended: Option<ByteArray<78>>,
    },
}

/// A secp256k1 key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Its name within the account.
    pub name: KeyName,
    /// Its id within the HSM.
    pub id: ByteArray<16>,
    /// SEC 1 uncompressed point.
    pub public_key: ByteArray<65>,
    /// Where its private part is.
    pub source: Source,
    /// What it may sign: ascending, without repeats, never changed.
    pub mechanisms: Vec<Mechanism>,
    /// The network of a Bitcoin key. Never changed.
    pub network: Option<Network>,
    /// The weakest approval that it takes. Never changed.
    pub floor: ApprovalKind,
}

impl Key {
    /// Where it lies in the account's wallet, if it does.
    pub fn path(&self) -> Option<&DerivationPath> {
        match &self.source {
            Source::Wrapped(_) => None,
            Source::Derived { path, .. } => Some(path),
        }
    }

    /// What it was made for.
    pub fn plan(&self) -> KeyPlan {
        KeyPlan {
            mechanisms: self.mechanisms.clone(),
            network: self.network,
            path: self.path().cloned(),
            floor: self.floor,
        }
    }
}

/// What the history keeps of an intent.
#[derive(Clone, Debug)]
pub(crate) struct Signing {
    /// The intent hash.
    pub(crate) hash: [u8; 32],
    /// The first line of the summary that is no warning, shortened.
    pub(crate) headline: String,
}

impl Account {
    /// What it takes in memory, about, in bytes: names, the factor and the wallet are counted as if they were as long as they
    /// can be.
    pub(crate) fn memory_bytes(&self) -> usize {
        const ALONE: usize = 768;
        const KEY: usize = 512;
        let payees = self.payees.list().iter().map(|payee| size_of_val(payee) + payee.address.len());
        let passkeys = self.passkeys.iter().map(|passkey| {
            size_of_val(passkey) + passkey.credential_id.len() + passkey.rp_id.len() + passkey.origin.len()
        });
        let history = self.history.iter().map(|entry| size_of_val(entry) + entry.headline.len() + 64);
        ALONE
            + self.keys.len() * KEY
            + payees.chain(passkeys).chain(history).sum::<usize>()
            + size_of_val(self.devices.as_slice())
            + size_of_val(self.prior.as_slice())
            + self.ledger.memory_bytes()
    }

    /// The strongest approval that its factors can give.
    pub fn strongest(&self) -> ApprovalKind {
        match (self.devices.is_empty(), self.passkeys.is_empty()) {
            (_, false) => ApprovalKind::Passkey,
            (false, true) => ApprovalKind::SealedCode,
            (true, true) => ApprovalKind::Code,
        }
    }

    /// Writes a signature into the history: in the change that grants it.
    pub(crate) fn remember(&mut self, key: &KeyName, intent: &Signing, kind: ApprovalKind, unix_secs: u64) {
        self.signatures += 1;
        self.history.push(Entry {
            counter: self.signatures,
            unix_secs,
            kind,
            key: key.clone(),
            intent_hash: ByteArray::new(intent.hash),
            headline: intent.headline.clone(),
        });
        let outdated = self.history.len().saturating_sub(HISTORY_MAX);
        self.history.drain(..outdated);
    }

    /// Whether the enrolment was left open too long: such an account is void.
    pub fn is_void(&self, elapsed_secs: u64) -> bool {
        matches!(self.enrolment, Enrolment::Open { until_elapsed_secs } if elapsed_secs >= until_elapsed_secs)
    }

    /// The key of this name.
    pub fn key_named(&self, name: &KeyName) -> Option<&Key> {
        self.keys.iter().find(|key| key.name == *name)
    }

    /// The key of this id.
    pub fn key_with_id(&self, id: &ByteArray<16>) -> Option<&Key> {
        self.keys.iter().find(|key| key.id == *id)
    }

    /// What the host may see of a key of this account.
    pub fn key_info(&self, key: &Key) -> KeyInfo {
        let on_ethereum = key.network.is_none();
        let address = || countersign_intent::ethereum::address_of(&key.public_key).to_string();
        KeyInfo {
            label: KeyLabel { account: self.name.clone(), key: key.name.clone() },
            id: key.id,
            public_key: key.public_key,
            ethereum_address: if on_ethereum { address() } else { String::new() },
            plan: key.plan(),
            watch: crate::wallet::watch(self.wallet.as_ref(), key),
        }
    }

    /// What the host may see of this account, which the audit log calls by this name.
    pub fn info(&self, elapsed_secs: u64, log_name: String) -> AccountInfo {
        AccountInfo {
            account: self.name.clone(),
            confirmed: self.enrolment == Enrolment::Confirmed,
            totp: self.totp.parameters,
            locked_for_secs: self.guard.locked_for_secs(elapsed_secs),
            consecutive_failures: self.guard.consecutive_failures(),
            failures_left: self.guard.failures_left(elapsed_secs),
            keys: self.keys.iter().map(|key| self.key_info(key)).collect(),
            payees: self.payees.list().iter().map(|payee| payee.address.clone()).collect(),
            devices: u8::try_from(self.devices.len()).unwrap_or(u8::MAX),
            passkeys: u8::try_from(self.passkeys.len()).unwrap_or(u8::MAX),
            frozen: self.frozen,
            signatures: self.signatures,
            log_name,
        }
    }
}

/// What changes about a tenant. Its name, API key and settings are in the ceremony folder, inside the boundary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantState {
    /// [`FORMAT`].
    pub format: u8,
    /// Whose state it is.
    pub tenant: TenantName,
    /// Failed checks across the tenant.
    pub failures: Bucket,
    /// What its accounts spent together, as far as the policy's limits count it.
    pub ledger: Ledger,
    /// The policy that was last in force; `None`: it was never given one.
    pub policy: Option<PolicyMark>,
    /// What its operator had decided when the plugin was last started; `None`: it never was.
    pub terms: Option<Terms>,
}

/// What the operator decides about a tenant, beside its policy: who changes it leaves a trace in the tenant's audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// Which API key is good: the first bytes of SHA-256 over the hash that is kept of it.
    pub api_key: ByteArray<8>,
    /// Whether the backend may see TOTP secrets at enrolment.
    pub plain_enrolment: bool,
    /// Failed checks allowed an hour, where the operator said so.
    pub failures_per_hour: Option<u32>,
    /// The most accounts, where the operator said so.
    pub accounts_max: Option<u32>,
    /// What the audit log calls accounts.
    pub log_names: LogNames,
}

impl Terms {
    /// Of a tenant as it was set up.
    pub fn of(tenant: &Tenant) -> Self {
        let hash: [u8; 32] = Sha256::digest(tenant.api_key_sha256.as_slice()).into();
        let mut api_key = [0; 8];
        api_key.copy_from_slice(&hash[..8]);
        Self {
            api_key: ByteArray::new(api_key),
            plain_enrolment: tenant.plain_enrolment,
            failures_per_hour: tenant.failures_per_hour,
            accounts_max: tenant.accounts_max,
            log_names: tenant.log_names,
        }
    }
}

/// Which policy document it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyMark {
    /// The document's version. Never falls.
    pub version: u64,
    /// SHA-256 of the document.
    pub sha256: ByteArray<32>,
}

impl TenantState {
    /// Of a tenant about whom nothing was kept yet.
    pub fn new(tenant: TenantName) -> Self {
        Self {
            format: FORMAT,
            tenant,
            failures: Bucket::default(),
            ledger: Ledger::default(),
            policy: None,
            terms: None,
        }
    }
}
