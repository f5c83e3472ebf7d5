//! Failures, locks and budgets.
//!
//! All of these are lower bounds on what the plugin must hold: a failure counts from when its request was sent, and time
//! passes as long as the HSM has power, which is at least as long as the plugin believes.

use super::{Ask, Checker, Seen, Who, refused};
use crate::history::Event;
use crate::world::tenant_failures_per_hour;
use countersign_plugin::limits::{
    ACCOUNT_BUDGET_FAILURES, ACCOUNT_FORGIVE_MS, PAIR_INTERVAL_SECS, TENANT_BUDGET_MS,
};
use countersign_plugin::store::trail::{Used, What};
use countersign_wire::client::{Act, Answer, Outcome};
use countersign_wire::device::{Approve, Evidence};
use countersign_wire::hal::Op;
use countersign_wire::reason::Reason;
use std::collections::BTreeMap;

fn is_failure(reason: Option<Reason>) -> bool {
    matches!(reason, Some(Reason::WrongCode | Reason::CodeUsed))
}

/// I4: whatever shows how a check went was preceded by a durable change that counted the check as failed.
#[derive(Clone, Default)]
pub(crate) struct CountedBeforeTold {
    counted: BTreeMap<Who, u64>,
    /// How often each approval of a device was said since the start.
    said: BTreeMap<Vec<u8>, u64>,
}

impl CountedBeforeTold {
    /// Whether what was refused may be a sealed code that was said before: that is refused without a look at it.
    fn is_repeated(&self, seen: &Seen<'_>, who: &Who) -> bool {
        let asks = seen.facts.device_asks.values().filter(|ask| ask.who(seen.facts).as_ref() == Some(who));
        asks.filter_map(sealed_code).any(|code| self.said.get(&code).is_some_and(|count| *count > 1))
    }
}

/// The sealed code that an approval of a device carries.
fn sealed_code(ask: &Ask) -> Option<Vec<u8>> {
    match &ask.request.act {
        Act::Approve(Approve { evidence: Evidence::SealedCode(sealed), .. }) => {
            Some(sealed.ciphertext.to_vec())
        }
        _ => None,
    }
}

impl Checker for CountedBeforeTold {
    const INVARIANT: &'static str = "counted-before-told";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        if seen.is_boot() {
            self.counted.clear();
            self.said.clear();
        }
        if let Event::Asked { ticket, .. } = seen.event
            && let Some(code) = seen.facts.device_asks.get(ticket).and_then(sealed_code)
        {
            *self.said.entry(code).or_default() += 1;
        }
        if let Event::Called { op: Op::Commit { .. }, .. } = seen.event {
            for event in seen.events() {
                let key = match &event.what {
                    // What was approved before was counted then.
                    What::Granted { used: Used::Prior(_), .. } => continue,
                    What::Granted { key, .. } | What::LoggedIn { key, .. } | What::Approved { key, .. } => {
                        Some(key.into_array())
                    }
                    What::Refused { key, reason, .. } if is_failure(Some(*reason)) => {
                        key.map(serde_bytes::ByteArray::into_array)
                    }
                    What::Confirmed | What::Unlocked => None,
                    _ => continue,
                };
                let Some(who) = seen.who(event, key.as_ref()) else { continue };
                let of_device = matches!(&event.what, What::Refused { act, reason: Reason::CodeUsed, .. } if act == "approve");
                if of_device && self.is_repeated(seen, &who) {
                    continue;
                }
                let counted = self.counted.get_mut(&who).filter(|count| **count > 0);
                *counted
                    .ok_or_else(|| format!("{:?} of {who:?} without a count before it", event.what))? -= 1;
            }
        }
        for event in seen.durable_events().filter(|event| event.what == What::CodeCounted) {
            if let Some(who) = seen.who(event, None) {
                *self.counted.entry(who).or_default() += 1;
            }
        }
        Ok(())
    }
}

/// A budget, as far as the outside knows.
#[derive(Clone, Copy, Default)]
struct Debt {
    ms: u64,
    at_secs: u64,
    /// When two codes were shown that let one more failure in over a full budget.
    vouched_at: Option<u64>,
    /// When a failure that may have been let in so was told last.
    let_in_at: u64,
}

impl Debt {
    fn at(&self, powered_secs: u64) -> u64 {
        self.ms.saturating_sub(powered_secs.saturating_sub(self.at_secs) * 1000)
    }

    /// Adds a failure that happened between these two times; gives whether there was room for it.
    fn add(&mut self, portion_ms: u64, capacity_ms: u64, ask: &Ask, answered_secs: u64) -> bool {
        // One that was asked before another was let in may have had its room first, and is told of later.
        let had_room = self.vouched_at.is_some()
            || ask.at < self.let_in_at
            || self.at(answered_secs) + portion_ms <= capacity_ms;
        let earlier_ms = self.at_secs.saturating_sub(ask.powered_secs) * 1000;
        self.ms = (self.at(ask.powered_secs) + portion_ms.saturating_sub(earlier_ms)).min(capacity_ms);
        self.at_secs = self.at_secs.max(ask.powered_secs);
        // One that was asked earlier may have failed before the codes were shown.
        self.vouched_at = self.vouched_at.filter(|at| ask.at < *at);
        had_room
    }
}

/// No account and no tenant gets more failures than its budget holds; and what was told of a failure is never forgotten.
#[derive(Clone, Default)]
pub(crate) struct BudgetsHold {
    accounts: BTreeMap<Who, Debt>,
    tenants: BTreeMap<String, Debt>,
    /// When each account was enrolled last: it begins anew.
    enrolled_at: BTreeMap<Who, u64>,
}

const ACCOUNT_CAPACITY_MS: u64 = ACCOUNT_BUDGET_FAILURES as u64 * ACCOUNT_FORGIVE_MS;

impl BudgetsHold {
    fn failed(&mut self, seen: &Seen<'_>, ask: &Ask, who: &Who) -> Result<(), String> {
        let now = seen.moment.powered_secs;
        let portion_ms = TENANT_BUDGET_MS / u64::from(tenant_failures_per_hour(ask.tenant));
        let account = self.accounts.entry(who.clone()).or_default();
        let vouched_at = account.vouched_at;
        if self.enrolled_at.get(who).is_none_or(|at| *at < ask.at)
            && !account.add(ACCOUNT_FORGIVE_MS, ACCOUNT_CAPACITY_MS, ask, now)
        {
            return Err(format!("{who:?} failed more often than its budget holds"));
        }
        let tenant = self.tenants.entry(ask.tenant.to_owned()).or_default();
        tenant.vouched_at = vouched_at;
        if !tenant.add(portion_ms, TENANT_BUDGET_MS, ask, now) {
            return Err(format!("tenant {} failed more often than its budget holds", ask.tenant));
        }
        if vouched_at.is_some() {
            tenant.let_in_at = seen.facts.at;
        }
        Ok(())
    }
}

impl Checker for BudgetsHold {
    const INVARIANT: &'static str = "budgets-hold";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        for event in seen.durable_events() {
            let Some(who) = seen.who(event, None) else { continue };
            match event.what {
                What::Enrolled { .. } => {
                    self.accounts.remove(&who);
                    self.enrolled_at.insert(who, seen.facts.at);
                }
                What::Unlocked => self.accounts.entry(who).or_default().vouched_at = Some(seen.facts.at),
                _ => {}
            }
        }
        let Some((ask, reply)) = seen.answered else { return Ok(()) };
        let Some(who) = ask.who(seen.facts) else { return Ok(()) };
        if is_failure(refused(reply)) && !matches!(ask.request.act, Act::Unlock(_)) {
            return self.failed(seen, ask, &who);
        }
        if let (Act::ShowAccount(_), Outcome::Done(Answer::Account(info))) =
            (&ask.request.act, &reply.outcome)
        {
            let debt = self.accounts.get(&who).map_or(0, |debt| debt.at(seen.moment.powered_secs));
            let most = (ACCOUNT_CAPACITY_MS - debt) / ACCOUNT_FORGIVE_MS;
            let known = self.enrolled_at.get(&who).is_none_or(|at| *at < ask.at);
            if known && u64::from(info.failures_left) > most {
                return Err(format!("{who:?} shows {} failures left, of {most} at most", info.failures_left));
            }
        }
        Ok(())
    }
}

/// What was refused as locked stays refused until its time, or until two codes were shown.
#[derive(Clone, Default)]
pub(crate) struct LockedStaysLocked {
    until_secs: BTreeMap<Who, u64>,
    opened_at: BTreeMap<Who, u64>,
}

impl Checker for LockedStaysLocked {
    const INVARIANT: &'static str = "locked-stays-locked";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        for event in seen.durable_events() {
            let key = match &event.what {
                What::Granted { used: Used::Prior(_), .. } => None,
                What::Granted { key, .. } | What::LoggedIn { key, .. } | What::Approved { key, .. } => {
                    Some(key.into_array())
                }
                _ => None,
            };
            let Some(who) = seen.who(event, key.as_ref()) else { continue };
            if matches!(event.what, What::Enrolled { .. } | What::Unlocked) {
                self.until_secs.remove(&who);
                self.opened_at.insert(who, seen.facts.at);
            } else if key.is_some() || event.what == What::Confirmed {
                let until = self.until_secs.get(&who).copied().unwrap_or_default();
                if seen.moment.powered_secs < until {
                    return Err(format!(
                        "a code of {who:?} was accepted at {}, locked until {until}",
                        seen.moment.powered_secs
                    ));
                }
            }
        }
        let Some((ask, reply)) = seen.answered else { return Ok(()) };
        let Outcome::Refused(refusal) = &reply.outcome else { return Ok(()) };
        let locks = refusal.reason == Reason::Locked || is_failure(Some(refusal.reason));
        if let (true, Some(secs), Some(who)) = (locks, refusal.retry_after_secs, ask.who(seen.facts))
            && self.opened_at.get(&who).is_none_or(|at| *at < ask.at)
        {
            let until = self.until_secs.entry(who).or_default();
            *until = (*until).max(ask.powered_secs + secs);
        }
        Ok(())
    }
}

/// Two codes together are compared once a minute at the most.
#[derive(Clone, Default)]
pub(crate) struct PairsAreRare {
    asked_secs: BTreeMap<Who, u64>,
}

impl Checker for PairsAreRare {
    const INVARIANT: &'static str = "pairs-are-rare";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        let Some((ask, reply)) = seen.answered else { return Ok(()) };
        if !matches!(ask.request.act, Act::Unlock(_)) {
            return Ok(());
        }
        let compared = matches!(reply.outcome, Outcome::Done(_)) || is_failure(refused(reply));
        let Some(who) = ask.who(seen.facts).filter(|_| compared) else { return Ok(()) };
        let now = seen.moment.powered_secs;
        if let Some(before) = self.asked_secs.insert(who.clone(), ask.powered_secs)
            && now - before.min(ask.powered_secs) < PAIR_INTERVAL_SECS
        {
            return Err(format!("two pairs of {who:?} were compared within {} s", now - before));
        }
        Ok(())
    }
}
