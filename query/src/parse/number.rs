//! Number literals: finding their end, and reading them as Go's `ParseInt` (base 0) and `ParseFloat` do.

/// What stands at the start of a text that begins with a digit or a dot.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Scanned {
    Number(usize),
    Duration(usize),
    /// Neither; the length that belongs into the message.
    Bad(usize),
}

/// Measures the number or duration at the start of `text`.
///
/// In a series description (`series_description`) there are no hexadecimal numbers, and `x`, the sign of repetition,
/// may follow a number.
pub(super) fn scan(text: &str, series_description: bool) -> Scanned {
    let bytes = text.as_bytes();
    let number_end = scan_number(bytes, series_description);
    let ends_word = |at: usize| match bytes.get(at) {
        Some(b'x') if series_description => true,
        Some(b) => !is_word_byte(*b),
        None => true,
    };
    if let Some(end) = number_end
        && ends_word(end)
    {
        return Scanned::Number(end);
    }
    let mut end = 0;
    loop {
        let digits = count(bytes, end, |b| b.is_ascii_digit());
        // Any unit letter, and an `s` behind it; that only `ms` makes sense is found when the duration is read.
        let letter = matches!(bytes.get(end + digits), Some(b's' | b'm' | b'h' | b'd' | b'w' | b'y'));
        let units = usize::from(letter) + usize::from(letter && bytes.get(end + digits + 1) == Some(&b's'));
        if digits == 0 || units == 0 {
            break;
        }
        end += digits + units;
        if ends_word(end) && bytes.get(end) != Some(&b'.') {
            return Scanned::Duration(end);
        }
    }
    Scanned::Bad(count(bytes, 0, |b| is_word_byte(b) || b == b'.'))
}

fn is_word_byte(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric()
}

fn count(bytes: &[u8], from: usize, wanted: impl Fn(u8) -> bool) -> usize {
    bytes.iter().skip(from).take_while(|b| wanted(**b)).count()
}

/// The length of the longest number, or `None` where its parts are not in order.
fn scan_number(bytes: &[u8], series_description: bool) -> Option<usize> {
    if !series_description && matches!(bytes, [b'0', b'x' | b'X', ..]) {
        let digits = count(bytes, 2, |b| b.is_ascii_hexdigit() || b == b'_');
        let dotted = bytes.get(2 + digits) == Some(&b'.');
        return (digits > 0 && !dotted && separators_are_between(&bytes[2..2 + digits], true)).then_some(2 + digits);
    }
    let digit = |b: u8| b.is_ascii_digit() || b == b'_';
    let whole = count(bytes, 0, digit);
    let mut end = whole;
    let mut fraction = 0;
    if bytes.get(end) == Some(&b'.') {
        fraction = count(bytes, end + 1, digit);
        if bytes.get(end + 1) == Some(&b'_') || !separators_are_between(&bytes[end + 1..end + 1 + fraction], false) {
            return None;
        }
        end += 1 + fraction;
    }
    if whole + fraction == 0 || !separators_are_between(&bytes[..whole], false) || bytes.get(end) == Some(&b'.') {
        return None;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let digits = count(bytes, end + 1 + sign, digit);
        let exponent = &bytes[end + 1 + sign..end + 1 + sign + digits];
        if digits == 0 || !separators_are_between(exponent, false) {
            return None;
        }
        end += 1 + sign + digits;
    }
    Some(end)
}

/// Underscores stand between digits; behind the prefix `0x` one may come first.
fn separators_are_between(digits: &[u8], after_prefix: bool) -> bool {
    let first_fits = digits.first() != Some(&b'_') || after_prefix;
    first_fits && digits.last() != Some(&b'_') && !digits.windows(2).any(|pair| pair == b"__")
}

/// The value of a literal that [`scan`] found, or of `Inf` and `NaN` in any case, with an optional sign.
pub(super) fn value(literal: &str) -> Option<f64> {
    let (negative, digits) = match literal.as_bytes() {
        [b'-', ..] => (true, &literal[1..]),
        [b'+', ..] => (false, &literal[1..]),
        _ => (false, literal),
    };
    let magnitude = unsigned_value(digits)?;
    Some(if negative { -magnitude } else { magnitude })
}

fn unsigned_value(literal: &str) -> Option<f64> {
    if literal.eq_ignore_ascii_case("inf") {
        return Some(f64::INFINITY);
    }
    if literal.eq_ignore_ascii_case("nan") {
        return Some(f64::NAN);
    }
    let plain: String = literal.chars().filter(|c| *c != '_').collect();
    if let Some(hex) = plain.strip_prefix("0x").or_else(|| plain.strip_prefix("0X")) {
        return i64::from_str_radix(hex, 16).ok().map(|n| n as f64);
    }
    if plain.starts_with('0') && plain.bytes().all(|b| matches!(b, b'0'..=b'7')) {
        // As Go reads integers: a leading zero means octal.
        return i64::from_str_radix(&plain, 8).ok().map(|n| n as f64);
    }
    if !plain.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    plain.parse::<f64>().ok().filter(|v| v.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_durations_are_told_apart() {
        use Scanned::*;
        for (text, expected) in [
            ("1", Number(1)),
            ("1.", Number(2)),
            (".5", Number(2)),
            ("1e3 ", Number(3)),
            ("1.5e-3)", Number(6)),
            ("1_000.5_0", Number(9)),
            ("0x_1F+", Number(5)),
            ("0xee", Number(4)),
            ("5m", Duration(2)),
            ("1h30m]", Duration(5)),
            ("500ms", Duration(5)),
            ("5m:", Duration(2)),
            ("300:", Number(3)),
            ("1__0", Bad(4)),
            ("1_", Bad(2)),
            ("1._5", Bad(4)),
            ("1..2", Bad(4)),
            ("1e", Bad(2)),
            ("1e+", Bad(2)),
            ("0x1.5", Bad(5)),
            ("0x", Bad(2)),
            ("1x2", Bad(3)),
            ("5q", Bad(2)),
            ("1h30", Bad(4)),
            (".", Bad(1)),
        ] {
            assert_eq!(scan(text, false), expected, "{text}");
        }
        assert_eq!(scan("0x3", true), Number(1));
        assert_eq!(scan("1.5x3", true), Number(3));
    }

    #[test]
    fn values_are_those_of_go() {
        assert_eq!(value("0x_1F"), Some(31.0));
        assert_eq!(value("010"), Some(8.0));
        assert_eq!(value("08"), Some(8.0));
        assert_eq!(value("-1_000.5"), Some(-1000.5));
        assert_eq!(value("1.e3"), Some(1000.0));
        assert_eq!(value("-iNf"), Some(f64::NEG_INFINITY));
        assert!(value("NaN").is_some_and(f64::is_nan));
        assert_eq!(value("1e999"), None);
        assert_eq!(value("0xffffffffffffffff"), None);
        assert_eq!(value("infinity"), None);
    }
}
