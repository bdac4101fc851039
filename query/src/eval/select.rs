//! Instant selectors: series by series from the store, each decoded into columns and laid over the grid.
//!
//! 1. One select covers the whole grid: from the first step's moment less the lookback to the last step's moment.
//! 2. Per series, a cursor walks the samples while the steps walk forward; each step takes the newest sample in
//!    `(moment - lookback, moment]`. A staleness marker there means that the series has ended: no sample.

use marigram_storage::model::sample::is_stale;
use marigram_storage::model::time::TimeRange;
use marigram_storage::select::{SelectedSeries, SeriesBatch, SeriesDecoder, SeriesStream};

use super::column::Column;
use super::{Exec, Grid, Operator, SeriesColumn};
use crate::error::QueryError;
use crate::names::without_metadata;
use crate::plan::{Moment, Select};

/// What is taken of the selected samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Yield {
    Value,
    /// The sample's own time, seconds; the name goes.
    SampleTime,
}

/// Series after series out of a stream of batches.
pub(super) struct SeriesReader {
    stream: Box<dyn SeriesStream>,
    range: TimeRange,
    batch: Option<(SeriesBatch, usize)>,
    decoder: SeriesDecoder,
}

impl SeriesReader {
    /// Opens a select over `(after_ms, until_ms]`.
    pub(super) fn open(exec: &Exec<'_>, select: &Select, after_ms: i64, until_ms: i64) -> Result<Self, QueryError> {
        let (stream, range) = exec.select(&select.matchers, after_ms, until_ms)?;
        Ok(SeriesReader { stream, range, batch: None, decoder: SeriesDecoder::default() })
    }

    /// Decodes the next series and hands its columns to `take`; `None` at the end.
    pub(super) fn next<T>(
        &mut self,
        exec: &Exec<'_>,
        take: impl FnOnce(&SelectedSeries, &[i64], &[f64]) -> Result<T, QueryError>,
    ) -> Result<Option<T>, QueryError> {
        exec.check()?;
        loop {
            if let Some((batch, next)) = &mut self.batch
                && let Some(series) = batch.series.get(*next)
            {
                *next += 1;
                let (times, values) = self.decoder.decode(&series.chunks, self.range)?;
                // Decoded, the samples of a long range can take much more memory than the chunks that the batch reserved.
                let _decoded = exec.context.reserve(16 * times.len() as u64)?;
                return take(series, times, values).map(Some);
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
        if grid.steps == 0 {
            return Ok(None);
        }
        if self.reader.is_none() {
            let after_ms = moment.of(grid.start_ms).saturating_sub(exec.lookback_ms);
            self.reader = Some(SeriesReader::open(exec, self.select, after_ms, moment.of(grid.last_ms()))?);
        }
        let Some(reader) = &mut self.reader else { return Ok(None) };
        let take = self.take;
        while let Some(found) = reader.next(exec, |series, times, values| {
            let mut column = exec.column(grid)?;
            newest_in_lookback((times, values), grid, moment, exec.lookback_ms, take, &mut column);
            let found = column.present.count() as u64;
            exec.context.tally().add(found, found);
            let labels = match take {
                Yield::Value => series.labels.clone(),
                Yield::SampleTime => without_metadata(&series.labels),
            };
            Ok(SeriesColumn { labels, column })
        })? {
            if !found.column.present.is_empty() {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// Lays samples over a grid: at each step the newest one in the lookback before the step's moment, unless it is a
/// staleness marker.
fn newest_in_lookback(
    (times, values): (&[i64], &[f64]),
    grid: Grid,
    moment: Moment,
    lookback_ms: i64,
    take: Yield,
    column: &mut Column,
) {
    let mut after = 0;
    for step in 0..grid.steps {
        let moment_ms = moment.of(grid.time_ms(step));
        while times.get(after).is_some_and(|&t| t <= moment_ms) {
            after += 1;
        }
        let Some(newest) = after.checked_sub(1) else { continue };
        let (Some(&time_ms), Some(&value)) = (times.get(newest), values.get(newest)) else { continue };
        if time_ms > moment_ms.saturating_sub(lookback_ms) && !is_stale(value) {
            column.put(step, if take == Yield::Value { value } else { time_ms as f64 / 1000.0 });
        }
    }
}
