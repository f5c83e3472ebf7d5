//! What the plugin says of itself in an attestation. The firmware adds what it knows and signs both (`docs/attestation.md`): so
//! whoever has the HSM's root knows that the image that was measured said this, and nobody else.

use crate::VERSION;
use crate::machine::Core;
use countersign_wire::hal::{NONCE_MAX_BYTES, NONCE_MIN_BYTES, PluginClaims, PolicyClaim};
use countersign_wire::names::TenantName;
use countersign_wire::reason::{Reason, Refusal};
use serde_bytes::{ByteArray, ByteBuf};

/// Attests to whoever has this tenant's API key, for his nonce.
pub(crate) async fn attest(core: &Core, tenant: &TenantName, nonce: &ByteBuf) -> Result<ByteBuf, Refusal> {
    if !(NONCE_MIN_BYTES..=NONCE_MAX_BYTES).contains(&nonce.len()) {
        return Err(Reason::MalformedRequest.into());
    }
    // How many entries it has is nobody's business: it would tell each tenant how much the others do.
    let (head, _) = core.store.head();
    let (statement_key, sealing_key) = core.identity.keys();
    let claims = PluginClaims {
        version: VERSION.to_owned(),
        boot_count: core.store.boot_count(),
        tenant: tenant.clone(),
        policy: core
            .tenants
            .policy_mark(tenant)
            .map(|mark| PolicyClaim { version: mark.version, sha256: mark.sha256 }),
        officers_sha256: None,
        statement_key: ByteArray::new(statement_key),
        sealing_key: ByteArray::new(sealing_key),
        log_key: ByteArray::new(core.log_key.public_key()),
        store_head: ByteArray::new(head),
        clock_sure: core.now().sure,
    };
    Ok(core.hal.attest(nonce.clone(), claims).await.map_err(Reason::from)?)
}
