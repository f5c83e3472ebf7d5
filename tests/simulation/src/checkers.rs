//! The checkers. They stand apart from the workload and the world: each sees the history event by event, with the
//! traffic between plugin and firmware and what the sealed records in it hold, and judges nothing else.
//!
//! * [`approvals`]: grants and signatures (I1, I2, I3, I11);
//! * [`devices`]: what users approve, refuse and freeze on devices of their own (I1, I2);
//! * [`guessing`]: failures, locks and budgets (I4);
//! * [`limits`]: what policy lets be spent;
//! * [`log`]: the tenants' audit logs (I13);
//! * [`replies`]: what may be told, and when; what was told stays true (I9, I13);
//! * [`store`]: what is written, and when it opens (I6).

mod approvals;
mod devices;
mod guessing;
mod limits;
mod log;
mod replies;
mod store;

use crate::clients::TENANTS;
use crate::history::{Event, Moment};
use countersign_plugin::record::{Account, Key, Source};
use countersign_plugin::store::trail::{Content, Event as AuditEvent, Opened, Reader};
use countersign_wire::client::{Act, Approval, Outcome, Reply, Request};
use countersign_wire::hal::Op;
use std::collections::BTreeMap;

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its name.
    pub invariant: &'static str,
    /// What was seen.
    pub seen: String,
}

/// One account's name: tenant and account.
pub(crate) type Who = (String, String);

/// A request that was not answered yet.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) tenant: &'static str,
    pub(crate) request: Request,
    /// Its place in the history.
    pub(crate) at: u64,
    pub(crate) powered_secs: u64,
    /// The earliest and the latest that the real-time clock showed since.
    pub(crate) unix_secs: (u64, u64),
}

impl Ask {
    /// The account it is about.
    pub(crate) fn who(&self, facts: &Facts) -> Option<Who> {
        let named = |account: &str| Some((self.tenant.to_owned(), account.to_owned()));
        match &self.request.act {
            Act::Enroll(enroll) => named(enroll.account.as_str()),
            Act::Confirm(codes) | Act::Unlock(codes) => named(codes.account.as_str()),
            Act::ShowAccount(name) => named(name.as_str()),
            Act::CreateKey(create) => named(create.label.account.as_str()),
            Act::Sign(sign) => named(sign.key.account.as_str()),
            Act::ContextLogin(login) => facts.keys.get(&*login.operation.key).map(|key| key.who.clone()),
            Act::ContextSign(sign) => facts.keys.get(&*sign.operation.key).map(|key| key.who.clone()),
            Act::Approve(approve) => named(approve.account.as_str()),
            Act::Decline(decline) => named(decline.account.as_str()),
            Act::EnrollSealed(enroll) => named(enroll.account.as_str()),
            Act::DeviceAct(act) => named(act.account.as_str()),
            _ => None,
        }
        .filter(|who| who.0 == self.tenant)
    }

    /// The one code it carries.
    pub(crate) fn code(&self) -> Option<&str> {
        match &self.request.act {
            Act::Sign(sign) => sign.approval.as_ref(),
            Act::ContextLogin(login) => Some(&login.approval),
            _ => None,
        }
        .and_then(|approval| match approval {
            Approval::Code(code) => Some(code.expose()),
            Approval::Intent(_) | Approval::Prior => None,
        })
    }
}

/// The tenant that a device names.
fn tenant_of(act: &Act) -> Option<&'static str> {
    let name = match act {
        Act::Approve(approve) => &approve.tenant,
        Act::Decline(decline) => &decline.tenant,
        Act::EnrollSealed(enroll) => &enroll.tenant,
        Act::DeviceAct(act) => &act.tenant,
        _ => return None,
    };
    TENANTS.into_iter().find(|tenant| *tenant == name.as_str())
}

/// A key that was durably made.
#[derive(Clone, Debug)]
pub(crate) struct KeyFact {
    pub(crate) who: Who,
    pub(crate) key: Key,
}

/// What follows from the history so far.
#[derive(Clone, Default)]
pub(crate) struct Facts {
    /// How many events there were.
    pub(crate) at: u64,
    /// The newest durable record of each account, and where its nonce stands.
    pub(crate) accounts: BTreeMap<Who, (u64, Account)>,
    pub(crate) keys: BTreeMap<[u8; 16], KeyFact>,
    /// Key ids by wrapped private key.
    pub(crate) wrapped: BTreeMap<Vec<u8>, [u8; 16]>,
    pub(crate) asks: BTreeMap<u64, Ask>,
    /// Those that carry no API key: what devices say.
    pub(crate) device_asks: BTreeMap<u64, Ask>,
}

impl Facts {
    fn before(&mut self, moment: &Moment) {
        self.at += 1;
        for ask in self.asks.values_mut().chain(self.device_asks.values_mut()) {
            ask.unix_secs.0 = ask.unix_secs.0.min(moment.unix_secs);
            ask.unix_secs.1 = ask.unix_secs.1.max(moment.unix_secs);
        }
        match &moment.event {
            Event::Boot(_) => {
                self.asks.clear();
                self.device_asks.clear();
            }
            Event::Asked { ticket, tenant, request: Some(request) } => {
                let asks = match tenant {
                    Some(_) => &mut self.asks,
                    None if request.api_key.is_none() => &mut self.device_asks,
                    None => return,
                };
                let Some(tenant) = tenant.or_else(|| tenant_of(&request.act)) else { return };
                let ask = Ask {
                    tenant,
                    request: (**request).clone(),
                    at: self.at,
                    powered_secs: moment.powered_secs,
                    unix_secs: (moment.unix_secs, moment.unix_secs),
                };
                asks.insert(*ticket, ask);
            }
            _ => {}
        }
    }

    /// Takes the request out that is answered.
    fn answer(&mut self, event: &Event) -> [Option<Ask>; 2] {
        match event {
            Event::Answered { ticket, .. } => [self.asks.remove(ticket), self.device_asks.remove(ticket)],
            _ => [None, None],
        }
    }

    fn durable(&mut self, records: &[Opened]) {
        for record in records {
            if let Content::Account(account) = &record.content {
                let who = (account.tenant.as_str().to_owned(), account.name.as_str().to_owned());
                for key in &account.keys {
                    if let Source::Wrapped(wrapped) = &key.source {
                        self.wrapped.entry(wrapped.to_vec()).or_insert_with(|| key.id.into_array());
                    }
                    self.keys
                        .entry(key.id.into_array())
                        .or_insert_with(|| KeyFact { who: who.clone(), key: key.clone() });
                }
                self.accounts.insert(who, (record.position, (**account).clone()));
            }
        }
    }
}

/// One event, and what a checker may know of it.
pub(crate) struct Seen<'a> {
    pub(crate) moment: &'a Moment,
    pub(crate) event: &'a Event,
    pub(crate) facts: &'a Facts,
    /// The records of the entry that is being written, or became durable.
    pub(crate) records: &'a [Opened],
    /// The request that is answered.
    pub(crate) answered: Option<(&'a Ask, &'a Reply)>,
    /// What a device said, that is answered.
    pub(crate) device: Option<&'a Ask>,
}

impl Seen<'_> {
    /// The audit events of the entry.
    pub(crate) fn events(&self) -> impl Iterator<Item = &AuditEvent> {
        self.records
            .iter()
            .filter_map(|record| match &record.content {
                Content::Events(events) => Some(events),
                _ => None,
            })
            .flatten()
    }

    /// The audit events of an entry that has just become durable.
    pub(crate) fn durable_events(&self) -> impl Iterator<Item = &AuditEvent> {
        let durable = matches!(self.event, Event::Durable { .. });
        self.events().filter(move |_| durable)
    }

    /// Accounts in an entry that has just become durable.
    pub(crate) fn durable_accounts(&self) -> impl Iterator<Item = (u64, &Account)> {
        let durable = matches!(self.event, Event::Durable { .. });
        self.records.iter().filter(move |_| durable).filter_map(|record| match &record.content {
            Content::Account(account) => Some((record.position, &**account)),
            _ => None,
        })
    }

    /// The account that an audit event is about.
    pub(crate) fn who(&self, event: &AuditEvent, key: Option<&[u8; 16]>) -> Option<Who> {
        match (&event.tenant, &event.account, key) {
            (Some(tenant), Some(account), _) => {
                Some((tenant.as_str().to_owned(), account.as_str().to_owned()))
            }
            (Some(_), None, Some(key)) => self.facts.keys.get(key).map(|key| key.who.clone()),
            _ => None,
        }
    }

    /// Whether the plugin starts anew.
    pub(crate) fn is_boot(&self) -> bool {
        matches!(self.event, Event::Boot(_))
    }
}

/// Judges one invariant.
pub(crate) trait Checker {
    /// Its name.
    const INVARIANT: &'static str;
    /// Takes one event in.
    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String>;
}

macro_rules! checkers {
    ($($field:ident: $checker:ty,)*) => {
        #[derive(Clone, Default)]
        struct Checkers { $($field: $checker,)* }

        impl Checkers {
            fn see(&mut self, seen: &Seen<'_>) -> Result<(), Violation> {
                $(self.$field.see(seen).map_err(|what| Violation {
                    invariant: <$checker as Checker>::INVARIANT,
                    seen: what,
                })?;)*
                Ok(())
            }
        }

        /// Every invariant that is checked event by event, by name.
        pub const INVARIANTS: &[&str] = &[$(<$checker as Checker>::INVARIANT),*];
    };
}

checkers! {
    nonces: store::NoNonceRepeats,
    opening: store::OpensExactlyWhenWhole,
    versions: store::EachVersionIsMadeOnce,
    trail: store::TrailIsComplete,
    logs: log::LogsAreTheTrail,
    grants: approvals::OneGrantPerApproval,
    steps: approvals::StepsOnlyRise,
    signing: approvals::NoGrantNoSignature,
    released: approvals::OneSignaturePerGrant,
    time: approvals::CodesAreOfThePresent,
    devices: devices::ApprovedByItsDevice,
    frozen: devices::FrozenStaysFrozen,
    told: devices::DevicesAreToldWhatIsDurable,
    counted: guessing::CountedBeforeTold,
    budgets: guessing::BudgetsHold,
    locks: guessing::LockedStaysLocked,
    pairs: guessing::PairsAreRare,
    limits: limits::LimitsHold,
    commits: replies::RepliesWaitForTheirCommit,
    kept: replies::NoAcknowledgedChangeIsLost,
    tenants: replies::TenantsAreApart,
    answers: replies::EveryRequestIsAnsweredOnce,
    internal: replies::NoInternalErrorWithoutAFault,
}

/// What the checkers know; may be copied to where a history goes on.
#[derive(Clone, Default)]
pub struct Knowledge {
    facts: Facts,
    checkers: Checkers,
}

/// All checkers over one history.
pub struct Judge {
    reader: Reader,
    knowledge: Knowledge,
    writing: Vec<Opened>,
}

/// What the simulation found unreadable in what the plugin wrote.
const WRITTEN_OPENS: &str = "what-is-written-opens";

impl Judge {
    /// Goes on from what is known.
    pub fn new(sealing_key: &[u8], hsm_id: [u8; 16], knowledge: Knowledge) -> Self {
        Self { reader: Reader::new(sealing_key, hsm_id), knowledge, writing: Vec::new() }
    }

    /// What is known.
    pub fn knowledge(&self) -> &Knowledge {
        &self.knowledge
    }

    /// Takes one event in.
    pub fn see(&mut self, moment: &Moment) -> Result<(), Violation> {
        let facts = &mut self.knowledge.facts;
        facts.before(moment);
        let unreadable = |why| Violation {
            invariant: WRITTEN_OPENS,
            seen: format!("the plugin wrote what does not open: {why:?}"),
        };
        let mut archived = Vec::new();
        match &moment.event {
            Event::Called { op: Op::Commit { append, .. }, .. } => {
                self.writing = match append.as_slice() {
                    [] => Vec::new(),
                    entry => self.reader.entry(entry).map_err(unreadable)?.0,
                };
            }
            Event::Called { op: Op::Archive { append, .. }, .. } => {
                archived = self.reader.entry(append).map_err(unreadable)?.0;
            }
            Event::End { archive, log, nvram } => {
                self.knowledge
                    .checkers
                    .trail
                    .compare(&mut self.reader, nvram, archive, log)
                    .map_err(|seen| Violation { invariant: store::TrailIsComplete::INVARIANT, seen })?;
            }
            _ => {}
        }
        let [ask, device] = facts.answer(&moment.event);
        let answered = match (&ask, &moment.event) {
            (Some(ask), Event::Answered { reply, .. }) => Some((ask, &**reply)),
            _ => None,
        };
        let records = match &moment.event {
            Event::Called { op: Op::Commit { .. }, .. } | Event::Durable { .. } => self.writing.as_slice(),
            _ => archived.as_slice(),
        };
        let device = device.as_ref();
        let seen = Seen { moment, event: &moment.event, facts, records, answered, device };
        self.knowledge.checkers.see(&seen)?;
        if let Event::Durable { .. } = moment.event {
            facts.durable(&self.writing);
        }
        Ok(())
    }
}

/// The reason of a refusal.
pub(crate) fn refused(reply: &Reply) -> Option<countersign_wire::reason::Reason> {
    match &reply.outcome {
        Outcome::Refused(refusal) => Some(refusal.reason),
        Outcome::Done(_) => None,
    }
}
