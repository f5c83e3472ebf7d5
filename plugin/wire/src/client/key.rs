//! What an account's keys and factors are, of which everything else speaks: settled when they are made.

use crate::path::DerivationPath;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;

/// A key's id within its HSM: 16 bytes, and its `CKA_ID`.
pub type KeyId = ByteArray<16>;

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
