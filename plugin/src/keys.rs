//! Keys: made once with one set of mechanisms, found by name, by id, or page by page. Never replaced or removed.

use crate::approval::require_confirmed;
use crate::audit::What;
use crate::enrolment::check_public_key;
use crate::machine::Core;
use crate::record::{KEYS_MAX, Key};
use crate::store::{Change, RecordId};
use countersign_wire::client::{CreateKey, Cursor, KeyInfo, KeyPage, KeyQuery, Mechanism};
use countersign_wire::names::{KeyName, TenantName};
use countersign_wire::reason::{Reason, Refusal};
use serde_bytes::ByteArray;

/// Accounts in one page of a listing.
const PAGE_ACCOUNTS: usize = 4;

/// One or more mechanisms, ascending, without repeats: one set has one form.
pub(crate) fn check_mechanisms(mechanisms: &[Mechanism]) -> Result<(), Reason> {
    let ascending = mechanisms.windows(2).all(|pair| pair[0] < pair[1]);
    if mechanisms.is_empty() || !ascending { Err(Reason::MalformedRequest) } else { Ok(()) }
}

/// Makes a key pair in the keystore.
pub(crate) async fn make(
    core: &Core,
    account: RecordId,
    name: &KeyName,
    mechanisms: &[Mechanism],
) -> Result<Key, Reason> {
    let random = core.hal.random(8).await?;
    let random: [u8; 8] = random.expose().try_into().map_err(|_| Reason::InternalError)?;
    let pair = core.hal.generate_key_pair().await?;
    check_public_key(&pair.public_key)?;
    Ok(Key {
        name: name.clone(),
        id: ByteArray::new(core.store.key_id(account, random)),
        public_key: ByteArray::new(pair.public_key),
        wrapped: pair.wrapped.into(),
        mechanisms: mechanisms.to_vec(),
    })
}

/// A further key of a confirmed account.
pub(crate) async fn create(
    core: &Core,
    tenant: &TenantName,
    request: &CreateKey,
) -> Result<KeyInfo, Refusal> {
    check_mechanisms(&request.mechanisms)?;
    let record = core.store.account_id(tenant, &request.label.account);
    let _turn = core.turns.take(record).await;
    let mut account = core.store.load(&core.hal, record).await?.ok_or(Reason::UnknownAccount)?;
    require_confirmed(&account, core.now().elapsed_secs)?;
    if account.key_named(&request.label.key).is_some() {
        return Err(Reason::KeyExists.into());
    }
    if account.keys.len() >= KEYS_MAX {
        return Err(Reason::TooManyKeys.into());
    }
    let key = make(core, record, &request.label.key, &request.mechanisms).await?;
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
