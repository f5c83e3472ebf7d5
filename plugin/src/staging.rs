//! Staged intents: a backend stages what is to be signed, the user's device shows it and approves it, and then it may be
//! signed, once. Policy is asked when it is staged, when it is approved and when it is signed.

use crate::approval::{self, Spending, Stop, payee_floor, require_open, with_payee};
use crate::audit::{Signs, Used, What};
use crate::evidence;
use crate::intent::{Draft, Intent};
use crate::machine::Core;
use crate::receipts;
use crate::record::{Account, ApprovedBy, Key, PRIOR_MAX, Prior};
use crate::signing::{self, Refused};
use crate::staged::{APPROVED_SECS, OPEN_SECS, StagedIntent, StagedKey};
use crate::store::Change;
use countersign_approvals::digest::{Approved, Purpose, intent_hash};
use countersign_approvals::sealed::sealed_hash;
use countersign_approvals::statement::{self, View};
use countersign_wire::client::{
    ApprovalKind, IntentInfo, Operation, StagePayee, StageSign, Staged, StagedIntent as Named, Subject,
};
use countersign_wire::device::{
    Approve, Decline, Evidence, IntentId, IntentState, SealedCode, SignedStatement, ViewIntent, ViewReceipt,
};
use countersign_wire::names::{AccountName, TenantName};
use countersign_wire::reason::{Reason, Refusal};
use serde_bytes::ByteArray;

/// Stages something for the user to approve.
pub(crate) async fn stage(core: &Core, tenant: &TenantName, subject: &Subject) -> Result<Staged, Refused> {
    let name = match subject {
        Subject::Sign(StageSign { key, .. }) => &key.account,
        Subject::Payee(StagePayee { account, .. }) => account,
    };
    let record = core.store.account_id(tenant, name);
    let account = core.store.load(&core.hal, record).await?.ok_or(Reason::UnknownAccount)?;
    let now = core.now();
    require_open(&account, now.elapsed_secs)?;
    if account.devices.is_empty() {
        return Err(Reason::NoDevice.into());
    }
    let (id, nonce) = (random::<16>(core).await?, random::<32>(core).await?);
    let floor = match subject {
        Subject::Sign(StageSign { key, .. }) => account.key_named(&key.key).ok_or(Reason::UnknownKey)?.floor,
        Subject::Payee(_) => payee_floor(&account).max(ApprovalKind::SealedCode),
    };
    if floor > account.strongest() {
        return Err(Reason::FloorNotPossible.into());
    }
    let told = match subject {
        Subject::Sign(StageSign { key, payload }) => {
            let key = account.key_named(&key.key).ok_or(Reason::UnknownKey)?;
            let intent = Draft::read(payload)?.review(&account, key)?;
            // With the strongest approval that the user can give: what even that would not permit is not shown to him.
            let best = ApprovedBy { kind: account.strongest(), backed_up: false };
            signing::permit(core, &account, key, &intent, best)?;
            Told::of(&account, key, &intent)
        }
        Subject::Payee(StagePayee { address, known, .. }) => {
            with_payee(core, &account, address, *known)?;
            Told::of_payee(address, *known)
        }
    };
    let staged = StagedIntent {
        tenant: tenant.clone(),
        account: account.name.clone(),
        subject: subject.clone(),
        hash: intent_hash(told.mechanism, &told.digests, &told.summary),
        key: told.key,
        floor,
        mechanism: told.mechanism,
        digests: told.digests,
        summary: told.summary,
        nonce,
        expires_unix_secs: now.unix_secs.saturating_add(OPEN_SECS),
        state: IntentState::Open,
        by: None,
        receipt: None,
        until_elapsed_secs: now.elapsed_secs.saturating_add(OPEN_SECS),
    };
    let answer = Staged {
        intent: ByteArray::new(id),
        summary: staged.summary.clone(),
        digests: staged.digests.iter().copied().map(ByteArray::new).collect(),
        expires_unix_secs: staged.expires_unix_secs,
    };
    let key = staged.key.as_ref().map(|key| ByteArray::new(key.id));
    let intent_hash = ByteArray::new(staged.hash);
    core.staged.borrow_mut().put(id, staged, now.elapsed_secs, core.tenants.how_many())?;
    let what = What::Staged { intent: answer.intent, key, intent_hash };
    let event = core.event(Some(tenant), Some(&account.name), what);
    if let Err(error) = core.store.commit(Change { account: None, tenant: None, event }).await {
        // What cannot be recorded was not staged.
        core.staged.borrow_mut().remove(&answer.intent);
        return Err(Reason::from(error).into());
    }
    Ok(answer)
}

/// What a staged intent tells.
struct Told {
    key: Option<StagedKey>,
    mechanism: &'static str,
    digests: Vec<[u8; 32]>,
    summary: String,
}

impl Told {
    fn of(account: &Account, key: &Key, intent: &Intent) -> Self {
        let staged = StagedKey { label: account.key_info(key).label, id: key.id.into_array() };
        Self {
            key: Some(staged),
            mechanism: intent.mechanism().word(),
            digests: intent.digests().collect(),
            summary: intent.summary().to_owned(),
        }
    }

    fn of_payee(address: &str, known: bool) -> Self {
        let line = if known { "add known payee" } else { "remove known payee" };
        Self { key: None, mechanism: "payee", digests: Vec::new(), summary: format!("{line}: {address}\n") }
    }
}

async fn random<const N: usize>(core: &Core) -> Result<[u8; N], Reason> {
    let length = u16::try_from(N).map_err(|_| Reason::InternalError)?;
    core.hal.random(length).await?.expose().try_into().map_err(|_| Reason::InternalError)
}

/// How a staged intent is.
pub(crate) fn show(core: &Core, tenant: &TenantName, named: &Named) -> Result<IntentInfo, Refusal> {
    let now = core.now();
    let staged = core.staged.borrow();
    let held = staged.get(tenant, &named.account, &named.intent, now.elapsed_secs)?;
    let left_secs = held.until_elapsed_secs.saturating_sub(now.elapsed_secs);
    Ok(IntentInfo {
        state: held.state,
        approval: held.by,
        expires_unix_secs: now.unix_secs.saturating_add(left_secs),
    })
}

/// What a device is asked to approve, as the plugin tells it.
pub(crate) fn view(core: &Core, request: &ViewIntent) -> Result<SignedStatement, Refusal> {
    let now = core.now();
    let staged = core.staged.borrow();
    let held = staged.get(&request.tenant, &request.account, &request.intent, now.elapsed_secs)?;
    let key = held.key.as_ref();
    Ok(core.identity.say(&View {
        hsm: core.boot.hsm_id.into_array(),
        tenant: held.tenant.as_str().to_owned(),
        account: held.account.as_str().to_owned(),
        intent: request.intent.into_array(),
        purpose: held.purpose(),
        key: key.map(|key| key.label.to_string()).unwrap_or_default(),
        key_id: key.map(|key| key.id.to_vec()).unwrap_or_default(),
        mechanism: held.mechanism.to_owned(),
        digests: held.digests.clone(),
        summary: held.summary.clone(),
        floor: receipts::kind(held.floor),
        state: state(held.state),
        nonce: held.nonce,
        expires_unix_secs: held.expires_unix_secs,
        now_unix_secs: now.unix_secs,
        device_nonce: request.device_nonce.into_array(),
    }))
}

/// A state, as statements have it.
pub(crate) fn state(state: IntentState) -> statement::IntentState {
    match state {
        IntentState::Open => statement::IntentState::Open,
        IntentState::Approved => statement::IntentState::Approved,
        IntentState::Signed => statement::IntentState::Signed,
        IntentState::Declined => statement::IntentState::Declined,
    }
}

/// The receipt of an intent that was signed.
pub(crate) fn receipt(core: &Core, request: &ViewReceipt) -> Result<SignedStatement, Refusal> {
    let elapsed_secs = core.now().elapsed_secs;
    let staged = core.staged.borrow();
    let held = staged.get(&request.tenant, &request.account, &request.intent, elapsed_secs)?;
    let statement = held.receipt.clone().ok_or(Reason::UnknownReceipt)?;
    Ok(core.identity.say_encoded(statement))
}

/// The user approves: from a device of his, through whoever carries it.
pub(crate) async fn approve(core: &Core, request: &Approve) -> Result<(), Refused> {
    let Approve { tenant, account, intent, evidence } = request;
    approve_for(core, tenant, account, intent, evidence).await
}

/// PKCS#11 context login with what a device made: approves the staged intent, if it is one of this operation's key.
pub(crate) async fn approve_in(
    core: &Core,
    tenant: &TenantName,
    operation: &Operation,
    intent: &IntentId,
    evidence: &Evidence,
) -> Result<(), Refused> {
    let account = {
        let staged = core.staged.borrow();
        let held = staged.of_tenant(tenant, intent, core.now().elapsed_secs)?;
        let key = held.key.as_ref().filter(|key| key.id == operation.key.into_array());
        if key.is_none() || held.mechanism != operation.mechanism.word() {
            return Err(Reason::ApprovalForOther.into());
        }
        held.account.clone()
    };
    approve_for(core, tenant, &account, intent, evidence).await
}

async fn approve_for(
    core: &Core,
    tenant: &TenantName,
    name: &AccountName,
    intent: &IntentId,
    evidence: &Evidence,
) -> Result<(), Refused> {
    let record = core.store.account_id(tenant, name);
    let _turn = core.turns.take(record).await;
    let held = open(core, tenant, name, intent)?;
    let mut account = core.store.load(&core.hal, record).await?.ok_or(Reason::UnknownIntent)?;
    require_open(&account, core.now().elapsed_secs)?;
    let digest = held.digest(core, held.purpose());
    let outcome = match &held.subject {
        _ if evidence::kind(evidence) < held.floor => return Err(Reason::BelowFloor.into()),
        Subject::Sign(sign) => {
            approve_signature(core, &mut account, (intent, &held), sign, evidence, &digest).await
        }
        Subject::Payee(StagePayee { address, known, .. }) => {
            let offer = evidence::open(core, &account, evidence, &digest)?;
            try_once(core, intent, evidence)?;
            approval::spend_on_payee(core, &mut account, &offer, address, *known).await.map_err(stopped)
        }
    };
    outcome?;
    let state = if held.key.is_some() { IntentState::Approved } else { IntentState::Signed };
    let by = Some(evidence::kind(evidence));
    core.staged.borrow_mut().become_of(intent, state, by, None, core.now().elapsed_secs);
    Ok(())
}

/// The staged intent, if it waits for its approval and time is not up.
pub(crate) fn open(
    core: &Core,
    tenant: &TenantName,
    account: &AccountName,
    intent: &IntentId,
) -> Result<StagedIntent, Reason> {
    let now = core.now();
    let staged = core.staged.borrow();
    let held = staged.get(tenant, account, intent, now.elapsed_secs)?;
    if held.state != IntentState::Open {
        return Err(Reason::IntentNotOpen);
    }
    if !now.sure {
        return Err(Reason::ClockUnsure);
    }
    if now.unix_secs > held.expires_unix_secs { Err(Reason::ApprovalExpired) } else { Ok(held.clone()) }
}

async fn approve_signature(
    core: &Core,
    account: &mut Account,
    (intent_id, held): (&IntentId, &StagedIntent),
    sign: &StageSign,
    evidence: &Evidence,
    digest: &[u8; 32],
) -> Result<(), Refused> {
    let key = account.key_named(&sign.key.key).ok_or(Reason::UnknownKey)?.clone();
    let intent = Draft::read(&sign.payload)?.review(account, &key)?;
    let hash = intent.signing().hash;
    if hash != held.hash || held.key.as_ref().is_none_or(|staged| staged.id != key.id.into_array()) {
        // It does not mean any more what the user was shown.
        return Err(Reason::ApprovalForOther.into());
    }
    let offer = evidence::open(core, account, evidence, digest)?;
    let by = offer.by();
    let permission = signing::permit(core, account, &key, &intent, by)?;
    let now = core.now();
    if account.prior.iter().filter(|prior| prior.is_good(now)).count() >= PRIOR_MAX {
        return Err(Reason::TooManyIntents.into());
    }
    let prior = Prior {
        intent: *intent_id,
        key: key.id,
        intent_hash: ByteArray::new(hash),
        by,
        nonce: ByteArray::new(held.nonce),
        expires_unix_secs: held.expires_unix_secs,
        until_elapsed_secs: now.elapsed_secs.saturating_add(APPROVED_SECS),
        until_unix_secs: now.unix_secs.saturating_add(APPROVED_SECS),
    };
    try_once(core, intent_id, evidence)?;
    let spending = Spending {
        // Limits count what is signed.
        booking: None,
        apply: |account: &mut Account| {
            account.prior.retain(|prior| prior.is_good(now));
            account.prior.push(prior);
        },
        record: |used: Used| What::Approved {
            intent: *intent_id,
            key: key.id,
            used,
            kind: by.kind,
            signs: Signs::of(&intent, &permission.rule),
        },
    };
    approval::spend(core, account, key.id, &offer, spending).await.map(drop).map_err(stopped)
}

/// The caller has the account's turn, so that a conflict is a fault.
fn stopped(stop: Stop) -> Refused {
    match stop {
        Stop::Refused(refusal) => refusal.into(),
        Stop::Conflict => Reason::InternalError.into(),
    }
}

/// That a device's evidence is tried for the first time: whoever carries it must not have the same guess counted twice.
pub(crate) fn try_once(core: &Core, intent: &IntentId, evidence: &Evidence) -> Result<(), Reason> {
    let Evidence::SealedCode(SealedCode { encapsulated, ciphertext, .. }) = evidence else { return Ok(()) };
    let sealed = sealed_hash(encapsulated, ciphertext);
    if core.staged.borrow_mut().try_once(intent, sealed) { Ok(()) } else { Err(Reason::CodeUsed) }
}

/// What a refusal of something signs that was approved before.
fn decline_digest(core: &Core, account: &Account, prior: &Prior) -> [u8; 32] {
    let declined = Approved {
        purpose: Purpose::Decline,
        hsm: &core.boot.hsm_id.into_array(),
        tenant: account.tenant.as_str(),
        account: account.name.as_str(),
        key_id: prior.key.as_slice(),
        intent_hash: prior.intent_hash.as_slice(),
        expires_unix_secs: prior.expires_unix_secs,
        nonce: &prior.nonce.into_array(),
    };
    declined.digest()
}

/// The user refuses: what waits for him, or what he approved and is not signed yet.
pub(crate) async fn decline(core: &Core, request: &Decline) -> Result<(), Refusal> {
    let Decline { tenant, account: name, intent, device, signature } = request;
    let record = core.store.account_id(tenant, name);
    let _turn = core.turns.take(record).await;
    let now = core.now();
    let held = core.staged.borrow().get(tenant, name, intent, now.elapsed_secs).cloned();
    let mut account = core.store.load(&core.hal, record).await?.ok_or(Reason::UnknownIntent)?;
    let digest = match held {
        Ok(held) if matches!(held.state, IntentState::Open | IntentState::Approved) => {
            held.digest(core, Purpose::Decline)
        }
        Ok(_) => return Err(Reason::IntentNotOpen.into()),
        // The HSM was started anew: what was approved is still good, and can still be taken back.
        Err(unknown) => {
            let approved = account.prior.iter().find(|prior| prior.intent == *intent && prior.is_good(now));
            decline_digest(core, &account, approved.ok_or(unknown)?)
        }
    };
    evidence::signed_by(&account, device, &digest, &[], signature)?;
    let waiting = account.prior.len();
    account.prior.retain(|prior| prior.intent != *intent);
    let what = What::Declined { intent: *intent };
    if account.prior.len() < waiting {
        approval::commit(core, &mut account, false, what).await.map_err(|stop| stopped(stop).refusal)?;
    } else {
        let event = core.event(Some(tenant), Some(name), what);
        core.store.commit(Change { account: None, tenant: None, event }).await.map_err(Reason::from)?;
    }
    let elapsed_secs = core.now().elapsed_secs;
    core.staged.borrow_mut().become_of(intent, IntentState::Declined, None, None, elapsed_secs);
    Ok(())
}
