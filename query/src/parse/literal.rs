//! What string literals stand for. `\xff` may make that something else than UTF-8, which no label's name or value is.

use std::borrow::Cow;

use marigram_storage::model::matcher::{MatchOp, Matcher};
use marigram_storage::model::regex::RegexError;

use super::ast::Span;

/// A regex that nothing matches.
const NEVER: &str = r"[^\s\S]";
/// What is no literal in a regex.
const META: &[u8] = br"\.+*?()|[]{}^$";

/// The text of a string literal, bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(Vec<u8>);

impl Text {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, if it is UTF-8.
    pub fn utf8(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// The text with a U+FFFD for every byte that is no part of a character, as Go shows it.
    pub fn lossy(&self) -> Cow<'_, str> {
        if let Some(text) = self.utf8() {
            return Cow::Borrowed(text);
        }
        let mut text = String::with_capacity(self.0.len());
        for chunk in self.0.utf8_chunks() {
            text.push_str(chunk.valid());
            text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
        }
        Cow::Owned(text)
    }
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        Text(bytes)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Text(text.as_bytes().to_vec())
    }
}

/// A matcher whose value is not UTF-8, as it was written. Beside it stands what it comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawMatcher {
    /// Its number among the selector's matchers.
    pub at: usize,
    /// How the label is compared with the value.
    pub op: MatchOp,
    /// The value.
    pub value: Text,
    /// Where it stands.
    pub span: Span,
}

/// What a comparison with a value that is not UTF-8 comes to: no label has it. Of a regex that lists literals, as `a|\xff` does, the
/// others count; any other regex is refused, as Go refuses it.
pub(super) fn raw_matcher(name: &str, op: MatchOp, value: &Text) -> Result<Matcher, RawError> {
    let (op, pattern) = match op {
        MatchOp::Equal => (MatchOp::Regex, NEVER.to_owned()),
        MatchOp::NotEqual => (MatchOp::NotRegex, NEVER.to_owned()),
        MatchOp::Regex | MatchOp::NotRegex => (op, alternatives(value).ok_or(RawError::NotUtf8)?),
    };
    Matcher::new(name, op, pattern).map_err(RawError::Regex)
}

/// Why there is no such matcher.
pub(super) enum RawError {
    /// The regex is no list of literals.
    NotUtf8,
    Regex(RegexError),
}

/// The literals of a list that are UTF-8, as a regex; `None` if it lists anything else.
fn alternatives(value: &Text) -> Option<String> {
    let mut known = Vec::new();
    for literal in value.as_bytes().split(|byte| *byte == b'|') {
        if literal.iter().any(|byte| META.contains(byte)) {
            return None;
        }
        known.extend(std::str::from_utf8(literal));
    }
    Some(if known.is_empty() { NEVER.to_owned() } else { known.join("|") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> Text {
        Text::from(bytes.to_vec())
    }

    #[test]
    fn every_bad_byte_is_shown() {
        assert_eq!(text(b"a\xff\xfeb\xe2\x82").lossy(), "a\u{fffd}\u{fffd}b\u{fffd}\u{fffd}");
        assert_eq!(Text::from("é").lossy(), "é");
        assert_eq!((text(b"\xff").utf8(), text("é".as_bytes()).utf8()), (None, Some("é")));
    }

    #[test]
    fn no_label_has_a_value_that_is_not_utf8() {
        let matches = |op, value: &[u8], label: &str| raw_matcher("a", op, &text(value)).ok().map(|m| m.matches(label));
        for label in ["", "b", "\u{fffd}", "ÿ", "\n"] {
            for (op, expected) in
                [(MatchOp::Equal, false), (MatchOp::Regex, false), (MatchOp::NotEqual, true), (MatchOp::NotRegex, true)]
            {
                assert_eq!(matches(op, b"\xff", label), Some(expected), "{label:?}");
                assert_eq!(matches(op, b"b\xff", label), Some(expected), "{label:?}");
            }
        }
        for (label, listed) in [("b", true), ("c", true), ("", false), ("d", false)] {
            assert_eq!(matches(MatchOp::Regex, b"b|\xff|c", label), Some(listed), "{label}");
            assert_eq!(matches(MatchOp::NotRegex, b"b|\xff|c", label), Some(!listed), "{label}");
        }
        assert_eq!(matches(MatchOp::Regex, b"\xff|", ""), Some(true));
        assert_eq!(matches(MatchOp::Regex, b"\xff.*", ""), None);
    }
}
