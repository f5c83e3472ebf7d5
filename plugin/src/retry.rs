//! The same request again gets the same signature: a reply that was lost on the way costs the user no second code.
//!
//! Within ten minutes the same request id, account, key, digest and approval returns the stored signature and
//! changes no counter, limit or lock. It is kept in memory only: after a restart the code is simply used. Only hashes
//! and the signature are kept, so that the size is bounded whatever was signed.

use crate::ecdsa::Verified;
use countersign_wire::client::RequestId;
use countersign_wire::names::{KeyLabel, TenantName};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, VecDeque};

/// How long a signature can be asked for again.
const KEEP_SECS: u64 = 10 * 60;

/// How many signatures are kept at the most: about 8 MiB. Where more than this are made in ten minutes, the oldest go first.
const KEEP_MAX: usize = 32_768;

/// What makes a request the same one: a hash of key, digest and approval under this boot's random salt, so that it is
/// of no use for searching codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sameness([u8; 32]);

impl Sameness {
    pub(crate) fn of(salt: &[u8], key: &KeyLabel, digests: &[u8], approval: &[u8]) -> Self {
        let parts = [salt, key.account.as_str().as_bytes(), key.key.as_str().as_bytes(), digests, approval];
        Self(hash(b"countersign sameness v1", &parts))
    }
}

/// What is known of a request id.
#[derive(Debug, PartialEq)]
pub(crate) enum Known {
    /// Nothing: go on.
    New,
    /// It is the same request.
    Same(Box<[Verified]>),
    /// It was another request.
    Other,
}

/// The signatures of the last ten minutes, by tenant and request id.
#[derive(Default)]
pub(crate) struct Retries {
    kept: BTreeMap<[u8; 32], (Sameness, Box<[Verified]>)>,
    order: VecDeque<(u64, [u8; 32])>,
    signatures: usize,
}

impl Retries {
    pub(crate) fn look_up(
        &mut self,
        tenant: &TenantName,
        id: &RequestId,
        same: Sameness,
        now_secs: u64,
    ) -> Known {
        self.expire(now_secs);
        match self.kept.get(&name(tenant, id)) {
            None => Known::New,
            Some((kept, verified)) if *kept == same => Known::Same(verified.clone()),
            Some(_) => Known::Other,
        }
    }

    pub(crate) fn keep(
        &mut self,
        tenant: &TenantName,
        id: &RequestId,
        same: Sameness,
        verified: Box<[Verified]>,
        now_secs: u64,
    ) {
        let name = name(tenant, id);
        self.signatures += verified.len();
        match self.kept.insert(name, (same, verified)) {
            None => self.order.push_back((now_secs.saturating_add(KEEP_SECS), name)),
            Some((_, before)) => self.signatures -= before.len(),
        }
        self.expire(now_secs);
    }

    fn expire(&mut self, now_secs: u64) {
        while let Some((until_secs, name)) = self.order.front() {
            if *until_secs > now_secs && self.signatures <= KEEP_MAX {
                break;
            }
            if let Some((_, forgotten)) = self.kept.remove(name) {
                self.signatures -= forgotten.len();
            }
            self.order.pop_front();
        }
    }
}

fn name(tenant: &TenantName, id: &RequestId) -> [u8; 32] {
    hash(b"countersign request v1", &[tenant.as_str().as_bytes(), id.as_slice()])
}

/// Every part with its length in front, so that no two lists of parts hash alike.
fn hash(domain: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(domain);
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_bytes::ByteArray;

    fn verified(count: usize) -> Box<[Verified]> {
        (0..count).map(|_| Verified { signature: [1; 64], y_parity: 0 }).collect()
    }

    fn id(number: usize) -> RequestId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(number as u64).to_be_bytes());
        ByteArray::new(id)
    }

    #[test]
    fn i14_as_many_signatures_are_kept_as_may_be_and_the_oldest_go_first() {
        let (mut retries, tenant) = (Retries::default(), "a".parse().unwrap());
        let (same, other) = (Sameness([1; 32]), Sameness([2; 32]));
        let each = 256;
        for number in 0..KEEP_MAX / each {
            // Kept twice it counts once.
            for _ in 0..2 {
                retries.keep(&tenant, &id(number), same, verified(each), number as u64);
                assert_eq!(retries.signatures, (number + 1) * each);
            }
        }
        let known = |retries: &mut Retries, number, now| retries.look_up(&tenant, &id(number), same, now);
        assert_eq!(known(&mut retries, 0, 0), Known::Same(verified(each)), "exactly as many as may be");
        assert_eq!(retries.look_up(&tenant, &id(0), other, 0), Known::Other);
        retries.keep(&tenant, &id(1_000), same, verified(1), 200);
        assert_eq!(known(&mut retries, 0, 200), Known::New);
        assert_eq!(known(&mut retries, 1, 200), Known::Same(verified(each)));
        assert_eq!(retries.signatures, KEEP_MAX - each + 1);
        // The second was kept in second 1: until second 601, and not in it.
        assert_eq!(known(&mut retries, 1, 600), Known::Same(verified(each)));
        assert_eq!(known(&mut retries, 1, 601), Known::New);
        assert_eq!(retries.signatures, KEEP_MAX - 2 * each + 1);
        assert_eq!(known(&mut retries, 1_000, 799), Known::Same(verified(1)));
        assert_eq!(known(&mut retries, 1_000, 800), Known::New);
        assert_eq!((retries.signatures, retries.kept.len(), retries.order.len()), (0, 0, 0));
    }
}
