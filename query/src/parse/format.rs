//! A tree back to PromQL, as Prometheus prints it on one line. What it prints parses to the same tree.

use std::fmt::{self, Display, Formatter, Write};

use marigram_storage::model::labels::METRIC_NAME;
use marigram_storage::model::matcher::MatchOp;

use super::ast::{
    AggregateOp, At, BinaryOp, Boundary, Cardinality, Expr, ExprKind, Grouping, Link, Matching, NumberLiteral, Selector,
};
use super::duration::format_duration;
use super::duration_expr::{DurationExpr, DurationKind, DurationOp, Length};
use super::strings::{is_plain_label_name, quote, quote_bytes};
use crate::number::go_g;

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number(number) => number.fmt(f),
            ExprKind::String(value) => f.write_str(&quote_bytes(value.as_bytes())),
            ExprKind::Selector(selector) => write_selector(f, selector, None),
            ExprKind::Matrix { selector, range } => write_selector(f, selector, Some(range)),
            ExprKind::Subquery { expr, range, step, at, offset } => {
                write!(f, "{expr}{}", subquery_suffix(range, step.as_ref(), *at, offset))
            }
            ExprKind::Call { function, args } => {
                write!(f, "{}(", function.name)?;
                write_list(f, args)?;
                f.write_char(')')
            }
            ExprKind::Aggregate { op, expr, param, grouping } => {
                write!(f, "{}(", aggregate_head(*op, grouping))?;
                if let Some(param) = param {
                    write!(f, "{param}, ")?;
                }
                write!(f, "{expr})")
            }
            ExprKind::Binary { first, links } => {
                f.write_str(&first_operand(first, links))?;
                links.iter().try_for_each(|link| write!(f, " {} {}", operator(link), link.rhs))
            }
            ExprKind::Unary { negative, expr } => write!(f, "{}{expr}", if *negative { '-' } else { '+' }),
            ExprKind::Paren(inner) => write!(f, "({inner})"),
        }
    }
}

/// The first operand of a chain. A sign in front of it would take all of `Inf ^ 2` for its operand, so it is left out there,
/// though Prometheus prints it.
pub(super) fn first_operand(first: &Expr, links: &[Link]) -> String {
    match (&first.kind, links) {
        (ExprKind::Number(number), [link, ..]) if number.value == f64::INFINITY && link.op == BinaryOp::Pow => {
            "Inf".into()
        }
        _ => first.to_string(),
    }
}

impl Display for NumberLiteral {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.is_duration {
            return f.write_str(&format_duration((self.value * 1e9) as i64 / 1_000_000));
        }
        f.write_str(&format_number(self.value))
    }
}

/// A number without an exponent.
pub fn format_number(value: f64) -> String {
    if value.is_nan() {
        "NaN".into()
    } else if value.is_infinite() {
        if value < 0.0 { "-Inf" } else { "+Inf" }.into()
    } else {
        value.to_string()
    }
}

impl Display for Length {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Length::Fixed(length_ms) => f.write_str(&format_duration(*length_ms)),
            Length::Computed(expr) => expr.fmt(f),
        }
    }
}

impl Display for DurationExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (open, close) = if self.wrapped { ("(", ")") } else { ("", "") };
        f.write_str(open)?;
        match &self.kind {
            DurationKind::Number(number) => number.fmt(f)?,
            DurationKind::Step => f.write_str("step()")?,
            DurationKind::Range => f.write_str("range()")?,
            DurationKind::Signed { negative, operand } => write!(f, "{}{operand}", if *negative { "-" } else { "" })?,
            DurationKind::Binary { op: op @ (DurationOp::MinOf | DurationOp::MaxOf), lhs, rhs } => {
                write!(f, "{}({lhs}, {rhs})", op.as_str())?;
            }
            DurationKind::Binary { op, lhs, rhs } => write!(f, "{lhs} {} {rhs}", op.as_str())?,
        }
        f.write_str(close)
    }
}

fn write_list(f: &mut Formatter<'_>, items: &[Expr]) -> fmt::Result {
    for (i, item) in items.iter().enumerate() {
        write!(f, "{}{item}", if i == 0 { "" } else { ", " })?;
    }
    Ok(())
}

fn write_selector(f: &mut Formatter<'_>, selector: &Selector, range: Option<&Length>) -> fmt::Result {
    let name = selector.name.as_deref().unwrap_or("");
    f.write_str(name)?;
    // A name in front of the braces is among the matchers, too.
    let named = |(label, op, value): &(&str, MatchOp, &[u8])| {
        !name.is_empty() && (*label, *op, *value) == (METRIC_NAME, MatchOp::Equal, name.as_bytes())
    };
    let mut inside: Vec<String> = selector.written().filter(|matcher| !named(matcher)).map(matcher_text).collect();
    inside.sort();
    // Prometheus prints nothing at all for `{}`, which would not be read back.
    if !inside.is_empty() || name.is_empty() {
        write!(f, "{{{}}}", inside.join(","))?;
    }
    let boundary = match selector.boundary {
        Boundary::Samples => String::new(),
        boundary => format!(" {}", boundary.as_str()),
    };
    let (at, offset) = (at_text(selector.at), offset_text(&selector.offset));
    match range {
        Some(range) => write!(f, "[{range}]{boundary}{at}{offset}"),
        None => write!(f, "{at}{boundary}{offset}"),
    }
}

fn matcher_text((name, op, value): (&str, MatchOp, &[u8])) -> String {
    format!("{}{}{}", label_name(name), op.as_str(), quote_bytes(value))
}

fn label_name(name: &str) -> String {
    if is_plain_label_name(name) { name.to_owned() } else { quote(name) }
}

/// `[1h:5m] @ 3.000 offset 1m`
pub(super) fn subquery_suffix(range: &Length, step: Option<&Length>, at: At, offset: &Length) -> String {
    let step = step.map(Length::to_string).unwrap_or_default();
    format!("[{range}:{step}]{}{}", at_text(at), offset_text(offset))
}

fn at_text(at: At) -> String {
    match at {
        At::Step => String::new(),
        At::Start => " @ start()".into(),
        At::End => " @ end()".into(),
        At::Time(time_ms) => format!(" @ {:.3}", time_ms as f64 / 1000.0),
    }
}

/// Behind `offset`, only a parenthesis or two signs begin arithmetic; what begins otherwise gets parentheses, which Prometheus
/// leaves out, so that its text means something else.
fn offset_text(offset: &Length) -> String {
    if offset.is_zero() {
        return String::new();
    }
    let text = offset.to_string();
    let is_sum = matches!(offset, Length::Computed(expr) if expr.is_infix());
    let begins_sum = text.starts_with('(') || text.starts_with("--");
    if is_sum && !begins_sum { format!(" offset ({text})") } else { format!(" offset {text}") }
}

fn label_list(labels: &[String]) -> String {
    labels.iter().map(|label| label_name(label)).collect::<Vec<_>>().join(", ")
}

/// `sum`, or `sum by (a, b) `
pub(super) fn aggregate_head(op: AggregateOp, grouping: &Grouping) -> String {
    let word = match grouping.without {
        true => "without",
        false if grouping.labels.is_empty() => return op.as_str().to_owned(),
        false => "by",
    };
    format!("{} {word} ({}) ", op.as_str(), label_list(&grouping.labels))
}

/// An operator with its modifiers: `== bool on (a) group_left (b)`.
pub(super) fn operator(link: &Link) -> String {
    let bool_word = if link.return_bool { " bool" } else { "" };
    let matching = link.matching.as_ref().map(matching_text).unwrap_or_default();
    format!("{}{bool_word}{matching}", link.op.as_str())
}

fn matching_text(matching: &Matching) -> String {
    let mut out = String::new();
    let group = match matching.cardinality {
        Cardinality::ManyToOne => "group_left",
        Cardinality::OneToMany => "group_right",
        Cardinality::OneToOne | Cardinality::ManyToMany => "",
    };
    if matching.on || !matching.labels.is_empty() || !group.is_empty() {
        let word = if matching.on { "on" } else { "ignoring" };
        let _ = write!(out, " {word} ({})", label_list(&matching.labels));
    }
    if !group.is_empty() {
        let _ = write!(out, " {group} ({})", label_list(&matching.include));
    }
    match (matching.fill.left, matching.fill.right) {
        (Some(left), Some(right)) if left == right => {
            let _ = write!(out, " fill ({})", go_g(left));
        }
        (left, right) => {
            for (word, value) in [("fill_left", left), ("fill_right", right)] {
                if let Some(value) = value {
                    let _ = write!(out, " {word} ({})", go_g(value));
                }
            }
        }
    }
    out
}
