//! Receipts: what was signed, by whose approval, as a statement that anybody can verify down from the root.
//!
//! The account remembers its last signatures by the hash of what was signed. Whoever gives again what was signed gets the
//! receipt: so no text is kept for it.

use crate::intent::{Draft, Intent};
use crate::machine::Core;
use crate::record::{Account, Entry, Key};
use countersign_approvals::statement::{self, KeyEntry, Statement};
use countersign_intent::bip32::ExtendedPublicKey;
use countersign_intent::bitcoin::{Account as WalletAccount, Purpose, SingleKey};
use countersign_wire::client::{ApprovalKind, FindReceipt, Network};
use countersign_wire::device::SignedStatement;
use countersign_wire::names::TenantName;
use countersign_wire::reason::{Reason, Refusal};

/// The receipt of one of an account's last signatures.
pub(crate) async fn find(
    core: &Core,
    tenant: &TenantName,
    request: &FindReceipt,
) -> Result<SignedStatement, Refusal> {
    let draft = Draft::read(&request.payload)?;
    let record = core.store.account_id(tenant, &request.key.account);
    let account = core.store.load(&core.hal, record).await?.ok_or(Reason::UnknownAccount)?;
    let key = account.key_named(&request.key.key).ok_or(Reason::UnknownKey)?;
    let intent = draft.review(&account, key)?;
    let hash = intent.signing().hash;
    let is_it = |entry: &&Entry| entry.key == key.name && entry.intent_hash.into_array() == hash;
    let entry = account.history.iter().rev().find(is_it).ok_or(Reason::UnknownReceipt)?;
    Ok(core.identity.say_encoded(statement(core, &account, key, &intent, entry)))
}

/// The encoded statement of a receipt.
pub(crate) fn statement(
    core: &Core,
    account: &Account,
    key: &Key,
    intent: &Intent,
    entry: &Entry,
) -> Vec<u8> {
    let receipt = statement::Receipt {
        hsm: core.boot.hsm_id.into_array(),
        measurement: core.boot.measurement.into_array(),
        tenant: account.tenant.as_str().to_owned(),
        account: account.name.as_str().to_owned(),
        key: format!("{}/{}", account.name, key.name),
        key_id: key.id.into_array(),
        mechanism: intent.mechanism().word().to_owned(),
        digests: intent.digests().collect(),
        summary: intent.summary().to_owned(),
        approval: kind(entry.kind),
        counter: entry.counter,
        time_unix_secs: entry.unix_secs,
    };
    receipt.to_bytes()
}

/// A kind of approval, as statements have it.
pub(crate) fn kind(kind: ApprovalKind) -> statement::ApprovalKind {
    match kind {
        ApprovalKind::Code => statement::ApprovalKind::Code,
        ApprovalKind::SealedCode => statement::ApprovalKind::SealedCode,
        ApprovalKind::Passkey => statement::ApprovalKind::Passkey,
    }
}

/// A key, as statements have it.
pub(crate) fn key_entry(account: &Account, key: &Key) -> Result<KeyEntry, Reason> {
    let info = account.key_info(key);
    let xpub = info.watch.map(|watch| watch.xpub).unwrap_or_default();
    let address = match key.network {
        None => info.ethereum_address,
        Some(network) => bitcoin_address(account, key, network).ok_or(Reason::InternalError)?,
    };
    Ok(KeyEntry {
        key: info.label.to_string(),
        key_id: key.id.into_array(),
        public_key: key.public_key.into_array(),
        mechanisms: key.mechanisms.iter().map(|mechanism| mechanism.word().to_owned()).collect(),
        floor: kind(key.floor),
        network: key.network.map(|network| network.word().to_owned()).unwrap_or_default(),
        path: key.path().map(ToString::to_string).unwrap_or_default(),
        address,
        xpub,
    })
}

/// The address of index 0 of a wallet account; of a key of its own, its P2WPKH address.
fn bitcoin_address(account: &Account, key: &Key, network: Network) -> Option<String> {
    if let Some(path) = key.path() {
        let watch = crate::wallet::watch(account.wallet.as_ref(), key)?;
        let (extended, _) = ExtendedPublicKey::of_text(&watch.xpub).ok()?;
        let wallet = WalletAccount::at(path, extended, watch.root_fingerprint.into_array(), network).ok()?;
        return Some(wallet.address(0, 0)?.to_string());
    }
    let mut compressed = [0; 33];
    compressed[0] = 2 + (key.public_key[64] & 1);
    compressed[1..].copy_from_slice(&key.public_key[1..33]);
    Some(SingleKey::new(compressed, network).ok()?.address(Purpose::Bip84).to_string())
}
