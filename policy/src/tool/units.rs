//! Amounts and times as people write them.

use crate::document::{DeclaredAsset, Document};
use countersign_intent::Amount;

/// An amount and the asset it is of: a declared name, or the asset's text where it is not declared.
pub(crate) struct Quantity<'a> {
    pub(crate) asset: &'a str,
    pub(crate) declared: Option<&'a DeclaredAsset>,
    pub(crate) amount: Amount,
}

/// Reads `1.5 eth`, or `1500000000000000000 base eth` in base units. Of an asset that is not declared, base units alone.
pub(crate) fn read_quantity<'a>(document: &'a Document, text: &'a str) -> Result<Quantity<'a>, String> {
    let form = "an amount is written \"1.5 NAME\", or \"15 base NAME\" in base units, with the name of a declared asset";
    let words: Vec<_> = text.split(' ').collect();
    let (number, name, in_base_units) = match words[..] {
        [number, name] => (number, name, false),
        [number, "base", name] => (number, name, true),
        _ => return Err(form.to_owned()),
    };
    let declared = document.asset(name);
    let decimals = match (declared, in_base_units) {
        (_, true) => 0,
        (Some(asset), false) => usize::from(asset.decimals),
        (None, false) => return Err(format!("{name:?} is not a declared asset; {form}")),
    };
    let amount = read_decimal(number, decimals).ok_or_else(|| {
        format!("{number:?} is not a number of at most {decimals} digits after the point and below 2^256")
    })?;
    Ok(Quantity { asset: name, declared, amount })
}

/// A decimal number times ten to the power of `decimals`, exactly.
fn read_decimal(text: &str, decimals: usize) -> Option<Amount> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let whole_is_canonical = digits(whole) && !whole.is_empty() && (whole == "0" || !whole.starts_with('0'));
    let point_is_canonical = !text.ends_with('.') && part.len() <= decimals && digits(part);
    let all = format!("{whole}{part:0<decimals$}");
    (whole_is_canonical && point_is_canonical).then(|| Amount::from_str_radix(&all, 10).ok()).flatten()
}

/// An amount in whole units, exact.
pub(crate) fn decimal(amount: Amount, decimals: u8) -> String {
    let decimals = usize::from(decimals);
    let digits = format!("{amount:0>width$}", width = decimals + 1, amount = amount.to_string());
    let (whole, part) = digits.split_at(digits.len() - decimals);
    let part = part.trim_end_matches('0');
    if part.is_empty() { whole.to_owned() } else { format!("{whole}.{part}") }
}

/// Reads `90s`, `15m`, `24h`, `7d`.
pub(crate) fn read_secs(text: &str) -> Result<u64, String> {
    let unit_secs = match text.bytes().last() {
        Some(b's') => 1,
        Some(b'm') => 60,
        Some(b'h') => 3600,
        Some(b'd') => 86_400,
        _ => 0,
    };
    let number = text.get(..text.len().saturating_sub(1)).unwrap_or_default();
    let canonical =
        number.bytes().all(|byte| byte.is_ascii_digit()) && (number == "0" || !number.starts_with('0'));
    let secs = number.parse::<u64>().ok().filter(|_| canonical && unit_secs > 0);
    secs.and_then(|number| number.checked_mul(unit_secs))
        .ok_or_else(|| format!("{text:?} is not a time: write 90s, 15m, 24h or 7d"))
}

/// The shortest way to write so many seconds.
pub(crate) fn secs_text(secs: u64) -> String {
    let units = [(86_400, 'd'), (3600, 'h'), (60, 'm')];
    let fitting = units.into_iter().find(|(unit_secs, _)| secs > 0 && secs.is_multiple_of(*unit_secs));
    fitting.map_or_else(|| format!("{secs}s"), |(unit_secs, unit)| format!("{}{unit}", secs / unit_secs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact_both_ways() {
        for (text, decimals, amount) in [
            ("1.5", 18, "1500000000000000000"),
            ("0.00000001", 8, "1"),
            ("21000000", 8, "2100000000000000"),
            ("7", 0, "7"),
        ] {
            assert_eq!(read_decimal(text, decimals), Some(amount.parse().unwrap()));
            assert_eq!(decimal(amount.parse().unwrap(), u8::try_from(decimals).unwrap()), text);
        }
        for bad in ["", ".", "1.", ".5", "01", "1.123", "-1", "1e3", "1,5", "1.+1"] {
            assert_eq!(read_decimal(bad, 2), None, "{bad:?}");
        }
    }

    #[test]
    fn times_have_a_unit() {
        assert_eq!(read_secs("24h"), Ok(86_400));
        assert_eq!(read_secs("0s"), Ok(0));
        for secs in [0, 1, 59, 60, 90, 3600, 86_400, 604_800, 86_401] {
            assert_eq!(read_secs(&secs_text(secs)), Ok(secs));
        }
        for bad in
            ["", "24", "h", "-1h", "1.5h", "024h", "1 h", "99999999999999999999s", "9999999999999999999d"]
        {
            assert!(read_secs(bad).is_err(), "{bad:?}");
        }
    }
}
