//! Limits on guessing: locks, and failure budgets that only time refills.
//!
//! All times here are *elapsed* seconds ([`crate::clock::Moment::elapsed_secs`]): no jump of the clock ends a
//! delay early. Failures are counted before the code is compared and taken back on success, so a crash between
//! the two leaves them counted.

use countersign_wire::reason::{Reason, Refusal};
use serde::{Deserialize, Serialize};

/// Consecutive failures that lock an account.
pub const LOCK_AFTER_FAILURES: u16 = 5;
/// The first lock; each further one is twice as long.
pub const FIRST_LOCK_SECS: u64 = 5 * 60;
/// No lock is longer.
pub const LONGEST_LOCK_SECS: u64 = 24 * 3600;
/// After this long without a lock the next one is half as long again as it would be.
pub const LOCK_LEVEL_DECAY_SECS: u64 = 24 * 3600;
/// Failures an account's budget holds.
pub const ACCOUNT_BUDGET_FAILURES: u32 = 10;
/// One failure of an account is forgiven every so often.
pub const ACCOUNT_FORGIVE_MS: u64 = 12 * 3600 * 1000;
/// A tenant's budget refills completely in this time.
pub const TENANT_BUDGET_MS: u64 = 3600 * 1000;
/// Two codes together may be tried this often.
pub const PAIR_INTERVAL_SECS: u64 = 60;

/// A leaky bucket: each failure fills it by one portion, time empties it, and success never does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    debt_ms: u64,
    at_elapsed_secs: u64,
}

/// How large a bucket is and how fast it empties: it holds `capacity_ms` and each failure takes `portion_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketSize {
    /// What one failure adds.
    pub portion_ms: u64,
    /// What the bucket holds.
    pub capacity_ms: u64,
}

impl BucketSize {
    /// An account's: 10 failures, one forgiven every 12 hours.
    pub const ACCOUNT: Self = Self {
        portion_ms: ACCOUNT_FORGIVE_MS,
        capacity_ms: ACCOUNT_BUDGET_FAILURES as u64 * ACCOUNT_FORGIVE_MS,
    };

    /// A tenant's: so many failures an hour, at least one.
    pub fn per_hour(failures: u32) -> Self {
        let portion_ms = TENANT_BUDGET_MS / u64::from(failures.max(1));
        Self { portion_ms: portion_ms.max(1), capacity_ms: TENANT_BUDGET_MS }
    }
}

impl Bucket {
    fn debt_at(&self, elapsed_secs: u64) -> u64 {
        self.debt_ms.saturating_sub(elapsed_secs.saturating_sub(self.at_elapsed_secs).saturating_mul(1000))
    }

    /// How many more failures fit now.
    pub fn failures_left(&self, size: BucketSize, elapsed_secs: u64) -> u64 {
        size.capacity_ms.saturating_sub(self.debt_at(elapsed_secs)) / size.portion_ms
    }

    /// Seconds until one more failure fits; 0 when it does.
    pub fn wait_secs(&self, size: BucketSize, elapsed_secs: u64) -> u64 {
        (self.debt_at(elapsed_secs) + size.portion_ms).saturating_sub(size.capacity_ms).div_ceil(1000)
    }

    /// Adds a failure. The bucket never holds more than it can, so that failures which are let in over a full one do
    /// not run up a debt.
    pub fn add(&mut self, size: BucketSize, elapsed_secs: u64) {
        self.empty_until(elapsed_secs);
        self.fill(size.portion_ms, size.capacity_ms);
    }

    fn empty_until(&mut self, elapsed_secs: u64) {
        *self = Self { debt_ms: self.debt_at(elapsed_secs), at_elapsed_secs: elapsed_secs };
    }

    fn fill(&mut self, ms: u64, capacity_ms: u64) {
        self.debt_ms = self.debt_ms.saturating_add(ms).min(capacity_ms.max(self.debt_ms));
    }
}

/// A tenant's bucket, and beside it the checks under way, which fill it unless they succeed.
///
/// The two are kept apart: what time empties, and what a full bucket does not take in, depends on what the bucket holds.
/// Were a check to fill it at once and to be taken back later, another's failure could go with it.
#[derive(Clone, Copy, Debug)]
pub struct TenantBudget {
    failed: Bucket,
    under_way_ms: u64,
}

/// A check under way: what it adds to its tenant's bucket unless it succeeds.
#[derive(Debug)]
pub struct UnderWay {
    portion_ms: u64,
}

impl TenantBudget {
    /// No check is under way.
    pub fn new(failed: Bucket) -> Self {
        Self { failed, under_way_ms: 0 }
    }

    /// Seconds until one more check fits, should all that are under way fail; 0 when it does.
    pub fn wait_secs(&self, size: BucketSize, elapsed_secs: u64) -> u64 {
        let mut bucket = self.failed;
        bucket.empty_until(elapsed_secs);
        bucket.debt_ms = bucket.debt_ms.saturating_add(self.under_way_ms);
        bucket.wait_secs(size, elapsed_secs)
    }

    /// Whether a check is under way.
    pub fn has_under_way(&self) -> bool {
        self.under_way_ms > 0
    }

    /// Counts a check before it is made.
    pub fn begin(&mut self, size: BucketSize, elapsed_secs: u64) -> UnderWay {
        self.failed.empty_until(elapsed_secs);
        self.under_way_ms = self.under_way_ms.saturating_add(size.portion_ms);
        UnderWay { portion_ms: size.portion_ms }
    }

    /// The check succeeded.
    #[allow(clippy::needless_pass_by_value, reason = "a check ends once")]
    pub fn succeed(&mut self, check: UnderWay) {
        self.under_way_ms = self.under_way_ms.saturating_sub(check.portion_ms);
    }

    /// The check failed: as of when the last one began, which is not before this one did.
    #[allow(clippy::needless_pass_by_value, reason = "a check ends once")]
    pub fn fail(&mut self, check: UnderWay) {
        self.under_way_ms = self.under_way_ms.saturating_sub(check.portion_ms);
        self.failed.fill(check.portion_ms, TENANT_BUDGET_MS);
    }

    /// The bucket as it is kept: every check under way has failed.
    pub fn if_all_fail(&self) -> Bucket {
        let mut bucket = self.failed;
        bucket.fill(self.under_way_ms, TENANT_BUDGET_MS);
        bucket
    }
}

/// One account's guard against guessing. Part of its sealed record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guard {
    consecutive_failures: u16,
    lock_level: u8,
    locked_until_secs: u64,
    budget: Bucket,
    /// Two consecutive codes were shown since the last failure: budgets do not hold the user up.
    vouched: bool,
    next_pair_secs: u64,
}

impl Guard {
    /// May a code be checked now? The tenant's budget is asked separately, unless [`Self::is_vouched`].
    pub fn admit(&self, elapsed_secs: u64) -> Result<(), Refusal> {
        let locked_for = self.locked_for_secs(elapsed_secs);
        if locked_for > 0 {
            return Err(Refusal { reason: Reason::Locked, retry_after_secs: Some(locked_for) });
        }
        let wait = self.budget.wait_secs(BucketSize::ACCOUNT, elapsed_secs);
        if wait > 0 && !self.vouched {
            return Err(Refusal { reason: Reason::AccountOverBudget, retry_after_secs: Some(wait) });
        }
        Ok(())
    }

    /// Counts a check as failed, before it is made. Locks when it is one too many.
    pub fn count_failure(&mut self, elapsed_secs: u64) {
        self.vouched = false;
        self.budget.add(BucketSize::ACCOUNT, elapsed_secs);
        self.consecutive_failures = self.consecutive_failures.saturating_add(1);
        if self.consecutive_failures >= LOCK_AFTER_FAILURES {
            let quiet_secs = elapsed_secs.saturating_sub(self.locked_until_secs);
            let forgiven = u8::try_from(quiet_secs / LOCK_LEVEL_DECAY_SECS).unwrap_or(u8::MAX);
            let level = self.lock_level.saturating_sub(forgiven);
            let lock_secs = FIRST_LOCK_SECS.saturating_mul(1u64 << level.min(16)).min(LONGEST_LOCK_SECS);
            self.locked_until_secs = elapsed_secs.saturating_add(lock_secs);
            self.lock_level = level.saturating_add(1).min(16);
            self.consecutive_failures = 0;
        }
    }

    /// The check succeeded: `before` is the guard as it was before [`Self::count_failure`]. Clears only the
    /// consecutive count.
    pub fn succeed(&mut self, before: Guard) {
        *self = Guard { consecutive_failures: 0, ..before };
    }

    /// May two codes be tried now?
    pub fn admit_pair(&self, elapsed_secs: u64) -> Result<(), Refusal> {
        let wait = self.next_pair_secs.saturating_sub(elapsed_secs);
        if wait > 0 {
            return Err(Refusal { reason: Reason::TryLater, retry_after_secs: Some(wait) });
        }
        Ok(())
    }

    /// Counts a try of two codes, before it is made.
    pub fn count_pair(&mut self, elapsed_secs: u64) {
        self.next_pair_secs = elapsed_secs.saturating_add(PAIR_INTERVAL_SECS);
    }

    /// Two consecutive codes were right: the account is open again, whatever the budgets say, until its next
    /// failure. The budget and the length of the next lock stay as they are.
    pub fn vouch(&mut self, elapsed_secs: u64) {
        self.locked_until_secs = self.locked_until_secs.min(elapsed_secs);
        self.consecutive_failures = 0;
        self.vouched = true;
    }

    /// Whether two consecutive codes were shown since the last failure.
    pub fn is_vouched(&self) -> bool {
        self.vouched
    }

    /// Seconds until the lock ends; 0 when there is none.
    pub fn locked_for_secs(&self, elapsed_secs: u64) -> u64 {
        self.locked_until_secs.saturating_sub(elapsed_secs)
    }

    /// Failures since the last success or lock.
    pub fn consecutive_failures(&self) -> u16 {
        self.consecutive_failures
    }

    /// How many more failures the budget allows now.
    pub fn failures_left(&self, elapsed_secs: u64) -> u16 {
        u16::try_from(self.budget.failures_left(BucketSize::ACCOUNT, elapsed_secs)).unwrap_or(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reason(result: Result<(), Refusal>) -> Option<Reason> {
        result.err().map(|refusal| refusal.reason)
    }

    #[test]
    fn a_days_lock_is_the_longest_and_a_day_without_one_halves_the_next() {
        let lock = |guard: &mut Guard, now: u64| {
            (0..5).for_each(|_| guard.count_failure(now));
            guard.locked_for_secs(now)
        };
        let (mut guard, mut now) = (Guard::default(), 1_000);
        let locks = [(); 11].map(|()| {
            let secs = lock(&mut guard, now);
            now += secs;
            secs
        });
        assert_eq!(locks[7..], [38_400, 76_800, 86_400, 86_400]);
        for (quiet_secs, secs) in [(86_399, 2_400), (86_400, 1_200), (2 * 86_400, 600), (9 * 86_400, 300)] {
            let (mut guard, mut now) = (Guard::default(), 1_000);
            for _ in 0..3 {
                now += lock(&mut guard, now);
            }
            assert_eq!(lock(&mut guard, now + quiet_secs), secs, "after {quiet_secs} s");
        }
    }

    #[test]
    fn five_failures_lock_for_five_minutes_and_each_further_lock_doubles() {
        let (mut guard, mut now) = (Guard::default(), 1_000);
        // Budgets aside, to see the locks alone.
        for lock_secs in [300, 600, 1200, 2400] {
            for _ in 0..5 {
                assert_eq!(guard.locked_for_secs(now), 0);
                guard.count_failure(now);
            }
            assert_eq!(guard.locked_for_secs(now), lock_secs);
            assert_eq!(reason(guard.admit(now + lock_secs - 1)), Some(Reason::Locked));
            now += lock_secs;
        }
        for _ in 0..100 {
            guard.count_failure(now);
        }
        assert_eq!(guard.locked_for_secs(now), LONGEST_LOCK_SECS);
    }

    #[test]
    fn a_success_clears_only_the_consecutive_count() {
        let mut guard = Guard::default();
        for _ in 0..4 {
            guard.count_failure(0);
        }
        let before = guard;
        guard.count_failure(0);
        assert_eq!(reason(guard.admit(0)), Some(Reason::Locked), "counted first: locked while in doubt");
        guard.succeed(before);
        assert_eq!((guard.consecutive_failures(), guard.failures_left(0)), (0, 6));
        assert_eq!(reason(guard.admit(0)), None);
    }

    #[test]
    fn many_small_guesses_between_successes_use_up_the_budget() {
        let mut guard = Guard::default();
        for _ in 0..10 {
            guard.count_failure(0);
            let before = guard;
            guard.count_failure(0);
            guard.succeed(before);
        }
        assert_eq!(reason(guard.admit(0)), Some(Reason::AccountOverBudget));
        assert_eq!(guard.admit(0).unwrap_err().retry_after_secs, Some(12 * 3600));
        assert_eq!(reason(guard.admit(12 * 3600)), None);
        guard.count_failure(12 * 3600);
        assert_eq!(reason(guard.admit(12 * 3600)), Some(Reason::AccountOverBudget));
    }

    #[test]
    fn two_codes_reopen_until_the_next_failure_and_refill_nothing() {
        let mut guard = Guard::default();
        for _ in 0..10 {
            guard.count_failure(0);
        }
        guard.vouch(0);
        assert_eq!(reason(guard.admit(0)), None);
        assert_eq!(guard.failures_left(0), 0);
        let before = guard;
        guard.count_failure(0);
        guard.succeed(before);
        assert_eq!(reason(guard.admit(0)), None, "a success keeps the account open");
        guard.count_failure(0);
        assert_eq!(reason(guard.admit(0)), Some(Reason::AccountOverBudget));
    }

    #[test]
    fn failures_let_in_over_a_full_bucket_run_up_no_debt() {
        let size = BucketSize::per_hour(2);
        let mut bucket = Bucket::default();
        for _ in 0..100 {
            bucket.add(size, 0);
        }
        assert_eq!(bucket.wait_secs(size, 0), 1800);
        let mut tenant = TenantBudget::new(bucket);
        for _ in 0..100 {
            let check = tenant.begin(size, 0);
            tenant.fail(check);
        }
        assert_eq!(tenant.wait_secs(size, 0), 1800);
    }

    #[test]
    fn a_slow_success_takes_back_nothing_of_what_time_emptied() {
        let (size, mut tenant) = (BucketSize::per_hour(3), TenantBudget::new(Bucket::default()));
        let slow = tenant.begin(size, 0);
        let wrong = tenant.begin(size, 1200);
        tenant.fail(wrong);
        tenant.succeed(slow);
        assert_eq!(tenant.if_all_fail().failures_left(size, 1200), 2);
    }

    #[test]
    fn a_success_takes_back_nothing_of_a_failure_that_was_let_in_over_a_full_bucket() {
        let (size, mut tenant) = (BucketSize::per_hour(3), TenantBudget::new(Bucket::default()));
        let under_way = [(); 3].map(|()| tenant.begin(size, 0));
        let vouched = tenant.begin(size, 0);
        assert_eq!(
            tenant.if_all_fail().wait_secs(size, 0),
            1200,
            "all may fail: full, and no more than that"
        );
        tenant.fail(vouched);
        for check in under_way {
            tenant.succeed(check);
        }
        assert_eq!(tenant.if_all_fail().failures_left(size, 0), 2);
        assert!(!tenant.has_under_way());
    }

    #[test]
    fn pairs_are_rate_limited() {
        let mut guard = Guard::default();
        guard.count_pair(100);
        assert_eq!(guard.admit_pair(159).unwrap_err().retry_after_secs, Some(1));
        assert_eq!(reason(guard.admit_pair(160)), None);
    }

    proptest! {
        #[test]
        fn no_account_ever_gets_more_failures_than_its_budget(
            gaps in proptest::collection::vec(0u64..20_000, 1..200),
        ) {
            let (mut guard, mut now, mut failed) = (Guard::default(), 0u64, 0u64);
            for gap in gaps {
                now += gap;
                if guard.admit(now).is_ok() {
                    guard.count_failure(now);
                    failed += 1;
                }
                prop_assert!(failed <= 10 + now / (12 * 3600));
            }
        }

        #[test]
        fn a_tenant_never_gets_more_failures_an_hour_than_its_budget(
            per_hour in 1u32..5000,
            gaps in proptest::collection::vec(0u64..60, 1..500),
        ) {
            let size = BucketSize::per_hour(per_hour);
            let (mut bucket, mut now, mut failed) = (Bucket::default(), 0u64, 0u64);
            for gap in gaps {
                now += gap;
                // A full bucket, what leaked out since, and the part of a portion lost to rounding.
                let most = (size.capacity_ms + now * 1000) / size.portion_ms;
                while bucket.wait_secs(size, now) == 0 {
                    bucket.add(size, now);
                    failed += 1;
                    prop_assert!(failed <= most);
                }
            }
        }

        #[test]
        fn what_succeeds_meanwhile_and_a_restart_give_a_tenant_no_more_failures_than_its_budget(
            per_hour in 1u32..10,
            steps in proptest::collection::vec((0u8..5, 0usize..8, 0u64..1500), 1..300),
        ) {
            let size = BucketSize::per_hour(per_hour);
            let mut tenant = TenantBudget::new(Bucket::default());
            let (mut now, mut under_way) = (0u64, Vec::new());
            // The same bucket with failures alone, each as of when its check began at the earliest.
            let mut failures: Vec<u64> = Vec::new();
            for (what, which, secs) in steps {
                match what {
                    0 => now += secs,
                    // A restart, one time in a few: whatever is under way has failed.
                    1 if which == 0 => {
                        tenant = TenantBudget::new(tenant.if_all_fail());
                        failures.extend(under_way.drain(..).map(|(began, _)| began));
                    }
                    1 | 2 if tenant.wait_secs(size, now) == 0 => under_way.push((now, tenant.begin(size, now))),
                    3 if !under_way.is_empty() => {
                        let (_, check) = under_way.remove(which % under_way.len());
                        tenant.succeed(check);
                    }
                    4 if !under_way.is_empty() => {
                        let (began, check) = under_way.remove(which % under_way.len());
                        tenant.fail(check);
                        failures.push(began);
                    }
                    _ => {}
                }
                failures.sort_unstable();
                let mut exact = Bucket::default();
                for began in &failures {
                    prop_assert_eq!(exact.wait_secs(size, *began), 0, "over budget at {}", began);
                    exact.add(size, *began);
                }
                let kept = tenant.if_all_fail();
                prop_assert!(kept.failures_left(size, now) <= exact.failures_left(size, now));
            }
        }
    }
}
