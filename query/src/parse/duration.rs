//! Prometheus durations: whole numbers with the units y, w, d, h, m, s, ms, in this order, each at most once.

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
    let malformed = || format!("not a valid duration string: {}", super::strings::quote(text));
    let mut total_ms = 0i64;
    let mut units = UNITS.iter();
    let mut rest = text;
    while !rest.is_empty() {
        let digits_end = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(malformed)?;
        let (digits, tail) = rest.split_at(digits_end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, after) = tail.split_at(unit_end);
        let (_, unit_ms) = units.by_ref().find(|(name, _)| *name == unit).ok_or_else(malformed)?;
        if digits.is_empty() {
            return Err(malformed());
        }
        let count: i64 = digits.parse().map_err(|_| "duration out of range")?;
        total_ms = count
            .checked_mul(*unit_ms)
            .and_then(|ms| ms.checked_add(total_ms))
            .filter(|ms| *ms <= MAX_DURATION_MS)
            .ok_or("duration out of range")?;
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

/// Seconds as a number literal gives them, to ms, by way of Go's nanoseconds; `None` when out of range.
pub(super) fn seconds_to_ms(seconds: f64) -> Option<i64> {
    let nanos = (seconds * 1e9).round();
    (nanos.abs() < i64::MAX as f64).then_some(nanos as i64 / 1_000_000)
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
        assert_eq!(parse_duration("99999999999999999999s"), Err("duration out of range".into()));
    }

    proptest! {
        #[test]
        fn formatted_durations_read_back(duration_ms in 0..=MAX_DURATION_MS) {
            prop_assert_eq!(parse_duration(&format_duration(duration_ms)), Ok(duration_ms));
        }
    }
}
