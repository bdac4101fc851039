//! The checks on a finished tree: types, arguments, matching. Children first, left to right, then the node itself.

use marigram_storage::model::labels::METRIC_NAME;
use marigram_storage::model::matcher::{MatchOp, Matcher};

use super::ast::{AggregateOp, BinaryOp, Cardinality, Expr, ExprKind, Matching, Selector, Span, ValueType};
use super::error::{Failure, Result};
use super::functions::Function;
use super::strings::quote;

/// Checks a tree, and drops the matching of operators that do not have two vectors.
pub(super) fn check(expr: &mut Expr, text: &str) -> Result<ValueType> {
    let span = expr.span;
    match &mut expr.kind {
        ExprKind::Number(_) => Ok(ValueType::Scalar),
        ExprKind::String(_) => Ok(ValueType::String),
        ExprKind::Selector(selector) => check_selector(selector, span).map(|()| ValueType::Vector),
        ExprKind::Matrix { selector, .. } => check_selector(selector, span).map(|()| ValueType::Matrix),
        ExprKind::Paren(inner) => check(inner, text),
        ExprKind::Subquery { expr: inner, .. } => match check(inner, text)? {
            ValueType::Vector => Ok(ValueType::Matrix),
            other => {
                let message = format!("subquery is only allowed on instant vector, got {} instead", other.as_str());
                Err(Failure::new(span, message))
            }
        },
        ExprKind::Unary { expr: inner, .. } => match check(inner, text)? {
            found @ (ValueType::Scalar | ValueType::Vector) => Ok(found),
            other => {
                let message = format!(
                    "unary expression only allowed on expressions of type scalar or instant vector, got \"{}\"",
                    other.documented()
                );
                Err(Failure::new(span, message))
            }
        },
        ExprKind::Call { function, args } => check_call(function, args, span, text),
        ExprKind::Aggregate { op, expr: inner, param, .. } => check_aggregate(*op, inner, param.as_deref_mut(), text),
        ExprKind::Binary { op, lhs, rhs, return_bool, matching } => {
            let types = (check(lhs, text)?, check(rhs, text)?);
            let sides = Sides { lhs: lhs.span, rhs: rhs.span, types, whole: span };
            check_binary(*op, &sides, *return_bool, matching, text)
        }
    }
}

/// A selector names a metric once, and selects something.
pub(super) fn check_selector(selector: &Selector, span: Span) -> Result<()> {
    let twice = |first: &str, second: &str| {
        let message = format!("metric name must not be set twice: {} or {}", quote(first), quote(second));
        Err(Failure::new(span, message))
    };
    if let (Some(name), Some((_, inside))) = (&selector.name, selector.matchers.split_last()) {
        return match inside.iter().find(|m| m.name() == METRIC_NAME) {
            Some(matcher) => twice(name, matcher.value()),
            None => Ok(()),
        };
    }
    let mut names = selector.matchers.iter().filter(|m| m.op() == MatchOp::Equal && m.name() == METRIC_NAME);
    if let (Some(first), Some(second)) = (names.next(), names.next()) {
        return twice(first.value(), second.value());
    }
    if selector.matchers.iter().all(Matcher::matches_empty) {
        return Err(Failure::new(span, "vector selector must contain at least one non-empty matcher"));
    }
    Ok(())
}

fn expect_type(expr: &mut Expr, wanted: ValueType, context: impl Fn() -> String, text: &str) -> Result<()> {
    let found = check(expr, text)?;
    if found != wanted {
        let (wanted, context) = (wanted.documented(), context());
        let message = format!("expected type {wanted} in {context}, got {}", found.documented());
        return Err(Failure::new(expr.span, message));
    }
    Ok(())
}

fn check_aggregate(op: AggregateOp, inner: &mut Expr, param: Option<&mut Expr>, text: &str) -> Result<ValueType> {
    expect_type(inner, ValueType::Vector, || "aggregation expression".into(), text)?;
    if let (Some(param), Some(wanted)) = (param, op.param_type()) {
        expect_type(param, wanted, || "aggregation parameter".into(), text)?;
    }
    Ok(ValueType::Vector)
}

fn check_call(function: &Function, args: &mut [Expr], span: Span, text: &str) -> Result<ValueType> {
    let (least, most) = function.argument_counts();
    let given = args.len();
    let wrong_count = |bound: &str, count: usize| {
        let message = format!("expected {bound}{count} argument(s) in call to \"{}\", got {given}", function.name);
        Err(Failure::new(span, message))
    };
    match most {
        Some(most) if most == least && given != least => return wrong_count("", least),
        _ if given < least => return wrong_count("at least ", least),
        Some(most) if given > most => return wrong_count("at most ", most),
        _ => {}
    }
    for (i, arg) in args.iter_mut().enumerate() {
        if let Some(wanted) = function.args.get(i).or(function.args.last()) {
            expect_type(arg, *wanted, || format!("call to function \"{}\"", function.name), text)?;
        }
    }
    Ok(function.returns)
}

struct Sides {
    lhs: Span,
    rhs: Span,
    types: (ValueType, ValueType),
    whole: Span,
}

impl Sides {
    /// Where the operator and its modifiers stand.
    fn operator(&self, text: &str) -> Span {
        let between = text.get(self.lhs.end..self.rhs.start).unwrap_or("");
        let start = self.lhs.end + (between.len() - between.trim_start().len());
        Span { start, end: self.rhs.start }
    }
}

fn check_binary(
    op: BinaryOp,
    sides: &Sides,
    return_bool: bool,
    matching: &mut Option<Matching>,
    text: &str,
) -> Result<ValueType> {
    use ValueType::{Scalar, Vector};
    let at_operator = |message: String| Err(Failure::new(sides.operator(text), message));
    let scalars = sides.types == (Scalar, Scalar);
    if return_bool && !op.is_comparison() {
        return at_operator("bool modifier can only be used on comparison operators".into());
    }
    if op.is_comparison() && !return_bool && scalars {
        return at_operator("comparisons between scalars must use BOOL modifier".into());
    }
    if let Some(Matching { on: true, labels, include, .. }) = matching
        && let Some(label) = labels.iter().find(|label| include.contains(label))
    {
        return at_operator(format!("label {} must not occur in ON and GROUP clause at once", quote(label)));
    }
    for (side, found) in [(sides.lhs, sides.types.0), (sides.rhs, sides.types.1)] {
        if found != Scalar && found != Vector {
            let message = "binary expression must contain only scalar and instant vector types";
            return Err(Failure::new(side, message));
        }
    }
    if sides.types != (Vector, Vector) {
        if matching.as_ref().is_some_and(|m| !m.labels.is_empty()) {
            return Err(Failure::new(sides.whole, "vector matching only allowed between instant vectors"));
        }
        if op.is_set() {
            let message = format!("set operator {} not allowed in binary scalar expression", quote(op.as_str()));
            return Err(Failure::new(sides.whole, message));
        }
        *matching = None;
    } else if op.is_set() && matching.as_ref().is_some_and(|m| m.cardinality != Cardinality::ManyToMany) {
        let message = format!("no grouping allowed for {} operation", quote(op.as_str()));
        return Err(Failure::new(sides.whole, message));
    }
    Ok(if scalars { Scalar } else { Vector })
}
