//! What a permitted intent costs its limits.

use crate::document::Per;
use crate::ledger::{Ledger, Room};
use crate::limits::Limit;
use core::fmt;
use countersign_intent::Amount;
use std::sync::Arc;

/// What has to be booked with the change that spends the approval. It names every limit that the intent counts against,
/// whichever rule permitted it.
#[derive(Clone, PartialEq, Eq)]
pub struct Booking {
    limits: Arc<[Limit]>,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    /// Which of the limits.
    limit: usize,
    amount: Amount,
    /// It fitted when the rules were asked, so they may have relied on it. What did not fit then was a soft limit that no
    /// rule needed.
    must_fit: bool,
}

/// Meanwhile something else was booked, and it fits no more. Ask the policy again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FitsNoMore;

impl Booking {
    pub(crate) fn new(limits: Arc<[Limit]>, entries: impl Iterator<Item = (usize, Amount, bool)>) -> Self {
        let entries = entries.map(|(limit, amount, must_fit)| Entry { limit, amount, must_fit }).collect();
        Self { limits, entries }
    }

    /// Whether the tenant's ledger changes.
    pub fn touches_tenant(&self) -> bool {
        self.of(Per::Tenant).next().is_some()
    }

    /// Books it all, or changes nothing. The ledgers are those of the change that is made, which may be newer than those
    /// that the policy was asked with; so is the time.
    pub fn apply(
        self,
        account_ledger: &mut Ledger,
        tenant_ledger: &mut Ledger,
        elapsed_secs: u64,
    ) -> Result<(), FitsNoMore> {
        let fits = |per: Per, ledger: &Ledger| {
            self.of(per).all(|(limit, entry)| {
                !entry.must_fit || ledger.within(limit, entry.amount, elapsed_secs) == Room::Fits
            })
        };
        if !fits(Per::Account, account_ledger) || !fits(Per::Tenant, tenant_ledger) {
            return Err(FitsNoMore);
        }
        for (per, ledger) in [(Per::Account, account_ledger), (Per::Tenant, tenant_ledger)] {
            for (limit, entry) in self.of(per) {
                ledger.forget_all_but(&self.limits);
                ledger.book(limit, entry.amount, elapsed_secs);
            }
        }
        Ok(())
    }

    fn of(&self, per: Per) -> impl Iterator<Item = (&Limit, &Entry)> {
        let named = self.entries.iter().filter_map(|entry| Some((self.limits.get(entry.limit)?, entry)));
        named.filter(move |(limit, _)| limit.per == per)
    }
}

impl fmt::Debug for Booking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.entries.iter().filter_map(|entry| Some((self.limits.get(entry.limit)?, entry)));
        f.debug_map().entries(named.map(|(limit, entry)| (&limit.name, entry.amount))).finish()
    }
}
