//! The gate: the first thing every request meets. Strict decoding, the API key, dispatch, and the audit of refusals.

use crate::audit::What;
use crate::machine::Core;
use crate::signing::Refused;
use crate::store::Change;
use crate::tenants::DeviceAsks;
use crate::{
    VERSION, attestation, audit_log, device_acts, enrolment, invitation, keys, receipts, room, signing,
    staging,
};
use countersign_wire::client::{
    Act, Answer, KeyId, Outcome, RANDOM_MAX_BYTES, Reply, Request, RequestId, Status, Subject, Welcome,
};
use countersign_wire::device::{
    Approve, Decline, DeviceAct, DevicePurpose, ViewAccount, ViewIntent, ViewReceipt,
};
use countersign_wire::names::{AccountName, TenantName};
use countersign_wire::reason::{Reason, Refusal};
use countersign_wire::{decode, encode};

/// The encoded refusal of a request that will not be worked on.
pub(crate) fn refuse(payload: &[u8], reason: Reason) -> Vec<u8> {
    let id = decode::<Request>(payload).map_or_else(|_| RequestId::default(), |request| request.id);
    encode(&Reply { id, outcome: Outcome::Refused(reason.into()) })
}

/// Works on one request. Always gives exactly one reply, after everything it reports is durable.
pub(crate) async fn handle(core: &Core, payload: &[u8]) -> Vec<u8> {
    let Ok(request) = decode::<Request>(payload) else {
        core.count_unreadable();
        return refuse(&[], Reason::MalformedRequest);
    };
    let outcome = match answer(core, &request).await {
        Ok(answer) => Outcome::Done(answer),
        Err(refusal) => Outcome::Refused(refusal),
    };
    encode(&Reply { id: request.id, outcome })
}

async fn answer(core: &Core, request: &Request) -> Result<Answer, Refusal> {
    if request.act == Act::Status {
        room::ask_again(core).await;
        return Ok(Answer::Status(status(core)));
    }
    if request.act.is_of_device() {
        return device(core, request).await;
    }
    let Some(tenant) = request.api_key.as_ref().and_then(|key| core.tenants.authenticate(key)) else {
        core.count_unreadable();
        return Err(Reason::WrongApiKey.into());
    };
    let Some(_place) = core.tenants.place(&tenant) else { return Err(Reason::Busy.into()) };
    if !room::admits(core, &request.act).await {
        return Err(Reason::StoreFull.into());
    }
    match dispatch(core, &tenant, request).await {
        Ok(answer) => Ok(answer),
        Err(Refused { refusal, because }) => {
            record_refusal(core, &tenant, &request.act, refusal.reason, because).await?;
            Err(refusal)
        }
    }
}

/// What a user's device asks, through whoever carries it: without an API key, whose holder could as well be asked.
async fn device(core: &Core, request: &Request) -> Result<Answer, Refusal> {
    let Some((word, tenant, account)) = of_device(&request.act) else {
        return Ok(Answer::Identity(core.identity.endorsed().clone()));
    };
    if request.api_key.is_some() {
        core.count_unreadable();
        return Err(Reason::MalformedRequest.into());
    }
    if !core.tenants.is_known(tenant) {
        // The same miss as in a tenant that is there, and as little to be seen in anybody else's log.
        return Err(match &request.act {
            Act::ViewAccount(_) | Act::DeviceAct(_) => Reason::UnknownDevice,
            Act::EnrollSealed(_) => Reason::UnknownInvitation,
            _ => Reason::UnknownIntent,
        }
        .into());
    }
    let place = core.tenants.place_of_device(tenant, asks(&request.act));
    let Some(_place) = place else { return Err(Reason::Busy.into()) };
    if !room::admits(core, &request.act).await {
        return Err(Reason::StoreFull.into());
    }
    match dispatch_device(core, &request.act).await {
        Ok(answer) => Ok(answer),
        Err(Refused { refusal, because }) => {
            record_of_device(core, (word, tenant, account), &request.act, refusal.reason, because).await?;
            Err(refusal)
        }
    }
}

/// What a device asks, as far as places go.
fn asks(act: &Act) -> DeviceAsks {
    match act {
        Act::DeviceAct(act) if act.purpose == DevicePurpose::Freeze => DeviceAsks::ToFreeze,
        _ => DeviceAsks::Else,
    }
}

/// Records a refusal of a device, or counts it. Its account stands there only if a device of the account said it: anybody can name
/// one, and could so learn what a log calls it.
async fn record_of_device(
    core: &Core,
    (word, tenant, account): (&str, &TenantName, &AccountName),
    act: &Act,
    reason: Reason,
    because: Option<String>,
) -> Result<(), Refusal> {
    if matches!(act, Act::ViewIntent(_) | Act::ViewAccount(_) | Act::ViewReceipt(_)) {
        return Ok(());
    }
    let said = is_authentic(reason).then_some(account);
    let elapsed_secs = core.now().elapsed_secs;
    let count = |count: u64| core.tenants.device_refusals(tenant, |refusals| refusals.count(count));
    if core.room.is_low() {
        // What is left is for what users stop something with.
        count(1);
        return Ok(());
    }
    let admitted = core.tenants.device_refusals(tenant, |refusals| refusals.admit(said, elapsed_secs));
    let Some(before) = admitted.flatten() else { return Ok(()) };
    if before > 0 {
        let event = core.event(Some(tenant), None, What::DevicesRefused { count: before });
        if let Err(error) = core.store.commit(Change { account: None, tenant: None, event }).await {
            count(before);
            return Err(Reason::from(error).into());
        }
    }
    record(core, tenant, (word, said, None), reason, because).await
}

/// Whether a device or a passkey of the user's really said it: its signature was verified before this reason can come.
fn is_authentic(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::WrongCode
            | Reason::CodeUsed
            | Reason::Locked
            | Reason::AccountOverBudget
            | Reason::TenantOverBudget
            | Reason::TryLater
            | Reason::PolicyRefused
            | Reason::LimitExceeded
            | Reason::PasskeyCounter
            | Reason::NoRecovery
    )
}

/// The word for it in the audit log, and whom it names.
fn of_device(act: &Act) -> Option<(&'static str, &TenantName, &AccountName)> {
    match act {
        Act::ViewIntent(ViewIntent { tenant, account, .. }) => Some(("view-intent", tenant, account)),
        Act::ViewAccount(ViewAccount { tenant, account, .. }) => Some(("view-account", tenant, account)),
        Act::ViewReceipt(ViewReceipt { tenant, account, .. }) => Some(("view-receipt", tenant, account)),
        Act::Approve(Approve { tenant, account, .. }) => Some(("approve", tenant, account)),
        Act::Decline(Decline { tenant, account, .. }) => Some(("decline", tenant, account)),
        Act::EnrollSealed(enroll) => Some(("enroll-sealed", &enroll.tenant, &enroll.account)),
        Act::DeviceAct(DeviceAct { tenant, account, .. }) => Some(("device-act", tenant, account)),
        _ => None,
    }
}

async fn dispatch_device(core: &Core, act: &Act) -> Result<Answer, Refused> {
    Ok(match act {
        Act::ViewIntent(view) => Answer::View(staging::view(core, view)?),
        Act::ViewAccount(view) => Answer::View(device_acts::view(core, view).await?),
        Act::ViewReceipt(view) => Answer::Receipt(staging::receipt(core, view)?),
        Act::Approve(approve) => {
            staging::approve(core, approve).await?;
            Answer::Approved
        }
        Act::Decline(decline) => {
            staging::decline(core, decline).await?;
            Answer::Declined
        }
        Act::EnrollSealed(enroll) => {
            Answer::EnrolledSealed(Box::new(invitation::enroll(core, enroll).await?))
        }
        Act::DeviceAct(act) => {
            device_acts::act(core, act).await?;
            Answer::CarriedOut
        }
        _ => return Err(Reason::MalformedRequest.into()),
    })
}

async fn dispatch(core: &Core, tenant: &TenantName, request: &Request) -> Result<Answer, Refused> {
    Ok(match &request.act {
        Act::Status => Answer::Status(status(core)),
        Act::Login => Answer::Welcome(Welcome { tenant: tenant.as_str().to_owned() }),
        Act::Random(length) => Answer::Random(random(core, *length).await?),
        Act::Enroll(enroll) => Answer::Enrolled(enrolment::enroll(core, tenant, enroll).await?),
        Act::Confirm(codes) => Answer::Account(enrolment::confirm(core, tenant, codes).await?),
        Act::Unlock(codes) => Answer::Account(enrolment::unlock(core, tenant, codes).await?),
        Act::ShowAccount(name) => Answer::Account(enrolment::show(core, tenant, name).await?),
        Act::TrustPayee(trust) => Answer::Account(enrolment::trust_payee(core, tenant, trust).await?),
        Act::CreateKey(create) => Answer::Key(keys::create(core, tenant, create).await?),
        Act::FindKeys(query) => Answer::Keys(keys::find(core, tenant, query).await?),
        Act::Sign(sign) => Answer::Signed(signing::sign(core, tenant, request.id, sign).await?),
        Act::ContextLogin(login) => {
            signing::context_login(core, tenant, login).await?;
            Answer::LoggedIn
        }
        Act::ContextSign(sign) => Answer::Signed(signing::context_sign(core, tenant, sign).await?),
        Act::ContextEnd(operation) => {
            // Dropping the grant is all: its code stays spent.
            let _ = core.grants.borrow_mut().take(tenant, operation, core.now().elapsed_secs);
            Answer::Ended
        }
        Act::Invite(enroll) => Answer::Invited(invitation::invite(core, tenant, enroll).await?),
        Act::Stage(subject) => Answer::Staged(staging::stage(core, tenant, subject).await?),
        Act::ShowIntent(named) => Answer::Intent(staging::show(core, tenant, named)?),
        Act::FindReceipt(find) => Answer::Receipt(receipts::find(core, tenant, find).await?),
        Act::Attest(nonce) => Answer::Attested(attestation::attest(core, tenant, nonce).await?),
        Act::LogCheckpoint => Answer::LogCheckpoint(audit_log::checkpoint(core, tenant)?),
        Act::ReadLog(query) => Answer::LogPage(audit_log::read(core, tenant, query).await?),
        Act::Identity
        | Act::ViewIntent(_)
        | Act::ViewAccount(_)
        | Act::ViewReceipt(_)
        | Act::Approve(_)
        | Act::Decline(_)
        | Act::EnrollSealed(_)
        | Act::DeviceAct(_) => return Err(Reason::MalformedRequest.into()),
    })
}

fn status(core: &Core) -> Status {
    let now = core.now();
    Status {
        version: VERSION.to_owned(),
        hsm_id: core.boot.hsm_id,
        measurement: core.boot.measurement,
        clock: core.boot.clock,
        unix_time_secs: now.unix_secs,
        clock_sure: now.sure,
        keystore: core.boot.keystore.clone(),
        boot_count: core.store.boot_count(),
        missing_sandbox_layers: core.boot.missing_sandbox_layers.clone(),
        store_room_bytes: core.room.about_bytes(),
        refused_for_room: core.room.refused(),
    }
}

async fn random(core: &Core, length: u16) -> Result<serde_bytes::ByteBuf, Refusal> {
    if !(1..=RANDOM_MAX_BYTES).contains(&length) {
        return Err(Reason::MalformedRequest.into());
    }
    let bytes = core.hal.random(length).await.map_err(Reason::from)?;
    Ok(bytes.expose().to_vec().into())
}

/// Records a refused decision before it is told. Reads decide nothing.
async fn record_refusal(
    core: &Core,
    tenant: &TenantName,
    act: &Act,
    reason: Reason,
    because: Option<String>,
) -> Result<(), Refusal> {
    let Some(decision) = decision(act) else { return Ok(()) };
    record(core, tenant, decision, reason, because).await
}

async fn record(
    core: &Core,
    tenant: &TenantName,
    (word, account, key): (&str, Option<&AccountName>, Option<KeyId>),
    reason: Reason,
    because: Option<String>,
) -> Result<(), Refusal> {
    if matches!(reason, Reason::StoreRefused | Reason::StoreFull) {
        // What cannot be recorded was not decided.
        return Ok(());
    }
    let what = What::Refused { act: word.to_owned(), key, reason, because };
    let event = core.event(Some(tenant), account, what);
    let change = Change { account: None, tenant: None, event };
    core.store.commit(change).await.map_err(|error| Reason::from(error).into())
}

/// The acts that decide something, the word for each in the audit log, and the account or key that the request names.
fn decision(act: &Act) -> Option<(&'static str, Option<&AccountName>, Option<KeyId>)> {
    match act {
        Act::Enroll(enroll) => Some(("enroll", Some(&enroll.account), None)),
        Act::Confirm(codes) => Some(("confirm", Some(&codes.account), None)),
        Act::Unlock(codes) => Some(("unlock", Some(&codes.account), None)),
        Act::TrustPayee(trust) => Some(("trust-payee", Some(&trust.account), None)),
        Act::CreateKey(create) => Some(("create-key", Some(&create.label.account), None)),
        Act::Sign(sign) => Some(("sign", Some(&sign.key.account), None)),
        Act::ContextLogin(login) => Some(("context-login", None, Some(login.operation.key))),
        Act::ContextSign(sign) => Some(("context-sign", None, Some(sign.operation.key))),
        Act::Invite(enroll) => Some(("invite", Some(&enroll.account), None)),
        Act::Stage(Subject::Sign(sign)) => Some(("stage", Some(&sign.key.account), None)),
        Act::Stage(Subject::Payee(payee)) => Some(("stage", Some(&payee.account), None)),
        _ => None,
    }
}
