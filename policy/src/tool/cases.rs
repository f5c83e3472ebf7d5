//! Tables of cases: what a policy must permit and what it must deny, kept beside it and run on every change.
//!
//! A case says who, what and in which state; what it expects; and, if it likes, by which rule and why. See the samples.

use crate::decide::{Approval, Asking, Decision, Explanation, KeyUse, Policy, Why};
use crate::document::{Document, Per, read_chain};
use crate::facts::{Facts, Moved, family};
use crate::ledger::Ledger;
use crate::payees::Payees;
use crate::problem::Problem;
use crate::tool::source::read_toml;
use crate::tool::units::{Quantity, read_quantity, read_secs};
use core::fmt;
use countersign_intent::bitcoin::{Psbt, read_signer};
use countersign_intent::ethereum::Transaction;
use countersign_intent::{Chain, Kind, Network};
use serde::Deserialize;
use toml::value::Datetime;

/// How long the HSM of the cases has been running: longer than any window and any delay.
const RUNNING_SECS: u64 = 10 * 366 * 86_400;

/// One case, ready to run.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it shows.
    pub name: String,
    tenant: String,
    account: String,
    mechanisms: Vec<String>,
    network: Option<Network>,
    approval: Approval,
    backed_up: bool,
    unix_secs: u64,
    facts: Facts,
    account_ledger: Ledger,
    tenant_ledger: Ledger,
    payees: Payees,
    permit: bool,
    rule: Option<String>,
    why: Option<String>,
}

/// What became of a case.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The case.
    pub name: String,
    /// Whether it was as expected.
    pub passed: bool,
    /// What was expected.
    pub expected: String,
    /// What was decided.
    pub decided: String,
    /// From what.
    pub explanation: Explanation,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.passed {
            write!(f, "ok      {}: {}", self.name, self.decided)
        } else {
            write!(f, "FAILED  {}: expected {}, but {}", self.name, self.expected, self.decided)
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CasesToml {
    case: Vec<CaseToml>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseToml {
    name: String,
    #[serde(default = "default_tenant")]
    tenant: String,
    #[serde(default = "default_account")]
    account: String,
    mechanisms: Option<Vec<String>>,
    network: Option<Network>,
    #[serde(default = "default_approval")]
    approval: String,
    /// Of a passkey: whether it was copied to other devices.
    #[serde(default)]
    backed_up: bool,
    at: Option<Datetime>,
    transaction: Option<String>,
    psbt: Option<String>,
    wallet: Option<String>,
    intent: Option<IntentToml>,
    #[serde(default)]
    payees: Vec<PayeeToml>,
    #[serde(default)]
    booked: Vec<BookedToml>,
    expect: Expect,
    rule: Option<String>,
    why: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IntentToml {
    kind: String,
    #[serde(default = "default_chain")]
    chain: String,
    #[serde(default)]
    moves: Vec<MoveToml>,
    fee: Option<String>,
    #[serde(default)]
    opaque: bool,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MoveToml {
    to: String,
    amount: String,
    #[serde(default)]
    own: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PayeeToml {
    address: String,
    since: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BookedToml {
    limit: String,
    amount: String,
    ago: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Expect {
    Permit,
    Deny,
}

fn default_tenant() -> String {
    "default".to_owned()
}

fn default_account() -> String {
    "alice".to_owned()
}

fn default_approval() -> String {
    "code".to_owned()
}

fn default_chain() -> String {
    "none".to_owned()
}

/// Reads a table of cases for a policy.
pub fn read_cases(policy: &Policy, cases_toml: &str) -> Result<Vec<Case>, Problem> {
    let read: CasesToml = read_toml("cases.toml", cases_toml)?;
    let problem =
        |name: String, what: String| Problem::field(format!("case {name:?}"), what, "correct the case");
    let case = |case: CaseToml| {
        let name = case.name.clone();
        case.read(policy).map_err(|what| problem(name, what))
    };
    read.case.into_iter().map(case).collect()
}

impl CaseToml {
    fn read(self, policy: &Policy) -> Result<Case, String> {
        let facts = self.facts(policy.document())?;
        let (account_ledger, tenant_ledger) = ledgers(policy, self.booked)?;
        let mut payees = Payees::default();
        for payee in self.payees {
            let since = RUNNING_SECS.saturating_sub(read_secs(&payee.since)?);
            payees.add(&payee.address, since).map_err(|why| format!("payee {}: {why:?}", payee.address))?;
        }
        // What is signed on a chain is signed by a key of that chain.
        let for_chain = if facts.family == "none" { "ethereum" } else { facts.family };
        let usual = if facts.kind == Kind::Digest { "digest" } else { for_chain };
        Ok(Case {
            name: self.name,
            tenant: self.tenant,
            account: self.account,
            mechanisms: self.mechanisms.unwrap_or_else(|| vec![usual.to_owned()]),
            network: self.network.or(match read_chain(&facts.chain) {
                Some(Chain::Bitcoin(network)) => Some(network),
                _ => None,
            }),
            approval: Approval::of_word(&self.approval)
                .ok_or_else(|| format!("{:?} is no kind of approval", self.approval))?,
            backed_up: self.backed_up,
            // 2026-01-01 was a Thursday.
            unix_secs: self.at.map_or(Ok(1_767_268_800), unix_secs)?,
            facts,
            account_ledger,
            tenant_ledger,
            payees,
            permit: self.expect == Expect::Permit,
            rule: self.rule,
            why: self.why,
        })
    }

    fn facts(&self, document: &Document) -> Result<Facts, String> {
        match (&self.transaction, &self.psbt, &self.intent) {
            (Some(transaction), None, None) => {
                let lower = transaction.trim_start_matches("0x").to_ascii_lowercase();
                let bytes = data_encoding::HEXLOWER
                    .decode(lower.as_bytes())
                    .map_err(|error| format!("the transaction is not hex: {error}"))?;
                let transaction = Transaction::read(&bytes)
                    .map_err(|reason| format!("the transaction is refused: {}", reason.word()))?;
                Ok(Facts::of(&transaction.intent()))
            }
            (None, Some(psbt), None) => self.facts_of_psbt(psbt),
            (None, None, Some(intent)) => intent.facts(document),
            _ => Err("give one of transaction, psbt and intent".to_owned()),
        }
    }

    fn facts_of_psbt(&self, psbt: &str) -> Result<Facts, String> {
        let wallet = self.wallet.as_deref().ok_or("a psbt needs a wallet: its descriptor or public key")?;
        let network = self.network.ok_or("a psbt needs a network")?;
        let signer = read_signer(wallet, network).map_err(|_| {
            format!("the wallet is no descriptor or public key of the {} network", network.word())
        })?;
        let bytes = data_encoding::BASE64
            .decode(psbt.as_bytes())
            .map_err(|error| format!("the psbt is not Base64: {error}"))?;
        let review = Psbt::read(&bytes).and_then(|psbt| psbt.review(&signer));
        let review = review.map_err(|reason| format!("the psbt is refused: {}", reason.word()))?;
        Ok(Facts::of(&review.intent))
    }
}

impl IntentToml {
    fn facts(&self, document: &Document) -> Result<Facts, String> {
        let kind = Kind::ALL.iter().copied().find(|kind| kind.word() == self.kind);
        let kind = kind.ok_or_else(|| format!("{:?} is no kind of intent", self.kind))?;
        let chain = match self.chain.as_str() {
            "none" => None,
            text => Some(read_chain(text).ok_or_else(|| format!("{text:?} is not a chain"))?),
        };
        let moves: Result<Vec<_>, String> = self
            .moves
            .iter()
            .map(|moved| {
                let quantity = self.quantity(document, &moved.amount)?;
                let asset = quantity.declared.map_or(quantity.asset, |asset| &asset.asset).to_owned();
                Ok(Moved { asset, to: moved.to.clone(), amount: quantity.amount, own: moved.own })
            })
            .collect();
        let fee = self.fee.as_deref().map(|fee| match self.quantity(document, fee)? {
            Quantity { declared: Some(asset), .. } if asset.asset != "native" => {
                Err(format!("a fee is paid in the chain's own coin, not in {}", asset.name))
            }
            quantity => Ok(quantity.amount),
        });
        let warnings: Result<Vec<_>, String> = self.warnings.iter().map(|word| warning(word)).collect();
        Ok(Facts {
            kind,
            chain: self.chain.clone(),
            family: family(chain),
            moves: moves?,
            fee_most: fee.transpose()?,
            // A digest is opaque, whatever a case says.
            opaque: self.opaque || kind == Kind::Digest,
            warnings: warnings?,
        })
    }
}

impl IntentToml {
    /// An amount of something that is on the intent's chain.
    fn quantity<'a>(&self, document: &'a Document, text: &'a str) -> Result<Quantity<'a>, String> {
        let quantity = read_quantity(document, text)?;
        match quantity.declared.filter(|asset| asset.chain != self.chain) {
            Some(asset) => {
                Err(format!("{} is an asset of {}, not of {}", asset.name, asset.chain, self.chain))
            }
            None => Ok(quantity),
        }
    }
}

fn warning(word: &str) -> Result<&'static str, String> {
    let known = [
        "opaque",
        "unlimited-allowance",
        "whole-collection",
        "delegation",
        "any-chain",
        "no-expiry",
        "either-reading",
    ];
    known.into_iter().find(|known| *known == word).ok_or_else(|| format!("{word:?} is no warning"))
}

/// The ledgers after what was booked, the oldest first.
fn ledgers(policy: &Policy, booked: Vec<BookedToml>) -> Result<(Ledger, Ledger), String> {
    let mut all = Vec::new();
    for entry in booked {
        let limit = policy.limits().iter().find(|limit| limit.name() == entry.limit);
        let limit = limit.ok_or_else(|| format!("{:?} is not a limit", entry.limit))?;
        let amount = read_quantity(policy.document(), &entry.amount)?.amount;
        all.push((RUNNING_SECS.saturating_sub(read_secs(&entry.ago)?), limit, amount));
    }
    all.sort_by_key(|(at, ..)| *at);
    let (mut account, mut tenant) = (Ledger::default(), Ledger::default());
    for (at, limit, amount) in all {
        let ledger = if limit.per() == Per::Tenant { &mut tenant } else { &mut account };
        ledger.book(limit, amount, at);
    }
    Ok((account, tenant))
}

/// Seconds since 1970 of a time with its offset written as `Z`.
fn unix_secs(at: Datetime) -> Result<u64, String> {
    let form = || "a time is written 2026-01-05T10:00:00Z".to_owned();
    let (Some(date), Some(time), Some(toml::value::Offset::Z)) = (at.date, at.time, at.offset) else {
        return Err(form());
    };
    if date.year < 1970 {
        return Err("not before 1970".to_owned());
    }
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let year = u64::from(date.year);
    let before: u64 = (1970..year).map(|year| if leap(year) { 366 } else { 365 }).sum();
    let lengths = [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let months: u64 = lengths.iter().take(usize::from(date.month).saturating_sub(1)).sum();
    let days = before + months + u64::from(date.day).saturating_sub(1);
    let second = u64::from(time.second.unwrap_or_default());
    Ok(days * 86_400 + u64::from(time.hour) * 3600 + u64::from(time.minute) * 60 + second)
}

impl Case {
    /// Asks the policy and compares.
    pub fn run(&self, policy: &Policy) -> Outcome {
        let explanation = self.explain(policy);
        let (permit, rule, why) = match &explanation.decision {
            Decision::Permit { rule, .. } => (true, Some(rule.clone()), None),
            Decision::Deny { rule, why, .. } => (false, rule.clone(), Some(why_text(why))),
        };
        let as_expected =
            |expected: &Option<String>, found: &Option<String>| expected.is_none() || expected == found;
        let passed = permit == self.permit && as_expected(&self.rule, &rule) && as_expected(&self.why, &why);
        Outcome {
            name: self.name.clone(),
            passed,
            expected: told(self.permit, self.rule.as_deref(), self.why.as_deref()),
            decided: told(permit, rule.as_deref(), why.as_deref()),
            explanation,
        }
    }

    /// The decision and what it came from.
    pub fn explain(&self, policy: &Policy) -> Explanation {
        let mechanisms: Vec<_> = self.mechanisms.iter().map(String::as_str).collect();
        let asking = Asking {
            tenant: &self.tenant,
            account: &self.account,
            key: KeyUse { mechanisms: &mechanisms, network: self.network },
            approval: self.approval,
            backed_up: self.backed_up,
            unix_secs: self.unix_secs,
            elapsed_secs: RUNNING_SECS,
            account_ledger: &self.account_ledger,
            tenant_ledger: &self.tenant_ledger,
            payees: &self.payees,
        };
        policy.examine(&asking, &self.facts)
    }
}

/// The reason as cases write it: `no-rule`, `limit daily-eth`, `needs-approval passkey`.
pub(crate) fn why_text(why: &Why) -> String {
    match why {
        Why::Limit(name) => format!("limit {name}"),
        Why::NeedsApproval(kind) => format!("needs-approval {}", kind.word()),
        other => other.word().to_owned(),
    }
}

fn told(permit: bool, rule: Option<&str>, why: Option<&str>) -> String {
    let by = rule.map(|rule| format!(" by {rule}")).unwrap_or_default();
    let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
    format!("{}{by}{why}", if permit { "permitted" } else { "denied" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        // `date -u -d 2024-02-29T12:34:56Z +%s`
        for (text, secs) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2024-02-29T12:34:56Z", 1_709_210_096),
            ("2000-03-01T00:00:00Z", 951_868_800),
            ("2026-01-01T12:00:00Z", 1_767_268_800),
        ] {
            assert_eq!(unix_secs(text.parse().unwrap()), Ok(secs), "{text}");
        }
        assert!(unix_secs("2026-01-01T12:00:00+01:00".parse().unwrap()).is_err());
        assert!(unix_secs("2026-01-01".parse().unwrap()).is_err());
    }
}
