//! Who may sign what.
//!
//! A [`Policy`] answers one [`Question`] about one decoded intent, before any code is touched: [`Decision::Permit`]
//! or [`Decision::Deny`] with the name of the rule. It has no state, no I/O and no clock, and it denies whatever
//! no rule permits.
//!
//! The rules are fixed:
//!
//! | rule | permits |
//! | --- | --- |
//! | `blind-key` | a digest, or a transaction with data that the plugin cannot decode, for a key made for digests |
//! | `clear-transfer` | a plain transfer of a chain's own coin to an address, for a key made for that chain's transactions |

#![forbid(unsafe_code)]

use countersign_intent::Amount;

/// What is about to be signed, as far as the plugin could decode it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    /// A digest that nobody inside can see behind.
    Digest,
    /// An Ethereum transaction.
    Ethereum(EthereumFacts<'a>),
}

/// A decoded Ethereum transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EthereumFacts<'a> {
    /// EIP-155 chain id, never 0.
    pub chain_id: u64,
    /// The recipient; `None` creates a contract.
    pub to: Option<&'a [u8; 20]>,
    /// What is transferred.
    pub value_wei: Amount,
    /// The most that the transaction can cost in fees.
    pub max_fee_wei: Amount,
    /// Whether there is calldata or init code that the plugin does not decode.
    pub opaque: bool,
}

/// What the key was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// It may sign digests blind.
    pub digest: bool,
    /// It may sign Ethereum transactions.
    pub ethereum: bool,
}

/// One question to the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question<'a> {
    /// The custodian.
    pub tenant: &'a str,
    /// The user whose key it is.
    pub account: &'a str,
    /// What the key was made for.
    pub key_use: KeyUse,
    /// What is to be signed.
    pub subject: Subject<'a>,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The named rule permits it.
    Permit(&'static str),
    /// No rule permits it; the name says which lack of permission this is.
    Deny(&'static str),
}

/// The rules in force.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy;

impl Policy {
    /// Decides; denies whatever no rule permits.
    pub fn decide(&self, question: &Question<'_>) -> Decision {
        let KeyUse { digest, ethereum } = question.key_use;
        match question.subject {
            Subject::Digest if digest => Decision::Permit("blind-key"),
            Subject::Ethereum(facts) if ethereum && (facts.opaque || facts.to.is_none()) => {
                if digest {
                    Decision::Permit("blind-key")
                } else {
                    Decision::Deny("opaque-transaction")
                }
            }
            Subject::Ethereum(_) if ethereum => Decision::Permit("clear-transfer"),
            Subject::Digest | Subject::Ethereum(_) => Decision::Deny("no-rule"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(key_use: KeyUse, subject: Subject<'_>) -> Decision {
        Policy.decide(&Question { tenant: "default", account: "alice", key_use, subject })
    }

    fn transfer(opaque: bool, to: Option<&[u8; 20]>) -> Subject<'_> {
        Subject::Ethereum(EthereumFacts {
            chain_id: 1,
            to,
            value_wei: Amount::ZERO,
            max_fee_wei: Amount::ZERO,
            opaque,
        })
    }

    const DIGEST: KeyUse = KeyUse { digest: true, ethereum: false };
    const ETHEREUM: KeyUse = KeyUse { digest: false, ethereum: true };
    const BOTH: KeyUse = KeyUse { digest: true, ethereum: true };
    const TO: Option<&[u8; 20]> = Some(&[9; 20]);

    #[test]
    fn i15_a_digest_is_permitted_only_on_a_key_made_for_it() {
        assert_eq!(ask(DIGEST, Subject::Digest), Decision::Permit("blind-key"));
        assert_eq!(ask(BOTH, Subject::Digest), Decision::Permit("blind-key"));
        assert_eq!(ask(ETHEREUM, Subject::Digest), Decision::Deny("no-rule"));
    }

    #[test]
    fn i15_opaque_data_counts_as_blind() {
        assert_eq!(ask(ETHEREUM, transfer(false, TO)), Decision::Permit("clear-transfer"));
        assert_eq!(ask(ETHEREUM, transfer(true, TO)), Decision::Deny("opaque-transaction"));
        assert_eq!(ask(ETHEREUM, transfer(false, None)), Decision::Deny("opaque-transaction"));
        assert_eq!(ask(BOTH, transfer(true, TO)), Decision::Permit("blind-key"));
    }

    #[test]
    fn denies_what_no_rule_permits() {
        assert_eq!(ask(DIGEST, transfer(false, TO)), Decision::Deny("no-rule"));
        let none = KeyUse { digest: false, ethereum: false };
        assert_eq!(ask(none, Subject::Digest), Decision::Deny("no-rule"));
        assert_eq!(ask(none, transfer(false, TO)), Decision::Deny("no-rule"));
    }
}
