//! Keys: made once with one set of mechanisms, found by name, by id, or page by page. Never replaced or removed.

use crate::approval::require_open;
use crate::audit::What;
use crate::enrolment::check_public_key;
use crate::machine::Core;
use crate::record::{Account, KEYS_MAX, Key, Source, Wallet};
use crate::store::{Change, RecordId};
use crate::wallet;
use countersign_wire::client::{
    ApprovalKind, CreateKey, Cursor, KeyInfo, KeyPage, KeyPlan, KeyQuery, Mechanism,
};
use countersign_wire::names::{KeyName, TenantName};
use countersign_wire::reason::{Reason, Refusal};
use serde_bytes::ByteArray;

/// Accounts in one page of a listing.
const PAGE_ACCOUNTS: usize = 4;

/// One or more mechanisms, ascending, without repeats: one set has one form. A Bitcoin key is made for nothing else, and it
/// alone has a network. A path is one that keys of that kind lie at.
pub(crate) fn check_plan(plan: &KeyPlan) -> Result<(), Reason> {
    let ascending = plan.mechanisms.windows(2).all(|pair| pair[0] < pair[1]);
    let is_bitcoin = plan.mechanisms.contains(&Mechanism::Bitcoin);
    let alone = plan.mechanisms.len() == 1;
    if plan.mechanisms.is_empty()
        || !ascending
        || is_bitcoin != plan.network.is_some()
        || is_bitcoin && !alone
    {
        return Err(Reason::MalformedRequest);
    }
    match &plan.path {
        Some(path) if path.purpose(plan.network).is_none() => Err(Reason::UnsupportedPath),
        _ => Ok(()),
    }
}

/// A floor that the account's factors can reach, and not below the first key's: the API key alone must not have a user pay to
/// a key that takes less than what he was enrolled for (I8).
fn check_floor(account: &Account, floor: ApprovalKind) -> Result<(), Reason> {
    let least = account.keys.first().map(|first| first.floor).unwrap_or_default();
    if (least..=account.strongest()).contains(&floor) { Ok(()) } else { Err(Reason::FloorNotPossible) }
}

/// Makes a key of the account as planned: a key pair in the keystore, or a key of the account's wallet, which is made with
/// its first one.
pub(crate) async fn make(
    core: &Core,
    record: RecordId,
    wallet: &mut Option<Wallet>,
    name: &KeyName,
    plan: &KeyPlan,
) -> Result<Key, Reason> {
    let random = core.hal.random(8).await?;
    let random: [u8; 8] = random.expose().try_into().map_err(|_| Reason::InternalError)?;
    let (public_key, source) = match &plan.path {
        None => {
            let pair = core.hal.generate_key_pair().await?;
            (pair.public_key, Source::Wrapped(pair.wrapped.into()))
        }
        Some(path) => wallet::derive(core, wallet, path, plan.network).await?,
    };
    check_public_key(&public_key)?;
    Ok(Key {
        name: name.clone(),
        id: ByteArray::new(core.store.key_id(record, random)),
        public_key: ByteArray::new(public_key),
        source,
        mechanisms: plan.mechanisms.clone(),
        network: plan.network,
        floor: plan.floor,
    })
}

/// A further key of a confirmed account.
pub(crate) async fn create(
    core: &Core,
    tenant: &TenantName,
    request: &CreateKey,
) -> Result<KeyInfo, Refusal> {
    check_plan(&request.plan)?;
    let record = core.store.account_id(tenant, &request.label.account);
    let _turn = core.turns.take(record).await;
    let mut account = core.store.load(&core.hal, record).await?.ok_or(Reason::UnknownAccount)?;
    require_open(&account, core.now().elapsed_secs)?;
    if account.key_named(&request.label.key).is_some() {
        return Err(Reason::KeyExists.into());
    }
    if account.keys.len() >= KEYS_MAX {
        return Err(Reason::TooManyKeys.into());
    }
    // A path has one key for ever: no second one may sign in other ways with the same private key.
    let taken = |key: &Key| {
        key.path().zip(request.plan.path.as_ref()).is_some_and(|(one, other)| one.overlaps(other))
    };
    if account.keys.iter().any(taken) {
        return Err(Reason::PathTaken.into());
    }
    check_floor(&account, request.plan.floor)?;
    let key = make(core, record, &mut account.wallet, &request.label.key, &request.plan).await?;
    let info = account.key_info(&key);
    account.keys.push(key);
    account.version += 1;
    let event = core.event(Some(tenant), Some(&account.name), What::KeyCreated { key: info.id });
    core.store.commit(Change { account: Some(account), tenant: None, event }).await.map_err(Reason::from)?;
    Ok(info)
}

/// Keys by name, by id, or all of the tenant page by page. What is not there and what is not yours are the same miss.
pub(crate) async fn find(core: &Core, tenant: &TenantName, query: &KeyQuery) -> Result<KeyPage, Refusal> {
    match query {
        KeyQuery::All(after) => page(core, tenant, *after).await,
        KeyQuery::Label(label) => {
            let record = core.store.account_id(tenant, &label.account);
            let named = |key: &&Key| key.name == label.key;
            Ok(KeyPage { keys: keys_of(core, record, named).await?, next: None })
        }
        KeyQuery::Id(id) => {
            let record = core.store.account_of_key(tenant, id);
            let with_id = |key: &&Key| key.id == *id;
            Ok(KeyPage { keys: keys_of(core, record, with_id).await?, next: None })
        }
    }
}

async fn page(core: &Core, tenant: &TenantName, after: Option<Cursor>) -> Result<KeyPage, Refusal> {
    let records = core.store.accounts_after(tenant, after.map(ByteArray::into_array), PAGE_ACCOUNTS);
    let next = (records.len() == PAGE_ACCOUNTS)
        .then(|| records.last().map(|record| ByteArray::new(record.account)))
        .flatten();
    let mut keys = Vec::new();
    for record in records {
        keys.extend(keys_of(core, record, |_| true).await?);
    }
    Ok(KeyPage { keys, next })
}

async fn keys_of(
    core: &Core,
    record: RecordId,
    wanted: impl Fn(&&Key) -> bool,
) -> Result<Vec<KeyInfo>, Reason> {
    let Some(account) = core.store.load(&core.hal, record).await? else { return Ok(Vec::new()) };
    if account.is_void(core.now().elapsed_secs) {
        return Ok(Vec::new());
    }
    Ok(account.keys.iter().filter(wanted).map(|key| account.key_info(key)).collect())
}
