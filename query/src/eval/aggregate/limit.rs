//! `limitk` and `limit_ratio`: some series of a vector, whatever their values are.
//!
//! `limitk` takes the first of each group in the order of labels. `limit_ratio` takes a series by the hash of its labels,
//! so that one ratio always takes the same series, and a ratio and its negative complement divide a vector between them.

use marigram_storage::model::labels::Labels;

use super::topk::check_k;
use super::{Groups, parameter};
use crate::error::QueryError;
use crate::eval::column::Steps;
use crate::eval::{Exec, Grid, SeriesColumn, open};
use crate::number;
use crate::parse::ast::Span;
use crate::plan::{AggregateNode, ScalarNode};

/// Evaluates `limitk(k, v)`.
pub(super) fn limitk(
    exec: &Exec<'_>,
    node: &AggregateNode,
    k: &ScalarNode,
    mut groups: Groups,
    grid: Grid,
) -> Result<Vec<SeriesColumn>, QueryError> {
    let k = parameter(exec, k, grid)?;
    check_k(&k)?;
    let mut series = taken_in(exec, node, grid)?;
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    // How many each group has taken at each step.
    let mut taken: Vec<Vec<f64>> = Vec::new();
    let mut out = Vec::new();
    for mut one in series {
        exec.check()?;
        let (at, new) = groups.find(&one.labels);
        if new.is_some() {
            exec.keep_bytes(8 * grid.steps)?;
            taken.push(vec![0.0; grid.steps]);
        }
        let Some(taken) = taken.get_mut(at) else { continue };
        for ((step, taken), k) in taken.iter_mut().enumerate().zip(&k) {
            if !one.column.present.get(step) {
                continue;
            }
            if *taken + 1.0 <= *k {
                *taken += 1.0;
            } else {
                one.column.present.unset(step);
            }
        }
        if !one.column.present.is_empty() {
            out.push(one);
        }
    }
    Ok(out)
}

/// Evaluates `limit_ratio(r, v)`.
pub(super) fn limit_ratio(
    exec: &Exec<'_>,
    node: &AggregateNode,
    (ratio, span): (&ScalarNode, Span),
    grid: Grid,
) -> Result<Vec<SeriesColumn>, QueryError> {
    let mut ratios = parameter(exec, ratio, grid)?;
    if ratios.iter().any(|ratio| ratio.is_nan()) {
        return Err(QueryError::execution("Ratio value is NaN"));
    }
    for (extreme, cap) in
        [(ratios.iter().copied().reduce(f64::max), 1.0), (ratios.iter().copied().reduce(f64::min), -1.0)]
    {
        if let Some(extreme) = extreme.filter(|extreme| extreme * cap > 1.0) {
            let (got, cap) = (number::go_g(extreme), number::go_g(cap));
            let text = format!("ratio value should be between -1 and 1, got {got}, capping to {cap}");
            exec.remarks.borrow_mut().warn(text, span);
        }
    }
    ratios.iter_mut().for_each(|ratio| *ratio = ratio.clamp(-1.0, 1.0));
    let mut out = Vec::new();
    for mut one in taken_in(exec, node, grid)? {
        let offset = hash_offset(&one.labels);
        let mut kept = Steps::none(grid.steps);
        let takes = |ratio: f64| if ratio >= 0.0 { offset < ratio } else { offset >= 1.0 + ratio };
        ratios.iter().enumerate().filter(|(_, ratio)| takes(**ratio)).for_each(|(step, _)| kept.set(step));
        one.column.present.intersect(&kept);
        if !one.column.present.is_empty() {
            out.push(one);
        }
    }
    Ok(out)
}

fn taken_in(exec: &Exec<'_>, node: &AggregateNode, grid: Grid) -> Result<Vec<SeriesColumn>, QueryError> {
    let mut series = Vec::new();
    let mut input = open(exec, &node.input, grid)?;
    while let Some(next) = input.next()? {
        exec.check()?;
        exec.keep_labels(&next.labels)?;
        series.push(next);
    }
    Ok(series)
}

/// The hash of the labels as a number in `0..1`.
fn hash_offset(labels: &Labels) -> f64 {
    /// As many bits as an `f64` holds exactly.
    const BITS: u32 = 53;
    (labels.id().0 >> (128 - BITS)) as f64 / (1u64 << BITS) as f64
}
