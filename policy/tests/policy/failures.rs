//! Any failure of any rule denies.

use crate::world::{ANY_TRANSFER, World, rules, told, wei};
use countersign_policy::{Decision, Why};

/// Arithmetic beyond 64 bits.
const OVERFLOW: &str = "context.hour_utc + 9223372036854775807 > 0";

#[test]
fn a_forbid_that_fails_denies_instead_of_vanishing() {
    let policy = rules(&format!(
        "{ANY_TRANSFER} @id(\"night\") forbid (principal, action, resource) when {{ {OVERFLOW} }};"
    ));
    let decision = World::new().ask(&policy, &wei(1));
    assert_eq!(
        decision,
        Decision::Deny { rule: Some("night".to_owned()), why: Why::Failed, retry_after_secs: None }
    );
    // The twin: at midnight nothing overflows, and the forbid applies.
    let midnight = World { unix_secs: 0, ..World::new() };
    assert_eq!(told(&midnight.ask(&policy, &wei(1))), "forbidden by night");
}

#[test]
fn a_permit_that_fails_denies_even_where_another_permits() {
    let failing = [
        OVERFLOW,
        "context.hour_utc * 9223372036854775807 > 0",
        "-9223372036854775807 - context.hour_utc - context.hour_utc < 0",
        "context.move_count * 9223372036854775807 + context.move_count > 0",
        "Key::\"default/bob\".network == \"\"",
    ];
    for condition in failing {
        let policy = rules(&format!(
            "{ANY_TRANSFER} @id(\"x\") permit (principal, action, resource) when {{ {condition} }};"
        ));
        assert_eq!(told(&World::new().ask(&policy, &wei(1))), "failed by x", "{condition}");
    }
}

#[test]
fn a_failure_is_never_turned_into_advice() {
    // With a passkey the failing condition would not be evaluated.
    let policy = rules(&format!(
        "@id(\"x\") permit (principal, action, resource)
         when {{ context.approved_at_least.contains(Approval::\"passkey\") || {OVERFLOW} }};"
    ));
    assert_eq!(told(&World::new().ask(&policy, &wei(1))), "failed by x");
}

#[test]
fn a_time_beyond_64_bits_is_a_time_all_the_same() {
    let world = World { unix_secs: u64::MAX, elapsed_secs: u64::MAX, ..World::new() };
    assert_eq!(told(&world.ask(&rules(ANY_TRANSFER), &wei(1))), "any");
}
