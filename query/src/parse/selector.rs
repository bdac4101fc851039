//! Series selectors: a name, and matchers between braces.

use std::fmt::Display;

use marigram_storage::model::labels::METRIC_NAME;
use marigram_storage::model::matcher::{MatchOp, Matcher};

use super::MAX_REGEX_MATCHERS;
use super::ast::{At, BinaryOp, Boundary, Selector, Span};
use super::duration_expr::Length;
use super::error::{Failure, Result};
use super::lexer::{Keyword, Kind};
use super::literal::{RawError, RawMatcher, Text, raw_matcher};
use super::parser::Parser;
use super::strings::quote_bytes;

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
        let (mut matchers, mut raw) = (Vec::new(), Vec::new());
        if self.peek() == Kind::LeftBrace {
            span.end = self.braces(&mut matchers, &mut raw)?;
        }
        if let Some(name) = &name {
            matchers.push(Matcher::equal(METRIC_NAME, name.as_str()));
        }
        let selector = Selector {
            name,
            matchers,
            raw,
            offset: Length::default(),
            at: At::Step,
            boundary: Boundary::Samples,
            may_be_empty: false,
        };
        Ok((selector, span))
    }

    /// `{a="b", "c d"!="e", "metric name",}`; returns the position behind the closing brace.
    fn braces(&mut self, matchers: &mut Vec<Matcher>, raw: &mut Vec<RawMatcher>) -> Result<usize> {
        let context = "label matching";
        self.bump();
        while self.peek() != Kind::RightBrace {
            let matcher = self.matcher(matchers.len(), raw)?;
            matchers.push(matcher);
            if self.accept(Kind::Comma).is_none() {
                break;
            }
        }
        Ok(self.expect(Kind::RightBrace, context, "\",\" or \"}\"")?.span.end)
    }

    /// The matcher number `at`; one whose value is not UTF-8 goes into `raw`, too, as it was written.
    fn matcher(&mut self, at: usize, raw: &mut Vec<RawMatcher>) -> Result<Matcher> {
        let context = "label matching";
        let named = self.token().span;
        let quoted = self.peek() == Kind::String;
        let name = match self.peek() {
            Kind::Identifier => Text::from(&*self.take_word()),
            Kind::String => self.string()?,
            _ => return Err(self.unexpected(context, "identifier or \"}\"")),
        };
        let op = match self.peek() {
            Kind::Equal => MatchOp::Equal,
            Kind::Operator(BinaryOp::Neq) => MatchOp::NotEqual,
            Kind::EqualRegex => MatchOp::Regex,
            Kind::NotEqualRegex => MatchOp::NotRegex,
            Kind::Comma | Kind::RightBrace if quoted => {
                let written = RawMatcher { at, op: MatchOp::Equal, value: name, span: named };
                return self.compared(METRIC_NAME, written, named, raw);
            }
            _ if quoted => return Err(self.unexpected(context, "\",\" or \"}\"")),
            _ => return Err(self.unexpected(context, "label matching operator")),
        };
        self.bump();
        if self.peek() != Kind::String {
            return Err(self.unexpected(context, "string"));
        }
        let (value_span, span) = (self.token().span, Span { start: named.start, end: self.token().span.end });
        let value = self.string()?;
        let Some(name) = name.utf8() else {
            return Err(Failure::new(named, format!("invalid label name {}", quote_bytes(name.as_bytes()))));
        };
        if matches!(op, MatchOp::Regex | MatchOp::NotRegex) {
            self.regex_matchers += 1;
            if self.regex_matchers > MAX_REGEX_MATCHERS {
                let message = format!("more than {MAX_REGEX_MATCHERS} regex matchers in one query");
                return Err(Failure::new(span, message));
            }
        }
        self.compared(name, RawMatcher { at, op, value, span: value_span }, span, raw)
    }

    /// What was written as a matcher, at `span`.
    fn compared(&self, name: &str, written: RawMatcher, span: Span, raw: &mut Vec<RawMatcher>) -> Result<Matcher> {
        let failure = |reason: &dyn Display| Failure::new(span, reason.to_string());
        if let Some(value) = written.value.utf8() {
            return Matcher::new(name, written.op, value).map_err(|error| failure(&error));
        }
        let matcher = raw_matcher(name, written.op, &written.value).map_err(|error| match error {
            RawError::NotUtf8 => {
                failure(&format_args!("error parsing regexp: invalid UTF-8: `{}`", written.value.lossy()))
            }
            RawError::Regex(error) => failure(&error),
        })?;
        raw.push(written);
        Ok(matcher)
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
        match label.utf8() {
            Some(name) if !name.is_empty() => Ok(name.to_owned()),
            _ => {
                let name = quote_bytes(label.as_bytes());
                Err(Failure::new(span, format!("invalid label name for grouping: {name}")))
            }
        }
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
