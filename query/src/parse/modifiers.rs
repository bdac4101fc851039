//! What stands behind an expression: brackets, `offset`, `@`, `anchored`, `smoothed`.

use super::ast::{At, Boundary, Expr, ExprKind, Selector, Span};
use super::duration_expr::{DurationKind, Length};
use super::error::{Failure, Result};
use super::length::fixed_ms;
use super::lexer::{Keyword, Kind};
use super::parser::{Parsed, Parser};

const RANGE: (&str, &str) = ("subquery or range selector", "number, duration, step(), or range()");
const STEP: (&str, &str) = ("subquery selector", "number, duration, step(), range(), or \"]\"");

impl Parser<'_> {
    /// Brackets and modifiers, as many as follow.
    pub(super) fn postfix(&mut self, mut parsed: Parsed) -> Result<Parsed> {
        loop {
            match self.peek() {
                Kind::LeftBracket => parsed = self.brackets(parsed)?,
                Kind::Keyword(Keyword::Offset) => self.offset(&mut parsed.expr)?,
                Kind::At => self.at_modifier(&mut parsed.expr)?,
                Kind::Keyword(Keyword::Anchored) => self.boundary(&mut parsed.expr, Boundary::Anchored)?,
                Kind::Keyword(Keyword::Smoothed) => self.boundary(&mut parsed.expr, Boundary::Smoothed)?,
                _ => return Ok(parsed),
            }
        }
    }

    /// `[5m]` behind a selector, or `[5m:1m]` behind any expression.
    #[inline(never)]
    fn brackets(&mut self, parsed: Parsed) -> Result<Parsed> {
        let open = self.bump().span;
        let range = self.positive_length(RANGE)?;
        let colon = self.accept(Kind::Colon).is_some();
        let step = match self.peek() {
            Kind::RightBracket => None,
            _ if colon => Some(self.positive_length(STEP)?),
            _ => return Err(self.unexpected("subquery or range", "\":\" or \"]\"")),
        };
        let close = self.expect(Kind::RightBracket, "subquery selector", "\"]\"")?.span;
        let span = Span { start: parsed.expr.span.start, end: close.end };
        if colon {
            let expr = Box::new(parsed.expr);
            let kind = ExprKind::Subquery { expr, range, step, at: At::Step, offset: Length::default() };
            return self.node(kind, span, parsed.depth);
        }
        let brackets = Span { start: open.start, end: close.end };
        let ExprKind::Selector(selector) = parsed.expr.kind else {
            return Err(Failure::new(brackets, "ranges only allowed for vector selectors"));
        };
        // A computed offset, `@ start()` and `@ end()` pass here, as they do in Prometheus.
        if !matches!(selector.offset, Length::Fixed(0) | Length::Computed(_)) {
            return Err(Failure::new(brackets, "no offset modifiers allowed before range"));
        }
        if matches!(selector.at, At::Time(_)) {
            return Err(Failure::new(brackets, "no @ modifiers allowed before range"));
        }
        self.node(ExprKind::Matrix { selector, range }, span, parsed.depth)
    }

    fn positive_length(&mut self, context: (&'static str, &'static str)) -> Result<Length> {
        let expr = self.duration_expression(context)?;
        let DurationKind::Number(number) = expr.kind else { return Ok(Length::Computed(Box::new(expr))) };
        if number.value <= 0.0 {
            return Err(self.after_look_ahead(Failure::new(expr.span, "duration must be greater than 0")));
        }
        Ok(Length::Fixed(fixed_ms(number.value)))
    }

    #[inline(never)]
    fn offset(&mut self, expr: &mut Expr) -> Result<()> {
        self.bump();
        let computed = self.peek() == Kind::LeftParen;
        let length = self.offset_length()?;
        let end = self.previous_end();
        let Some((_, slot)) = modifiers(expr) else {
            let message = "offset modifier must be preceded by an instant vector selector or range vector selector or \
                           a subquery";
            let failure = Failure::new(expr.span, message);
            // Behind a literal it is clear without the next token that the duration has ended.
            return Err(if computed { self.after_look_ahead(failure) } else { failure });
        };
        if !slot.is_zero() {
            return Err(Failure::new(expr.span, "offset may not be set multiple times"));
        }
        *slot = length;
        expr.span.end = end;
        Ok(())
    }

    #[inline(never)]
    fn at_modifier(&mut self, expr: &mut Expr) -> Result<()> {
        self.bump();
        let at = match self.peek() {
            Kind::Keyword(word @ (Keyword::Start | Keyword::End)) => {
                self.bump();
                self.expect(Kind::LeftParen, "@", "timestamp")?;
                self.expect(Kind::RightParen, "@", "timestamp")?;
                if word == Keyword::Start { At::Start } else { At::End }
            }
            _ => self.at_timestamp(expr.span)?,
        };
        let end = self.previous_end();
        let Some((slot, _)) = modifiers(expr) else {
            let message = "@ modifier must be preceded by an instant vector selector or range vector selector or a \
                           subquery";
            return Err(Failure::new(expr.span, message));
        };
        if *slot != At::Step {
            return Err(Failure::new(expr.span, "@ <timestamp> may not be set multiple times"));
        }
        *slot = at;
        expr.span.end = end;
        Ok(())
    }

    #[inline(never)]
    fn boundary(&mut self, expr: &mut Expr, boundary: Boundary) -> Result<()> {
        self.bump();
        let (word, span) = (boundary.as_str(), expr.span);
        let refused = |reason: &str| Err(Failure::new(span, format!("{word} modifier {reason}")));
        if !self.features.extended_range_selectors {
            return refused("is experimental and not enabled");
        }
        match &mut expr.kind {
            ExprKind::Selector(selector) | ExprKind::Matrix { selector, .. } => {
                if selector.boundary != Boundary::Samples && selector.boundary != boundary {
                    return Err(Failure::new(span, "anchored and smoothed modifiers cannot be used together"));
                }
                selector.boundary = boundary;
                Ok(())
            }
            ExprKind::Subquery { .. } => refused("is not supported for subqueries"),
            // Prometheus' words for an expression that these cannot stand behind.
            _ => refused("not implemented"),
        }
    }
}

/// `@` and `offset` of an expression that can have them.
fn modifiers(expr: &mut Expr) -> Option<(&mut At, &mut Length)> {
    match &mut expr.kind {
        ExprKind::Selector(selector) | ExprKind::Matrix { selector, .. } => {
            let Selector { at, offset, .. } = selector;
            Some((at, offset))
        }
        ExprKind::Subquery { at, offset, .. } => Some((at, offset)),
        _ => None,
    }
}
