//! The series of a select, decoded one after the other.

use std::sync::Arc;

use marigram_storage::context::Reservation;
use marigram_storage::model::histogram::{Histogram, HistogramSample, ResetHint};
use marigram_storage::model::start::StartTime;
use marigram_storage::model::time::TimeRange;
use marigram_storage::select::{SelectedSeries, SeriesBatch, SeriesDecoder, SeriesStream};

use super::{EvalContext, Exec};
use crate::error::QueryError;
use crate::histogram::{detect_reset, size_in_samples};
use crate::plan::Select;

/// What a decoded sample takes.
const SAMPLE_BYTES: u64 = 16;
/// Reserved once for all series that take no more, decoded: most.
const SMALL_BYTES: u64 = 32 << 10;

/// The decoded samples of a series: floats, and histograms at other times; start timestamps of some of them.
#[derive(Clone, Copy)]
pub(super) struct Samples<'s> {
    pub(super) times: &'s [i64],
    pub(super) values: &'s [f64],
    pub(super) histograms: &'s [HistogramSample],
    pub(super) starts: &'s [StartTime],
}

/// Decodes the series of a select.
pub(super) struct SampleDecoder {
    decoder: SeriesDecoder,
    range: TimeRange,
    only_statistics: bool,
    small: Option<Reservation>,
}

impl SampleDecoder {
    /// For the series of a select over `range`.
    pub(super) fn new(select: &Select, range: TimeRange) -> Self {
        let only_statistics = select.only_statistics;
        SampleDecoder { decoder: SeriesDecoder::default(), range, only_statistics, small: None }
    }

    /// Another one for the same select.
    pub(super) fn again(&self) -> Self {
        let &SampleDecoder { range, only_statistics, .. } = self;
        SampleDecoder { decoder: SeriesDecoder::default(), range, only_statistics, small: None }
    }

    /// Decodes a series and hands its samples to `take`.
    pub(super) fn decode<T>(
        &mut self,
        eval: &EvalContext,
        series: &SelectedSeries,
        take: impl FnOnce(Samples<'_>) -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        let (decoded, starts) = self.decoder.decode_with_starts(&series.chunks, self.range)?;
        let (times, values, histograms) = decoded;
        // Decoded, the samples of a long range can take much more memory than the chunks that the batch reserved.
        let samples = times.len() + histograms.iter().map(|h| size_in_samples(&h.histogram)).sum::<usize>();
        let bytes = SAMPLE_BYTES * samples as u64;
        let _large = match bytes {
            ..=SMALL_BYTES => {
                if self.small.is_none() {
                    self.small = Some(eval.context.reserve(SMALL_BYTES)?);
                }
                None
            }
            _ => Some(eval.context.reserve(bytes)?),
        };
        if !self.only_statistics || histograms.is_empty() {
            return take(Samples { times, values, histograms, starts });
        }
        take(Samples { times, values, histograms: &statistics(histograms), starts })
    }
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

/// Series after series out of a stream of batches.
pub(super) struct SeriesReader {
    stream: Box<dyn SeriesStream>,
    batch: Option<(SeriesBatch, usize)>,
    decoder: SampleDecoder,
}

impl SeriesReader {
    /// Opens a select over `(after_ms, until_ms]`.
    pub(super) fn open(exec: &Exec<'_>, select: &Select, after_ms: i64, until_ms: i64) -> Result<Self, QueryError> {
        let (stream, range) = exec.select(&select.matchers, after_ms, until_ms)?;
        Ok(SeriesReader { stream, batch: None, decoder: SampleDecoder::new(select, range) })
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
                return self.decoder.decode(exec, series, |samples| take(series, samples)).map(Some);
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
