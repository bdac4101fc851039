//! Label regexes as Prometheus understands them: RE2's syntax, anchored at both ends, `.` matches a newline too.
//!
//! 1. [`translate`] rewrites Go's dialect to that of the regex crate.
//! 2. [`analyse`] looks at what the pattern means. Most label regexes are alternatives of plain texts, or of a prefix and
//!    "anything"; those never need a regex machine, and tell an index where to look.
//! 3. What is left is compiled, within a limit of program size.

mod analyse;
mod translate;

use std::sync::Arc;

use analyse::Shape;
use regex::{Regex, RegexBuilder};

/// A longer pattern is refused, unless it is nothing but alternatives of plain texts.
const PATTERN_BYTES_MAX: usize = 64 << 10;
/// A longer pattern is refused in any case.
const ALTERNATIVES_BYTES_MAX: usize = 4 << 20;
/// An error quotes so much of a pattern.
const PATTERN_CHARS_SHOWN: usize = 200;
/// Limit of the compiled program.
const PROGRAM_BYTES_MAX: usize = 4 << 20;
/// Limit of the states that matching caches, per thread.
const CACHE_BYTES_MAX: usize = 1 << 20;

/// A pattern that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RegexError(String);

/// A compiled, anchored label regex. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LabelRegex {
    matching: Matching,
}

#[derive(Clone, Debug)]
enum Matching {
    /// `.*`
    Everything,
    /// `.+`
    NonEmpty,
    /// One of these, sorted.
    Literals(Arc<[String]>),
    /// The prefix, and at least so many bytes after it (0 or 1).
    Prefix(Arc<str>, usize),
    /// One of several of the last two.
    Alternatives(Arc<Alternatives>),
    /// All else, with the text that every match begins with.
    Program(Regex, Arc<str>),
}

/// Texts, and what begins with one of some others. No text is listed that begins so.
#[derive(Debug)]
pub(crate) struct Alternatives {
    /// Sorted.
    pub(crate) literals: Vec<String>,
    /// Sorted, none of them the beginning of another; and how many bytes at least must follow (0 or 1).
    pub(crate) prefixes: Vec<(String, usize)>,
}

impl Alternatives {
    fn new(mut literals: Vec<String>, mut prefixes: Vec<(String, usize)>) -> Self {
        prefixes.sort_unstable();
        // What is greater than a prefix and does not begin with it is greater than all that does.
        prefixes.dedup_by(|(longer, _), (kept, _)| longer.starts_with(&**kept));
        let mut all = Alternatives { literals: Vec::new(), prefixes };
        literals.retain(|literal| !all.is_match(literal));
        literals.sort_unstable();
        literals.dedup();
        all.literals = literals;
        all
    }

    fn is_match(&self, value: &str) -> bool {
        let listed = || self.literals.binary_search_by(|literal| literal.as_str().cmp(value)).is_ok();
        let before = self.prefixes.partition_point(|(prefix, _)| prefix.as_str() <= value).checked_sub(1);
        let nearest = before.and_then(|at| self.prefixes.get(at));
        let begins = |(prefix, rest): &(String, usize)| {
            value.strip_prefix(prefix.as_str()).is_some_and(|tail| tail.len() >= *rest)
        };
        nearest.is_some_and(begins) || listed()
    }
}

impl LabelRegex {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// A pattern that RE2 would not take, or one that is too large.
    pub fn new(pattern: &str) -> Result<Self, RegexError> {
        if pattern.len() > ALTERNATIVES_BYTES_MAX {
            return Err(RegexError(format!("the regular expression is longer than {ALTERNATIVES_BYTES_MAX} bytes")));
        }
        if let Some(literals) = analyse::plain_alternatives(pattern) {
            return Ok(LabelRegex { matching: Matching::Literals(sorted(literals)) });
        }
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(RegexError(format!("the regular expression is longer than {PATTERN_BYTES_MAX} bytes")));
        }
        let fail = |why: String| RegexError::new(&why, pattern);
        let program = format!("(?s:{})", to_rust(pattern)?);
        let shape = analyse::shape(&program).map_err(fail)?;
        let matching = match shape {
            Shape::Everything => Matching::Everything,
            Shape::NonEmpty => Matching::NonEmpty,
            Shape::Literals(literals) => Matching::Literals(sorted(literals)),
            Shape::Prefix(prefix, rest) => Matching::Prefix(prefix.into(), rest),
            Shape::Alternatives(literals, prefixes) => {
                Matching::Alternatives(Arc::new(Alternatives::new(literals, prefixes)))
            }
            Shape::Other(prefix) => Matching::Program(compile(&program).map_err(fail)?, prefix.into()),
        };
        Ok(LabelRegex { matching })
    }

    /// Whether the whole of `value` matches.
    pub fn is_match(&self, value: &str) -> bool {
        match &self.matching {
            Matching::Everything => true,
            Matching::NonEmpty => !value.is_empty(),
            Matching::Literals(literals) => literals.binary_search_by(|l| l.as_str().cmp(value)).is_ok(),
            Matching::Prefix(prefix, rest) => value.strip_prefix(&**prefix).is_some_and(|tail| tail.len() >= *rest),
            Matching::Alternatives(alternatives) => alternatives.is_match(value),
            Matching::Program(regex, prefix) => value.starts_with(&**prefix) && regex.is_match(value),
        }
    }

    /// If the pattern matches a finite set of texts that was worth listing: that set, in ascending order.
    pub fn literals(&self) -> Option<&[String]> {
        match &self.matching {
            Matching::Literals(literals) => Some(literals),
            _ => None,
        }
    }

    /// If the pattern is known to be alternatives, some of which only say how a text begins: these.
    pub(crate) fn alternatives(&self) -> Option<&Alternatives> {
        match &self.matching {
            Matching::Alternatives(alternatives) => Some(alternatives),
            _ => None,
        }
    }

    /// A text, not empty, that everything begins with that the pattern matches.
    pub fn prefix(&self) -> Option<&str> {
        match &self.matching {
            Matching::Prefix(prefix, _) | Matching::Program(_, prefix) if !prefix.is_empty() => Some(prefix),
            _ => None,
        }
    }

    /// Whether it is known to match every text, like `.*`.
    pub fn matches_everything(&self) -> bool {
        matches!(self.matching, Matching::Everything)
    }

    /// Whether it is known to match every text but the empty one, like `.+`.
    pub fn matches_every_non_empty(&self) -> bool {
        matches!(self.matching, Matching::NonEmpty)
    }
}

/// A pattern in the words of the regex crate, not anchored, where the dot matches no newline.
///
/// # Errors
/// A pattern that Go would not take.
pub fn to_rust(pattern: &str) -> Result<String, RegexError> {
    translate::to_rust(pattern).map_err(|refusal| RegexError::new(refusal.why, refusal.part))
}

impl RegexError {
    /// As Go says it. Of the part that is quoted, not more than one reads.
    fn new(why: &str, part: &str) -> Self {
        let (shown, more) = match part.char_indices().nth(PATTERN_CHARS_SHOWN) {
            None => (part, ""),
            Some((end, _)) => (part.get(..end).unwrap_or_default(), "…"),
        };
        RegexError(format!("error parsing regexp: {why}: `{shown}{more}`"))
    }
}

fn sorted(mut literals: Vec<String>) -> Arc<[String]> {
    literals.sort_unstable();
    literals.dedup();
    literals.into()
}

fn compile(program: &str) -> Result<Regex, String> {
    RegexBuilder::new(&format!("^{program}$"))
        .size_limit(PROGRAM_BYTES_MAX)
        .dfa_size_limit(CACHE_BYTES_MAX)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => format!("it compiles to more than {PROGRAM_BYTES_MAX} bytes"),
            other => other.to_string(),
        })
}

#[cfg(test)]
mod tests;
