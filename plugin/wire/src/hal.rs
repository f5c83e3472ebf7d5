//! Plugin to firmware, over one socket pair inside the boundary. This is all the plugin sees of the world.
//!
//! Before anything secret passes, the plugin says [`Started`] and the firmware answers [`WritableMemory`], once. From then
//! on the firmware sends [`Delivery`]s, each with the present time; the plugin sends [`Output`]s. The first delivery
//! is [`Event::Boot`]. Every [`Output::Call`] gets exactly one [`Event::Done`] with its number; calls may finish
//! in any order, except that at most one commit is under way at a time. Encoding: [`crate::encode_packed`].

use crate::client::{ClockMode, TotpHash};
use crate::device::Identity;
use crate::names::{AccountName, TenantName};
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};
use zeroize::Zeroize;

/// What the firmware keeps in one NVRAM slot for the plugin, at most, in bytes.
pub const NVRAM_MAX_BYTES: usize = 768;

/// The most bytes one [`Op::ReadStore`] may ask for.
pub const READ_MAX_BYTES: u32 = 256 * 1024;

/// The most bytes one [`Op::Commit`] may append.
pub const APPEND_MAX_BYTES: usize = 768 * 1024;

/// With less room than this on the store's disk, the plugin begins nothing new: what is left is for users who freeze their
/// accounts, and for what was begun before.
pub const STORE_RESERVE_BYTES: u64 = 8 * 1024 * 1024;

/// Secret bytes: zeroized on drop, never printed.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(ByteBuf);

impl Secret {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(ByteBuf::from(bytes))
    }

    /// The bytes.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.as_mut_slice().zeroize();
    }
}

impl core::fmt::Debug for Secret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// The plugin runs, and whatever memory it gets from here on is locked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {}

/// What the plugin could write to when it said [`Started`]: it has to lock that itself, and cannot look it up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WritableMemory {
    /// Whole pages, none twice.
    pub regions: Vec<MemoryRegion>,
}

/// Addresses in the plugin's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryRegion {
    /// The first.
    pub start: u64,
    /// How many.
    pub length_bytes: u64,
}

/// The HSM's two clocks, read by the firmware when it sent the delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Time {
    /// Seconds since 1970: what codes are checked against. May jump.
    pub unix_secs: u64,
    /// Seconds that the firmware has been running: what delays are measured with. Never jumps, never falls
    /// while the firmware runs; begins at any value when it starts.
    pub running_secs: u64,
}

/// One message from the firmware.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// The present time.
    pub time: Time,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// The plugin was started. Always first, never again.
    Boot(Box<Boot>),
    /// A whole frame's payload from a client, with a number to reply to. Numbers are never used twice in a boot.
    Request {
        /// What [`Output::Reply`] repeats.
        ticket: u64,
        /// The payload, untrusted.
        payload: ByteBuf,
    },
    /// A call finished.
    Done {
        /// The call's number.
        call: u64,
        /// What came of it.
        result: Result<Value, Fault>,
    },
}

/// What the plugin learns when it is started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Boot {
    /// Which HSM this is.
    pub hsm_id: ByteArray<16>,
    /// Derived from the device secret, the lineage of the image that runs and the clock mode: 32 bytes.
    pub sealing_key: Secret,
    /// SHA-384 of the image that runs.
    pub measurement: ByteArray<48>,
    /// Where time comes from.
    pub clock: ClockMode,
    /// Name of the keystore, for status.
    pub keystore: String,
    /// What the plugin last wrote to NVRAM; `None` on the very first boot.
    pub nvram: Option<ByteBuf>,
    /// What of the store's log is on the disk.
    pub store: Extent,
    /// Length of the archive in bytes.
    pub archive_bytes: u64,
    /// The tenants, from the ceremony folder.
    pub tenants: Vec<Tenant>,
    /// Sandbox layers that the operator allowed to be missing.
    pub missing_sandbox_layers: Vec<String>,
}

/// A range of the store's log. Offsets count from the log's very first byte and never start again, also when the
/// front of the log is discarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// The first byte that is there.
    pub begin: u64,
    /// The first byte that is not there any more.
    pub end: u64,
}

/// One tenant as its operator set it up, inside the boundary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tenant {
    /// Its name.
    pub name: TenantName,
    /// SHA-256 of its API key. The key has 256 random bits, so that nothing slower is needed.
    pub api_key_sha256: ByteArray<32>,
    /// Whether the backend may see TOTP secrets at enrolment.
    pub plain_enrolment: bool,
    /// Failed checks allowed an hour across the tenant; `None`: the greater of 100 and 1 % of its accounts.
    pub failures_per_hour: Option<u32>,
    /// The most accounts, enrolments that were never confirmed included; `None`: [`ACCOUNTS_MAX_DEFAULT`].
    pub accounts_max: Option<u32>,
    /// Its policy document; `None`: the plugin's own, for development.
    pub policy: Option<ByteBuf>,
    /// The freezes that its operator has lifted.
    pub lifted: Vec<Lifted>,
    /// What its audit log calls accounts.
    pub log_names: LogNames,
}

/// What an audit log calls accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogNames {
    /// By their names.
    #[default]
    Plain,
    /// By a keyed hash of their names.
    Hashed,
}

impl LogNames {
    /// Every way there is.
    pub const ALL: &[LogNames] = &[LogNames::Plain, LogNames::Hashed];

    /// The word used in `tenants.toml`, on the command line and in the documentation.
    pub const fn word(self) -> &'static str {
        match self {
            LogNames::Plain => "plain",
            LogNames::Hashed => "hashed",
        }
    }
}

/// A freeze that was lifted: it does so once, since the next freeze has another number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifted {
    /// The account.
    pub account: AccountName,
    /// The freeze's number.
    pub freeze: u64,
}

/// The most freezes that stand as lifted, in one tenant.
pub const LIFTED_MAX: usize = 256;

/// The longest policy document.
pub const POLICY_MAX_BYTES: usize = 64 * 1024;

/// The most accounts of a tenant whose operator did not say.
pub const ACCOUNTS_MAX_DEFAULT: u32 = 100_000;

/// One message from the plugin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Output {
    /// The store was opened and requests are welcome.
    Ready,
    /// The plugin refuses to go on: it does nothing more, and ends when the firmware closes its end.
    Halt {
        /// A sentence for the operator's log, without secrets. It may end with one of [`HALT_WORDS`] in parentheses.
        why: String,
    },
    /// The answer to a request.
    Reply {
        /// The request's number.
        ticket: u64,
        /// The payload of the reply frame.
        payload: ByteBuf,
    },
    /// Something for the firmware to do.
    Call {
        /// The plugin's number for it.
        call: u64,
        /// What.
        op: Op,
        /// The request that it is made for; `None`: for several of them, or for none.
        #[serde(default)]
        ticket: Option<u64>,
    },
}

/// Why a plugin does not start, or halts, in a word that programs may match on. [`halt_word`] finds it in the sentence.
pub const HALT_WORDS: &[&str] = &[
    "nvram-unreadable",
    "nvram-of-other-version",
    "too-many-boots",
    "store-foreign",
    "store-empty",
    "store-not-a-log",
    "store-of-other-version",
    "store-of-other-hsm",
    "store-of-other-clock",
    "store-of-other-image",
    "store-front-missing",
    "store-short",
    "head-mismatch",
    "archive-short",
    "record-unreadable",
    "store-changed",
    "key-used-up",
    "store-full",
    "store-failed",
    "policy-refused",
];

/// The word that a halting plugin's sentence ends with.
pub fn halt_word(why: &str) -> Option<&'static str> {
    let (_, word) = why.strip_suffix(')')?.rsplit_once(" (")?;
    HALT_WORDS.iter().copied().find(|known| *known == word)
}

/// What the firmware does for the plugin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Op {
    /// Random bytes from the HSM's RNG. Gives [`Value::Random`].
    Random {
        /// How many; at most 1024.
        length_bytes: u16,
    },
    /// Read from the log exactly `length_bytes`. Gives [`Value::Bytes`]; less is a fault.
    ReadStore {
        /// From where.
        offset: u64,
        /// How many; at most [`READ_MAX_BYTES`].
        length_bytes: u32,
    },
    /// Cut the log and the archive to these ends and sync them. Gives [`Value::Done`].
    CutStore {
        /// The log's new end; never more than it has.
        end: u64,
        /// The archive's new length; never more than it has.
        archive_bytes: u64,
    },
    /// Write `append` to the log at `offset` (which is its end) and sync it; then write `nvram` and sync it; then the
    /// firmware may forget the log before `discard_before`, in its own time, once the plugin has its answer. Gives [`Value::Done`] when log and NVRAM
    /// are durable. [`Fault::StoreFull`]: neither was changed. On any other fault they may hold either state.
    Commit {
        /// Where the log must end now.
        offset: u64,
        /// What to append; nothing to write NVRAM alone. At most [`APPEND_MAX_BYTES`].
        append: ByteBuf,
        /// The new NVRAM content, at most [`NVRAM_MAX_BYTES`].
        nvram: ByteBuf,
        /// What of the log is not needed any more once `nvram` is durable.
        discard_before: u64,
    },
    /// Append to the archive at `offset` (which is its end) and sync it. One at a time, beside commits. Gives
    /// [`Value::Done`]. [`Fault::StoreFull`]: it was not changed.
    Archive {
        /// Where the archive must end now.
        offset: u64,
        /// What to append; at most [`APPEND_MAX_BYTES`].
        append: ByteBuf,
    },
    /// Read from the archive exactly `length_bytes`. Gives [`Value::Bytes`]; less is a fault.
    ReadArchive {
        /// From where.
        offset: u64,
        /// How many; at most [`READ_MAX_BYTES`].
        length_bytes: u32,
    },
    /// How much room log and archive have to grow. Gives [`Value::Room`].
    Room,
    /// Make a secp256k1 key pair in the keystore. Gives [`Value::KeyPair`].
    GenerateKeyPair,
    /// ECDSA over a 32-byte digest with a wrapped private key. Gives [`Value::Signature`]. Not yet low-S.
    SignDigest {
        /// As [`Value::KeyPair`] gave it.
        wrapped: ByteBuf,
        /// What to sign.
        digest: ByteArray<32>,
    },
    /// Wrap a TOTP secret. Gives [`Value::Wrapped`].
    WrapMacKey {
        /// The hash it will be used with.
        hash: TotpHash,
        /// The secret, as long as the hash.
        secret: Secret,
    },
    /// HMAC of each 8-byte counter (RFC 4226 section 5.2) with a wrapped secret. Gives [`Value::Macs`].
    Mac {
        /// As [`Value::Wrapped`] gave it.
        wrapped: ByteBuf,
        /// The hash.
        hash: TotpHash,
        /// 1 to 8 counters; each is authenticated as 8 bytes, big-endian.
        counters: Vec<u64>,
    },
    /// Have the HSM's root say that these are the keys of the image that it measured and runs. Gives [`Value::Endorsed`].
    Endorse {
        /// What the plugin signs with: P-256, SEC 1 uncompressed.
        signing_key: ByteArray<65>,
        /// What is sealed to the plugin with.
        sealing_key: ByteArray<65>,
    },
    /// Have the HSM attest itself and the image that it measured and runs. Gives [`Value::Attested`].
    Attest {
        /// Chosen by whoever asks: [`NONCE_MIN_BYTES`] to [`NONCE_MAX_BYTES`].
        nonce: ByteBuf,
        /// What the plugin says of itself.
        claims: Box<PluginClaims>,
    },
}

/// The shortest nonce of an attestation, in bytes.
pub const NONCE_MIN_BYTES: usize = 8;

/// The longest.
pub const NONCE_MAX_BYTES: usize = 64;

/// What the plugin says in an attestation; the firmware knows the rest itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginClaims {
    /// Version of the plugin.
    pub version: String,
    /// How often it was started.
    pub boot_count: u64,
    /// Whose API key asked.
    pub tenant: TenantName,
    /// The policy document of that tenant; `None`: it has none of its own.
    pub policy: Option<PolicyClaim>,
    /// SHA-256 of the officers' list; `None`: there are no officers.
    pub officers_sha256: Option<ByteArray<32>>,
    /// What the plugin signs statements and receipts with: P-256, SEC 1 uncompressed.
    pub statement_key: ByteArray<65>,
    /// What is sealed to the plugin with.
    pub sealing_key: ByteArray<65>,
    /// What the plugin signs checkpoints of audit logs with: Ed25519.
    pub log_key: ByteArray<32>,
    /// The newest head of the store's chain.
    pub store_head: ByteArray<32>,
    /// Whether the clock can be believed.
    pub clock_sure: bool,
}

/// Which policy document is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyClaim {
    /// The document's version.
    pub version: u64,
    /// SHA-256 of the document.
    pub sha256: ByteArray<32>,
}

/// What came of an [`Op`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// Done, and durable where that applies.
    Done,
    /// Random bytes.
    Random(Secret),
    /// Bytes of the store, untrusted.
    Bytes(ByteBuf),
    /// What the store's disk has room for, in bytes; `None`: the firmware cannot tell.
    Room(Option<u64>),
    /// A new key pair.
    KeyPair {
        /// The private key, wrapped by a key that never leaves the keystore; at most 256 bytes.
        wrapped: ByteBuf,
        /// SEC 1 uncompressed point.
        public_key: ByteArray<65>,
    },
    /// r‖s, big-endian.
    Signature(ByteArray<64>),
    /// A wrapped TOTP secret; at most 256 bytes.
    Wrapped(ByteBuf),
    /// One MAC for each counter, in order, each as long as the hash.
    Macs(Vec<Secret>),
    /// The root's statement, with the HSM's id, the measurement and the clock mode as the firmware knows them.
    Endorsed(Box<Identity>),
    /// The attestation: a `COSE_Sign1`, encoded.
    Attested(ByteBuf),
}

/// What went wrong in the firmware. The details are in the firmware's own log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// The random number generator.
    Rng,
    /// Store or NVRAM. After this nothing is known of either until the next start.
    Store,
    /// The disk has no room for it. Nothing was changed, and it may be tried again.
    StoreFull,
    /// The disk did not give what was asked for. Nothing was changed, and it may be tried again.
    StoreUnreadable,
    /// The keystore, or a blob that it did not make.
    Keystore,
    /// The plugin asked for something outside the limits above.
    Limits,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{decode_packed, encode_packed};

    #[test]
    fn messages_come_out_as_they_went_in() {
        let call = Output::Call {
            call: 9,
            op: Op::Commit {
                offset: 1,
                append: ByteBuf::new(),
                nvram: ByteBuf::from([1]),
                discard_before: 0,
            },
            ticket: Some(3),
        };
        assert_eq!(decode_packed::<Output>(&encode_packed(&call)), Ok(call));
        let done = Delivery {
            time: Time { unix_secs: 1, running_secs: 2 },
            event: Event::Done { call: 9, result: Err(Fault::Store) },
        };
        assert_eq!(decode_packed::<Delivery>(&encode_packed(&done)), Ok(done));
    }

    #[test]
    fn a_halt_tells_its_word_and_no_other() {
        assert_eq!(halt_word("store refused: it was changed (head-mismatch)"), Some("head-mismatch"));
        for other in
            ["", "head-mismatch", "(head-mismatch)", "refused (by someone)", "refused (head-mismatch"]
        {
            assert_eq!(halt_word(other), None, "{other}");
        }
    }

    #[test]
    fn secrets_are_never_printed() {
        let op = Op::WrapMacKey { hash: TotpHash::Sha1, secret: Secret::new(vec![0x5a; 20]) };
        assert!(format!("{op:?}").contains("redacted") && !format!("{op:?}").contains("90"));
    }
}
