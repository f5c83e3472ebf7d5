//! Grants: one unused right to sign one intent once.
//!
//! A [`Grant`] is made out of an approval that was just spent, which [`crate::approval`] alone gives. It holds one [`Permit`] for
//! each signature that its intent needs, and the calls that sign consume them. None is `Clone` or stored. Through PKCS#11 the code comes before the data: there an approval
//! is first spent into an [`OpenGrant`], which lives in memory until the data comes and a durable change binds it.

use crate::approval::Spent;
use countersign_wire::client::Operation;
use countersign_wire::names::TenantName;
use serde_bytes::ByteArray;
use std::collections::BTreeMap;

/// The right to sign one intent with one key, once. Holding one proves that an approval was spent for it, durably.
#[derive(Debug)]
pub(crate) struct Grant {
    permits: Vec<Permit>,
}

/// The right to sign one digest with one key, once: a part of a grant.
#[derive(Debug)]
pub(crate) struct Permit {
    key: ByteArray<16>,
    digest: [u8; 32],
}

impl Grant {
    /// Binds a spent approval to all that its intent signs. The caller has committed that.
    pub(crate) fn bind(spent: Spent, digests: impl IntoIterator<Item = [u8; 32]>) -> Self {
        let key = spent.into_key();
        Self { permits: digests.into_iter().map(|digest| Permit { key, digest }).collect() }
    }

    /// Takes the grant apart: one permit for each signature, in the order of the intent.
    pub(crate) fn into_permits(self) -> Vec<Permit> {
        self.permits
    }
}

impl Permit {
    /// Uses the permit up, for the key it was made for.
    pub(crate) fn consume(self, key: &ByteArray<16>) -> Option<[u8; 32]> {
        (self.key == *key).then_some(self.digest)
    }
}

/// How long a context login waits for its data.
const OPEN_GRANT_SECS: u64 = 120;

/// An approval that was spent for a PKCS#11 operation whose data has not come yet.
struct OpenGrant {
    spent: Spent,
    until_elapsed_secs: u64,
}

/// The open grants of this boot, by tenant and operation. Lost with the boot, on purpose.
#[derive(Default)]
pub(crate) struct OpenGrants(BTreeMap<(TenantName, Operation), OpenGrant>);

impl OpenGrants {
    /// Whether the operation has one already.
    pub(crate) fn holds(&mut self, tenant: &TenantName, operation: &Operation, elapsed_secs: u64) -> bool {
        self.expire(elapsed_secs);
        self.0.contains_key(&(tenant.clone(), operation.clone()))
    }

    /// Keeps a spent approval for the operation.
    pub(crate) fn put(
        &mut self,
        tenant: &TenantName,
        operation: &Operation,
        spent: Spent,
        elapsed_secs: u64,
    ) {
        self.expire(elapsed_secs);
        let until_elapsed_secs = elapsed_secs.saturating_add(OPEN_GRANT_SECS);
        self.0.insert((tenant.clone(), operation.clone()), OpenGrant { spent, until_elapsed_secs });
    }

    /// Takes it out: used up, whatever follows.
    pub(crate) fn take(
        &mut self,
        tenant: &TenantName,
        operation: &Operation,
        elapsed_secs: u64,
    ) -> Option<Spent> {
        self.expire(elapsed_secs);
        self.0.remove(&(tenant.clone(), operation.clone())).map(|open| open.spent)
    }

    /// Each one cost a code, and a code has a time step of its own: a handful for each account at the most.
    fn expire(&mut self, elapsed_secs: u64) {
        self.0.retain(|_, open| open.until_elapsed_secs > elapsed_secs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i1_a_grant_is_for_the_key_it_was_spent_for_and_signs_each_digest_once() {
        let (one, other) = (ByteArray::new([1; 16]), ByteArray::new([2; 16]));
        let permits = || Grant::bind(Spent::for_test(one), [[3; 32], [4; 32]]).into_permits().into_iter();
        assert_eq!(
            permits().map(|permit| permit.consume(&one)).collect::<Vec<_>>(),
            [Some([3; 32]), Some([4; 32])]
        );
        assert!(permits().all(|permit| permit.consume(&other).is_none()));
    }
}
