//! What is wrong with a query, and where.

use std::fmt;

use super::ast::Span;

/// A mistake in a query. Displays as Prometheus does: `1:5: parse error: …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// What is wrong.
    pub message: String,
    /// Line and column, both from 1; the column counts bytes.
    pub position: Option<(usize, usize)>,
    /// Whether there is a text that the position points into.
    is_placed: bool,
}

impl ParseError {
    pub(super) fn without_position(message: impl Into<String>) -> Self {
        ParseError { message: message.into(), position: None, is_placed: false }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some(_) if !self.is_placed => write!(f, "unknown position: parse error: {}", self.message),
            Some((line, column)) => write!(f, "{line}:{column}: parse error: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for ParseError {}

/// A mistake while the text is still at hand.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) span: Span,
    pub(super) message: String,
}

impl Failure {
    pub(super) fn new(span: Span, message: impl Into<String>) -> Self {
        Failure { span, message: message.into() }
    }

    /// Turns the byte position into line and column.
    pub(super) fn locate(self, text: &str) -> ParseError {
        let (line, column) = line_and_column(text, self.span.start);
        ParseError { message: self.message, position: Some((line, column)), is_placed: !text.is_empty() }
    }
}

/// Line and column of a byte of the text, both from 1.
pub fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..at.min(text.len())];
    let line = 1 + before.iter().filter(|b| **b == b'\n').count();
    let column = 1 + before.iter().rev().take_while(|b| **b != b'\n').count();
    (line, column)
}

pub(super) type Result<T, E = Failure> = std::result::Result<T, E>;
