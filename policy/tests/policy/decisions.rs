//! What stands whatever the rules say, how limits count, and what people are told to do.

use crate::world::{
    ANY_TRANSFER, World, address, document, limit, load, moved, rules, told, transfer, usdc, wei,
};
use countersign_intent::{Amount, Asset, Chain, Intent, Kind, Network};
use countersign_policy::document::{Counts, DeclaredAsset, DeclaredLimit, Undeclared};
use countersign_policy::{Approval, Decision, FitsNoMore, KeyUse, Ledger, Per, Policy, Question, Why};

const ANYTHING: &str = "@id(\"anything\") permit (principal, action, resource);";

fn retry(decision: &Decision) -> Option<u64> {
    match decision {
        Decision::Deny { retry_after_secs, .. } => *retry_after_secs,
        Decision::Permit { .. } => panic!("permitted"),
    }
}

#[test]
fn denies_what_no_rule_permits() {
    let nothing = rules("");
    assert_eq!(told(&World::new().ask(&nothing, &wei(1))), "no-rule");
    assert_eq!(told(&World::new().ask(&rules(ANY_TRANSFER), &wei(1))), "any");
    let call = Intent { kind: Kind::Allowance, ..wei(1) };
    assert_eq!(told(&World::new().ask(&rules(ANY_TRANSFER), &call)), "no-rule");
}

#[test]
fn i15_no_rule_permits_blind_signing_on_a_key_that_was_not_made_for_it() {
    let anything = rules(ANYTHING);
    let mut world = World::new();
    for kind in Kind::ALL.iter().copied().filter(|kind| *kind != Kind::TypedData) {
        let opaque = Intent { kind, opaque: true, ..wei(1) };
        assert_eq!(told(&world.ask(&anything, &opaque)), "blind", "{kind:?}");
    }
    assert_eq!(told(&world.ask(&anything, &Intent::digest())), "blind");
    let claimed_clear = Intent { opaque: false, ..Intent::digest() };
    assert_eq!(told(&world.ask(&anything, &claimed_clear)), "blind");
    world.mechanisms = vec!["digest", "ethereum"];
    assert_eq!(told(&world.ask(&anything, &Intent::digest())), "anything");
}

#[test]
fn i15_typed_data_that_nobody_understands_needs_a_key_made_for_digests_and_a_rule() {
    let typed = Intent { kind: Kind::TypedData, opaque: true, moves: Vec::new(), ..wei(0) };
    assert_eq!(told(&World::new().ask(&rules(ANYTHING), &typed)), "blind");
    let mut world = World::new();
    world.mechanisms.push("digest");
    assert_eq!(told(&world.ask(&rules(ANY_TRANSFER), &typed)), "no-rule");
    assert_eq!(told(&world.ask(&rules(ANYTHING), &typed)), "anything");
}

#[test]
fn a_fee_that_no_limit_counts_is_not_limited() {
    let limited = "@id(\"limited\") permit (principal, action, resource) when { context.limited };";
    let asked = |limits: Vec<DeclaredLimit>, fee: u64| {
        let intent = Intent { fee_most: Some(Amount::from(fee)), ..transfer(vec![moved(1, usdc(), 5)]) };
        told(&World::new().ask(&load(document(limited, limits)), &intent))
    };
    let tokens = || limit("usdc", "usdc", Per::Account, 86_400, 100);
    assert_eq!(asked(vec![tokens()], 0), "limited");
    assert_eq!(asked(vec![tokens()], 1), "no-rule");
    let mut fees = limit("fees", "eth", Per::Transaction, 0, 10);
    fees.counts = Counts::Fee;
    assert_eq!(asked(vec![tokens(), fees.clone()], 10), "limited");
    assert_ne!(asked(vec![tokens(), fees], 11), "limited");
    assert_eq!(asked(vec![tokens(), limit("eth", "eth", Per::Account, 86_400, 10)], 10), "limited");
}

#[test]
fn a_bitcoin_key_signs_for_its_own_network_alone() {
    let mut document = document(ANYTHING, Vec::new());
    document.undeclared = Undeclared::AskRules;
    let (policy, world) = (load(document), World::new());
    let intent = Intent { chain: Some(Chain::Bitcoin(Network::Test)), ..wei(1) };
    let ask = |network| {
        let key = KeyUse { mechanisms: &["bitcoin"], network };
        told(&policy.decide(&Question { key, ..world.question(&intent) }))
    };
    assert_eq!(ask(Some(Network::Test)), "anything");
    assert_eq!(ask(Some(Network::Main)), "other-network");
    assert_eq!(ask(Some(Network::Signet)), "other-network");
    assert_eq!(ask(None), "other-network");
}

#[test]
fn what_is_not_declared_is_refused_whatever_the_rules_say() {
    let anything = rules(ANYTHING);
    let world = World::new();
    let on = |chain| Intent { chain, ..wei(1) };
    assert_eq!(told(&world.ask(&anything, &on(Some(Chain::Ethereum(56))))), "undeclared-chain");
    let bitcoin = on(Some(Chain::Bitcoin(Network::Main)));
    let key = KeyUse { mechanisms: &["bitcoin"], network: Some(Network::Main) };
    assert_eq!(told(&anything.decide(&Question { key, ..world.question(&bitcoin) })), "undeclared-chain");
    let dai = transfer(vec![moved(1, Asset::Erc20(address(0xda)), 1)]);
    assert_eq!(told(&world.ask(&anything, &dai)), "undeclared-asset");
    let hidden = transfer(vec![moved(1, Asset::Native, 1), moved(1, Asset::Erc20(address(0xda)), 0)]);
    assert_eq!(told(&world.ask(&anything, &hidden)), "undeclared-asset");
    // Coins on no chain at all.
    assert_eq!(told(&world.ask(&anything, &on(None))), "undeclared-asset");
    // The same token on another chain is another token.
    let elsewhere = Intent { chain: Some(Chain::Ethereum(100)), ..transfer(vec![moved(1, usdc(), 1)]) };
    assert_eq!(told(&world.ask(&anything, &elsewhere)), "undeclared-asset");
    assert_eq!(told(&world.ask(&anything, &transfer(vec![moved(1, usdc(), 1)]))), "anything");
}

#[test]
fn rules_that_are_asked_see_what_is_not_declared_as_other() {
    let text = "@id(\"other\") permit (principal, action, resource) when { context.chain == Chain::\"other\" && context.assets == [Asset::\"other\"] };";
    let mut document = document(text, Vec::new());
    document.undeclared = Undeclared::AskRules;
    let policy = load(document);
    let elsewhere = Intent { chain: Some(Chain::Ethereum(56)), ..wei(1) };
    assert_eq!(told(&World::new().ask(&policy, &elsewhere)), "other");
    assert_eq!(told(&World::new().ask(&policy, &wei(1))), "no-rule");
}

#[test]
fn a_hard_limit_holds_whatever_the_rules_say() {
    let policy = load(document(ANYTHING, vec![limit("day", "eth", Per::Account, 86_400, 100)]));
    let mut world = World::new();
    assert_eq!(told(&world.sign(&policy, &wei(60))), "anything");
    let decision = world.ask(&policy, &wei(39));
    assert!(
        matches!(&decision, Decision::Deny { why: Why::Limit(name), .. } if name == "day"),
        "60 + 1 + 39 + 1"
    );
    assert_eq!(told(&world.ask(&policy, &wei(38))), "anything");
    world.elapsed_secs += retry(&decision).unwrap() - 1;
    assert_eq!(told(&world.ask(&policy, &wei(39))), "limit");
    world.elapsed_secs += 1;
    assert_eq!(told(&world.ask(&policy, &wei(39))), "anything");
    assert_eq!(retry(&world.ask(&policy, &wei(100))), None, "with the fee it never fits");
}

#[test]
fn every_limit_that_is_concerned_is_booked_whichever_rule_permitted_it() {
    let limits = vec![
        limit("hour", "eth", Per::Account, 3_600, 1_000),
        limit("day", "eth", Per::Tenant, 86_400, 1_000),
        limit("tokens", "usdc", Per::Account, 86_400, 1_000),
    ];
    let policy = load(document(ANY_TRANSFER, limits));
    let mut world = World::new();
    world.sign(&policy, &wei(10));
    let booked = |world: &World| {
        let ledger = |per| if per == Per::Tenant { &world.tenant } else { &world.account };
        let of = |limit: &countersign_policy::Limit| ledger(limit.per()).booked(limit, world.elapsed_secs);
        policy.limits().iter().map(of).map(|amount| amount.to::<u64>()).collect::<Vec<_>>()
    };
    assert_eq!(booked(&world), [11, 11, 0]);
    world.sign(&policy, &transfer(vec![moved(1, usdc(), 5), moved(2, usdc(), 6)]));
    assert_eq!(booked(&world), [12, 12, 11], "the fee counts against the coin, all moves against the token");
}

#[test]
fn a_tenant_limit_counts_all_accounts_together() {
    let policy = load(document(ANY_TRANSFER, vec![limit("all", "eth", Per::Tenant, 86_400, 100)]));
    let mut world = World::new();
    world.sign(&policy, &wei(60));
    world.account = Ledger::default();
    assert_eq!(told(&world.ask(&policy, &wei(60))), "limit");
    world.tenant = Ledger::default();
    assert_eq!(told(&world.ask(&policy, &wei(60))), "any");
}

#[test]
fn change_does_not_count_and_tokens_of_a_collection_do() {
    let limits =
        vec![limit("day", "eth", Per::Account, 86_400, 10), limit("cats", "cats", Per::Account, 86_400, 2)];
    let policy = load(document(ANY_TRANSFER, limits));
    let mut back = moved(1, Asset::Native, 1_000);
    back.own = true;
    assert_eq!(told(&World::new().ask(&policy, &transfer(vec![back.clone()]))), "any");
    back.own = false;
    assert_eq!(told(&World::new().ask(&policy, &transfer(vec![back]))), "limit");
    let cats = |numbers: &[u64]| {
        let cat = |number: &u64| moved(1, Asset::Erc721(address(0xca), Amount::from(*number)), 1);
        transfer(numbers.iter().map(cat).collect())
    };
    assert_eq!(told(&World::new().ask(&policy, &cats(&[7, 8]))), "any");
    assert_eq!(told(&World::new().ask(&policy, &cats(&[7, 8, 9]))), "limit");
}

#[test]
fn an_allowance_counts_at_its_maximum_and_a_sum_beyond_256_bits_is_refused() {
    let policy = load(document(ANYTHING, vec![limit("day", "usdc", Per::Account, 86_400, 100)]));
    let allow = |amount: Amount| {
        let mut to = moved(1, usdc(), 0);
        to.amount = amount;
        Intent { kind: Kind::Allowance, ..transfer(vec![to.clone(), to]) }
    };
    assert_eq!(told(&World::new().ask(&policy, &allow(Amount::from(50)))), "anything");
    assert_eq!(told(&World::new().ask(&policy, &allow(Amount::from(51)))), "limit");
    assert_eq!(told(&World::new().ask(&policy, &allow(Amount::MAX))), "too-large");
}

#[test]
fn what_moves_more_than_anybody_could_look_at_is_refused() {
    let ask = |moves: usize| {
        let moves = vec![moved(1, Asset::Native, 1); moves];
        told(&World::new().ask(&rules(ANY_TRANSFER), &transfer(moves)))
    };
    assert_eq!(ask(8 * 1024), "any");
    for moves in [8 * 1024 + 1, 9_000] {
        assert_eq!(ask(moves), "too-large");
    }
}

#[test]
fn fee_limits_count_fees_alone() {
    let mut fee = limit("fee", "eth", Per::Transaction, 0, 5);
    fee.counts = Counts::Fee;
    let policy = load(document(ANYTHING, vec![fee]));
    let with_fee = |fee: u64| Intent { fee_most: Some(Amount::from(fee)), ..wei(1_000) };
    assert_eq!(told(&World::new().ask(&policy, &with_fee(5))), "anything");
    assert_eq!(told(&World::new().ask(&policy, &with_fee(6))), "limit");
}

#[test]
fn a_rule_that_names_the_limit_on_coins_permits_no_tokens() {
    let text = "@id(\"coins\") permit (principal, action, resource) when { context.within.contains(Limit::\"day\") };";
    let policy = load(document(text, vec![limit("day", "eth", Per::Account, 86_400, 100)]));
    assert_eq!(told(&World::new().ask(&policy, &wei(1))), "coins");
    assert_eq!(told(&World::new().ask(&policy, &transfer(vec![moved(1, usdc(), 1)]))), "no-rule");
}

#[test]
fn limited_means_that_all_that_leaves_is_limited() {
    let text = "@id(\"limited\") permit (principal, action, resource) when { context.limited };";
    let policy = load(document(text, vec![limit("day", "eth", Per::Account, 86_400, 100)]));
    let ask = |moves| told(&World::new().ask(&policy, &transfer(moves)));
    assert_eq!(ask(vec![moved(1, Asset::Native, 1)]), "limited");
    assert_eq!(ask(vec![moved(1, Asset::Native, 1), moved(1, usdc(), 1)]), "no-rule");
    assert_eq!(ask(vec![moved(1, usdc(), 1)]), "no-rule");
    assert_eq!(ask(Vec::new()), "no-rule");
    let opaque = Intent { kind: Kind::Call, opaque: true, ..wei(0) };
    let world = World { mechanisms: vec!["digest", "ethereum"], ..World::new() };
    assert_eq!(told(&world.ask(&policy, &opaque)), "no-rule", "what is not decoded may move anything");
}

#[test]
fn a_soft_limit_tells_who_asks_when_to_come_back() {
    for asks in ["context.within.contains(Limit::\"day\")", "context.limited"] {
        let text = format!("@id(\"small\") permit (principal, action, resource) when {{ {asks} }};");
        let mut soft = limit("day", "eth", Per::Account, 86_400, 100);
        soft.hard = false;
        let policy = load(document(&text, vec![soft]));
        let mut world = World::new();
        world.sign(&policy, &wei(60));
        let decision = world.ask(&policy, &wei(60));
        assert!(
            matches!(&decision, Decision::Deny { why: Why::Limit(name), .. } if name == "day"),
            "{decision:?}"
        );
        world.elapsed_secs += retry(&decision).unwrap();
        assert_eq!(told(&world.ask(&policy, &wei(60))), "small");
    }
}

#[test]
fn a_stronger_approval_is_asked_for_where_one_would_do() {
    let text = "@id(\"p\") permit (principal, action, resource) when { context.approved_at_least.contains(Approval::\"sealed-code\") };";
    let policy = rules(text);
    let mut world = World::new();
    let decision = world.ask(&policy, &wei(1));
    assert!(
        matches!(decision, Decision::Deny { why: Why::NeedsApproval(Approval::SealedCode), .. }),
        "{decision:?}"
    );
    for enough in [Approval::SealedCode, Approval::Passkey] {
        world.approval = enough;
        assert_eq!(told(&world.ask(&policy, &wei(1))), "p");
    }
}

#[test]
fn a_payee_is_known_when_all_recipients_have_been_listed_for_long_enough() {
    let text =
        "@id(\"known\") permit (principal, action, resource) when { context.payees == Payees::\"known\" };";
    let policy = rules(text);
    let mut world = World::new();
    world.payees.add(address(1).as_str(), world.elapsed_secs - 3_600).unwrap();
    assert_eq!(told(&world.ask(&policy, &wei(1))), "known");
    let both = transfer(vec![moved(1, Asset::Native, 1), moved(2, Asset::Native, 1)]);
    assert_eq!(told(&world.ask(&policy, &both)), "new-payee");
    assert_eq!(retry(&world.ask(&policy, &both)), None);
    world.payees.add(address(2).as_str(), world.elapsed_secs - 3_599).unwrap();
    assert_eq!(retry(&world.ask(&policy, &both)), Some(1));
    world.elapsed_secs += 1;
    assert_eq!(told(&world.ask(&policy, &both)), "known");
    assert_eq!(told(&world.ask(&policy, &transfer(Vec::new()))), "no-rule", "nobody is not somebody known");
}

#[test]
fn a_booking_that_fits_no_more_changes_nothing() {
    let limits =
        vec![limit("mine", "eth", Per::Account, 86_400, 100), limit("all", "eth", Per::Tenant, 86_400, 100)];
    let policy = load(document(ANY_TRANSFER, limits));
    let mut world = World::new();
    let Decision::Permit { booking, .. } = world.ask(&policy, &wei(60)) else { panic!("denied") };
    assert!(booking.touches_tenant());
    // Another account of the tenant was quicker.
    let (mut other, now) = (Ledger::default(), world.elapsed_secs);
    booking.clone().apply(&mut other, &mut world.tenant, now).unwrap();
    let before = (world.account.clone(), world.tenant.clone());
    assert_eq!(booking.apply(&mut world.account, &mut world.tenant, now), Err(FitsNoMore));
    assert_eq!((world.account, world.tenant), before);
}

#[test]
fn a_tenant_without_limits_of_its_own_has_no_ledger_to_change() {
    let policy = load(document(ANY_TRANSFER, vec![limit("mine", "eth", Per::Account, 86_400, 100)]));
    let Decision::Permit { booking, .. } = World::new().ask(&policy, &wei(60)) else { panic!("denied") };
    assert!(!booking.touches_tenant());
    let (mut account, mut tenant) = (Ledger::default(), Ledger::default());
    booking.apply(&mut account, &mut tenant, 1_000_000).unwrap();
    assert!(account != Ledger::default() && tenant == Ledger::default());
}

#[test]
fn nothing_is_booked_for_what_moves_nothing_of_an_asset() {
    let policy = load(document(ANY_TRANSFER, vec![limit("all", "usdc", Per::Tenant, 86_400, 100)]));
    for (amount, books) in [(0, false), (1, true)] {
        let decision = World::new().ask(&policy, &transfer(vec![moved(1, usdc(), amount)]));
        let Decision::Permit { booking, .. } = decision else { panic!("denied") };
        assert_eq!(booking.touches_tenant(), books, "{amount}");
    }
}

#[test]
fn the_first_rule_of_the_text_is_named_whatever_order_they_are_evaluated_in() {
    let rule =
        |effect: &str, name: &str| format!("@id(\"{name}\") {effect} (principal, action, resource);\n");
    let names = ["zebra", "m", "a", "yak", "b", "c", "d", "e"];
    let permits: String = names.iter().map(|name| rule("permit", name)).collect();
    let forbids: String = names.iter().map(|name| rule("forbid", name)).collect();
    for _ in 0..20 {
        assert_eq!(told(&World::new().ask(&rules(&permits), &wei(1))), "zebra");
        assert_eq!(told(&World::new().ask(&rules(&forbids), &wei(1))), "forbidden by zebra");
    }
}

#[test]
fn a_declared_chain_needs_no_other_asset_than_its_coin() {
    let mut document = document(ANYTHING, Vec::new());
    document.assets.push(DeclaredAsset {
        name: "btc".to_owned(),
        chain: "bitcoin:main".to_owned(),
        asset: "native".to_owned(),
        decimals: 8,
    });
    let intent = Intent { chain: Some(Chain::Bitcoin(Network::Main)), ..wei(1) };
    let key = KeyUse { mechanisms: &["bitcoin"], network: Some(Network::Main) };
    let world = World::new();
    let decision = load(document).decide(&Question { key, ..world.question(&intent) });
    assert_eq!(told(&decision), "anything");
}

#[test]
fn a_new_version_of_the_policy_keeps_what_was_booked() {
    let day = limit("day", "eth", Per::Account, 86_400, 100);
    let mut world = World::new();
    world.sign(&load(document(ANY_TRANSFER, vec![day.clone()])), &wei(60));
    let mut higher = day.clone();
    higher.most = "110".to_owned();
    let policy: Policy = load(document(ANY_TRANSFER, vec![higher]));
    assert_eq!(told(&world.ask(&policy, &wei(60))), "limit");
    let mut other = day;
    other.name = "another".to_owned();
    assert_eq!(told(&world.ask(&load(document(ANY_TRANSFER, vec![other])), &wei(60))), "any");
}
