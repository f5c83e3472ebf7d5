//! What a user's device or passkey says, verified: its signature, its seal, what it is for. No code is compared here, and
//! nothing is counted: whoever has no device of the user's learns nothing from it.

use crate::approval::Offer;
use crate::machine::Core;
use crate::record::{Account, Device};
use countersign_approvals::digest::device_message;
use countersign_approvals::es256::{self, BadSignature, PublicKey};
use countersign_approvals::sealed::{self, BadCodes, CODE_INFO};
use countersign_approvals::webauthn::{self, PasskeyProblem, Registered};
use countersign_wire::client::ApprovalKind;
use countersign_wire::device::{Assertion, DeviceId, Es256, Evidence, SEALED_MAX_BYTES, Sealed, SealedCode};
use countersign_wire::names::TypedCode;
use countersign_wire::reason::Reason;

/// The kind of approval that some evidence would be.
pub(crate) fn kind(evidence: &Evidence) -> ApprovalKind {
    match evidence {
        Evidence::SealedCode(_) => ApprovalKind::SealedCode,
        Evidence::Passkey(_) => ApprovalKind::Passkey,
    }
}

/// What the evidence offers for this approval digest.
pub(crate) fn open(
    core: &Core,
    account: &Account,
    evidence: &Evidence,
    digest: &[u8; 32],
) -> Result<Offer, Reason> {
    match evidence {
        Evidence::SealedCode(SealedCode { device, encapsulated, ciphertext, signature }) => {
            let sealed = Sealed { encapsulated: *encapsulated, ciphertext: ciphertext.clone() };
            let [typed] = codes(core, account, device, Some(&sealed), signature, digest)?;
            Ok(Offer::Code { kind: ApprovalKind::SealedCode, typed })
        }
        Evidence::Passkey(assertion) => passkey(account, assertion, digest),
    }
}

/// Opens so many codes that a device sealed, after it was verified that the device did.
pub(crate) fn codes<const N: usize>(
    core: &Core,
    account: &Account,
    device: &DeviceId,
    sealed: Option<&Sealed>,
    signature: &Es256,
    digest: &[u8; 32],
) -> Result<[TypedCode; N], Reason> {
    let sealed = sealed.filter(|sealed| sealed.ciphertext.len() <= SEALED_MAX_BYTES);
    let sealed = sealed.ok_or(Reason::MalformedRequest)?;
    let hash = sealed::sealed_hash(&sealed.encapsulated, &sealed.ciphertext);
    signed_by(account, device, digest, &hash, signature)?;
    let opened = core
        .identity
        .opening()
        .open_parts(CODE_INFO, digest, &sealed.encapsulated, &sealed.ciphertext)
        .map_err(|_| Reason::WrongSeal)?;
    let codes = sealed::decode_codes(&opened, digest).map_err(|problem| match problem {
        BadCodes::AnotherDigest => Reason::ApprovalForOther,
        BadCodes::Malformed => Reason::MalformedCode,
    })?;
    let typed = codes.iter().map(|code| TypedCode::new(code)).collect::<Result<Vec<_>, _>>();
    typed.ok().and_then(|typed| typed.try_into().ok()).ok_or(Reason::MalformedCode)
}

/// That one of the account's devices signed this approval digest, and what it sealed with it.
pub(crate) fn signed_by(
    account: &Account,
    device: &DeviceId,
    digest: &[u8; 32],
    sealed: &[u8],
    signature: &Es256,
) -> Result<(), Reason> {
    verify(&key_of(account, device)?, &device_message(digest, sealed), signature)
}

/// The key of one of the account's devices.
pub(crate) fn key_of(account: &Account, device: &DeviceId) -> Result<PublicKey, Reason> {
    let keys = account.devices.iter().filter_map(|Device { key }| PublicKey::parse(key.as_slice()).ok());
    keys.into_iter().find(|key| key.device_id() == device.into_array()).ok_or(Reason::UnknownDevice)
}

/// A device's signature over any message.
pub(crate) fn verify(key: &PublicKey, message: &[u8], signature: &Es256) -> Result<(), Reason> {
    es256::verify(key, message, &signature.into_array()).map_err(|bad| match bad {
        BadSignature::Malformed => Reason::MalformedDeviceSignature,
        BadSignature::Wrong => Reason::WrongDeviceSignature,
    })
}

fn passkey(account: &Account, assertion: &Assertion, digest: &[u8; 32]) -> Result<Offer, Reason> {
    let Assertion { credential_id, client_data_json, authenticator_data, signature } = assertion;
    let held = account.passkeys.iter().find(|passkey| passkey.credential_id == *credential_id);
    let held = held.ok_or(Reason::UnknownPasskey)?;
    let registered = Registered {
        public_key: &PublicKey::parse(held.public_key.as_slice()).map_err(|_| Reason::InternalError)?,
        rp_id: &held.rp_id,
        origin: &held.origin,
        sign_count: held.sign_count,
        backup_eligible: held.backup_eligible,
    };
    let asserted = webauthn::assert(&registered, client_data_json, authenticator_data, signature, digest)
        .map_err(problem)?;
    Ok(Offer::Passkey {
        credential_id: credential_id.clone(),
        sign_count: asserted.sign_count,
        backed_up: asserted.backed_up,
    })
}

/// The reason of each way in which a passkey's evidence fails.
pub(crate) fn problem(problem: PasskeyProblem) -> Reason {
    match problem {
        PasskeyProblem::Malformed => Reason::PasskeyMalformed,
        PasskeyProblem::DuplicateKey => Reason::PasskeyDuplicateKey,
        PasskeyProblem::WrongType => Reason::PasskeyWrongType,
        PasskeyProblem::WrongChallenge => Reason::PasskeyWrongChallenge,
        PasskeyProblem::WrongOrigin => Reason::PasskeyWrongOrigin,
        PasskeyProblem::CrossOrigin => Reason::PasskeyCrossOrigin,
        PasskeyProblem::WrongRp => Reason::PasskeyWrongRp,
        PasskeyProblem::UserNotPresent => Reason::PasskeyUserNotPresent,
        PasskeyProblem::UserNotVerified => Reason::PasskeyUserNotVerified,
        PasskeyProblem::MalformedSignature => Reason::PasskeyMalformedSignature,
        PasskeyProblem::WrongSignature => Reason::PasskeyWrongSignature,
        PasskeyProblem::Counter => Reason::PasskeyCounter,
        PasskeyProblem::BackupFlags => Reason::PasskeyBackupFlags,
        PasskeyProblem::UnsupportedKey => Reason::PasskeyUnsupportedKey,
    }
}
