//! The same query, nailed to a time: `@ t` on every selector and subquery, so that it yields the same at any time.

use marigram_query::parse::ast::{At, Expr, ExprKind};
use marigram_query::parse::{Features, parse_with};

/// Functions that look at the evaluation time, whatever their arguments are.
const MOVING: [&str; 15] = [
    "time",
    "timestamp",
    "predict_linear",
    "days_in_month",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "hour",
    "minute",
    "month",
    "year",
    "start",
    "end",
    "step",
    "range",
];

/// The query with `@ time_ms` wherever it has none; `None` where it does not parse or depends on the time anyway.
pub(super) fn nail(query: &str, time_ms: i64) -> Option<String> {
    let mut expr = parse_with(query, Features::ALL).ok()?;
    visit(&mut expr, time_ms, true).then(|| expr.to_string())
}

/// Sets the modifiers below `expr` (unless a subquery above has one); `false` when a moving function is called.
fn visit(expr: &mut Expr, time_ms: i64, free: bool) -> bool {
    let nail = |at: &mut At| {
        if free && !matches!(at, At::Time(_)) {
            *at = At::Time(time_ms);
        }
    };
    match &mut expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => true,
        ExprKind::Selector(selector) | ExprKind::Matrix { selector, .. } => {
            nail(&mut selector.at);
            true
        }
        ExprKind::Subquery { expr, at, .. } => {
            nail(at);
            visit(expr, time_ms, false)
        }
        ExprKind::Call { function, args } => {
            !MOVING.contains(&function.name) && args.iter_mut().all(|arg| visit(arg, time_ms, free))
        }
        ExprKind::Aggregate { expr, param, .. } => {
            visit(expr, time_ms, free) && param.as_mut().is_none_or(|param| visit(param, time_ms, free))
        }
        ExprKind::Binary { first, links } => {
            visit(first, time_ms, free) && links.iter_mut().all(|link| visit(&mut link.rhs, time_ms, free))
        }
        ExprKind::Unary { expr, .. } | ExprKind::Paren(expr) => visit(expr, time_ms, free),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_free_selector_is_nailed() {
        for (query, nailed) in [
            ("a + b @ 5", Some("a @ 60.000 + b @ 5.000")),
            ("rate(a[5m] offset 1m)", Some("rate(a[5m] @ 60.000 offset 1m)")),
            ("sum_over_time((a + b @ end())[5m:])", Some("sum_over_time((a + b @ end())[5m:] @ 60.000)")),
            ("a @ start()", Some("a @ 60.000")),
            ("a + time()", None),
            ("sum(hour(a))", None),
            ("(", None),
        ] {
            assert_eq!(nail(query, 60_000).as_deref(), nailed, "{query}");
        }
    }
}
