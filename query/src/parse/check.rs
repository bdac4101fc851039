//! The checks on a finished tree: types, arguments, matching. Children first, left to right, then the node itself.

use marigram_storage::model::labels::METRIC_NAME;
use marigram_storage::model::matcher::{MatchOp, Matcher};

use super::ast::{AggregateOp, Cardinality, Expr, ExprKind, Link, Selector, Span, ValueType};
use super::error::{Failure, Result};
use super::functions::Function;
use super::literal::RawMatcher;
use super::strings::{quote, quote_bytes};

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
        ExprKind::Binary { first, links } => {
            let mut lhs = (check(first, text)?, first.span);
            for link in links {
                let rhs = check(&mut link.rhs, text)?;
                let whole = Span { start: lhs.1.start, end: link.rhs.span.end };
                let sides = Sides { lhs: lhs.1, rhs: link.rhs.span, types: (lhs.0, rhs), whole };
                lhs = (check_link(link, &sides, text)?, whole);
            }
            Ok(lhs.0)
        }
    }
}

/// A selector names a metric once, and selects something.
pub(super) fn check_selector(selector: &Selector, span: Span) -> Result<()> {
    if let (Some(name), Some((_, inside))) = (&selector.name, selector.matchers.split_last()) {
        let mut inside = selector.written().take(inside.len());
        let Some((_, _, twice)) = inside.find(|(label, ..)| *label == METRIC_NAME) else { return Ok(()) };
        let message = format!("metric name must not be set twice: {} or {}", quote(name), quote_bytes(twice));
        return Err(Failure::new(span, message));
    }
    if !selector.may_be_empty && selector.matchers.iter().all(Matcher::matches_empty) {
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
    if function.name == "info"
        && let [_, labels, ..] = args
    {
        check_info_labels(labels, span)?;
    }
    for (i, arg) in args.iter_mut().enumerate() {
        if let Some(wanted) = function.args.get(i).or(function.args.last()) {
            expect_type(arg, *wanted, || format!("call to function \"{}\"", function.name), text)?;
        }
    }
    check_written_labels(function, args)?;
    Ok(function.returns)
}

/// What functions write as a label has to be UTF-8: here labels are, in Prometheus they need not be.
fn check_written_labels(function: &Function, args: &[Expr]) -> Result<()> {
    let literal = |at: usize| match args.get(at).map(without_parens) {
        Some(Expr { kind: ExprKind::String(text), span, .. }) => Some((text, *span)),
        _ => None,
    };
    let written = match function.name {
        "label_replace" | "label_join" => literal(2),
        "histogram_quantiles" => literal(1),
        "absent" | "absent_over_time" => args.first().and_then(|arg| match &without_parens(arg).kind {
            ExprKind::Selector(selector) | ExprKind::Matrix { selector, .. } => {
                let is_label = |raw: &&RawMatcher| {
                    let name = selector.matchers.get(raw.at).map(Matcher::name);
                    raw.op == MatchOp::Equal && name != Some(METRIC_NAME)
                };
                selector.raw.iter().find(is_label).map(|raw| (&raw.value, raw.span))
            }
            _ => None,
        }),
        _ => None,
    };
    match written {
        Some((text, span)) if text.utf8().is_none() => {
            let (text, name) = (quote_bytes(text.as_bytes()), function.name);
            Err(Failure::new(span, format!("{name}() cannot write a label that is not UTF-8: {text}")))
        }
        _ => Ok(()),
    }
}

fn without_parens(expr: &Expr) -> &Expr {
    match &expr.kind {
        ExprKind::Paren(inner) => without_parens(inner),
        _ => expr,
    }
}

/// The second argument of `info`: matchers without a metric's name, which may match everything.
fn check_info_labels(arg: &mut Expr, call: Span) -> Result<()> {
    let found = arg.value_type();
    if found != ValueType::Vector {
        let message = format!("expected type instant vector in call to function \"info\", got {}", found.documented());
        return Err(Failure::new(call, message));
    }
    match &mut arg.kind {
        ExprKind::Selector(selector) if selector.name.is_none() => {
            selector.may_be_empty = true;
            Ok(())
        }
        ExprKind::Selector(_) => {
            Err(Failure::new(arg.span, "expected label selectors only, got vector selector instead"))
        }
        _ => Err(Failure::new(arg.span, "expected label selectors only")),
    }
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

fn check_link(link: &mut Link, sides: &Sides, text: &str) -> Result<ValueType> {
    use ValueType::{Scalar, Vector};
    let at_operator = |message: String| Err(Failure::new(sides.operator(text), message));
    let whole = |message: String| Err(Failure::new(sides.whole, message));
    let (op, matching) = (link.op, &link.matching);
    let scalars = sides.types == (Scalar, Scalar);
    if link.return_bool && !op.is_comparison() {
        return at_operator("bool modifier can only be used on comparison operators".into());
    }
    if op.is_comparison() && !link.return_bool && scalars {
        return at_operator("comparisons between scalars must use BOOL modifier".into());
    }
    if let Some(matching) = matching
        && matching.on
        && let Some(label) = matching.labels.iter().find(|label| matching.include.contains(label))
    {
        return at_operator(format!("label {} must not occur in ON and GROUP clause at once", quote(label)));
    }
    for (side, found) in [(sides.lhs, sides.types.0), (sides.rhs, sides.types.1)] {
        if found != Scalar && found != Vector {
            let message = "binary expression must contain only scalar and instant vector types";
            return Err(Failure::new(side, message));
        }
    }
    let filled = matching.as_ref().is_some_and(|m| !m.fill.is_none());
    if sides.types != (Vector, Vector) {
        if matching.as_ref().is_some_and(|m| !m.labels.is_empty()) {
            return whole("vector matching only allowed between instant vectors".into());
        }
        if filled {
            return whole("filling in missing series only allowed between instant vectors".into());
        }
        if op.is_set() {
            return whole(format!("set operator {} not allowed in binary scalar expression", quote(op.as_str())));
        }
        link.matching = None;
    } else if op.is_set() {
        if matching.as_ref().is_some_and(|m| m.cardinality != Cardinality::ManyToMany) {
            return whole(format!("no grouping allowed for {} operation", quote(op.as_str())));
        }
        if filled {
            return whole("filling in missing series not allowed for set operators".into());
        }
    }
    Ok(if scalars { Scalar } else { Vector })
}
