//! Whether two classes of inputs can be told apart by the clock.

use crate::cases::{ACCOUNTS, Check, key_sharing};
use countersign_plugin::timing::{Factor, Lookup, Tenant};
use std::hint::black_box;
use std::time::Instant;

/// Beyond this the classes differ: what dudect calls "probably not constant time".
const T_MAX: f64 = 4.5;

/// Of the longest measurements so many of a hundred are left out: interruptions.
const CROPPED_PERCENT: usize = 10;

/// Comparisons in one measurement: a clock's tick is longer than one of them.
const IN_ONE: u32 = 16;

/// Inputs of a class.
const INPUTS: u8 = 64;

/// What is measured.
struct Row {
    name: &'static str,
    classes: [&'static str; 2],
    /// It leaks, so that it is known that a leak would be seen.
    is_control: bool,
    t: f64,
    means_ns: [f64; 2],
}

/// Prints the table; fails when a comparison leaks, or the control does not.
pub(crate) fn print(measurements: usize) -> Result<(), String> {
    let rows = [
        code(measurements, Check::Code, 6),
        code(measurements, Check::LongCode, 8),
        api_key(measurements),
        account(measurements),
        key(measurements),
        control(measurements),
    ];
    println!("| comparison | classes | mean of each, ns | t | |");
    println!("| --- | --- | --- | --- | --- |");
    for Row { name, classes: [one, other], is_control, t, means_ns: [mean, other_mean] } in &rows {
        let told = t.abs() > T_MAX;
        let verdict = if told { "told apart" } else { "not told apart" };
        let kind = if *is_control { " (control)" } else { "" };
        println!("| {name}{kind} | {one}; {other} | {mean:.1}; {other_mean:.1} | {t:.2} | {verdict} |");
    }
    match rows.iter().find(|row| (row.t.abs() > T_MAX) != row.is_control) {
        None => Ok(()),
        Some(Row { name, is_control: true, .. }) => Err(format!(
            "{name} leaks and was not seen to: this machine is too noisy for so few measurements"
        )),
        Some(Row { name, .. }) => Err(format!("{name}: the classes can be told apart")),
    }
}

/// Codes that share all digits but one with a right one, and codes drawn at random, all for one factor.
fn code(measurements: usize, check: Check, digits: u8) -> Row {
    let factor = Factor::of(1, digits);
    let (t, means_ns) = measure(measurements, &codes(&factor), |typed| factor.takes(typed));
    Row { name: check.word(), classes: CODES, is_control: false, t, means_ns }
}

/// What [`codes`] are.
const CODES: [&str; 2] = ["one digit wrong", "drawn at random"];

/// Wrong codes of both classes.
fn codes(factor: &Factor) -> [Vec<String>; 2] {
    let mut random = fastrand::Rng::with_seed(11);
    let right = factor.code(1);
    let almost = (0..INPUTS).map(|number| {
        let mut digits = right.clone().into_bytes();
        let last = digits.last_mut().expect("it has digits");
        *last = b'0' + (*last - b'0' + 1 + number % 9) % 10;
        String::from_utf8(digits).expect("digits")
    });
    let digits = right.len();
    let others = std::iter::repeat_with(|| (0..digits).map(|_| random.digit(10)).collect::<String>());
    let is_far = |code: &String| (0..3).all(|at| code.as_bytes()[0] != factor.code(at).as_bytes()[0]);
    let almost = almost.filter(|code| (0..3).all(|at| *code != factor.code(at))).collect();
    [almost, others.filter(is_far).take(INPUTS.into()).collect()]
}

/// Keys whose hashes share a byte with the right one's, and keys drawn at random, all for one tenant.
fn api_key(measurements: usize) -> Row {
    let tenant = Tenant::of(&Tenant::key([1; 32]));
    let sharing = |bytes| (1..=INPUTS).map(|seed| key_sharing(&tenant, bytes, seed.into())).collect();
    let (t, means_ns) = measure(measurements, &[sharing(1), sharing(0)], |key| tenant.takes(key));
    let classes = ["a byte of the hash right", "drawn at random"];
    Row { name: Check::ApiKey.word(), classes, is_control: false, t, means_ns }
}

/// Names of another tenant's accounts, and names of nobody's.
fn account(measurements: usize) -> Row {
    let accounts = Lookup::among(ACCOUNTS);
    let named = |from: u32| (from..from + u32::from(INPUTS)).map(Lookup::name).collect();
    let (t, means_ns) = measure(measurements, &[named(0), named(ACCOUNTS)], |name| accounts.finds_name(name));
    Row { name: Check::Account.word(), classes: THERE, is_control: false, t, means_ns }
}

/// Ids of another tenant's keys, and ids of nobody's.
fn key(measurements: usize) -> Row {
    let accounts = Lookup::among(ACCOUNTS);
    let ids = |from: u32| (from..from + u32::from(INPUTS)).map(|number| accounts.key_of(number)).collect();
    let (t, means_ns) = measure(measurements, &[ids(0), ids(ACCOUNTS)], |id| accounts.finds_key(id));
    Row { name: Check::Key.word(), classes: THERE, is_control: false, t, means_ns }
}

/// What is looked for by a tenant that has none of it.
const THERE: [&str; 2] = ["another tenant's", "nobody's"];

/// The same codes, compared digit by digit until one differs.
fn control(measurements: usize) -> Row {
    let factor = Factor::of(1, 6);
    let right = factor.code(1);
    let until_one_differs = |typed: &String| {
        black_box(right.bytes()).zip(black_box(typed.bytes())).all(|(one, other)| black_box(one == other))
    };
    let (t, means_ns) = measure(measurements, &codes(&factor), until_one_differs);
    Row { name: "code, digit by digit", classes: CODES, is_control: true, t, means_ns }
}

/// Measures both classes in an order drawn at random; Welch's t, and the means in nanoseconds.
fn measure<I: Clone>(
    measurements: usize,
    classes: &[Vec<I>; 2],
    compare: impl Fn(&I) -> bool,
) -> (f64, [f64; 2]) {
    let mut random = fastrand::Rng::with_seed(7);
    let mut times: [Vec<u32>; 2] = [Vec::with_capacity(measurements), Vec::with_capacity(measurements)];
    for _ in 0..2 * measurements {
        let class = usize::from(random.bool());
        // A copy, so that inputs of both classes lie in the same place: where something lies takes time, too.
        let inputs = &classes[class];
        let input = inputs[random.usize(..inputs.len())].clone();
        let begun = Instant::now();
        for _ in 0..IN_ONE {
            black_box(compare(black_box(&input)));
        }
        let took = u32::try_from(begun.elapsed().as_nanos()).unwrap_or(u32::MAX);
        times[class].push(took);
    }
    let longest = percentile(&times, 100 - CROPPED_PERCENT);
    let [one, other] = times.map(|times| Sample::of(times.into_iter().filter(|time| *time <= longest)));
    let per = f64::from(IN_ONE);
    ((one.mean - other.mean) / (one.error() + other.error()).sqrt(), [one.mean / per, other.mean / per])
}

/// A time that so many of a hundred measurements of both classes do not exceed.
fn percentile(times: &[Vec<u32>; 2], percent: usize) -> u32 {
    let mut all: Vec<u32> = times.concat();
    all.sort_unstable();
    all[(all.len() * percent / 100).min(all.len() - 1)]
}

/// Mean and variance of a class.
struct Sample {
    count: f64,
    mean: f64,
    variance: f64,
}

impl Sample {
    fn of(times: impl Iterator<Item = u32>) -> Self {
        // Welford's way: sums of squares of long times would lose the differences.
        let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
        for time in times {
            count += 1.0;
            let time = f64::from(time);
            let before = time - mean;
            mean += before / count;
            squares += before * (time - mean);
        }
        Self { count, mean, variance: squares / (count - 1.0) }
    }

    /// The square of the mean's standard error.
    fn error(&self) -> f64 {
        self.variance / self.count
    }
}
