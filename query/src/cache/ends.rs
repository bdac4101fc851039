//! Whether a query asks where it begins or ends: `@ start()`, `end()`, `[range()]` and the like. Then an answer at a step is good for that
//! range only.

use crate::parse::ast::{At, Expr, ExprKind, Selector};
use crate::parse::duration_expr::{DurationExpr, DurationKind, Length};

/// Functions that tell of the whole query.
const OF_THE_QUERY: [&str; 3] = ["start", "end", "range"];

/// Whether a step's answer does not depend on the query's ends, as far as the text says.
pub(super) fn asks_for_none(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => true,
        ExprKind::Selector(selector) => of_selector(selector),
        ExprKind::Matrix { selector, range } => of_selector(selector) && of_length(range),
        ExprKind::Subquery { expr, range, step, at, offset } => {
            let lengths = [range, offset].into_iter().chain(step);
            is_own(*at) && lengths.into_iter().all(of_length) && asks_for_none(expr)
        }
        ExprKind::Call { function, args } => !OF_THE_QUERY.contains(&function.name) && args.iter().all(asks_for_none),
        ExprKind::Aggregate { expr, param, .. } => {
            asks_for_none(expr) && param.as_ref().is_none_or(|param| asks_for_none(param))
        }
        ExprKind::Binary { first, links } => asks_for_none(first) && links.iter().all(|link| asks_for_none(&link.rhs)),
        ExprKind::Unary { expr, .. } | ExprKind::Paren(expr) => asks_for_none(expr),
    }
}

fn of_selector(selector: &Selector) -> bool {
    is_own(selector.at) && of_length(&selector.offset)
}

fn is_own(at: At) -> bool {
    match at {
        At::Step | At::Time(_) => true,
        At::Start | At::End => false,
    }
}

fn of_length(length: &Length) -> bool {
    match length {
        Length::Fixed(_) => true,
        Length::Computed(expr) => of_duration(expr),
    }
}

fn of_duration(expr: &DurationExpr) -> bool {
    match &expr.kind {
        DurationKind::Number(_) | DurationKind::Step => true,
        DurationKind::Range => false,
        DurationKind::Signed { operand, .. } => of_duration(operand),
        DurationKind::Binary { lhs, rhs, .. } => of_duration(lhs) && of_duration(rhs),
    }
}
