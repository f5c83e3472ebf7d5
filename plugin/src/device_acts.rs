//! What a user's device does to its account, without an API key: it looks, confirms, unlocks, freezes.

use crate::approval::{self, Stop};
use crate::audit::What;
use crate::clock::Moment;
use crate::enrolment;
use crate::evidence;
use crate::machine::Core;
use crate::receipts;
use crate::record::{Account, Enrolment};
use crate::staging;
use crate::store::RecordId;
use crate::turns::Turn;
use countersign_approvals::digest::{Approved, Purpose};
use countersign_approvals::statement::{
    AccountRequest, AccountState, AccountView, HistoryEntry, OPEN_INTENTS_MAX, OpenIntent, Statement,
};
use countersign_wire::device::{
    ACT_OPEN_SECS, DeviceAct, DevicePurpose, IntentState, SignedStatement, ViewAccount,
};
use countersign_wire::reason::{Reason, Refusal};

/// The account, told to one of its devices.
pub(crate) async fn view(core: &Core, request: &ViewAccount) -> Result<SignedStatement, Refusal> {
    let record = core.store.account_id(&request.tenant, &request.account);
    // Whether there is such an account is told to its devices alone.
    let account = core.store.load(&core.hal, record).await?.ok_or(Reason::UnknownDevice)?;
    let asked = AccountRequest {
        hsm: core.boot.hsm_id.into_array(),
        tenant: request.tenant.as_str().to_owned(),
        account: request.account.as_str().to_owned(),
        device_nonce: request.device_nonce.into_array(),
    };
    let key = evidence::key_of(&account, &request.device)?;
    evidence::verify(&key, &asked.to_bytes(), &request.signature)?;
    let now = core.now();
    if account.is_void(now.elapsed_secs) {
        return Err(Reason::EnrolmentExpired.into());
    }
    Ok(core.identity.say(&told(core, &account, asked, now)?))
}

fn told(core: &Core, account: &Account, asked: AccountRequest, now: Moment) -> Result<AccountView, Reason> {
    let waiting = waiting(core, account, now);
    let entry = |entry: &crate::record::Entry| HistoryEntry {
        counter: entry.counter,
        time_unix_secs: entry.unix_secs,
        approval: receipts::kind(entry.kind),
        key: format!("{}/{}", account.name, entry.key),
        intent_hash: entry.intent_hash.into_array(),
        headline: entry.headline.clone(),
    };
    Ok(AccountView {
        hsm: asked.hsm,
        device_nonce: asked.device_nonce,
        now_unix_secs: now.unix_secs,
        state: match account.enrolment {
            _ if account.frozen.is_some() => AccountState::Frozen,
            Enrolment::Confirmed => AccountState::Confirmed,
            Enrolment::Open { .. } => AccountState::Open,
        },
        locked_for_secs: account.guard.locked_for_secs(now.elapsed_secs),
        act_nonce: act_nonce(core, account),
        signatures: account.signatures,
        intents: waiting,
        history: account.history.iter().map(entry).collect(),
        keys: account
            .keys
            .iter()
            .map(|key| receipts::key_entry(account, key))
            .collect::<Result<_, Reason>>()?,
        tenant: asked.tenant,
        account: asked.account,
    })
}

/// What waits for the user, or for its signature: also what was approved before the HSM was started anew.
fn waiting(core: &Core, account: &Account, now: Moment) -> Vec<OpenIntent> {
    let staged = core.staged.borrow();
    let held = staged.of_account(&account.tenant, &account.name, now.elapsed_secs);
    let held = held.filter(|(_, held)| matches!(held.state, IntentState::Open | IntentState::Approved));
    let mut waiting: Vec<OpenIntent> = held
        .map(|(intent, held)| OpenIntent {
            intent,
            state: staging::state(held.state),
            expires_unix_secs: held.expires_unix_secs,
        })
        .collect();
    let approved = account.prior.iter().filter(|prior| prior.is_good(now));
    for prior in approved {
        if waiting.len() < OPEN_INTENTS_MAX
            && waiting.iter().all(|one| one.intent != prior.intent.into_array())
        {
            waiting.push(OpenIntent {
                intent: prior.intent.into_array(),
                state: staging::state(IntentState::Approved),
                expires_unix_secs: prior.expires_unix_secs,
            });
        }
    }
    waiting
}

/// The nonce of the account's next act.
pub(crate) fn act_nonce(core: &Core, account: &Account) -> [u8; 32] {
    core.identity.act_nonce(account.tenant.as_str(), account.name.as_str(), account.acts)
}

/// A device acts on its account.
pub(crate) async fn act(core: &Core, request: &DeviceAct) -> Result<(), Refusal> {
    let record = core.store.account_id(&request.tenant, &request.account);
    let _turn = turn(core, record, request).await?;
    let mut account = core.store.load(&core.hal, record).await?.ok_or(Reason::UnknownDevice)?;
    evidence::key_of(&account, &request.device)?;
    let digest = digest(core, &account, request)?;
    let carried_out = match request.purpose {
        DevicePurpose::Confirm => {
            let codes = codes(core, &account, request, &digest)?;
            enrolment::require_unconfirmed(&account, core.now().elapsed_secs)?;
            // Durable with the attempt: what a device signed is tried once. What others try moves no nonce of a device's.
            account.acts += 1;
            approval::spend_to_confirm(core, &mut account, codes.each_ref()).await
        }
        DevicePurpose::Unlock => {
            let codes = codes(core, &account, request, &digest)?;
            approval::require_open(&account, core.now().elapsed_secs)?;
            account.acts += 1;
            approval::spend_to_unlock(core, &mut account, codes.each_ref()).await
        }
        DevicePurpose::Freeze => {
            signed(&account, request, &digest)?;
            approval::require_open(&account, core.now().elapsed_secs)?;
            freeze(core, &mut account).await
        }
        DevicePurpose::CancelRecovery => {
            signed(&account, request, &digest)?;
            // Recoveries are begun by officers, of whom this version has none.
            Err(Reason::NoRecovery.into())
        }
    };
    carried_out.map_err(|stop| match stop {
        Stop::Refused(refusal) => refusal,
        Stop::Conflict => Reason::InternalError.into(),
    })
}

/// The account's turn. A freeze does not wait behind what others have asked of the account meanwhile; that it comes from one
/// of its devices is looked at before, and again when its turn has come.
async fn turn(core: &Core, record: RecordId, request: &DeviceAct) -> Result<Turn, Refusal> {
    if request.purpose != DevicePurpose::Freeze {
        return Ok(core.turns.take(record).await);
    }
    let account = core.store.load(&core.hal, record).await?.ok_or(Reason::UnknownDevice)?;
    evidence::key_of(&account, &request.device)?;
    signed(&account, request, &digest(core, &account, request)?)?;
    Ok(core.turns.take_first(record).await)
}

/// What the device signed, if its expiry is near.
fn digest(core: &Core, account: &Account, request: &DeviceAct) -> Result<[u8; 32], Reason> {
    let now = core.now();
    let expires = request.expires_unix_secs;
    if !now.sure {
        return Err(Reason::ClockUnsure);
    }
    if expires < now.unix_secs || expires > now.unix_secs.saturating_add(ACT_OPEN_SECS) {
        return Err(Reason::ApprovalExpired);
    }
    let approved = Approved {
        purpose: purpose(request.purpose),
        hsm: &core.boot.hsm_id.into_array(),
        tenant: account.tenant.as_str(),
        account: account.name.as_str(),
        key_id: &[],
        intent_hash: &[],
        expires_unix_secs: expires,
        nonce: &act_nonce(core, account),
    };
    Ok(approved.digest())
}

fn purpose(purpose: DevicePurpose) -> Purpose {
    match purpose {
        DevicePurpose::Confirm => Purpose::Confirm,
        DevicePurpose::Unlock => Purpose::Unlock,
        DevicePurpose::Freeze => Purpose::Freeze,
        DevicePurpose::CancelRecovery => Purpose::CancelRecovery,
    }
}

fn codes(
    core: &Core,
    account: &Account,
    request: &DeviceAct,
    digest: &[u8; 32],
) -> Result<[countersign_wire::names::TypedCode; 2], Reason> {
    evidence::codes(core, account, &request.device, request.sealed.as_ref(), &request.signature, digest)
}

fn signed(account: &Account, request: &DeviceAct, digest: &[u8; 32]) -> Result<(), Reason> {
    if request.sealed.is_some() {
        return Err(Reason::MalformedRequest);
    }
    evidence::signed_by(account, &request.device, digest, &[], &request.signature)
}

/// From now on nothing is signed, and what was approved before is void.
async fn freeze(core: &Core, account: &mut Account) -> Result<(), Stop> {
    let freeze = account.acts;
    account.frozen = Some(freeze);
    account.acts += 1;
    account.prior.clear();
    approval::commit(core, account, false, What::Frozen { freeze }).await?;
    let elapsed_secs = core.now().elapsed_secs;
    core.staged.borrow_mut().decline_all(&account.tenant, &account.name, elapsed_secs);
    Ok(())
}
