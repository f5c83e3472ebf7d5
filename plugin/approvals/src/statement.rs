//! Statements: what the HSM signs for devices, and what devices sign for the HSM. Each is a CBOR array whose first
//! element names what it is; each type here has the rest as fields, in the order of the array.
//!
//! What holds a value of one of these types has read it in its only valid form, within the bounds below. Whether it was
//! signed by whom it should be, and fits what is known already, is another matter: see [`Signed::verify`].

mod account;
mod codec;
mod enrolment;
mod identity;
mod intent;

pub use account::{AccountRequest, AccountState, AccountView, HistoryEntry, OpenIntent};
pub use enrolment::{
    AUTHENTICATOR_DATA_MAX_BYTES, CLIENT_DATA_MAX_BYTES, CREDENTIAL_ID_MAX_BYTES, Enrolment,
    EnrolmentRequest, Factor, KeyEntry, ORIGIN_MAX_BYTES, OfferedPasskey,
};
pub use identity::{ClockMode, Identity};
pub use intent::{ApprovalKind, IntentState, Receipt, View};

use crate::es256::{self, BadSignature, PublicKey, RawSignature, SigningKey};

/// The longest statement, in bytes: a summary, digests and keys at their bounds.
pub const STATEMENT_MAX_BYTES: usize = 128 * 1024;

/// The longest summary, in bytes.
pub const SUMMARY_MAX_BYTES: usize = 32 * 1024;

/// How many digests one intent has at most: one for each input of a Bitcoin transaction.
pub const DIGESTS_MAX: usize = 256;

/// How many keys an account has at most.
pub const KEYS_MAX: usize = 16;

/// How many factors an account has at most.
pub const FACTORS_MAX: usize = 16;

/// How many passkeys an enrolment brings at most.
pub const PASSKEYS_MAX: usize = 4;

/// How many intents are open in an account at most.
pub const OPEN_INTENTS_MAX: usize = 4;

/// How many entries of its history an account's view shows at most.
pub const HISTORY_MAX: usize = 8;

/// The longest headline in a history, in bytes.
pub const HEADLINE_MAX_BYTES: usize = 96;

/// The longest name of a tenant or an account, in bytes.
pub const NAME_MAX_BYTES: usize = 64;

/// `ACCOUNT/KEY`.
const KEY_TEXT_MAX_BYTES: usize = 2 * NAME_MAX_BYTES + 1;

/// Mechanisms, networks and the like.
const WORD_MAX_BYTES: usize = 64;

/// Paths, addresses, extended public keys.
const LINE_MAX_BYTES: usize = 256;

/// Why bytes are not the statement that was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadStatement {
    /// The first element names another kind of statement.
    AnotherKind,
    /// Not the one encoding of a statement of this kind, beyond a bound, or in contradiction to itself.
    Malformed,
}

impl BadStatement {
    /// The stable word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::AnotherKind => "another-statement",
            Self::Malformed => "malformed-statement",
        }
    }
}

impl From<crate::Malformed> for BadStatement {
    fn from(_: crate::Malformed) -> Self {
        Self::Malformed
    }
}

/// One kind of statement.
pub trait Statement: Sized {
    /// The first element.
    const KIND: &'static str;

    /// The one encoding. The bounds of the fields are the writer's business: what is beyond them, no reader accepts.
    fn to_bytes(&self) -> Vec<u8>;

    /// The one way in: the bytes are what [`to_bytes`](Self::to_bytes) gives, all of them.
    fn parse(bytes: &[u8]) -> Result<Self, BadStatement>;
}

/// A statement with its signature, as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The bytes that were signed.
    pub statement: Vec<u8>,
    /// By the key that the kind of statement asks for: the root for an [`Identity`], the identity's signing key for all
    /// else that an HSM says.
    pub signature: RawSignature,
}

/// Why a signed statement is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadSigned {
    /// The signature is none of these bytes by this key. Nothing was read of the statement.
    Signature(BadSignature),
    /// It is signed, but not the statement that was expected.
    Statement(BadStatement),
}

impl BadSigned {
    /// The stable word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Signature(bad) => bad.word(),
            Self::Statement(bad) => bad.word(),
        }
    }
}

impl Signed {
    /// Signs a statement.
    pub fn sign<S: Statement>(key: &SigningKey, statement: &S) -> Self {
        let statement = statement.to_bytes();
        let signature = key.sign(&statement);
        Self { statement, signature }
    }

    /// The statement, of the expected kind, after its signature was checked.
    pub fn verify<S: Statement>(&self, key: &PublicKey) -> Result<S, BadSigned> {
        es256::verify(key, &self.statement, &self.signature).map_err(BadSigned::Signature)?;
        S::parse(&self.statement).map_err(BadSigned::Statement)
    }
}
