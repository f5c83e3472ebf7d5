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

use crate::approval::{self, Stop};
use crate::audit::What;
use crate::ecdsa::{self, Verified};
use crate::grant::Grant;
use crate::intent::Intent;
use crate::machine::Core;
use crate::record::{Account, Key};
use crate::retry::{Known, Sameness};
use crate::store::{Change, RecordId};
use countersign_policy::{Decision, KeyUse, Question};
use countersign_wire::client::{
    Approval, ContextLogin, ContextSign, Mechanism, Operation, RequestId, Sign, Signed,
};
use countersign_wire::names::TenantName;
use countersign_wire::reason::{Reason, Refusal};
use serde_bytes::ByteArray;

/// How often a request starts again when its account changed under it. It has the account's turn, so once is
/// already more than expected.
const RESTARTS_MAX: usize = 3;

/// Approve and sign in one request.
pub(crate) async fn sign(
    core: &Core,
    tenant: &TenantName,
    id: RequestId,
    request: &Sign,
) -> Result<Signed, Refusal> {
    // 2. Read the intent.
    let intent = Intent::read(&request.payload)?;
    let approval = request.approval.as_ref().ok_or(Reason::ApprovalMissing)?;
    let record = core.store.account_id(tenant, &request.key.account);
    let _turn = core.turns.take(record).await;
    for _ in 0..RESTARTS_MAX {
        // 3. Load the account.
        let mut account = core.store.load(&core.hal, record).await?.ok_or(Reason::UnknownAccount)?;
        let key = account.key_named(&request.key.key).ok_or(Reason::UnknownKey)?.clone();

        // The same request again gets the same signature, and changes nothing.
        let same = sameness(core, request, &intent, approval);
        let now_secs = core.now().elapsed_secs;
        let known = core.retries.borrow_mut().look_up(tenant, &id, same, now_secs);
        match known {
            Known::Same(verified) => return repeat(core, &account, &key, &intent, verified).await,
            Known::Other => return Err(Reason::RequestIdReused.into()),
            Known::New => {}
        }

        // 4. Ask policy.
        permit(core, &account, &key, &intent)?;

        // 5, 6, 7. Count first, check, spend.
        let digest = intent.digest();
        let granted = |step| What::Granted { key: key.id, step, digest: digest.into() };
        let spent = match approval::spend(core, &mut account, key.id, approval, granted).await {
            Ok(spent) => spent,
            Err(Stop::Conflict) => continue,
            Err(Stop::Refused(refusal)) => return Err(refusal),
        };

        // 8. Sign and verify. 9. Release.
        let signed = release(core, &key, Grant::bind(spent, digest)).await?;
        let now_secs = core.now().elapsed_secs;
        core.retries.borrow_mut().keep(tenant, &id, same, signed, now_secs);
        return Ok(reply(&intent, signed));
    }
    Err(Reason::InternalError.into())
}

/// PKCS#11 context login: spends a code into a grant for one operation.
pub(crate) async fn context_login(
    core: &Core,
    tenant: &TenantName,
    request: &ContextLogin,
) -> Result<(), Refusal> {
    let operation = &request.operation;
    let record = core.store.account_of_key(tenant, &operation.key);
    let _turn = core.turns.take(record).await;
    for _ in 0..RESTARTS_MAX {
        // 3. Load the account.
        let (mut account, key) = load_by_key(core, record, operation).await?;
        if core.grants.borrow_mut().holds(tenant, operation, core.now().elapsed_secs) {
            // It has its grant: the answer was lost on the way. No second code is spent, no second grant is made.
            return Ok(());
        }

        // 5, 6, 7. Count first, check, spend.
        let logged_in = |step| What::LoggedIn { key: key.id, step };
        match approval::spend(core, &mut account, key.id, &request.approval, logged_in).await {
            Ok(spent) => {
                core.grants.borrow_mut().put(tenant, operation, spent, core.now().elapsed_secs);
                return Ok(());
            }
            Err(Stop::Conflict) => {}
            Err(Stop::Refused(refusal)) => return Err(refusal),
        }
    }
    Err(Reason::InternalError.into())
}

/// PKCS#11 signature: binds the operation's grant to its data and uses it up, whatever the outcome.
pub(crate) async fn context_sign(
    core: &Core,
    tenant: &TenantName,
    request: &ContextSign,
) -> Result<Signed, Refusal> {
    let operation = &request.operation;
    let spent = core
        .grants
        .borrow_mut()
        .take(tenant, operation, core.now().elapsed_secs)
        .ok_or(Reason::ApprovalMissing)?;
    if request.payload.mechanism() != operation.mechanism {
        return Err(Reason::MechanismNotAllowed.into());
    }

    // 2. Read the intent.
    let intent = Intent::read(&request.payload)?;
    let record = core.store.account_of_key(tenant, &operation.key);
    let _turn = core.turns.take(record).await;

    // 3. Load the account. 4. Ask policy.
    let (account, key) = load_by_key(core, record, operation).await?;
    permit(core, &account, &key, &intent)?;

    // 7. Bind the grant to the intent, durably.
    let bound = What::Bound { key: key.id, digest: intent.digest().into() };
    let event = core.event(Some(tenant), Some(&account.name), bound);
    let change = Change { account: None, tenant: None, event };
    core.store.commit(change).await.map_err(Reason::from)?;

    // 8. Sign and verify. 9. Release.
    let verified = release(core, &key, Grant::bind(spent, intent.digest())).await?;
    Ok(reply(&intent, verified))
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

/// Whether the key was made for it, and policy permits it.
fn permit(core: &Core, account: &Account, key: &Key, intent: &Intent) -> Result<(), Reason> {
    if !key.mechanisms.contains(&intent.mechanism()) {
        return Err(Reason::MechanismNotAllowed);
    }
    let made_for = |mechanism| key.mechanisms.contains(&mechanism);
    let question = Question {
        tenant: account.tenant.as_str(),
        account: account.name.as_str(),
        key_use: KeyUse { digest: made_for(Mechanism::Digest), ethereum: made_for(Mechanism::Ethereum) },
        subject: intent.subject(),
    };
    match core.policy.decide(&question) {
        Decision::Permit(_) => Ok(()),
        Decision::Deny(_) => Err(Reason::PolicyRefused),
    }
}

/// Uses up a grant: signs in the keystore, and verifies before anything leaves.
async fn release(core: &Core, key: &Key, grant: Grant) -> Result<Verified, Reason> {
    let digest = grant.digest();
    let signature = core.hal.sign(grant, key).await?;
    ecdsa::verify(&key.public_key, &digest, &signature).map_err(|_| Reason::KeystoreFailed)
}

/// The same signature again, for the same request; recorded, and nothing else changes.
async fn repeat(
    core: &Core,
    account: &Account,
    key: &Key,
    intent: &Intent,
    verified: Verified,
) -> Result<Signed, Refusal> {
    let repeated = What::Repeated { key: key.id, digest: intent.digest().into() };
    let event = core.event(Some(&account.tenant), Some(&account.name), repeated);
    let change = Change { account: None, tenant: None, event };
    core.store.commit(change).await.map_err(Reason::from)?;
    Ok(reply(intent, verified))
}

/// What is released: the signature, and for a transaction the whole of it.
fn reply(intent: &Intent, verified: Verified) -> Signed {
    let Verified { signature, y_parity } = verified;
    let (raw_transaction, transaction_hash) = intent.signed_transaction(&signature, y_parity).unzip();
    Signed {
        signature: signature.into(),
        y_parity,
        digest: intent.digest().into(),
        raw_transaction: raw_transaction.map(Into::into),
        transaction_hash: transaction_hash.map(ByteArray::new),
    }
}

fn sameness(core: &Core, request: &Sign, intent: &Intent, approval: &Approval) -> Sameness {
    let Approval::Code(typed) = approval;
    Sameness::of(core.retry_salt.expose(), &request.key, &intent.digest(), typed.expose())
}
