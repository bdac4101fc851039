//! String literals: reading them with Go's escapes, and writing them back.

use std::fmt::Write;

/// A quoted string in a text.
#[derive(Debug, PartialEq, Eq)]
pub struct Quoted {
    /// The bytes it stands for; `\xff` may make them something else than UTF-8.
    pub bytes: Vec<u8>,
    /// Position behind the closing quote.
    pub end: usize,
}

/// What is said to a text that was no UTF-8: whoever decoded it has put U+FFFD in the place of what is none. Written as `\ufffd` it is one
/// like any other.
const INVALID_RUNE: &str = "invalid UTF-8 rune";

/// Reads the literal whose opening quote (`"`, `'` or a backquote) stands at `start`.
///
/// # Errors
/// Prometheus' words for what is wrong.
pub fn read_quoted(text: &str, start: usize) -> Result<Quoted, String> {
    let mut rest = text.get(start..).unwrap_or("").chars();
    let quote = rest.next();
    if quote == Some('`') {
        let inner = rest.as_str();
        let length = inner.find(['`', char::REPLACEMENT_CHARACTER]).ok_or("unterminated raw string")?;
        if !inner[length..].starts_with('`') {
            return Err(INVALID_RUNE.into());
        }
        return Ok(Quoted { bytes: inner.as_bytes()[..length].to_vec(), end: start + length + 2 });
    }
    let mut bytes = Vec::new();
    while let Some(c) = rest.next() {
        match c {
            '\n' => break,
            char::REPLACEMENT_CHARACTER => return Err(INVALID_RUNE.into()),
            '\\' => rest = read_escape(rest.as_str(), quote, &mut bytes)?.chars(),
            _ if Some(c) == quote => return Ok(Quoted { bytes, end: text.len() - rest.as_str().len() }),
            _ => push_char(c, &mut bytes),
        }
    }
    Err("unterminated quoted string".into())
}

/// Reads what follows a backslash; returns the rest of the text.
fn read_escape<'a>(text: &'a str, quote: Option<char>, out: &mut Vec<u8>) -> Result<&'a str, String> {
    let mut rest = text.chars();
    let Some(c) = rest.next() else { return Err("escape sequence not terminated".into()) };
    let (digits, base, limit) = match c {
        'a' => return push_byte(7, rest.as_str(), out),
        'b' => return push_byte(8, rest.as_str(), out),
        'f' => return push_byte(12, rest.as_str(), out),
        'n' => return push_byte(b'\n', rest.as_str(), out),
        'r' => return push_byte(b'\r', rest.as_str(), out),
        't' => return push_byte(b'\t', rest.as_str(), out),
        'v' => return push_byte(11, rest.as_str(), out),
        '\\' => return push_byte(b'\\', rest.as_str(), out),
        _ if Some(c) == quote => return push_byte(c as u8, rest.as_str(), out),
        '0'..='7' => {
            rest = text.chars();
            (3, 8, 255)
        }
        'x' => (2, 16, 255),
        'u' => (4, 16, 0x10_ffff),
        'U' => (8, 16, 0x10_ffff),
        _ => return Err(format!("unknown escape sequence {}", describe_char(c))),
    };
    let mut value = 0u32;
    for _ in 0..digits {
        let Some(c) = rest.next() else { return Err("escape sequence not terminated".into()) };
        let Some(digit) = c.to_digit(base) else {
            return Err(format!("illegal character {} in escape sequence", describe_char(c)));
        };
        value = value.wrapping_mul(base).wrapping_add(digit);
    }
    let invalid = "escape sequence is an invalid Unicode code point";
    if limit == 255 {
        out.push(u8::try_from(value).map_err(|_| invalid)?);
    } else {
        push_char(char::from_u32(value).ok_or(invalid)?, out);
    }
    Ok(rest.as_str())
}

fn push_byte<'a>(byte: u8, rest: &'a str, out: &mut Vec<u8>) -> Result<&'a str, String> {
    out.push(byte);
    Ok(rest)
}

fn push_char(c: char, out: &mut Vec<u8>) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

/// `U+0071 'q'`
fn describe_char(c: char) -> String {
    format!("U+{:04X} '{c}'", u32::from(c))
}

/// Writes a string as a double-quoted literal that reads back as the same bytes.
pub fn quote(value: &str) -> String {
    quote_bytes(value.as_bytes())
}

/// As [`quote`], for bytes that may not be UTF-8.
pub fn quote_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            push_quoted_char(c, &mut out);
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out.push('"');
    out
}

fn push_quoted_char(c: char, out: &mut String) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{7}' => out.push_str("\\a"),
        '\u{8}' => out.push_str("\\b"),
        '\u{b}' => out.push_str("\\v"),
        '\u{c}' => out.push_str("\\f"),
        _ if c.is_ascii_control() => {
            let _ = write!(out, "\\x{:02x}", u32::from(c));
        }
        _ if is_printable(c) => out.push(c),
        _ if u32::from(c) > 0xffff => {
            let _ = write!(out, "\\U{:08x}", u32::from(c));
        }
        _ => {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        }
    }
}

/// Whether Go would print a character as it is. The replacement character counts as not printable: Prometheus refuses it in
/// literals.
fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    if c.is_whitespace() || c == '\u{fffd}' {
        return false;
    }
    // Behind another character, marks that combine are not escaped.
    let text: String = ['a', c].into_iter().collect();
    text.escape_debug().count() == 2
}

/// A character between single quotes, for messages.
pub(super) fn quote_char(c: char) -> String {
    match c {
        '\'' => "'\\''".into(),
        '"' => "'\"'".into(),
        char::REPLACEMENT_CHARACTER => format!("'{c}'"),
        _ => {
            let mut inner = String::new();
            push_quoted_char(c, &mut inner);
            format!("'{inner}'")
        }
    }
}

/// Whether a label name needs no quotes: `[a-zA-Z_][a-zA-Z0-9_]*`.
pub fn is_plain_label_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric())
}

/// Whether a metric name needs no quotes: as a label name, and `:` is a letter.
pub fn is_plain_metric_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b == b'_' || b == b':' || b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn quoted_bytes_read_back(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let literal = quote_bytes(&bytes);
            let expected = Quoted { bytes, end: literal.len() + 2 };
            prop_assert_eq!(read_quoted(&format!("a {literal} b"), 2), Ok(Quoted { end: expected.end, ..expected }));
        }

        #[test]
        fn quoted_text_reads_back(text in ".{0,40}") {
            let literal = quote(&text);
            prop_assert_eq!(read_quoted(&literal, 0).unwrap().bytes, text.into_bytes());
        }
    }

    #[test]
    fn escapes_are_those_of_go() {
        let read = |text: &str| read_quoted(text, 0).map(|q| q.bytes);
        assert_eq!(read(r#""\a\b\f\n\r\t\v\\\"'""#), Ok(b"\x07\x08\x0c\n\r\t\x0b\\\"'".to_vec()));
        assert_eq!(read(r#"'\'"\x41\101é\U0001F600'"#), Ok("'\"AAé😀".into()));
        assert_eq!(read("`a\\n\n\"`"), Ok(b"a\\n\n\"".to_vec()));
        assert_eq!(read(r#""\xff""#), Ok(vec![0xff]));
        assert_eq!(read(r#""\'""#), Err("unknown escape sequence U+0027 '''".into()));
        assert_eq!(read(r#""\777""#), Err("escape sequence is an invalid Unicode code point".into()));
        assert_eq!(read(r#""\ud800""#), Err("escape sequence is an invalid Unicode code point".into()));
        assert_eq!(read(r#""\xg0""#), Err("illegal character U+0067 'g' in escape sequence".into()));
        assert_eq!(read(r#""\x"#), Err("escape sequence not terminated".into()));
        assert_eq!(read("\"a\n\""), Err("unterminated quoted string".into()));
        assert_eq!(read("`a"), Err("unterminated raw string".into()));
        for text in ["\"a\u{fffd}\"", "\"\u{fffd}", "`a\u{fffd}`", "`\u{fffd}"] {
            assert_eq!(read(text), Err("invalid UTF-8 rune".into()));
        }
        assert_eq!(read("`a`\u{fffd}"), Ok(b"a".to_vec()));
        assert_eq!(read(r#""\ufffd""#), Ok("\u{fffd}".into()));
    }
}
