//! Label regexes as Prometheus understands them: anchored at both ends, `.` matches a newline too, and the Perl
//! classes are ASCII as in Go's RE2.

use regex::Regex;

/// A pattern that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RegexError(String);

/// A compiled, anchored label regex.
#[derive(Clone, Debug)]
pub struct LabelRegex {
    regex: Regex,
}

impl LabelRegex {
    /// Compiles `^(?s:pattern)$`.
    ///
    /// # Errors
    /// A pattern that does not parse, or whose program would be larger than the regex crate's limit.
    pub fn new(pattern: &str) -> Result<Self, RegexError> {
        let regex = Regex::new(&format!("^(?s:{pattern})$")).map_err(|e| RegexError(e.to_string()))?;
        Ok(LabelRegex { regex })
    }

    /// Whether the whole of `value` matches.
    pub fn is_match(&self, value: &str) -> bool {
        self.regex.is_match(value)
    }
}
