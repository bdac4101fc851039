//! The Pratt parser: prefix, postfix modifiers, then binary operators by binding power.
//!
//! Binding powers, low to high: `or`; `and unless`; comparisons; `+ -`; `* / % atan2`, and the sign in front of an
//! operand; `^` (to the right); `offset`, `@` and brackets.

use super::MAX_DEPTH;
use super::ast::{At, BinaryOp, Cardinality, Expr, ExprKind, Matching, Selector, Span};
use super::duration::{parse_duration, seconds_to_ms};
use super::error::{Failure, Result};
use super::lexer::{Keyword, Kind, Token, Tokens, tokenize};
use super::number;
use super::strings::{quote, quote_bytes, read_quoted};
use super::{check, lexer};

/// An expression and the depth of its tree.
pub(super) struct Parsed {
    pub(super) expr: Expr,
    pub(super) depth: usize,
}

pub(super) struct Parser<'a> {
    pub(super) text: &'a str,
    tokens: Tokens,
    at: usize,
    /// How many expressions are being parsed inside of each other.
    nesting: usize,
    pub(super) regex_matchers: usize,
}

/// How tightly an operator binds its operands.
fn binding_power(op: BinaryOp) -> u8 {
    match op {
        BinaryOp::Or => 1,
        BinaryOp::And | BinaryOp::Unless => 2,
        BinaryOp::Eql | BinaryOp::Neq | BinaryOp::Gtr | BinaryOp::Lss | BinaryOp::Gte | BinaryOp::Lte => 3,
        BinaryOp::Add | BinaryOp::Sub => 4,
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod | BinaryOp::Atan2 => 5,
        BinaryOp::Pow => 6,
    }
}

/// Only `^` binds more tightly than a sign: `-2^2` is `-(2^2)`, `-2*2` is `(-2)*2`.
const POWER_BELOW_SIGN: u8 = 6;

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Parser { text, tokens: tokenize(text), at: 0, nesting: 0, regex_matchers: 0 }
    }

    /// The whole text as a checked query.
    pub(super) fn query(mut self) -> Result<Expr> {
        if self.peek() == Kind::Eof {
            return Err(Failure::new(Span::default(), "no expression found in input"));
        }
        let mut expr = self.expression(0)?.expr;
        if self.peek() != Kind::Eof {
            return Err(self.unexpected("", ""));
        }
        check::check(&mut expr, self.text)?;
        Ok(expr)
    }

    /// The whole text as a selector without modifiers.
    pub(super) fn bare_selector(mut self) -> Result<Vec<marigram_storage::model::matcher::Matcher>> {
        let (selector, span) = self.selector()?;
        if self.peek() != Kind::Eof {
            return Err(self.unexpected("", ""));
        }
        // One that the empty label set passes is refused by the caller, in other words.
        if !selector.matchers.iter().all(|matcher| matcher.matches_empty()) {
            check::check_selector(&selector, span)?;
        }
        Ok(selector.matchers)
    }

    pub(super) fn token(&self) -> Token {
        let end = Span { start: self.text.len(), end: self.text.len() };
        self.tokens.list.get(self.at).copied().unwrap_or(Token { kind: Kind::Eof, span: end })
    }

    pub(super) fn peek(&self) -> Kind {
        self.token().kind
    }

    /// The token behind the one under the cursor.
    pub(super) fn second(&self) -> Token {
        self.tokens.list.get(self.at + 1).copied().unwrap_or(self.token())
    }

    pub(super) fn peek_second(&self) -> Kind {
        self.second().kind
    }

    /// Takes the token under the cursor; the last one stays.
    pub(super) fn bump(&mut self) -> Token {
        let token = self.token();
        if !matches!(token.kind, Kind::Eof | Kind::Error) {
            self.at += 1;
        }
        token
    }

    pub(super) fn accept(&mut self, kind: Kind) -> Option<Token> {
        (self.peek() == kind).then(|| self.bump())
    }

    pub(super) fn expect(&mut self, kind: Kind, context: &str, expected: &str) -> Result<Token> {
        self.accept(kind).ok_or_else(|| self.unexpected(context, expected))
    }

    pub(super) fn text_of(&self, span: Span) -> &'a str {
        self.text.get(span.start..span.end).unwrap_or("")
    }

    /// Takes the token under the cursor as it was written.
    pub(super) fn take_word(&mut self) -> String {
        let span = self.bump().span;
        self.text_of(span).to_owned()
    }

    /// The token under the cursor does not belong there; a mistake of the lexer speaks for itself.
    pub(super) fn unexpected(&self, context: &str, expected: &str) -> Failure {
        let token = self.token();
        if token.kind == Kind::Error {
            return Failure::new(token.span, self.tokens.error.clone());
        }
        let mut message = format!("unexpected {}", lexer::describe(token.kind, self.text_of(token.span)));
        if !context.is_empty() {
            message.push_str(" in ");
            message.push_str(context);
        }
        if !expected.is_empty() {
            message.push_str(", expected ");
            message.push_str(expected);
        }
        Failure::new(token.span, message)
    }

    /// Puts a node on top of trees of depth `below`.
    pub(super) fn node(&self, kind: ExprKind, span: Span, below: usize) -> Result<Parsed> {
        if below >= MAX_DEPTH {
            return Err(too_deep(span));
        }
        Ok(Parsed { expr: Expr { kind, span }, depth: below + 1 })
    }

    /// An expression whose operators all bind at least as tightly as `power`.
    pub(super) fn expression(&mut self, power: u8) -> Result<Parsed> {
        if self.nesting >= MAX_DEPTH {
            return Err(too_deep(self.token().span));
        }
        self.nesting += 1;
        let result = self.operators(power);
        self.nesting -= 1;
        result
    }

    fn operators(&mut self, power: u8) -> Result<Parsed> {
        let mut lhs = self.prefix()?;
        while let Kind::Operator(op) = self.peek() {
            let own = binding_power(op);
            if own < power {
                break;
            }
            self.bump();
            let (return_bool, matching) = self.binary_modifiers(op)?;
            let rhs = self.expression(if op == BinaryOp::Pow { own } else { own + 1 })?;
            let span = Span { start: lhs.expr.span.start, end: rhs.expr.span.end };
            let depth = lhs.depth.max(rhs.depth);
            let (lhs_expr, rhs_expr) = (Box::new(lhs.expr), Box::new(rhs.expr));
            let kind = ExprKind::Binary { op, lhs: lhs_expr, rhs: rhs_expr, return_bool, matching: Some(matching) };
            lhs = self.node(kind, span, depth)?;
        }
        Ok(lhs)
    }

    fn prefix(&mut self) -> Result<Parsed> {
        let Kind::Operator(op @ (BinaryOp::Add | BinaryOp::Sub)) = self.peek() else {
            let primary = self.primary()?;
            return self.postfix(primary);
        };
        let start = self.bump().span.start;
        let negative = op == BinaryOp::Sub;
        let mut operand = self.expression(POWER_BELOW_SIGN)?;
        let span = Span { start, end: operand.expr.span.end };
        if let ExprKind::Number(value) = &mut operand.expr.kind {
            *value = if negative { -*value } else { *value };
            operand.expr.span = span;
            return Ok(operand);
        }
        self.node(ExprKind::Unary { negative, expr: Box::new(operand.expr) }, span, operand.depth)
    }

    /// `bool`, `on`, `ignoring`, `group_left`, `group_right` behind an operator.
    fn binary_modifiers(&mut self, op: BinaryOp) -> Result<(bool, Matching)> {
        let return_bool = self.accept(Kind::Keyword(Keyword::Bool)).is_some();
        let cardinality = if op.is_set() { Cardinality::ManyToMany } else { Cardinality::OneToOne };
        let mut matching = Matching { cardinality, on: false, labels: Vec::new(), include: Vec::new() };
        let on = self.accept(Kind::Keyword(Keyword::On)).is_some();
        if on || self.accept(Kind::Keyword(Keyword::Ignoring)).is_some() {
            matching.on = on;
            matching.labels = self.grouping_labels()?;
            let side = match self.peek() {
                Kind::Keyword(Keyword::GroupLeft) => Some(Cardinality::ManyToOne),
                Kind::Keyword(Keyword::GroupRight) => Some(Cardinality::OneToMany),
                _ => None,
            };
            if let Some(side) = side {
                self.bump();
                matching.cardinality = side;
                if self.peek() == Kind::LeftParen {
                    matching.include = self.grouping_labels()?;
                }
            }
        }
        let word = self.text_of(self.token().span);
        if self.peek() == Kind::Identifier
            && self.peek_second() == Kind::LeftParen
            && ["fill", "fill_left", "fill_right"].iter().any(|name| word.eq_ignore_ascii_case(name))
        {
            return Err(Failure::new(self.token().span, "fill modifiers are not supported yet"));
        }
        Ok((return_bool, matching))
    }

    /// Brackets, `offset` and `@`, as many as follow.
    fn postfix(&mut self, mut parsed: Parsed) -> Result<Parsed> {
        loop {
            match self.peek() {
                Kind::LeftBracket => parsed = self.brackets(parsed)?,
                Kind::Keyword(Keyword::Offset) => self.offset(&mut parsed.expr)?,
                Kind::At => self.at_modifier(&mut parsed.expr)?,
                Kind::Identifier => {
                    let token = self.token();
                    let word = self.text_of(token.span);
                    if ["anchored", "smoothed"].iter().any(|name| word.eq_ignore_ascii_case(name)) {
                        return Err(Failure::new(token.span, format!("{word} selectors are not supported yet")));
                    }
                    return Ok(parsed);
                }
                _ => return Ok(parsed),
            }
        }
    }

    /// `[5m]` behind a selector, or `[5m:1m]` behind any expression.
    fn brackets(&mut self, parsed: Parsed) -> Result<Parsed> {
        let open = self.bump().span;
        let range_ms = self.range_duration("subquery or range selector", "number or duration")?;
        let colon = self.accept(Kind::Colon).is_some();
        let step_ms = match self.peek() {
            Kind::RightBracket => None,
            _ if colon => Some(self.range_duration("subquery selector", "number, duration, or \"]\"")?),
            _ => return Err(self.unsupported_or("subquery or range", "\":\" or \"]\"")),
        };
        let close = match self.accept(Kind::RightBracket) {
            Some(token) => token.span,
            None => return Err(self.unsupported_or("subquery selector", "\"]\"")),
        };
        let span = Span { start: parsed.expr.span.start, end: close.end };
        if colon {
            let expr = Box::new(parsed.expr);
            let kind = ExprKind::Subquery { expr, range_ms, step_ms, at: At::Step, offset_ms: 0 };
            return self.node(kind, span, parsed.depth);
        }
        let brackets = Span { start: open.start, end: close.end };
        let ExprKind::Selector(selector) = parsed.expr.kind else {
            return Err(Failure::new(brackets, "ranges only allowed for vector selectors"));
        };
        if selector.offset_ms != 0 {
            return Err(Failure::new(brackets, "no offset modifiers allowed before range"));
        }
        if selector.at != At::Step {
            return Err(Failure::new(brackets, "no @ modifiers allowed before range"));
        }
        self.node(ExprKind::Matrix { selector, range_ms }, span, parsed.depth)
    }

    /// As [`Parser::unexpected`], but arithmetic on durations is named as what it is.
    fn unsupported_or(&self, context: &str, expected: &str) -> Failure {
        match self.peek() {
            Kind::Operator(_) | Kind::LeftParen | Kind::Identifier => {
                Failure::new(self.token().span, "duration expressions are not supported yet")
            }
            _ => self.unexpected(context, expected),
        }
    }

    /// A number of seconds or a duration, positive.
    fn range_duration(&mut self, context: &str, expected: &str) -> Result<i64> {
        let span = self.token().span;
        let duration_ms = self.duration_literal(context, expected)?;
        if duration_ms <= 0 {
            return Err(Failure::new(span, "duration must be greater than 0"));
        }
        Ok(duration_ms)
    }

    fn duration_literal(&mut self, context: &str, expected: &str) -> Result<i64> {
        let token = self.token();
        match token.kind {
            Kind::Number => {
                self.bump();
                let seconds = self.number(token.span)?;
                seconds_to_ms(seconds).ok_or_else(|| Failure::new(token.span, "duration out of range"))
            }
            Kind::Duration => {
                self.bump();
                parse_duration(self.text_of(token.span)).map_err(|message| Failure::new(token.span, message))
            }
            _ => Err(self.unsupported_or(context, expected)),
        }
    }

    fn offset(&mut self, expr: &mut Expr) -> Result<()> {
        self.bump();
        let sign = match self.peek() {
            Kind::Operator(BinaryOp::Sub) => -1,
            Kind::Operator(BinaryOp::Add) => 1,
            _ => 0,
        };
        if sign != 0 {
            self.bump();
        }
        let offset_ms = self.duration_literal("offset", "number or duration")? * if sign < 0 { -1 } else { 1 };
        let end = self.previous_end();
        let Some((_, slot)) = modifiers(expr) else {
            let message = "offset modifier must be preceded by an instant vector selector or range vector selector or \
                           a subquery";
            return Err(Failure::new(expr.span, message));
        };
        if *slot != 0 {
            return Err(Failure::new(expr.span, "offset may not be set multiple times"));
        }
        *slot = offset_ms;
        expr.span.end = end;
        Ok(())
    }

    fn at_modifier(&mut self, expr: &mut Expr) -> Result<()> {
        self.bump();
        let at = match self.peek() {
            Kind::Keyword(word @ (Keyword::Start | Keyword::End)) => {
                self.bump();
                self.expect(Kind::LeftParen, "@", "timestamp")?;
                self.expect(Kind::RightParen, "@", "timestamp")?;
                if word == Keyword::Start { At::Start } else { At::End }
            }
            _ => self.at_timestamp()?,
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

    fn at_timestamp(&mut self) -> Result<At> {
        let negative = self.accept(Kind::Operator(BinaryOp::Sub)).is_some();
        if !negative {
            self.accept(Kind::Operator(BinaryOp::Add));
        }
        let token = self.token();
        let seconds = match token.kind {
            Kind::Number => {
                self.bump();
                self.number(token.span)?
            }
            Kind::Duration => self.duration_literal("", "")? as f64 / 1000.0,
            _ => return Err(self.unexpected("@", "timestamp")),
        };
        let seconds = if negative { -seconds } else { seconds };
        // Compared in seconds, as Prometheus does; the product saturates far beyond any sample.
        if seconds.is_nan() || seconds.abs() >= i64::MAX as f64 {
            return Err(Failure::new(token.span, format!("timestamp out of bounds for @ modifier: {seconds:.6}")));
        }
        Ok(At::Time((seconds * 1000.0).round() as i64))
    }

    /// Position behind the last token that was taken.
    pub(super) fn previous_end(&self) -> usize {
        self.at.checked_sub(1).and_then(|at| self.tokens.list.get(at)).map_or(0, |token| token.span.end)
    }

    fn primary(&mut self) -> Result<Parsed> {
        let token = self.token();
        match token.kind {
            Kind::Number => {
                self.bump();
                self.node(ExprKind::Number(self.number(token.span)?), token.span, 0)
            }
            Kind::Duration => {
                let duration_ms = self.duration_literal("", "")?;
                self.node(ExprKind::Number(duration_ms as f64 / 1000.0), token.span, 0)
            }
            Kind::String => {
                let value = self.string()?;
                self.node(ExprKind::String(value), token.span, 0)
            }
            Kind::LeftParen => {
                self.bump();
                let inner = self.expression(0)?;
                let close = self.expect(Kind::RightParen, "", "")?.span;
                let span = Span { start: token.span.start, end: close.end };
                self.node(ExprKind::Paren(Box::new(inner.expr)), span, inner.depth)
            }
            Kind::Aggregator(op) => match self.peek_second() {
                Kind::LeftParen | Kind::Keyword(Keyword::By | Keyword::Without) => self.aggregation(op),
                _ => self.selector_expression(),
            },
            Kind::Identifier if self.peek_second() == Kind::LeftParen => self.call(),
            Kind::Keyword(Keyword::Start | Keyword::End) if self.peek_second() == Kind::LeftParen => self.call(),
            _ => self.selector_expression(),
        }
    }

    fn selector_expression(&mut self) -> Result<Parsed> {
        let (selector, span) = self.selector()?;
        self.node(ExprKind::Selector(selector), span, 0)
    }

    fn number(&self, span: Span) -> Result<f64> {
        let literal = self.text_of(span);
        number::value(literal)
            .ok_or_else(|| Failure::new(span, format!("error parsing number: {} is out of range", quote(literal))))
    }

    /// Takes a string literal that is UTF-8.
    pub(super) fn string(&mut self) -> Result<String> {
        let span = self.bump().span;
        let quoted = read_quoted(self.text, span.start).map_err(|message| Failure::new(span, message))?;
        String::from_utf8(quoted.bytes)
            .map_err(|e| Failure::new(span, format!("string is not valid UTF-8: {}", quote_bytes(e.as_bytes()))))
    }
}

/// `@` and `offset` of an expression that can have them.
fn modifiers(expr: &mut Expr) -> Option<(&mut At, &mut i64)> {
    match &mut expr.kind {
        ExprKind::Selector(selector) | ExprKind::Matrix { selector, .. } => {
            let Selector { at, offset_ms, .. } = selector;
            Some((at, offset_ms))
        }
        ExprKind::Subquery { at, offset_ms, .. } => Some((at, offset_ms)),
        _ => None,
    }
}

fn too_deep(span: Span) -> Failure {
    Failure::new(span, format!("the expression is nested too deeply: more than {MAX_DEPTH} levels"))
}
