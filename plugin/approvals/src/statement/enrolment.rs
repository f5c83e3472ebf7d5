//! How an account begins: what a device asks for, and what the HSM says it made.

use super::codec::{Bytes, Codec, List, Text, entry, statement};
use super::{
    ApprovalKind, ClockMode, FACTORS_MAX, KEY_TEXT_MAX_BYTES, KEYS_MAX, LINE_MAX_BYTES, NAME_MAX_BYTES,
    PASSKEYS_MAX, WORD_MAX_BYTES,
};
use crate::cbor::{Malformed, Reader, Writer};
use crate::es256::PublicKey;

/// The longest `clientDataJSON` that is read, in bytes.
pub const CLIENT_DATA_MAX_BYTES: usize = 2048;

/// The longest authenticator data that is read, in bytes: 37 of head, 18 and up to 255 of credential id, 77 of key.
pub const AUTHENTICATOR_DATA_MAX_BYTES: usize = 512;

/// The longest origin, in bytes: `https://`, a name of 253 bytes (RFC 1035), a port.
pub const ORIGIN_MAX_BYTES: usize = 8 + 253 + 6;

/// The longest credential id, in bytes.
pub const CREDENTIAL_ID_MAX_BYTES: usize = 255;

entry! {
    /// A passkey that a device brings along: `[client data JSON, authenticator data]` of its registration.
    pub struct OfferedPasskey {
        /// As the browser gave it.
        client_data_json: Vec<u8> as Bytes<CLIENT_DATA_MAX_BYTES>,
        /// As the authenticator gave it.
        authenticator_data: Vec<u8> as Bytes<AUTHENTICATOR_DATA_MAX_BYTES>,
    }
}

statement! {
    "countersign enrolment request v1", |_| true,
    /// What a device signs, with the device key inside it, to enrol an account that it was invited to.
    pub struct EnrolmentRequest {
        /// The HSM's id.
        hsm: [u8; 16],
        /// The tenant's name.
        tenant: String as Text<NAME_MAX_BYTES>,
        /// The account's name.
        account: String as Text<NAME_MAX_BYTES>,
        /// The invitation's id.
        invitation: [u8; 16],
        /// The device's own, random.
        device_nonce: [u8; 32],
        /// What the device signs with.
        device_key: PublicKey,
        /// What secrets for the device are sealed to.
        device_sealing_key: PublicKey,
        /// The passkeys of the account, at most four.
        passkeys: Vec<OfferedPasskey> as List<OfferedPasskey, PASSKEYS_MAX>,
    }
}

/// What proves the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Factor {
    /// One-time codes (RFC 6238): `["totp", hash, digits, period]`.
    Totp {
        /// `sha1`, `sha256` or `sha512`.
        hash: String,
        /// How many digits a code has.
        digits: u64,
        /// How long a time step is, in seconds.
        period_secs: u64,
    },
    /// A device: `["device", device id, device key]`. The id follows from the key, and is checked.
    Device {
        /// What it signs with.
        key: PublicKey,
    },
    /// A passkey: `["passkey", credential id, public key, RP id, origin, backup eligible]`.
    Passkey {
        /// 1 to 255 bytes.
        credential_id: Vec<u8>,
        /// What it signs with.
        key: PublicKey,
        /// The RP id.
        rp_id: String,
        /// The origin it was registered on.
        origin: String,
        /// Whether it may be copied to other devices of its user (WebAuthn level 3 section 6.1.3).
        backup_eligible: bool,
    },
}

impl Codec for Factor {
    type Value = Self;

    fn write(value: &Self, writer: &mut Writer) {
        match value {
            Self::Totp { hash, digits, period_secs } => {
                writer.array(4);
                writer.text("totp");
                writer.text(hash);
                writer.unsigned(*digits);
                writer.unsigned(*period_secs);
            }
            Self::Device { key } => {
                writer.array(3);
                writer.text("device");
                writer.bytes(&key.device_id());
                writer.bytes(key.as_bytes());
            }
            Self::Passkey { credential_id, key, rp_id, origin, backup_eligible } => {
                writer.array(6);
                writer.text("passkey");
                writer.bytes(credential_id);
                writer.bytes(key.as_bytes());
                writer.text(rp_id);
                writer.text(origin);
                writer.truth(*backup_eligible);
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let elements = reader.array_up_to(6)?;
        match (reader.text(WORD_MAX_BYTES)?, elements) {
            ("totp", 4) => Ok(Self::Totp {
                hash: Text::<WORD_MAX_BYTES>::read(reader)?,
                digits: reader.unsigned()?,
                period_secs: reader.unsigned()?,
            }),
            ("device", 3) => {
                let id: [u8; 16] = reader.fixed()?;
                let key = PublicKey::read(reader)?;
                if id == key.device_id() { Ok(Self::Device { key }) } else { Err(Malformed) }
            }
            ("passkey", 6) => {
                let credential_id = Bytes::<CREDENTIAL_ID_MAX_BYTES>::read(reader)?;
                if credential_id.is_empty() {
                    return Err(Malformed);
                }
                Ok(Self::Passkey {
                    credential_id,
                    key: PublicKey::read(reader)?,
                    rp_id: Text::<LINE_MAX_BYTES>::read(reader)?,
                    origin: Text::<ORIGIN_MAX_BYTES>::read(reader)?,
                    backup_eligible: reader.truth()?,
                })
            }
            _ => Err(Malformed),
        }
    }
}

entry! {
    /// A key of an account, over secp256k1.
    pub struct KeyEntry {
        /// `ACCOUNT/KEY`.
        key: String as Text<KEY_TEXT_MAX_BYTES>,
        /// The key's id.
        key_id: [u8; 16],
        /// An uncompressed point of secp256k1.
        public_key: [u8; 65],
        /// What it may sign.
        mechanisms: Vec<String> as List<Text<WORD_MAX_BYTES>, KEYS_MAX>,
        /// The weakest approval that it takes.
        floor: ApprovalKind,
        /// Its network; empty where it has none.
        network: String as Text<WORD_MAX_BYTES>,
        /// Its derivation path; empty where it has none.
        path: String as Text<LINE_MAX_BYTES>,
        /// EIP-55 for Ethereum, the address of index 0 for Bitcoin; empty where there is none. A device works it out
        /// itself before it shows it.
        address: String as Text<LINE_MAX_BYTES>,
        /// The extended public key (BIP 32); empty where there is none.
        xpub: String as Text<LINE_MAX_BYTES>,
    }
}

statement! {
    "countersign enrolment v1", |_| true,
    /// The receipt of an enrolment. Signed by the identity's signing key.
    pub struct Enrolment {
        /// The HSM's id.
        hsm: [u8; 16],
        /// SHA-384 of the image.
        measurement: [u8; 48],
        /// Where it has its time from.
        clock: ClockMode,
        /// The tenant's name.
        tenant: String as Text<NAME_MAX_BYTES>,
        /// The account's name.
        account: String as Text<NAME_MAX_BYTES>,
        /// Back from the request.
        device_nonce: [u8; 32],
        /// When this was said, in seconds since 1970 by the HSM's clock.
        now_unix_secs: u64,
        /// SHA-256 of the policy document in force; all zero where none was set.
        policy: [u8; 32],
        /// All factors of the account: there is no other.
        factors: Vec<Factor> as List<Factor, FACTORS_MAX>,
        /// All keys of the account.
        keys: Vec<KeyEntry> as List<KeyEntry, KEYS_MAX>,
        /// SHA-256 of the sealed otpauth URI: [`Sealed::hash`](crate::sealed::Sealed::hash).
        sealed: [u8; 32],
    }
}
