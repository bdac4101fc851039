//! Which parts of a query are the same at all steps: those whose every selector or sub-query is pinned with `@`, and in
//! which nothing asks for the time of the step.

use crate::parse::ast::{At, Expr, ExprKind};

/// Functions that look at the time of the step, whatever their argument is.
const READS_STEP_TIME: &[&str] = &[
    "days_in_month",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "hour",
    "minute",
    "month",
    "year",
    "predict_linear",
    "time",
    "timestamp",
];

/// Without the parentheses around it.
pub(super) fn unwrap_parens(expr: &Expr) -> &Expr {
    match &expr.kind {
        ExprKind::Paren(inner) => unwrap_parens(inner),
        _ => expr,
    }
}

/// Whether `expr` has the same value at all steps.
pub(super) fn is_invariant(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => true,
        ExprKind::Selector(selector) | ExprKind::Matrix { selector, .. } => selector.at != At::Step,
        ExprKind::Subquery { at, .. } => *at != At::Step,
        ExprKind::Call { function, args } => {
            if function.name == "timestamp" {
                // Of a selector it is the time of the sample; of anything else, that of the step.
                return args.iter().all(
                    |arg| matches!(&unwrap_parens(arg).kind, ExprKind::Selector(selector) if selector.at != At::Step),
                );
            }
            !READS_STEP_TIME.contains(&function.name) && args.iter().all(is_invariant)
        }
        ExprKind::Aggregate { expr, param, .. } => {
            is_invariant(expr) && param.as_ref().is_none_or(|param| is_invariant(param))
        }
        ExprKind::Binary { first, links } => is_invariant(first) && links.iter().all(|link| is_invariant(&link.rhs)),
        ExprKind::Unary { expr, .. } | ExprKind::Paren(expr) => is_invariant(expr),
    }
}
