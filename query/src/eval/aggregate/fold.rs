//! Aggregations that fold: a group holds a few numbers per step, however many series it has.

use super::histograms::HistogramFold;
use super::{Groups, ignore_histograms};
use crate::error::QueryError;
use crate::eval::column::Column;
use crate::eval::kahan::{self, KahanMean};
use crate::eval::{Exec, Grid, Operator, SeriesColumn};
use crate::parse::ast::AggregateOp;
use crate::plan::AggregateNode;

/// A group under way: the first column is its result in the end.
struct Group<'q> {
    series: SeriesColumn,
    state: State,
    histograms: Option<HistogramFold<'q>>,
}

/// What a group remembers per step besides its value.
enum State {
    /// Nothing (`min`, `max`, `group`, `count`).
    Plain,
    /// What the sum lost.
    Sum(Vec<f64>),
    /// A mean per step.
    Mean(Vec<KahanMean>),
    /// Count and mean of Welford's method.
    Variance(Vec<(f64, f64)>),
}

/// Drains the input into groups.
pub(super) fn evaluate(
    exec: &Exec<'_>,
    node: &AggregateNode,
    input: &mut dyn Operator,
    mut groups: Groups<'_>,
    grid: Grid,
) -> Result<Vec<SeriesColumn>, QueryError> {
    let op = node.op;
    let mut states: Vec<Group<'_>> = Vec::new();
    while let Some(mut series) = input.next()? {
        exec.check()?;
        match op {
            AggregateOp::Sum | AggregateOp::Avg => {}
            AggregateOp::Count | AggregateOp::Group => series.column.forget_kinds(),
            _ => ignore_histograms(exec, op, &mut series.column, node.input_span),
        }
        if series.column.present.is_empty() {
            continue;
        }
        let (at, new) = groups.find(&series.labels);
        if let Some(labels) = new {
            exec.keep_labels(&labels)?;
            exec.keep_bytes(State::step_bytes(op) * grid.steps)?;
            let series = SeriesColumn::new(labels, exec.column(grid)?);
            states.push(Group { series, state: State::of(op, grid), histograms: None });
        }
        let Some(group) = states.get_mut(at) else { continue };
        group.series.drops_name |= series.drops_name;
        group.state.fold(op, &mut group.series.column, &series.column);
        if series.column.has_histograms() {
            let histograms = match &mut group.histograms {
                Some(histograms) => histograms,
                none => none.insert(HistogramFold::new(exec, node, grid)?),
            };
            histograms.fold(&series)?;
        }
    }
    let mut out = Vec::with_capacity(states.len());
    for Group { series, state, histograms } in states {
        let mut series = state.finish(op, series);
        if let Some(histograms) = histograms {
            histograms.finish(&mut series.column)?;
        }
        if !series.column.present.is_empty() {
            out.push(series);
        }
    }
    Ok(out)
}

impl State {
    /// What [`State::of`] takes per step.
    fn step_bytes(op: AggregateOp) -> usize {
        match op {
            AggregateOp::Sum => size_of::<f64>(),
            AggregateOp::Avg => size_of::<KahanMean>(),
            AggregateOp::Stddev | AggregateOp::Stdvar => size_of::<(f64, f64)>(),
            _ => 0,
        }
    }

    fn of(op: AggregateOp, grid: Grid) -> Self {
        match op {
            AggregateOp::Sum => State::Sum(vec![0.0; grid.steps]),
            AggregateOp::Avg => State::Mean(vec![KahanMean::starting_at(0.0); grid.steps]),
            AggregateOp::Stddev | AggregateOp::Stdvar => State::Variance(vec![(0.0, 0.0); grid.steps]),
            _ => State::Plain,
        }
    }

    fn fold(&mut self, op: AggregateOp, into: &mut Column, column: &Column) {
        match self {
            State::Sum(lost) => fold_sum(into, lost, column),
            State::Mean(means) => fold_mean(into, means, column),
            State::Variance(moments) => fold_variance(into, moments, column),
            State::Plain => match op {
                AggregateOp::Min => fold_plain(
                    into,
                    column,
                    |value| value,
                    |least, value| {
                        if least > value || least.is_nan() { value } else { least }
                    },
                ),
                AggregateOp::Max => fold_plain(
                    into,
                    column,
                    |value| value,
                    |most, value| {
                        if most < value || most.is_nan() { value } else { most }
                    },
                ),
                AggregateOp::Count => fold_plain(into, column, |_| 1.0, |count, _| count + 1.0),
                _ => fold_plain(into, column, |_| 1.0, |one, _| one),
            },
        }
    }

    fn finish(self, op: AggregateOp, mut series: SeriesColumn) -> SeriesColumn {
        let values = &mut series.column.values;
        match self {
            State::Plain => {}
            State::Sum(lost) => values.iter_mut().zip(lost).for_each(|(sum, lost)| *sum += lost),
            State::Mean(means) => values.iter_mut().zip(means).for_each(|(value, mean)| *value = mean.mean()),
            State::Variance(moments) => values.iter_mut().zip(moments).for_each(|(squares, (count, _))| {
                let variance = *squares / count;
                *squares = if op == AggregateOp::Stddev { variance.sqrt() } else { variance };
            }),
        }
        series
    }
}

fn fold_plain(into: &mut Column, column: &Column, first: impl Fn(f64) -> f64, next: impl Fn(f64, f64) -> f64) {
    for (step, value) in column.samples() {
        let Some(slot) = into.values.get_mut(step) else { continue };
        *slot = if into.present.get(step) { next(*slot, value) } else { first(value) };
    }
    into.present.unite(&column.float_steps());
}

fn fold_sum(into: &mut Column, lost: &mut [f64], column: &Column) {
    for (step, value) in column.samples() {
        let (Some(sum), Some(lost)) = (into.values.get_mut(step), lost.get_mut(step)) else { continue };
        if into.present.get(step) {
            (*sum, *lost) = kahan::add(value, *sum, *lost);
        } else {
            *sum = value;
        }
    }
    into.present.unite(&column.float_steps());
}

fn fold_mean(into: &mut Column, means: &mut [KahanMean], column: &Column) {
    for (step, value) in column.samples() {
        let Some(mean) = means.get_mut(step) else { continue };
        if into.present.get(step) {
            mean.add(value);
        } else {
            *mean = KahanMean::starting_at(value);
        }
    }
    into.present.unite(&column.float_steps());
}

/// Welford's method, as in Prometheus without compensation, and not finite once a value was not.
fn fold_variance(into: &mut Column, moments: &mut [(f64, f64)], column: &Column) {
    for (step, value) in column.samples() {
        let (Some(squares), Some((count, mean))) = (into.values.get_mut(step), moments.get_mut(step)) else { continue };
        if into.present.get(step) {
            *count += 1.0;
            let delta = value - *mean;
            *mean += delta / *count;
            *squares += delta * (value - *mean);
        } else {
            (*count, *mean) = (1.0, value);
            *squares = if value.is_finite() { 0.0 } else { f64::NAN };
        }
    }
    into.present.unite(&column.float_steps());
}
