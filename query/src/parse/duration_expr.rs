//! Durations that are computed: `[5m * 2]`, `offset -(1h / 2)`, `[max_of(step(), 1m):]`.
//!
//! They may ask for the step and the range of the query, so they get their value when the query is planned.

use super::ast::{NumberLiteral, Span};

/// A duration in a modifier or between brackets.
#[derive(Clone, Debug, PartialEq)]
pub enum Length {
    /// Written as a number or a duration, ms.
    Fixed(i64),
    /// To be computed.
    Computed(Box<DurationExpr>),
}

impl Default for Length {
    fn default() -> Self {
        Length::Fixed(0)
    }
}

/// A node of a duration's arithmetic.
#[derive(Clone, Debug, PartialEq)]
pub struct DurationExpr {
    /// What it is.
    pub kind: DurationKind,
    /// Where it stands, parentheses around it left out.
    pub span: Span,
    /// Whether it stands in parentheses.
    pub wrapped: bool,
}

/// What a node of a duration's arithmetic is.
#[derive(Clone, Debug, PartialEq)]
pub enum DurationKind {
    /// A number of seconds, or a duration.
    Number(NumberLiteral),
    /// `step()`: the step of the query.
    Step,
    /// `range()`: from the query's first to its last step.
    Range,
    /// `-x` or `+x`
    Signed {
        /// `true` for `-`.
        negative: bool,
        /// The operand.
        operand: Box<DurationExpr>,
    },
    /// `a op b`, or `min_of(a, b)`
    Binary {
        /// Which one.
        op: DurationOp,
        /// Left.
        lhs: Box<DurationExpr>,
        /// Right.
        rhs: Box<DurationExpr>,
    },
}

/// Arithmetic of durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as PromQL names them")]
pub enum DurationOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    MinOf,
    MaxOf,
}

impl DurationOp {
    /// As PromQL writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            DurationOp::Add => "+",
            DurationOp::Sub => "-",
            DurationOp::Mul => "*",
            DurationOp::Div => "/",
            DurationOp::Mod => "%",
            DurationOp::Pow => "^",
            DurationOp::MinOf => "min_of",
            DurationOp::MaxOf => "max_of",
        }
    }
}

/// What computed durations ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryTimes {
    /// Step of the query, ms; 0 for an instant query.
    pub step_ms: i64,
    /// From the first to the last step, ms.
    pub range_ms: i64,
}

/// Longest duration, seconds: that of Go's 64-bit nanoseconds.
pub(super) const SECONDS_MAX: f64 = i64::MAX as f64 / 1e9;

impl Length {
    /// The duration in ms.
    ///
    /// # Errors
    /// A computed one that has no value, is out of range, or (unless `negative` is allowed) is not above 0.
    pub fn resolve(&self, times: QueryTimes, negative: bool) -> Result<i64, String> {
        let expr = match self {
            Length::Fixed(length_ms) => return Ok(*length_ms),
            Length::Computed(expr) => expr,
        };
        let seconds = expr.seconds(times)?;
        let refused = |reason: &str| Err(expr.refused(reason));
        if !seconds.is_finite() {
            return refused("duration is NaN or infinite");
        }
        if seconds <= 0.0 && !negative {
            return refused("duration must be greater than 0");
        }
        if seconds.abs() > SECONDS_MAX {
            return refused("duration is out of range");
        }
        Ok((seconds * 1000.0) as i64)
    }

    /// Whether it is written as 0, or not written.
    pub fn is_zero(&self) -> bool {
        *self == Length::Fixed(0)
    }
}

impl DurationExpr {
    /// Whether it is written as `a op b`.
    pub(super) fn is_infix(&self) -> bool {
        match &self.kind {
            DurationKind::Binary { op, .. } => !self.wrapped && !matches!(op, DurationOp::MinOf | DurationOp::MaxOf),
            _ => false,
        }
    }

    fn refused(&self, reason: &str) -> String {
        format!("{}:{}: {reason}", self.span.start, self.span.end)
    }

    fn seconds(&self, times: QueryTimes) -> Result<f64, String> {
        let (op, lhs, rhs) = match &self.kind {
            DurationKind::Number(number) => return Ok(number.value),
            DurationKind::Step => return Ok(times.step_ms as f64 / 1000.0),
            DurationKind::Range => return Ok(times.range_ms as f64 / 1000.0),
            DurationKind::Signed { negative, operand } => {
                let value = operand.seconds(times)?;
                return Ok(if *negative { -value } else { value });
            }
            DurationKind::Binary { op, lhs, rhs } => (*op, lhs.seconds(times)?, rhs.seconds(times)?),
        };
        Ok(match op {
            DurationOp::Add => lhs + rhs,
            DurationOp::Sub => lhs - rhs,
            DurationOp::Mul => lhs * rhs,
            DurationOp::Div if rhs == 0.0 => return Err(self.refused("division by zero")),
            DurationOp::Div => lhs / rhs,
            DurationOp::Mod if rhs == 0.0 => return Err(self.refused("modulo by zero")),
            DurationOp::Mod => lhs % rhs,
            DurationOp::Pow => lhs.powf(rhs),
            DurationOp::MinOf => least(lhs, rhs),
            DurationOp::MaxOf => -least(-lhs, -rhs),
        })
    }
}

/// The lesser number, or NaN where one is.
fn least(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }
}
