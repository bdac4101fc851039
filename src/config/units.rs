//! Durations and sizes as flags and request parameters spell them.

use std::time::Duration;

/// Reads a duration in Prometheus' form: `15d`, `1h30m`, `250ms`, `0`.
///
/// # Errors
/// A sentence that says what is expected.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let ms = marigram_query::parse::parse_duration(text)
        .map_err(|_| format!("{text:?} is not a duration such as 15d, 1h30m or 500ms"))?;
    Ok(Duration::from_millis(ms.unsigned_abs()))
}

/// Reads a size in bytes: `4096`, `512MB`, `64MiB`. As in Prometheus all units are powers of 1024.
///
/// # Errors
/// A sentence that says what is expected.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a size such as 4096, 512MB or 2GiB");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let shift = match unit {
        "" | "B" => 0,
        "KB" | "KiB" => 10,
        "MB" | "MiB" => 20,
        "GB" | "GiB" => 30,
        "TB" | "TiB" => 40,
        _ => return Err(wrong()),
    };
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

/// Milliseconds of a duration; saturates.
pub fn as_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_prometheus_reads_them() {
        let ms = |text| parse_duration(text).map(as_ms).ok();
        assert_eq!(ms("15d"), Some(15 * 24 * 3_600_000));
        assert_eq!(ms("1h30m"), Some(5_400_000));
        assert_eq!(ms("4m15s"), Some(255_000));
        assert_eq!(ms("1y2w3d4h5m6s7ms"), Some(33_019_506_007));
        assert_eq!(ms("500ms"), Some(500));
        assert_eq!(ms("0"), Some(0));
        assert_eq!(ms("0s"), Some(0));
        for wrong in ["", "15", "d", "1.5h", "-1h", "1m1h", "1h1h", "1 h", "1hour", "99999999999y", "300y"] {
            assert_eq!(ms(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(parse_bytes("64MiB"), Ok(64 << 20));
        assert_eq!(parse_bytes("64MB"), Ok(64 << 20));
        assert_eq!(parse_bytes("4096"), Ok(4096));
        for wrong in ["", "MB", "1.5GB", "-1", "1XB", "99999999999TB"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }
}
