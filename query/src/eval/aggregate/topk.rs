//! `topk` and `bottomk`: at each step, the `k` series of a group with the greatest (least) values, with all their labels.
//!
//! Which of several equal values is kept depends on the order in which Prometheus meets the series and on the shape of
//! its heap, so both are as there: series by labels, a binary heap with the worst value on top.

use super::{Groups, ignore_histograms, parameter};
use crate::error::QueryError;
use crate::eval::column::{Column, Steps};
use crate::eval::{Exec, Grid, SeriesColumn, open};
use crate::number;
use crate::parse::ast::AggregateOp;
use crate::plan::{AggregateNode, ScalarNode};

/// A candidate: its value and which series it is of.
type Candidate = (f64, usize);

/// Evaluates `topk(k, v)` or `bottomk(k, v)`.
pub(super) fn evaluate(
    exec: &Exec<'_>,
    node: &AggregateNode,
    k: &ScalarNode,
    mut groups: Groups,
    grid: Grid,
) -> Result<Vec<SeriesColumn>, QueryError> {
    let k = parameter(exec, k, grid)?;
    check_k(&k)?;
    if k.iter().all(|k| *k < 1.0) && !exec.counts.tells_steps() {
        return Ok(Vec::new());
    }
    let mut asked = Steps::none(grid.steps);
    k.iter().enumerate().filter(|(_, k)| **k >= 1.0).for_each(|(step, _)| asked.set(step));
    let mut series: Vec<SeriesColumn> = Vec::new();
    let mut input = open(exec, &node.input, grid)?;
    while let Some(mut next) = input.next()? {
        exec.check()?;
        next.column.present.intersect(&asked);
        ignore_histograms(exec, node.op, &mut next.column, node.span);
        exec.keep_labels(&next.labels)?;
        series.push(next);
    }
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    let mut members: Vec<Vec<usize>> = Vec::new();
    for (i, one) in series.iter().enumerate() {
        let (at, new) = groups.find(&one.labels);
        if new.is_some() {
            members.push(Vec::new());
        }
        if let Some(group) = members.get_mut(at) {
            group.push(i);
        }
    }
    let bottom = node.op == AggregateOp::Bottomk;
    let mut kept: Vec<Steps> = vec![Steps::none(grid.steps); series.len()];
    for group in &members {
        for (step, k) in k.iter().enumerate() {
            exec.check()?;
            for (_, i) in best_at(step, *k, group, &series, bottom) {
                if let Some(kept) = kept.get_mut(i) {
                    kept.set(step);
                }
            }
        }
    }
    Ok(ordered(series, kept, &members, bottom, &k))
}

/// The series with only the steps at which they are among the best.
fn ordered(
    series: Vec<SeriesColumn>,
    kept: Vec<Steps>,
    members: &[Vec<usize>],
    bottom: bool,
    k: &[f64],
) -> Vec<SeriesColumn> {
    // An instant result is ordered by value within each group; a range result is ordered by labels in the end.
    let order: Vec<usize> = match k {
        [k] => members.iter().flat_map(|group| best_at(0, *k, group, &series, bottom)).map(|(_, i)| i).collect(),
        _ => (0..series.len()).collect(),
    };
    let mut series: Vec<Option<SeriesColumn>> = series
        .into_iter()
        .zip(kept)
        .map(|(mut one, kept)| {
            one.column.present = kept;
            (!one.column.present.is_empty()).then_some(one)
        })
        .collect();
    order.into_iter().filter_map(|i| series.get_mut(i).and_then(Option::take)).collect()
}

pub(super) fn check_k(k: &[f64]) -> Result<(), QueryError> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if k.iter().any(|k| k.is_nan()) {
        return Err(QueryError::execution("Parameter value is NaN"));
    }
    let (least, most) = k.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, m), k| (l.min(*k), m.max(*k)));
    if most >= 1.0 && least <= -LIMIT {
        return Err(QueryError::execution(format!("Scalar value {} underflows int64", number::go_g(least))));
    }
    if most >= LIMIT {
        return Err(QueryError::execution(format!("Scalar value {} overflows int64", number::go_g(most))));
    }
    Ok(())
}

/// The best `k` of a group at a step, best first.
fn best_at(step: usize, k: f64, group: &[usize], series: &[SeriesColumn], bottom: bool) -> Vec<Candidate> {
    let k = if k < 1.0 { return Vec::new() } else { (k as usize).min(series.len()) };
    let mut heap: Vec<Candidate> = Vec::with_capacity(k.min(group.len()));
    for &i in group {
        let Some(value) = series.get(i).and_then(|one| at(&one.column, step)) else { continue };
        if heap.len() < k {
            heap.push((value, i));
            let last = heap.len() - 1;
            sift_up(&mut heap, last, bottom);
        } else if let Some(top) = heap.first_mut() {
            let better = if bottom { top.0 > value } else { top.0 < value };
            if better || top.0.is_nan() && !value.is_nan() {
                *top = (value, i);
                sift_down(&mut heap, bottom);
            }
        }
    }
    // Stable, so that equal values stay in the heap's order.
    heap.sort_by(|a, b| match (worse(a.0, b.0, bottom), worse(b.0, a.0, bottom)) {
        (true, false) => std::cmp::Ordering::Greater,
        (false, true) => std::cmp::Ordering::Less,
        _ => std::cmp::Ordering::Equal,
    });
    heap
}

fn at(column: &Column, step: usize) -> Option<f64> {
    column.present.get(step).then(|| column.values.get(step).copied()).flatten()
}

/// Whether `a` is a worse value than `b`, NaN being the worst.
fn worse(a: f64, b: f64, bottom: bool) -> bool {
    if a.is_nan() {
        return true;
    }
    if bottom { a > b } else { a < b }
}

fn sift_up(heap: &mut [Candidate], mut at: usize, bottom: bool) {
    while at > 0 {
        let parent = (at - 1) / 2;
        if !worse(heap[at].0, heap[parent].0, bottom) {
            return;
        }
        heap.swap(at, parent);
        at = parent;
    }
}

fn sift_down(heap: &mut [Candidate], bottom: bool) {
    let mut at = 0;
    loop {
        let (left, right) = (2 * at + 1, 2 * at + 2);
        if left >= heap.len() {
            return;
        }
        let child = if right < heap.len() && worse(heap[right].0, heap[left].0, bottom) { right } else { left };
        if !worse(heap[child].0, heap[at].0, bottom) {
            return;
        }
        heap.swap(at, child);
        at = child;
    }
}

#[cfg(test)]
mod tests {
    use marigram_storage::model::labels::Labels;

    use super::*;

    fn best(k: f64, values: &[f64], bottom: bool) -> Vec<f64> {
        let limit = crate::eval::memory::SampleLimit::new(1000);
        let series: Vec<SeriesColumn> = values
            .iter()
            .map(|&value| {
                let mut column = Column::empty(1, limit.hold(1).unwrap());
                column.put(0, value);
                SeriesColumn::new(Labels::default(), column)
            })
            .collect();
        let group: Vec<usize> = (0..values.len()).collect();
        best_at(0, k, &group, &series, bottom).into_iter().map(|(value, _)| value).collect()
    }

    #[test]
    fn the_best_come_first_and_nan_last() {
        assert_eq!(best(2.0, &[3.0, 9.0, f64::NAN, 7.0], false), [9.0, 7.0]);
        assert_eq!(best(2.0, &[3.0, 9.0, f64::NAN, 7.0], true), [3.0, 7.0]);
        let all = best(9.0, &[f64::NAN, 1.0, 2.0], false);
        assert_eq!(all[..2], [2.0, 1.0]);
        assert!(all[2].is_nan());
        assert!(best(0.5, &[1.0], false).is_empty());
    }
}
