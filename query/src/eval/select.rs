//! Instant selectors: series by series from the store, each decoded into columns and laid over the grid.
//!
//! 1. One select covers the whole grid: from the first step's moment less the lookback to the last step's moment.
//! 2. Per series, a cursor walks the samples while the steps walk forward; each step takes the newest sample in
//!    `(moment - lookback, moment]`. A staleness marker there means that the series has ended: no sample.

use std::sync::Arc;

use marigram_storage::model::histogram::HistogramSample;
use marigram_storage::model::labels::Labels;
use marigram_storage::model::sample::is_stale;
use marigram_storage::model::start::StartTime;

use super::column::Column;
use super::counts::{Looked, Scope};
use super::leaf::{Evaluate, Leaf};
use super::reader::Samples;
use super::{BoxedOperator, EvalContext, Exec, Grid, Operator, SeriesColumn, Sink};
use crate::error::QueryError;
use crate::eval::function::start::start_of;
use crate::eval::function::{extended, histogram_extended};
use crate::eval::notes::{Note, Notes};
use crate::histogram::size_in_samples;
use crate::parse::ast::{Boundary, Span};
use crate::plan::{Moment, Select};

/// What is taken of the selected samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Yield {
    Value,
    /// The sample's own time, seconds; the name stays.
    InfoTime,
    /// The sample's own time, seconds; the name goes.
    SampleTime,
    /// The sample's start timestamp, seconds, 0 where it is not known; the name goes.
    StartTime,
}

impl Yield {
    /// What is taken of a sample whose value is not.
    fn of_time(self, time_ms: i64, starts: &[StartTime]) -> f64 {
        let time_ms = if self == Yield::StartTime { start_of(starts, time_ms) } else { time_ms };
        time_ms as f64 / 1000.0
    }
}

/// An instant selector.
pub(super) struct InstantSelect<'q> {
    exec: &'q Exec<'q>,
    select: &'q Select,
    grid: Grid,
    take: Yield,
    leaf: Option<Leaf<'q, OverGrid>>,
    sink: Option<Arc<dyn Sink>>,
}

impl<'q> InstantSelect<'q> {
    pub(super) fn new(exec: &'q Exec<'q>, select: &'q Select, grid: Grid, take: Yield) -> Self {
        InstantSelect { exec, select, grid, take, leaf: None, sink: None }
    }

    /// The leaf, from the first time on that it is wanted; `None` where there is nothing to read.
    fn opened(&mut self) -> Result<Option<&mut Leaf<'q, OverGrid>>, QueryError> {
        if self.grid.steps == 0 || self.take == Yield::StartTime && !self.exec.options.features.use_start_timestamps {
            return Ok(None);
        }
        if self.leaf.is_none() {
            let mut leaf = self.open()?;
            self.sink.take().into_iter().for_each(|sink| leaf.share(sink));
            self.leaf = Some(leaf);
        }
        Ok(self.leaf.as_mut())
    }

    fn open(&self) -> Result<Leaf<'q, OverGrid>, QueryError> {
        let (exec, select, grid, moment) = (self.exec, self.select, self.grid, self.select.moment);
        let lookback_ms = exec.options.lookback_ms;
        let smoothed = select.boundary == Boundary::Smoothed;
        let after_ms = moment.of(grid.start_ms).saturating_sub(lookback_ms);
        let until_ms = moment.of(grid.last_ms()).saturating_add(if smoothed { lookback_ms } else { 0 });
        let scope = exec.scope(grid);
        let work = OverGrid { grid, scope, moment, smoothed, take: self.take, span: select.span };
        Leaf::open(exec, select, (after_ms, until_ms), work)
    }
}

impl Operator for InstantSelect<'_> {
    fn next(&mut self) -> Result<Option<SeriesColumn>, QueryError> {
        match self.opened()? {
            Some(leaf) => leaf.next(),
            None => Ok(None),
        }
    }

    fn begin(&mut self) {
        if let Ok(Some(leaf)) = self.opened() {
            leaf.begin();
        }
    }

    fn share(&mut self, sink: Arc<dyn Sink>) {
        self.sink = Some(sink);
    }
}

/// An instant selector. Not inlined: queries are opened level by level, and a level should take little of the stack.
#[inline(never)]
pub(super) fn open<'q>(exec: &'q Exec<'q>, select: &'q Select, grid: Grid, take: Yield) -> BoxedOperator<'q> {
    Box::new(InstantSelect::new(exec, select, grid, take))
}

/// Lays the samples of a series over the grid.
struct OverGrid {
    grid: Grid,
    scope: Scope,
    moment: Moment,
    smoothed: bool,
    take: Yield,
    /// Where the selector stands.
    span: Span,
}

impl Evaluate for OverGrid {
    type Scratch = ();

    const STEP_COST: u64 = 2;

    fn steps(&self) -> usize {
        self.grid.steps
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn evaluate(
        &self,
        eval: &EvalContext,
        (): &mut (),
        labels: &Labels,
        samples: Samples<'_>,
    ) -> Result<(Option<SeriesColumn>, Looked), QueryError> {
        let &OverGrid { grid, ref scope, moment, smoothed, take, span } = self;
        let lookback_ms = eval.options.lookback_ms;
        let mut column = eval.column(grid)?;
        if smoothed && take == Yield::Value && !samples.histograms.is_empty() {
            let mut notes = Notes::default();
            smooth_histograms(samples, grid, moment, lookback_ms, &mut column, &mut notes)?;
            notes.write(eval, labels.metric_name().unwrap_or(""), span);
        } else if smoothed && take == Yield::Value {
            smooth((samples.times, samples.values), grid, moment, lookback_ms, &mut column);
        } else if take == Yield::Value && samples.histograms.is_empty() {
            newest_floats((samples.times, samples.values), grid, moment, lookback_ms, &mut column);
        } else {
            newest_in_lookback(samples, grid, moment, lookback_ms, take, &mut column)?;
        }
        let mut looked = scope.looked(grid.steps);
        if looked.tells_steps() || column.has_histograms() {
            column.float_steps().iter().for_each(|step| looked.at(step, 1, 1));
            for (step, histogram) in column.histograms() {
                let size = size_in_samples(histogram) as u64;
                looked.at(step, size, size);
            }
        } else {
            let found = column.present.count() as u64;
            looked.somewhere(found, found);
        }
        if column.present.is_empty() {
            return Ok((None, looked));
        }
        let mut series = SeriesColumn::new(labels.clone(), column);
        if matches!(take, Yield::SampleTime | Yield::StartTime) {
            series.drop_name(eval);
        }
        Ok((Some(series), looked))
    }
}

/// Lays samples over a grid: at each step the value on the line between the samples around the step's moment, none of which
/// may be further away than the lookback.
fn smooth((times, values): (&[i64], &[f64]), grid: Grid, moment: Moment, lookback_ms: i64, column: &mut Column) {
    let (times, values): (Vec<i64>, Vec<f64>) =
        times.iter().zip(values).filter(|(_, value)| !is_stale(**value)).map(|(t, v)| (*t, *v)).unzip();
    for step in 0..grid.steps {
        let moment_ms = moment.of(grid.time_ms(step));
        let from = times.partition_point(|t| *t <= moment_ms.saturating_sub(lookback_ms));
        let to = times.partition_point(|t| *t <= moment_ms.saturating_add(lookback_ms));
        if let (Some(times), Some(values)) = (times.get(from..to), values.get(from..to))
            && let Some(value) = extended::smoothed_at(times, values, moment_ms)
        {
            column.put(step, value);
        }
    }
}

/// The same of a series that has histograms. Where there are floats, too, in the lookback on either side, there is no result.
fn smooth_histograms(
    samples: Samples<'_>,
    grid: Grid,
    moment: Moment,
    lookback_ms: i64,
    column: &mut Column,
    notes: &mut Notes,
) -> Result<(), QueryError> {
    let (times, values): (Vec<i64>, Vec<f64>) =
        samples.times.iter().zip(samples.values).filter(|(_, value)| !is_stale(**value)).unzip();
    let histograms: Vec<&HistogramSample> =
        samples.histograms.iter().filter(|sample| !sample.histogram.is_stale()).collect();
    for step in 0..grid.steps {
        let moment_ms = moment.of(grid.time_ms(step));
        let (after_ms, until_ms) = (moment_ms.saturating_sub(lookback_ms), moment_ms.saturating_add(lookback_ms));
        let bounds = |from: usize, to: usize| from..to.max(from);
        let floats = bounds(times.partition_point(|t| *t <= after_ms), times.partition_point(|t| *t <= until_ms));
        let near = bounds(
            histograms.partition_point(|sample| sample.timestamp_ms <= after_ms),
            histograms.partition_point(|sample| sample.timestamp_ms <= until_ms),
        );
        let near = histograms.get(near).unwrap_or_default();
        let (Some(times), Some(values)) = (times.get(floats.clone()), values.get(floats)) else { continue };
        match (times.is_empty(), near.is_empty()) {
            (true, true) => {}
            (false, false) => notes.add(Note::MixedRange),
            (false, true) => {
                if let Some(value) = extended::smoothed_at(times, values, moment_ms) {
                    column.put(step, value);
                }
            }
            (true, false) => {
                if let Some(histogram) = histogram_extended::smoothed_at(near, moment_ms, notes) {
                    column.put_histogram(step, histogram)?;
                }
            }
        }
    }
    Ok(())
}

/// Lays floats over a grid, as [`newest_in_lookback`] does.
fn newest_floats((times, values): (&[i64], &[f64]), grid: Grid, moment: Moment, lookback_ms: i64, column: &mut Column) {
    /// So many samples are passed one by one, which is faster than a search; most steps pass fewer.
    const NEAR: usize = 8;
    let mut after = 0;
    column.fill(|step| {
        let moment_ms = moment.of(grid.time_ms(step));
        let ahead = times.get(after..).unwrap_or_default();
        let near = ahead.iter().take(NEAR).position(|t| *t > moment_ms);
        after += near.unwrap_or_else(|| ahead.partition_point(|t| *t <= moment_ms));
        let newest = after.checked_sub(1)?;
        let (&time_ms, &value) = times.get(newest).zip(values.get(newest))?;
        (time_ms > moment_ms.saturating_sub(lookback_ms) && !is_stale(value)).then_some(value)
    });
}

/// Lays samples over a grid: at each step the newest one in the lookback before the step's moment, unless it is a
/// staleness marker.
fn newest_in_lookback(
    samples: Samples<'_>,
    grid: Grid,
    moment: Moment,
    lookback_ms: i64,
    take: Yield,
    column: &mut Column,
) -> Result<(), QueryError> {
    let Samples { times, values, histograms, starts } = samples;
    let (mut after, mut after_histogram) = (0, 0);
    for step in 0..grid.steps {
        let moment_ms = moment.of(grid.time_ms(step));
        while times.get(after).is_some_and(|&t| t <= moment_ms) {
            after += 1;
        }
        let oldest_ms = moment_ms.saturating_sub(lookback_ms);
        let newest_ms = after.checked_sub(1).and_then(|newest| times.get(newest)).copied();
        if !histograms.is_empty() {
            while histograms.get(after_histogram).is_some_and(|sample| sample.timestamp_ms <= moment_ms) {
                after_histogram += 1;
            }
            let newest = after_histogram.checked_sub(1).and_then(|newest| histograms.get(newest));
            if let Some(newest) = newest.filter(|newest| newest_ms.is_none_or(|float| float < newest.timestamp_ms)) {
                if newest.timestamp_ms > oldest_ms && !newest.histogram.is_stale() {
                    match take {
                        Yield::Value => column.put_histogram(step, Arc::clone(&newest.histogram))?,
                        Yield::InfoTime => {
                            return Err(QueryError::execution("this should be an info metric, with float samples"));
                        }
                        Yield::SampleTime | Yield::StartTime => {
                            column.put(step, take.of_time(newest.timestamp_ms, starts));
                        }
                    }
                }
                continue;
            }
        }
        let (Some(time_ms), Some(&value)) = (newest_ms, after.checked_sub(1).and_then(|at| values.get(at))) else {
            continue;
        };
        if time_ms > oldest_ms && !is_stale(value) {
            column.put(step, if take == Yield::Value { value } else { take.of_time(time_ms, starts) });
        }
    }
    Ok(())
}
