//! Aggregations that fold: a group holds a few numbers per step, however many series it has.

use std::sync::Arc;

use marigram_storage::model::labels::Labels;
use parking_lot::Mutex;

use super::histograms::HistogramFold;
use super::{Groups, ignore_histograms};
use crate::error::QueryError;
use crate::eval::column::Column;
use crate::eval::kahan::{self, KahanMean};
use crate::eval::{Exec, Grid, Kept, Operator, SampleLimit, SeriesColumn, Sink};
use crate::parse::ast::AggregateOp;
use crate::plan::AggregateNode;

/// The groups under way. Other threads that evaluate series fold them, too, each when it is its turn.
struct Fold {
    op: AggregateOp,
    grid: Grid,
    groups: Groups,
    /// By their numbers.
    states: Vec<Group>,
    limit: SampleLimit,
    kept: Kept,
}

/// A group under way: the column is its result in the end.
struct Group {
    series: SeriesColumn,
    state: State,
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
    groups: Groups,
    grid: Grid,
) -> Result<Vec<SeriesColumn>, QueryError> {
    let op = node.op;
    let (limit, kept) = (exec.limit.clone(), exec.kept.clone());
    let fold = Fold { op, grid, groups, states: Vec::new(), limit, kept };
    let fold = Arc::new(Mutex::new(fold));
    input.share(Arc::clone(&fold) as Arc<dyn Sink>);
    let mut histograms: Vec<Option<HistogramFold<'_>>> = Vec::new();
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
        let group = fold.lock().add(&series)?;
        if series.column.has_histograms() {
            if histograms.len() <= group {
                histograms.resize_with(group + 1, || None);
            }
            if let Some(slot) = histograms.get_mut(group) {
                let histograms = match slot {
                    Some(histograms) => histograms,
                    none => none.insert(HistogramFold::new(exec, node, grid)?),
                };
                histograms.fold(&series)?;
            }
        }
    }
    // The input has ended, and nobody works for it any more.
    let states = std::mem::take(&mut fold.lock().states);
    let mut out = Vec::with_capacity(states.len());
    let histograms = histograms.into_iter().chain(std::iter::repeat_with(|| None));
    for (Group { series, state }, histograms) in states.into_iter().zip(histograms) {
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

impl Fold {
    /// Folds the floats of a series into its group, which may be a new one; the number of that.
    ///
    /// # Errors
    /// There is no room for a new group; nothing has changed.
    fn add(&mut self, series: &SeriesColumn) -> Result<usize, QueryError> {
        let number = match self.groups.known(&series.labels) {
            Some(number) => number,
            None => self.add_group(self.groups.labels_of(&series.labels))?,
        };
        if let Some(group) = self.states.get_mut(number) {
            group.series.drops_name |= series.drops_name;
            group.state.fold(self.op, &mut group.series.column, &series.column);
        }
        Ok(number)
    }

    fn add_group(&mut self, labels: Labels) -> Result<usize, QueryError> {
        let (op, steps) = (self.op, self.grid.steps);
        self.kept.keep_labels(&labels)?;
        self.kept.keep_bytes(State::step_bytes(op) * steps)?;
        let column = Column::empty(steps, self.limit.hold(steps)?);
        self.states.push(Group { series: SeriesColumn::new(labels.clone(), column), state: State::of(op, self.grid) });
        Ok(self.groups.add(labels))
    }
}

impl Sink for Mutex<Fold> {
    fn put(&self, series: &SeriesColumn) -> bool {
        !series.column.has_histograms() && self.lock().add(series).is_ok()
    }
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
