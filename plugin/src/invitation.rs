//! Sealed enrolment: the backend invites, a device of the user's enrols. The TOTP secret is sealed to the device, and a signed
//! receipt says everything that was made, so that nobody between the two can put something of his own in its place.

use crate::audit::What;
use crate::device_acts::act_nonce;
use crate::enrolment;
use crate::evidence;
use crate::machine::Core;
use crate::receipts;
use crate::record::{Account, Device, ENROLMENT_OPEN_SECS, Passkey};
use crate::staged::INVITED_SECS;
use crate::store::Change;
use crate::totp;
use countersign_approvals::digest::registration_challenge;
use countersign_approvals::es256::PublicKey;
use countersign_approvals::sealed::{self, ENROLMENT_INFO, Sealed};
use countersign_approvals::statement::{
    ClockMode as ClockWord, Enrolment, EnrolmentRequest, Factor, OfferedPasskey, Statement,
};
use countersign_approvals::webauthn;
use countersign_wire::client::{ClockMode, Enroll, Invited};
use countersign_wire::device::{EnrollSealed, EnrolledSealed, PASSKEYS_MAX};
use countersign_wire::hal::Secret;
use countersign_wire::names::TenantName;
use countersign_wire::reason::{Reason, Refusal};
use serde_bytes::ByteArray;

/// Lets a device enrol an account that is not there yet.
pub(crate) async fn invite(core: &Core, tenant: &TenantName, request: &Enroll) -> Result<Invited, Refusal> {
    enrolment::check(request)?;
    let record = core.store.account_id(tenant, &request.account);
    enrolment::require_free(core, tenant, record).await?;
    let id: [u8; 16] = random(core, 16).await?.expose().try_into().map_err(|_| Reason::InternalError)?;
    let tenants = core.tenants.how_many();
    core.staged.borrow_mut().invite(id, tenant, request, core.now().elapsed_secs, tenants)?;
    let event = core.event(Some(tenant), Some(&request.account), What::Invited);
    if let Err(error) = core.store.commit(Change { account: None, tenant: None, event }).await {
        core.staged.borrow_mut().use_invitation(&ByteArray::new(id));
        return Err(Reason::from(error).into());
    }
    Ok(Invited { invitation: ByteArray::new(id), expires_in_secs: INVITED_SECS })
}

async fn random(core: &Core, bytes: u16) -> Result<Secret, Reason> {
    core.hal.random(bytes).await.map_err(Reason::from)
}

/// A device enrols the account that it was invited to.
pub(crate) async fn enroll(core: &Core, request: &EnrollSealed) -> Result<EnrolledSealed, Refusal> {
    let EnrollSealed { tenant, account: name, invitation, device_nonce, .. } = request;
    let record = core.store.account_id(tenant, name);
    let _turn = core.turns.take(record).await;
    let invited = core.staged.borrow().invitation(tenant, name, invitation, core.now().elapsed_secs)?.clone();
    let keys = check(core, request)?;
    let passkeys = passkeys(core, request)?;
    let devices = vec![Device { key: request.device_key }];
    let enroll = &invited.enroll;
    let (account, secret) = enrolment::make(core, tenant, record, enroll, devices, passkeys).await?;

    let otpauth = zeroize::Zeroizing::new(totp::otpauth_uri(name.as_str(), &secret, &enroll.totp));
    let random = random(core, 32).await?;
    let random = random.expose().try_into().map_err(|_| Reason::InternalError)?;
    let sealed =
        sealed::seal(&keys.sealing, ENROLMENT_INFO, device_nonce.as_slice(), otpauth.as_bytes(), random);
    let receipt = core.identity.say(&receipt(core, request, &account, keys.device, &sealed)?);
    let answer = EnrolledSealed {
        receipt,
        encapsulated: ByteArray::new(sealed.encapsulated),
        ciphertext: sealed.ciphertext.into(),
        act_nonce: ByteArray::new(act_nonce(core, &account)),
        confirm_within_secs: ENROLMENT_OPEN_SECS,
    };
    // Used up, whatever becomes of the change: two devices must not both believe that the account is theirs.
    core.staged.borrow_mut().use_invitation(invitation);
    enrolment::keep(core, account).await?;
    Ok(answer)
}

struct Keys {
    device: PublicKey,
    sealing: PublicKey,
}

/// The device's keys, and that it signed the whole request.
fn check(core: &Core, request: &EnrollSealed) -> Result<Keys, Reason> {
    if request.passkeys.len() > PASSKEYS_MAX {
        return Err(Reason::TooManyPasskeys);
    }
    let device = PublicKey::parse(request.device_key.as_slice()).map_err(|_| Reason::MalformedDeviceKey)?;
    let sealing =
        PublicKey::parse(request.device_sealing_key.as_slice()).map_err(|_| Reason::MalformedDeviceKey)?;
    let offered = request.passkeys.iter().map(|one| OfferedPasskey {
        client_data_json: one.client_data_json.to_vec(),
        authenticator_data: one.authenticator_data.to_vec(),
    });
    let signed = EnrolmentRequest {
        hsm: core.boot.hsm_id.into_array(),
        tenant: request.tenant.as_str().to_owned(),
        account: request.account.as_str().to_owned(),
        invitation: request.invitation.into_array(),
        device_nonce: request.device_nonce.into_array(),
        device_key: device,
        device_sealing_key: sealing,
        passkeys: offered.collect(),
    };
    evidence::verify(&device, &signed.to_bytes(), &request.signature)?;
    Ok(Keys { device, sealing })
}

fn passkeys(core: &Core, request: &EnrollSealed) -> Result<Vec<Passkey>, Reason> {
    let challenge = registration_challenge(
        &core.boot.hsm_id.into_array(),
        request.tenant.as_str(),
        request.account.as_str(),
        &request.invitation.into_array(),
        &request.device_key.into_array(),
    );
    let mut passkeys: Vec<Passkey> = Vec::new();
    for one in &request.passkeys {
        let passkey = webauthn::register(&one.client_data_json, &one.authenticator_data, &challenge)
            .map_err(evidence::problem)?;
        if passkeys.iter().any(|held| held.credential_id == passkey.credential_id) {
            return Err(Reason::TooManyPasskeys);
        }
        passkeys.push(Passkey {
            credential_id: passkey.credential_id.into(),
            public_key: ByteArray::new(*passkey.public_key.as_bytes()),
            rp_id: passkey.rp_id,
            origin: passkey.origin,
            sign_count: passkey.sign_count,
            backup_eligible: passkey.backup_eligible,
        });
    }
    Ok(passkeys)
}

/// Everything that was made.
fn receipt(
    core: &Core,
    request: &EnrollSealed,
    account: &Account,
    device: PublicKey,
    sealed: &Sealed,
) -> Result<Enrolment, Reason> {
    let parameters = account.totp.parameters;
    let mut factors = vec![
        Factor::Totp {
            hash: parameters.hash.word().to_owned(),
            digits: parameters.digits.into(),
            period_secs: parameters.period_secs.into(),
        },
        Factor::Device { key: device },
    ];
    for passkey in &account.passkeys {
        factors.push(Factor::Passkey {
            credential_id: passkey.credential_id.to_vec(),
            key: PublicKey::parse(passkey.public_key.as_slice()).map_err(|_| Reason::InternalError)?,
            rp_id: passkey.rp_id.clone(),
            origin: passkey.origin.clone(),
            backup_eligible: passkey.backup_eligible,
        });
    }
    let keys = account.keys.iter().map(|key| receipts::key_entry(account, key));
    Ok(Enrolment {
        hsm: core.boot.hsm_id.into_array(),
        measurement: core.boot.measurement.into_array(),
        clock: match core.boot.clock {
            ClockMode::System => ClockWord::System,
            ClockMode::Manual => ClockWord::Manual,
        },
        tenant: account.tenant.as_str().to_owned(),
        account: account.name.as_str().to_owned(),
        device_nonce: request.device_nonce.into_array(),
        now_unix_secs: core.now().unix_secs,
        policy: core
            .tenants
            .policy_mark(&account.tenant)
            .map(|mark| mark.sha256.into_array())
            .unwrap_or_default(),
        factors,
        keys: keys.collect::<Result<_, _>>()?,
        sealed: sealed.hash(),
    })
}
