//! Numbers as Go writes them, which is how Prometheus' users see them.
//!
//! 1. zmij gives the shortest digits that read back as the same number, in a layout of its own.
//! 2. The layout is taken apart into digits and the place of the decimal point.
//! 3. Go's layouts are built from those: `f` (never an exponent), `g` (an exponent below 1e-4 and for large numbers).

/// Shortest digits, and how many of them stand before the decimal point (may be negative or beyond the digits).
struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    point: i32,
}

impl Decimal {
    /// Takes a finite number apart.
    fn of(value: f64) -> Self {
        let mut buffer = zmij::Buffer::new();
        Decimal::parse(buffer.format_finite(value))
    }

    fn parse(text: &str) -> Self {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        let mut point = whole.len() as i32 + exponent.parse::<i32>().unwrap_or(0);
        let zeros = digits.iter().take_while(|&&d| d == b'0').count();
        digits.drain(..zeros);
        point -= zeros as i32;
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        if digits.is_empty() {
            digits.push(b'0');
            point = 1;
        }
        Decimal { negative, digits, point }
    }

    fn push_sign(&self, out: &mut Vec<u8>) {
        if self.negative {
            out.push(b'-');
        }
    }

    fn push_plain(&self, out: &mut Vec<u8>) {
        self.push_sign(out);
        let point = usize::try_from(self.point).unwrap_or(0);
        let (whole, fraction) = self.digits.split_at(point.min(self.digits.len()));
        if whole.is_empty() {
            out.push(b'0');
        }
        out.extend_from_slice(whole);
        out.resize(out.len() + point.saturating_sub(self.digits.len()), b'0');
        if !fraction.is_empty() {
            out.push(b'.');
            out.resize(out.len() + usize::try_from(-self.point).unwrap_or(0), b'0');
            out.extend_from_slice(fraction);
        }
    }

    fn push_exponent(&self, out: &mut Vec<u8>) {
        self.push_sign(out);
        if let Some((first, rest)) = self.digits.split_first() {
            out.push(*first);
            if !rest.is_empty() {
                out.push(b'.');
                out.extend_from_slice(rest);
            }
        }
        let exponent = self.point - 1;
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        out.extend_from_slice(format!("{:02}", exponent.unsigned_abs()).as_bytes());
    }
}

fn special(value: f64) -> Option<&'static str> {
    match value {
        v if v.is_nan() => Some("NaN"),
        f64::INFINITY => Some("+Inf"),
        f64::NEG_INFINITY => Some("-Inf"),
        _ => None,
    }
}

/// As Prometheus writes sample values into JSON: plain digits, an exponent below 1e-6 and from 1e21 on.
pub fn push_sample_value(out: &mut Vec<u8>, value: f64) {
    if let Some(text) = special(value) {
        return out.extend_from_slice(text.as_bytes());
    }
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(value);
    let size = value.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        return Decimal::parse(text).push_exponent(out);
    }
    // Most answers are such numbers, and long rows of them: without an exponent the layouts differ in whole numbers only.
    let has_exponent = !(1e-4..1e15).contains(&size) && text.bytes().any(|byte| byte == b'e');
    match has_exponent {
        false => out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes()),
        true => Decimal::parse(text).push_plain(out),
    }
}

/// Go's `%g` and `%v`: shortest digits, an exponent below 1e-4 and from 1e6 on.
pub fn go_g(value: f64) -> String {
    match special(value) {
        Some(text) => text.to_owned(),
        None => general(&Decimal::of(value), 6),
    }
}

/// Go's `%.Ng`: at most `digits` of them.
pub(crate) fn go_g_rounded(value: f64, digits: usize) -> String {
    match special(value) {
        Some(text) => text.to_owned(),
        None => {
            let rounded = format!("{:.*e}", digits.saturating_sub(1), value);
            general(&Decimal::parse(&rounded), i32::try_from(digits).unwrap_or(i32::MAX))
        }
    }
}

fn general(decimal: &Decimal, exponent_from: i32) -> String {
    let mut out = Vec::new();
    let exponent = decimal.point - 1;
    if exponent < -4 || exponent >= exponent_from {
        decimal.push_exponent(&mut out)
    } else {
        decimal.push_plain(&mut out)
    }
    String::from_utf8(out).unwrap_or_default()
}

/// Go's `f` with shortest digits: never an exponent. As Prometheus writes scalars into JSON.
pub fn push_plain_value(out: &mut Vec<u8>, value: f64) {
    match special(value) {
        Some(text) => out.extend_from_slice(text.as_bytes()),
        None => Decimal::of(value).push_plain(out),
    }
}

/// The same as a text, as `count_values` writes label values.
pub(crate) fn go_f(value: f64) -> String {
    let mut out = Vec::new();
    push_plain_value(&mut out, value);
    String::from_utf8(out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(value: f64) -> String {
        let mut out = Vec::new();
        push_sample_value(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn sample_values_are_written_as_go_writes_them() {
        let cases: &[(f64, &str)] = &[
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.0, "-1"),
            (10.0, "10"),
            (100.0, "100"),
            (0.1, "0.1"),
            (0.30000000000000004, "0.30000000000000004"),
            (-2.5, "-2.5"),
            (1234.5678, "1234.5678"),
            (1e-6, "0.000001"),
            (1.5e-6, "0.0000015"),
            (9.99e-7, "9.99e-07"),
            (1e-7, "1e-07"),
            (-1.25e-10, "-1.25e-10"),
            (1e-100, "1e-100"),
            (5e-324, "5e-324"),
            (2.2250738585072014e-308, "2.2250738585072014e-308"),
            (1e15, "1000000000000000"),
            (1e16, "10000000000000000"),
            (1e20, "100000000000000000000"),
            (123456789012345680000.0, "123456789012345680000"),
            (9.999999999999999e20, "999999999999999900000"),
            (1e21, "1e+21"),
            (1.5e21, "1.5e+21"),
            (1e100, "1e+100"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::MIN, "-1.7976931348623157e+308"),
            (9007199254740993.0, "9007199254740992"),
            (1700000000.123, "1700000000.123"),
            (std::f64::consts::PI, "3.141592653589793"),
            (1.0 / 3.0, "0.3333333333333333"),
            (2.0 / 3.0, "0.6666666666666666"),
            (100.0 / 3.0, "33.333333333333336"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::from_bits(0x7ff0_0000_0000_0002), "NaN"),
        ];
        for (value, text) in cases {
            assert_eq!(sample(*value), *text, "{value:e}");
        }
    }

    #[test]
    fn general_layout_is_as_go_writes_it() {
        let cases: &[(f64, &str)] = &[
            (0.0, "0"),
            (1.0, "1"),
            (0.1, "0.1"),
            (-10.5, "-10.5"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (100000.0, "100000"),
            (1e6, "1e+06"),
            (1e20, "1e+20"),
            (1e21, "1e+21"),
            (1234567.0, "1.234567e+06"),
            (123456789.0, "1.23456789e+08"),
            (f64::INFINITY, "+Inf"),
            (f64::NAN, "NaN"),
        ];
        for (value, text) in cases {
            assert_eq!(go_g(*value), *text, "{value:e}");
        }
        assert_eq!(go_g_rounded(1234.0, 2), "1.2e+03");
        assert_eq!(go_g_rounded(0.5, 2), "0.5");
        assert_eq!(go_g_rounded(19.96, 2), "20");
        assert_eq!(go_f(1e30), "1000000000000000000000000000000");
        assert_eq!(go_f(1e-7), "0.0000001");
    }

    proptest::proptest! {
        #[test]
        fn ordinary_numbers_have_no_exponent(digits in proptest::prelude::any::<i64>(), shift in 0u32..64, scale in 0i32..24) {
            let value = (digits >> shift) as f64 / 10f64.powi(scale);
            if value == 0.0 || (1e-6..1e21).contains(&value.abs()) {
                proptest::prop_assert_eq!(sample(value), go_f(value));
            }
        }

        #[test]
        fn every_number_reads_back(bits in proptest::prelude::any::<u64>()) {
            let value = f64::from_bits(bits);
            if value.is_finite() {
                proptest::prop_assert_eq!(sample(value).parse::<f64>().unwrap().to_bits(), bits);
                proptest::prop_assert_eq!(go_f(value).parse::<f64>().unwrap().to_bits(), bits);
                proptest::prop_assert_eq!(go_g(value).parse::<f64>().unwrap().to_bits(), bits);
            }
        }
    }
}
