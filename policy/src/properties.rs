//! What holds for any bytes that are offered as a policy, for tests and fuzzing.

use crate::{Approval, Decision, Document, KeyUse, Ledger, Payees, Policy, Question};
use countersign_intent::Intent;

/// Reads any bytes as a document. Panics if a property is breached:
///
/// * nothing panics, whatever the bytes;
/// * what is taken is canonical: it encodes to the same bytes;
/// * what is taken can be asked, and a digest is never permitted on a key that was not made for digests.
pub fn check_document(bytes: &[u8]) {
    let Ok(policy) = Policy::read(bytes) else {
        return;
    };
    assert_eq!(policy.document().to_bytes(), bytes, "a document has one encoding");
    for mechanisms in [&["ethereum"][..], &["digest"]] {
        let decision = policy.decide(&Question {
            tenant: "default",
            account: "alice",
            key: KeyUse { mechanisms, network: None },
            intent: &Intent::digest(),
            approval: Approval::Passkey,
            unix_secs: 1_767_225_600,
            elapsed_secs: 0,
            account_ledger: &Ledger::default(),
            tenant_ledger: &Ledger::default(),
            payees: &Payees::default(),
        });
        let permitted = matches!(decision, Decision::Permit { .. });
        assert!(!permitted || mechanisms.contains(&"digest"), "a blind digest needs a key made for it");
    }
}

/// Reads any text as the rules of a document that is sound otherwise.
pub fn check_rules(text: &str) {
    let document = Document { rules: text.to_owned(), ..Policy::development().document().clone() };
    check_document(&document.to_bytes());
}
