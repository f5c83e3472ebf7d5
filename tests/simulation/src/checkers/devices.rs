//! What users approve, refuse and freeze on devices of their own.

use super::approvals::{digests, is};
use super::{Ask, Checker, Facts, Seen, Who};
use crate::history::Event;
use crate::world::HSM_ID;
use countersign_approvals::digest::{Approved, Purpose, device_message};
use countersign_approvals::es256::{PublicKey, verify};
use countersign_approvals::sealed::sealed_hash;
use countersign_plugin::record::{Account, Prior};
use countersign_plugin::store::trail::{Event as AuditEvent, Used, What};
use countersign_wire::client::{Act, Answer, Outcome};
use countersign_wire::device::{Approve, DevicePurpose, Evidence};
use std::collections::{BTreeMap, BTreeSet};

/// What somebody approved.
#[derive(Clone)]
struct Waiting {
    who: Who,
    key: [u8; 16],
    digests: Vec<[u8; 32]>,
}

/// I1, I2: an intent is approved once, by a device of its account that signed for exactly this one; what was approved is granted
/// once, with the same key, for the same digests; and never once the user refused it, or froze the account.
#[derive(Clone, Default)]
pub(crate) struct ApprovedByItsDevice {
    ever: BTreeSet<[u8; 16]>,
    waiting: BTreeMap<[u8; 16], Waiting>,
}

/// Whether a device of the account signed this approval of what is kept as approved.
fn is_signed(account: &Account, prior: &Prior, approve: &Approve) -> bool {
    let Evidence::SealedCode(sealed) = &approve.evidence else { return false };
    let keys = account.devices.iter().filter_map(|device| PublicKey::parse(device.key.as_slice()).ok());
    let mut keys = keys.filter(|key| key.device_id() == sealed.device.into_array());
    let approved = Approved {
        purpose: Purpose::Sign,
        hsm: &HSM_ID,
        tenant: account.tenant.as_str(),
        account: account.name.as_str(),
        key_id: prior.key.as_slice(),
        intent_hash: prior.intent_hash.as_slice(),
        expires_unix_secs: prior.expires_unix_secs,
        nonce: &prior.nonce.into_array(),
    };
    let hash = sealed_hash(&sealed.encapsulated.into_array(), &sealed.ciphertext);
    let message = device_message(&approved.digest(), &hash);
    keys.any(|key| verify(&key, &message, &sealed.signature.into_array()).is_ok())
}

impl ApprovedByItsDevice {
    fn approve(&mut self, seen: &Seen<'_>, event: &AuditEvent) -> Result<(), String> {
        let What::Approved { intent, key, signs, .. } = &event.what else { return Ok(()) };
        let who = seen.who(event, None).ok_or("nobody's intent was approved")?;
        if !self.ever.insert(intent.into_array()) {
            return Err(format!("an intent of {who:?} was approved twice"));
        }
        let account = seen.durable_accounts().map(|(_, account)| account).find(|account| is(account, &who));
        let prior = account
            .and_then(|account| Some((account, account.prior.iter().find(|prior| prior.intent == *intent)?)));
        let (account, prior) = prior.ok_or("an approval was recorded, and is not in its account")?;
        let signed = seen.facts.device_asks.values().any(|ask| match &ask.request.act {
            Act::Approve(approve) => approve.intent == *intent && is_signed(account, prior, approve),
            _ => false,
        });
        if !signed {
            return Err(format!("no device of {who:?} signed for what was approved"));
        }
        let waiting = Waiting { who, key: key.into_array(), digests: digests(signs) };
        self.waiting.insert(intent.into_array(), waiting);
        Ok(())
    }

    fn grant(&mut self, seen: &Seen<'_>, event: &AuditEvent) -> Result<(), String> {
        let What::Granted { key, used: Used::Prior(intent), signs, .. } = &event.what else { return Ok(()) };
        let who = seen.who(event, Some(&key.into_array())).ok_or("nobody's key was granted")?;
        let waiting = self.waiting.remove(&intent.into_array());
        let waiting =
            waiting.ok_or_else(|| format!("what {who:?} did not approve, or no more, was granted"))?;
        if (waiting.who, waiting.key, waiting.digests) != (who, key.into_array(), digests(signs)) {
            return Err("something else was granted than what was approved".to_owned());
        }
        Ok(())
    }
}

impl Checker for ApprovedByItsDevice {
    const INVARIANT: &'static str = "approved-by-its-device";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        for event in seen.durable_events() {
            match &event.what {
                What::Approved { .. } => self.approve(seen, event)?,
                What::Granted { .. } => self.grant(seen, event)?,
                What::Declined { intent } => {
                    self.waiting.remove(&intent.into_array());
                }
                What::Frozen { .. } => {
                    let who = seen.who(event, None);
                    self.waiting.retain(|_, waiting| Some(&waiting.who) != who.as_ref());
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Once it is durable that a user froze her account, nothing of it is granted or accepted, whatever was begun before.
#[derive(Clone, Default)]
pub(crate) struct FrozenStaysFrozen {
    frozen: BTreeSet<Who>,
}

impl Checker for FrozenStaysFrozen {
    const INVARIANT: &'static str = "frozen-stays-frozen";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        for event in seen.durable_events() {
            let key = match &event.what {
                What::Granted { key, .. }
                | What::LoggedIn { key, .. }
                | What::Bound { key, .. }
                | What::Approved { key, .. } => Some(key.into_array()),
                What::Frozen { .. } => {
                    self.frozen.extend(seen.who(event, None));
                    continue;
                }
                What::Unlocked | What::Confirmed | What::PayeeSet { .. } => None,
                _ => continue,
            };
            if let Some(who) = seen.who(event, key.as_ref()).filter(|who| self.frozen.contains(who)) {
                return Err(format!("{who:?} is frozen, and this was done: {:?}", event.what));
            }
        }
        for (_, account) in seen.durable_accounts() {
            let who = (account.tenant.as_str().to_owned(), account.name.as_str().to_owned());
            if account.frozen.is_none() && self.frozen.contains(&who) {
                return Err(format!("{who:?} was frozen, and its record says no more so"));
            }
        }
        Ok(())
    }
}

/// A device is told only what is durable.
#[derive(Clone, Default)]
pub(crate) struct DevicesAreToldWhatIsDurable {
    events: Vec<(u64, Option<Who>, What)>,
}

impl DevicesAreToldWhatIsDurable {
    fn take(&mut self, facts: &Facts, ask: &Ask, fits: impl Fn(&What) -> bool) -> Result<(), String> {
        let who = ask.who(facts);
        let is_it = |(at, of, what): &(u64, Option<Who>, What)| *at > ask.at && *of == who && fits(what);
        let found = self.events.iter().position(is_it);
        let found = found.ok_or_else(|| format!("a device of {who:?} was told of what is not durable"))?;
        self.events.remove(found);
        Ok(())
    }
}

impl Checker for DevicesAreToldWhatIsDurable {
    const INVARIANT: &'static str = "devices-are-told-what-is-durable";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        if seen.is_boot() {
            self.events.clear();
        }
        let events = seen.durable_events();
        self.events.extend(events.map(|event| (seen.facts.at, seen.who(event, None), event.what.clone())));
        let (Some(ask), Event::Answered { reply, .. }) = (seen.device, seen.event) else { return Ok(()) };
        let Outcome::Done(answer) = &reply.outcome else { return Ok(()) };
        self.take(seen.facts, ask, |what| match (&ask.request.act, answer, what) {
            (Act::Approve(ask), Answer::Approved, What::Approved { intent, .. }) => ask.intent == *intent,
            (Act::Decline(ask), Answer::Declined, What::Declined { intent }) => ask.intent == *intent,
            (Act::EnrollSealed(_), Answer::EnrolledSealed(_), What::Enrolled { .. }) => true,
            (Act::DeviceAct(act), Answer::CarriedOut, what) => match act.purpose {
                DevicePurpose::Confirm => *what == What::Confirmed,
                DevicePurpose::Unlock => *what == What::Unlocked,
                DevicePurpose::Freeze => matches!(what, What::Frozen { .. }),
                DevicePurpose::CancelRecovery => false,
            },
            _ => false,
        })
        .or_else(|why| match answer {
            // What only looks.
            Answer::View(_) | Answer::Identity(_) | Answer::Receipt(_) => Ok(()),
            _ => Err(why),
        })
    }
}
