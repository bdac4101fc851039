//! Texts as Go quotes them in messages.

/// Go's `%q`: double quotes, escapes for what is not printable.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A label set as Go's `Labels.String` writes it.
pub(crate) fn labels(labels: &marigram_storage::model::labels::Labels) -> String {
    let parts: Vec<String> =
        labels.iter().map(|(name, value)| format!("{}={}", plain_or_quoted(name), quoted(value))).collect();
    format!("{{{}}}", parts.join(", "))
}

fn plain_or_quoted(name: &str) -> String {
    let plain =
        name.bytes().enumerate().all(|(i, b)| b == b'_' || b.is_ascii_alphabetic() || i > 0 && b.is_ascii_digit());
    if plain { name.to_owned() } else { quoted(name) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use marigram_storage::model::labels::Labels;

    #[test]
    fn as_go_quotes() {
        assert_eq!(quoted("a\"b\\c\nd\u{1}é"), r#""a\"b\\c\nd\x01é""#);
        let set = Labels::from_pairs([("a", "1"), ("b.c", "x y")]);
        assert_eq!(labels(&set), r#"{a="1", "b.c"="x y"}"#);
    }
}
