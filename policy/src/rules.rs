//! The rules, in Cedar: loaded strictly against the schema, and asked.
//!
//! Cedar skips a rule whose evaluation fails, and a `forbid` that is skipped forbids nothing. So any failure of any rule
//! denies ([`Outcome::Failed`]), whatever the others say. The schema leaves few ways to fail: arithmetic beyond 64 bits, and
//! attributes of some other key than the one that is asked about.

use crate::caps;
use crate::document::{Document, RESERVED, is_name};
use crate::picture::Picture;
use crate::problem::Problem;
use cedar_policy::{
    AuthorizationError, Authorizer, Decision, Entities, EntityUid, Policy, PolicyId, PolicySet, Request,
    Schema, ValidationMode, Validator,
};
use core::fmt::Write;
use core::str::FromStr;
use miette::Diagnostic;

/// What rules may ask, but for the names that a document declares.
pub const SCHEMA: &str = include_str!("../schema.cedarschema");

/// The rules of one document.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    set: PolicySet,
    /// The rules' names, in the order of the text.
    names: Vec<String>,
    schema: Schema,
    /// The actions and their groups.
    actions: Entities,
    /// Those of [`HELPFUL`] that the rules name.
    mentioned: Vec<&'static str>,
}

/// The attributes that a user can do something about.
const HELPFUL: [&str; 4] = ["approved_at_least", "limited", "payees", "within"];

/// Who asks, for what and on what, and the entities behind them.
pub(crate) struct Prepared {
    uids: [EntityUid; 3],
    entities: Entities,
}

/// What the rules say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Permit,
    /// A `forbid` applies.
    Forbid,
    /// No rule applies.
    Silent,
    /// Some rule could not be evaluated.
    Failed,
}

/// What the rules say, and which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) outcome: Outcome,
    /// The rules that decided, in the order of the text: the permits of a permission, the forbids of a prohibition, the
    /// ones that failed.
    pub(crate) rules: Vec<String>,
}

/// The whole schema of a document: [`SCHEMA`] and the names that it declares.
pub fn schema_text(document: &Document) -> String {
    let mut chains: Vec<&str> = document.assets.iter().map(|asset| asset.chain.as_str()).collect();
    chains.sort_unstable();
    chains.dedup();
    let mut text = SCHEMA.to_owned();
    let mut declare = |entity: &str, names: &mut dyn Iterator<Item = &str>| {
        let choices: Vec<_> = names.map(|name| format!("\"{name}\"")).collect();
        writeln!(text, "entity {entity} enum [{}];", choices.join(", ")).expect("a String takes every write");
    };
    let [none, other] = RESERVED;
    declare("Chain", &mut chains.into_iter().chain([none, other]));
    declare("Asset", &mut document.assets.iter().map(|asset| asset.name.as_str()).chain([other]));
    // Cedar has no empty enumeration; "none" is the name of no limit.
    declare("Limit", &mut document.limits.iter().map(|limit| limit.name.as_str()).chain([none]));
    text
}

impl Rules {
    /// Reads and checks the rules of a document whose other parts have no problems.
    pub(crate) fn load(document: &Document) -> Result<Self, Vec<Problem>> {
        let text = &document.rules;
        let starts = caps::check(text).map_err(|problem| vec![problem])?;
        let parsed = PolicySet::from_str(text).map_err(|errors| parse_problems(text, &errors))?;
        if parsed.templates().next().is_some() {
            let what = "templates (?principal, ?resource) are not used here";
            return Err(vec![Problem::rules(text, 0, what, "write the names themselves")]);
        }
        let (set, names) = named(text, &parsed, &starts)?;
        let (schema, _) =
            Schema::from_cedarschema_str(&schema_text(document)).map_err(|error| no_schema(&error))?;
        let problems = validation_problems(text, &set, &schema);
        if !problems.is_empty() {
            return Err(problems);
        }
        let actions = schema.action_entities().map_err(|error| no_schema(&error))?;
        let mentioned = HELPFUL.into_iter().filter(|attribute| text.contains(attribute)).collect();
        Ok(Self { set, names, schema, actions, mentioned })
    }

    /// The rules' names, in the order of the text.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether some rule names this attribute of the context. It may say so of a comment, never the other way round.
    pub(crate) fn mention(&self, attribute: &str) -> bool {
        self.mentioned.contains(&attribute)
    }

    /// What is the same for all that is asked about one question. `None` if it cannot be asked.
    pub(crate) fn prepare(&self, picture: &Picture<'_>) -> Option<Prepared> {
        let (uids, of_request) = picture.entities()?;
        let entities = self.actions.clone().add_entities(of_request, Some(&self.schema)).ok()?;
        Some(Prepared { uids, entities })
    }

    /// Asks. Whatever cannot be asked, or answered without a failure, is [`Outcome::Failed`].
    pub(crate) fn ask(&self, prepared: Option<&Prepared>, picture: &Picture<'_>) -> Verdict {
        let request = prepared.zip(picture.context()).and_then(|(prepared, context)| {
            let [principal, action, resource] = prepared.uids.clone();
            let request = Request::new(principal, action, resource, context, Some(&self.schema)).ok()?;
            Some((request, &prepared.entities))
        });
        let Some((request, entities)) = request else {
            return Verdict { outcome: Outcome::Failed, rules: Vec::new() };
        };
        let response = Authorizer::new().is_authorized(&request, &self.set, entities);
        let diagnostics = response.diagnostics();
        let failed: Vec<_> = diagnostics
            .errors()
            .map(|AuthorizationError::PolicyEvaluationError(error)| error.policy_id())
            .collect();
        if !failed.is_empty() {
            return Verdict { outcome: Outcome::Failed, rules: self.in_order(&failed) };
        }
        let decided: Vec<_> = diagnostics.reason().collect();
        let outcome = match response.decision() {
            // A permission that names no rule cannot be; were it to be, it would be none.
            Decision::Allow if decided.is_empty() => Outcome::Failed,
            Decision::Allow => Outcome::Permit,
            Decision::Deny if decided.is_empty() => Outcome::Silent,
            Decision::Deny => Outcome::Forbid,
        };
        Verdict { outcome, rules: self.in_order(&decided) }
    }

    /// Cedar keeps its answer in sets that have no order.
    fn in_order(&self, ids: &[&PolicyId]) -> Vec<String> {
        let named = |name: &&String| ids.iter().any(|id| AsRef::<str>::as_ref(*id) == name.as_str());
        self.names.iter().filter(named).cloned().collect()
    }
}

/// Declared names are names: they always make a schema. A test over every sample shows that the rest of it is sound.
fn no_schema(error: &dyn core::fmt::Display) -> Vec<Problem> {
    vec![Problem::document(format!("the names make no schema: {error}"), "report this, it should not be")]
}

/// Every rule by the name in its `@id`.
fn named(text: &str, parsed: &PolicySet, starts: &[usize]) -> Result<(PolicySet, Vec<String>), Vec<Problem>> {
    let mut numbered: Vec<(usize, &Policy)> = Vec::new();
    for policy in parsed.policies() {
        // Cedar numbers the rules in the order of the text: "policy0", "policy1", …
        let id: &str = policy.id().as_ref();
        let number = id
            .strip_prefix("policy")
            .and_then(|number| number.parse().ok())
            .ok_or_else(|| no_schema(&"no number"))?;
        numbered.push((number, policy));
    }
    numbered.sort_by_key(|(number, _)| *number);
    let (mut set, mut names, mut problems) = (PolicySet::new(), Vec::new(), Vec::new());
    for (number, policy) in numbered {
        let name = policy.annotation("id").unwrap_or_default();
        let place = starts.get(number).copied().unwrap_or_default();
        if !is_name(name) {
            let what = "the rule has no name";
            problems.push(Problem::rules(
                text,
                place,
                what,
                "put @id(\"a-name\") before it: a-z, 0-9 and '-'",
            ));
        } else if set.add(policy.new_id(PolicyId::new(name))).is_err() {
            problems.push(Problem::rules(text, place, "two rules have this name", "rename one"));
        } else {
            names.push(name.to_owned());
        }
    }
    if problems.is_empty() { Ok((set, names)) } else { Err(problems) }
}

fn parse_problems(text: &str, errors: &cedar_policy::ParseErrors) -> Vec<Problem> {
    errors.iter().map(|error| cedar_problem(text, error, "see the Cedar grammar")).collect()
}

fn validation_problems(text: &str, set: &PolicySet, schema: &Schema) -> Vec<Problem> {
    let result = Validator::new(schema.clone()).validate(set, ValidationMode::Strict);
    let mut problems: Vec<_> =
        result.validation_errors().map(|error| cedar_problem(text, error, "see the schema")).collect();
    if problems.is_empty() {
        // A rule that never applies, a name that looks like another: whoever wrote it meant something else.
        let remedy = "write what is meant, or take it out";
        problems.extend(result.validation_warnings().map(|warning| cedar_problem(text, warning, remedy)));
    }
    // Cedar walks the rules in no particular order.
    problems.sort();
    problems.dedup();
    problems
}

fn cedar_problem(text: &str, diagnostic: &dyn Diagnostic, otherwise: &str) -> Problem {
    let offset = diagnostic.labels().and_then(|mut labels| labels.next()).map_or(0, |label| label.offset());
    let remedy = diagnostic.help().map_or_else(|| otherwise.to_owned(), |help| help.to_string());
    Problem::rules(text, offset, diagnostic.to_string(), remedy)
}
