//! Accounts: enrol, confirm, unlock, show.
//!
//! Enrolment makes the account, its factor and its first key in one change. The account signs nothing until the
//! user has shown the codes of two consecutive steps; an enrolment that stays open too long is void, and only then
//! may the name be enrolled again. Nothing the API key can do replaces the factor of a confirmed account.

use crate::approval::{self, Offer, Stop, require_open};
use crate::audit::What;
use crate::ecdsa;
use crate::keys;
use crate::limits::Guard;
use crate::machine::Core;
use crate::record::{Account, Device, ENROLMENT_OPEN_SECS, Enrolment, FORMAT, Passkey, TotpFactor};
use crate::store::{Change, RecordId};
use crate::totp;
use countersign_policy::{Ledger, Payees};
use countersign_wire::client::{AccountInfo, Approval, ApprovalKind, Enroll, Enrolled, TrustPayee, TwoCodes};
use countersign_wire::hal::Secret;
use countersign_wire::names::{AccountName, TenantName};
use countersign_wire::reason::{Reason, Refusal};

/// Makes an account with its first factor and key. The caller is shown the TOTP secret.
pub(crate) async fn enroll(core: &Core, tenant: &TenantName, request: &Enroll) -> Result<Enrolled, Refusal> {
    check(request)?;
    if !core.tenants.allows_plain_enrolment(tenant) {
        return Err(Reason::PlainEnrolmentNotAllowed.into());
    }
    let record = core.store.account_id(tenant, &request.account);
    let _turn = core.turns.take(record).await;
    let (account, secret) = make(core, tenant, record, request, Vec::new(), Vec::new()).await?;
    let enrolled = Enrolled {
        otpauth: totp::otpauth_uri(request.account.as_str(), &secret, &request.totp),
        key: account.keys.first().map(|key| account.key_info(key)).ok_or(Reason::InternalError)?,
        confirm_within_secs: ENROLMENT_OPEN_SECS,
    };
    keep(core, account).await?;
    Ok(enrolled)
}

/// Refuses what no account can be enrolled with.
pub(crate) fn check(request: &Enroll) -> Result<(), Reason> {
    keys::check_plan(&request.plan)?;
    if totp::is_supported(&request.totp) { Ok(()) } else { Err(Reason::UnsupportedFactor) }
}

/// A new account with its factors and its first key, and the TOTP secret. Nothing is kept of it yet.
pub(crate) async fn make(
    core: &Core,
    tenant: &TenantName,
    record: RecordId,
    request: &Enroll,
    devices: Vec<Device>,
    passkeys: Vec<Passkey>,
) -> Result<(Account, Secret), Reason> {
    let held = require_free(core, tenant, record).await?;
    let hash = request.totp.hash;
    let secret_bytes = u16::try_from(hash.secret_bytes()).map_err(|_| Reason::InternalError)?;
    let secret = core.hal.random(secret_bytes).await?;
    let wrapped = core.hal.wrap_mac_key(hash, secret.clone()).await?;
    let mut wallet = None;
    let key = keys::make(core, record, &mut wallet, &request.key, &request.plan).await?;
    let account = Account {
        format: FORMAT,
        tenant: tenant.clone(),
        name: request.account.clone(),
        version: held.as_ref().map_or(0, |account| account.version) + 1,
        enrolment: Enrolment::Open { until_elapsed_secs: core.now().elapsed_secs + ENROLMENT_OPEN_SECS },
        totp: TotpFactor { parameters: request.totp, wrapped: wrapped.into(), highest_used_step: 0 },
        guard: Guard::default(),
        wallet,
        keys: vec![key],
        ledger: Ledger::default(),
        payees: Payees::default(),
        devices,
        passkeys,
        prior: Vec::new(),
        // What was signed for an enrolment that is void is void with it.
        acts: held.map_or(0, |account| account.acts + 1),
        frozen: None,
        signatures: 0,
        history: Vec::new(),
    };
    if request.plan.floor > account.strongest() {
        return Err(Reason::FloorNotPossible);
    }
    Ok((account, secret))
}

/// The void enrolment that stands in the place of a new account, if one does. Refused where the place is taken.
pub(crate) async fn require_free(
    core: &Core,
    tenant: &TenantName,
    record: RecordId,
) -> Result<Option<Account>, Reason> {
    let held = core.store.load(&core.hal, record).await?;
    if held.as_ref().is_some_and(|account| !account.is_void(core.now().elapsed_secs)) {
        return Err(Reason::AccountExists);
    }
    if held.is_none() && !core.tenants.has_room(tenant, core.store.account_count(tenant)) {
        return Err(Reason::TenantFull);
    }
    Ok(held)
}

/// Makes a new account durable.
pub(crate) async fn keep(core: &Core, account: Account) -> Result<(), Reason> {
    let key = account.keys.first().map(|key| key.id).ok_or(Reason::InternalError)?;
    let event = core.event(Some(&account.tenant), Some(&account.name), What::Enrolled { key });
    let change = Change { account: Some(account), tenant: None, event };
    core.store.commit(change).await.map_err(Reason::from)
}

/// Refuses an account whose enrolment is not open any more.
pub(crate) fn require_unconfirmed(account: &Account, elapsed_secs: u64) -> Result<(), Reason> {
    match account.enrolment {
        Enrolment::Confirmed => Err(Reason::AlreadyConfirmed),
        Enrolment::Open { .. } if account.is_void(elapsed_secs) => Err(Reason::EnrolmentExpired),
        Enrolment::Open { .. } => Ok(()),
    }
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
    require_unconfirmed(&account, core.now().elapsed_secs)?;
    if !account.devices.is_empty() {
        // Whoever carried these codes in the clear could use one of them for something else.
        return Err(Reason::BelowFloor.into());
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
    require_open(&account, core.now().elapsed_secs)?;
    if account.keys.iter().all(|key| key.floor > ApprovalKind::Code) {
        // No key takes a plain code, so none is compared: its devices unlock it.
        return Err(Reason::BelowFloor.into());
    }
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
    let Approval::Code(typed) = approval else { return Err(Reason::ApprovalForOther.into()) };
    let offer = Offer::plain(typed);
    let spent = approval::spend_on_payee(core, &mut account, &offer, &request.address, request.known).await;
    after(core, &account, spent)
}

/// Lifts the freezes that the operators of the tenants name: each once, since it is named by its number.
pub(crate) async fn lift_freezes(core: &Core) -> Result<(), Reason> {
    for tenant in &core.boot.tenants {
        for lifted in &tenant.lifted {
            let record = core.store.account_id(&tenant.name, &lifted.account);
            // An account that cannot be read stays as it is, and stops nobody else.
            let held = core.store.load(&core.hal, record).await.ok().flatten();
            let Some(mut account) = held.filter(|account| account.frozen == Some(lifted.freeze)) else {
                continue;
            };
            account.frozen = None;
            let commit = approval::commit(core, &mut account, false, What::Lifted { freeze: lifted.freeze });
            commit.await.map_err(|stop| match stop {
                Stop::Refused(refusal) => refusal.reason,
                Stop::Conflict => Reason::InternalError,
            })?;
        }
    }
    Ok(())
}

/// The account as it is after its codes were spent.
fn after(core: &Core, account: &Account, spent: Result<(), Stop>) -> Result<AccountInfo, Refusal> {
    match spent {
        Ok(()) => Ok(info(core, account)),
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
    Ok(info(core, &account))
}

/// What the host may see of an account.
fn info(core: &Core, account: &Account) -> AccountInfo {
    let names = core.tenants.log_names(&account.tenant);
    let log_name = core.store.log_name(names, &account.tenant, &account.name);
    account.info(core.now().elapsed_secs, log_name)
}

/// Refuses a key pair that the keystore should not have made.
pub(crate) fn check_public_key(public_key: &[u8; 65]) -> Result<(), Reason> {
    if ecdsa::is_public_key(public_key) { Ok(()) } else { Err(Reason::KeystoreFailed) }
}
