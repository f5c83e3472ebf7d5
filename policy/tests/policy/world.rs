//! Documents, intents and questions for the tests.

use countersign_intent::{Amount, Asset, Chain, Intent, Kind, Move, ethereum};
use countersign_policy::document::{Counts, DeclaredAsset, DeclaredLimit, Undeclared};
use countersign_policy::{Approval, Decision, Document, KeyUse, Ledger, Payees, Per, Policy, Question};

/// 2026-01-01 was a Thursday; noon.
pub const THURSDAY_NOON: u64 = 1_767_268_800;

/// A document on two chains with these rules and limits.
pub fn document(rules: &str, limits: Vec<DeclaredLimit>) -> Document {
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

pub fn limit(name: &str, asset: &str, per: Per, window_secs: u64, most: u64) -> DeclaredLimit {
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

pub fn load(document: Document) -> Policy {
    Policy::of(document).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// A policy with these rules and no limits.
pub fn rules(text: &str) -> Policy {
    load(document(text, Vec::new()))
}

pub fn address(byte: u8) -> countersign_intent::Address {
    ethereum::address(&[byte; 20])
}

pub fn erc20_text(byte: u8) -> String {
    format!("erc20:{}", address(byte))
}

pub fn usdc() -> Asset {
    Asset::Erc20(address(0xcc))
}

pub fn moved(to: u8, asset: Asset, amount: u64) -> Move {
    Move { from: None, to: address(to), asset, amount: Amount::from(amount), own: false }
}

/// A transfer on Ethereum, with a fee of 1 wei.
pub fn transfer(moves: Vec<Move>) -> Intent {
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
pub fn wei(amount: u64) -> Intent {
    transfer(vec![moved(1, Asset::Native, amount)])
}

/// What a question is asked in.
#[derive(Clone)]
pub struct World {
    pub mechanisms: Vec<&'static str>,
    pub approval: Approval,
    pub unix_secs: u64,
    pub elapsed_secs: u64,
    pub account: Ledger,
    pub tenant: Ledger,
    pub payees: Payees,
}

impl World {
    pub fn new() -> Self {
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

    pub fn question<'a>(&'a self, intent: &'a Intent) -> Question<'a> {
        Question {
            tenant: "default",
            account: "alice",
            key: KeyUse { mechanisms: &self.mechanisms, network: None },
            intent,
            approval: self.approval,
            unix_secs: self.unix_secs,
            elapsed_secs: self.elapsed_secs,
            account_ledger: &self.account,
            tenant_ledger: &self.tenant,
            payees: &self.payees,
        }
    }

    pub fn ask(&self, policy: &Policy, intent: &Intent) -> Decision {
        policy.decide(&self.question(intent))
    }

    /// Asks and, if it is permitted, books.
    pub fn sign(&mut self, policy: &Policy, intent: &Intent) -> Decision {
        let decision = self.ask(policy, intent);
        if let Decision::Permit { booking, .. } = &decision {
            booking.clone().apply(&mut self.account, &mut self.tenant, self.elapsed_secs).unwrap();
        }
        decision
    }
}

/// What decided: the rule of a permission, or why not.
pub fn told(decision: &Decision) -> String {
    match decision {
        Decision::Permit { rule, .. } => rule.clone(),
        Decision::Deny { rule, why, .. } => match rule {
            Some(rule) => format!("{} by {rule}", why.word()),
            None => why.word().to_owned(),
        },
    }
}

/// A rule that permits every transfer.
pub const ANY_TRANSFER: &str = "@id(\"any\") permit (principal, action == Action::\"transfer\", resource);";
