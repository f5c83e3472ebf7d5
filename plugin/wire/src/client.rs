//! Host to plugin. The host side is untrusted: the plugin decodes these with [`crate::decode`] and nothing else.
//!
//! One request gets one reply with the same id. Requests on one connection may be answered in any order.

use crate::device::{
    Approve, Decline, DeviceAct, EnrollSealed, EnrolledSealed, Identity, IntentApproval, IntentId,
    IntentState, SignedStatement, ViewAccount, ViewIntent, ViewReceipt,
};
use crate::log::{LogCheckpoint, LogPage, LogQuery};
use crate::names::{AccountName, ApiKey, KeyLabel, KeyName, TypedCode};
use crate::path::DerivationPath;
use crate::reason::Refusal;
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};

/// Chosen at random by the client, one for each thing it wants done; a retry of the same thing repeats it.
pub type RequestId = ByteArray<16>;

/// A key's id within its HSM: 16 bytes, and its `CKA_ID`.
pub type KeyId = ByteArray<16>;

/// What the host asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Returned in the reply.
    pub id: RequestId,
    /// Needed for everything except [`Act::Status`] and what a device asks ([`Act::is_of_device`]).
    pub api_key: Option<ApiKey>,
    /// What is to be done.
    pub act: Act,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Act {
    /// How the HSM is. Answers [`Answer::Status`].
    Status,
    /// Is the API key good? Answers [`Answer::Welcome`].
    Login,
    /// Random bytes, 1 to [`RANDOM_MAX_BYTES`]. Answers [`Answer::Random`].
    Random(u16),
    /// A new account with its first factor and key. Answers [`Answer::Enrolled`].
    Enroll(Enroll),
    /// Two consecutive codes finish an enrolment. Answers [`Answer::Account`].
    Confirm(TwoCodes),
    /// Two consecutive codes reopen a locked account. Answers [`Answer::Account`].
    Unlock(TwoCodes),
    /// One account. Answers [`Answer::Account`].
    ShowAccount(AccountName),
    /// An address is one that the account is known to pay, which policies may ask for, or no longer is. Answers
    /// [`Answer::Account`].
    TrustPayee(TrustPayee),
    /// A further key of a confirmed account. Answers [`Answer::Key`].
    CreateKey(CreateKey),
    /// Keys by name, by id, or all. Answers [`Answer::Keys`]; a miss is an empty list.
    FindKeys(KeyQuery),
    /// Approve and sign in one request. Answers [`Answer::Signed`].
    Sign(Sign),
    /// PKCS#11 context login: spend a code for the operation that is open. Answers [`Answer::LoggedIn`].
    ContextLogin(ContextLogin),
    /// PKCS#11 `C_Sign` after a context login. Answers [`Answer::Signed`].
    ContextSign(ContextSign),
    /// The PKCS#11 operation ended without a signature: drop its grant. Answers [`Answer::Ended`].
    ContextEnd(Operation),
    /// A user's device may enrol a new account, sealed. Answers [`Answer::Invited`].
    Invite(Enroll),
    /// Something for the user to approve on a device. Answers [`Answer::Staged`].
    Stage(Subject),
    /// How a staged intent is. Answers [`Answer::Intent`].
    ShowIntent(StagedIntent),
    /// The receipt of one of an account's last signatures. Answers [`Answer::Receipt`].
    FindReceipt(FindReceipt),
    /// The HSM's word for itself and the image that it runs, for a nonce of [`NONCE_MIN_BYTES`](crate::hal::NONCE_MIN_BYTES) to
    /// [`NONCE_MAX_BYTES`](crate::hal::NONCE_MAX_BYTES). Answers [`Answer::Attested`].
    Attest(ByteBuf),
    /// How the tenant's audit log is now. Answers [`Answer::LogCheckpoint`].
    LogCheckpoint,
    /// Entries of the tenant's audit log. Answers [`Answer::LogPage`].
    ReadLog(LogQuery),
    /// Of a device: the plugin's keys. Answers [`Answer::Identity`].
    Identity,
    /// Of a device: what it is asked to approve. Answers [`Answer::View`].
    ViewIntent(ViewIntent),
    /// Of a device: its account. Answers [`Answer::View`].
    ViewAccount(ViewAccount),
    /// Of a device: the receipt of an intent. Answers [`Answer::Receipt`].
    ViewReceipt(ViewReceipt),
    /// Of a device: it approves. Answers [`Answer::Approved`].
    Approve(Approve),
    /// Of a device: it refuses. Answers [`Answer::Declined`].
    Decline(Decline),
    /// Of a device: it enrols. Answers [`Answer::EnrolledSealed`].
    EnrollSealed(Box<EnrollSealed>),
    /// Of a device: it acts on its account. Answers [`Answer::CarriedOut`].
    DeviceAct(DeviceAct),
}

impl Act {
    /// The word of every act, in order: what the variants are called on the wire.
    pub const WORDS: &[&str] = &[
        "status",
        "login",
        "random",
        "enroll",
        "confirm",
        "unlock",
        "show-account",
        "trust-payee",
        "create-key",
        "find-keys",
        "sign",
        "context-login",
        "context-sign",
        "context-end",
        "invite",
        "stage",
        "show-intent",
        "find-receipt",
        "attest",
        "log-checkpoint",
        "read-log",
        "identity",
        "view-intent",
        "view-account",
        "view-receipt",
        "approve",
        "decline",
        "enroll-sealed",
        "device-act",
    ];

    /// Whether it is what a user's device asks, without an API key.
    pub const fn is_of_device(&self) -> bool {
        matches!(
            self,
            Self::Identity
                | Self::ViewIntent(_)
                | Self::ViewAccount(_)
                | Self::ViewReceipt(_)
                | Self::Approve(_)
                | Self::Decline(_)
                | Self::EnrollSealed(_)
                | Self::DeviceAct(_)
        )
    }
}

/// The most random bytes one request may ask for.
pub const RANDOM_MAX_BYTES: u16 = 1024;

/// What a key may sign; fixed when the key is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    /// A 32-byte digest, blind.
    Digest,
    /// An Ethereum transaction that the plugin decodes and hashes itself.
    Ethereum,
    /// EIP-712 typed data, from its JSON.
    TypedData,
    /// An EIP-191 personal message.
    Message,
    /// A Bitcoin transaction as a PSBT.
    Bitcoin,
}

impl Mechanism {
    /// Every mechanism there is.
    pub const ALL: &[Mechanism] = &[
        Mechanism::Digest,
        Mechanism::Ethereum,
        Mechanism::TypedData,
        Mechanism::Message,
        Mechanism::Bitcoin,
    ];

    /// The word used on the wire, on the command line and in the documentation.
    pub const fn word(self) -> &'static str {
        match self {
            Mechanism::Digest => "digest",
            Mechanism::Ethereum => "ethereum",
            Mechanism::TypedData => "typed-data",
            Mechanism::Message => "message",
            Mechanism::Bitcoin => "bitcoin",
        }
    }
}

/// A Bitcoin network. It is part of a key and never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// The main network.
    Main,
    /// The public test networks (versions 3 and 4 share their address prefixes).
    Test,
    /// Signet (BIP-325).
    Signet,
    /// A local regression test network.
    Regtest,
}

impl Network {
    /// Every network there is.
    pub const ALL: &[Network] = &[Network::Main, Network::Test, Network::Signet, Network::Regtest];

    /// The word used on the wire, on the command line and in the documentation.
    pub const fn word(self) -> &'static str {
        match self {
            Network::Main => "main",
            Network::Test => "test",
            Network::Signet => "signet",
            Network::Regtest => "regtest",
        }
    }
}

/// What a user approves with, weakest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApprovalKind {
    /// A plain code: somebody is there.
    #[default]
    Code,
    /// A code that was sealed on the user's device for one intent.
    SealedCode,
    /// A passkey's assertion for one intent.
    Passkey,
}

impl ApprovalKind {
    /// Every kind, weakest first.
    pub const ALL: &[ApprovalKind] = &[ApprovalKind::Code, ApprovalKind::SealedCode, ApprovalKind::Passkey];

    /// The word used on the wire, in rules, on the command line and in the documentation.
    pub const fn word(self) -> &'static str {
        match self {
            ApprovalKind::Code => "code",
            ApprovalKind::SealedCode => "sealed-code",
            ApprovalKind::Passkey => "passkey",
        }
    }

    /// The kind of this word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.word() == word)
    }
}

/// What a key may sign and where it comes from; fixed when the key is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyPlan {
    /// What it may sign: one or more, ascending, without repeats. [`Mechanism::Bitcoin`] stands alone.
    pub mechanisms: Vec<Mechanism>,
    /// The network of a Bitcoin key; `None` for every other.
    pub network: Option<Network>,
    /// Where it lies in the account's wallet; `None`: a key of its own, made by the keystore.
    pub path: Option<DerivationPath>,
    /// The weakest approval that it takes.
    pub floor: ApprovalKind,
}

impl KeyPlan {
    /// A key of its own for these mechanisms, none of them Bitcoin's.
    pub fn of(mechanisms: Vec<Mechanism>) -> Self {
        Self { mechanisms, network: None, path: None, floor: ApprovalKind::Code }
    }
}

/// The hash inside a TOTP factor's HMAC (RFC 6238 section 1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TotpHash {
    /// HMAC-SHA-1, 20-byte secret. What every authenticator app supports.
    Sha1,
    /// HMAC-SHA-256, 32-byte secret.
    Sha256,
    /// HMAC-SHA-512, 64-byte secret.
    Sha512,
}

impl TotpHash {
    /// The word used on the wire and in what is signed.
    pub const fn word(self) -> &'static str {
        match self {
            TotpHash::Sha1 => "sha1",
            TotpHash::Sha256 => "sha256",
            TotpHash::Sha512 => "sha512",
        }
    }

    /// Length of the secret and of the hash, in bytes (RFC 4226 section 4, R6).
    pub const fn secret_bytes(self) -> usize {
        match self {
            TotpHash::Sha1 => 20,
            TotpHash::Sha256 => 32,
            TotpHash::Sha512 => 64,
        }
    }
}

/// A TOTP factor's public parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TotpParameters {
    /// The hash inside the HMAC.
    pub hash: TotpHash,
    /// 6 or 8.
    pub digits: u8,
    /// Length of a time step: 30 or 60 seconds.
    pub period_secs: u8,
}

impl Default for TotpParameters {
    /// What every authenticator app supports: SHA-1, 6 digits, 30 seconds.
    fn default() -> Self {
        Self { hash: TotpHash::Sha1, digits: 6, period_secs: 30 }
    }
}

/// A new account with its first factor and key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enroll {
    /// The new account.
    pub account: AccountName,
    /// Its first factor.
    pub totp: TotpParameters,
    /// Its first key.
    pub key: KeyName,
    /// What that key may sign and where it comes from.
    pub plan: KeyPlan,
}

/// An account and the codes of two consecutive time steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TwoCodes {
    /// The account.
    pub account: AccountName,
    /// The earlier code.
    pub first: TypedCode,
    /// The code of the time step right after it.
    pub second: TypedCode,
}

/// An address that the account is known to pay from now on, or no longer. It takes the user's approval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustPayee {
    /// The account.
    pub account: AccountName,
    /// The address in its canonical form, as summaries show it.
    pub address: String,
    /// Whether it is known from now on; `false` takes it off the list.
    pub known: bool,
    /// The user's approval; without one the request is refused.
    pub approval: Option<Approval>,
}

/// A further key of a confirmed account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateKey {
    /// The key's full name.
    pub label: KeyLabel,
    /// What it may sign and where it comes from.
    pub plan: KeyPlan,
}

/// Which keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyQuery {
    /// All keys of the tenant, page by page: those of the accounts after the cursor (`None`: from the start).
    All(Option<Cursor>),
    /// The key of this name.
    Label(KeyLabel),
    /// The key of this id.
    Id(KeyId),
}

/// Where a page of [`KeyQuery::All`] ended. Opaque to the host.
pub type Cursor = ByteArray<8>;

/// What is to be signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Payload {
    /// A digest that the plugin cannot see behind.
    Digest(ByteArray<32>),
    /// An unsigned Ethereum transaction: the bytes whose Keccak-256 is signed.
    Ethereum(ByteBuf),
    /// EIP-712 typed data: the JSON of `eth_signTypedData_v4`.
    TypedData(ByteBuf),
    /// An EIP-191 personal message: its bytes, without prefix.
    Message(ByteBuf),
    /// A PSBT, version 0 (BIP-174) or 2 (BIP-370).
    Psbt(ByteBuf),
}

impl Payload {
    /// The mechanism that a key must have been made for.
    pub const fn mechanism(&self) -> Mechanism {
        match self {
            Payload::Digest(_) => Mechanism::Digest,
            Payload::Ethereum(_) => Mechanism::Ethereum,
            Payload::TypedData(_) => Mechanism::TypedData,
            Payload::Message(_) => Mechanism::Message,
            Payload::Psbt(_) => Mechanism::Bitcoin,
        }
    }
}

/// Evidence from a factor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Approval {
    /// The code as the user typed it.
    Code(TypedCode),
    /// What a device or a passkey made for one staged intent.
    Intent(Box<IntentApproval>),
    /// None now: the user approved before, on a device.
    Prior,
}

/// Approve and sign in one request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sign {
    /// The key.
    pub key: KeyLabel,
    /// What is to be signed.
    pub payload: Payload,
    /// The user's approval; without one the request is refused.
    pub approval: Option<Approval>,
}

/// One PKCS#11 sign operation, from `C_SignInit` to its end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// 16 random bytes that the module chose when the operation began.
    pub id: ByteArray<16>,
    /// The operation's key.
    pub key: KeyId,
    /// The operation's mechanism.
    pub mechanism: Mechanism,
}

/// `C_Login(CKU_CONTEXT_SPECIFIC)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContextLogin {
    /// The operation that the grant will belong to.
    pub operation: Operation,
    /// The user's approval.
    pub approval: Approval,
}

/// `C_Sign` or `C_SignFinal`. The operation's grant is used up, whatever the outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContextSign {
    /// The operation that was logged in.
    pub operation: Operation,
    /// What is to be signed; its mechanism is the operation's.
    pub payload: Payload,
}

/// What is staged for the user to approve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// Something to be signed.
    Sign(StageSign),
    /// An address that the account is to know, or no longer.
    Payee(StagePayee),
}

/// Something to be signed once the user has approved it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageSign {
    /// The key.
    pub key: KeyLabel,
    /// What is to be signed.
    pub payload: Payload,
}

/// An address that the account is to know once the user has approved it, or no longer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StagePayee {
    /// The account.
    pub account: AccountName,
    /// The address in its canonical form.
    pub address: String,
    /// Whether it is to be known.
    pub known: bool,
}

/// Which staged intent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StagedIntent {
    /// The account.
    pub account: AccountName,
    /// The intent.
    pub intent: IntentId,
}

/// Whose receipt: what was signed is given again, and is found among the account's last signatures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FindReceipt {
    /// The key that signed.
    pub key: KeyLabel,
    /// What it signed.
    pub payload: Payload,
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

/// What the plugin answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// The id of the request; all zero where the request could not be read.
    pub id: RequestId,
    /// How it went.
    pub outcome: Outcome,
}

/// The longest personal message that is signed, in bytes.
pub const MESSAGE_MAX_BYTES: usize = 16 * 1024;

/// The longest typed data that is signed, in bytes.
pub const TYPED_DATA_MAX_BYTES: usize = 32 * 1024;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Malformed, decode, encode};

    fn request() -> Request {
        Request {
            id: ByteArray::new([7; 16]),
            api_key: None,
            act: Act::Sign(Sign {
                key: "alice/ethereum".parse().unwrap(),
                payload: Payload::Ethereum(ByteBuf::from(vec![2, 0xc0])),
                approval: Some(Approval::Code(TypedCode::new("123456").unwrap())),
            }),
        }
    }

    #[test]
    fn a_request_has_exactly_one_encoding() {
        let bytes = encode(&request());
        assert_eq!(decode::<Request>(&bytes), Ok(request()));
        let mut trailing = bytes.clone();
        trailing.push(0);
        assert_eq!(decode::<Request>(&trailing), Err(Malformed), "trailing byte");
        assert_eq!(decode::<Request>(&crate::encode_packed(&request())), Err(Malformed), "fields by number");
        let mut tagged = vec![0xd9, 0xd9, 0xf7];
        tagged.extend_from_slice(&bytes);
        assert_eq!(decode::<Request>(&tagged), Err(Malformed), "self-describe tag");
        for cut in 0..bytes.len() {
            assert_eq!(decode::<Request>(&bytes[..cut]), Err(Malformed), "cut at {cut}");
        }
    }

    #[test]
    fn the_words_of_acts_are_all_there_are() {
        use serde::de::value::Error;
        use serde::de::{Deserialize, IntoDeserializer};
        let nothing = IntoDeserializer::<Error>::into_deserializer("nothing");
        let said = Act::deserialize(nothing).unwrap_err().to_string();
        let (_, expected) = said.split_once("expected one of ").unwrap();
        let expected: Vec<_> = expected.split(", ").map(|word| word.trim_matches('`')).collect();
        assert_eq!(expected, Act::WORDS);
    }

    #[test]
    fn refuses_longer_integers_and_unknown_fields() {
        // {"id": h'07…', "api_key": null, "act": {"random": 1}} with 1 as 0x01 and as 0x1801.
        let good = encode(&Request { act: Act::Random(1), ..request() });
        assert!(decode::<Request>(&good).is_ok());
        let mut long = good.clone();
        long.pop();
        long.extend_from_slice(&[0x18, 0x01]);
        assert_eq!(decode::<Request>(&long), Err(Malformed));
        let mut extra = good.clone();
        extra[0] = 0xa4;
        extra.extend_from_slice(b"\x61x\x00");
        assert_eq!(decode::<Request>(&extra), Err(Malformed));
    }

    proptest::proptest! {
        #[test]
        fn whatever_decodes_encodes_to_the_same_bytes(mut bytes: Vec<u8>, at: usize, value: u8) {
            if let Ok(request) = decode::<Request>(&bytes) {
                proptest::prop_assert_eq!(encode(&request), bytes.clone());
            }
            bytes = encode(&request());
            let at = at % bytes.len();
            bytes[at] = value;
            if let Ok(request) = decode::<Request>(&bytes) {
                proptest::prop_assert_eq!(encode(&request), bytes);
            }
        }
    }
}
