//! Points in time as contracts have them: seconds since 1970, in integers of up to 256 bits.

use crate::model::Amount;

/// The year 2100 begins, in seconds since 1970. Nothing here has a clock: what ends later than this has no expiry that
/// anybody living by it would notice.
const FAR_SECS: u64 = 4_102_444_800;

/// The year 10000 begins, in seconds since 1970: from here on no date is written.
const DATES_END_SECS: u64 = 253_402_300_800;

/// Whether it is so far away that it counts as never.
pub(super) fn is_never(secs: Amount) -> bool {
    secs >= Amount::from(FAR_SECS)
}

/// `2030-01-01 00:00:00 UTC (1893456000)`; the number alone where no date can be written.
pub(super) fn text(secs: Amount) -> String {
    match u64::try_from(secs) {
        Ok(unix) if unix < DATES_END_SECS => {
            let (year, month, day) = date(unix / 86_400);
            let (hour, minute, second) = (unix / 3600 % 24, unix / 60 % 60, unix % 60);
            format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC ({unix})")
        }
        _ => format!("never ({secs})"),
    }
}

/// The Gregorian date of a day since 1970, counting whole years and months.
fn date(mut days: u64) -> (u64, u64, u64) {
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (secs, shown) in [
            (0, "1970-01-01 00:00:00 UTC (0)"),
            (951_827_696, "2000-02-29 12:34:56 UTC (951827696)"),
            (1_709_251_199, "2024-02-29 23:59:59 UTC (1709251199)"),
            (1_709_251_200, "2024-03-01 00:00:00 UTC (1709251200)"),
            (1_893_456_000, "2030-01-01 00:00:00 UTC (1893456000)"),
            (FAR_SECS - 1, "2099-12-31 23:59:59 UTC (4102444799)"),
            (DATES_END_SECS - 1, "9999-12-31 23:59:59 UTC (253402300799)"),
            (DATES_END_SECS, "never (253402300800)"),
        ] {
            assert_eq!(text(Amount::from(secs)), shown);
        }
    }

    #[test]
    fn what_lies_beyond_2100_counts_as_never_and_what_lies_before_does_not() {
        assert!(!is_never(Amount::from(FAR_SECS - 1)));
        assert!(is_never(Amount::from(FAR_SECS)));
        assert!(is_never(Amount::MAX));
    }
}
