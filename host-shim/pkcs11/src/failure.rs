//! Why a call failed, and the one map from the HSM's reasons to return values.

use countersign_wire::reason::{Reason, Refusal};
use cryptoki_sys::{
    CK_RV, CKR_ATTRIBUTE_VALUE_INVALID, CKR_DATA_INVALID, CKR_DEVICE_ERROR, CKR_DEVICE_MEMORY,
    CKR_FUNCTION_FAILED, CKR_FUNCTION_REJECTED, CKR_GENERAL_ERROR, CKR_KEY_HANDLE_INVALID,
    CKR_MECHANISM_INVALID, CKR_PIN_INCORRECT, CKR_PIN_INVALID, CKR_PIN_LOCKED, CKR_USER_NOT_LOGGED_IN,
    CKR_USER_PIN_NOT_INITIALIZED,
};

/// A call that failed: what the caller is told, and for the log, why.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// The return value; never `CKR_OK`.
    pub rv: CK_RV,
    /// What stands behind it.
    pub cause: Cause,
}

/// What stands behind a failure.
#[derive(Debug, PartialEq, Eq)]
pub enum Cause {
    /// The return value says it all.
    Call,
    /// The HSM refused, or could not be reached.
    Hsm(Refusal),
    /// The configuration cannot be used; one sentence.
    Configuration(String),
}

/// What a safe function behind a `C_*` function returns.
pub type Result<T = (), E = Failure> = core::result::Result<T, E>;

impl From<CK_RV> for Failure {
    fn from(rv: CK_RV) -> Self {
        Self { rv, cause: Cause::Call }
    }
}

impl Failure {
    /// The failure that `refusal` means to a caller of `function`.
    pub fn refused(refusal: Refusal, function: Function) -> Self {
        Self { rv: return_value(refusal.reason, function), cause: Cause::Hsm(refusal) }
    }

    /// The HSM's reason, where the HSM refused.
    pub fn reason(&self) -> Option<Reason> {
        match &self.cause {
            Cause::Hsm(refusal) => Some(refusal.reason),
            Cause::Call | Cause::Configuration(_) => None,
        }
    }
}

impl core::fmt::Display for Failure {
    /// One line for the log. It never holds anything that the caller passed in.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match &self.cause {
            Cause::Call => write!(f, "return value 0x{:x}", self.rv),
            Cause::Hsm(refusal) => {
                write!(f, "return value 0x{:x}: {refusal}", self.rv)?;
                refusal.retry_after_secs.map_or(Ok(()), |secs| write!(f, " (retry after {secs} s)"))
            }
            Cause::Configuration(sentence) => write!(f, "return value 0x{:x}: {sentence}", self.rv),
        }
    }
}

/// On whose behalf the HSM was asked, where the same reason means different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// `C_Login(CKU_USER)`: the PIN is the API key.
    UserLogin,
    /// `C_GenerateKeyPair`: names come out of the caller's template.
    KeyGeneration,
    /// Everything else: names come out of a handle, the API key out of the login.
    Other,
}

/// The one map from the HSM's reasons to return values. `docs/pkcs11.md` has it as a table.
pub const fn return_value(reason: Reason, function: Function) -> CK_RV {
    match reason {
        // Well-formed, and wrong, used, too late, or for something else: a new one is needed.
        Reason::WrongCode
        | Reason::CodeUsed
        | Reason::WrongDeviceSignature
        | Reason::UnknownIntent
        | Reason::IntentNotOpen
        | Reason::ApprovalExpired
        | Reason::PasskeyWrongType
        | Reason::PasskeyWrongChallenge
        | Reason::PasskeyWrongOrigin
        | Reason::PasskeyCrossOrigin
        | Reason::PasskeyWrongRp
        | Reason::PasskeyUserNotPresent
        | Reason::PasskeyUserNotVerified
        | Reason::PasskeyWrongSignature
        | Reason::PasskeyCounter
        | Reason::PasskeyBackupFlags => CKR_PIN_INCORRECT,
        // No code, and no approval that this account's devices and passkeys could have made for this HSM.
        Reason::MalformedCode
        | Reason::MalformedDeviceSignature
        | Reason::UnknownDevice
        | Reason::WrongSeal
        | Reason::UnknownPasskey
        | Reason::PasskeyMalformed
        | Reason::PasskeyDuplicateKey
        | Reason::PasskeyMalformedSignature => CKR_PIN_INVALID,
        // Unlike the standard's, this never logs the session out: one user must not log out the backend.
        Reason::Locked
        | Reason::AccountOverBudget
        | Reason::TenantOverBudget
        | Reason::TryLater
        | Reason::AccountFrozen => CKR_PIN_LOCKED,
        Reason::ApprovalMissing => CKR_USER_NOT_LOGGED_IN,
        Reason::NotConfirmed | Reason::EnrolmentExpired => CKR_USER_PIN_NOT_INITIALIZED,
        Reason::WrongApiKey => match function {
            Function::UserLogin => CKR_PIN_INCORRECT,
            // The key was good when the application logged in, and is not any more.
            Function::KeyGeneration | Function::Other => CKR_USER_NOT_LOGGED_IN,
        },
        Reason::UnknownAccount | Reason::UnknownKey => match function {
            Function::KeyGeneration => CKR_ATTRIBUTE_VALUE_INVALID,
            Function::UserLogin | Function::Other => CKR_KEY_HANDLE_INVALID,
        },
        Reason::MalformedName
        | Reason::KeyExists
        | Reason::UnsupportedPath
        | Reason::PathTaken
        | Reason::FloorNotPossible => CKR_ATTRIBUTE_VALUE_INVALID,
        Reason::TooManyKeys | Reason::TooManyPayees | Reason::TooManyIntents | Reason::TooManyPasskeys => {
            CKR_DEVICE_MEMORY
        }
        Reason::MechanismNotAllowed => CKR_MECHANISM_INVALID,
        Reason::MalformedTransaction
        | Reason::UnsupportedTransaction
        | Reason::ChainIdMissing
        | Reason::MalformedMessage
        | Reason::MalformedTypedData
        | Reason::MalformedPsbt
        | Reason::TaprootNotSupported
        | Reason::SighashNotAllowed
        | Reason::AmountNotProven
        | Reason::NothingToSign
        | Reason::TooMuchToShow
        | Reason::FeeTooHigh
        | Reason::MalformedAddress => CKR_DATA_INVALID,
        Reason::PolicyRefused
        | Reason::LimitExceeded
        | Reason::BelowFloor
        | Reason::ApprovalForOther
        | Reason::UnknownInvitation
        | Reason::UnknownReceipt
        | Reason::NoDevice
        | Reason::NoRecovery
        | Reason::MalformedDeviceKey
        | Reason::PasskeyUnsupportedKey
        | Reason::TenantFull
        | Reason::AccountExists
        | Reason::AlreadyConfirmed
        | Reason::PlainEnrolmentNotAllowed
        | Reason::UnsupportedFactor => CKR_FUNCTION_REJECTED,
        Reason::RequestIdReused | Reason::Busy => CKR_FUNCTION_FAILED,
        // Module and HSM are not of the same version.
        Reason::MalformedRequest => CKR_GENERAL_ERROR,
        Reason::ClockUnsure
        | Reason::StoreRefused
        | Reason::StoreFull
        | Reason::StoreUnreadable
        | Reason::KeystoreFailed
        | Reason::HsmUnreachable
        | Reason::HsmNotReady
        | Reason::InternalError => CKR_DEVICE_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_wire::reason::Blame;
    use cryptoki_sys::CKR_OK;

    #[test]
    fn no_reason_is_success_and_a_failing_device_is_always_a_device_error() {
        for &reason in Reason::ALL {
            for function in [Function::UserLogin, Function::KeyGeneration, Function::Other] {
                let rv = return_value(reason, function);
                assert_ne!(rv, CKR_OK, "{reason}");
                assert_eq!(reason.blame() == Blame::Device, rv == CKR_DEVICE_ERROR, "{reason}");
            }
        }
    }

    #[test]
    fn the_log_line_names_the_reason_and_when_to_retry() {
        let refusal = Refusal { reason: Reason::Locked, retry_after_secs: Some(300) };
        let line = Failure::refused(refusal, Function::Other).to_string();
        assert!(line.starts_with("return value 0xa4: locked: "), "{line}");
        assert!(line.ends_with("(retry after 300 s)"), "{line}");
    }
}
