//! How long one decision takes, with 5, 25 and 105 rules: `cargo run --release -p countersign-policy --example decide_speed`.

use countersign_intent::{Amount, Asset, Chain, Intent, Kind, Move, ethereum};
use countersign_policy::document::{Counts, DeclaredAsset, DeclaredLimit, FORMAT, Undeclared};
use countersign_policy::{Approval, Decision, Document, KeyUse, Ledger, Payees, Per, Policy, Question};
use std::fmt::Write;
use std::hint::black_box;
use std::time::{Duration, Instant};

const ROUNDS: usize = 2_000;

fn document(rules: usize) -> Document {
    let mut text = String::new();
    for number in 0..rules - 1 {
        let condition = match number % 4 {
            0 => "context.payees == Payees::\"known\" && context.within.contains(Limit::\"day\")",
            1 => "context.approved_at_least.contains(Approval::\"passkey\") && context.limited",
            2 => "context.hour_utc >= 25",
            _ => "context.recipients.contains(\"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed\")",
        };
        let effect = if number % 4 == 2 { "forbid" } else { "permit" };
        writeln!(text, "@id(\"r{number}\") {effect} (principal, action, resource) when {{ {condition} }};")
            .expect("a String takes every write");
    }
    text.push_str(
        "@id(\"last\") permit (principal, action in Action::\"moves\", resource) when { context.limited };",
    );
    Document {
        format: FORMAT,
        name: "speed".to_owned(),
        version: 1,
        undeclared: Undeclared::Refuse,
        payee_delay_secs: 0,
        assets: vec![DeclaredAsset {
            name: "eth".to_owned(),
            chain: "eip155:1".to_owned(),
            asset: "native".to_owned(),
            decimals: 18,
        }],
        limits: ["day", "week"]
            .map(|name| limit(name, Per::Account))
            .into_iter()
            .chain([limit("all", Per::Tenant)])
            .collect(),
        rules: text,
    }
}

fn limit(name: &str, per: Per) -> DeclaredLimit {
    DeclaredLimit {
        name: name.to_owned(),
        asset: "eth".to_owned(),
        per,
        counts: Counts::Sum,
        window_secs: 86_400,
        most: "1000000000000000000000".to_owned(),
        hard: true,
    }
}

fn transfer() -> Intent {
    let to = ethereum::address(&[7; 20]);
    Intent {
        kind: Kind::Transfer,
        chain: Some(Chain::Ethereum(1)),
        moves: vec![Move { from: None, to, asset: Asset::Native, amount: Amount::from(1), own: false }],
        fee_most: Some(Amount::from(1)),
        nonce: Some(0),
        opaque: false,
        warnings: Vec::new(),
        details: Vec::new(),
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn main() {
    println!("rules  load (once)  permit (median)  deny (median)");
    for rules in [5, 25, 105] {
        let bytes = document(rules).to_bytes();
        let begin = Instant::now();
        let policy = Policy::read(&bytes).expect("the document is sound");
        let load = begin.elapsed();
        let (ledger, payees, intent) = (Ledger::default(), Payees::default(), transfer());
        let blind = Intent::digest();
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (intent, times) in [&intent, &blind].into_iter().zip(&mut times) {
                let question = Question {
                    tenant: "default",
                    account: "alice",
                    key: KeyUse { mechanisms: &["digest", "ethereum"], network: None },
                    intent,
                    approval: Approval::Code,
                    backed_up: false,
                    unix_secs: 1_767_268_800,
                    elapsed_secs: 1_000_000,
                    account_ledger: &ledger,
                    tenant_ledger: &ledger,
                    payees: &payees,
                };
                let begin = Instant::now();
                let decision = black_box(policy.decide(black_box(&question)));
                times.push(begin.elapsed());
                assert_eq!(matches!(decision, Decision::Permit { .. }), !intent.opaque);
            }
        }
        let [permit, deny] = times.map(median);
        println!("{rules:>5}  {load:>11.1?}  {permit:>15.1?}  {deny:>13.1?}");
    }
}
