//! Why something was refused: a stable word for programs, one sentence for a person.

use serde::{Deserialize, Serialize};

/// Who can do something about a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The request, or the person behind it: ask differently, or later.
    Caller,
    /// The HSM or the way to it: an operator must look, or it must come back.
    Device,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident, $word:literal, $blame:ident, $sentence:literal;)*) => {
        /// Why something was refused. The words are stable: programs may match on them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Reason {
            $($(#[$doc])* #[serde(rename = $word)] $variant,)*
        }

        impl Reason {
            /// Every reason there is, in the order of the documentation.
            pub const ALL: &[Reason] = &[$(Reason::$variant),*];

            /// The stable kebab-case word.
            pub const fn word(self) -> &'static str {
                match self { $(Reason::$variant => $word),* }
            }

            /// One sentence for a person that says what to do next.
            pub const fn sentence(self) -> &'static str {
                match self { $(Reason::$variant => $sentence),* }
            }

            /// Who can do something about it.
            pub const fn blame(self) -> Blame {
                match self { $(Reason::$variant => Blame::$blame),* }
            }
        }
    };
}

reasons! {
    /// The bytes are not a request.
    MalformedRequest, "malformed-request", Caller,
        "The HSM could not read the request; check that client and HSM are of the same version.";
    /// The API key is not the key of any tenant.
    WrongApiKey, "wrong-api-key", Caller,
        "The API key is not valid on this HSM; check the key and which HSM it belongs to.";
    /// A name does not have the form of a name.
    MalformedName, "malformed-name", Caller,
        "Names are 1 to 64 characters of a-z, 0-9, '.', '_', '-' (accounts also '@'); a key is written ACCOUNT/KEY.";
    /// There is no such account in this tenant.
    UnknownAccount, "unknown-account", Caller,
        "There is no such account; check the name, or enrol it first.";
    /// There is no such key in this tenant.
    UnknownKey, "unknown-key", Caller,
        "There is no such key; list the account's keys to see what it has.";
    /// The account exists, or its enrolment is still open.
    AccountExists, "account-exists", Caller,
        "The account is already enrolled, or its enrolment is waiting for two codes; nothing was changed.";
    /// The account has a key of that name.
    KeyExists, "key-exists", Caller,
        "The account already has a key of that name; keys are never replaced, so choose another name.";
    /// The account has as many keys as an account can have.
    TooManyKeys, "too-many-keys", Caller,
        "The account holds as many keys as it can; create keys under another account.";
    /// The tenant holds as many accounts as its operator allows.
    TenantFull, "tenant-full", Caller,
        "The tenant holds as many accounts as it may; its operator can allow more.";
    /// The tenant does not allow enrolment in the clear.
    PlainEnrolmentNotAllowed, "plain-enrolment-not-allowed", Caller,
        "This tenant does not allow enrolment that shows the secret to the backend; its operator decides that.";
    /// The factor's parameters are outside what is allowed.
    UnsupportedFactor, "unsupported-factor", Caller,
        "This combination of factor parameters is not supported; use SHA-1, 6 digits and 30 seconds.";
    /// The enrolment was never confirmed.
    NotConfirmed, "not-confirmed", Caller,
        "The enrolment is not finished; confirm it with two consecutive codes from the authenticator.";
    /// The enrolment was confirmed before.
    AlreadyConfirmed, "already-confirmed", Caller,
        "The account is already confirmed; there is nothing left to confirm.";
    /// The enrolment was not confirmed in time.
    EnrolmentExpired, "enrolment-expired", Caller,
        "The enrolment was not confirmed in time and is void; enrol the account again.";
    /// Nothing approves the operation.
    ApprovalMissing, "approval-missing", Caller,
        "A signature needs the user's code; ask the user for the current one and send it along.";
    /// What was given as a code is not a code.
    MalformedCode, "malformed-code", Caller,
        "A code is exactly the 6 (or 8) digits that the authenticator shows, without spaces; nothing was counted.";
    /// The code matches no step in the window.
    WrongCode, "wrong-code", Caller,
        "The code is wrong; wait for the next one, and check that the phone's clock is set automatically.";
    /// The code, or a newer one, was used before.
    CodeUsed, "code-used", Caller,
        "The code was already used; each code works once, so wait for the next one.";
    /// Too many consecutive failures.
    Locked, "locked", Caller,
        "Too many wrong codes: the account is locked for a while; wait, or unlock it with two consecutive codes.";
    /// The account's failure budget is used up.
    AccountOverBudget, "account-over-budget", Caller,
        "Too many wrong codes over the last days; wait, or unlock the account with two consecutive codes.";
    /// The tenant's failure budget is used up.
    TenantOverBudget, "tenant-over-budget", Caller,
        "Too many wrong codes across this tenant in the last hour; wait, or unlock the account with two consecutive codes.";
    /// A pair of codes was tried moments ago.
    TryLater, "try-later", Caller,
        "Two codes were tried a moment ago; wait a minute before the next try.";
    /// The key was not made for this kind of signature.
    MechanismNotAllowed, "mechanism-not-allowed", Caller,
        "The key was not created for this kind of signature; use a key that was, or another mechanism.";
    /// The transaction cannot be read strictly.
    MalformedTransaction, "malformed-transaction", Caller,
        "The transaction is not a canonical unsigned Ethereum transaction; encode it again with a standard library.";
    /// The transaction is of a type that is not supported.
    UnsupportedTransaction, "unsupported-transaction", Caller,
        "Ethereum transactions of the types 0 (with a chain id) to 4 are supported, type 3 without its blobs; encode it as one of these.";
    /// The text of a message is not as it must be.
    MalformedMessage, "malformed-message", Caller,
        "The message is too long; shorten it.";
    /// The typed data cannot be read strictly.
    MalformedTypedData, "malformed-typed-data", Caller,
        "The typed data is not valid EIP-712 JSON: check types, values without loss, and that no name stands twice.";
    /// The PSBT cannot be read strictly.
    MalformedPsbt, "malformed-psbt", Caller,
        "The PSBT is not valid, or not in canonical form (BIP-174, BIP-370); make it again with a standard library.";
    /// An input spends a taproot output.
    TaprootNotSupported, "taproot-not-supported", Caller,
        "Taproot inputs are signed with Schnorr signatures, which this HSM does not make; spend from another address type.";
    /// A signature would not cover the whole transaction.
    SighashNotAllowed, "sighash-not-allowed", Caller,
        "Only SIGHASH_ALL is signed, which covers the whole transaction; remove the other sighash type from the PSBT.";
    /// An amount that is spent rests on nobody's word.
    AmountNotProven, "amount-not-proven", Caller,
        "The amount of an input is not proven: put the whole previous transaction into the PSBT (non-witness UTXO).";
    /// Nothing in the PSBT can be signed with the key.
    NothingToSign, "nothing-to-sign", Caller,
        "No input of the PSBT is spent with this key; check key, network and derivation paths.";
    /// The fee is out of all proportion.
    FeeTooHigh, "fee-too-high", Caller,
        "The fee is far higher than any transaction needs; check that no output was forgotten.";
    /// The transaction names no chain.
    ChainIdMissing, "chain-id-missing", Caller,
        "The transaction names no chain id and could be replayed on any chain; add the chain id (EIP-155).";
    /// No key may lie at this path of a wallet, or not on this network.
    UnsupportedPath, "unsupported-path", Caller,
        "A wallet key lies at m/44h/60h/Ah/0/I (ethereum) or m/44h|49h|84h/Ch/Ah (bitcoin; C is 0 on main, else 1); choose such a path.";
    /// The path, or one above or below it, has a key already.
    PathTaken, "path-taken", Caller,
        "The wallet already has a key at this path, or above or below it; a path has one key for ever, so choose another.";
    /// What was given as an address is not one in canonical form.
    MalformedAddress, "malformed-address", Caller,
        "An address is written as the HSM's summaries show it; copy it from there.";
    /// The account has as many known payees as an account can have.
    TooManyPayees, "too-many-payees", Caller,
        "The account knows as many payees as it can; pay this one without putting it on the list.";
    /// What it does takes more text than a person reads.
    TooMuchToShow, "too-much-to-show", Caller,
        "What this does takes more text than a person would read, and nothing is signed unread; split it into several.";
    /// A limit of the custodian's policy would be passed.
    LimitExceeded, "limit-exceeded", Caller,
        "This would pass a limit of the custodian's policy; ask for less, or wait until the limit has room again.";
    /// Policy denies the intent.
    PolicyRefused, "policy-refused", Caller,
        "The custodian's policy does not permit this; no code was used up, unless policy was asked only after the login.";
    /// The key takes no approval as weak as this.
    BelowFloor, "approval-below-floor", Caller,
        "This key takes no approval as weak as this one; approve on the user's device, where this key asks for more than a code.";
    /// The account has no factor that could ever reach the floor, or its first key has a higher one.
    FloorNotPossible, "floor-not-possible", Caller,
        "The account has no factor for this floor, or its first key has a higher one; enrol with a device, or choose another floor.";
    /// The account has no device that could approve.
    NoDevice, "no-device", Caller,
        "The account was enrolled without a device of the user's, so nothing can be staged for it; ask the user for a code.";
    /// Nothing of that id waits for an approval.
    UnknownIntent, "unknown-intent", Caller,
        "Nothing like this is waiting to be approved: it expired, or the HSM was started anew; have it staged again.";
    /// It was approved, signed or declined before.
    IntentNotOpen, "intent-not-open", Caller,
        "This was approved, signed or declined before; have it staged again if it is to be signed once more.";
    /// The account has as many open intents as it can have.
    TooManyIntents, "too-many-intents", Caller,
        "Too much is waiting for this user's approval; approve or decline some of it, or wait until it expires.";
    /// The expiry is past, or too far ahead.
    ApprovalExpired, "approval-expired", Caller,
        "The approval came too late, or its expiry is too far ahead; look at the account again and repeat it.";
    /// The approval is for something else than what is to be signed.
    ApprovalForOther, "approval-for-other", Caller,
        "The approval is for something else than what is to be signed; nothing was signed; have the user approve this very transaction.";
    /// No device of that id belongs to the account.
    UnknownDevice, "unknown-device", Caller,
        "This device is not one of the account's; use the device that the account was enrolled with.";
    /// A device signature does not verify.
    WrongDeviceSignature, "wrong-device-signature", Caller,
        "The device's signature does not fit what it came with; something changed it on the way; start again from the device.";
    /// A device signature is not in its only valid form.
    MalformedDeviceSignature, "malformed-device-signature", Caller,
        "The device's signature is not in its only valid form (r and s, s in the lower half); update the device's software.";
    /// A device key is not a point on the curve.
    MalformedDeviceKey, "malformed-device-key", Caller,
        "A key of the device is not a P-256 public key; update the device's software.";
    /// What was sealed does not open.
    WrongSeal, "wrong-seal", Caller,
        "What the device sealed cannot be opened: it was changed on the way, or sealed for another HSM or image; start again from the device.";
    /// No invitation of that id is open.
    UnknownInvitation, "unknown-invitation", Caller,
        "The invitation is not known: it was used, it expired, or the HSM was started anew; ask for a new one.";
    /// The account is frozen.
    AccountFrozen, "account-frozen", Caller,
        "The account is frozen by its user: nothing is signed and no code is checked until the HSM's operator lifts it.";
    /// No recovery is under way.
    NoRecovery, "no-recovery", Caller,
        "No recovery of this account is under way; there is nothing to cancel.";
    /// Nothing of what was asked for is among the last signatures.
    UnknownReceipt, "unknown-receipt", Caller,
        "There is no receipt for this: it is not among the account's last signatures made with this key.";
    /// No passkey of that id belongs to the account.
    UnknownPasskey, "unknown-passkey", Caller,
        "This passkey is not one of the account's; use one that the account was enrolled with.";
    /// Client or authenticator data cannot be read.
    PasskeyMalformed, "passkey-malformed", Caller,
        "What the passkey sent cannot be read; update the browser, or use another authenticator.";
    /// A key stands twice in the client data.
    PasskeyDuplicateKey, "passkey-duplicate-key", Caller,
        "What the browser says of the passkey names something twice, which no browser does; nothing was approved.";
    /// It is no assertion, or no registration.
    PasskeyWrongType, "passkey-wrong-type", Caller,
        "The passkey was asked for something else than this; start again from the page.";
    /// It approves something else, or was used before.
    PasskeyWrongChallenge, "passkey-wrong-challenge", Caller,
        "The passkey approved something else than this transaction; nothing was signed; start again from the page.";
    /// Another page asked for it.
    PasskeyWrongOrigin, "passkey-wrong-origin", Caller,
        "The passkey was used on another page than the one it was registered on; open the right page.";
    /// A page within another page asked for it.
    PasskeyCrossOrigin, "passkey-cross-origin", Caller,
        "The passkey was used from within another page; open the page by itself.";
    /// It belongs to another site.
    PasskeyWrongRp, "passkey-wrong-rp", Caller,
        "The passkey belongs to another site; use the one that the account was enrolled with.";
    /// Nobody touched the authenticator.
    PasskeyUserNotPresent, "passkey-user-not-present", Caller,
        "Nobody touched the authenticator; touch it when it asks.";
    /// The authenticator did not verify its user.
    PasskeyUserNotVerified, "passkey-user-not-verified", Caller,
        "The authenticator did not check who you are; use its PIN, fingerprint or face.";
    /// Its signature is not in its only valid form.
    PasskeyMalformedSignature, "passkey-malformed-signature", Caller,
        "The passkey's signature is not in its only valid form (DER, s in the lower half); update the page.";
    /// Its signature does not verify.
    PasskeyWrongSignature, "passkey-wrong-signature", Caller,
        "The passkey's signature does not fit; something changed it on the way, or it is another passkey's; start again.";
    /// Its counter did not rise.
    PasskeyCounter, "passkey-counter", Caller,
        "The passkey's counter did not rise: it may have been copied; use another one, and tell the custodian.";
    /// Its backup flags cannot be true.
    PasskeyBackupFlags, "passkey-backup-flags", Caller,
        "The passkey says of its backup what cannot be true; use another one, and tell the custodian.";
    /// It has a key of another kind.
    PasskeyUnsupportedKey, "passkey-unsupported-key", Caller,
        "The passkey has a key of another kind than ES256; use another authenticator.";
    /// The account has as many passkeys as it can have, or one twice.
    TooManyPasskeys, "too-many-passkeys", Caller,
        "An account is enrolled with at most 4 passkeys, each once; leave some out.";
    /// The request id was used for something else.
    RequestIdReused, "request-id-reused", Caller,
        "The request id was used for another request; use a fresh random id for each new request.";
    /// Too much is under way.
    Busy, "busy", Caller,
        "The HSM has too many requests under way; try again in a moment.";
    /// The HSM's clock is behind the newest time it has seen.
    ClockUnsure, "clock-unsure", Device,
        "The HSM's clock is behind the time it has already seen, so no code can be trusted; an operator must set the clock.";
    /// The store failed, or was changed.
    StoreRefused, "store-refused", Device,
        "The HSM's store cannot be read or written, or was changed; an operator must look at the HSM's log.";
    /// The disk has no room.
    StoreFull, "store-full", Device,
        "The HSM's disk is full, so nothing was decided or changed; when there is room again the same request works.";
    /// The disk did not give what was asked for.
    StoreUnreadable, "store-unreadable", Device,
        "The HSM's disk could not be read, so nothing was decided; try again, and if it lasts see the HSM's log.";
    /// The keystore failed.
    KeystoreFailed, "keystore-failed", Device,
        "The HSM's keystore failed or gave a wrong answer, and nothing was released; an operator must look at the HSM's log.";
    /// The HSM answered nothing, or not as an HSM.
    HsmUnreachable, "hsm-unreachable", Device,
        "The HSM cannot be reached; check that it runs and that host.toml names its socket.";
    /// The plugin is not running, or not yet.
    HsmNotReady, "hsm-not-ready", Device,
        "The HSM is starting or its plugin is stopped; try again shortly, and if it lasts see the HSM's log.";
    /// Something inside failed that should not have.
    InternalError, "internal-error", Device,
        "The HSM refused because of an internal fault; nothing was released; please report it with the HSM's log.";
}

impl core::fmt::Display for Reason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.word())
    }
}

/// A refusal as it travels: the reason, and when it is known, how long to wait before trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// Seconds until trying again can succeed, where the plugin knows.
    pub retry_after_secs: Option<u64>,
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self { reason, retry_after_secs: None }
    }
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}: {}", self.reason.word(), self.reason.sentence())
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unique_kebab_case_and_travel_as_themselves() {
        let mut seen = std::collections::BTreeSet::new();
        for reason in Reason::ALL {
            let word = reason.word();
            assert!(seen.insert(word), "{word} stands twice");
            assert!(word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{word}");
            assert!(crate::encode(reason).ends_with(word.as_bytes()));
            assert_eq!(crate::decode(&crate::encode(reason)), Ok(*reason));
            assert!(reason.sentence().ends_with('.'), "{word}");
        }
    }
}
