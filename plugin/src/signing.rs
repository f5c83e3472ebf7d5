//! The life of a signature. Every way to a signature goes through this file:
//!
//! 1. **Decode** the request strictly and authenticate the API key ([`crate`]'s `gate`, before this file).
//! 2. **Read the intent**: decode the transaction inside the boundary and compute its digest here.
//! 3. **Load the account** from its sealed record, in its turn. Missing, corrupt, old or foreign: refuse.
//! 4. **Ask policy** before touching the factor, so that a denied transaction burns no code.
//! 5. **Count first**: the attempt is recorded as failed, durably, before anything is compared.
//! 6. **Check the approval** in constant time against every step in the window.
//! 7. **Spend**: one durable change marks the step used, corrects the counts and records the grant.
//! 8. **Sign** in the keystore, **verify** with the public key, make it low-S.
//! 9. **Release** the reply. A crash between 7 and 9 burns the code.
//!
//! A native request does all of this at once ([`sign`]). Through PKCS#11 the code comes before the data:
//! [`context_login`] does 3, 5, 6 and 7 into a grant that lives in memory; [`context_sign`] does 2, 3 and 4, binds
//! the grant to the intent with a durable change, then 8 and 9. A refusal there burns the code.

use crate::approval::{self, Offer, Spending, Stop};
use crate::audit::{Signs, What};
use crate::ecdsa::{self, Verified};
use crate::given::{Given, prior_of, was_signed};
use crate::grant::Grant;
use crate::intent::{Draft, Intent};
use crate::machine::Core;
use crate::record::{Account, ApprovedBy, Key, Source};
use crate::retry::{Known, Sameness};
use crate::staging;
use crate::store::{Change, RecordId};
use crate::wallet;
use countersign_policy::{Booking, Decision, KeyUse, Question, Why};
use countersign_wire::client::{
    Approval, ApprovalKind, ContextLogin, ContextSign, Operation, RequestId, Sign, Signed,
};
use countersign_wire::names::TenantName;
use countersign_wire::reason::{Reason, Refusal};
use zeroize::Zeroizing;

/// How often a request starts again when its account changed under it. It has the account's turn, so once is
/// already more than expected.
const RESTARTS_MAX: usize = 3;

/// Approve and sign in one request.
pub(crate) async fn sign(
    core: &Core,
    tenant: &TenantName,
    id: RequestId,
    request: &Sign,
) -> Result<Signed, Refused> {
    // 2. Read the intent.
    let draft = Draft::read(&request.payload)?;
    let approval = request.approval.as_ref().ok_or(Reason::ApprovalMissing)?;
    let record = core.store.account_id(tenant, &request.key.account);
    let _turn = core.turns.take(record).await;
    for _ in 0..RESTARTS_MAX {
        // 3. Load the account.
        let mut account = core.store.load(&core.hal, record).await?.ok_or(Reason::UnknownAccount)?;
        let key = account.key_named(&request.key.key).ok_or(Reason::UnknownKey)?.clone();
        let intent = draft.clone().review(&account, &key)?;

        // The same request again gets the same signature, and changes nothing.
        let same = sameness(core, request, &intent, approval);
        let now_secs = core.now().elapsed_secs;
        let known = core.retries.borrow_mut().look_up(tenant, &id, same, now_secs);
        match known {
            Known::Same(signatures) => return repeat(core, &account, &key, &intent, &signatures).await,
            Known::Other => return Err(Reason::RequestIdReused.into()),
            Known::New => {}
        }
        let given = Given::of(core, &account, &key, &intent, approval)?;

        // 4. Ask policy.
        let Permission { rule, booking } = permit(core, &account, &key, &intent, given.by())?;

        // 5, 6, 7. Count first, check, spend.
        let granted = |used| What::Granted {
            key: key.id,
            used,
            kind: given.by().kind,
            signs: Signs::of(&intent, &rule),
        };
        let spent = match given.spend(core, &mut account, &key, &intent, booking, granted).await {
            Ok(spent) => spent,
            Err(Stop::Conflict) => continue,
            Err(Stop::Refused(refusal)) => return Err(refusal.into()),
        };
        given.was_spent(core);

        // 8. Sign and verify. 9. Release.
        let signatures = release(core, &account, &key, Grant::bind(spent, intent.digests()), &intent).await?;
        let signed = intent.signed(&signatures)?;
        given.was_signed(core, &account, &key, &intent);
        let now_secs = core.now().elapsed_secs;
        core.retries.borrow_mut().keep(tenant, &id, same, signatures, now_secs);
        return Ok(signed);
    }
    Err(Reason::InternalError.into())
}

/// PKCS#11 context login: spends a code into a grant for one operation. What a device made approves the staged intent; and
/// where the user approved one before, there is nothing to be done.
pub(crate) async fn context_login(
    core: &Core,
    tenant: &TenantName,
    request: &ContextLogin,
) -> Result<(), Refused> {
    let operation = &request.operation;
    if let Approval::Intent(approval) = &request.approval {
        return staging::approve_in(core, tenant, operation, &approval.intent, &approval.evidence).await;
    }
    let record = core.store.account_of_key(tenant, &operation.key);
    let _turn = core.turns.take(record).await;
    for _ in 0..RESTARTS_MAX {
        // 3. Load the account.
        let (mut account, key) = load_by_key(core, record, operation).await?;
        if core.grants.borrow_mut().holds(tenant, operation, core.now().elapsed_secs) {
            // It has its grant: the answer was lost on the way. No second code is spent, no second grant is made.
            return Ok(());
        }
        let Approval::Code(typed) = &request.approval else {
            let waits = prior_of(&account, &key, core.now()).next().is_some();
            return if waits { Ok(()) } else { Err(Reason::MalformedCode.into()) };
        };
        if key.floor > ApprovalKind::Code {
            return Err(Reason::BelowFloor.into());
        }

        // 5, 6, 7. Count first, check, spend.
        let spending = Spending {
            booking: None,
            apply: |_: &mut Account| {},
            record: |used| What::LoggedIn { key: key.id, used },
        };
        match approval::spend(core, &mut account, key.id, &Offer::plain(typed), spending).await {
            Ok(spent) => {
                core.grants.borrow_mut().put(tenant, operation, spent, core.now().elapsed_secs);
                return Ok(());
            }
            Err(Stop::Conflict) => {}
            Err(Stop::Refused(refusal)) => return Err(refusal.into()),
        }
    }
    Err(Reason::InternalError.into())
}

/// PKCS#11 signature: binds the operation's grant to its data and uses it up, whatever the outcome. An operation without one
/// signs what the user approved before, on a device, exactly that and once.
pub(crate) async fn context_sign(
    core: &Core,
    tenant: &TenantName,
    request: &ContextSign,
) -> Result<Signed, Refused> {
    let operation = &request.operation;
    let grant = core.grants.borrow_mut().take(tenant, operation, core.now().elapsed_secs);
    if grant.is_some() && request.payload.mechanism() != operation.mechanism {
        return Err(Reason::MechanismNotAllowed.into());
    }
    let record = core.store.account_of_key(tenant, &operation.key);
    let _turn = core.turns.take(record).await;

    // 3. Load the account. 2. Read the intent.
    let loaded = load_by_key(core, record, operation).await;
    if grant.is_none() {
        let now = core.now();
        let waits = |(account, key): &(Account, Key)| prior_of(account, key, now).next().is_some();
        // Nothing approves it, so nothing is said of the key or the data.
        let nothing = match &loaded {
            Ok(loaded) => !waits(loaded) || request.payload.mechanism() != operation.mechanism,
            Err(reason) => matches!(reason, Reason::UnknownKey | Reason::MechanismNotAllowed),
        };
        if nothing {
            return Err(Reason::ApprovalMissing.into());
        }
    }
    let (mut account, key) = loaded?;
    let intent = Draft::read(&request.payload)?.review(&account, &key)?;
    let given = match grant {
        Some(spent) => Given::Bound(spent),
        None => Given::prior(core, &account, &key, &intent)?,
    };

    // 4. Ask policy.
    let Permission { rule, booking } = permit(core, &account, &key, &intent, given.by())?;

    // 7. Bind the grant to the intent and book the amounts, durably.
    let bound = |_| What::Bound { key: key.id, signs: Signs::of(&intent, &rule) };
    let was = given.intent();
    let spent = given.into_spent(core, &mut account, &key, &intent, booking, bound).await.map_err(
        |stop| match stop {
            Stop::Refused(refusal) => refusal,
            Stop::Conflict => Reason::InternalError.into(),
        },
    )?;

    // 8. Sign and verify. 9. Release.
    let signatures = release(core, &account, &key, Grant::bind(spent, intent.digests()), &intent).await?;
    let signed = intent.signed(&signatures)?;
    was_signed(core, was, &account, &key, &intent);
    Ok(signed)
}

/// The account and key of a PKCS#11 operation. A foreign id and an unknown one are the same miss.
async fn load_by_key(core: &Core, record: RecordId, operation: &Operation) -> Result<(Account, Key), Reason> {
    let account = core.store.load(&core.hal, record).await?.ok_or(Reason::UnknownKey)?;
    let key = account.key_with_id(&operation.key).ok_or(Reason::UnknownKey)?.clone();
    if key.mechanisms.contains(&operation.mechanism) {
        Ok((account, key))
    } else {
        Err(Reason::MechanismNotAllowed)
    }
}

/// What policy permitted: by which rule, and what its limits are to count.
pub(crate) struct Permission {
    pub(crate) rule: String,
    booking: Booking,
}

/// Asks policy. An account that is frozen, or was never confirmed, has nothing to ask.
pub(crate) fn permit(
    core: &Core,
    account: &Account,
    key: &Key,
    intent: &Intent,
    by: ApprovedBy,
) -> Result<Permission, Refused> {
    let (policy, tenant_ledger) = core.tenants.policy(&account.tenant).ok_or(Reason::InternalError)?;
    let mechanisms: Vec<&str> = key.mechanisms.iter().map(|mechanism| mechanism.word()).collect();
    let now = core.now();
    if !now.sure {
        // A login was made when it was; rules ask for the hour now.
        return Err(Reason::ClockUnsure.into());
    }
    if account.frozen.is_some() {
        return Err(Reason::AccountFrozen.into());
    }
    let question = Question {
        tenant: account.tenant.as_str(),
        account: account.name.as_str(),
        key: KeyUse { mechanisms: &mechanisms, network: key.network },
        intent: intent.told(),
        approval: by.kind,
        backed_up: by.backed_up,
        unix_secs: now.unix_secs,
        elapsed_secs: now.elapsed_secs,
        account_ledger: &account.ledger,
        tenant_ledger: &tenant_ledger,
        payees: &account.payees,
    };
    match policy.decide(&question) {
        Decision::Permit { rule, booking } => Ok(Permission { rule, booking }),
        Decision::Deny { rule, why, retry_after_secs } => {
            let reason =
                if matches!(why, Why::Limit(_)) { Reason::LimitExceeded } else { Reason::PolicyRefused };
            let because = match (why, rule) {
                (Why::Limit(limit), _) => format!("limit {limit}"),
                (_, Some(rule)) => format!("rule {rule}"),
                (why, None) => why.word().to_owned(),
            };
            Err(Refused { refusal: Refusal { reason, retry_after_secs }, because: Some(because) })
        }
    }
}

/// A refusal, and where policy refused, which rule or limit did: for the audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) refusal: Refusal,
    pub(crate) because: Option<String>,
}

impl<R: Into<Refusal>> From<R> for Refused {
    fn from(refusal: R) -> Self {
        Self { refusal: refusal.into(), because: None }
    }
}

/// Uses up a grant: makes every signature of the intent, and verifies each before any leaves.
async fn release(
    core: &Core,
    account: &Account,
    key: &Key,
    grant: Grant,
    intent: &Intent,
) -> Result<Box<[Verified]>, Reason> {
    let permits = grant.into_permits();
    if permits.len() != intent.to_sign().len() {
        return Err(Reason::InternalError);
    }
    let made = match &key.source {
        Source::Wrapped(wrapped) => {
            // All are asked for at once; the keystore works on several.
            let calls: Vec<_> =
                permits.into_iter().map(|permit| core.hal.sign(permit, &key.id, wrapped)).collect();
            let mut made = Vec::with_capacity(calls.len());
            for call in calls {
                made.push(call.await?);
            }
            made
        }
        Source::Derived { path, .. } => wallet::sign(core, account, key, path, permits, intent).await?,
    };
    let verified = made.iter().zip(intent.to_sign()).map(|(signature, one)| {
        ecdsa::verify(&one.public_key, &one.digest, signature).map_err(|_| Reason::KeystoreFailed)
    });
    verified.collect()
}

/// The same signature again, for the same request; recorded, and nothing else changes.
async fn repeat(
    core: &Core,
    account: &Account,
    key: &Key,
    intent: &Intent,
    signatures: &[Verified],
) -> Result<Signed, Refused> {
    let repeated = What::Repeated { key: key.id, signs: Signs::again(intent) };
    let event = core.event(Some(&account.tenant), Some(&account.name), repeated);
    let change = Change { account: None, tenant: None, event };
    core.store.commit(change).await.map_err(Reason::from)?;
    Ok(intent.signed(signatures)?)
}

fn sameness(core: &Core, request: &Sign, intent: &Intent, approval: &Approval) -> Sameness {
    let given = Zeroizing::new(countersign_wire::encode(approval));
    let digests: Vec<u8> = intent.digests().flatten().collect();
    Sameness::of(core.retry_salt.expose(), &request.key, &digests, &given)
}
