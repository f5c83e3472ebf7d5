//! What may be told, and when; and what was told stays true.

use super::{Ask, Checker, Seen, Who, refused};
use crate::history::Event;
use countersign_plugin::store::trail::{Event as AuditEvent, What};
use countersign_wire::client::{Act, Answer, KeyId, KeyInfo, KeyQuery, Operation, Outcome};
use countersign_wire::hal::Fault;
use countersign_wire::reason::Reason;
use std::collections::{BTreeMap, BTreeSet};

/// No reply leaves before the change that it reports is durable, and every decision is in the audit trail: each reply
/// has an audit event of its own, made durable after the request was sent.
#[derive(Clone, Default)]
pub(crate) struct RepliesWaitForTheirCommit {
    events: Vec<(u64, AuditEvent)>,
    logged_in: BTreeSet<Operation>,
}

/// What a reply must have left in the trail; `None`: nothing.
fn evidence(ask: &Ask, outcome: &Outcome) -> Option<Vec<What>> {
    let only = |what| Some(vec![what]);
    match (outcome, &ask.request.act) {
        (Outcome::Done(Answer::Enrolled(enrolled)), _) => only(What::Enrolled { key: enrolled.key.id }),
        (Outcome::Done(Answer::Account(_)), Act::Confirm(_)) => only(What::Confirmed),
        (Outcome::Done(Answer::Account(_)), Act::Unlock(_)) => only(What::Unlocked),
        (Outcome::Done(Answer::Key(key)), _) => only(What::KeyCreated { key: key.id }),
        (Outcome::Refused(refusal), act) => {
            let unrecorded = [
                Reason::StoreRefused,
                Reason::StoreFull,
                Reason::Busy,
                Reason::HsmNotReady,
                Reason::WrongApiKey,
            ];
            if unrecorded.contains(&refusal.reason) {
                return None;
            }
            let (word, key): (_, Option<KeyId>) = match act {
                Act::Enroll(_) => ("enroll", None),
                Act::Confirm(_) => ("confirm", None),
                Act::Unlock(_) => ("unlock", None),
                Act::CreateKey(_) => ("create-key", None),
                Act::Sign(_) => ("sign", None),
                Act::ContextLogin(login) => ("context-login", Some(login.operation.key)),
                Act::ContextSign(sign) => ("context-sign", Some(sign.operation.key)),
                _ => return None,
            };
            only(What::Refused { act: word.to_owned(), key, reason: refusal.reason, because: None })
        }
        _ => None,
    }
}

impl RepliesWaitForTheirCommit {
    fn take(&mut self, seen: &Seen<'_>, ask: &Ask, fits: impl Fn(&What) -> bool) -> Result<(), String> {
        let who = ask.who(seen.facts);
        let is_it = |(at, event): &(u64, AuditEvent)| {
            let account = event.account.as_ref().map(countersign_wire::names::AccountName::as_str);
            *at > ask.at
                && event.tenant.as_ref().is_some_and(|tenant| tenant.as_str() == ask.tenant)
                && account.is_none_or(|account| who.as_ref().is_some_and(|who| who.1 == account))
                && fits(&event.what)
        };
        let found = self.events.iter().position(is_it);
        self.events
            .remove(found.ok_or("a reply left before what it reports was durable, or without a trace")?);
        Ok(())
    }
}

impl Checker for RepliesWaitForTheirCommit {
    const INVARIANT: &'static str = "replies-wait-for-their-commit";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        if seen.is_boot() {
            self.events.clear();
            self.logged_in.clear();
        }
        self.events.extend(seen.durable_events().map(|event| (seen.facts.at, event.clone())));
        let Some((ask, reply)) = seen.answered else { return Ok(()) };
        match (&reply.outcome, &ask.request.act) {
            (Outcome::Done(Answer::LoggedIn), Act::ContextLogin(login)) => {
                let operation = &login.operation;
                let spent = |what: &What| matches!(what, What::LoggedIn { key, .. } if *key == operation.key);
                let took = self.take(seen, ask, spent);
                // One that has its grant already needs no other.
                if self.logged_in.contains(operation) {
                    return Ok(());
                }
                self.logged_in.insert(operation.clone());
                took
            }
            (Outcome::Done(Answer::Signed(signed)), Act::Sign(_)) => {
                self.take(seen, ask, |what| match what {
                    What::Granted { signs, .. } | What::Repeated { signs, .. } => {
                        signs.digests == [signed.digest]
                    }
                    _ => false,
                })
            }
            (Outcome::Done(Answer::Signed(signed)), Act::ContextSign(sign)) => {
                let operation = &sign.operation;
                let bound = |what: &What| {
                    matches!(what, What::Bound { key, signs }
                        if *key == operation.key && signs.digests == [signed.digest])
                };
                if !self.logged_in.contains(operation) {
                    return Err("an operation signs that was never logged in".to_owned());
                }
                self.take(seen, ask, bound)
            }
            (outcome, _) => {
                for needed in evidence(ask, outcome).unwrap_or_default() {
                    self.take(seen, ask, |what| match what {
                        // Which rule or limit it was is the policy's business.
                        What::Refused { act, key, reason, because: Some(_) } => {
                            let (act, key) = (act.clone(), *key);
                            needed == What::Refused { act, key, reason: *reason, because: None }
                        }
                        what => *what == needed,
                    })?;
                }
                Ok(())
            }
        }
    }
}

/// What was acknowledged is there in every later reply, whatever crashed in between.
#[derive(Clone, Default)]
pub(crate) struct NoAcknowledgedChangeIsLost {
    confirmed_at: BTreeMap<Who, u64>,
    keys: BTreeMap<Who, Vec<(u64, KeyInfo)>>,
}

impl NoAcknowledgedChangeIsLost {
    fn expects<'a>(&'a self, who: &Who, ask: &'a Ask) -> impl Iterator<Item = &'a KeyInfo> {
        let keys = self.keys.get(who).into_iter().flatten();
        keys.filter(|(at, _)| *at < ask.at).map(|(_, key)| key)
    }

    fn denies(&self, who: &Who, ask: &Ask, reason: Reason) -> bool {
        let confirmed = self.confirmed_at.get(who).is_some_and(|at| *at < ask.at);
        let knows = |name: &str| self.expects(who, ask).any(|key| key.label.key.as_str() == name);
        let forgotten = match (&ask.request.act, reason) {
            (_, Reason::UnknownAccount | Reason::EnrolmentExpired | Reason::NotConfirmed)
            | (Act::ContextLogin(_), Reason::UnknownKey) => true,
            (Act::Sign(sign), Reason::UnknownKey) => knows(sign.key.key.as_str()),
            _ => false,
        };
        confirmed && forgotten
    }
}

impl Checker for NoAcknowledgedChangeIsLost {
    const INVARIANT: &'static str = "no-acknowledged-change-is-lost";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        let Some((ask, reply)) = seen.answered else { return Ok(()) };
        let Some(who) = ask.who(seen.facts) else { return Ok(()) };
        let at = seen.facts.at;
        let confirmed = self.confirmed_at.get(&who).is_some_and(|at| *at < ask.at);
        match (&reply.outcome, &ask.request.act) {
            (Outcome::Done(Answer::Enrolled(_)), _) if self.confirmed_at.contains_key(&who) => {
                return Err(format!("{who:?} was confirmed, and was enrolled over"));
            }
            (Outcome::Done(Answer::Enrolled(enrolled)), _) => {
                self.keys.insert(who, vec![(at, enrolled.key.clone())]);
            }
            (Outcome::Done(Answer::Key(key)), _) => self.keys.entry(who).or_default().push((at, key.clone())),
            (Outcome::Done(Answer::Account(_)), Act::Confirm(_)) => {
                self.confirmed_at.insert(who, at);
            }
            (Outcome::Done(Answer::Account(info)), _) if confirmed => {
                if !info.confirmed {
                    return Err(format!("{who:?} was confirmed and is not any more"));
                }
                if let Some(lost) = self.expects(&who, ask).find(|key| !info.keys.contains(key)) {
                    return Err(format!("{who:?} has lost its key {}", lost.label));
                }
            }
            (Outcome::Refused(refusal), _) if self.denies(&who, ask, refusal.reason) => {
                return Err(format!(
                    "{who:?} was confirmed, and its request was refused: {}",
                    refusal.reason.word()
                ));
            }
            _ => {}
        }
        Ok(())
    }
}

/// I9: nothing of one tenant stands in a reply to another.
#[derive(Clone, Default)]
pub(crate) struct TenantsAreApart;

impl Checker for TenantsAreApart {
    const INVARIANT: &'static str = "tenants-are-apart";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        let Some((ask, reply)) = seen.answered else { return Ok(()) };
        let keys: Vec<&KeyInfo> = match &reply.outcome {
            Outcome::Done(Answer::Keys(page)) => page.keys.iter().collect(),
            Outcome::Done(Answer::Account(info)) => info.keys.iter().collect(),
            Outcome::Done(Answer::Key(key)) => vec![key],
            Outcome::Done(Answer::Enrolled(enrolled)) => vec![&enrolled.key],
            _ => Vec::new(),
        };
        for key in keys {
            let owner = seen.facts.keys.get(&*key.id).map(|fact| fact.who.0.as_str());
            if owner != Some(ask.tenant) {
                return Err(format!("tenant {} was shown the key {} of {owner:?}", ask.tenant, key.label));
            }
        }
        let foreign = match &ask.request.act {
            Act::ContextLogin(login) => Some(login.operation.key),
            Act::ContextSign(sign) => Some(sign.operation.key),
            Act::FindKeys(KeyQuery::Id(id)) => Some(*id),
            _ => None,
        };
        let owner = foreign.and_then(|id| seen.facts.keys.get(&*id)).map(|fact| fact.who.0.as_str());
        let done = match &reply.outcome {
            Outcome::Done(Answer::Keys(page)) => !page.keys.is_empty(),
            Outcome::Done(_) => true,
            Outcome::Refused(_) => false,
        };
        if done && owner.is_some_and(|owner| owner != ask.tenant) {
            return Err(format!("tenant {} used a key of {owner:?}", ask.tenant));
        }
        Ok(())
    }
}

/// Every request gets one answer, with its own id; and when all is quiet, none is left without.
#[derive(Clone, Default)]
pub(crate) struct EveryRequestIsAnsweredOnce {
    open: BTreeMap<u64, [u8; 16]>,
}

impl Checker for EveryRequestIsAnsweredOnce {
    const INVARIANT: &'static str = "every-request-is-answered-once";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        match seen.event {
            Event::Boot(_) => self.open.clear(),
            Event::Asked { ticket, request, .. } => {
                let id = request.as_ref().map_or([0; 16], |request| request.id.into_array());
                self.open.insert(*ticket, id);
            }
            Event::Answered { ticket, reply } if self.open.remove(ticket) != Some(reply.id.into_array()) => {
                return Err(format!("ticket {ticket} was not open under the id {:?}", reply.id));
            }
            Event::Settled if !self.open.is_empty() => {
                return Err(format!("all is quiet, and these have no answer: {:?}", self.open.keys()));
            }
            _ => {}
        }
        Ok(())
    }
}

/// An internal error is never the answer, unless the random number generator failed in this boot.
#[derive(Clone, Default)]
pub(crate) struct NoInternalErrorWithoutAFault {
    rng_failed: bool,
}

impl Checker for NoInternalErrorWithoutAFault {
    const INVARIANT: &'static str = "no-internal-error-without-a-fault";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        match seen.event {
            Event::Boot(_) => self.rng_failed = false,
            Event::Finished { result: Err(Fault::Rng), .. } => self.rng_failed = true,
            Event::Finished { result: Err(Fault::Limits), .. } => {
                return Err("the plugin went outside the limits".to_owned());
            }
            _ => {}
        }
        match seen.answered {
            Some((_, reply)) if refused(reply) == Some(Reason::InternalError) && !self.rng_failed => {
                Err("an internal error without a fault".to_owned())
            }
            _ => Ok(()),
        }
    }
}
