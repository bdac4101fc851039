//! `limitk` and `limit_ratio`: some series of a vector, whatever their values are.
//!
//! `limitk` takes the first of each group: in the order that an instant vector has by `sort` or `topk`, else in the order of
//! labels. `limit_ratio` takes a series by the hash of its labels, so that one ratio always takes the same series, and a ratio
//! and its negative complement divide a vector between them.

use marigram_storage::model::labels::Labels;
use xxhash_rust::xxh64::xxh64;

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
    if grid.steps > 1 || !node.input.is_ordered() {
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
    }
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

/// The hash of the labels as a number in `0..=1`, Prometheus' own: XXH64 of names and values, each behind its length.
fn hash_offset(labels: &Labels) -> f64 {
    let mut bytes = Vec::with_capacity(labels.as_bytes().len());
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        match text.len() {
            length @ 0..0xff => bytes.push(length as u8),
            _ => bytes.extend([0xff].iter().chain(text.len().to_le_bytes().iter().take(3))),
        }
        bytes.extend_from_slice(text.as_bytes());
    }
    xxh64(&bytes, 0) as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_has_the_place_that_prometheus_gives_it() {
        // As `labels.Labels.Hash` of Prometheus 3.14 has them.
        let long = |bytes: usize| vec![("a", "x".repeat(bytes))];
        let up = vec![("__name__", "up".to_owned()), ("job", "api".to_owned())];
        for (labels, hash) in [
            (up, 0xea45_4d03_9365_4eec_u64),
            (vec![], 0xef46_db37_51d8_e999),
            (long(254), 0xd595_c508_2328_667a),
            (long(255), 0x6cdb_059d_acbe_544e),
            (long(70_000), 0xd5a1_5f08_6eb2_59ea),
        ] {
            let labels = Labels::from_pairs(labels.iter().map(|(name, value)| (*name, value.as_str())));
            assert_eq!(hash_offset(&labels), hash as f64 / u64::MAX as f64);
        }
    }
}
