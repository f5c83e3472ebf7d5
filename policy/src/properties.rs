//! What holds for any bytes that are offered as a policy, or as what is kept beside one, for tests and fuzzing. Each function
//! panics when a property is breached, and says whether the bytes were read.

use crate::{Approval, Decision, Document, KeyUse, Ledger, Payees, Policy, Question};
use countersign_intent::Intent;

/// Reads any bytes as a document. Panics if a property is breached:
///
/// * nothing panics, whatever the bytes;
/// * what is taken is canonical: it encodes to the same bytes;
/// * what is taken can be asked, and a digest is never permitted on a key that was not made for digests.
pub fn check_document(bytes: &[u8]) -> bool {
    let Ok(policy) = Policy::read(bytes) else { return false };
    assert_eq!(policy.document().to_bytes(), bytes, "a document has one encoding");
    for mechanisms in [&["ethereum"][..], &["digest"]] {
        let decision = policy.decide(&Question {
            tenant: "default",
            account: "alice",
            key: KeyUse { mechanisms, network: None },
            intent: &Intent::digest(),
            approval: Approval::Passkey,
            backed_up: false,
            unix_secs: 1_767_225_600,
            elapsed_secs: 0,
            account_ledger: &Ledger::default(),
            tenant_ledger: &Ledger::default(),
            payees: &Payees::default(),
        });
        let permitted = matches!(decision, Decision::Permit { .. });
        assert!(!permitted || mechanisms.contains(&"digest"), "a blind digest needs a key made for it");
    }
    true
}

/// Reads any text as the rules of a document that is sound otherwise.
pub fn check_rules(text: &str) -> bool {
    let document = Document { rules: text.to_owned(), ..Policy::development().document().clone() };
    check_document(&document.to_bytes())
}

/// What is kept in sealed records beside a policy, the ledger and the payees: what is read is written as the same again, in
/// order and within its bounds.
pub fn check_state(bytes: &[u8]) -> bool {
    let ledger = countersign_wire::properties::check_packed::<Ledger>(bytes);
    let Ok(payees) = countersign_wire::decode_packed::<Payees>(bytes) else { return ledger };
    countersign_wire::properties::check_packed::<Payees>(bytes);
    let mut again = Payees::default();
    for payee in payees.list() {
        assert_eq!(again.add(&payee.address, payee.since_elapsed_secs), Ok(()), "each could be added");
    }
    assert_eq!(again, payees);
    true
}

/// `policy.toml` as people write it, with rules that stay: what is packed is written as people write it and packed as the
/// same again.
#[cfg(feature = "tool")]
pub fn check_policy_toml(text: &str) -> bool {
    use crate::tool::{Sources, pack, unpack};
    let policy_cedar = Policy::development().document().rules.clone();
    let Ok(document) = pack(&Sources { policy_toml: text.to_owned(), policy_cedar }) else { return false };
    let Ok(policy) = Policy::of(document) else { return false };
    let document = policy.document();
    assert_eq!(pack(&unpack(document)).as_ref(), Ok(document), "unpacked and packed again it is the same");
    check_document(&document.to_bytes())
}
