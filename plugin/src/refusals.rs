//! Which refusals of devices are recorded one by one. Whoever can send a frame can have one refused, and whoever has a device of an
//! account, or a message that one signed, can have it refused again and again: neither may make the trail grow as fast as he likes.
//! Those that are not recorded are counted, and the number is told with the next one that is.

use crate::limits::{Bucket, BucketSize};
use countersign_wire::names::AccountName;
use std::collections::BTreeMap;

/// Whoever did not show that he has a device of the account: 60 at once, and then one in each second.
const STRANGERS: BucketSize = BucketSize { portion_ms: 1_000, capacity_ms: 60_000 };

/// An account's devices: 20 at once, and then one in ten minutes.
const DEVICES: BucketSize = BucketSize { portion_ms: 600_000, capacity_ms: 20 * 600_000 };

/// Accounts whose devices' refusals are remembered; those of further ones are counted.
const ACCOUNTS_MAX: usize = 4096;

/// Of one tenant, since the start.
#[derive(Default)]
pub(crate) struct DeviceRefusals {
    strangers: Bucket,
    devices: BTreeMap<AccountName, Bucket>,
    not_recorded: u64,
}

impl DeviceRefusals {
    /// Whether this one is recorded by itself, and how many before it were not: whoever takes that number records it, or gives
    /// it back. `account`: a device or a passkey of it really said what is refused.
    pub(crate) fn admit(&mut self, account: Option<&AccountName>, elapsed_secs: u64) -> Option<u64> {
        let admitted = match account {
            Some(account) => self.admit_device(account, elapsed_secs),
            None => take(&mut self.strangers, STRANGERS, elapsed_secs),
        };
        if admitted {
            return Some(core::mem::take(&mut self.not_recorded));
        }
        self.count(1);
        None
    }

    /// These were not recorded.
    pub(crate) fn count(&mut self, more: u64) {
        self.not_recorded = self.not_recorded.saturating_add(more);
    }

    fn admit_device(&mut self, account: &AccountName, elapsed_secs: u64) -> bool {
        if self.devices.len() >= ACCOUNTS_MAX && !self.devices.contains_key(account) {
            let whole = DEVICES.capacity_ms / DEVICES.portion_ms;
            self.devices.retain(|_, bucket| bucket.failures_left(DEVICES, elapsed_secs) < whole);
            if self.devices.len() >= ACCOUNTS_MAX {
                return false;
            }
        }
        take(self.devices.entry(account.clone()).or_default(), DEVICES, elapsed_secs)
    }
}

/// A portion of the bucket, if it has one left.
fn take(bucket: &mut Bucket, size: BucketSize, elapsed_secs: u64) -> bool {
    let fits = bucket.wait_secs(size, elapsed_secs) == 0;
    if fits {
        bucket.add(size, elapsed_secs);
    }
    fits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i14_nobody_has_his_refusals_recorded_as_fast_as_he_likes() {
        let (mut refusals, alice) = (DeviceRefusals::default(), "alice".parse().unwrap());
        let mut admitted = |account: Option<&AccountName>, now| {
            (0..1000).filter(|_| refusals.admit(account, now).is_some()).count()
        };
        assert_eq!((admitted(None, 7), admitted(Some(&alice), 7)), (60, 20));
        assert_eq!((admitted(None, 8), admitted(Some(&alice), 8)), (1, 0));
        assert_eq!(admitted(Some(&alice), 607), 1, "one in ten minutes");
        assert_eq!(admitted(Some(&"bob".parse().unwrap()), 607), 20, "others are not held up");
    }

    #[test]
    fn those_that_are_not_recorded_are_told_with_the_next() {
        let (mut refusals, alice) = (DeviceRefusals::default(), "alice".parse().unwrap());
        let told: Vec<_> = (0..25).map(|_| refusals.admit(Some(&alice), 0)).collect();
        assert_eq!(told.iter().filter(|told| told.is_none()).count(), 5);
        assert_eq!(refusals.admit(None, 0), Some(5));
        refusals.count(5);
        assert_eq!(refusals.admit(None, 0), Some(5), "given back, they are told again");
        assert_eq!(refusals.admit(None, 0), Some(0));
    }

    #[test]
    fn i14_what_is_remembered_is_bounded() {
        let mut refusals = DeviceRefusals::default();
        let name = |number: usize| format!("user-{number}").parse::<AccountName>().unwrap();
        let all = (0..=ACCOUNTS_MAX).filter(|number| refusals.admit(Some(&name(*number)), 0).is_some());
        assert_eq!(all.count(), ACCOUNTS_MAX);
        assert!(refusals.admit(Some(&name(ACCOUNTS_MAX)), 600).is_some(), "who is forgiven makes room");
        assert_eq!(refusals.devices.len(), 1);
    }
}
