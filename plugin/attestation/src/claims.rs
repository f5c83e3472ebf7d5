//! The claims of an attestation. Numbers below −65,536 are private (RFC 8392 section 9.1); all others are those of the IANA
//! registry "CBOR Web Token Claims".

use crate::cbor::{self, Map};
use crate::{NONCE_MAX_BYTES, NONCE_MIN_BYTES, Refused};
use ciborium::Value;

/// Names what these claims mean and which of them must be there (RFC 9711 section 6).
pub const PROFILE: &str = "urn:uuid:74ebe922-2d56-438e-8875-bf9914453faf";

/// `hwmodel` of the simulator.
pub const SIMULATOR: &str = "countersign-simulator";

/// `boundary` of a virtual machine.
pub const VM: &str = "vm";

/// The name of the one submodule.
const PLUGIN: &str = "plugin";

/// First byte of a UEID whose rest is random (RFC 9711 section 4.2.1.1).
const UEID_RANDOM: u8 = 0x01;

/// `version-scheme` of semantic versions (RFC 9393 section 4.1, "semver").
const SEMVER: u64 = 16384;

/// The numbers of claims.
pub(crate) mod number {
    pub(crate) const ISSUED_AT: i64 = 6;
    pub(crate) const CONFIRMATION: i64 = 8;
    pub(crate) const NONCE: i64 = 10;
    pub(crate) const UEID: i64 = 256;
    pub(crate) const HARDWARE_MODEL: i64 = 259;
    pub(crate) const HARDWARE_VERSION: i64 = 260;
    pub(crate) const DEBUG_STATUS: i64 = 263;
    pub(crate) const PROFILE: i64 = 265;
    pub(crate) const SUBMODULES: i64 = 266;
    pub(crate) const BOOT_COUNT: i64 = 267;
    pub(crate) const SOFTWARE_VERSION: i64 = 271;

    pub(crate) const MEASUREMENT: i64 = -70_001;
    pub(crate) const CLOCK: i64 = -70_002;
    pub(crate) const KEYSTORE: i64 = -70_003;
    pub(crate) const LAYERS: i64 = -70_004;
    pub(crate) const MISSING_LAYERS: i64 = -70_005;
    pub(crate) const BOUNDARY: i64 = -70_006;
    pub(crate) const LINEAGE: i64 = -70_007;
    pub(crate) const RELEASE_KEYS: i64 = -70_008;
    pub(crate) const ROOT_KEY: i64 = -70_009;
    pub(crate) const IMAGE_VERSION: i64 = -70_010;
    pub(crate) const PLATFORM: i64 = -70_011;

    pub(crate) const TENANT: i64 = -70_101;
    pub(crate) const POLICY: i64 = -70_102;
    pub(crate) const OFFICERS: i64 = -70_103;
    pub(crate) const STATEMENT_KEY: i64 = -70_104;
    pub(crate) const SEALING_KEY: i64 = -70_105;
    pub(crate) const LOG_KEY: i64 = -70_106;
    pub(crate) const STORE_HEAD: i64 = -70_107;
    // −70,108 is reserved: it was the number of the chain's entries, which told each tenant how much the others do.
    pub(crate) const CLOCK_SURE: i64 = -70_109;
}

/// `dbgstat` (RFC 9711 section 4.2.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DebugStatus {
    /// 0, enabled: the image is for development.
    Enabled,
    /// 3, disabled permanently: the HSM runs only images that were released.
    DisabledPermanently,
}

impl DebugStatus {
    const fn code(self) -> u64 {
        match self {
            Self::Enabled => 0,
            Self::DisabledPermanently => 3,
        }
    }

    fn of_code(code: u64) -> Result<Self, Refused> {
        let all = [Self::Enabled, Self::DisabledPermanently];
        all.into_iter().find(|status| status.code() == code).ok_or(Refused::Malformed)
    }
}

/// Where the HSM's images come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lineage {
    /// The measurement of the first image that it ran.
    pub first: [u8; 48],
    /// How many upgrades followed.
    pub upgrades: u64,
    /// A hash over all of them, in order (`docs/release.md`).
    pub head: [u8; 32],
}

impl Lineage {
    fn to_value(self) -> Value {
        Value::Array(vec![self.upgrades.into(), blob(&self.first), blob(&self.head)])
    }

    fn of_value(value: Value) -> Result<Self, Refused> {
        let [upgrades, first, head] = cbor::array(value)?;
        Ok(Self { upgrades: cbor::number(&upgrades)?, first: cbor::bytes(first)?, head: cbor::bytes(head)? })
    }
}

/// Whose signatures an image needs on this HSM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReleaseKeys {
    /// SHA-256 of the file that names them.
    pub sha256: [u8; 32],
    /// How many people must have signed.
    pub threshold: u64,
}

/// What the firmware says. It knows all of this itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// What whoever asks chose, so that no old attestation answers: 8 to 64 bytes.
    pub nonce: Vec<u8>,
    /// Which HSM it is.
    pub hsm_id: [u8; 16],
    /// The HSM's time, seconds since 1970.
    pub issued_unix_secs: u64,
    /// What kind of HSM it is.
    pub hardware_model: String,
    /// The version of its firmware.
    pub firmware_version: String,
    /// Whether it is for development.
    pub debug: DebugStatus,
    /// SHA-384 of the image that runs.
    pub measurement: [u8; 48],
    /// The version in its manifest.
    pub image_version: String,
    /// Where time comes from: `system` or `manual`.
    pub clock: String,
    /// Where keys are used: `embedded` or `softhsm`.
    pub keystore: String,
    /// The layers of the sandbox that are in force.
    pub layers: Vec<String>,
    /// Those that are missing.
    pub missing_layers: Vec<String>,
    /// What the plugin runs in: `process` or `vm`.
    pub boundary: String,
    /// Measurement of the virtual machine's kernel and first root; `None`: there is no machine.
    pub platform: Option<[u8; 48]>,
    /// Which images it ran before.
    pub lineage: Lineage,
    /// `None` on an HSM for development.
    pub release_keys: Option<ReleaseKeys>,
    /// What the image says.
    pub plugin: PluginClaims,
}

/// What the image says of itself; the firmware signs that the image which it measured said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginClaims {
    /// Its version.
    pub version: String,
    /// How often it was started on this HSM.
    pub boot_count: u64,
    /// Whose API key asked.
    pub tenant: String,
    /// Version and SHA-256 of that tenant's policy document; `None`: it has none of its own.
    pub policy: Option<(u64, [u8; 32])>,
    /// SHA-256 of the officers' list; `None`: there are no officers.
    pub officers: Option<[u8; 32]>,
    /// What it signs statements and receipts with: P-256, uncompressed.
    pub statement_key: [u8; 65],
    /// What is sealed to it with (HPKE): P-256, uncompressed.
    pub sealing_key: [u8; 65],
    /// What it signs checkpoints of audit logs with: Ed25519.
    pub log_key: Option<[u8; 32]>,
    /// The newest head of the store's chain.
    pub store_head: [u8; 32],
    /// Whether the clock can be believed.
    pub clock_sure: bool,
}

fn blob(bytes: &[u8]) -> Value {
    Value::Bytes(bytes.to_vec())
}

fn list(words: &[String]) -> Value {
    Value::Array(words.iter().map(|word| word.as_str().into()).collect())
}

fn version(text: &str) -> Value {
    Value::Array(vec![text.into(), SEMVER.into()])
}

fn read_version(value: Value) -> Result<String, Refused> {
    let [text, scheme] = cbor::array(value)?;
    if cbor::number(&scheme)? == SEMVER { cbor::text(text) } else { Err(Refused::Malformed) }
}

fn optional<T>(value: Value, read: impl FnOnce(Value) -> Result<T, Refused>) -> Result<Option<T>, Refused> {
    if value.is_null() { Ok(None) } else { read(value).map(Some) }
}

fn pair<const N: usize>(value: Value) -> Result<(u64, [u8; N]), Refused> {
    let [number, bytes] = cbor::array(value)?;
    Ok((cbor::number(&number)?, cbor::bytes(bytes)?))
}

/// The UEID of an HSM.
pub(crate) fn ueid(hsm_id: &[u8; 16]) -> Value {
    Value::Bytes([&[UEID_RANDOM], hsm_id.as_slice()].concat())
}

/// The HSM that a UEID names.
pub(crate) fn read_ueid(value: Value) -> Result<[u8; 16], Refused> {
    let bytes: [u8; 17] = cbor::bytes(value)?;
    match bytes {
        [UEID_RANDOM, id @ ..] => Ok(id),
        _ => Err(Refused::Malformed),
    }
}

impl Claims {
    /// The one encoding.
    pub fn to_bytes(&self) -> Vec<u8> {
        use number as n;
        let keys = |keys: ReleaseKeys| Value::Array(vec![keys.threshold.into(), blob(&keys.sha256)]);
        cbor::encode(&cbor::map(vec![
            (n::ISSUED_AT, self.issued_unix_secs.into()),
            (n::NONCE, blob(&self.nonce)),
            (n::UEID, ueid(&self.hsm_id)),
            (n::HARDWARE_MODEL, blob(self.hardware_model.as_bytes())),
            (n::HARDWARE_VERSION, version(&self.firmware_version)),
            (n::DEBUG_STATUS, self.debug.code().into()),
            (n::PROFILE, PROFILE.into()),
            (n::SUBMODULES, Value::Map(vec![(PLUGIN.into(), self.plugin.to_value())])),
            (n::MEASUREMENT, blob(&self.measurement)),
            (n::IMAGE_VERSION, self.image_version.as_str().into()),
            (n::CLOCK, self.clock.as_str().into()),
            (n::KEYSTORE, self.keystore.as_str().into()),
            (n::LAYERS, list(&self.layers)),
            (n::MISSING_LAYERS, list(&self.missing_layers)),
            (n::BOUNDARY, self.boundary.as_str().into()),
            (n::PLATFORM, self.platform.map_or(Value::Null, |platform| blob(&platform))),
            (n::LINEAGE, self.lineage.to_value()),
            (n::RELEASE_KEYS, self.release_keys.map_or(Value::Null, keys)),
        ]))
    }

    /// The one way in: the bytes are what [`Self::to_bytes`] gives.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refused> {
        use number as n;
        let mut map = Map::read(bytes)?;
        if map.text(n::PROFILE)? != PROFILE {
            return Err(Refused::AnotherProfile);
        }
        let nonce = map.take(n::NONCE)?.into_bytes().map_err(|_| Refused::Malformed)?;
        if !(NONCE_MIN_BYTES..=NONCE_MAX_BYTES).contains(&nonce.len()) {
            return Err(Refused::Malformed);
        }
        let model = map.take(n::HARDWARE_MODEL)?.into_bytes().map_err(|_| Refused::Malformed)?;
        let model = String::from_utf8(model).map_err(|_| Refused::Malformed)?;
        let claims = Self {
            nonce,
            hsm_id: read_ueid(map.take(n::UEID)?)?,
            issued_unix_secs: map.number(n::ISSUED_AT)?,
            hardware_model: cbor::text(model.into())?,
            firmware_version: read_version(map.take(n::HARDWARE_VERSION)?)?,
            debug: DebugStatus::of_code(map.number(n::DEBUG_STATUS)?)?,
            measurement: map.bytes(n::MEASUREMENT)?,
            image_version: map.text(n::IMAGE_VERSION)?,
            clock: map.text(n::CLOCK)?,
            keystore: map.text(n::KEYSTORE)?,
            layers: cbor::words(map.take(n::LAYERS)?)?,
            missing_layers: cbor::words(map.take(n::MISSING_LAYERS)?)?,
            boundary: map.text(n::BOUNDARY)?,
            platform: optional(map.take(n::PLATFORM)?, cbor::bytes)?,
            lineage: Lineage::of_value(map.take(n::LINEAGE)?)?,
            release_keys: optional(map.take(n::RELEASE_KEYS)?, pair)?
                .map(|(threshold, sha256)| ReleaseKeys { sha256, threshold }),
            plugin: PluginClaims::of_submodules(map.take(n::SUBMODULES)?)?,
        };
        map.end()?;
        Ok(claims)
    }
}

impl PluginClaims {
    fn to_value(&self) -> Value {
        use number as n;
        let policy = |(version, sha256): (u64, [u8; 32])| Value::Array(vec![version.into(), blob(&sha256)]);
        let bytes = |bytes: Option<[u8; 32]>| bytes.map_or(Value::Null, |bytes| blob(&bytes));
        cbor::map(vec![
            (n::SOFTWARE_VERSION, version(&self.version)),
            (n::BOOT_COUNT, self.boot_count.into()),
            (n::TENANT, self.tenant.as_str().into()),
            (n::POLICY, self.policy.map_or(Value::Null, policy)),
            (n::OFFICERS, bytes(self.officers)),
            (n::STATEMENT_KEY, blob(&self.statement_key)),
            (n::SEALING_KEY, blob(&self.sealing_key)),
            (n::LOG_KEY, bytes(self.log_key)),
            (n::STORE_HEAD, blob(&self.store_head)),
            (n::CLOCK_SURE, self.clock_sure.into()),
        ])
    }

    /// There is one submodule, and it is the plugin.
    fn of_submodules(value: Value) -> Result<Self, Refused> {
        use number as n;
        let submodules = value.into_map().map_err(|_| Refused::Malformed)?;
        let [(name, claims)]: [(Value, Value); 1] = submodules.try_into().map_err(|_| Refused::Malformed)?;
        if name.as_text() != Some(PLUGIN) {
            return Err(Refused::Malformed);
        }
        let mut map = Map::of(claims)?;
        let claims = Self {
            version: read_version(map.take(n::SOFTWARE_VERSION)?)?,
            boot_count: map.number(n::BOOT_COUNT)?,
            tenant: map.text(n::TENANT)?,
            policy: optional(map.take(n::POLICY)?, pair)?,
            officers: optional(map.take(n::OFFICERS)?, cbor::bytes)?,
            statement_key: map.bytes(n::STATEMENT_KEY)?,
            sealing_key: map.bytes(n::SEALING_KEY)?,
            log_key: optional(map.take(n::LOG_KEY)?, cbor::bytes)?,
            store_head: map.bytes(n::STORE_HEAD)?,
            clock_sure: map.flag(n::CLOCK_SURE)?,
        };
        map.end()?;
        Ok(claims)
    }
}
