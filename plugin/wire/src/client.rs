//! Host to plugin. The host side is untrusted: the plugin decodes these with [`crate::decode`] and nothing else.
//!
//! One request gets one reply with the same id. Requests on one connection may be answered in any order.

mod answer;
mod key;

pub use answer::*;
pub use key::*;

use crate::device::{
    Approve, Decline, DeviceAct, EnrollSealed, IntentApproval, IntentId, ViewAccount, ViewIntent, ViewReceipt,
};
use crate::log::LogQuery;
use crate::names::{AccountName, ApiKey, KeyLabel, KeyName, TypedCode};
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};

/// Chosen at random by the client, one for each thing it wants done; a retry of the same thing repeats it.
pub type RequestId = ByteArray<16>;

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

/// The longest personal message that is signed, in bytes.
pub const MESSAGE_MAX_BYTES: usize = 16 * 1024;

/// The longest typed data that is signed, in bytes.
pub const TYPED_DATA_MAX_BYTES: usize = 32 * 1024;

/// The most random bytes one request may ask for.
pub const RANDOM_MAX_BYTES: u16 = 1024;

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
