//! A tree as indented lines, as Prometheus' `format_query` lays them out: a node that is longer than a line is broken at its
//! parts, which stand one level deeper.

use super::ast::{AggregateOp, Expr, ExprKind, Grouping, Link};
use super::format::{aggregate_head, first_operand, operator, subquery_suffix};

/// Longest text of a node that is not broken, bytes.
const LINE_BYTES: usize = 100;

/// Indentation of a level.
const INDENT: &str = "  ";

/// The indentation of a long chain grows with the square of its length: what is laid out may take at most so much.
pub const PRETTY_BYTES_MAX: usize = 8 << 20;

/// Lays a query out; `None` where that would take more than [`PRETTY_BYTES_MAX`].
pub fn pretty(expr: &Expr) -> Option<String> {
    let mut page = Page { out: String::new() };
    page.node(expr, 0)?;
    Some(page.out)
}

struct Page {
    out: String,
}

/// Whether there was room.
type Room = Option<()>;

impl Page {
    fn push(&mut self, text: &str) -> Room {
        if self.out.len().saturating_add(text.len()) > PRETTY_BYTES_MAX {
            return None;
        }
        self.out.push_str(text);
        Some(())
    }

    fn indent(&mut self, level: usize) -> Room {
        (0..level).try_for_each(|_| self.push(INDENT))
    }

    fn node(&mut self, expr: &Expr, level: usize) -> Room {
        match &expr.kind {
            ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Selector(_) | ExprKind::Matrix { .. } => {
                self.indent(level)?;
                self.push(&expr.to_string())
            }
            ExprKind::Unary { negative, expr } => {
                self.indent(level)?;
                self.push(if *negative { "-" } else { "+" })?;
                self.without_blanks(expr, level)
            }
            ExprKind::Binary { first, links } => self.chain(first, links, level),
            ExprKind::Subquery { expr: inner, range, step, at, offset } => {
                let text = expr.to_string();
                if text.len() <= LINE_BYTES {
                    // Not indented, unlike anything else.
                    return self.push(&text);
                }
                self.node(inner, level)?;
                self.push(&subquery_suffix(range, step.as_ref(), *at, offset))
            }
            ExprKind::Paren(_) | ExprKind::Call { .. } | ExprKind::Aggregate { .. } => {
                self.indent(level)?;
                let text = expr.to_string();
                if text.len() <= LINE_BYTES {
                    return self.push(&text);
                }
                match &expr.kind {
                    ExprKind::Call { function, args } => self.call(function.name, args, level),
                    ExprKind::Aggregate { op, expr, param, grouping } => {
                        self.aggregate(*op, grouping, param.as_deref(), expr, level)
                    }
                    ExprKind::Paren(inner) => self.call("", std::slice::from_ref(inner), level),
                    _ => Some(()),
                }
            }
        }
    }

    /// The part behind a sign, which takes the indentation in front of itself.
    fn without_blanks(&mut self, expr: &Expr, level: usize) -> Room {
        let mut part = Page { out: String::new() };
        part.node(expr, level)?;
        self.push(part.out.trim())
    }

    fn call(&mut self, name: &str, args: &[Expr], level: usize) -> Room {
        self.push(name)?;
        self.push("(\n")?;
        for (i, arg) in args.iter().enumerate() {
            self.push(if i == 0 { "" } else { ",\n" })?;
            self.node(arg, level + 1)?;
        }
        self.close(level)
    }

    fn aggregate(
        &mut self,
        op: AggregateOp,
        grouping: &Grouping,
        param: Option<&Expr>,
        expr: &Expr,
        level: usize,
    ) -> Room {
        self.push(&aggregate_head(op, grouping))?;
        self.push("(\n")?;
        if let Some(param) = param {
            self.node(param, level + 1)?;
            self.push(",\n")?;
        }
        self.node(expr, level + 1)?;
        self.close(level)
    }

    fn close(&mut self, level: usize) -> Room {
        self.push("\n")?;
        self.indent(level)?;
        self.push(")")
    }

    /// The last operator of a chain is the outermost node, so the first operand stands deepest. As much of the chain's
    /// beginning as fits into a line stays on one.
    fn chain(&mut self, first: &Expr, links: &[Link], level: usize) -> Room {
        let mut line = first_operand(first, links);
        let mut on_line = 0;
        for link in links {
            let longer = format!("{line} {} {}", operator(link), link.rhs);
            if longer.len() > LINE_BYTES {
                break;
            }
            line = longer;
            on_line += 1;
        }
        let broken = links.len() - on_line;
        if on_line == 0 && !matches!(first.kind, ExprKind::Number(_)) {
            self.node(first, level + broken)?;
        } else {
            self.indent(level + broken)?;
            self.push(&line)?;
        }
        for (i, link) in links.iter().enumerate().skip(on_line) {
            let level = level + links.len() - 1 - i;
            self.push("\n")?;
            self.indent(level)?;
            self.push(&operator(link))?;
            self.push("\n")?;
            self.node(&link.rhs, level + 1)?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Features, parse_with};
    use super::*;

    fn laid_out(text: &str) -> String {
        pretty(&parse_with(text, Features::ALL).unwrap()).unwrap()
    }

    #[test]
    fn short_queries_stay_on_their_line() {
        assert_eq!(laid_out("sum( rate(m [ 5m ])  ) BY(job)"), "sum by (job) (rate(m[5m]))");
        assert_eq!(laid_out("1+2 *3"), "1 + 2 * 3");
        assert_eq!(laid_out("- ( m )"), "-(m)");
    }

    #[test]
    fn long_nodes_are_broken_at_their_parts() {
        let long = "a_metric_with_a_name_that_is_long{instance=\"some instance\",job=\"some job\"}";
        assert_eq!(
            laid_out(&format!("sum by (job) (rate({long}[5m]) / rate({long}[5m]))")),
            format!("sum by (job) (\n    rate({long}[5m])\n  /\n    rate({long}[5m])\n)")
        );
        assert_eq!(
            laid_out(&format!("{long} + {long} + on (a) {long}")),
            format!("    {long}\n  +\n    {long}\n+ on (a)\n  {long}")
        );
        assert_eq!(
            laid_out(&format!("histogram_quantile(0.9, ({long} + {long}))")),
            format!("histogram_quantile(\n  0.9,\n  (\n      {long}\n    +\n      {long}\n  )\n)")
        );
        assert_eq!(
            laid_out(&format!("topk(3, {long} + -({long} + 1))")),
            format!("topk(\n  3,\n    {long}\n  +\n    -({long} + 1)\n)")
        );
    }

    #[test]
    fn what_would_grow_beyond_all_bounds_is_refused() {
        let long =
            "m{a=\"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890\"}";
        let chain = vec![long; 5000].join(" + ");
        assert_eq!(pretty(&parse_with(&chain, Features::ALL).unwrap()), None);
    }
}
