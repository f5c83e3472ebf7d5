//! A new account, and what is checked before its QR code is shown.

use crate::device::trust::{DeviceError, Distrust};
use crate::device::{Device, addresses, random, signed};
use countersign_approvals::sealed::{ENROLMENT_INFO, sealed_hash};
use countersign_approvals::statement::{Enrolment, EnrolmentRequest, Factor, Statement};
use countersign_wire::client::{Act, Answer};
use countersign_wire::device::{EnrollSealed, EnrolledSealed, SignedStatement};
use countersign_wire::reason::Reason;
use serde_bytes::ByteArray;
use zeroize::Zeroizing;

/// What the backend hands the device: 16 bytes.
pub type Invitation = [u8; 16];

/// An enrolment that was checked: its factors are one TOTP secret, sealed to this device, and this device; its addresses
/// are what its keys give.
pub struct Enrolled {
    receipt: Enrolment,
    signed: SignedStatement,
    otpauth: Zeroizing<String>,
    confirm_within_secs: u64,
}

impl Enrolled {
    /// What the HSM says that it made.
    pub fn receipt(&self) -> &Enrolment {
        &self.receipt
    }

    /// The same as it was signed: worth keeping.
    pub fn signed(&self) -> &SignedStatement {
        &self.signed
    }

    /// The otpauth URI, for the authenticator: `otpauth://totp/…`. A secret.
    pub fn otpauth(&self) -> &str {
        &self.otpauth
    }

    /// The enrolment is void unless it is confirmed within this many seconds.
    pub fn confirm_within_secs(&self) -> u64 {
        self.confirm_within_secs
    }
}

impl Device<'_> {
    /// Enrols the account that the backend invited this device to. Confirm it with two codes after that.
    pub fn enroll(&self, invitation: Invitation) -> Result<Enrolled, DeviceError> {
        let nonce = random();
        match self.ask(Act::EnrollSealed(Box::new(self.enrolment_request(invitation, nonce))))? {
            Answer::EnrolledSealed(enrolled) => Ok(self.check_enrolment(*enrolled, &nonce)?),
            _ => Err(Reason::HsmUnreachable.into()),
        }
    }

    fn enrolment_request(&self, invitation: Invitation, device_nonce: [u8; 32]) -> EnrollSealed {
        let (device_key, device_sealing_key) =
            (self.keys.signing.public_key(), self.keys.sealing.public_key());
        let request = EnrolmentRequest {
            hsm: self.hsm.identity().hsm,
            tenant: self.owner.tenant.to_string(),
            account: self.owner.account.to_string(),
            invitation,
            device_nonce,
            device_key,
            device_sealing_key,
            passkeys: Vec::new(),
        };
        EnrollSealed {
            tenant: self.owner.tenant.clone(),
            account: self.owner.account.clone(),
            invitation: ByteArray::new(invitation),
            device_nonce: ByteArray::new(device_nonce),
            device_key: ByteArray::new(*device_key.as_bytes()),
            device_sealing_key: ByteArray::new(*device_sealing_key.as_bytes()),
            passkeys: Vec::new(),
            signature: ByteArray::new(self.keys.signing.sign(&request.to_bytes())),
        }
    }

    fn check_enrolment(&self, enrolled: EnrolledSealed, nonce: &[u8; 32]) -> Result<Enrolled, Distrust> {
        let identity = self.hsm.identity();
        let receipt: Enrolment = signed(&enrolled.receipt).verify(&identity.signing_key)?;
        self.is_ours(&receipt.hsm, &receipt.tenant, &receipt.account)?;
        if receipt.device_nonce != *nonce {
            return Err(Distrust::StaleAnswer);
        }
        if receipt.measurement != identity.measurement || receipt.clock != identity.clock {
            return Err(Distrust::OtherImage);
        }
        self.check_factors(&receipt.factors)?;
        self.check_keys(&receipt.keys)?;
        let (encapsulated, ciphertext) = (enrolled.encapsulated.into_array(), &enrolled.ciphertext);
        if sealed_hash(&encapsulated, ciphertext) != receipt.sealed {
            return Err(Distrust::WrongSeal);
        }
        let opened = self.keys.sealing.open_parts(ENROLMENT_INFO, nonce, &encapsulated, ciphertext);
        let opened = opened.map_err(|_| Distrust::WrongSeal)?;
        let otpauth = std::str::from_utf8(&opened).map_err(|_| Distrust::WrongSeal)?;
        if !otpauth.starts_with("otpauth://totp/") {
            return Err(Distrust::WrongSeal);
        }
        Ok(Enrolled {
            otpauth: Zeroizing::new(otpauth.to_owned()),
            receipt,
            signed: enrolled.receipt,
            confirm_within_secs: enrolled.confirm_within_secs,
        })
    }

    /// Exactly one TOTP secret and this device, in whatever order. There are no others, says the receipt.
    fn check_factors(&self, factors: &[Factor]) -> Result<(), Distrust> {
        let own = self.keys.signing.public_key();
        let codes = factors.iter().filter(|factor| matches!(factor, Factor::Totp { .. })).count();
        let devices = factors.iter().filter(|factor| matches!(factor, Factor::Device { key } if *key == own));
        match (codes, devices.count(), factors.len()) {
            (1, 1, 2) => Ok(()),
            _ => Err(Distrust::UnknownFactor),
        }
    }

    /// All keys are the account's own, and each address is what its key gives.
    pub(super) fn check_keys(
        &self,
        keys: &[countersign_approvals::statement::KeyEntry],
    ) -> Result<(), Distrust> {
        for key in keys {
            let account = key.key.split_once('/').map(|(account, _)| account);
            if account != Some(self.owner.account.as_str()) {
                return Err(Distrust::OtherAccount);
            }
            addresses::check(key)?;
        }
        Ok(())
    }
}
