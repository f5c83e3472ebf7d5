//! Documents, intents and questions for the tests.

use countersign_intent::{Amount, Asset, Chain, Intent, Kind, Move, ethereum};
use countersign_policy::document::{Counts, DeclaredAsset, DeclaredLimit, Undeclared};
use countersign_policy::{Approval, Decision, Document, KeyUse, Ledger, Payees, Per, Policy, Question};

/// 2026-01-01 was a Thursday; noon.
pub(crate) const THURSDAY_NOON: u64 = 1_767_268_800;

/// A document on two chains with these rules and limits.
pub(crate) fn document(rules: &str, limits: Vec<DeclaredLimit>) -> Document {
    let asset = |name: &str, chain: &str, asset: &str, decimals| DeclaredAsset {
        name: name.to_owned(),
        chain: chain.to_owned(),
        asset: asset.to_owned(),
        decimals,
    };
    Document {
        format: 1,
        name: "test".to_owned(),
        version: 1,
        undeclared: Undeclared::Refuse,
        payee_delay_secs: 3_600,
        assets: vec![
            asset("eth", "eip155:1", "native", 18),
            asset("usdc", "eip155:1", &erc20_text(0xcc), 6),
            asset("cats", "eip155:1", &format!("erc721:{}", address(0xca)), 0),
            asset("xdai", "eip155:100", "native", 18),
        ],
        limits,
        rules: rules.to_owned(),
    }
}

pub(crate) fn limit(name: &str, asset: &str, per: Per, window_secs: u64, most: u64) -> DeclaredLimit {
    DeclaredLimit {
        name: name.to_owned(),
        asset: asset.to_owned(),
        per,
        counts: Counts::Sum,
        window_secs,
        most: most.to_string(),
        hard: true,
    }
}

pub(crate) fn load(document: Document) -> Policy {
    Policy::of(document).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// A policy with these rules and no limits.
pub(crate) fn rules(text: &str) -> Policy {
    load(document(text, Vec::new()))
}

pub(crate) fn address(byte: u8) -> countersign_intent::Address {
    ethereum::address(&[byte; 20])
}

pub(crate) fn erc20_text(byte: u8) -> String {
    format!("erc20:{}", address(byte))
}

pub(crate) fn usdc() -> Asset {
    Asset::Erc20(address(0xcc))
}

pub(crate) fn moved(to: u8, asset: Asset, amount: u64) -> Move {
    Move { from: None, to: address(to), asset, amount: Amount::from(amount), own: false }
}

/// A transfer on Ethereum, with a fee of 1 wei.
pub(crate) fn transfer(moves: Vec<Move>) -> Intent {
    Intent {
        kind: Kind::Transfer,
        chain: Some(Chain::Ethereum(1)),
        moves,
        fee_most: Some(Amount::from(1)),
        nonce: Some(0),
        opaque: false,
        warnings: Vec::new(),
        details: Vec::new(),
    }
}

/// So many wei to address 1.
pub(crate) fn wei(amount: u64) -> Intent {
    transfer(vec![moved(1, Asset::Native, amount)])
}

/// What a question is asked in.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) mechanisms: Vec<&'static str>,
    pub(crate) approval: Approval,
    pub(crate) unix_secs: u64,
    pub(crate) elapsed_secs: u64,
    pub(crate) account: Ledger,
    pub(crate) tenant: Ledger,
    pub(crate) payees: Payees,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            mechanisms: vec!["ethereum"],
            approval: Approval::Code,
            unix_secs: THURSDAY_NOON,
            elapsed_secs: 1_000_000,
            account: Ledger::default(),
            tenant: Ledger::default(),
            payees: Payees::default(),
        }
    }

    pub(crate) fn question<'a>(&'a self, intent: &'a Intent) -> Question<'a> {
        Question {
            tenant: "default",
            account: "alice",
            key: KeyUse { mechanisms: &self.mechanisms, network: None },
            intent,
            approval: self.approval,
            backed_up: false,
            unix_secs: self.unix_secs,
            elapsed_secs: self.elapsed_secs,
            account_ledger: &self.account,
            tenant_ledger: &self.tenant,
            payees: &self.payees,
        }
    }

    pub(crate) fn ask(&self, policy: &Policy, intent: &Intent) -> Decision {
        policy.decide(&self.question(intent))
    }

    /// Asks and, if it is permitted, books.
    pub(crate) fn sign(&mut self, policy: &Policy, intent: &Intent) -> Decision {
        let decision = self.ask(policy, intent);
        if let Decision::Permit { booking, .. } = &decision {
            booking.clone().apply(&mut self.account, &mut self.tenant, self.elapsed_secs).unwrap();
        }
        decision
    }
}

/// What decided: the rule of a permission, or why not.
pub(crate) fn told(decision: &Decision) -> String {
    match decision {
        Decision::Permit { rule, .. } => rule.clone(),
        Decision::Deny { rule, why, .. } => match rule {
            Some(rule) => format!("{} by {rule}", why.word()),
            None => why.word().to_owned(),
        },
    }
}

/// A rule that permits every transfer.
pub(crate) const ANY_TRANSFER: &str =
    "@id(\"any\") permit (principal, action == Action::\"transfer\", resource);";
