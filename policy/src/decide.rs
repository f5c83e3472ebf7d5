//! One decision: what stands whatever the rules say, then the limits, then the rules.

use crate::booking::Booking;
use crate::document::{Document, Per, RESERVED, Undeclared};
use crate::facts::{Facts, MOVES_MAX, Moved};
use crate::ledger::{Ledger, Room};
use crate::limits::{Charge, Limit};
use crate::payees::Payees;
use crate::picture::{PayeeState, Picture};
use crate::problem::Problem;
use crate::rules::{Outcome, Rules};
use countersign_intent::{Amount, Intent, Kind, Network};
/// What a user approves with.
pub use countersign_wire::client::ApprovalKind as Approval;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A policy in force. Holding one proves that its document was read strictly and that its rules fit its schema.
#[derive(Clone, Debug)]
pub struct Policy {
    document: Document,
    limits: Arc<[Limit]>,
    rules: Rules,
}

/// What the key was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUse<'a> {
    /// The words of its mechanisms.
    pub mechanisms: &'a [&'a str],
    /// Its Bitcoin network, where it has one.
    pub network: Option<Network>,
}

/// One question to the policy.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The custodian.
    pub tenant: &'a str,
    /// The user whose key it is.
    pub account: &'a str,
    /// What the key was made for.
    pub key: KeyUse<'a>,
    /// What is to be signed.
    pub intent: &'a Intent,
    /// The kind of approval that the user gives for it.
    pub approval: Approval,
    /// Of a passkey: whether it was copied to other devices of its user.
    pub backed_up: bool,
    /// The HSM's clock, for hours and weekdays alone.
    pub unix_secs: u64,
    /// How long the HSM has been running over its life, for windows and delays.
    pub elapsed_secs: u64,
    /// What the account has spent.
    pub account_ledger: &'a Ledger,
    /// What the tenant's accounts have spent together.
    pub tenant_ledger: &'a Ledger,
    /// Whom the account is known to pay.
    pub payees: &'a Payees,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Permitted.
    Permit {
        /// The first rule that permits it.
        rule: String,
        /// What has to be booked in the same durable change that spends the approval.
        booking: Booking,
    },
    /// Denied. No code need be used up for it.
    Deny {
        /// The first rule that forbids it, where one does.
        rule: Option<String>,
        /// Why.
        why: Why,
        /// After how long the same could be permitted, if nothing else is spent meanwhile.
        retry_after_secs: Option<u64>,
    },
}

/// Why something is denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It cannot be decoded, and the key was not made for digests. No rule can permit it.
    Blind,
    /// The key was made for another Bitcoin network, or for none. No rule can permit it.
    OtherNetwork,
    /// More moves than a policy looks at, or a sum beyond 256 bits.
    TooLarge,
    /// The chain is not declared.
    UndeclaredChain,
    /// An asset that leaves is not declared.
    UndeclaredAsset,
    /// It does not fit the limit of this name.
    Limit(String),
    /// Permitted with an approval of this kind, or a stronger one.
    NeedsApproval(Approval),
    /// Permitted once its recipients are known for long enough.
    NewPayee,
    /// A rule forbids it.
    Forbidden,
    /// No rule permits it.
    NoRule,
    /// A rule could not be evaluated.
    Failed,
}

impl Why {
    /// The word for logs.
    pub const fn word(&self) -> &'static str {
        match self {
            Why::Blind => "blind",
            Why::OtherNetwork => "other-network",
            Why::TooLarge => "too-large",
            Why::UndeclaredChain => "undeclared-chain",
            Why::UndeclaredAsset => "undeclared-asset",
            Why::Limit(_) => "limit",
            Why::NeedsApproval(_) => "needs-approval",
            Why::NewPayee => "new-payee",
            Why::Forbidden => "forbidden",
            Why::NoRule => "no-rule",
            Why::Failed => "failed",
        }
    }
}

/// A decision and what it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The decision.
    pub decision: Decision,
    /// The rules that decided, in the order of the text; empty if no rule was asked, or none applied.
    pub rules: Vec<String>,
    /// What became of each limit that it counts against.
    pub limits: Vec<Standing>,
    /// `known`, `new` or `none`.
    pub payees: &'static str,
}

/// One limit and one intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The limit's name.
    pub limit: String,
    /// What counts against it already.
    pub booked: Amount,
    /// What the intent would add; `None` if 256 bits cannot say it.
    pub amount: Option<Amount>,
    /// The most.
    pub most: Amount,
    /// Whether it fits.
    pub room: Room,
    /// Whether the limit's asset itself leaves, so that rules see the limit in `within`.
    pub(crate) moves: bool,
    pub(crate) hard: bool,
    pub(crate) at: usize,
}

/// What could help who is denied.
struct Help<'a> {
    limits: &'a [Standing],
    /// Whether limits count all that leaves.
    counted: bool,
    /// In how many seconds all recipients are known.
    known_in_secs: Option<u64>,
}

/// Who asks and in which state, apart from what is to be signed.
#[derive(Clone, Copy)]
pub(crate) struct Asking<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) account: &'a str,
    pub(crate) key: KeyUse<'a>,
    pub(crate) approval: Approval,
    pub(crate) backed_up: bool,
    pub(crate) unix_secs: u64,
    pub(crate) elapsed_secs: u64,
    pub(crate) account_ledger: &'a Ledger,
    pub(crate) tenant_ledger: &'a Ledger,
    pub(crate) payees: &'a Payees,
}

impl Policy {
    /// The one constructor from bytes: reads a document strictly, or says what is wrong first.
    pub fn read(bytes: &[u8]) -> Result<Self, Problem> {
        Self::of(Document::read(bytes)?).map_err(|problems| {
            let first = problems.into_iter().next();
            first.unwrap_or_else(|| Problem::document("not a policy", "check it"))
        })
    }

    /// Of a document; says all that is wrong with it. The rules are looked at only if the rest is sound.
    pub fn of(document: Document) -> Result<Self, Vec<Problem>> {
        let problems = document.problems();
        if !problems.is_empty() {
            return Err(problems);
        }
        let rules = Rules::load(&document)?;
        Ok(Self { limits: Limit::all(&document).into(), rules, document })
    }

    /// What it was made of.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// Its limits, in the order of the document.
    pub fn limits(&self) -> &[Limit] {
        &self.limits
    }

    /// Its rules' names, in the order of the text.
    pub fn rules(&self) -> &[String] {
        self.rules.names()
    }

    /// Decides. Whatever no rule permits is denied, and so is whatever is in doubt.
    pub fn decide(&self, question: &Question<'_>) -> Decision {
        self.explain(question).decision
    }

    /// Decides, and says from what.
    pub fn explain(&self, question: &Question<'_>) -> Explanation {
        let asking = Asking {
            tenant: question.tenant,
            account: question.account,
            key: question.key,
            approval: question.approval,
            backed_up: question.backed_up,
            unix_secs: question.unix_secs,
            elapsed_secs: question.elapsed_secs,
            account_ledger: question.account_ledger,
            tenant_ledger: question.tenant_ledger,
            payees: question.payees,
        };
        self.examine(&asking, &Facts::of(question.intent))
    }

    /// The decision, top to bottom.
    pub(crate) fn examine(&self, asking: &Asking<'_>, facts: &Facts) -> Explanation {
        let limits = self.standings(asking, facts);
        let (payees, known_in_secs) = self.payees(asking, facts);
        let of =
            |decision, rules| Explanation { decision, rules, limits: limits.clone(), payees: payees.word() };
        if let Some(why) = self.refused_whatever_the_rules_say(asking, facts) {
            return of(deny(why), Vec::new());
        }
        if let Some((name, wait)) = not_fitting(limits.iter().filter(|standing| standing.hard)) {
            return of(
                Decision::Deny { rule: None, why: Why::Limit(name), retry_after_secs: wait },
                Vec::new(),
            );
        }
        let picture = self.picture(asking, facts, &limits, payees);
        let prepared = self.rules.prepare(&picture);
        let verdict = self.rules.ask(prepared.as_ref(), &picture);
        let decision = match verdict.outcome {
            Outcome::Permit => match verdict.rules.first() {
                Some(rule) => Decision::Permit { rule: rule.clone(), booking: self.booking(&limits) },
                None => deny(Why::Failed),
            },
            Outcome::Failed => Decision::Deny {
                rule: verdict.rules.first().cloned(),
                why: Why::Failed,
                retry_after_secs: None,
            },
            Outcome::Forbid | Outcome::Silent => {
                let ask = |picture: &Picture<'_>| self.rules.ask(prepared.as_ref(), picture).outcome;
                let help = Help { limits: &limits, counted: self.is_counted(facts), known_in_secs };
                self.denied(verdict.rules.first(), &picture, &help, &ask)
            }
        };
        of(decision, verdict.rules)
    }

    /// What a user has to do to be permitted, if one thing is enough; else that it is denied.
    fn denied(
        &self,
        rule: Option<&String>,
        picture: &Picture<'_>,
        help: &Help<'_>,
        ask: &dyn Fn(&Picture<'_>) -> Outcome,
    ) -> Decision {
        let permits = |picture: &Picture<'_>| ask(picture) == Outcome::Permit;
        let deny = |why, retry_after_secs| Decision::Deny { rule: rule.cloned(), why, retry_after_secs };
        if self.rules.mention("approved_at_least") {
            for stronger in Approval::ALL.iter().copied().filter(|kind| *kind > picture.approval) {
                if permits(&Picture { approval: stronger, ..picture.clone() }) {
                    return deny(Why::NeedsApproval(stronger), None);
                }
            }
        }
        if (self.rules.mention("within") || self.rules.mention("limited"))
            && let Some((name, wait)) = not_fitting(help.limits.iter())
        {
            let within = help.limits.iter().filter(|standing| standing.moves);
            let within = within.map(|standing| standing.limit.as_str()).collect();
            if permits(&Picture { within, limited: help.counted, ..picture.clone() }) {
                return deny(Why::Limit(name), wait);
            }
        }
        if self.rules.mention("payees")
            && picture.payees == PayeeState::New
            && permits(&Picture { payees: PayeeState::Known, ..picture.clone() })
        {
            return deny(Why::NewPayee, help.known_in_secs);
        }
        let why = if rule.is_some() { Why::Forbidden } else { Why::NoRule };
        deny(why, None)
    }

    /// The boundary's own rules. No policy can loosen them.
    fn refused_whatever_the_rules_say(&self, asking: &Asking<'_>, facts: &Facts) -> Option<Why> {
        // I15. Typed data that is no permit is shown in full, but nobody here knows what a contract does with it: a permit under
        // another name, the transaction of a contract wallet.
        let blind = facts.kind == Kind::Digest || facts.opaque;
        if blind && !asking.key.mechanisms.contains(&"digest") {
            return Some(Why::Blind);
        }
        let network = asking.key.network.map(Network::word);
        if facts.family == "bitcoin" && facts.chain.strip_prefix("bitcoin:") != network {
            return Some(Why::OtherNetwork);
        }
        if facts.moves.len() > MOVES_MAX {
            return Some(Why::TooLarge);
        }
        let charges = self.limits.iter().filter_map(|limit| limit.charge(facts));
        if charges.into_iter().any(|charge| charge.amount.is_none()) {
            return Some(Why::TooLarge);
        }
        if self.document.undeclared == Undeclared::Refuse {
            if self.declared_chain(facts) == "other" {
                return Some(Why::UndeclaredChain);
            }
            if facts.leaving().any(|moved| self.declared_asset(facts, moved) == "other") {
                return Some(Why::UndeclaredAsset);
            }
        }
        None
    }

    fn declared_chain<'a>(&'a self, facts: &'a Facts) -> &'a str {
        let [none, other] = RESERVED;
        if facts.family == none {
            return none;
        }
        let declared = self.document.assets.iter().any(|asset| asset.chain == facts.chain);
        if declared { &facts.chain } else { other }
    }

    fn declared_asset(&self, facts: &Facts, moved: &Moved) -> &str {
        let same = |asset: &&crate::document::DeclaredAsset| {
            asset.chain == facts.chain && asset.asset == moved.asset
        };
        self.document.assets.iter().find(same).map_or(RESERVED[1], |asset| &asset.name)
    }

    fn standings(&self, asking: &Asking<'_>, facts: &Facts) -> Vec<Standing> {
        let charged =
            self.limits.iter().enumerate().filter_map(|(at, limit)| Some((at, limit, limit.charge(facts)?)));
        charged.map(|(at, limit, charge)| standing(asking, at, limit, charge)).collect()
    }

    /// Who gets it, and in how many seconds all of them are known.
    fn payees(&self, asking: &Asking<'_>, facts: &Facts) -> (PayeeState, Option<u64>) {
        let delay_secs = self.document.payee_delay_secs;
        let mut longest = Some(0);
        let mut nobody = true;
        for moved in facts.leaving() {
            nobody = false;
            let wait = asking.payees.known_in_secs(&moved.to, delay_secs, asking.elapsed_secs);
            longest = longest.zip(wait).map(|(longest, wait)| wait.max(longest));
        }
        match (nobody, longest) {
            (true, _) => (PayeeState::None, None),
            (false, Some(0)) => (PayeeState::Known, None),
            (false, wait) => (PayeeState::New, wait),
        }
    }

    fn picture<'a>(
        &'a self,
        asking: &Asking<'a>,
        facts: &'a Facts,
        limits: &'a [Standing],
        payees: PayeeState,
    ) -> Picture<'a> {
        let moved = limits.iter().filter(|standing| standing.moves && standing.room == Room::Fits);
        Picture {
            tenant: asking.tenant,
            account: asking.account,
            key: asking.key,
            kind: facts.kind,
            approval: asking.approval,
            backed_up: asking.backed_up,
            assets: facts.leaving().map(|moved| self.declared_asset(facts, moved)).collect(),
            chain: self.declared_chain(facts),
            family: facts.family,
            unix_secs: asking.unix_secs,
            limited: self.is_limited(facts, limits),
            move_count: facts.leaving().count(),
            opaque: facts.opaque,
            payees,
            recipients: facts.leaving().map(|moved| moved.to.as_str()).collect::<BTreeSet<_>>(),
            warnings: &facts.warnings,
            within: moved.map(|standing| standing.limit.as_str()).collect(),
        }
    }

    /// All of it is decoded, something leaves, each asset that leaves and the fee count against a limit, and every limit that is
    /// concerned holds.
    fn is_limited(&self, facts: &Facts, limits: &[Standing]) -> bool {
        self.is_counted(facts) && limits.iter().all(|standing| standing.room == Room::Fits)
    }

    fn is_counted(&self, facts: &Facts) -> bool {
        let counted =
            |moved: &Moved| self.limits.iter().any(|limit| limit.counts_sum_of(&facts.chain, &moved.asset));
        // The fee leaves as well. One that nothing counts could be all that the account has.
        let fee = facts.fee_most.is_none_or(|fee| {
            fee.is_zero() || self.limits.iter().any(|limit| limit.counts_fee_on(&facts.chain))
        });
        // What cannot be decoded may move anything: no limit limits it.
        !facts.opaque && fee && facts.leaving().next().is_some() && facts.leaving().all(counted)
    }

    fn booking(&self, limits: &[Standing]) -> Booking {
        let entries = limits.iter().filter_map(|standing| {
            let counts = self.limits.get(standing.at).is_some_and(|limit| limit.per != Per::Transaction);
            let amount = standing.amount.filter(|amount| counts && !amount.is_zero())?;
            Some((standing.at, amount, standing.room == Room::Fits))
        });
        Booking::new(self.limits.clone(), entries)
    }
}

fn standing(asking: &Asking<'_>, at: usize, limit: &Limit, charge: Charge) -> Standing {
    let ledger = match limit.per {
        Per::Tenant => asking.tenant_ledger,
        Per::Account | Per::Transaction => asking.account_ledger,
    };
    Standing {
        limit: limit.name.clone(),
        booked: ledger.booked(limit, asking.elapsed_secs),
        amount: charge.amount,
        most: limit.most,
        room: charge.amount.map_or(Room::Never, |amount| ledger.within(limit, amount, asking.elapsed_secs)),
        moves: charge.moves,
        hard: limit.hard,
        at,
    }
}

/// The first of these limits that it does not fit, and how long until it fits all of them.
fn not_fitting<'a>(limits: impl Iterator<Item = &'a Standing>) -> Option<(String, Option<u64>)> {
    let mut first = None;
    let mut longest = Some(0);
    for standing in limits.filter(|standing| standing.room != Room::Fits) {
        first.get_or_insert_with(|| standing.limit.clone());
        longest = match (longest, standing.room) {
            (Some(longest), Room::FitsInSecs(secs)) => Some(secs.max(longest)),
            _ => None,
        };
    }
    first.map(|name| (name, longest))
}

fn deny(why: Why) -> Decision {
    Decision::Deny { rule: None, why, retry_after_secs: None }
}
