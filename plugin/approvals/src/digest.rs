//! What an approval is bound to: domain-separated hashes over everything that matters, and the message that a device signs.
//!
//! Both sides work these out from what they know and show; nobody takes one from anybody.

use crate::cbor::Writer;
use sha2::{Digest, Sha256};

/// What an approval is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Purpose {
    /// One signature of an intent.
    Sign,
    /// A payee for the account's list.
    Payee,
    /// No to an intent.
    Decline,
    /// Finishes an enrolment.
    Confirm,
    /// Reopens a locked account.
    Unlock,
    /// From then on the account signs nothing.
    Freeze,
    /// Stops a recovery that is under way.
    CancelRecovery,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 7] = [
        Self::Sign,
        Self::Payee,
        Self::Decline,
        Self::Confirm,
        Self::Unlock,
        Self::Freeze,
        Self::CancelRecovery,
    ];

    /// How it stands in digests and messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sign => "sign",
            Self::Payee => "payee",
            Self::Decline => "decline",
            Self::Confirm => "confirm",
            Self::Unlock => "unlock",
            Self::Freeze => "freeze",
            Self::CancelRecovery => "cancel-recovery",
        }
    }

    /// The purpose of this word, if there is one.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.word() == word)
    }
}

/// Everything that one approval is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Approved<'a> {
    /// What it is for. Which of the fields below are empty follows from it.
    pub purpose: Purpose,
    /// The HSM's id.
    pub hsm: &'a [u8; 16],
    /// The tenant's name.
    pub tenant: &'a str,
    /// The account's name.
    pub account: &'a str,
    /// 16 bytes, or empty where no key is meant.
    pub key_id: &'a [u8],
    /// 32 bytes by [`intent_hash`], or empty where no intent is meant.
    pub intent_hash: &'a [u8],
    /// When it ends, in seconds since 1970 by the HSM's clock.
    pub expires_unix_secs: u64,
    /// The intent's nonce, or the account's act nonce: never the same again.
    pub nonce: &'a [u8; 32],
}

impl Approved<'_> {
    /// The approval digest: what a device signs with its evidence, and the challenge of a passkey's assertion.
    pub fn digest(&self) -> [u8; 32] {
        let mut writer = Writer::new();
        writer.array(9);
        writer.text("countersign approval v1");
        writer.text(self.purpose.word());
        writer.bytes(self.hsm);
        writer.text(self.tenant);
        writer.text(self.account);
        writer.bytes(self.key_id);
        writer.bytes(self.intent_hash);
        writer.unsigned(self.expires_unix_secs);
        writer.bytes(self.nonce);
        Sha256::digest(writer.finish()).into()
    }
}

/// The hash of an intent: how it is signed, what is signed, and the summary that people were shown, in UTF-8. For a payee
/// the mechanism is `payee` and there is no digest.
pub fn intent_hash(mechanism: &str, digests: &[[u8; 32]], summary: &str) -> [u8; 32] {
    let mut writer = Writer::new();
    writer.array(4);
    writer.text("countersign intent v1");
    writer.text(mechanism);
    writer.array(digests.len());
    for digest in digests {
        writer.bytes(digest);
    }
    writer.text(summary);
    Sha256::digest(writer.finish()).into()
}

/// What the device key signs as evidence: the approval digest and [`Sealed::hash`](crate::sealed::Sealed::hash), which is
/// empty where nothing is sealed.
pub fn device_message(digest: &[u8; 32], sealed: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.array(3);
    writer.text("countersign device v1");
    writer.bytes(digest);
    writer.bytes(sealed);
    writer.finish()
}

/// The challenge of a passkey's registration in an enrolment.
pub fn registration_challenge(
    hsm: &[u8; 16],
    tenant: &str,
    account: &str,
    invitation: &[u8; 16],
    device_key: &[u8; 65],
) -> [u8; 32] {
    let mut writer = Writer::new();
    writer.array(6);
    writer.text("countersign passkey registration v1");
    writer.bytes(hsm);
    writer.text(tenant);
    writer.text(account);
    writer.bytes(invitation);
    writer.bytes(device_key);
    Sha256::digest(writer.finish()).into()
}

#[cfg(test)]
mod tests;
