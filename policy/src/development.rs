//! The policy of an HSM that was given none.

use crate::decide::Policy;
use crate::document::{Document, FORMAT, Undeclared};

impl Policy {
    /// Plain transfers on keys made for their chain, and blind ones on keys made for digests; no limits, any chain. It is
    /// the sample `development`, and no custodian should run it.
    pub fn development() -> Self {
        Self::of(document()).expect("a test loads this very document")
    }
}

fn document() -> Document {
    Document {
        format: FORMAT,
        name: "development".to_owned(),
        version: 0,
        undeclared: Undeclared::AskRules,
        payee_delay_secs: 0,
        assets: Vec::new(),
        limits: Vec::new(),
        rules: include_str!("../samples/development/policy.cedar").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_of_an_hsm_that_was_given_none_loads() {
        assert_eq!(Policy::development().rules(), ["blind-key", "clear-transfer"]);
    }
}
