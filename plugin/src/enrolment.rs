//! Accounts: enrol, confirm, unlock, show.
//!
//! Enrolment makes the account, its factor and its first key in one change. The account signs nothing until the
//! user has shown the codes of two consecutive steps; an enrolment that stays open too long is void, and only then
//! may the name be enrolled again. Nothing the API key can do replaces the factor of a confirmed account.

use crate::approval::{self, Stop, require_confirmed};
use crate::audit::What;
use crate::ecdsa;
use crate::keys;
use crate::limits::Guard;
use crate::machine::Core;
use crate::record::{Account, ENROLMENT_OPEN_SECS, Enrolment, FORMAT, TotpFactor};
use crate::store::Change;
use crate::totp;
use countersign_policy::{Ledger, Payees};
use countersign_wire::client::{AccountInfo, Enroll, Enrolled, TrustPayee, TwoCodes};
use countersign_wire::names::{AccountName, TenantName};
use countersign_wire::reason::{Reason, Refusal};

/// Makes an account with its first factor and key.
pub(crate) async fn enroll(core: &Core, tenant: &TenantName, request: &Enroll) -> Result<Enrolled, Refusal> {
    keys::check_plan(&request.plan)?;
    if !totp::is_supported(&request.totp) {
        return Err(Reason::UnsupportedFactor.into());
    }
    if !core.tenants.allows_plain_enrolment(tenant) {
        return Err(Reason::PlainEnrolmentNotAllowed.into());
    }
    let record = core.store.account_id(tenant, &request.account);
    let _turn = core.turns.take(record).await;
    let held = core.store.load(&core.hal, record).await?;
    if held.as_ref().is_some_and(|account| !account.is_void(core.now().elapsed_secs)) {
        return Err(Reason::AccountExists.into());
    }
    if held.is_none() && !core.tenants.has_room(tenant, core.store.account_count(tenant)) {
        return Err(Reason::TenantFull.into());
    }
    let hash = request.totp.hash;
    let secret_bytes = u16::try_from(hash.secret_bytes()).map_err(|_| Reason::InternalError)?;
    let secret = core.hal.random(secret_bytes).await.map_err(Reason::from)?;
    let wrapped = core.hal.wrap_mac_key(hash, secret.clone()).await.map_err(Reason::from)?;
    let mut wallet = None;
    let key = keys::make(core, record, &mut wallet, &request.key, &request.plan).await?;
    let account = Account {
        format: FORMAT,
        tenant: tenant.clone(),
        name: request.account.clone(),
        version: held.map_or(0, |account| account.version) + 1,
        enrolment: Enrolment::Open { until_elapsed_secs: core.now().elapsed_secs + ENROLMENT_OPEN_SECS },
        totp: TotpFactor { parameters: request.totp, wrapped: wrapped.into(), highest_used_step: 0 },
        guard: Guard::default(),
        wallet,
        keys: vec![key],
        ledger: Ledger::default(),
        payees: Payees::default(),
    };
    let enrolled = Enrolled {
        otpauth: totp::otpauth_uri(request.account.as_str(), &secret, &request.totp),
        key: account.keys.first().map(|key| account.key_info(key)).ok_or(Reason::InternalError)?,
        confirm_within_secs: ENROLMENT_OPEN_SECS,
    };
    let what = What::Enrolled { key: enrolled.key.id };
    let event = core.event(Some(tenant), Some(&request.account), what);
    core.store.commit(Change { account: Some(account), tenant: None, event }).await.map_err(Reason::from)?;
    Ok(enrolled)
}

/// Finishes an enrolment with two consecutive codes.
pub(crate) async fn confirm(
    core: &Core,
    tenant: &TenantName,
    request: &TwoCodes,
) -> Result<AccountInfo, Refusal> {
    let record = core.store.account_id(tenant, &request.account);
    let _turn = core.turns.take(record).await;
    let mut account = core.store.load(&core.hal, record).await?.ok_or(Reason::UnknownAccount)?;
    match account.enrolment {
        Enrolment::Confirmed => return Err(Reason::AlreadyConfirmed.into()),
        Enrolment::Open { .. } if account.is_void(core.now().elapsed_secs) => {
            return Err(Reason::EnrolmentExpired.into());
        }
        Enrolment::Open { .. } => {}
    }
    let spent = approval::spend_to_confirm(core, &mut account, [&request.first, &request.second]).await;
    after(core, &account, spent)
}

/// Reopens a locked account with two consecutive codes.
pub(crate) async fn unlock(
    core: &Core,
    tenant: &TenantName,
    request: &TwoCodes,
) -> Result<AccountInfo, Refusal> {
    let record = core.store.account_id(tenant, &request.account);
    let _turn = core.turns.take(record).await;
    let mut account = core.store.load(&core.hal, record).await?.ok_or(Reason::UnknownAccount)?;
    require_confirmed(&account, core.now().elapsed_secs)?;
    let spent = approval::spend_to_unlock(core, &mut account, [&request.first, &request.second]).await;
    after(core, &account, spent)
}

/// Puts an address on the list of those that the account is known to pay, or takes it off. It takes the user's approval: the
/// API key alone cannot loosen what policy asks of new payees (I8).
pub(crate) async fn trust_payee(
    core: &Core,
    tenant: &TenantName,
    request: &TrustPayee,
) -> Result<AccountInfo, Refusal> {
    let approval = request.approval.as_ref().ok_or(Reason::ApprovalMissing)?;
    let record = core.store.account_id(tenant, &request.account);
    let _turn = core.turns.take(record).await;
    let mut account = core.store.load(&core.hal, record).await?.ok_or(Reason::UnknownAccount)?;
    let spent = approval::spend_on_payee(core, &mut account, approval, &request.address, request.known).await;
    after(core, &account, spent)
}

/// The account as it is after its codes were spent.
fn after(core: &Core, account: &Account, spent: Result<(), Stop>) -> Result<AccountInfo, Refusal> {
    match spent {
        Ok(()) => Ok(account.info(core.now().elapsed_secs)),
        Err(Stop::Refused(refusal)) => Err(refusal),
        Err(Stop::Conflict) => Err(Reason::InternalError.into()),
    }
}

/// One account as the host may see it.
pub(crate) async fn show(
    core: &Core,
    tenant: &TenantName,
    name: &AccountName,
) -> Result<AccountInfo, Refusal> {
    let record = core.store.account_id(tenant, name);
    let account = core.store.load(&core.hal, record).await?.ok_or(Reason::UnknownAccount)?;
    let now = core.now();
    if account.is_void(now.elapsed_secs) {
        return Err(Reason::EnrolmentExpired.into());
    }
    Ok(account.info(now.elapsed_secs))
}

/// Refuses a key pair that the keystore should not have made.
pub(crate) fn check_public_key(public_key: &[u8; 65]) -> Result<(), Reason> {
    if ecdsa::is_public_key(public_key) { Ok(()) } else { Err(Reason::KeystoreFailed) }
}
