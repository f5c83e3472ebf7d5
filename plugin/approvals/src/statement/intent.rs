//! An intent as a device sees it, and the receipt of its signature.

use super::codec::{Bytes, List, Text, statement, words};
use super::{DIGESTS_MAX, KEY_TEXT_MAX_BYTES, NAME_MAX_BYTES, SUMMARY_MAX_BYTES, WORD_MAX_BYTES};
use crate::digest::{Approved, Purpose, intent_hash};

words! {
    /// Kinds of approval, the weakest first.
    pub enum ApprovalKind {
        /// A one-time code as it was typed.
        Code = "code",
        /// A code that the user's device sealed together with the approval digest.
        SealedCode = "sealed-code",
        /// A passkey's assertion over the approval digest.
        Passkey = "passkey",
    }
}

words! {
    /// What became of a staged intent.
    pub enum IntentState {
        /// It waits.
        Open = "open",
        /// It may be signed once.
        Approved = "approved",
        /// It was signed.
        Signed = "signed",
        /// It was refused by its user.
        Declined = "declined",
    }
}

statement! {
    "countersign view v1", view_is_sound,
    /// A staged intent: what a device shows before it asks for anything. Signed by the identity's signing key.
    ///
    /// It is for a signature ([`Purpose::Sign`]) or for a payee ([`Purpose::Payee`]), and nothing else.
    pub struct View {
        /// The HSM's id.
        hsm: [u8; 16],
        /// The tenant's name.
        tenant: String as Text<NAME_MAX_BYTES>,
        /// The account's name.
        account: String as Text<NAME_MAX_BYTES>,
        /// The intent's id.
        intent: [u8; 16],
        /// What an approval of it would be for.
        purpose: Purpose,
        /// `ACCOUNT/KEY`; empty for a payee.
        key: String as Text<KEY_TEXT_MAX_BYTES>,
        /// 16 bytes; empty for a payee.
        key_id: Vec<u8> as Bytes<16>,
        /// How it would be signed; `payee` for a payee.
        mechanism: String as Text<WORD_MAX_BYTES>,
        /// What would be signed; none for a payee.
        digests: Vec<[u8; 32]> as List<[u8; 32], DIGESTS_MAX>,
        /// Lines of `label: text`, warnings first. All of it is shown.
        summary: String as Text<SUMMARY_MAX_BYTES>,
        /// The weakest approval that it takes.
        floor: ApprovalKind,
        /// What became of it.
        state: IntentState,
        /// Of the approval digest.
        nonce: [u8; 32],
        /// When it ends, in seconds since 1970 by the HSM's clock.
        expires_unix_secs: u64,
        /// When this was said, likewise.
        now_unix_secs: u64,
        /// Back from the request.
        device_nonce: [u8; 32],
    }
}

/// The mechanism of an intent that adds a payee.
pub(crate) const PAYEE: &str = "payee";

fn view_is_sound(view: &View) -> bool {
    match view.purpose {
        Purpose::Sign => {
            let key_is_named = !view.key.is_empty() && view.key_id.len() == 16;
            key_is_named && view.mechanism != PAYEE && !view.digests.is_empty()
        }
        Purpose::Payee => {
            let no_key = view.key.is_empty() && view.key_id.is_empty();
            no_key && view.mechanism == PAYEE && view.digests.is_empty()
        }
        _ => false,
    }
}

impl View {
    /// The hash of the intent, worked out from what is shown.
    pub fn intent_hash(&self) -> [u8; 32] {
        intent_hash(&self.mechanism, &self.digests, &self.summary)
    }

    /// The digest of an approval of this intent.
    pub fn approval_digest(&self) -> [u8; 32] {
        self.digest_for(self.purpose, &self.key_id)
    }

    /// The digest of a refusal of this intent.
    pub fn decline_digest(&self) -> [u8; 32] {
        self.digest_for(Purpose::Decline, &self.key_id)
    }

    fn digest_for(&self, purpose: Purpose, key_id: &[u8]) -> [u8; 32] {
        let approved = Approved {
            purpose,
            hsm: &self.hsm,
            tenant: &self.tenant,
            account: &self.account,
            key_id,
            intent_hash: &self.intent_hash(),
            expires_unix_secs: self.expires_unix_secs,
            nonce: &self.nonce,
        };
        approved.digest()
    }
}

statement! {
    "countersign receipt v1", |receipt| !receipt.digests.is_empty() && receipt.counter > 0,
    /// That something was signed, and by whose approval. Signed by the identity's signing key; with the [`Identity`] it
    /// can be checked offline, down from the root.
    ///
    /// [`Identity`]: super::Identity
    pub struct Receipt {
        /// The HSM's id.
        hsm: [u8; 16],
        /// SHA-384 of the image that signed.
        measurement: [u8; 48],
        /// The tenant's name.
        tenant: String as Text<NAME_MAX_BYTES>,
        /// The account's name.
        account: String as Text<NAME_MAX_BYTES>,
        /// `ACCOUNT/KEY`.
        key: String as Text<KEY_TEXT_MAX_BYTES>,
        /// The key's id.
        key_id: [u8; 16],
        /// How it was signed.
        mechanism: String as Text<WORD_MAX_BYTES>,
        /// What was signed.
        digests: Vec<[u8; 32]> as List<[u8; 32], DIGESTS_MAX>,
        /// What people were shown.
        summary: String as Text<SUMMARY_MAX_BYTES>,
        /// What approved it.
        approval: ApprovalKind,
        /// Which signature of the account it is, from 1.
        counter: u64,
        /// When, in seconds since 1970 by the HSM's clock.
        time_unix_secs: u64,
    }
}
