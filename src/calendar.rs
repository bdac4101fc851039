//! RFC 3339 times to milliseconds and back (the proleptic Gregorian calendar, no leap seconds).

use marigram_query::calendar::{Civil, days_in_month};

/// Days from 1970-01-01 to a date. Years count from March, so that the leap day is a year's last.
fn days_from_date(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Reads `2015-07-01T20:10:51.781Z` or with an offset such as `+02:00`; finer than a millisecond is cut off.
pub fn parse_rfc3339_ms(text: &str) -> Option<i64> {
    let (date, rest) = text.split_at_checked(10)?;
    let (clock, rest) = rest.strip_prefix('T')?.split_at_checked(8)?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    let in_range = (1..=12).contains(&month) && day >= 1 && day <= days_in_month(year, month);
    if !in_range || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction_ms, zone) = match rest.strip_prefix('.') {
        None => (0, rest),
        Some(rest) => {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (fraction, zone) = rest.split_at_checked(digits)?;
            let kept: String = fraction.chars().chain("000".chars()).take(3).collect();
            (if fraction.is_empty() { return None } else { kept.parse::<i64>().ok()? }, zone)
        }
    };
    let offset_s = match zone.split_at_checked(1)? {
        ("Z", "") => 0,
        (sign @ ("+" | "-"), offset) => {
            let [hours, minutes] = numbers(offset, ':', [2, 2])?;
            let seconds = if hours > 23 || minutes > 59 { return None } else { hours * 3600 + minutes * 60 };
            if sign == "-" { -seconds } else { seconds }
        }
        _ => return None,
    };
    let seconds = days_from_date(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset_s;
    Some(seconds * 1000 + fraction_ms)
}

/// `N` numbers with `separator` between them and exactly so many digits.
fn numbers<const N: usize>(text: &str, separator: char, digits: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(separator);
    let mut out = [0; N];
    for (slot, digits) in out.iter_mut().zip(digits) {
        let part = parts.next()?;
        let plain = part.len() == digits && part.bytes().all(|b| b.is_ascii_digit());
        *slot = plain.then(|| part.parse().ok())??;
    }
    parts.next().is_none().then_some(out)
}

/// Writes `2015-07-01T20:10:51.781Z`.
pub fn format_rfc3339(time_ms: i64) -> String {
    let (seconds, ms) = (time_ms.div_euclid(1000), time_ms.rem_euclid(1000));
    let Civil { year, month, day, hour, minute, second, .. } = Civil::at(seconds);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_times() {
        assert_eq!(parse_rfc3339_ms("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(parse_rfc3339_ms("2015-07-01T20:10:51.781Z"), Some(1_435_781_451_781));
        assert_eq!(parse_rfc3339_ms("2015-07-01T22:10:51.7819999+02:00"), Some(1_435_781_451_781));
        assert_eq!(parse_rfc3339_ms("2024-02-29T12:00:00-00:30"), Some(1_709_209_800_000));
        for wrong in [
            "",
            "2015",
            "2015-07-01",
            "2015-07-01T20:10:51",
            "2015-13-01T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2015-07-01T20:10:51.Z",
            "2015-07-01T24:10:51Z",
            "2015-07-01 20:10:51Z",
            "2015-07-01T20:10:51Zx",
            "+015-07-01T20:10:51Z",
            "2015-07-01T20:10:51+2:00",
            "2015-07-01T20:10:51é",
        ] {
            assert_eq!(parse_rfc3339_ms(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(ms in -62_135_596_800_000i64..253_402_300_799_999) {
            prop_assert_eq!(parse_rfc3339_ms(&format_rfc3339(ms)), Some(ms));
        }

        #[test]
        fn nothing_panics(text in "\\PC{0,40}") {
            let _ = parse_rfc3339_ms(&text);
        }
    }
}
