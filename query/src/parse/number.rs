//! Number literals: finding their end, and reading them as Go's `ParseInt` (base 0) and `ParseFloat` do.

/// What stands at the start of a text that begins with a digit or a dot.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Scanned {
    Number(usize),
    Duration(usize),
    /// Neither; the length that belongs into the message.
    Bad(usize),
}

/// Measures the number or duration at the start of `text`. Where it is neither, that begins as Prometheus takes it apart: how
/// far that gets shows in its messages.
///
/// In a series description (`series_description`) there are no hexadecimal numbers, and `x`, the sign of repetition,
/// may follow a number.
pub(super) fn scan(text: &str, series_description: bool) -> Scanned {
    let mut scanner = Scanner { bytes: text.as_bytes(), at: 0 };
    if scanner.number(series_description) {
        return Scanned::Number(scanner.at);
    }
    // A duration goes on where the number ended: `5m`, but also `1_0s`, which is refused when it is read.
    match scanner.rest_of_duration() {
        true => Scanned::Duration(scanner.at),
        false => Scanned::Bad(scanner.at),
    }
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn sees(&self, wanted: impl Fn(u8) -> bool) -> bool {
        self.peek().is_some_and(wanted)
    }

    fn accept(&mut self, wanted: impl Fn(u8) -> bool) -> bool {
        let hit = self.sees(wanted);
        self.at += usize::from(hit);
        hit
    }

    fn accept_all(&mut self, wanted: impl Fn(u8) -> bool) {
        while self.accept(&wanted) {}
    }

    /// Whether a number ends here; if not, the cursor stands where that was found out.
    fn number(&mut self, series_description: bool) -> bool {
        let separator = |b: u8| b == b'.' || b == b'_' || is_exponent(b);
        let hexadecimal =
            !series_description && self.accept(|b| b == b'0') && self.accept(|b| matches!(b, b'x' | b'X'));
        if hexadecimal {
            self.accept(|b| b == b'_');
        }
        let digit = |b: u8| if hexadecimal { b.is_ascii_hexdigit() } else { b.is_ascii_digit() };
        self.accept(|b| b == b'.');
        self.accept(digit);
        let (mut dots, mut exponents) = (0, 0);
        while self.sees(|b| digit(b) || separator(b)) {
            if self.accept(|b| b == b'.') {
                dots += 1;
                if dots > 1 || self.accept(|b| matches!(b, b'_' | b'.')) || hexadecimal {
                    return false;
                }
            } else if self.accept(is_exponent) {
                exponents += 1;
                if exponents > 1 {
                    return false;
                }
                self.accept(|b| matches!(b, b'+' | b'-'));
                if self.accept(separator) || self.peek().is_none() {
                    return false;
                }
            } else if self.accept(|b| b == b'_') {
                if self.accept(|b| b == b'.' || b == b'_' || is_exponent(b)) || self.peek().is_none() {
                    return false;
                }
            } else {
                self.accept_all(digit);
            }
        }
        self.at > 0 && (!self.sees(is_word_byte) || series_description && self.sees(|b| b == b'x'))
    }

    /// Units, with digits between them. That they are in order is found when the duration is read.
    fn rest_of_duration(&mut self) -> bool {
        if !self.accept(|b| matches!(b, b's' | b'm' | b'h' | b'd' | b'w' | b'y')) {
            return false;
        }
        self.accept(|b| b == b's');
        while self.accept(|b| b.is_ascii_digit()) {
            self.accept_all(|b| b.is_ascii_digit());
            if !self.accept(|b| matches!(b, b's' | b'm' | b'h' | b'd' | b'w')) {
                return false;
            }
            self.accept(|b| b == b's');
        }
        !self.accept(is_word_byte)
    }
}

fn is_exponent(byte: u8) -> bool {
    matches!(byte, b'e' | b'E')
}

fn is_word_byte(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric()
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
    // Elsewhere they are between digits: what else there may be is found where the number's end is.
    if literal.ends_with('_') {
        return None;
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
            ("0x1ee", Bad(5)),
            ("0xdead", Number(6)),
            ("1_0s", Duration(4)),
            ("5m", Duration(2)),
            ("1h30m]", Duration(5)),
            ("500ms", Duration(5)),
            ("5m:", Duration(2)),
            ("300:", Number(3)),
            ("1__0", Bad(3)),
            ("1_", Bad(2)),
            ("1._5", Bad(3)),
            ("1..2", Bad(3)),
            ("0..", Number(3)),
            ("1e", Bad(2)),
            ("1e+", Bad(3)),
            ("0x1.5", Bad(4)),
            ("0x", Number(2)),
            ("1x2", Bad(1)),
            ("5q", Bad(1)),
            ("1h30", Bad(4)),
            (".", Number(1)),
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
