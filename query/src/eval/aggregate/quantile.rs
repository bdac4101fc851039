//! `quantile`: keeps all values of a group, since the rank of a value is known only in the end.

use super::{Groups, ignore_histograms, parameter};
use crate::error::QueryError;
use crate::eval::function::check_quantile;
use crate::eval::function::quantile::quantile;
use crate::eval::{Exec, Grid, SeriesColumn, open};
use crate::parse::ast::Span;
use crate::plan::{AggregateNode, ScalarNode};
use marigram_storage::model::labels::Labels;

/// Evaluates `quantile(q, v)`.
pub(super) fn evaluate(
    exec: &Exec<'_>,
    node: &AggregateNode,
    (q, span): (&ScalarNode, Span),
    mut groups: Groups,
    grid: Grid,
) -> Result<Vec<SeriesColumn>, QueryError> {
    let q = parameter(exec, q, grid)?;
    warn_of_extremes(exec, &q, span);
    let mut held = exec.limit.hold(0)?;
    let mut states: Vec<(Labels, Vec<Vec<f64>>, bool)> = Vec::new();
    let mut input = open(exec, &node.input, grid)?;
    while let Some(mut series) = input.next()? {
        exec.check()?;
        ignore_histograms(exec, node.op, &mut series.column, node.input_span);
        if series.column.present.is_empty() {
            continue;
        }
        let (at, new) = groups.find(&series.labels);
        if let Some(labels) = new {
            exec.keep_labels(&labels)?;
            exec.limit.hold_more(&mut held, grid.steps)?;
            states.push((labels, vec![Vec::new(); grid.steps], false));
        }
        exec.limit.hold_more(&mut held, series.column.present.count())?;
        let Some((_, values, drops_name)) = states.get_mut(at) else { continue };
        *drops_name |= series.drops_name;
        for (step, value) in series.column.samples() {
            if let Some(values) = values.get_mut(step) {
                values.push(value);
            }
        }
    }
    let mut out = Vec::with_capacity(states.len());
    for (labels, values, drops_name) in states {
        let mut column = exec.column(grid)?;
        for (step, (mut values, q)) in values.into_iter().zip(&q).enumerate() {
            if !values.is_empty() {
                column.put(step, quantile(*q, &mut values));
            }
        }
        out.push(SeriesColumn { labels, column, drops_name });
    }
    // As with groups that are folded.
    out.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(out)
}

fn warn_of_extremes(exec: &Exec<'_>, q: &[f64], span: Span) {
    if q.iter().any(|q| q.is_nan()) {
        check_quantile(exec, f64::NAN, span);
    }
    for extreme in [q.iter().copied().reduce(f64::max), q.iter().copied().reduce(f64::min)].into_iter().flatten() {
        if !extreme.is_nan() {
            check_quantile(exec, extreme, span);
        }
    }
}
