//! `countersign policy`: what custodians write policies with. Nothing here asks the HSM.

use crate::arguments::{ExplainArguments, PolicyCommand};
use crate::failure::Failure;
use crate::payload;
use crate::show::{self, Show, line};
use countersign_intent::bitcoin::{Psbt, Signer, read_signer};
use countersign_intent::ethereum::{Message, Transaction, TypedData};
use countersign_intent::{Intent, summary};
use countersign_policy::tool::{self, Sources};
use countersign_policy::{Decision, KeyUse, Ledger, Payees, Policy, Problem, Question};
use countersign_wire::client::Mechanism;
use serde::Serialize;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use zeroize::Zeroizing;

/// How long the HSM of an explanation has been running: longer than any window and any delay.
const RUNNING_SECS: u64 = 10 * 366 * 86_400;

/// Carries out one of the commands.
pub(crate) fn run(command: &PolicyCommand, json: bool) -> Result<Zeroizing<String>, Failure> {
    match command {
        PolicyCommand::Check { policy } => {
            let checked = Checked::of(&load(policy)?);
            Ok(show::text(&checked, json))
        }
        PolicyCommand::Pack { policy, out } => {
            let loaded = load(policy)?;
            write_new(out, &loaded.document().to_bytes())?;
            let mut packed = Checked::of(&loaded);
            packed.packed = Some(out.display().to_string());
            Ok(show::text(&packed, json))
        }
        PolicyCommand::Test { policy, cases } => {
            let file = cases.clone().unwrap_or_else(|| policy.join("cases.toml"));
            let ran =
                Ran::of(&load(policy)?, &read_text(&file)?).map_err(|problem| wrong(&file, &[problem]))?;
            let shown = show::text(&ran, json);
            if ran.failed == 0 { Ok(shown) } else { Err(Failure::Told(shown)) }
        }
        PolicyCommand::Explain(arguments) => {
            let explained = explain(&load(&arguments.policy)?, arguments)?;
            Ok(show::text(&explained, json))
        }
        PolicyCommand::Fmt { policy, check } => {
            let formatted = format(policy, *check)?;
            Ok(show::text(&formatted, json))
        }
    }
}

/// A policy from a folder of sources, or from a packed document.
fn load(path: &Path) -> Result<Policy, Failure> {
    if path.is_dir() {
        let sources = sources(path)?;
        let document = tool::pack(&sources).map_err(|problems| wrong(path, &problems))?;
        return Policy::of(document).map_err(|problems| wrong(path, &problems));
    }
    Policy::read(&payload::read(path)?).map_err(|problem| wrong(path, &[problem]))
}

fn sources(folder: &Path) -> Result<Sources, Failure> {
    Ok(Sources {
        policy_toml: read_text(&folder.join("policy.toml"))?,
        policy_cedar: read_text(&folder.join("policy.cedar"))?,
    })
}

fn read_text(file: &Path) -> Result<String, Failure> {
    String::from_utf8(payload::read(file)?)
        .map_err(|_| Failure::Usage(format!("{} is not text in UTF-8", file.display())))
}

/// Every problem on a line of its own.
fn wrong(path: &Path, problems: &[Problem]) -> Failure {
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Failure::Usage(format!("{}:\n  {}", path.display(), told.join("\n  ")))
}

/// Never over a file that is there: it may be the policy in force.
fn write_new(file: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let unwritable = |error| Failure::Usage(format!("cannot write {}: {error}", file.display()));
    let mut out = OpenOptions::new().write(true).create_new(true).open(file).map_err(unwritable)?;
    out.write_all(bytes).and_then(|()| out.sync_all()).map_err(unwritable)
}

/// `policy check` and `policy pack`.
#[derive(Serialize)]
struct Checked {
    name: String,
    version: u64,
    rules: Vec<String>,
    limits: Vec<String>,
    bytes: usize,
    advice: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    packed: Option<String>,
}

impl Checked {
    fn of(policy: &Policy) -> Self {
        Self {
            name: policy.document().name.clone(),
            version: policy.document().version,
            rules: policy.rules().to_vec(),
            limits: policy.limits().iter().map(|limit| limit.name().to_owned()).collect(),
            bytes: policy.document().to_bytes().len(),
            advice: tool::advice(policy),
            packed: None,
        }
    }
}

impl Show for Checked {
    fn for_people(&self, out: &mut String) {
        line(out, "Policy", &format!("{}, version {}, {} bytes", self.name, self.version, self.bytes));
        line(out, "  rules", &self.rules.join(", "));
        line(out, "  limits", &self.limits.join(", "));
        for advice in &self.advice {
            line(out, "  consider", advice);
        }
        if let Some(file) = &self.packed {
            line(out, "Packed", file);
        }
    }
}

/// `policy test`.
#[derive(Serialize)]
struct Ran {
    passed: usize,
    failed: usize,
    cases: Vec<CaseShown>,
}

#[derive(Serialize)]
struct CaseShown {
    name: String,
    passed: bool,
    expected: String,
    decided: String,
    #[serde(skip)]
    told: String,
}

impl Ran {
    fn of(policy: &Policy, cases: &str) -> Result<Self, Problem> {
        let cases: Vec<CaseShown> = tool::read_cases(policy, cases)?
            .iter()
            .map(|case| {
                let outcome = case.run(policy);
                CaseShown {
                    told: outcome.to_string(),
                    name: outcome.name,
                    passed: outcome.passed,
                    expected: outcome.expected,
                    decided: outcome.decided,
                }
            })
            .collect();
        let passed = cases.iter().filter(|case| case.passed).count();
        Ok(Self { passed, failed: cases.len() - passed, cases })
    }
}

impl Show for Ran {
    fn for_people(&self, out: &mut String) {
        for case in &self.cases {
            out.push_str(&case.told);
            out.push('\n');
        }
        line(out, "Cases", &format!("{} as expected, {} not", self.passed, self.failed));
    }
}

/// `policy explain`.
#[derive(Serialize)]
struct Explained {
    permitted: bool,
    summary: String,
    explanation: String,
}

impl Show for Explained {
    fn for_people(&self, out: &mut String) {
        out.push_str(&self.summary);
        out.push('\n');
        out.push_str(&self.explanation);
    }
}

fn explain(policy: &Policy, arguments: &ExplainArguments) -> Result<Explained, Failure> {
    let (intent, usual) = subject(arguments)?;
    let mut mechanisms: Vec<&str> =
        arguments.mechanisms.iter().map(|word| Mechanism::from(*word).word()).collect();
    if mechanisms.is_empty() {
        mechanisms.push(usual.word());
    }
    let mut payees = Payees::default();
    for address in &arguments.payees {
        payees
            .add(address, 0)
            .map_err(|_| Failure::Usage(format!("{address} cannot be on a list of payees")))?;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let question = Question {
        tenant: &arguments.tenant,
        account: &arguments.account,
        key: KeyUse { mechanisms: &mechanisms, network: arguments.network.map(Into::into) },
        intent: &intent,
        approval: arguments.approval,
        backed_up: false,
        unix_secs: arguments.at.unwrap_or(now),
        elapsed_secs: RUNNING_SECS,
        account_ledger: &Ledger::default(),
        tenant_ledger: &Ledger::default(),
        payees: &payees,
    };
    let explanation = policy.explain(&question);
    Ok(Explained {
        permitted: matches!(explanation.decision, Decision::Permit { .. }),
        summary: summary::render(&intent),
        explanation: tool::explanation_text(policy, &explanation),
    })
}

/// What is explained, and what a key that signs it must have been made for.
fn subject(arguments: &ExplainArguments) -> Result<(Intent, Mechanism), Failure> {
    let ExplainArguments { ethereum, typed_data, message, psbt, .. } = arguments;
    Ok(if let Some(file) = ethereum {
        (Transaction::read(&payload::transaction_of(file)?)?.intent(), Mechanism::Ethereum)
    } else if let Some(file) = typed_data {
        (TypedData::read(&payload::read(file)?)?.intent(), Mechanism::TypedData)
    } else if let Some(file) = message {
        (Message::read(&payload::read(file)?)?.intent(), Mechanism::Message)
    } else if let Some(file) = psbt {
        let psbt = Psbt::read(&payload::psbt_of(file)?)?;
        (psbt.review(&wallet(arguments)?)?.intent, Mechanism::Bitcoin)
    } else {
        (Intent::digest(), Mechanism::Digest)
    })
}

fn wallet(arguments: &ExplainArguments) -> Result<Signer, Failure> {
    let (Some(wallet), Some(network)) = (&arguments.wallet, arguments.network) else {
        return Err(Failure::Usage("a PSBT needs --wallet and --network".to_owned()));
    };
    read_signer(wallet, network.into()).map_err(|_| {
        let told = "--wallet is neither a descriptor as `countersign wallet show` prints it nor a compressed \
                    public key in hex, on that network";
        Failure::Usage(told.to_owned())
    })
}

/// `policy fmt`.
#[derive(Serialize)]
struct Formatted {
    changed: bool,
}

impl Show for Formatted {
    fn for_people(&self, out: &mut String) {
        out.push_str(if self.changed {
            "Formatted policy.cedar.\n"
        } else {
            "policy.cedar is formatted already.\n"
        });
    }
}

fn format(folder: &Path, check: bool) -> Result<Formatted, Failure> {
    let file = folder.join("policy.cedar");
    let before = read_text(&file)?;
    let after = tool::format_rules(&before).map_err(|problem| wrong(&file, &[problem]))?;
    let changed = before != after;
    if changed && check {
        return Err(Failure::Usage(format!(
            "{} is not formatted; run countersign policy fmt",
            file.display()
        )));
    }
    if changed {
        replace(&file, after.as_bytes())?;
    }
    Ok(Formatted { changed })
}

/// Whole or not at all: what somebody wrote is not lost to a full disk.
fn replace(file: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let unwritable = |error| Failure::Usage(format!("cannot write {}: {error}", file.display()));
    let beside = file.with_extension(format!("{}.new", std::process::id()));
    write_new(&beside, bytes)?;
    std::fs::rename(&beside, file).map_err(unwritable)
}
