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
    // Whoever adds groups up gets the same sum whichever steps were asked for.
    out.sort_by(|a, b| a.labels.cmp(&b.labels));
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

    // Not inlined into what recurses over the levels of a query: its loops take a lot of stack.
    #[inline(never)]
    fn fold(&mut self, op: AggregateOp, into: &mut Column, column: &Column) {
        match self {
            State::Sum(lost) => fold(
                (into, lost),
                column,
                |sum, _, value| *sum = value,
                |sum, lost, value| (*sum, *lost) = kahan::add(value, *sum, *lost),
            ),
            State::Mean(means) => fold(
                (into, means),
                column,
                |_, mean, value| *mean = KahanMean::starting_at(value),
                |_, mean, value| mean.add(value),
            ),
            State::Variance(moments) => fold((into, moments), column, start_variance, add_to_variance),
            State::Plain => {
                let first = |slot: &mut f64, value| *slot = value;
                match op {
                    AggregateOp::Min => fold_plain(into, column, first, |least, value| {
                        if *least > value || least.is_nan() {
                            *least = value;
                        }
                    }),
                    AggregateOp::Max => fold_plain(into, column, first, |most, value| {
                        if *most < value || most.is_nan() {
                            *most = value;
                        }
                    }),
                    AggregateOp::Count => fold_plain(into, column, |count, _| *count = 1.0, |count, _| *count += 1.0),
                    _ => fold_plain(into, column, |one, _| *one = 1.0, |_, _| {}),
                }
            }
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

/// Folds the floats of a column into a group: the first value of each step starts its state, others are added to it.
fn fold<S>(
    (into, states): (&mut Column, &mut [S]),
    column: &Column,
    start: impl Fn(&mut f64, &mut S, f64),
    add: impl Fn(&mut f64, &mut S, f64),
) {
    let floats = column.float_steps();
    let words = floats.words().iter().zip(into.present.words());
    let parts = into.values.chunks_mut(64).zip(states.chunks_mut(64)).zip(column.values.chunks(64));
    for ((&new, &known), ((slots, states), values)) in words.zip(parts) {
        let all = u64::MAX >> (64 - values.len());
        let steps = slots.iter_mut().zip(states).zip(values);
        // Most series have a sample at every step; a loop that asks for none is the fast one.
        if new & known == all {
            steps.for_each(|((slot, state), value)| add(slot, state, *value));
            continue;
        }
        for (i, ((slot, state), value)) in steps.enumerate() {
            match (new >> i & 1, known >> i & 1) {
                (0, _) => {}
                (_, 0) => start(slot, state, *value),
                _ => add(slot, state, *value),
            }
        }
    }
    into.present.unite(&floats);
}

/// The same without a state beside the value.
fn fold_plain(into: &mut Column, column: &Column, start: impl Fn(&mut f64, f64), add: impl Fn(&mut f64, f64)) {
    // Nothing is allocated for nothings.
    let mut nothing = vec![(); into.values.len()];
    let start = |slot: &mut f64, (): &mut (), value| start(slot, value);
    fold((into, &mut nothing), column, start, |slot, (), value| add(slot, value));
}

/// Welford's method, as in Prometheus without compensation, and not finite once a value was not.
fn start_variance(squares: &mut f64, (count, mean): &mut (f64, f64), value: f64) {
    (*count, *mean) = (1.0, value);
    *squares = if value.is_finite() { 0.0 } else { f64::NAN };
}

fn add_to_variance(squares: &mut f64, (count, mean): &mut (f64, f64), value: f64) {
    *count += 1.0;
    let delta = value - *mean;
    *mean += delta / *count;
    *squares += delta * (value - *mean);
}
