//! The same request again gets the same signature: a reply that was lost on the way costs the user no second code.
//!
//! Within ten minutes the same request id, account, key, digest and approval returns the stored signature and
//! changes no counter, limit or lock. It is kept in memory only: after a restart the code is simply used.

use countersign_wire::client::{RequestId, Signed};
use countersign_wire::names::{KeyLabel, TenantName};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, VecDeque};

/// How long a signature can be asked for again.
const KEEP_SECS: u64 = 10 * 60;

/// How many are kept at the most. Each cost a user's code, so that filling this takes as many users.
const KEEP_MAX: usize = 65_536;

/// What makes a request the same one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sameness {
    pub(crate) label: KeyLabel,
    pub(crate) digest: [u8; 32],
    pub(crate) approval_hash: [u8; 32],
}

/// Hashes an approval under this boot's random salt, so that a stolen hash is of no use for searching codes.
pub(crate) fn approval_hash(salt: &[u8], approval: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"countersign approval v1");
    hash.update(salt);
    hash.update(approval.as_bytes());
    hash.finalize().into()
}

/// What is known of a request id.
#[derive(Debug, PartialEq)]
pub(crate) enum Known {
    /// Nothing: go on.
    New,
    /// It is the same request.
    Same(Box<Signed>),
    /// It was another request.
    Other,
}

/// The signatures of the last ten minutes.
#[derive(Default)]
pub(crate) struct Retries {
    kept: BTreeMap<(TenantName, RequestId), (Sameness, Signed)>,
    order: VecDeque<(u64, TenantName, RequestId)>,
}

impl Retries {
    pub(crate) fn look_up(
        &mut self,
        tenant: &TenantName,
        id: &RequestId,
        same: &Sameness,
        now_secs: u64,
    ) -> Known {
        self.expire(now_secs);
        match self.kept.get(&(tenant.clone(), *id)) {
            None => Known::New,
            Some((kept, signed)) if kept == same => Known::Same(Box::new(signed.clone())),
            Some(_) => Known::Other,
        }
    }

    pub(crate) fn keep(
        &mut self,
        tenant: &TenantName,
        id: RequestId,
        same: Sameness,
        signed: Signed,
        now_secs: u64,
    ) {
        self.expire(now_secs);
        if self.kept.insert((tenant.clone(), id), (same, signed)).is_none() {
            self.order.push_back((now_secs.saturating_add(KEEP_SECS), tenant.clone(), id));
        }
    }

    fn expire(&mut self, now_secs: u64) {
        while let Some((until_secs, ..)) = self.order.front() {
            if *until_secs > now_secs && self.order.len() <= KEEP_MAX {
                break;
            }
            if let Some((_, tenant, id)) = self.order.pop_front() {
                self.kept.remove(&(tenant, id));
            }
        }
    }
}
