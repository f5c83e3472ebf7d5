//! `policy.toml` and `policy.cedar` to the canonical document, and back.

use crate::document::{Counts, DeclaredAsset, DeclaredLimit, Document, FORMAT, Per, Undeclared, read_amount};
use crate::problem::{Place, Problem};
use crate::tool::units::{decimal, read_quantity, read_secs, secs_text};
use core::fmt::Write;
use serde::{Deserialize, de::DeserializeOwned};

/// The two texts that people write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// `policy.toml`: what is declared.
    pub policy_toml: String,
    /// `policy.cedar`: the rules.
    pub policy_cedar: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyToml {
    format: u8,
    name: String,
    version: u64,
    #[serde(default = "refuse")]
    undeclared: Undeclared,
    payee_delay: String,
    #[serde(default)]
    asset: Vec<DeclaredAsset>,
    #[serde(default)]
    limit: Vec<LimitToml>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitToml {
    name: String,
    per: Per,
    #[serde(default = "sum")]
    counts: Counts,
    window: Option<String>,
    most: String,
    #[serde(default = "hard")]
    hard: bool,
}

const fn refuse() -> Undeclared {
    Undeclared::Refuse
}

const fn sum() -> Counts {
    Counts::Sum
}

const fn hard() -> bool {
    true
}

/// Makes the document. Whether it is sound is for [`crate::Policy::of`] to say.
pub fn pack(sources: &Sources) -> Result<Document, Vec<Problem>> {
    let read: PolicyToml = read_toml("policy.toml", &sources.policy_toml).map_err(|problem| vec![problem])?;
    let mut document = Document {
        format: read.format,
        name: read.name,
        version: read.version,
        undeclared: read.undeclared,
        payee_delay_secs: 0,
        assets: read.asset,
        limits: Vec::new(),
        // A file that was saved on Windows means the same.
        rules: sources.policy_cedar.replace("\r\n", "\n"),
    };
    let mut problems = Vec::new();
    match read_secs(&read.payee_delay) {
        Ok(secs) => document.payee_delay_secs = secs,
        Err(remedy) => problems.push(Problem::field("payee_delay", "not a time", remedy)),
    }
    for limit in read.limit {
        match limit.declared(&document) {
            Ok(declared) => document.limits.push(declared),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(document) } else { Err(problems) }
}

impl LimitToml {
    fn declared(self, document: &Document) -> Result<DeclaredLimit, Problem> {
        let field = |part: &str| format!("limit {}: {part}", self.name);
        let quantity = read_quantity(document, &self.most)
            .map_err(|remedy| Problem::field(field("most"), "not an amount of a declared asset", remedy))?;
        if quantity.declared.is_none() {
            return Err(Problem::field(field("most"), "the asset is not declared", "declare it"));
        }
        let window = self.window.as_deref().map(read_secs).transpose();
        let window_secs = window.map_err(|remedy| Problem::field(field("window"), "not a time", remedy))?;
        if (self.per == Per::Transaction) != window_secs.is_none() {
            let remedy = "a limit per account or tenant has one, a limit per transaction has none";
            return Err(Problem::field(field("window"), "missing, or too many", remedy));
        }
        Ok(DeclaredLimit {
            asset: quantity.asset.to_owned(),
            most: quantity.amount.to_string(),
            window_secs: window_secs.unwrap_or_default(),
            name: self.name,
            per: self.per,
            counts: self.counts,
            hard: self.hard,
        })
    }
}

/// The place in `policy.toml` that a field's problem is about: where the name stands, or the field's own line.
pub(crate) fn in_policy_toml(problem: Problem, policy_toml: &str) -> Problem {
    let Place::Field(field) = &problem.place else {
        return problem;
    };
    let named = ["asset ", "limit "].iter().find_map(|prefix| field.strip_prefix(prefix));
    let name = named.and_then(|rest| rest.split_once(':')).map(|(name, _)| name);
    let mut offset = 0;
    let mut found = None;
    for line in policy_toml.split_inclusive('\n') {
        let (key, value) = line.split_once('=').unwrap_or_default();
        let here = match name {
            Some(name) => key.trim() == "name" && value.trim().trim_matches('"') == name,
            None => {
                key.trim() == field.as_str() || line.trim() == format!("[[{}]]", field.trim_end_matches('s'))
            }
        };
        // Of two with one name the second is too many; the document's own fields come before all others.
        if here && (name.is_some() || found.is_none()) {
            found = Some(offset);
        }
        offset += line.len();
    }
    match found {
        Some(offset) => Problem::at(
            "policy.toml",
            policy_toml,
            offset,
            format!("{field}: {}", problem.what),
            problem.remedy,
        ),
        None => problem,
    }
}

/// Reads TOML strictly; the problem has its line and column.
pub(crate) fn read_toml<T: DeserializeOwned>(name: &'static str, text: &str) -> Result<T, Problem> {
    toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        Problem::at(name, text, offset, error.message().to_owned(), "see policy/README.md")
    })
}

/// The two texts that a document was made of, or could have been made of: what officers read before they sign. Packed
/// again they are the same document.
pub fn unpack(document: &Document) -> Sources {
    Sources { policy_toml: toml_text(document), policy_cedar: document.rules.clone() }
}

fn toml_text(document: &Document) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: &dyn core::fmt::Display| {
        writeln!(text, "{key} = {value}").expect("a String takes every write");
    };
    line("format", &FORMAT);
    line("name", &quoted(&document.name));
    line("version", &document.version);
    line("undeclared", &quoted(word(document.undeclared)));
    line("payee_delay", &quoted(&secs_text(document.payee_delay_secs)));
    for asset in &document.assets {
        text.push_str("\n[[asset]]\n");
        for (key, value) in [("name", &asset.name), ("chain", &asset.chain), ("asset", &asset.asset)] {
            writeln!(text, "{key} = {}", quoted(value)).expect("a String takes every write");
        }
        writeln!(text, "decimals = {}", asset.decimals).expect("a String takes every write");
    }
    for limit in &document.limits {
        text.push_str(&limit_text(document, limit));
    }
    text
}

fn limit_text(document: &Document, limit: &DeclaredLimit) -> String {
    let per = match limit.per {
        Per::Transaction => "transaction",
        Per::Account => "account",
        Per::Tenant => "tenant",
    };
    let counts = match limit.counts {
        Counts::Sum => "sum",
        Counts::Fee => "fee",
    };
    let decimals = document.asset(&limit.asset).map_or(0, |asset| asset.decimals);
    let most = decimal(read_amount(&limit.most).unwrap_or_default(), decimals);
    let window = match limit.per {
        Per::Transaction => String::new(),
        Per::Account | Per::Tenant => format!("window = {}\n", quoted(&secs_text(limit.window_secs))),
    };
    format!(
        "\n[[limit]]\nname = {}\nper = \"{per}\"\ncounts = \"{counts}\"\n{window}most = {}\nhard = {}\n",
        quoted(&limit.name),
        quoted(&format!("{most} {}", limit.asset)),
        limit.hard
    )
}

/// Sound documents have nothing to escape in their names; what is not sound is shown as it can be.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_default())
}

const fn word(undeclared: Undeclared) -> &'static str {
    match undeclared {
        Undeclared::Refuse => "refuse",
        Undeclared::AskRules => "ask-rules",
    }
}
