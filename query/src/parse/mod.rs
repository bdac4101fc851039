//! PromQL from text to a checked tree.
//!
//! 1. The lexer cuts the text into tokens; a mistake in the text becomes the last token.
//! 2. A Pratt parser builds the tree: prefix, postfix modifiers, then operators by binding power. The depth of the tree
//!    is bounded by [`MAX_DEPTH`], so that every later walk over it may recurse.
//! 3. A pass over the tree checks types, arguments and matching, in the order in which Prometheus does, so that the
//!    first mistake reported is the same.

pub mod ast;
mod call;
mod check;
pub mod duration;
mod error;
pub mod format;
pub mod functions;
mod lexer;
mod number;
mod parser;
mod selector;
pub mod series;
pub mod strings;

#[cfg(test)]
mod differential_test;
#[cfg(test)]
mod parse_test;

use ast::Expr;
use marigram_storage::model::matcher::Matcher;

pub use duration::parse_duration;
pub use error::{ParseError, line_and_column};

/// How deep a tree may be. A chain of operators counts one level per operator.
pub const MAX_DEPTH: usize = 256;

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

/// Parses and checks a query.
///
/// # Errors
/// The first mistake, in Prometheus' words where it has words for it, with line and column.
pub fn parse(text: &str) -> Result<Expr, ParseError> {
    check_length(text)?;
    parser::Parser::new(text).query().map_err(|failure| failure.locate(text))
}

/// Parses a bare series selector, as `match[]` parameters hold them.
///
/// # Errors
/// Anything but a selector, and selectors that the empty label set passes.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, ParseError> {
    check_length(text)?;
    let matchers = parser::Parser::new(text).bare_selector().map_err(|failure| failure.locate(text))?;
    if matchers.iter().all(Matcher::matches_empty) {
        return Err(ParseError::without_position("match[] must contain at least one non-empty matcher"));
    }
    Ok(matchers)
}
