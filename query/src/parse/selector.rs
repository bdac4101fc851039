//! Series selectors: a name, and matchers between braces.

use marigram_storage::model::labels::METRIC_NAME;
use marigram_storage::model::matcher::{MatchOp, Matcher};

use super::MAX_REGEX_MATCHERS;
use super::ast::{At, BinaryOp, Boundary, Selector, Span};
use super::duration_expr::Length;
use super::error::{Failure, Result};
use super::lexer::{Keyword, Kind};
use super::parser::Parser;

impl Parser<'_> {
    /// `name`, `name{…}` or `{…}`, without modifiers.
    #[inline(never)]
    pub(super) fn selector(&mut self) -> Result<(Selector, Span)> {
        let mut span = self.token().span;
        let mut name = None;
        if names_a_metric(self.peek()) {
            self.bump();
            name = Some(self.text_of(span).to_owned());
        } else if self.peek() != Kind::LeftBrace {
            return Err(self.misplaced());
        }
        let mut matchers = Vec::new();
        if self.peek() == Kind::LeftBrace {
            span.end = self.braces(&mut matchers)?;
        }
        if let Some(name) = &name {
            matchers.push(Matcher::equal(METRIC_NAME, name.as_str()));
        }
        let selector = Selector {
            name,
            matchers,
            offset: Length::default(),
            at: At::Step,
            boundary: Boundary::Samples,
            may_be_empty: false,
        };
        Ok((selector, span))
    }

    /// `{a="b", "c d"!="e", "metric name",}`; returns the position behind the closing brace.
    fn braces(&mut self, matchers: &mut Vec<Matcher>) -> Result<usize> {
        let context = "label matching";
        self.bump();
        while self.peek() != Kind::RightBrace {
            matchers.push(self.matcher()?);
            if self.accept(Kind::Comma).is_none() {
                break;
            }
        }
        Ok(self.expect(Kind::RightBrace, context, "\",\" or \"}\"")?.span.end)
    }

    fn matcher(&mut self) -> Result<Matcher> {
        let context = "label matching";
        let start = self.token().span.start;
        let quoted = self.peek() == Kind::String;
        let name = match self.peek() {
            Kind::Identifier => self.take_word(),
            Kind::String => self.string()?,
            _ => return Err(self.unexpected(context, "identifier or \"}\"")),
        };
        let op = match self.peek() {
            Kind::Equal => MatchOp::Equal,
            Kind::Operator(BinaryOp::Neq) => MatchOp::NotEqual,
            Kind::EqualRegex => MatchOp::Regex,
            Kind::NotEqualRegex => MatchOp::NotRegex,
            Kind::Comma | Kind::RightBrace if quoted => return Ok(Matcher::equal(METRIC_NAME, name)),
            _ if quoted => return Err(self.unexpected(context, "\",\" or \"}\"")),
            _ => return Err(self.unexpected(context, "label matching operator")),
        };
        self.bump();
        if self.peek() != Kind::String {
            return Err(self.unexpected(context, "string"));
        }
        let span = Span { start, end: self.token().span.end };
        let value = self.string()?;
        if matches!(op, MatchOp::Regex | MatchOp::NotRegex) {
            self.regex_matchers += 1;
            if self.regex_matchers > MAX_REGEX_MATCHERS {
                let message = format!("more than {MAX_REGEX_MATCHERS} regex matchers in one query");
                return Err(Failure::new(span, message));
            }
        }
        Matcher::new(name, op, value).map_err(|e| Failure::new(span, format!("error parsing regexp: {e}")))
    }

    /// `(a, "b c",)` behind `by`, `without`, `on`, `ignoring` and `group_…`.
    pub(super) fn grouping_labels(&mut self) -> Result<Vec<String>> {
        let context = "grouping opts";
        self.expect(Kind::LeftParen, context, "\"(\"")?;
        let mut labels = Vec::new();
        while self.peek() != Kind::RightParen {
            let label = match self.peek() {
                Kind::Identifier | Kind::MetricIdentifier | Kind::Aggregator(_) => self.take_word(),
                Kind::Keyword(word) if word != Keyword::Without => self.take_word(),
                Kind::Operator(BinaryOp::And | BinaryOp::Or | BinaryOp::Unless | BinaryOp::Atan2) => self.take_word(),
                Kind::String => self.grouping_string()?,
                _ => return Err(self.unexpected(context, "label")),
            };
            labels.push(label);
            if self.accept(Kind::Comma).is_none() {
                break;
            }
        }
        self.expect(Kind::RightParen, context, "\",\" or \")\"")?;
        Ok(labels)
    }

    fn grouping_string(&mut self) -> Result<String> {
        let span = self.token().span;
        let label = self.string()?;
        if label.is_empty() {
            return Err(Failure::new(span, "invalid label name for grouping: \"\""));
        }
        Ok(label)
    }
}

/// Which words may stand where a metric's name is expected.
pub(super) fn names_a_metric(kind: Kind) -> bool {
    match kind {
        Kind::Identifier | Kind::MetricIdentifier | Kind::Aggregator(_) => true,
        Kind::Keyword(word) => {
            !matches!(word, Keyword::Bool | Keyword::On | Keyword::Ignoring | Keyword::GroupLeft | Keyword::GroupRight)
        }
        Kind::Operator(op) => op.is_set(),
        _ => false,
    }
}
