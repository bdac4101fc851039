//! Durations between brackets and behind `offset`: a literal, or arithmetic.

use super::ast::{BinaryOp, Span};
use super::duration_expr::{DurationExpr, DurationKind, DurationOp, Length, SECONDS_MAX};
use super::error::{Failure, Result};
use super::lexer::{Keyword, Kind};
use super::parser::{POWER_BELOW_SIGN, Parser, binding_power};

/// Where a mistake is, and what was expected there: a duration's parts all give that of the place that it stands at.
type Context = (&'static str, &'static str);

const OFFSET: Context = ("offset", "number, duration, step(), or range()");

/// Binding power of `^`, the highest.
const POWER_OF_POW: u8 = 6;

/// Seconds to ms, by way of Go's nanoseconds.
pub(super) fn fixed_ms(seconds: f64) -> i64 {
    (seconds * 1e9).round() as i64 / 1_000_000
}

impl Parser<'_> {
    /// A duration between brackets.
    pub(super) fn duration_expression(&mut self, context: Context) -> Result<DurationExpr> {
        let first = self.duration_operand(context)?;
        self.duration_operators(first, 0, context)
    }

    /// What follows `offset`. Only parentheses and signs in front of signs begin arithmetic; behind anything else an operator
    /// belongs to the expression around: `m offset 2 ^ 2` is `(m offset 2) ^ 2`.
    pub(super) fn offset_length(&mut self) -> Result<Length> {
        let start = self.token().span;
        let expr = if let Some(negative) = self.sign() {
            match self.peek() {
                Kind::Operator(_) => {
                    let operand = self.duration_signed(start, negative, OFFSET)?;
                    self.duration_operators(operand, 0, OFFSET)?
                }
                next => {
                    let is_word = matches!(next, Kind::Keyword(_));
                    let operand = self.duration_primary(OFFSET)?;
                    signed(start, negative, operand, is_word)
                }
            }
        } else if self.peek() == Kind::LeftParen {
            let first = self.duration_primary(OFFSET)?;
            self.duration_operators(first, 0, OFFSET)?
        } else {
            self.duration_primary(OFFSET)?
        };
        Ok(match expr.kind {
            DurationKind::Number(number) => Length::Fixed(fixed_ms(number.value)),
            _ => Length::Computed(Box::new(expr)),
        })
    }

    /// The operators behind `lhs` that bind at least as tightly as `power`.
    fn duration_operators(&mut self, mut lhs: DurationExpr, power: u8, context: Context) -> Result<DurationExpr> {
        let mut length = 0;
        while let Kind::Operator(op) = self.peek()
            && let Some(duration_op) = duration_operator(op)
            && binding_power(op) >= power
        {
            let at = self.bump().span;
            let right_power = if op == BinaryOp::Pow { POWER_OF_POW } else { binding_power(op) + 1 };
            let rhs = self.nested(|parser| {
                let first = parser.duration_operand(context)?;
                parser.duration_operators(first, right_power, context)
            })?;
            length += 1;
            if length > super::MAX_DEPTH {
                return Err(Failure::new(at, format!("more than {} operators in a duration", super::MAX_DEPTH)));
            }
            let by_zero = matches!(rhs.kind, DurationKind::Number(number) if number.value == 0.0);
            match duration_op {
                DurationOp::Div if by_zero => {
                    return Err(self.after_look_ahead(Failure::new(at, "division by zero")));
                }
                DurationOp::Mod if by_zero => {
                    return Err(self.after_look_ahead(Failure::new(at, "modulo by zero")));
                }
                _ => {}
            }
            lhs = binary(duration_op, lhs, rhs);
        }
        Ok(lhs)
    }

    /// An operand with the signs in front of it.
    fn duration_operand(&mut self, context: Context) -> Result<DurationExpr> {
        let start = self.token().span;
        match self.sign() {
            Some(negative) => self.duration_signed(start, negative, context),
            None => self.duration_primary(context),
        }
    }

    /// What stands behind a sign; only `^` binds more tightly than the sign.
    fn duration_signed(&mut self, start: Span, negative: bool, context: Context) -> Result<DurationExpr> {
        let operand = self.nested(|parser| {
            let first = parser.duration_operand(context)?;
            parser.duration_operators(first, POWER_BELOW_SIGN, context)
        })?;
        Ok(signed(start, negative, operand, false))
    }

    fn duration_primary(&mut self, context: Context) -> Result<DurationExpr> {
        let token = self.token();
        match token.kind {
            Kind::Number | Kind::Duration => {
                let number = self.number_literal()?;
                if number.value.abs() > SECONDS_MAX {
                    return Err(Failure::new(token.span, "duration out of range"));
                }
                Ok(DurationExpr { kind: DurationKind::Number(number), span: token.span, wrapped: false })
            }
            Kind::LeftParen => {
                self.bump();
                let mut inner = self.nested(|parser| parser.duration_expression(context))?;
                self.expect(Kind::RightParen, context.0, context.1)?;
                inner.wrapped = !matches!(inner.kind, DurationKind::Number(_));
                Ok(inner)
            }
            Kind::Keyword(word @ (Keyword::Step | Keyword::Range)) => {
                self.bump();
                self.expect(Kind::LeftParen, context.0, context.1)?;
                let close = self.expect(Kind::RightParen, context.0, context.1)?;
                let kind = if word == Keyword::Step { DurationKind::Step } else { DurationKind::Range };
                let span = Span { start: token.span.start, end: close.span.end };
                Ok(DurationExpr { kind, span, wrapped: false })
            }
            Kind::Keyword(word @ (Keyword::MinOf | Keyword::MaxOf)) => {
                self.bump();
                self.expect(Kind::LeftParen, context.0, context.1)?;
                let lhs = self.nested(|parser| parser.duration_expression(context))?;
                self.expect(Kind::Comma, context.0, context.1)?;
                let rhs = self.nested(|parser| parser.duration_expression(context))?;
                self.expect(Kind::RightParen, context.0, context.1)?;
                Ok(binary(if word == Keyword::MinOf { DurationOp::MinOf } else { DurationOp::MaxOf }, lhs, rhs))
            }
            _ => Err(self.unexpected(context.0, context.1)),
        }
    }
}

fn duration_operator(op: BinaryOp) -> Option<DurationOp> {
    Some(match op {
        BinaryOp::Add => DurationOp::Add,
        BinaryOp::Sub => DurationOp::Sub,
        BinaryOp::Mul => DurationOp::Mul,
        BinaryOp::Div => DurationOp::Div,
        BinaryOp::Mod => DurationOp::Mod,
        BinaryOp::Pow => DurationOp::Pow,
        _ => return None,
    })
}

fn binary(op: DurationOp, lhs: DurationExpr, rhs: DurationExpr) -> DurationExpr {
    let span = Span { start: lhs.span.start, end: rhs.span.end };
    let kind = DurationKind::Binary { op, lhs: Box::new(lhs), rhs: Box::new(rhs) };
    DurationExpr { kind, span, wrapped: false }
}

/// A sign becomes part of a number. A plus in front of anything else is dropped unless it is to be kept.
fn signed(sign: Span, negative: bool, mut operand: DurationExpr, keep_plus: bool) -> DurationExpr {
    let span = Span { start: sign.start, end: operand.span.end };
    match &mut operand.kind {
        DurationKind::Number(number) => {
            number.value = if negative { -number.value } else { number.value };
            operand.span = span;
            operand
        }
        _ if negative || keep_plus => {
            let kind = DurationKind::Signed { negative, operand: Box::new(operand) };
            DurationExpr { kind, span, wrapped: false }
        }
        _ => operand,
    }
}
