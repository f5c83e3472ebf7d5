//! What was booked against limits with a window: part of the account's and of the tenant's sealed record.
//!
//! # The promise
//! In no interval of `window_secs` seconds, both ends included, is more booked than the limit's most, as long as what does
//! not fit is not booked. Time is *elapsed* time, which no jump of the clock ends early.
//!
//! # How
//! Amounts lie in slices of a sixteenth of the window. A slice counts until its *last* second has left the window, so an
//! amount counts for at least the window and for at most a seventeenth sixteenth of it: the ledger is small and errs to
//! the safe side. When an amount is booked at second `t`, everything booked since `t - window_secs` still counts; the last
//! booking inside any interval is such a moment, which is why the promise holds. Should time run back, what is booked then
//! goes into the latest slice, as if it had stood still.

use crate::document::{LIMITS_MAX, Per};
use crate::limits::{Limit, LimitId};
use countersign_intent::Amount;
use serde::{Deserialize, Serialize};

/// Slices of a window.
const SLICES: u64 = 16;

/// The most slices that are kept for one limit: those of a window, one that is being filled and one that is leaving.
const SLICES_MAX: usize = 18;

/// What was booked, by limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub struct Ledger {
    /// Ascending by limit, without repeats.
    windows: Vec<Window>,
}

/// What was booked against one limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Window {
    limit: LimitId,
    /// Ascending by their last second, none of them empty.
    slices: Vec<Slice>,
}

/// What was booked within a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Slice {
    /// The last second of the span.
    last_elapsed_secs: u64,
    #[serde(with = "amount")]
    amount: Amount,
}

/// Whether an amount fits a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It does.
    Fits,
    /// Not now, but after so many seconds, if nothing else is booked.
    FitsInSecs(u64),
    /// It is more than the limit's most.
    Never,
}

/// As it is written.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Form(Vec<Window>);

impl From<Ledger> for Form {
    fn from(ledger: Ledger) -> Self {
        Self(ledger.windows)
    }
}

impl TryFrom<Form> for Ledger {
    type Error = &'static str;
    fn try_from(Form(windows): Form) -> Result<Self, Self::Error> {
        let ascending = windows.windows(2).all(|pair| pair[0].limit < pair[1].limit);
        if windows.len() <= LIMITS_MAX && ascending && windows.iter().all(Window::is_sound) {
            Ok(Self { windows })
        } else {
            Err("not a ledger")
        }
    }
}

impl Ledger {
    /// What it takes in memory, about, in bytes.
    pub fn memory_bytes(&self) -> usize {
        let window = |window: &Window| size_of::<Window>() + window.slices.len() * size_of::<Slice>();
        self.windows.iter().map(window).sum()
    }

    /// What counts against the limit now.
    pub fn booked(&self, limit: &Limit, elapsed_secs: u64) -> Amount {
        self.window(limit).map_or(Amount::ZERO, |window| window.sum(limit.window_secs, elapsed_secs))
    }

    /// Whether `amount` fits the limit now. Nothing always does.
    pub fn within(&self, limit: &Limit, amount: Amount, elapsed_secs: u64) -> Room {
        if amount.is_zero() {
            return Room::Fits;
        }
        if amount > limit.most {
            return Room::Never;
        }
        let fits = |booked: Amount| booked.checked_add(amount).is_some_and(|sum| sum <= limit.most);
        let Some(window) = self.window(limit).filter(|_| limit.per != Per::Transaction) else {
            return Room::Fits;
        };
        let mut booked = window.sum(limit.window_secs, elapsed_secs);
        if fits(booked) {
            return Room::Fits;
        }
        // Slices leave one after the other, the oldest first.
        for slice in window.slices.iter().filter(|slice| slice.counts(limit.window_secs, elapsed_secs)) {
            booked = booked.saturating_sub(slice.amount);
            if fits(booked) {
                return Room::FitsInSecs(slice.leaves_at(limit.window_secs).saturating_sub(elapsed_secs));
            }
        }
        Room::Never
    }

    /// Books an amount, whether it fits or not: what limits did not stop has been spent all the same.
    pub fn book(&mut self, limit: &Limit, amount: Amount, elapsed_secs: u64) {
        if limit.per == Per::Transaction || amount.is_zero() {
            return;
        }
        let at = match self.windows.binary_search_by(|window| window.limit.cmp(&limit.id)) {
            Ok(at) => at,
            Err(at) => {
                self.windows.insert(at, Window { limit: limit.id, slices: Vec::new() });
                at
            }
        };
        if let Some(window) = self.windows.get_mut(at) {
            window.slices.retain(|slice| slice.counts(limit.window_secs, elapsed_secs));
            window.book(limit.window_secs, amount, elapsed_secs);
        }
    }

    /// Books each limit's most, so that nothing fits until the windows have passed: after a restore, nobody knows what
    /// was spent since the backup.
    pub fn exhaust<'a>(&mut self, limits: impl Iterator<Item = &'a Limit>, elapsed_secs: u64) {
        for limit in limits {
            self.book(limit, limit.most, elapsed_secs);
        }
    }

    /// Forgets what belongs to no limit in force.
    pub(crate) fn forget_all_but(&mut self, limits: &[Limit]) {
        self.windows.retain(|window| limits.iter().any(|limit| limit.id == window.limit));
    }

    fn window(&self, limit: &Limit) -> Option<&Window> {
        self.windows.iter().find(|window| window.limit == limit.id)
    }
}

impl Window {
    fn sum(&self, window_secs: u64, now: u64) -> Amount {
        let counting = self.slices.iter().filter(|slice| slice.counts(window_secs, now));
        counting.fold(Amount::ZERO, |sum, slice| sum.saturating_add(slice.amount))
    }

    fn book(&mut self, window_secs: u64, amount: Amount, now: u64) {
        let length = window_secs.div_ceil(SLICES).max(1);
        let last = (now / length).saturating_mul(length).saturating_add(length - 1);
        match self.slices.last_mut() {
            // The slice being filled; or a later one, if time ran back or the window was longer before.
            Some(slice) if slice.last_elapsed_secs >= last => {
                slice.amount = slice.amount.saturating_add(amount);
            }
            _ => self.slices.push(Slice { last_elapsed_secs: last, amount }),
        }
        // Only after a change of the window are there ever more: the oldest then counts for as long as the next.
        while self.slices.len() > SLICES_MAX {
            let oldest = self.slices.remove(0);
            if let Some(next) = self.slices.first_mut() {
                next.amount = next.amount.saturating_add(oldest.amount);
            }
        }
    }

    fn is_sound(&self) -> bool {
        let ascending =
            self.slices.windows(2).all(|pair| pair[0].last_elapsed_secs < pair[1].last_elapsed_secs);
        ascending
            && self.slices.len() <= SLICES_MAX
            && self.slices.iter().all(|slice| !slice.amount.is_zero())
    }
}

impl Slice {
    /// The first second at which it no longer counts.
    fn leaves_at(&self, window_secs: u64) -> u64 {
        self.last_elapsed_secs.saturating_add(window_secs).saturating_add(1)
    }

    fn counts(&self, window_secs: u64, now: u64) -> bool {
        now < self.leaves_at(window_secs)
    }
}

/// An amount as bytes, big-endian, without leading zeros.
mod amount {
    use countersign_intent::Amount;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use serde_bytes::{ByteBuf, Bytes};

    pub(super) fn serialize<S: Serializer>(amount: &Amount, serializer: S) -> Result<S::Ok, S::Error> {
        serde::Serialize::serialize(Bytes::new(&amount.to_be_bytes_trimmed_vec()), serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Amount, D::Error> {
        let bytes = ByteBuf::deserialize(deserializer)?;
        let canonical = bytes.first() != Some(&0);
        let amount = Amount::try_from_be_slice(&bytes).filter(|_| canonical);
        amount.ok_or_else(|| D::Error::custom("not an amount"))
    }
}

#[cfg(test)]
mod tests;
