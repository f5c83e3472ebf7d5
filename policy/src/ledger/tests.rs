use super::*;
use crate::document::Counts;

fn limit(name: &str, window_secs: u64, most: u64) -> Limit {
    let document = crate::Document {
        assets: vec![crate::document::DeclaredAsset {
            name: "eth".to_owned(),
            chain: "eip155:1".to_owned(),
            asset: "native".to_owned(),
            decimals: 18,
        }],
        limits: vec![crate::document::DeclaredLimit {
            name: name.to_owned(),
            asset: "eth".to_owned(),
            per: Per::Account,
            counts: Counts::Sum,
            window_secs,
            most: most.to_string(),
            hard: true,
        }],
        format: 1,
        name: String::new(),
        version: 1,
        undeclared: crate::document::Undeclared::Refuse,
        payee_delay_secs: 0,
        rules: String::new(),
    };
    Limit::all(&document).remove(0)
}

fn amount(units: u64) -> Amount {
    Amount::from(units)
}

fn written_and_read(ledger: &Ledger) -> Option<Ledger> {
    countersign_wire::decode_packed(&countersign_wire::encode_packed(ledger)).ok()
}

#[test]
fn what_was_booked_counts_for_a_window_and_at_most_a_sixteenth_more() {
    let daily = limit("daily", 86_400, 10);
    let mut ledger = Ledger::default();
    let booked_at = 1_000_000;
    ledger.book(&daily, amount(10), booked_at);
    assert_eq!(ledger.within(&daily, amount(1), booked_at + 86_400), Room::FitsInSecs(4_400), "still within");
    assert_eq!(ledger.within(&daily, amount(1), booked_at + 86_400 + 5_400), Room::Fits);
    let Room::FitsInSecs(wait) = ledger.within(&daily, amount(1), booked_at) else {
        panic!("it does not fit")
    };
    assert_eq!(ledger.within(&daily, amount(1), booked_at + wait), Room::Fits);
    assert_ne!(ledger.within(&daily, amount(1), booked_at + wait - 1), Room::Fits);
}

#[test]
fn memory_is_told_for_each_limit_and_each_slice() {
    let (day, week) = (limit("day", 86_400, 100), limit("week", 604_800, 100));
    let mut ledger = Ledger::default();
    assert_eq!(ledger.memory_bytes(), 0);
    for (limit, at, windows, slices) in [(&day, 0, 1, 1), (&day, 40_000, 1, 2), (&week, 40_000, 2, 3)] {
        ledger.book(limit, amount(1), at);
        let bytes = windows * size_of::<Window>() + slices * size_of::<Slice>();
        assert_eq!(ledger.memory_bytes(), bytes, "{windows} {slices}");
    }
}

#[test]
fn nothing_and_what_a_limit_of_one_transaction_counts_is_not_kept() {
    let day = limit("day", 86_400, 100);
    let once = Limit { per: Per::Transaction, ..day.clone() };
    let mut ledger = Ledger::default();
    ledger.book(&day, Amount::ZERO, 1);
    ledger.book(&once, amount(1), 1);
    assert_eq!(ledger, Ledger::default());
}

#[test]
fn what_was_booked_for_a_limit_that_is_no_more_is_forgotten() {
    let (day, week) = (limit("day", 86_400, 100), limit("week", 604_800, 100));
    let mut ledger = Ledger::default();
    ledger.book(&day, amount(1), 1);
    ledger.book(&week, amount(2), 1);
    ledger.forget_all_but(std::slice::from_ref(&week));
    assert_eq!((ledger.booked(&day, 1), ledger.booked(&week, 1)), (Amount::ZERO, amount(2)));
}

#[test]
fn exactly_the_most_fits_and_one_more_does_not() {
    let daily = limit("daily", 86_400, 10);
    let mut ledger = Ledger::default();
    ledger.book(&daily, amount(4), 0);
    assert_eq!(ledger.within(&daily, amount(6), 0), Room::Fits);
    assert!(matches!(ledger.within(&daily, amount(7), 0), Room::FitsInSecs(_)));
    assert_eq!(ledger.within(&daily, amount(11), 0), Room::Never);
    assert_eq!(ledger.within(&daily, Amount::MAX, 0), Room::Never);
}

#[test]
fn time_that_runs_back_ends_no_window() {
    let daily = limit("daily", 86_400, 10);
    let mut ledger = Ledger::default();
    ledger.book(&daily, amount(6), 1_000_000);
    ledger.book(&daily, amount(4), 0);
    assert_eq!(ledger.booked(&daily, 0), amount(10));
    assert_eq!(ledger.booked(&daily, 1_000_000), amount(10));
    assert_eq!(ledger.booked(&daily, u64::MAX), Amount::ZERO);
}

#[test]
fn a_sum_beyond_256_bits_never_fits() {
    let mut daily = limit("daily", 86_400, 10);
    daily.most = Amount::MAX;
    let mut ledger = Ledger::default();
    ledger.book(&daily, Amount::MAX, 0);
    ledger.book(&daily, Amount::MAX, 0);
    assert!(matches!(ledger.within(&daily, amount(1), 0), Room::FitsInSecs(_)));
    assert_eq!(ledger.booked(&daily, 0), Amount::MAX);
}

#[test]
fn what_was_booked_stays_when_only_the_window_or_the_most_is_changed() {
    let (short, long) = (limit("daily", 3_600, 10), limit("daily", 86_400, 20));
    let mut ledger = Ledger::default();
    ledger.book(&short, amount(10), 50_000);
    assert_eq!(ledger.booked(&long, 53_000), amount(10));
    ledger.book(&long, amount(5), 53_000);
    assert_eq!(ledger.booked(&long, 60_000), amount(15));
    assert_eq!(
        ledger.booked(&limit("weekly", 86_400, 20), 60_000),
        Amount::ZERO,
        "another limit begins empty"
    );
}

#[test]
fn slices_stay_bounded_however_the_window_is_changed() {
    let mut ledger = Ledger::default();
    for second in 0..2_000 {
        let window_secs = if second % 2 == 0 { 60 } else { 86_400 };
        ledger.book(&limit("daily", window_secs, 10), amount(1), second * 7);
        assert!(written_and_read(&ledger).is_some_and(|read| read == ledger));
    }
    let window = ledger.window(&limit("daily", 60, 10)).unwrap();
    assert!(window.slices.len() <= SLICES_MAX);
}

#[test]
fn slices_that_are_merged_lose_nothing() {
    let (short, long) = (limit("daily", 64, 1_000), limit("daily", 86_400, 1_000));
    let mut ledger = Ledger::default();
    for second in (0..72).step_by(4) {
        ledger.book(&short, amount(1), second);
    }
    let before = ledger.booked(&long, 72);
    assert!(before >= amount(16));
    for second in [5_500, 11_000, 16_500, 22_000] {
        ledger.book(&long, amount(1), second);
    }
    assert_eq!(ledger.window(&long).unwrap().slices.len(), SLICES_MAX, "some were merged");
    assert_eq!(ledger.booked(&long, 22_000), before + amount(4));
}

#[test]
fn after_a_restore_nothing_fits_until_the_window_has_passed() {
    let daily = limit("daily", 86_400, 10);
    let mut ledger = Ledger::default();
    ledger.exhaust([&daily].into_iter(), 1_000);
    assert!(matches!(ledger.within(&daily, amount(1), 1_000), Room::FitsInSecs(_)));
    assert_eq!(ledger.within(&daily, amount(1), 1_000 + 86_400 + 5_400), Room::Fits);
}

#[test]
fn refuses_a_written_ledger_that_is_not_sound() {
    let slice = |last, units| Slice { last_elapsed_secs: last, amount: amount(units) };
    let form = |slices: Vec<Slice>| Form(vec![Window { limit: limit("daily", 60, 1).id, slices }]);
    assert!(Ledger::try_from(form(vec![slice(1, 1), slice(2, 1)])).is_ok());
    assert!(Ledger::try_from(form(vec![slice(2, 1), slice(1, 1)])).is_err());
    assert!(Ledger::try_from(form(vec![slice(1, 1), slice(1, 1)])).is_err());
    assert!(Ledger::try_from(form(vec![slice(1, 0)])).is_err());
    assert!(Ledger::try_from(form((0..=18).map(|last| slice(last, 1)).collect())).is_err());
    let mut twice = form(vec![slice(1, 1)]);
    twice.0.push(twice.0[0].clone());
    assert!(Ledger::try_from(twice).is_err());
}

#[test]
fn a_year_of_every_limit_fits_an_account_record() {
    let mut ledger = Ledger::default();
    for second in (0..366 * 86_400).step_by(43_200) {
        for number in 0..crate::document::ACCOUNT_LIMITS_MAX {
            ledger.book(
                &limit(&format!("limit-{number}"), 30 * 86_400, 1),
                Amount::from(u128::MAX >> 40),
                second,
            );
        }
    }
    let bytes = countersign_wire::encode_packed(&ledger).len();
    assert!(bytes < 4 * 1024, "{bytes}");
    assert!(written_and_read(&ledger).is_some());
}
