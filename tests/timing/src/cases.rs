//! What is compared with what. All inputs are wrong: that a right one is told apart is what the answer says anyway.

use countersign_plugin::timing::{Factor, Lookup, Tenant};
use std::hint::black_box;

/// Who is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// A code with those of its factor.
    Code,
    /// The same with codes of eight digits.
    LongCode,
    /// An API key with its tenant's.
    ApiKey,
    /// An account's name with those that there are.
    Account,
    /// A key's id with those that there are.
    Key,
}

impl Check {
    pub(crate) const ALL: [Self; 5] = [Self::Code, Self::LongCode, Self::ApiKey, Self::Account, Self::Key];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::LongCode => "long-code",
            Self::ApiKey => "api-key",
            Self::Account => "account",
            Self::Key => "key",
        }
    }
}

/// Something that is compared, ready to be.
pub(crate) enum Input {
    Code(Factor, String),
    ApiKey(Tenant, countersign_wire::names::ApiKey),
    Account(Lookup, String),
    Key(Lookup, [u8; 16]),
}

impl Input {
    /// Compares it.
    pub(crate) fn compare(&self) -> bool {
        match self {
            Self::Code(factor, typed) => factor.takes(black_box(typed)),
            Self::ApiKey(tenant, key) => tenant.takes(black_box(key)),
            Self::Account(accounts, name) => accounts.finds_name(black_box(name)),
            Self::Key(accounts, id) => accounts.finds_key(black_box(id)),
        }
    }
}

/// A code that shares so many leading digits with the one at this place of the window, and is wrong.
pub(crate) fn code_sharing(factor: &Factor, at: usize, digits: usize) -> String {
    let right = factor.code(at);
    let other = |digit: char| char::from_digit((digit.to_digit(10).expect("a digit") + 5) % 10, 10);
    let digit = |(place, digit)| if place < digits { Some(digit) } else { other(digit) };
    right.chars().enumerate().map(|(place, right)| digit((place, right)).expect("a digit")).collect()
}

/// A wrong API key whose hash shares so many leading bytes with the right one's.
pub(crate) fn key_sharing(tenant: &Tenant, bytes: usize, seed: u64) -> countersign_wire::names::ApiKey {
    let mut random = fastrand::Rng::with_seed(seed);
    loop {
        let mut bits = [0; 32];
        random.fill(&mut bits);
        let key = Tenant::key(bits);
        if tenant.shared_bytes(&key) == bytes {
            return key;
        }
    }
}

/// The accounts of the other tenant.
pub(crate) const ACCOUNTS: u32 = 100;

/// The case of this name.
fn input(name: &str) -> Option<Input> {
    let (check, how) = name.split_once('/')?;
    let (what, count) = how.rsplit_once('-')?;
    let count: usize = count.parse().ok()?;
    match (check, what) {
        ("code" | "long-code", _) => {
            let factor = Factor::of(1, if check == "code" { 6 } else { 8 });
            let at =
                ["previous-digits", "present-digits", "next-digits"].iter().position(|step| *step == what)?;
            let typed = code_sharing(&factor, at, count);
            Some(Input::Code(factor, typed))
        }
        ("account" | "key", "another-tenants" | "nobodys") => {
            let accounts = Lookup::among(ACCOUNTS);
            // Both tell of the same tree: who is there and who is not is all the difference.
            let number = u32::try_from(count).ok()? + if what == "nobodys" { ACCOUNTS } else { 0 };
            let key = accounts.key_of(number);
            Some(if check == "account" {
                Input::Account(accounts, Lookup::name(number))
            } else {
                Input::Key(accounts, key)
            })
        }
        ("api-key", "hash-bytes") => {
            let tenant = Tenant::of(&Tenant::key([1; 32]));
            let key = key_sharing(&tenant, count, 1);
            Some(Input::ApiKey(tenant, key))
        }
        ("api-key", "digits") => {
            let mut almost = [1; 32];
            almost[count / 2] ^= if count.is_multiple_of(2) { 0x10 } else { 0x01 };
            Some(Input::ApiKey(Tenant::of(&Tenant::key([1; 32])), Tenant::key(almost)))
        }
        _ => None,
    }
}

/// The names of all cases of a check.
pub(crate) fn names(check: Check) -> Vec<String> {
    let counted = |what: &str, counts: &[usize]| -> Vec<String> {
        counts.iter().map(|count| format!("{}/{what}-{count}", check.word())).collect()
    };
    match check {
        Check::Code => [
            counted("present-digits", &[0, 1, 2, 3, 4, 5]),
            counted("previous-digits", &[3, 5]),
            counted("next-digits", &[3, 5]),
        ]
        .concat(),
        Check::LongCode => [
            counted("present-digits", &[0, 3, 7]),
            counted("previous-digits", &[3, 7]),
            counted("next-digits", &[3, 7]),
        ]
        .concat(),
        Check::Account | Check::Key => {
            [counted("another-tenants", &[0, 40, 99]), counted("nobodys", &[0, 40, 99])].concat()
        }
        Check::ApiKey => [counted("hash-bytes", &[0, 1]), counted("digits", &[0, 63])].concat(),
    }
}

/// Compares one case twice: whatever is made ready at first use is the same for all.
pub(crate) fn run(name: &str) -> Result<(), String> {
    let input = input(name).ok_or_else(|| format!("there is no case {name}"))?;
    if input.compare() || input.compare() {
        return Err(format!("{name} is right, and all cases must be wrong"));
    }
    Ok(())
}
