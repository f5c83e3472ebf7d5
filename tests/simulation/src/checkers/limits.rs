//! The limits of the policy.

use super::{Ask, Checker, Seen, Who};
use crate::money::{ACCOUNT_MOST_WEI, LIMITED_TENANT, TENANT_MOST_WEI, WINDOW_SECS, amount_wei, digest};
use countersign_plugin::store::trail::What;
use countersign_wire::client::{Act, Payload};
use std::collections::VecDeque;

/// An amount that was durably granted.
#[derive(Clone)]
struct Paid {
    who: Who,
    wei: u128,
    /// When it was asked for, and when it was durable: the decision fell between the two.
    asked_secs: u64,
    durable_secs: u64,
}

/// What is granted within any window never exceeds a limit: over crashes, retries and races. Counted are those that were
/// asked for after the window of the newest had begun for certain, so that each of them was in it when that was decided.
#[derive(Clone, Default)]
pub(crate) struct LimitsHold {
    paid: VecDeque<Paid>,
}

impl LimitsHold {
    fn pay(&mut self, paid: &Paid) -> Result<(), String> {
        let begins = paid.durable_secs.saturating_sub(WINDOW_SECS);
        self.paid.retain(|old| old.durable_secs + WINDOW_SECS > begins);
        self.paid.push_back(paid.clone());
        let counted = || self.paid.iter().filter(|old| old.asked_secs > begins);
        let tenant: u128 = counted().map(|old| old.wei).sum();
        let account: u128 = counted().filter(|old| old.who == paid.who).map(|old| old.wei).sum();
        if tenant > TENANT_MOST_WEI {
            return Err(format!("all together were granted {tenant} wei in a window"));
        }
        if account > ACCOUNT_MOST_WEI {
            return Err(format!("{:?} was granted {account} wei in a window", paid.who));
        }
        Ok(())
    }
}

fn payload(ask: &Ask) -> Option<&Payload> {
    match &ask.request.act {
        Act::Sign(sign) => Some(&sign.payload),
        Act::ContextSign(sign) => Some(&sign.payload),
        _ => None,
    }
}

impl Checker for LimitsHold {
    const INVARIANT: &'static str = "limits-hold";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        for event in seen.durable_events() {
            let (What::Granted { signs, .. } | What::Bound { signs, .. }) = &event.what else { continue };
            let signed = signs.digests.first().map(|digest| digest.into_array());
            // The newest of those who asked for it: it is counted for less time, never for more.
            let asks = seen.facts.asks.values().filter(|ask| ask.tenant == LIMITED_TENANT);
            let asked =
                asks.filter(|ask| payload(ask).is_some_and(|payload| Some(digest(payload)) == signed));
            let Some(ask) = asked.max_by_key(|ask| ask.at) else { continue };
            let (Some(wei), Some(who)) = (payload(ask).and_then(amount_wei), ask.who(seen.facts)) else {
                continue;
            };
            let durable_secs = seen.moment.powered_secs;
            self.pay(&Paid { who, wei, asked_secs: ask.powered_secs, durable_secs })?;
        }
        Ok(())
    }
}
