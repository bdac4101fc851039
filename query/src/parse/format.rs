//! A tree back to PromQL. What it prints parses to the same tree.

use std::fmt::{self, Display, Formatter, Write};

use marigram_storage::model::labels::METRIC_NAME;
use marigram_storage::model::matcher::{MatchOp, Matcher};

use super::ast::{At, Cardinality, Expr, ExprKind, Grouping, Matching, Selector};
use super::duration::format_duration;
use super::strings::{is_plain_label_name, is_plain_metric_name, quote};

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number(value) => f.write_str(&format_number(*value)),
            ExprKind::String(value) => f.write_str(&quote(value)),
            ExprKind::Selector(selector) => write_selector(f, selector, None),
            ExprKind::Matrix { selector, range_ms } => write_selector(f, selector, Some(*range_ms)),
            ExprKind::Subquery { expr, range_ms, step_ms, at, offset_ms } => {
                let step = step_ms.map(format_duration).unwrap_or_default();
                write!(f, "{expr}[{}:{step}]", format_duration(*range_ms))?;
                write_modifiers(f, *at, *offset_ms)
            }
            ExprKind::Call { function, args } => {
                write!(f, "{}(", function.name)?;
                write_list(f, args)?;
                f.write_char(')')
            }
            ExprKind::Aggregate { op, expr, param, grouping } => {
                f.write_str(op.as_str())?;
                write_grouping(f, grouping)?;
                f.write_char('(')?;
                if let Some(param) = param {
                    write!(f, "{param}, ")?;
                }
                write!(f, "{expr})")
            }
            ExprKind::Binary { op, lhs, rhs, return_bool, matching } => {
                let bool_word = if *return_bool { " bool" } else { "" };
                write!(f, "{lhs} {}{bool_word}", op.as_str())?;
                if let Some(matching) = matching {
                    write_matching(f, matching)?;
                }
                write!(f, " {rhs}")
            }
            ExprKind::Unary { negative, expr } => write!(f, "{}{expr}", if *negative { '-' } else { '+' }),
            ExprKind::Paren(inner) => write!(f, "({inner})"),
        }
    }
}

/// A number as PromQL reads it back, without an exponent.
pub fn format_number(value: f64) -> String {
    if value.is_nan() {
        "NaN".into()
    } else if value.is_infinite() {
        // Without a plus, which would take the whole of `Inf ^ 2` for its operand.
        if value < 0.0 { "-Inf" } else { "Inf" }.into()
    } else {
        value.to_string()
    }
}

fn write_list(f: &mut Formatter<'_>, items: &[Expr]) -> fmt::Result {
    for (i, item) in items.iter().enumerate() {
        write!(f, "{}{item}", if i == 0 { "" } else { ", " })?;
    }
    Ok(())
}

fn write_selector(f: &mut Formatter<'_>, selector: &Selector, range_ms: Option<i64>) -> fmt::Result {
    // A name that came from outside of the braces is the last matcher, and is written in front again.
    let outside = selector.name.as_deref().filter(|name| is_plain_metric_name(name));
    let inside = match (outside, selector.matchers.split_last()) {
        (Some(_), Some((_, inside))) => inside,
        _ => &selector.matchers[..],
    };
    f.write_str(outside.unwrap_or(""))?;
    if !inside.is_empty() || outside.is_none() {
        f.write_char('{')?;
        for (i, matcher) in inside.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { "," })?;
            write_matcher(f, matcher)?;
        }
        f.write_char('}')?;
    }
    if let Some(range_ms) = range_ms {
        write!(f, "[{}]", format_duration(range_ms))?;
    }
    write_modifiers(f, selector.at, selector.offset_ms)
}

fn write_matcher(f: &mut Formatter<'_>, matcher: &Matcher) -> fmt::Result {
    if matcher.name() == METRIC_NAME && matcher.op() == MatchOp::Equal && !is_plain_metric_name(matcher.value()) {
        return f.write_str(&quote(matcher.value()));
    }
    write!(f, "{}{}{}", label_name(matcher.name()), matcher.op().as_str(), quote(matcher.value()))
}

fn label_name(name: &str) -> String {
    if is_plain_label_name(name) { name.to_owned() } else { quote(name) }
}

fn write_modifiers(f: &mut Formatter<'_>, at: At, offset_ms: i64) -> fmt::Result {
    match at {
        At::Step => {}
        At::Start => f.write_str(" @ start()")?,
        At::End => f.write_str(" @ end()")?,
        At::Time(time_ms) => {
            let sign = if time_ms < 0 { "-" } else { "" };
            let magnitude = time_ms.unsigned_abs();
            write!(f, " @ {sign}{}.{:03}", magnitude / 1000, magnitude % 1000)?;
        }
    }
    if offset_ms != 0 {
        write!(f, " offset {}", format_duration(offset_ms))?;
    }
    Ok(())
}

fn write_labels(f: &mut Formatter<'_>, labels: &[String]) -> fmt::Result {
    let names: Vec<String> = labels.iter().map(|label| label_name(label)).collect();
    write!(f, " ({})", names.join(", "))
}

fn write_grouping(f: &mut Formatter<'_>, grouping: &Grouping) -> fmt::Result {
    if !grouping.without && grouping.labels.is_empty() {
        return Ok(());
    }
    f.write_str(if grouping.without { " without" } else { " by" })?;
    write_labels(f, &grouping.labels)?;
    f.write_char(' ')
}

fn write_matching(f: &mut Formatter<'_>, matching: &Matching) -> fmt::Result {
    let group = match matching.cardinality {
        Cardinality::ManyToOne => " group_left",
        Cardinality::OneToMany => " group_right",
        Cardinality::OneToOne | Cardinality::ManyToMany => "",
    };
    if matching.on || !matching.labels.is_empty() || !group.is_empty() {
        f.write_str(if matching.on { " on" } else { " ignoring" })?;
        write_labels(f, &matching.labels)?;
    }
    if !group.is_empty() {
        f.write_str(group)?;
        write_labels(f, &matching.include)?;
    }
    Ok(())
}
