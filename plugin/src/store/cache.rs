//! Accounts that are kept opened.

use super::RecordId;
use crate::record::Account;
use std::collections::{BTreeMap, VecDeque};

/// What accounts that are kept opened may take in memory, about, in bytes, so that a request seldom reads the disk.
const CACHED_MAX_BYTES: usize = 4 * 1024 * 1024;

#[derive(Default)]
pub(super) struct Cache {
    pub(super) accounts: BTreeMap<RecordId, Account>,
    order: VecDeque<RecordId>,
    /// What they take together.
    bytes: usize,
}

impl Cache {
    pub(super) fn put(&mut self, id: RecordId, account: Account) {
        self.bytes += account.memory_bytes();
        match self.accounts.insert(id, account) {
            Some(old) => self.bytes -= old.memory_bytes(),
            None => self.order.push_back(id),
        }
        while self.bytes > CACHED_MAX_BYTES
            && let Some(oldest) = self.order.pop_front()
        {
            self.bytes -= self.accounts.remove(&oldest).map_or(0, |account| account.memory_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i14_opened_accounts_are_kept_as_far_as_what_they_hold_fits() {
        let mut account: Account = countersign_wire::decode_packed(&crate::properties::records()[0]).unwrap();
        for byte in 0..60 {
            let address = countersign_intent::ethereum::address(&[byte; 20]);
            account.payees.add(address.as_str(), 0).unwrap();
        }
        let one = account.memory_bytes();
        let mut cache = Cache::default();
        for number in 0..10_000_u64 {
            let id = RecordId { tenant: [1; 8], account: number.to_be_bytes() };
            cache.put(id, account.clone());
            // The same one again counts once.
            cache.put(id, account.clone());
            assert_eq!(cache.bytes, one * cache.accounts.len());
            assert!(cache.bytes <= CACHED_MAX_BYTES);
        }
        assert_eq!(cache.accounts.len(), CACHED_MAX_BYTES / one);
        assert_eq!(cache.order.len(), cache.accounts.len());
        assert!(cache.bytes > 3 << 20, "what it says it takes is what it takes");
    }
}
