//! PromQL from text to a checked tree.
//!
//! 1. The lexer cuts the text into tokens; a mistake in the text becomes the last token.
//! 2. A Pratt parser builds the tree: prefix, postfix modifiers, then operators by binding power. The depth of the tree
//!    is bounded by [`MAX_DEPTH`], so that every later walk over it may recurse; a chain of operators is flat, and bounded by
//!    [`MAX_CHAIN`].
//! 3. A pass over the tree checks types, arguments and matching, in the order in which Prometheus does, so that the
//!    first mistake reported is the same.

pub mod ast;
mod call;
mod check;
pub mod duration;
pub mod duration_expr;
mod error;
pub mod features;
pub mod format;
pub mod functions;
mod histogram_literal;
mod length;
mod lexer;
pub mod literal;
mod modifiers;
mod number;
mod parser;
pub mod pretty;
mod selector;
pub mod series;
pub mod strings;

#[cfg(test)]
mod differential_test;
#[cfg(test)]
mod parse_test;
#[cfg(test)]
mod roundtrip_test;

use ast::Expr;
use marigram_storage::model::matcher::Matcher;

pub use duration::parse_duration;
pub use error::{ParseError, line_and_column};
pub use features::Features;

/// How deep a tree may be. A chain of operators counts as one level, except for that of `^`, which groups to the right.
pub const MAX_DEPTH: usize = 256;

/// How many operators may stand on top of each other, those of a chain included.
pub const MAX_CHAIN: usize = 10_000;

/// How many regex matchers one query may hold; each may cost megabytes when compiled.
pub const MAX_REGEX_MATCHERS: usize = 256;

/// How many arguments a call may have.
pub const MAX_ARGUMENTS: usize = 1000;

/// How long a query may be. A tree takes many times the memory of its text; this bounds it to some tens of megabytes.
pub const MAX_QUERY_BYTES: usize = 1 << 20;

fn check_length(text: &str) -> Result<(), ParseError> {
    if text.len() > MAX_QUERY_BYTES {
        let message = format!("the query is {} bytes long, at most {MAX_QUERY_BYTES} are allowed", text.len());
        return Err(ParseError::without_position(message));
    }
    Ok(())
}

/// Parses and checks a query without experimental features.
///
/// # Errors
/// As [`parse_with`].
pub fn parse(text: &str) -> Result<Expr, ParseError> {
    parse_with(text, Features::default())
}

/// Parses and checks a query.
///
/// # Errors
/// The first mistake, in Prometheus' words where it has words for it, with line and column.
pub fn parse_with(text: &str, features: Features) -> Result<Expr, ParseError> {
    check_length(text)?;
    parser::Parser::new(text, features).query().map_err(|failure| failure.locate(text))
}

/// Parses a bare series selector, as `match[]` parameters hold them.
///
/// # Errors
/// Anything but a selector.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, ParseError> {
    check_length(text)?;
    let parser = parser::Parser::new(text, Features::default());
    parser.bare_selector().map_err(|failure| failure.locate(text))
}
