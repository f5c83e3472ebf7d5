//! What the plugin answers.

#[cfg(doc)]
use super::{Act, KeyQuery};
use super::{ApprovalKind, Cursor, KeyId, KeyPlan, RequestId, TotpParameters};
use crate::device::{EnrolledSealed, Identity, IntentId, IntentState, SignedStatement};
use crate::log::{LogCheckpoint, LogPage};
use crate::names::{AccountName, KeyLabel};
use crate::reason::Refusal;
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};

/// What the plugin answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// The id of the request; all zero where the request could not be read.
    pub id: RequestId,
    /// How it went.
    pub outcome: Outcome,
}

/// How a request went.
#[allow(clippy::large_enum_variant, reason = "there is one at a time, and most are the large one")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Done, and durable.
    Done(Answer),
    /// Refused; nothing was released.
    Refused(Refusal),
}

/// The answer to each [`Act`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// To [`Act::Status`].
    Status(Status),
    /// To [`Act::Login`].
    Welcome(Welcome),
    /// To [`Act::Random`].
    Random(ByteBuf),
    /// To [`Act::Enroll`].
    Enrolled(Enrolled),
    /// To [`Act::Confirm`], [`Act::Unlock`] and [`Act::ShowAccount`].
    Account(AccountInfo),
    /// To [`Act::CreateKey`].
    Key(KeyInfo),
    /// To [`Act::FindKeys`].
    Keys(KeyPage),
    /// To [`Act::Sign`] and [`Act::ContextSign`].
    Signed(Signed),
    /// To [`Act::ContextLogin`].
    LoggedIn,
    /// To [`Act::ContextEnd`].
    Ended,
    /// To [`Act::Invite`].
    Invited(Invited),
    /// To [`Act::Stage`].
    Staged(Staged),
    /// To [`Act::ShowIntent`].
    Intent(IntentInfo),
    /// To [`Act::FindReceipt`] and [`Act::ViewReceipt`].
    Receipt(SignedStatement),
    /// To [`Act::Attest`]: a `COSE_Sign1`, encoded.
    Attested(ByteBuf),
    /// To [`Act::LogCheckpoint`].
    LogCheckpoint(LogCheckpoint),
    /// To [`Act::ReadLog`].
    LogPage(LogPage),
    /// To [`Act::Identity`].
    Identity(Identity),
    /// To [`Act::ViewIntent`] and [`Act::ViewAccount`].
    View(SignedStatement),
    /// To [`Act::Approve`].
    Approved,
    /// To [`Act::Decline`].
    Declined,
    /// To [`Act::EnrollSealed`].
    EnrolledSealed(Box<EnrolledSealed>),
    /// To [`Act::DeviceAct`].
    CarriedOut,
}

/// Where the HSM's time comes from; fixed when the HSM was initialised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClockMode {
    /// The clock of the machine that the simulator runs on.
    System,
    /// Stands still until it is advanced. For tests and development only.
    Manual,
}

impl ClockMode {
    /// The word used on the wire, on the command line and in the documentation.
    pub const fn word(self) -> &'static str {
        match self {
            ClockMode::System => "system",
            ClockMode::Manual => "manual",
        }
    }
}

/// How the HSM is. Told to anyone who may connect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// Version of the plugin.
    pub version: String,
    /// Which HSM this is; fixed when it was initialised.
    pub hsm_id: ByteArray<16>,
    /// SHA-384 of the image that runs.
    pub measurement: ByteArray<48>,
    /// Where time comes from.
    pub clock: ClockMode,
    /// The HSM's time, seconds since 1970.
    pub unix_time_secs: u64,
    /// False: the clock is behind the newest time seen, and codes are refused.
    pub clock_sure: bool,
    /// Name of the keystore.
    pub keystore: String,
    /// How often the plugin was started.
    pub boot_count: u64,
    /// Sandbox layers that are missing; empty unless the operator allowed a weak sandbox.
    pub missing_sandbox_layers: Vec<String>,
    /// How much room the store's disk has, in bytes, as the firmware last said; `None`: it does not know.
    pub store_room_bytes: Option<u64>,
    /// Requests since the start that were refused for want of room.
    pub refused_for_room: u64,
}

/// The API key is good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Welcome {
    /// The tenant it belongs to.
    pub tenant: String,
}

/// A new account. The only message that ever carries a TOTP secret.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolled {
    /// The otpauth URI, shown this once: `otpauth://totp/…`.
    pub otpauth: String,
    /// The account's first key.
    pub key: KeyInfo,
    /// The enrolment is void unless it is confirmed within this many seconds.
    pub confirm_within_secs: u64,
}

impl core::fmt::Debug for Enrolled {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Enrolled")
            .field("otpauth", &"(redacted)")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl Drop for Enrolled {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.otpauth);
    }
}

/// One account as the host may see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountInfo {
    /// Its name.
    pub account: AccountName,
    /// Whether two codes were shown.
    pub confirmed: bool,
    /// Its factor.
    pub totp: TotpParameters,
    /// Seconds until the lock ends; 0 when it is not locked.
    pub locked_for_secs: u64,
    /// Failed checks since the last success.
    pub consecutive_failures: u16,
    /// How many more failed checks the account's budget allows now.
    pub failures_left: u16,
    /// Its keys, in the order they were made.
    pub keys: Vec<KeyInfo>,
    /// The addresses that it is known to pay, ascending.
    pub payees: Vec<String>,
    /// How many devices it was enrolled with.
    pub devices: u8,
    /// How many passkeys.
    pub passkeys: u8,
    /// Which freeze holds it: what the operator names to lift it.
    pub frozen: Option<u64>,
    /// How many signatures it made.
    pub signatures: u64,
    /// What the tenant's audit log calls it from now on: its name, or a keyed hash of it.
    pub log_name: String,
}

/// One key as the host may see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyInfo {
    /// Its full name.
    pub label: KeyLabel,
    /// Its id.
    pub id: KeyId,
    /// SEC 1 uncompressed point: 65 bytes, the first 4.
    pub public_key: ByteArray<65>,
    /// `0x` and 40 hex digits with the checksum of EIP-55; empty for a Bitcoin key, which could spend nothing there.
    pub ethereum_address: String,
    /// What it may sign and where it comes from.
    pub plan: KeyPlan,
    /// For a Bitcoin wallet account: what derives its addresses, and watches them.
    pub watch: Option<Watch>,
}

/// What is needed to watch a wallet account, and of no use for spending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// The extended public key of the account (BIP-32): `xpub…` or `tpub…`.
    pub xpub: String,
    /// The fingerprint of the wallet's root.
    pub root_fingerprint: ByteArray<4>,
    /// The output descriptor of all addresses, with its checksum (BIP-380, BIP-389).
    pub descriptor: String,
}

/// Some keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyPage {
    /// The keys.
    pub keys: Vec<KeyInfo>,
    /// Where to go on; `None` when this page is the last.
    pub next: Option<Cursor>,
}

/// A signature, verified inside before it was released.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// r‖s, big-endian, s in the lower half of the group order. Of a PSBT, the first that was made.
    pub signature: ByteArray<64>,
    /// 0 or 1: the parity of the y coordinate of R.
    pub y_parity: u8,
    /// The digest that was signed. Of a PSBT, the first.
    pub digest: ByteArray<32>,
    /// For an Ethereum transaction: the whole signed transaction, ready to broadcast.
    pub raw_transaction: Option<ByteBuf>,
    /// For an Ethereum transaction: its hash on chain.
    pub transaction_hash: Option<ByteArray<32>>,
    /// For a PSBT: the same with all signatures that were made.
    pub psbt: Option<ByteBuf>,
    /// What was signed, in the words that everybody is shown.
    pub summary: String,
}

/// A device may enrol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invited {
    /// What the device needs.
    pub invitation: IntentId,
    /// For how long it is good.
    pub expires_in_secs: u64,
}

/// An intent is staged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Staged {
    /// What the device needs.
    pub intent: IntentId,
    /// What the user will be shown.
    pub summary: String,
    /// Every digest that will be signed, in order.
    pub digests: Vec<ByteArray<32>>,
    /// When it expires, by the HSM's clock.
    pub expires_unix_secs: u64,
}

/// How a staged intent is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntentInfo {
    /// Its state.
    pub state: IntentState,
    /// What approved it.
    pub approval: Option<ApprovalKind>,
    /// When it, or its approval, expires, by the HSM's clock.
    pub expires_unix_secs: u64,
}
