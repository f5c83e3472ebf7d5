//! What a user's own device says to the plugin, through whatever carries it: no API key, and nothing that the carrier could use.
//! `docs/approvals.md` is the contract, byte by byte.

use crate::client::RequestId;
use crate::names::{AccountName, TenantName};
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};

/// Which staged intent: 16 random bytes.
pub type IntentId = RequestId;

/// Which device of an account: the first 16 bytes of SHA-256 of its public key.
pub type DeviceId = ByteArray<16>;

/// A P-256 public key: SEC 1 uncompressed point.
pub type P256Point = ByteArray<65>;

/// An ES256 signature: r‖s, s in the lower half of the group order.
pub type Es256 = ByteArray<64>;

/// The most passkeys that an account is enrolled with.
pub const PASSKEYS_MAX: usize = 4;

/// The longest client data of WebAuthn that is read, in bytes.
pub const CLIENT_DATA_MAX_BYTES: usize = 2048;

/// The longest authenticator data of WebAuthn that is read, in bytes.
pub const AUTHENTICATOR_DATA_MAX_BYTES: usize = 1024;

/// The longest sealed message, in bytes.
pub const SEALED_MAX_BYTES: usize = 1024;

/// Something signed: by the root, or by the plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedStatement {
    /// The bytes that are signed: a CBOR array whose first element names what it is.
    pub statement: ByteBuf,
    /// Over them.
    pub signature: Es256,
}

/// The plugin's keys, endorsed by the HSM's root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// What the root signed.
    pub statement: ByteBuf,
    /// Over it.
    pub signature: Es256,
    /// The root's public key. A device compares it with the one that it has from elsewhere.
    pub root: P256Point,
}

/// Which staged intent of which account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewIntent {
    /// The tenant.
    pub tenant: TenantName,
    /// The account.
    pub account: AccountName,
    /// The intent.
    pub intent: IntentId,
    /// Repeated in the answer, so that an old one is recognised.
    pub device_nonce: ByteArray<32>,
}

/// A device's own account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewAccount {
    /// The tenant.
    pub tenant: TenantName,
    /// The account.
    pub account: AccountName,
    /// The device that asks.
    pub device: DeviceId,
    /// Repeated in the answer.
    pub device_nonce: ByteArray<32>,
    /// By the device's key.
    pub signature: Es256,
}

/// The receipt of an intent that was signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewReceipt {
    /// The tenant.
    pub tenant: TenantName,
    /// The account.
    pub account: AccountName,
    /// The intent.
    pub intent: IntentId,
}

/// A code that was sealed on the user's device, to the plugin, for one approval digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedCode {
    /// The device.
    pub device: DeviceId,
    /// HPKE's `enc`.
    pub encapsulated: P256Point,
    /// What is sealed.
    pub ciphertext: ByteBuf,
    /// By the device's key, over the approval digest and what is sealed.
    pub signature: Es256,
}

/// A WebAuthn assertion whose challenge is the approval digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assertion {
    /// Which passkey.
    pub credential_id: ByteBuf,
    /// As the browser made it.
    pub client_data_json: ByteBuf,
    /// As the authenticator made it.
    pub authenticator_data: ByteBuf,
    /// DER, s in the lower half.
    pub signature: ByteBuf,
}

/// What approves one intent and no other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// A sealed code.
    SealedCode(SealedCode),
    /// A passkey's assertion.
    Passkey(Assertion),
}

/// Evidence, and the staged intent that it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntentApproval {
    /// The intent.
    pub intent: IntentId,
    /// What approves it.
    pub evidence: Evidence,
}

/// The user approves a staged intent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approve {
    /// The tenant.
    pub tenant: TenantName,
    /// The account.
    pub account: AccountName,
    /// The intent.
    pub intent: IntentId,
    /// What approves it.
    pub evidence: Evidence,
}

/// The user wants nothing of a staged intent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decline {
    /// The tenant.
    pub tenant: TenantName,
    /// The account.
    pub account: AccountName,
    /// The intent.
    pub intent: IntentId,
    /// The device.
    pub device: DeviceId,
    /// By its key, over the approval digest of purpose `decline`.
    pub signature: Es256,
}

/// A passkey's registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// As the browser made it.
    pub client_data_json: ByteBuf,
    /// As the authenticator made it.
    pub authenticator_data: ByteBuf,
}

/// A device enrols the account that it was invited to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrollSealed {
    /// The tenant.
    pub tenant: TenantName,
    /// The account.
    pub account: AccountName,
    /// The invitation.
    pub invitation: IntentId,
    /// Repeated in the receipt.
    pub device_nonce: ByteArray<32>,
    /// The key that the device signs with.
    pub device_key: P256Point,
    /// The key that the TOTP secret is sealed to.
    pub device_sealing_key: P256Point,
    /// The user's passkeys; at most [`PASSKEYS_MAX`].
    pub passkeys: Vec<Registration>,
    /// By the device's key, over all of it.
    pub signature: Es256,
}

/// A new account. The TOTP secret is sealed to the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolledSealed {
    /// What the plugin says that it made.
    pub receipt: SignedStatement,
    /// HPKE's `enc`.
    pub encapsulated: P256Point,
    /// The sealed otpauth URI.
    pub ciphertext: ByteBuf,
    /// The account's act nonce, to confirm with.
    pub act_nonce: ByteArray<32>,
    /// The enrolment is void unless it is confirmed within this many seconds.
    pub confirm_within_secs: u64,
}

/// What a device may do to its account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DevicePurpose {
    /// Finish the enrolment, with two codes.
    Confirm,
    /// Reopen a locked account, with two codes.
    Unlock,
    /// From now on nothing is signed.
    Freeze,
    /// Stop a recovery that is under way.
    CancelRecovery,
}

/// What was sealed to the plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// HPKE's `enc`.
    pub encapsulated: P256Point,
    /// What is sealed.
    pub ciphertext: ByteBuf,
}

/// A device acts on its account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceAct {
    /// The tenant.
    pub tenant: TenantName,
    /// The account.
    pub account: AccountName,
    /// What is to be done.
    pub purpose: DevicePurpose,
    /// Until when it may be done; at most [`ACT_OPEN_SECS`] ahead.
    pub expires_unix_secs: u64,
    /// The device.
    pub device: DeviceId,
    /// Two codes, where the purpose takes them.
    pub sealed: Option<Sealed>,
    /// By the device's key, over the approval digest and what is sealed.
    pub signature: Es256,
}

/// How far ahead the expiry of a [`DeviceAct`] may lie.
pub const ACT_OPEN_SECS: u64 = 600;

/// How a staged intent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IntentState {
    /// It waits for the user.
    Open,
    /// It may be signed, once.
    Approved,
    /// It was signed; a payee was set.
    Signed,
    /// The user refused it.
    Declined,
}

impl IntentState {
    /// The word that is signed and shown.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Approved => "approved",
            Self::Signed => "signed",
            Self::Declined => "declined",
        }
    }
}
