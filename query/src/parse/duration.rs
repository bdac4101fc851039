//! Prometheus durations: whole numbers with the units y, w, d, h, m, s, ms, in this order, each at most once.

use super::strings::quote;

/// The units with their lengths in ms, longest first; a year has 365 days.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// The longest duration, ms: that of Go's 64-bit nanoseconds.
pub const MAX_DURATION_MS: i64 = i64::MAX / 1_000_000;

/// Reads `1h30m`, `500ms` or `0` as milliseconds; never negative.
///
/// # Errors
/// Says that the text is empty, is no duration, or is out of range.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    if text.is_empty() {
        return Err("empty duration string".into());
    }
    if text == "0" {
        return Ok(0);
    }
    let malformed = || format!("not a valid duration string: {}", quote(text));
    let out_of_range = || "duration out of range".to_owned();
    let mut total_ms = 0i64;
    let mut units = UNITS.iter();
    let mut rest = text;
    while !rest.is_empty() {
        let digits_end = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(malformed)?;
        let (digits, tail) = rest.split_at(digits_end);
        let count: u64 = digits.parse().map_err(|_| malformed())?;
        let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, after) = tail.split_at(unit_end);
        if !UNITS.iter().any(|(name, _)| *name == unit) {
            return Err(format!("unknown unit {} in duration {}", quote(unit), quote(text)));
        }
        // Each unit is smaller than the one before it.
        let (_, unit_ms) = units.by_ref().find(|(name, _)| *name == unit).ok_or_else(malformed)?;
        total_ms = i64::try_from(count)
            .ok()
            .and_then(|count| count.checked_mul(*unit_ms)?.checked_add(total_ms))
            .filter(|ms| *ms <= MAX_DURATION_MS)
            .ok_or_else(out_of_range)?;
        rest = after;
    }
    Ok(total_ms)
}

/// Writes milliseconds as the shortest duration: `1h30m`, `-5m`, `0s`.
pub fn format_duration(duration_ms: i64) -> String {
    if duration_ms == 0 {
        return "0s".into();
    }
    let mut out = String::from(if duration_ms < 0 { "-" } else { "" });
    let mut rest = duration_ms.unsigned_abs();
    for (unit, unit_ms) in UNITS {
        let unit_ms = unit_ms.unsigned_abs();
        let whole = matches!(unit, "y" | "w");
        // Years and weeks only where they leave nothing over: `90d` reads better than `12w6d`.
        if rest >= unit_ms && (!whole || rest.is_multiple_of(unit_ms)) {
            out.push_str(&format!("{}{unit}", rest / unit_ms));
            rest %= unit_ms;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_stand_in_order_and_once() {
        assert_eq!(parse_duration("1h30m"), Ok(5_400_000));
        assert_eq!(parse_duration("1y2w3d4h5m6s7ms"), Ok(31_536_000_000 + 1_483_506_007));
        assert_eq!(parse_duration("0"), Ok(0));
        assert_eq!(parse_duration("00m"), Ok(0));
        for bad in ["", "1", "m", "5m5m", "5s1m", "-5m", "1.5h", "5M", "5mm", "5 m", " 5m", "5ms1s", "é", "1é"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_duration("292y"), Ok(292 * 31_536_000_000));
        assert_eq!(parse_duration("293y"), Err("duration out of range".into()));
        assert_eq!(parse_duration("9999999999999999999s"), Err("duration out of range".into()));
        let refused = |text: &str| parse_duration(text).unwrap_err();
        assert_eq!(refused("99999999999999999999s"), "not a valid duration string: \"99999999999999999999s\"");
        assert_eq!(refused("5y1hs"), "unknown unit \"hs\" in duration \"5y1hs\"");
    }

    proptest! {
        #[test]
        fn formatted_durations_read_back(duration_ms in 0..=MAX_DURATION_MS) {
            prop_assert_eq!(parse_duration(&format_duration(duration_ms)), Ok(duration_ms));
        }
    }
}
