//! In no interval as long as a limit's window is more spent than its most, whatever comes in whatever order.

use crate::world::{ANY_TRANSFER, World, document, limit, load, transfer, wei};
use countersign_intent::{Amount, Intent};
use countersign_policy::{Decision, Per, Policy};

/// What was spent, and when.
type Spent = Vec<(u64, u64)>;

fn policy(window_secs: u64, most: u64) -> Policy {
    load(document(ANY_TRANSFER, vec![limit("window", "eth", Per::Account, window_secs, most)]))
}

fn payment(amount: u64) -> Intent {
    Intent { fee_most: None, ..wei(amount) }
}

/// Every interval of the window's length, both ends included, that begins with something spent.
fn check_every_window(spent: &Spent, window_secs: u64, most: u64) {
    for (begin, _) in spent {
        let inside = spent.iter().filter(|(at, _)| (*begin..=begin + window_secs).contains(at));
        let sum: u64 = inside.map(|(_, amount)| amount).sum();
        assert!(sum <= most, "{sum} of {most} within {window_secs} s from {begin}");
    }
}

/// A refusal is right if the amount would not have fitted a window that is a sixteenth (and a second) longer.
fn check_refusal(spent: &Spent, now: u64, amount: u64, window_secs: u64, most: u64) {
    let longer = window_secs + window_secs.div_ceil(16) + 1;
    let recent: u64 = spent.iter().filter(|(at, _)| at + longer > now).map(|(_, amount)| amount).sum();
    assert!(recent + amount > most, "{amount} refused at {now}, with {recent} of {most} spent");
}

fn play(random: &mut fastrand::Rng) -> usize {
    let window_secs = random.u64(60..100_000);
    let most = random.u64(1..1_000);
    let policy = policy(window_secs, most);
    let mut world = World { elapsed_secs: random.u64(0..1_000_000), ..World::new() };
    let mut spent = Spent::new();
    for _ in 0..120 {
        world.elapsed_secs += match random.u8(..10) {
            0..4 => 0,
            4..7 => random.u64(0..=window_secs / 16),
            7 => window_secs,
            8 => random.u64(0..=window_secs),
            // Just around the moment when something leaves.
            _ => (window_secs + window_secs.div_ceil(16)).saturating_sub(random.u64(0..3)),
        };
        let amount = if random.bool() { random.u64(0..=most) } else { random.u64(0..=most / 8 + 1) };
        match world.sign(&policy, &payment(amount)) {
            Decision::Permit { .. } => spent.push((world.elapsed_secs, amount)),
            Decision::Deny { retry_after_secs, .. } => {
                check_refusal(&spent, world.elapsed_secs, amount, window_secs, most);
                if let Some(wait) = retry_after_secs {
                    let later = World { elapsed_secs: world.elapsed_secs + wait, ..world.clone() };
                    assert!(matches!(later.ask(&policy, &payment(amount)), Decision::Permit { .. }));
                    let sooner = World { elapsed_secs: world.elapsed_secs + wait - 1, ..world.clone() };
                    assert!(matches!(sooner.ask(&policy, &payment(amount)), Decision::Deny { .. }));
                }
            }
        }
    }
    check_every_window(&spent, window_secs, most);
    spent.len()
}

#[test]
fn no_window_ever_holds_more_than_the_most_and_no_refusal_is_without_reason() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let permitted: usize = (0..100).map(|_| play(&mut random)).sum();
    assert!(permitted > 1_000, "{permitted}: too few to show anything");
}

#[test]
fn a_clock_that_runs_back_spends_nothing_twice() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let policy = policy(3_600, 100);
    let mut world = World::new();
    let (mut latest, mut spent) = (0, Spent::new());
    for _ in 0..500 {
        world.elapsed_secs = random.u64(1_000_000..1_020_000);
        let amount = random.u64(1..50);
        if matches!(world.sign(&policy, &payment(amount)), Decision::Permit { .. }) {
            // What time it was at the least, by all that was booked before.
            latest = world.elapsed_secs.max(latest);
            spent.push((latest, amount));
        }
    }
    check_every_window(&spent, 3_600, 100);
}

#[test]
fn the_window_holds_across_a_change_of_its_length_and_of_the_most() {
    let mut world = World::new();
    let mut spent = Spent::new();
    for round in 0..200_u64 {
        world.elapsed_secs += 97;
        // Both policies promise at least this: no more than 100 in an hour.
        let policy = if round % 2 == 0 { policy(3_600, 100) } else { policy(7_200, 90) };
        if matches!(world.sign(&policy, &payment(7)), Decision::Permit { .. }) {
            spent.push((world.elapsed_secs, 7));
        }
    }
    check_every_window(&spent, 3_600, 100);
}

#[test]
fn amounts_far_beyond_64_bits_are_counted_exactly() {
    let most = Amount::MAX - Amount::from(1);
    let mut largest = limit("window", "eth", Per::Account, 86_400, 0);
    largest.most = most.to_string();
    let policy = load(document(ANY_TRANSFER, vec![largest]));
    let mut world = World::new();
    let pay = |amount: Amount| {
        let mut to = wei(0).moves.remove(0);
        to.amount = amount;
        Intent { fee_most: None, ..transfer(vec![to]) }
    };
    let half = most / Amount::from(2);
    assert!(matches!(world.sign(&policy, &pay(half)), Decision::Permit { .. }));
    assert!(matches!(world.sign(&policy, &pay(half - Amount::from(1))), Decision::Permit { .. }));
    assert!(matches!(world.sign(&policy, &pay(Amount::from(2))), Decision::Deny { .. }));
    assert!(matches!(world.sign(&policy, &pay(Amount::from(1))), Decision::Permit { .. }));
    assert!(matches!(world.sign(&policy, &pay(Amount::from(1))), Decision::Deny { .. }));
}
