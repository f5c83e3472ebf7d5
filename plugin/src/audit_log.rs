//! A tenant's audit log, as its API key may ask for it: how large it is and what its root is, signed here; and its entries.

use crate::hal::Hal;
use crate::machine::Core;
use crate::store::{RecordId, Tree};
use countersign_tlog::note::KeyType;
use countersign_tlog::{Checkpoint, Note, SigningKey};
use countersign_wire::hal::Secret;
use countersign_wire::log::{LOG_PAGE_MAX_ENTRIES, LogCheckpoint, LogPage, LogQuery};
use countersign_wire::names::TenantName;
use countersign_wire::reason::Reason;
use data_encoding::{BASE64, HEXLOWER};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

/// Pages that are being read at once, over all tenants: each takes up to a megabyte of memory.
const LANES: u8 = 4;

/// The key that signs checkpoints: one for the HSM, of the sealing key, so the same after each start. What it signs names
/// the tenant's log.
pub(crate) struct LogKey(Zeroizing<[u8; 32]>);

impl LogKey {
    pub(crate) fn derive(sealing_key: &Secret) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(None, sealing_key.expose())
            .expand(b"countersign audit log checkpoints v1", seed.as_mut_slice())
            .expect("32 bytes are within HKDF's limit");
        Self(seed)
    }

    /// Under the name of a log.
    fn named(&self, origin: &str) -> Result<SigningKey, Reason> {
        SigningKey::new(origin, KeyType::Log, &self.0).ok_or(Reason::InternalError)
    }

    /// What checks its signatures: Ed25519.
    pub(crate) fn public_key(&self) -> [u8; 32] {
        let key = self.named("countersign").expect("a key may have this name");
        key.verifier().public_key()
    }
}

/// The origin of a tenant's log, and the name of its key.
fn origin(core: &Core, tenant: &TenantName) -> String {
    format!("countersign/{}/{tenant}", HEXLOWER.encode(core.boot.hsm_id.as_slice()))
}

/// The tenant's log as far as it is durable, signed. [`Reason::HsmNotReady`]: its first entry is not durable yet. A log of one size has one checkpoint: asking for it again, also after a
/// start, gives the same bytes.
pub(crate) fn checkpoint(core: &Core, tenant: &TenantName) -> Result<LogCheckpoint, Reason> {
    let Tree { frontier, head, .. } = core.store.tree(tenant).ok_or(Reason::HsmNotReady)?;
    let origin = origin(core, tenant);
    let key = core.log_key.named(&origin)?;
    let checkpoint = Checkpoint {
        origin,
        size: frontier.size(),
        root: frontier.root(),
        extension: vec![format!("countersign-store-head {}", BASE64.encode(&head))],
    };
    let text = checkpoint.to_text();
    let signature = key.sign(&text);
    let note = Note::new(text, vec![signature]).to_text();
    Ok(LogCheckpoint { note, vkey: key.verifier().to_text() })
}

/// Entries of the tenant's log. One page of a tenant is read at a time, and few of all.
pub(crate) async fn read(core: &Core, tenant: &TenantName, query: &LogQuery) -> Result<LogPage, Reason> {
    if !(1..=LOG_PAGE_MAX_ENTRIES).contains(&query.entries_max) {
        return Err(Reason::MalformedRequest);
    }
    let id = core.store.tenant_id(tenant);
    // No account has a fingerprint under these.
    let _turn = core.turns.take(RecordId { tenant: id, account: [0; 8] }).await;
    let lane = id[0] % LANES;
    let _lane = core.turns.take(RecordId { tenant: [0; 8], account: [lane; 8] }).await;
    let hal: &Hal = &core.hal;
    core.store.log_page(hal, tenant, query.from, query.entries_max.into()).await
}
