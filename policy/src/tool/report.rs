//! What people read.

use crate::decide::{Decision, Explanation, Policy, Standing};
use crate::document::{Per, Undeclared};
use crate::ledger::Room;
use crate::tool::cases::why_text;
use crate::tool::units::{decimal, secs_text};
use core::fmt::Write;
use countersign_intent::Amount;

/// What a sound policy may still be asked about: each is a line for a person, none of them an error.
pub fn advice(policy: &Policy) -> Vec<String> {
    let document = policy.document();
    let mut advice = Vec::new();
    if document.undeclared == Undeclared::AskRules {
        advice.push(
            "undeclared = \"ask-rules\": chains and assets that are not declared reach the rules, and no limit counts them"
                .to_owned(),
        );
    }
    for asset in &document.assets {
        let holds = |limit: &&crate::Limit| {
            limit.hard && limit.per() != Per::Transaction && limit.counts_sum_of(&asset.chain, &asset.asset)
        };
        if !policy.limits().iter().any(|limit| holds(&limit)) {
            advice.push(format!(
                "asset {}: no hard limit with a window counts it; the rules alone say how much leaves",
                asset.name
            ));
        }
    }
    for limit in policy.limits().iter().filter(|limit| !limit.hard) {
        let named = document.rules.contains(&format!("Limit::\"{}\"", limit.name()));
        if !named && !document.rules.contains("context.limited") {
            advice.push(format!(
                "limit {}: it is not hard, and no rule names it: it limits nothing",
                limit.name()
            ));
        }
    }
    advice
}

/// A decision and what it came from, line by line.
pub fn explanation_text(policy: &Policy, explanation: &Explanation) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: &str| {
        writeln!(text, "{label}: {value}").expect("a String takes every write");
    };
    match &explanation.decision {
        Decision::Permit { rule, .. } => line("permitted by", rule),
        Decision::Deny { rule, why, retry_after_secs } => {
            line("denied", &why_text(why));
            if let Some(rule) = rule {
                line("by", rule);
            }
            if let Some(secs) = retry_after_secs {
                line("could be permitted in", &secs_text(*secs));
            }
        }
    }
    if explanation.rules.len() > 1 {
        line("also", &explanation.rules.iter().skip(1).cloned().collect::<Vec<_>>().join(", "));
    }
    line("payees", explanation.payees);
    for standing in &explanation.limits {
        line(&format!("limit {}", standing.limit), &standing_text(policy, standing));
    }
    text
}

fn standing_text(policy: &Policy, standing: &Standing) -> String {
    let document = policy.document();
    let declared = document.limits.iter().find(|limit| limit.name == standing.limit);
    let asset = declared.and_then(|limit| document.asset(&limit.asset));
    let (decimals, name) = asset.map_or((0, ""), |asset| (asset.decimals, asset.name.as_str()));
    let units = |amount: Amount| decimal(amount, decimals);
    let asked = standing.amount.map_or_else(|| "too much to count".to_owned(), units);
    let room = match standing.room {
        Room::Fits => "fits".to_owned(),
        Room::FitsInSecs(secs) => format!("does not fit, but in {}", secs_text(secs)),
        Room::Never => "does not fit".to_owned(),
    };
    format!("{room}: {} booked and {asked} asked, of {} {name}", units(standing.booked), units(standing.most))
}
