//! Instant selectors: series by series from the store, each decoded into columns and laid over the grid.
//!
//! 1. One select covers the whole grid: from the first step's moment less the lookback to the last step's moment.
//! 2. Per series, a cursor walks the samples while the steps walk forward; each step takes the newest sample in
//!    `(moment - lookback, moment]`. A staleness marker there means that the series has ended: no sample.

use std::sync::Arc;

use marigram_storage::model::histogram::{Histogram, HistogramSample, ResetHint};
use marigram_storage::model::sample::is_stale;
use marigram_storage::model::start::StartTime;
use marigram_storage::model::time::TimeRange;
use marigram_storage::select::{SelectedSeries, SeriesBatch, SeriesDecoder, SeriesStream};

use super::column::Column;
use super::{Exec, Grid, Operator, SeriesColumn};
use crate::error::QueryError;
use crate::eval::function::start::start_of;
use crate::eval::function::{extended, histogram_extended};
use crate::eval::notes::{Note, Notes};
use crate::histogram::{detect_reset, size_in_samples};
use crate::parse::ast::Boundary;
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

/// Series after series out of a stream of batches.
pub(super) struct SeriesReader {
    stream: Box<dyn SeriesStream>,
    range: TimeRange,
    batch: Option<(SeriesBatch, usize)>,
    decoder: SeriesDecoder,
    only_statistics: bool,
}

impl Yield {
    /// What is taken of a sample whose value is not.
    fn of_time(self, time_ms: i64, starts: &[StartTime]) -> f64 {
        let time_ms = if self == Yield::StartTime { start_of(starts, time_ms) } else { time_ms };
        time_ms as f64 / 1000.0
    }
}

/// The decoded samples of a series: floats, and histograms at other times; start timestamps of some of them.
#[derive(Clone, Copy)]
pub(super) struct Samples<'s> {
    pub(super) times: &'s [i64],
    pub(super) values: &'s [f64],
    pub(super) histograms: &'s [HistogramSample],
    pub(super) starts: &'s [StartTime],
}

/// The histograms without their buckets, but with the hints that comparing the buckets gives.
fn statistics(histograms: &[HistogramSample]) -> Vec<HistogramSample> {
    let mut before: Option<&Histogram> = None;
    let mut stripped = Vec::with_capacity(histograms.len());
    for HistogramSample { timestamp_ms, histogram } in histograms {
        let mut hint = histogram.hint;
        if !histogram.is_stale() {
            if let (ResetHint::Unknown, Some(before)) = (hint, before) {
                hint = if detect_reset(histogram, before) { ResetHint::Reset } else { ResetHint::NotReset };
            }
            before = Some(histogram);
        }
        let (schema, count, sum) = (histogram.schema, histogram.count, histogram.sum);
        let histogram = Arc::new(Histogram { hint, schema, count, sum, ..Histogram::default() });
        stripped.push(HistogramSample { timestamp_ms: *timestamp_ms, histogram });
    }
    stripped
}

impl SeriesReader {
    /// Opens a select over `(after_ms, until_ms]`.
    pub(super) fn open(exec: &Exec<'_>, select: &Select, after_ms: i64, until_ms: i64) -> Result<Self, QueryError> {
        let (stream, range) = exec.select(&select.matchers, after_ms, until_ms)?;
        let only_statistics = select.only_statistics;
        Ok(SeriesReader { stream, range, batch: None, decoder: SeriesDecoder::default(), only_statistics })
    }

    /// Decodes the next series and hands its samples to `take`; `None` at the end.
    pub(super) fn next<T>(
        &mut self,
        exec: &Exec<'_>,
        take: impl FnOnce(&SelectedSeries, Samples<'_>) -> Result<T, QueryError>,
    ) -> Result<Option<T>, QueryError> {
        exec.check()?;
        loop {
            if let Some((batch, next)) = &mut self.batch
                && let Some(series) = batch.series.get(*next)
            {
                *next += 1;
                let (decoded, starts) = self.decoder.decode_with_starts(&series.chunks, self.range)?;
                let (times, values, histograms) = decoded;
                // Decoded, the samples of a long range can take much more memory than the chunks that the batch reserved.
                let samples = times.len() + histograms.iter().map(|h| size_in_samples(&h.histogram)).sum::<usize>();
                let _decoded = exec.context.reserve(16 * samples as u64)?;
                if !self.only_statistics || histograms.is_empty() {
                    return take(series, Samples { times, values, histograms, starts }).map(Some);
                }
                let histograms = &statistics(histograms);
                return take(series, Samples { times, values, histograms, starts }).map(Some);
            }
            // The old batch goes first: its memory counts against the budget of the next.
            self.batch = None;
            match self.stream.next_batch()? {
                Some(batch) => self.batch = Some((batch, 0)),
                None => return Ok(None),
            }
        }
    }
}

/// An instant selector.
pub(super) struct InstantSelect<'q> {
    exec: &'q Exec<'q>,
    select: &'q Select,
    grid: Grid,
    take: Yield,
    reader: Option<SeriesReader>,
}

impl<'q> InstantSelect<'q> {
    pub(super) fn new(exec: &'q Exec<'q>, select: &'q Select, grid: Grid, take: Yield) -> Self {
        InstantSelect { exec, select, grid, take, reader: None }
    }
}

impl Operator for InstantSelect<'_> {
    fn next(&mut self) -> Result<Option<SeriesColumn>, QueryError> {
        let (exec, grid, moment) = (self.exec, self.grid, self.select.moment);
        if grid.steps == 0 || self.take == Yield::StartTime && !exec.use_start_timestamps {
            return Ok(None);
        }
        if self.reader.is_none() {
            let after_ms = moment.of(grid.start_ms).saturating_sub(exec.lookback_ms);
            let beyond_ms = if self.select.boundary == Boundary::Smoothed { exec.lookback_ms } else { 0 };
            let until_ms = moment.of(grid.last_ms()).saturating_add(beyond_ms);
            self.reader = Some(SeriesReader::open(exec, self.select, after_ms, until_ms)?);
        }
        let Some(reader) = &mut self.reader else { return Ok(None) };
        let (take, smoothed) = (self.take, self.select.boundary == Boundary::Smoothed);
        while let Some(found) = reader.next(exec, |series, samples| {
            let mut column = exec.column(grid)?;
            if smoothed && take == Yield::Value && !samples.histograms.is_empty() {
                let mut notes = Notes::default();
                smooth_histograms(samples, grid, moment, exec.lookback_ms, &mut column, &mut notes)?;
                notes.write(exec, series.labels.metric_name().unwrap_or(""), self.select.span);
            } else if smoothed && take == Yield::Value {
                smooth((samples.times, samples.values), grid, moment, exec.lookback_ms, &mut column);
            } else {
                newest_in_lookback(samples, grid, moment, exec.lookback_ms, take, &mut column)?;
            }
            let found = column.present.count() as u64;
            exec.context.tally().add(found, found);
            let mut series = SeriesColumn::new(series.labels.clone(), column);
            if matches!(take, Yield::SampleTime | Yield::StartTime) {
                series.drop_name(exec);
            }
            Ok(series)
        })? {
            if !found.column.present.is_empty() {
                return Ok(Some(found));
            }
        }
        Ok(None)
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
