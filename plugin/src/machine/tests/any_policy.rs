//! I1: whatever a policy says, it only ever takes permissions away. None signs without the user's fresh code.

use super::policies::{document, enroll_for_ethereum, transfer};
use super::*;
use core::cell::Cell;
use countersign_policy::Policy;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// Conditions that rules are put together from: sound ones, ones that are always or never so, ones that cannot be evaluated.
const CONDITIONS: &[&str] = &[
    "true",
    "false",
    "1 == 1",
    "9223372036854775807 + 1 > 0",
    "context.opaque",
    "!context.opaque",
    "context.limited",
    "context.hour_utc >= 0",
    "context.family == Family::\"ethereum\"",
    "context.payees == Payees::\"new\"",
    "context.approved_at_least.contains(Approval::\"code\")",
    "context.approved_at_least.contains(Approval::\"passkey\")",
    "resource.mechanisms.contains(\"ethereum\")",
    "resource.mechanisms.contains(\"digest\")",
    "context.within.contains(Limit::\"small\")",
    "principal in Tenant::\"a\"",
];

const ACTIONS: &[&str] = &[
    "action",
    "action == Action::\"transfer\"",
    "action in Action::\"moves\"",
    "action in Action::\"blind\"",
];

fn rule() -> impl Strategy<Value = String> {
    let conditions = prop::collection::vec((0..CONDITIONS.len(), any::<bool>()), 0..3);
    (0..5u8, 0..ACTIONS.len(), conditions).prop_map(|(effect, action, conditions)| {
        let effect = if effect == 0 { "forbid" } else { "permit" };
        let when = conditions.into_iter().map(|(condition, negated)| {
            format!(" {} {{ {} }}", if negated { "unless" } else { "when" }, CONDITIONS[condition])
        });
        format!("{effect} (principal, {}, resource){};", ACTIONS[action], when.collect::<String>())
    })
}

fn rules() -> impl Strategy<Value = String> {
    let numbered = |rules: Vec<String>| {
        let named = rules.iter().enumerate().map(|(number, rule)| format!("@id(\"r{number}\") {rule}"));
        named.collect::<Vec<_>>().join("\n")
    };
    // The most generous of all is always among them.
    let all = Just("@id(\"all\") permit (principal, action, resource);".to_owned());
    prop_oneof![1 => all, 15 => prop::collection::vec(rule(), 1..6).prop_map(numbered)]
}

fn attempt(key: &KeyInfo, payload: Payload, code: Option<&str>) -> Act {
    let approval = code.map(|code| Approval::Code(typed(code)));
    Act::Sign(Sign { key: key.label.clone(), payload, approval })
}

/// Whether the policy's rules came into force, and whether they let a fresh code sign.
fn try_all(rules: String) -> Result<Option<bool>, TestCaseError> {
    let Ok(policy) = Policy::of(countersign_policy::Document { rules, ..document(1) }) else {
        // Rules that do not fit the schema never come into force.
        return Ok(None);
    };
    let mut device = Device::ready();
    device.tenants[0].policy = Some(policy.document().to_bytes().into());
    prop_assert!(device.boot());
    let alice = enroll_for_ethereum(&mut device, "alice");
    let bob = enroll_for_ethereum(&mut device, "bob");
    let blind = enroll(&mut device, "blind");
    let now = device.time.unix_secs;
    device.ops.clear();
    let payloads = || [transfer(0, 1_000, [9; 20]), transfer(0, 10_000_000_000, [9; 20])];
    // No code, another user's, one of the day before: nothing is signed, whatever is asked for.
    for code in [None, Some(bob.code(now)), Some(alice.code(now - 86_400))] {
        for payload in payloads() {
            prop_assert!(device.ask(attempt(&alice.key, payload, code.as_deref())).is_err());
        }
        device.advance(600);
    }
    let operation = Operation { id: [7; 16].into(), key: alice.key.id, mechanism: Mechanism::Ethereum };
    for payload in payloads() {
        let unbound = ContextSign { operation: operation.clone(), payload };
        prop_assert!(device.ask(Act::ContextSign(unbound)).is_err());
    }
    let digest = || Payload::Digest([1; 32].into());
    prop_assert!(device.ask(attempt(&blind.key, digest(), None)).is_err());
    // A key that was not made for digests signs none, even with the right code.
    let code = alice.code(device.time.unix_secs);
    prop_assert!(device.ask(attempt(&alice.key, digest(), Some(&code))).is_err());
    prop_assert!(!device.ops.contains(&"sign"), "the keystore was asked for a signature");
    // And one code is good for one signature at most.
    let signed = payloads()
        .into_iter()
        .chain(payloads())
        .filter(|payload| device.ask(attempt(&alice.key, payload.clone(), Some(&code))).is_ok());
    let signed = signed.count();
    prop_assert!(signed <= 1);
    prop_assert_eq!(device.ops.iter().filter(|op| **op == "sign").count(), signed);
    Ok(Some(signed == 1))
}

#[test]
fn i1_no_policy_whatever_releases_a_signature_without_a_fresh_code() {
    let mut runner = TestRunner::new(ProptestConfig { cases: 96, ..ProptestConfig::default() });
    let (in_force, signing) = (Cell::new(0), Cell::new(0));
    let outcome = runner.run(&rules(), |rules| {
        if let Some(signs) = try_all(rules)? {
            in_force.set(in_force.get() + 1);
            signing.set(signing.get() + u32::from(signs));
        }
        Ok(())
    });
    outcome.unwrap();
    // The twin: many came into force, and under many a fresh code does sign.
    assert!(
        in_force.get() >= 24 && signing.get() >= 8,
        "{} in force, {} sign",
        in_force.get(),
        signing.get()
    );
}
