//! What people write policies with, outside the boundary: pack, unpack, check, test, explain, format.
//!
//! Everything takes and gives text and values; who calls it opens the files.
//!
//! | module | does |
//! | --- | --- |
//! | [`source`] | `policy.toml` and `policy.cedar` to the canonical document, and back |
//! | [`cases`] | tables of cases: what a policy must permit and deny |
//! | [`report`] | what people read: problems, advice, explanations |
//! | `units` | amounts and times as people write them |

pub mod cases;
pub mod report;
pub mod source;
mod units;

pub use cases::{Case, Outcome, read_cases};
pub use report::{advice, explanation_text};
pub use source::{Sources, pack, unpack};

use crate::decide::Policy;
use crate::problem::Problem;

/// Packs and checks: the policy, or all that is wrong with it, each with its place in the two texts.
pub fn check(sources: &Sources) -> Result<Policy, Vec<Problem>> {
    let toml = &sources.policy_toml;
    let placed = |problems: Vec<Problem>| {
        problems.into_iter().map(|problem| source::in_policy_toml(problem, toml)).collect::<Vec<_>>()
    };
    pack(sources).and_then(Policy::of).map_err(placed)
}

/// Runs a table of cases.
pub fn test(policy: &Policy, cases_toml: &str) -> Result<Vec<Outcome>, Problem> {
    Ok(read_cases(policy, cases_toml)?.iter().map(|case| case.run(policy)).collect())
}

/// The rules as Cedar's formatter writes them. Comments stay.
pub fn format_rules(rules: &str) -> Result<String, Problem> {
    crate::caps::check(rules)?;
    let config = cedar_policy_formatter::Config { line_width: 110, indent_width: 4 };
    cedar_policy_formatter::policies_str_to_pretty(rules, &config)
        .map_err(|error| Problem::rules(rules, 0, error.to_string(), "check the policy first"))
}
