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

use crate::problem::Problem;

/// The rules as Cedar's formatter writes them. Comments stay.
pub fn format_rules(rules: &str) -> Result<String, Problem> {
    crate::caps::check(rules)?;
    let config = cedar_policy_formatter::Config { line_width: 110, indent_width: 4 };
    cedar_policy_formatter::policies_str_to_pretty(rules, &config)
        .map_err(|error| Problem::rules(rules, 0, error.to_string(), "check the policy first"))
}
