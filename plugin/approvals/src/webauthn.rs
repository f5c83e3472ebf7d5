//! Passkeys: registered and asserted, checked without any word of the page that asked for them (WebAuthn level 3, sections
//! 7.1 and 7.2; ES256 alone, attestation `none`, user verification required).
//!
//! What is stricter here than there: no key of `clientDataJSON` stands twice, the ceremony is same-origin, no
//! reserved flag, one form of signature and of key, a credential id of at most 255 bytes.

mod authenticator_data;
mod client_data;
mod origin;
#[cfg(any(test, feature = "properties"))]
pub(crate) mod properties;

pub use crate::statement::{AUTHENTICATOR_DATA_MAX_BYTES, CLIENT_DATA_MAX_BYTES, CREDENTIAL_ID_MAX_BYTES};

use crate::es256::{self, PublicKey};
use authenticator_data::AuthenticatorData;
use client_data::ClientData;
use origin::Origin;
use sha2::{Digest, Sha256};

/// The longest signature in DER, in bytes.
pub const SIGNATURE_MAX_BYTES: usize = 72;

/// A passkey that an account may have as a factor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passkey {
    /// By which its authenticator knows it, 1 to 255 bytes.
    pub credential_id: Vec<u8>,
    /// What it signs with.
    pub public_key: PublicKey,
    /// The domain that it belongs to: the origin's host or a parent domain of it.
    pub rp_id: String,
    /// The origin it was registered on, `https://host[:port]` or `http://localhost[:port]`. It is asserted there alone.
    pub origin: String,
    /// How often it signed, as its authenticator says; 0 forever where that does not count.
    pub sign_count: u32,
    /// It may be copied to other devices of its user (section 6.1.3). Never changes.
    pub backup_eligible: bool,
    /// It was copied.
    pub backed_up: bool,
}

/// What must be known of a passkey to check its assertion.
#[derive(Clone, Copy, Debug)]
pub struct Registered<'a> {
    /// [`Passkey::public_key`].
    pub public_key: &'a PublicKey,
    /// [`Passkey::rp_id`].
    pub rp_id: &'a str,
    /// [`Passkey::origin`].
    pub origin: &'a str,
    /// What the last assertion said, or the registration.
    pub sign_count: u32,
    /// [`Passkey::backup_eligible`].
    pub backup_eligible: bool,
}

impl Passkey {
    /// What its assertions are checked with.
    pub fn registered(&self) -> Registered<'_> {
        Registered {
            public_key: &self.public_key,
            rp_id: &self.rp_id,
            origin: &self.origin,
            sign_count: self.sign_count,
            backup_eligible: self.backup_eligible,
        }
    }
}

/// An assertion that holds. Both values replace those of the passkey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asserted {
    /// How often the passkey signed, as its authenticator says.
    pub sign_count: u32,
    /// It was copied.
    pub backed_up: bool,
}

/// Why a registration or an assertion is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasskeyProblem {
    /// The client data is no JSON object with what is needed, or the authenticator data has another layout, or either is
    /// too large.
    Malformed,
    /// A key stands twice in the client data: two readers could see two values.
    DuplicateKey,
    /// Not the ceremony that was asked for.
    WrongType,
    /// Made for something else.
    WrongChallenge,
    /// Not the origin of the registration, or no origin that may have passkeys.
    WrongOrigin,
    /// Asked for by a page within a page of another origin.
    CrossOrigin,
    /// It belongs to another domain.
    WrongRp,
    /// The authenticator did not verify who its user is.
    UserNotVerified,
    /// Nobody was there.
    UserNotPresent,
    /// A backup without being eligible for it, or another eligibility than at registration.
    BackupFlags,
    /// The signature is not in its only valid form.
    MalformedSignature,
    /// Another key, or something was changed.
    WrongSignature,
    /// The counter did not rise: there may be a copy of the authenticator.
    Counter,
    /// Not an ES256 key in CTAP2's canonical form.
    UnsupportedKey,
}

impl PasskeyProblem {
    /// The stable word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Malformed => "passkey-malformed",
            Self::DuplicateKey => "passkey-duplicate-key",
            Self::WrongType => "passkey-wrong-type",
            Self::WrongChallenge => "passkey-wrong-challenge",
            Self::WrongOrigin => "passkey-wrong-origin",
            Self::CrossOrigin => "passkey-cross-origin",
            Self::WrongRp => "passkey-wrong-rp",
            Self::UserNotVerified => "passkey-user-not-verified",
            Self::UserNotPresent => "passkey-user-not-present",
            Self::BackupFlags => "passkey-backup-flags",
            Self::MalformedSignature => "passkey-malformed-signature",
            Self::WrongSignature => "passkey-wrong-signature",
            Self::Counter => "passkey-counter",
            Self::UnsupportedKey => "passkey-unsupported-key",
        }
    }
}

impl From<es256::BadSignature> for PasskeyProblem {
    fn from(bad: es256::BadSignature) -> Self {
        match bad {
            es256::BadSignature::Malformed => Self::MalformedSignature,
            es256::BadSignature::Wrong => Self::WrongSignature,
        }
    }
}

/// Reads a registration (section 7.1) that was made with this challenge.
///
/// Nothing in it is signed by the passkey: that it is the user's own is for the device to say, which signs both parts.
pub fn register(
    client_data_json: &[u8],
    authenticator_data: &[u8],
    challenge: &[u8; 32],
) -> Result<Passkey, PasskeyProblem> {
    let client = ClientData::read(client_data_json)?;
    client.check_ceremony("webauthn.create", challenge)?;
    let origin = Origin::parse(&client.origin).ok_or(PasskeyProblem::WrongOrigin)?;
    let authenticator = AuthenticatorData::parse(authenticator_data)?;
    let rp_id = origin.rp_id(&authenticator.rp_id_hash).ok_or(PasskeyProblem::WrongRp)?.to_owned();
    authenticator.check_user()?;
    let (backup_eligible, backed_up) = (authenticator.backup_eligible(), authenticator.backed_up());
    let credential = authenticator.credential.ok_or(PasskeyProblem::Malformed)?;
    Ok(Passkey {
        credential_id: credential.id.to_vec(),
        public_key: credential.public_key,
        rp_id,
        origin: client.origin,
        sign_count: authenticator.sign_count,
        backup_eligible,
        backed_up,
    })
}

/// Checks an assertion (section 7.2) over this challenge. That the credential id is the passkey's is the caller's look-up.
///
/// The counter is looked at last, so that only the passkey itself can raise that alarm.
pub fn assert(
    passkey: &Registered<'_>,
    client_data_json: &[u8],
    authenticator_data: &[u8],
    signature_der: &[u8],
    challenge: &[u8; 32],
) -> Result<Asserted, PasskeyProblem> {
    let client = ClientData::read(client_data_json)?;
    client.check_ceremony("webauthn.get", challenge)?;
    if client.origin != passkey.origin {
        return Err(PasskeyProblem::WrongOrigin);
    }
    let authenticator = AuthenticatorData::parse(authenticator_data)?;
    if authenticator.rp_id_hash != hash(passkey.rp_id.as_bytes()) {
        return Err(PasskeyProblem::WrongRp);
    }
    authenticator.check_user()?;
    if authenticator.credential.is_some() {
        return Err(PasskeyProblem::Malformed);
    }
    if authenticator.backup_eligible() != passkey.backup_eligible {
        return Err(PasskeyProblem::BackupFlags);
    }
    let signature = es256::der_to_raw(signature_der)?;
    let message = [authenticator_data, &hash(client_data_json)].concat();
    es256::verify(passkey.public_key, &message, &signature)?;
    check_counter(passkey.sign_count, authenticator.sign_count)?;
    Ok(Asserted { sign_count: authenticator.sign_count, backed_up: authenticator.backed_up() })
}

/// Section 7.2 step 22: the counter rises, unless the authenticator has none and says 0 both times.
fn check_counter(last: u32, now: u32) -> Result<(), PasskeyProblem> {
    if now > last || (now == 0 && last == 0) { Ok(()) } else { Err(PasskeyProblem::Counter) }
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests;
