//! Ten thousand random questions against an evaluator that is slow and obvious.
//!
//! Rules are drawn in a restricted form, rendered to Cedar for the policy, and evaluated here directly.

use crate::world::{World, address, document, limit, moved, transfer, usdc};
use countersign_intent::{Amount, Asset, Chain, Intent, Kind, Warning};
use countersign_policy::document::{DeclaredLimit, Undeclared};
use countersign_policy::{Approval, Decision, Per, Policy, Why};
use std::fmt::Write;

const DOCUMENTS: usize = 200;
const QUESTIONS: usize = 50;

#[derive(Clone, Copy, Debug)]
enum Condition {
    Chain(&'static str),
    PayeesKnown,
    PayeesNone,
    Approved(Approval),
    HourBelow(u64),
    WeekdayUpTo(u64),
    HasAsset(&'static str),
    OnlyAsset(&'static str),
    Within(&'static str),
    Limited,
    Opaque,
    MovesUpTo(usize),
    Pays(u8),
    Mechanism(&'static str),
    Warned,
}

#[derive(Clone, Debug)]
struct Rule {
    forbid: bool,
    kind: Option<Kind>,
    /// Each with whether it must not hold.
    conditions: Vec<(Condition, bool)>,
}

/// What was booked, all of it a moment ago: (limit, amount).
struct State {
    world: World,
    booked: Vec<(&'static str, u64)>,
}

fn limits() -> Vec<DeclaredLimit> {
    let soft = |mut limit: DeclaredLimit| {
        limit.hard = false;
        limit
    };
    vec![
        limit("hard-eth", "eth", Per::Account, 86_400, 900),
        soft(limit("soft-eth", "eth", Per::Account, 3_600, 300)),
        soft(limit("soft-usdc", "usdc", Per::Tenant, 3_600, 500)),
        soft(limit("one-usdc", "usdc", Per::Transaction, 0, 200)),
    ]
}

fn condition(random: &mut fastrand::Rng) -> Condition {
    match random.u8(..15) {
        0 => Condition::Chain(["eip155:1", "eip155:100", "other", "none"][random.usize(..4)]),
        1 => Condition::PayeesKnown,
        2 => Condition::PayeesNone,
        3 => Condition::Approved(Approval::ALL[random.usize(..3)]),
        4 => Condition::HourBelow(random.u64(0..24)),
        5 => Condition::WeekdayUpTo(random.u64(1..8)),
        6 => Condition::HasAsset(["eth", "usdc", "other"][random.usize(..3)]),
        7 => Condition::OnlyAsset(["eth", "usdc", "other"][random.usize(..3)]),
        8 => Condition::Within(["hard-eth", "soft-eth", "soft-usdc", "one-usdc"][random.usize(..4)]),
        9 => Condition::Limited,
        10 => Condition::Opaque,
        11 => Condition::MovesUpTo(random.usize(0..4)),
        12 => Condition::Pays(random.u8(1..4)),
        13 => Condition::Mechanism(["digest", "ethereum"][random.usize(..2)]),
        _ => Condition::Warned,
    }
}

fn rule(random: &mut fastrand::Rng) -> Rule {
    let kind = random.bool().then(|| Kind::ALL[random.usize(..3)]);
    let conditions = (0..random.usize(0..3)).map(|_| (condition(random), random.u8(..4) == 0)).collect();
    Rule { forbid: random.u8(..4) == 0, kind, conditions }
}

fn rendered(rules: &[Rule]) -> String {
    let mut text = String::new();
    for (number, rule) in rules.iter().enumerate() {
        let effect = if rule.forbid { "forbid" } else { "permit" };
        let action =
            rule.kind.map_or("action".to_owned(), |kind| format!("action == Action::\"{}\"", kind.word()));
        write!(text, "@id(\"r{number}\") {effect} (principal, {action}, resource)").unwrap();
        for (condition, negated) in &rule.conditions {
            let word = if *negated { "unless" } else { "when" };
            write!(text, " {word} {{ {} }}", cedar(*condition)).unwrap();
        }
        text.push_str(";\n");
    }
    text
}

fn cedar(condition: Condition) -> String {
    match condition {
        Condition::Chain(chain) => format!("context.chain == Chain::\"{chain}\""),
        Condition::PayeesKnown => "context.payees == Payees::\"known\"".to_owned(),
        Condition::PayeesNone => "context.payees == Payees::\"none\"".to_owned(),
        Condition::Approved(kind) => {
            format!("context.approved_at_least.contains(Approval::\"{}\")", kind.word())
        }
        Condition::HourBelow(hour) => format!("context.hour_utc < {hour}"),
        Condition::WeekdayUpTo(day) => format!("context.weekday_utc <= {day}"),
        Condition::HasAsset(asset) => format!("context.assets.contains(Asset::\"{asset}\")"),
        Condition::OnlyAsset(asset) => format!("context.assets == [Asset::\"{asset}\"]"),
        Condition::Within(limit) => format!("context.within.contains(Limit::\"{limit}\")"),
        Condition::Limited => "context.limited".to_owned(),
        Condition::Opaque => "context.opaque".to_owned(),
        Condition::MovesUpTo(count) => format!("context.move_count <= {count}"),
        Condition::Pays(to) => format!("context.recipients.contains(\"{}\")", address(to)),
        Condition::Mechanism(word) => format!("resource.mechanisms.contains(\"{word}\")"),
        Condition::Warned => "!context.warnings.isEmpty()".to_owned(),
    }
}

fn intent(random: &mut fastrand::Rng) -> Intent {
    let asset = |random: &mut fastrand::Rng| match random.u8(..5) {
        0 | 1 => Asset::Native,
        2 | 3 => usdc(),
        _ => Asset::Erc20(address(0xda)),
    };
    let mut moves = Vec::new();
    for _ in 0..random.usize(0..4) {
        let asset = asset(random);
        let mut to = moved(random.u8(1..4), asset, random.u64(0..250));
        to.own = random.u8(..4) == 0;
        moves.push(to);
    }
    Intent {
        kind: Kind::ALL[random.usize(..3)],
        chain: Some(Chain::Ethereum([1, 1, 1, 100, 56][random.usize(..5)])),
        fee_most: random.bool().then(|| Amount::from(random.u64(0..20))),
        opaque: random.u8(..5) == 0,
        warnings: if random.bool() { vec![Warning::NoExpiry] } else { Vec::new() },
        ..transfer(moves)
    }
}

fn state(random: &mut fastrand::Rng, policy: &Policy) -> State {
    let mut world = World::new();
    world.unix_secs += random.u64(0..14 * 86_400);
    world.approval = Approval::ALL[random.usize(..3)];
    if random.bool() {
        world.mechanisms.push("digest");
    }
    for to in 1..4 {
        match random.u8(..3) {
            0 => world.payees.add(address(to).as_str(), 0).unwrap(),
            1 => world.payees.add(address(to).as_str(), world.elapsed_secs).unwrap(),
            _ => {}
        }
    }
    let mut booked = Vec::new();
    for name in ["hard-eth", "soft-eth", "soft-usdc"] {
        let amount = if random.bool() { random.u64(0..1_000) } else { 0 };
        let limit = policy.limits().iter().find(|limit| limit.name() == name).unwrap();
        let ledger = if limit.per() == Per::Tenant { &mut world.tenant } else { &mut world.account };
        ledger.book(limit, Amount::from(amount), world.elapsed_secs);
        booked.push((name, amount));
    }
    State { world, booked }
}

fn word(asset: &Asset, chain: u64) -> &'static str {
    match (asset, chain) {
        (Asset::Native, 1) => "eth",
        (Asset::Native, 100) => "xdai",
        (Asset::Erc20(contract), 1) if *contract == address(0xcc) => "usdc",
        _ => "other",
    }
}

/// What the rules are asked about, worked out one by one.
struct Seen<'a> {
    state: &'a State,
    intent: &'a Intent,
    chain: u64,
}

impl Seen<'_> {
    fn leaving(&self) -> Vec<(&'static str, u64, String)> {
        let others = self.intent.moves.iter().filter(|moved| !moved.own);
        let told = others
            .map(|moved| (word(&moved.asset, self.chain), moved.amount.to::<u64>(), moved.to.to_string()));
        told.collect()
    }

    /// Whether the limit is concerned, whether its own asset leaves, and whether it holds.
    fn limit(&self, limit: &DeclaredLimit) -> (bool, bool, bool) {
        let moves = self.leaving().iter().any(|(asset, ..)| *asset == limit.asset);
        let fee = if limit.asset == "eth" && self.chain == 1 { self.intent.fee_most } else { None };
        let mut sum = fee.map_or(0, |fee| fee.to::<u64>());
        for (asset, amount, _) in self.leaving() {
            sum += if asset == limit.asset { amount } else { 0 };
        }
        let booked =
            self.state.booked.iter().find(|(name, _)| *name == limit.name).map_or(0, |(_, amount)| *amount);
        (moves || fee.is_some(), moves, sum == 0 || sum + booked <= limit.most.parse::<u64>().unwrap())
    }

    fn limited(&self) -> bool {
        let counted = self.leaving().iter().all(|(asset, ..)| ["eth", "usdc"].contains(asset));
        let held = limits().iter().all(|limit| {
            let (concerned, _, holds) = self.limit(limit);
            !concerned || holds
        });
        // The limits are on ether and a token of chain 1 alone.
        let fee = self.intent.fee_most.is_none_or(|fee| fee.is_zero() || self.chain == 1);
        !self.intent.opaque && fee && !self.leaving().is_empty() && counted && held
    }

    fn known(&self, to: &str) -> bool {
        let world = &self.state.world;
        world
            .payees
            .list()
            .iter()
            .any(|payee| payee.address == to && payee.since_elapsed_secs + 3_600 <= world.elapsed_secs)
    }

    fn holds(&self, condition: Condition) -> bool {
        let leaving = self.leaving();
        let world = &self.state.world;
        match condition {
            Condition::Chain(chain) => match self.chain {
                1 => chain == "eip155:1",
                100 => chain == "eip155:100",
                _ => chain == "other",
            },
            Condition::PayeesKnown => !leaving.is_empty() && leaving.iter().all(|(_, _, to)| self.known(to)),
            Condition::PayeesNone => leaving.is_empty(),
            Condition::Approved(kind) => world.approval >= kind,
            Condition::HourBelow(hour) => world.unix_secs % 86_400 < hour * 3_600,
            // 1970-01-05 was a Monday.
            Condition::WeekdayUpTo(day) => (world.unix_secs - 4 * 86_400) % (7 * 86_400) < day * 86_400,
            Condition::HasAsset(asset) => leaving.iter().any(|(has, ..)| *has == asset),
            Condition::OnlyAsset(asset) => {
                !leaving.is_empty() && leaving.iter().all(|(has, ..)| *has == asset)
            }
            Condition::Within(name) => {
                let limit = limits().into_iter().find(|limit| limit.name == name).unwrap();
                let (_, moves, holds) = self.limit(&limit);
                moves && holds
            }
            Condition::Limited => self.limited(),
            Condition::Opaque => self.intent.opaque,
            Condition::MovesUpTo(count) => leaving.len() <= count,
            Condition::Pays(to) => leaving.iter().any(|(_, _, paid)| *paid == address(to).to_string()),
            Condition::Mechanism(made_for) => world.mechanisms.contains(&made_for),
            Condition::Warned => !self.intent.warnings.is_empty(),
        }
    }

    fn applies(&self, rule: &Rule) -> bool {
        rule.kind.is_none_or(|kind| kind == self.intent.kind)
            && rule.conditions.iter().all(|(condition, negated)| self.holds(*condition) != *negated)
    }
}

/// The rule that permits it, or why not; "rules" where the rules say no, whatever would help.
fn reference(rules: &[Rule], undeclared: Undeclared, seen: &Seen<'_>) -> Result<usize, &'static str> {
    let leaving = seen.leaving();
    if seen.intent.opaque && !seen.state.world.mechanisms.contains(&"digest") {
        return Err("blind");
    }
    if undeclared == Undeclared::Refuse && seen.chain == 56 {
        return Err("undeclared-chain");
    }
    if undeclared == Undeclared::Refuse && leaving.iter().any(|(asset, ..)| *asset == "other") {
        return Err("undeclared-asset");
    }
    let (_, _, holds) = seen.limit(&limits()[0]);
    if !holds {
        return Err("hard");
    }
    if rules.iter().any(|rule| rule.forbid && seen.applies(rule)) {
        return Err("rules");
    }
    rules.iter().position(|rule| !rule.forbid && seen.applies(rule)).ok_or("rules")
}

fn decided(decision: &Decision) -> Result<usize, &'static str> {
    match decision {
        Decision::Permit { rule, .. } => Ok(rule[1..].parse().unwrap()),
        Decision::Deny { why: Why::Blind, .. } => Err("blind"),
        Decision::Deny { why: Why::UndeclaredChain, .. } => Err("undeclared-chain"),
        Decision::Deny { why: Why::UndeclaredAsset, .. } => Err("undeclared-asset"),
        Decision::Deny { why: Why::Limit(name), .. } if name == "hard-eth" => Err("hard"),
        Decision::Deny { why: Why::Failed, .. } => Err("failed"),
        Decision::Deny { .. } => Err("rules"),
    }
}

#[test]
fn ten_thousand_random_questions_are_answered_as_a_slow_and_obvious_evaluator_answers_them() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut permitted, mut asked) = (0, 0);
    while asked < DOCUMENTS * QUESTIONS {
        let rules: Vec<_> = (0..random.usize(1..8)).map(|_| rule(&mut random)).collect();
        let mut document = document(&rendered(&rules), limits());
        let undeclared = if random.bool() { Undeclared::Refuse } else { Undeclared::AskRules };
        document.undeclared = undeclared;
        // A rule that contradicts itself is refused when it is loaded; it is drawn again.
        let Ok(policy) = Policy::of(document) else { continue };
        for _ in 0..QUESTIONS {
            let before = state(&mut random, &policy);
            let intent = intent(&mut random);
            let Some(Chain::Ethereum(chain)) = intent.chain else { unreachable!() };
            let facts = Seen { state: &before, intent: &intent, chain };
            let expected = reference(&rules, undeclared, &facts);
            let found = decided(&before.world.ask(&policy, &intent));
            assert_eq!(found, expected, "seed {seed}\n{}{intent:#?}", rendered(&rules));
            permitted += usize::from(found.is_ok());
            asked += 1;
        }
    }
    assert!(permitted > asked / 10 && permitted < asked * 9 / 10, "{permitted} of {asked} show too little");
}
