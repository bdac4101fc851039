//! The Pratt parser: prefix, postfix modifiers (in `modifiers.rs`), then binary operators by binding power.
//!
//! Binding powers, low to high: `or`; `and unless`; comparisons; `+ -`; `* / % atan2`, and the sign in front of an
//! operand; `^` (to the right); `offset`, `@` and brackets.

use super::ast::{At, BinaryOp, Cardinality, Expr, ExprKind, Fill, Link, Matching, NumberLiteral, Span};
use super::duration::parse_duration;
use super::error::{Failure, Result};
use super::features::Features;
use super::lexer::{Keyword, Kind, Token, Tokens, tokenize};
use super::literal::Text;
use super::number;
use super::selector::names_a_metric;
use super::strings::read_quoted;
use super::{MAX_CHAIN, MAX_DEPTH};
use super::{check, lexer};

/// An expression and how deep its tree is.
pub(super) struct Parsed {
    pub(super) expr: Expr,
    pub(super) depth: Depth,
}

/// How deep a tree is.
#[derive(Clone, Copy, Default)]
pub(super) struct Depth {
    /// A chain of operators counts as one level.
    nesting: usize,
    /// Every operator of a chain counts.
    operators: usize,
}

impl Depth {
    /// The deeper of both, by either measure.
    pub(super) fn max(self, other: Depth) -> Depth {
        Depth { nesting: self.nesting.max(other.nesting), operators: self.operators.max(other.operators) }
    }
}

pub(super) struct Parser<'a> {
    pub(super) text: &'a str,
    tokens: Tokens,
    at: usize,
    /// How many expressions are being parsed inside of each other.
    nesting: usize,
    /// How many aggregations are being parsed: what is wrong inside of one is said to be so "in aggregation".
    pub(super) aggregations: usize,
    pub(super) regex_matchers: usize,
    pub(super) features: Features,
}

/// How tightly an operator binds its operands.
pub(super) fn binding_power(op: BinaryOp) -> u8 {
    match op {
        BinaryOp::Or => 1,
        BinaryOp::And | BinaryOp::Unless => 2,
        BinaryOp::Eql | BinaryOp::Neq | BinaryOp::Gtr | BinaryOp::Lss | BinaryOp::Gte | BinaryOp::Lte => 3,
        BinaryOp::TrimUpper | BinaryOp::TrimLower => 3,
        BinaryOp::Add | BinaryOp::Sub => 4,
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod | BinaryOp::Atan2 => 5,
        BinaryOp::Pow => 6,
    }
}

/// Only `^` binds more tightly than a sign: `-2^2` is `-(2^2)`, `-2*2` is `(-2)*2`.
pub(super) const POWER_BELOW_SIGN: u8 = 6;

// What recurses has a frame per level of the query: the parts of it that do not are kept out of those frames.
impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str, features: Features) -> Self {
        Parser { text, tokens: tokenize(text), at: 0, nesting: 0, aggregations: 0, regex_matchers: 0, features }
    }

    /// The whole text as a checked query.
    pub(super) fn query(mut self) -> Result<Expr> {
        if self.peek() == Kind::Eof {
            return Err(Failure::new(Span::default(), "no expression found in input"));
        }
        let mut expr = self.expression(0)?.expr;
        if self.peek() != Kind::Eof {
            return Err(self.misplaced());
        }
        check::check(&mut expr, self.text)?;
        Ok(expr)
    }

    /// The whole text as a selector without modifiers.
    pub(super) fn bare_selector(mut self) -> Result<Vec<marigram_storage::model::matcher::Matcher>> {
        let (selector, span) = self.selector()?;
        if self.peek() != Kind::Eof {
            return Err(self.misplaced());
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

    /// The token under the cursor does not belong there; a mistake of the lexer speaks for itself. Without a context, what is
    /// within an aggregation is said to be so.
    #[inline(never)]
    pub(super) fn unexpected(&self, context: &str, expected: &str) -> Failure {
        let token = self.token();
        if token.kind == Kind::Error {
            return Failure::new(token.span, self.tokens.error.clone());
        }
        let context = if context.is_empty() && self.aggregations > 0 { "aggregation" } else { context };
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

    /// The token under the cursor does not belong there, where no rule says what does.
    pub(super) fn misplaced(&self) -> Failure {
        self.unexpected("", "")
    }

    /// A mistake that is noticed once the next token is known: one of the lexer there comes first.
    pub(super) fn after_look_ahead(&self, failure: Failure) -> Failure {
        if self.peek() == Kind::Error { self.unexpected("", "") } else { failure }
    }

    /// Puts a node on top of trees of depth `below`.
    #[inline(never)]
    pub(super) fn node(&self, kind: ExprKind, span: Span, below: Depth) -> Result<Parsed> {
        if below.nesting >= MAX_DEPTH {
            return Err(too_deep(span));
        }
        let depth = Depth { nesting: below.nesting + 1, operators: below.operators + 1 };
        Ok(Parsed { expr: Expr { kind, span }, depth })
    }

    /// Goes one level deeper for `parse`, if that is allowed.
    pub(super) fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.nesting >= MAX_DEPTH {
            return Err(too_deep(self.token().span));
        }
        self.nesting += 1;
        let result = parse(self);
        self.nesting -= 1;
        result
    }

    /// An expression whose operators all bind at least as tightly as `power`.
    pub(super) fn expression(&mut self, power: u8) -> Result<Parsed> {
        self.nested(|parser| parser.operators(power))
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
            if !matching.fill.is_none() && !self.features.binop_fill_modifiers {
                let failure = Failure::new(span, "binop fill modifiers are experimental and not enabled");
                return Err(self.after_look_ahead(failure));
            }
            lhs = self.linked(lhs, op, return_bool, matching, rhs, span)?;
        }
        Ok(lhs)
    }

    /// Appends an operator to the chain that `lhs` is, or begins one.
    #[inline(never)]
    fn linked(
        &self,
        mut lhs: Parsed,
        op: BinaryOp,
        return_bool: bool,
        matching: Matching,
        rhs: Parsed,
        span: Span,
    ) -> Result<Parsed> {
        let operators = lhs.depth.operators.max(rhs.depth.operators) + 1;
        if operators > MAX_CHAIN {
            return Err(Failure::new(span, format!("more than {MAX_CHAIN} operators on top of each other")));
        }
        let link = Link { op, return_bool, matching: Some(matching), rhs: rhs.expr };
        let mut parsed = match &mut lhs.expr.kind {
            ExprKind::Binary { links, .. } => {
                links.push(link);
                lhs.expr.span = span;
                lhs.depth.nesting = lhs.depth.nesting.max(rhs.depth.nesting + 1);
                lhs
            }
            _ => {
                let depth = lhs.depth.max(rhs.depth);
                self.node(ExprKind::Binary { first: Box::new(lhs.expr), links: vec![link] }, span, depth)?
            }
        };
        if parsed.depth.nesting > MAX_DEPTH {
            return Err(too_deep(span));
        }
        parsed.depth.operators = operators;
        Ok(parsed)
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
        if let ExprKind::Number(number) = &mut operand.expr.kind {
            number.value = if negative { -number.value } else { number.value };
            operand.expr.span = span;
            return Ok(operand);
        }
        self.node(ExprKind::Unary { negative, expr: Box::new(operand.expr) }, span, operand.depth)
    }

    /// `bool`, `on`, `ignoring`, `group_left`, `group_right` and the fill modifiers behind an operator.
    #[inline(never)]
    fn binary_modifiers(&mut self, op: BinaryOp) -> Result<(bool, Matching)> {
        let return_bool = self.accept(Kind::Keyword(Keyword::Bool)).is_some();
        let cardinality = if op.is_set() { Cardinality::ManyToMany } else { Cardinality::OneToOne };
        let mut matching =
            Matching { cardinality, on: false, labels: Vec::new(), include: Vec::new(), fill: Fill::default() };
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
                let fills =
                    matches!(self.peek(), Kind::Keyword(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight));
                if self.peek() == Kind::LeftParen || !fills && !begins_expression(self.peek()) {
                    matching.include = self.grouping_labels()?;
                }
            }
        }
        matching.fill = self.fill()?;
        Ok((return_bool, matching))
    }

    /// `fill (n)`, or `fill_left (n)` and `fill_right (n)` in either order.
    fn fill(&mut self) -> Result<Fill> {
        let mut fill = Fill::default();
        match self.peek() {
            Kind::Keyword(Keyword::Fill) => {
                let value = self.fill_value()?;
                fill = Fill { left: Some(value), right: Some(value) };
            }
            Kind::Keyword(Keyword::FillLeft) => {
                fill.left = Some(self.fill_value()?);
                if self.peek() == Kind::Keyword(Keyword::FillRight) {
                    fill.right = Some(self.fill_value()?);
                }
            }
            Kind::Keyword(Keyword::FillRight) => {
                fill.right = Some(self.fill_value()?);
                if self.peek() == Kind::Keyword(Keyword::FillLeft) {
                    fill.left = Some(self.fill_value()?);
                }
            }
            _ => {}
        }
        Ok(fill)
    }

    fn fill_value(&mut self) -> Result<f64> {
        self.bump();
        self.expect(Kind::LeftParen, "", "")?;
        let negative = self.sign();
        let number = match self.peek() {
            Kind::Number | Kind::Duration => self.number_literal()?,
            _ => return Err(self.misplaced()),
        };
        self.expect(Kind::RightParen, "", "")?;
        Ok(if negative == Some(true) { -number.value } else { number.value })
    }

    /// Takes a sign; `true` for `-`.
    pub(super) fn sign(&mut self) -> Option<bool> {
        let negative = match self.peek() {
            Kind::Operator(BinaryOp::Sub) => true,
            Kind::Operator(BinaryOp::Add) => false,
            _ => return None,
        };
        self.bump();
        Some(negative)
    }

    /// Takes a number, or a duration as seconds.
    #[inline(never)]
    pub(super) fn number_literal(&mut self) -> Result<NumberLiteral> {
        let token = self.bump();
        if token.kind != Kind::Duration {
            return Ok(NumberLiteral { value: self.number(token.span)?, is_duration: false });
        }
        let length_ms =
            parse_duration(self.text_of(token.span)).map_err(|message| Failure::new(token.span, message))?;
        Ok(NumberLiteral { value: length_ms as f64 / 1000.0, is_duration: true })
    }

    #[inline(never)]
    pub(super) fn at_timestamp(&mut self, expr: Span) -> Result<At> {
        let negative = self.sign() == Some(true);
        let number = match self.peek() {
            Kind::Number | Kind::Duration => self.number_literal()?,
            _ => return Err(self.unexpected("@", "timestamp")),
        };
        let seconds = if negative { -number.value } else { number.value };
        // Compared in seconds, as Prometheus does; the product saturates far beyond any sample.
        if seconds.is_nan() || seconds.abs() >= i64::MAX as f64 {
            let seconds = if seconds == f64::INFINITY { "+Inf".into() } else { go_fixed(seconds) };
            return Err(Failure::new(expr, format!("timestamp out of bounds for @ modifier: {seconds}")));
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
            Kind::Number | Kind::Duration => {
                let number = self.number_literal()?;
                self.node(ExprKind::Number(number), token.span, Depth::default())
            }
            Kind::String => {
                let value = self.string()?;
                self.node(ExprKind::String(value), token.span, Depth::default())
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
            Kind::Keyword(word) if word.is_preprocessor() && self.peek_second() == Kind::LeftParen => self.call(),
            _ => self.selector_expression(),
        }
    }

    #[inline(never)]
    fn selector_expression(&mut self) -> Result<Parsed> {
        let (selector, span) = self.selector()?;
        self.node(ExprKind::Selector(selector), span, Depth::default())
    }

    fn number(&self, span: Span) -> Result<f64> {
        let literal = self.text_of(span);
        number::value(literal).ok_or_else(|| {
            // The lexer has checked most of it. Hexadecimal floats have an exponent in Go.
            let is_float = literal.parse::<f64>().is_ok();
            let reason = if is_float { "value out of range" } else { "invalid syntax" };
            let text = super::strings::quote(literal);
            Failure::new(span, format!("error parsing number: strconv.ParseFloat: parsing {text}: {reason}"))
        })
    }

    /// Takes a string literal.
    pub(super) fn string(&mut self) -> Result<Text> {
        let span = self.bump().span;
        let quoted = read_quoted(self.text, span.start).map_err(|message| Failure::new(span, message))?;
        Ok(Text::from(quoted.bytes))
    }
}

/// Whether an expression can begin with a token.
pub(super) fn begins_expression(kind: Kind) -> bool {
    match kind {
        Kind::Number | Kind::Duration | Kind::String | Kind::LeftParen | Kind::LeftBrace => true,
        Kind::Operator(BinaryOp::Add | BinaryOp::Sub) => true,
        kind => names_a_metric(kind),
    }
}

fn go_fixed(value: f64) -> String {
    if value == f64::NEG_INFINITY { "-Inf".into() } else { format!("{value:.6}") }
}

fn too_deep(span: Span) -> Failure {
    Failure::new(span, format!("the expression is nested too deeply: more than {MAX_DEPTH} levels"))
}
