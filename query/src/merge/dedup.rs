//! HA deduplication: a source whose series lack the replica labels, the replicas of each stitched into one.
//!
//! 1. The source below drops the replica labels and yields the replicas of a series as neighbours, ordered by what was dropped.
//! 2. A series with one replica passes as it is, its chunks untouched.
//! 3. Of several, all are decoded within the range (never beyond, so that it does not matter where chunks are cut) and
//!    stitched ([`super::stitch`]). Where one replica gives everything, its chunks pass untouched, too; else the samples that
//!    were taken are encoded anew.
//! 4. Histograms take their places among the floats: the count stands for a histogram, so that it rises as a counter does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use marigram_storage::Result;
use marigram_storage::chunk::{
    CHUNK_SAMPLES_MAX, ChunkBuilder, Effort, HISTOGRAMS_MAX, encode_histograms, encode_starts,
};
use marigram_storage::context::Context;
use marigram_storage::model::histogram::HistogramSample;
use marigram_storage::model::labels::Labels;
use marigram_storage::model::matcher::Matcher;
use marigram_storage::model::sample::is_stale;
use marigram_storage::model::start::StartTime;
use marigram_storage::model::time::TimeRange;
use marigram_storage::select::{
    BATCH_TARGET_BYTES, DecodedSeries, EncodedChunk, SelectRequest, SelectedSeries, SeriesBatch, SeriesDecoder,
    SeriesStream,
};
use marigram_storage::write::MetadataEntry;

use super::feed::{Feed, Piece};
use super::pace::Replica;
use super::stitch::{Run, stitch};
use crate::source::Source;

/// What a decoded sample takes in its columns.
const COLUMN_BYTES_PER_SAMPLE: usize = 16;

/// A source without replica labels: replicas of one series become one. Matchers see the labels as they are stored.
///
/// Label names and values stay as they are stored, as in Thanos: they say what selectors can match.
#[derive(Clone)]
pub struct Deduplicated {
    source: Arc<dyn Source>,
    replica_labels: Vec<String>,
}

impl Deduplicated {
    /// The series of `source`, where `replica_labels` tell replicas apart.
    pub fn new(source: Arc<dyn Source>, replica_labels: Vec<String>) -> Self {
        Deduplicated { source, replica_labels }
    }
}

impl Source for Deduplicated {
    fn select(&self, context: &Context, request: SelectRequest<'_>) -> Result<Box<dyn SeriesStream>> {
        let range = request.range;
        let request = SelectRequest { drop_labels: &self.replica_labels, ..request };
        Ok(stitched(context, range, self.source.select(context, request)?))
    }

    fn series(
        &self,
        context: &Context,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<Labels>> {
        let dropped = |name: &str| self.replica_labels.iter().any(|label| label == name);
        // All of them: how many are left when replicas have become one is known only then.
        let all = self.source.series(context, selectors, range, 0)?;
        let each: BTreeSet<Labels> = all.into_iter().map(|labels| labels.without(dropped)).collect();
        Ok(each.into_iter().take(if limit == 0 { usize::MAX } else { limit }).collect())
    }

    fn label_names(
        &self,
        context: &Context,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>> {
        self.source.label_names(context, selectors, range, limit)
    }

    fn label_values(
        &self,
        context: &Context,
        name: &str,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>> {
        self.source.label_values(context, name, selectors, range, limit)
    }

    fn metadata(&self, context: &Context) -> Result<BTreeMap<String, Vec<MetadataEntry>>> {
        self.source.metadata(context)
    }
}

/// The series of a stream, the replicas of each in one.
pub(super) fn stitched(context: &Context, range: TimeRange, stream: Box<dyn SeriesStream>) -> Box<dyn SeriesStream> {
    let (context, feed) = (context.clone(), Feed::new(stream));
    Box::new(Stitched { context, range, feed, ahead: None, decoders: Vec::new(), over: false })
}

struct Stitched {
    context: Context,
    range: TimeRange,
    feed: Feed,
    /// The first replica of the next series.
    ahead: Option<Piece>,
    /// One for each replica of a series; kept for their memory.
    decoders: Vec<SeriesDecoder>,
    over: bool,
}

impl SeriesStream for Stitched {
    fn next_batch(&mut self) -> Result<Option<SeriesBatch>> {
        if self.over {
            return Ok(None);
        }
        let batch = self.fill();
        if !matches!(batch, Ok(Some(_))) {
            self.over = true;
            self.ahead = None;
            self.feed.close();
        }
        batch
    }
}

impl Stitched {
    fn fill(&mut self) -> Result<Option<SeriesBatch>> {
        let mut series = Vec::new();
        let mut bytes = 0;
        let mut reservation = self.context.reserve(0)?;
        while bytes < BATCH_TARGET_BYTES {
            self.context.check()?;
            let Some(piece) = self.next_series()? else { break };
            bytes += piece.series.held_bytes();
            reservation.absorb(piece.reservation);
            if !piece.series.chunks.is_empty() {
                series.push(piece.series);
            }
        }
        Ok((!series.is_empty()).then_some(SeriesBatch { series, reservation }))
    }

    /// The next series with all its replicas in one; it may be left without chunks.
    fn next_series(&mut self) -> Result<Option<Piece>> {
        let first = match self.ahead.take() {
            Some(piece) => piece,
            None => match self.feed.next()? {
                Some(piece) => piece,
                None => return Ok(None),
            },
        };
        self.ahead = self.feed.next()?;
        let mut piece = first;
        if self.ahead.as_ref().is_some_and(|ahead| ahead.series.id == piece.series.id) {
            let mut replicas = vec![piece];
            while let Some(next) = self.ahead.take() {
                if replicas.first().is_some_and(|first| first.series.id != next.series.id) {
                    self.ahead = Some(next);
                    break;
                }
                replicas.push(next);
                self.ahead = self.feed.next()?;
            }
            piece = self.stitched(replicas)?;
        }
        piece.series.replica = Labels::default();
        Ok(Some(piece))
    }

    fn stitched(&mut self, mut pieces: Vec<Piece>) -> Result<Piece> {
        self.decoders.resize_with(pieces.len().max(self.decoders.len()), SeriesDecoder::default);
        let (mut all, mut starts) = (Vec::with_capacity(pieces.len()), Vec::with_capacity(pieces.len()));
        let mut decoded = self.context.reserve(0)?;
        for (decoder, piece) in self.decoders.iter_mut().zip(&pieces) {
            let (series, own_starts) = decoder.decode_with_starts(&piece.series.chunks, self.range)?;
            let histograms = series.2.iter().map(|sample| sample.histogram.held_bytes()).sum::<usize>();
            let columns = COLUMN_BYTES_PER_SAMPLE * (series.0.len() + 2 * series.2.len());
            decoded.absorb(self.context.reserve((columns + histograms) as u64)?);
            all.push(series);
            starts.push(own_starts);
        }
        // Copies only where there are histograms.
        let lines: Vec<Option<Line>> = all.iter().map(in_line).collect();
        let replicas: Vec<Replica<'_>> = all
            .iter()
            .zip(&lines)
            .map(|(&(times, values, _), line)| match line {
                Some((times, values)) => Replica { times, values },
                None => Replica { times, values },
            })
            .collect();
        let runs = stitch(&replicas);
        if let [Run { replica, samples }] = &runs[..]
            && replicas.get(*replica).is_some_and(|all| all.times.len() == samples.len())
        {
            return Ok(pieces.swap_remove(*replica));
        }
        let histograms: Vec<&[HistogramSample]> = all.iter().map(|(_, _, histograms)| *histograms).collect();
        let mut chunks = encoded(&replicas, &histograms, &runs);
        add_starts(&replicas, &starts, &runs, &mut chunks);
        let Piece { series, .. } = pieces.swap_remove(0);
        let series = SelectedSeries { chunks, ..series };
        let reservation = self.context.reserve(series.held_bytes() as u64)?;
        Ok(Piece { series, reservation })
    }
}

/// Timestamps and values.
type Line = (Vec<i64>, Vec<f64>);

/// The floats of a replica with the counts of its histograms in their places, if it has histograms.
fn in_line(&(times, values, histograms): &DecodedSeries<'_>) -> Option<Line> {
    if histograms.is_empty() {
        return None;
    }
    // No histogram marks the end of a series, whatever its count.
    let count = |count: f64| if is_stale(count) { 0.0 } else { count };
    let mut floats = times.iter().copied().zip(values.iter().copied()).peekable();
    let mut line: Line = (Vec::new(), Vec::new());
    for sample in histograms {
        while let Some((time, value)) = floats.next_if(|(time, _)| *time < sample.timestamp_ms) {
            line.0.push(time);
            line.1.push(value);
        }
        line.0.push(sample.timestamp_ms);
        line.1.push(count(sample.histogram.count));
    }
    for (time, value) in floats {
        line.0.push(time);
        line.1.push(value);
    }
    Some(line)
}

fn encoded(replicas: &[Replica<'_>], histograms: &[&[HistogramSample]], runs: &[Run]) -> Vec<EncodedChunk> {
    let mut chunks = Vec::new();
    let mut builder = ChunkBuilder::default();
    let mut taken: Vec<HistogramSample> = Vec::new();
    for run in runs {
        let Some(Replica { times, values }) = replicas.get(run.replica) else { continue };
        let mut own = histograms.get(run.replica).copied().unwrap_or_default();
        let samples = run.samples.clone();
        for (&time_ms, &value) in times[samples.clone()].iter().zip(&values[samples]) {
            if let Some((first, _)) = own.split_first()
                && first.timestamp_ms < time_ms
            {
                own = &own[own.partition_point(|sample| sample.timestamp_ms < time_ms)..];
            }
            if let Some((sample, rest)) = own.split_first()
                && sample.timestamp_ms == time_ms
            {
                taken.push(sample.clone());
                own = rest;
                continue;
            }
            builder.push(time_ms, value);
            if builder.len() == CHUNK_SAMPLES_MAX {
                chunks.push(chunk(&std::mem::take(&mut builder)));
            }
        }
    }
    if !builder.is_empty() {
        chunks.push(chunk(&builder));
    }
    if !taken.is_empty() {
        chunks.extend(taken.chunks(HISTOGRAMS_MAX).filter_map(histogram_chunk));
        chunks.sort_by_key(|chunk| chunk.min_ms);
    }
    chunks
}

/// Adds the start timestamps of the runs' samples, each from the replica that the run is of.
fn add_starts(replicas: &[Replica<'_>], starts: &[&[StartTime]], runs: &[Run], chunks: &mut Vec<EncodedChunk>) {
    if starts.iter().all(|starts| starts.is_empty()) {
        return;
    }
    let mut taken: Vec<StartTime> = Vec::new();
    for run in runs {
        let (Some(replica), Some(starts)) = (replicas.get(run.replica), starts.get(run.replica)) else { continue };
        let times = replica.times.get(run.samples.clone()).unwrap_or_default();
        taken.extend(starts.iter().filter(|start| times.binary_search(&start.timestamp_ms).is_ok()));
    }
    for starts in taken.chunks(CHUNK_SAMPLES_MAX) {
        let (Some(first), Some(last)) = (starts.first(), starts.last()) else { continue };
        let mut bytes = Vec::new();
        encode_starts(starts, 0, &mut bytes);
        let (min_ms, max_ms) = (first.timestamp_ms, last.timestamp_ms);
        chunks.push(EncodedChunk { min_ms, max_ms, times: Default::default(), bytes: bytes.into() });
    }
    chunks.sort_by_key(|chunk| chunk.min_ms);
}

fn histogram_chunk(samples: &[HistogramSample]) -> Option<EncodedChunk> {
    let (first, last) = samples.first().zip(samples.last())?;
    let mut bytes = Vec::new();
    encode_histograms(samples, Effort::Sealed, &mut bytes);
    Some(EncodedChunk {
        min_ms: first.timestamp_ms,
        max_ms: last.timestamp_ms,
        times: Default::default(),
        bytes: bytes.into(),
    })
}

fn chunk(builder: &ChunkBuilder) -> EncodedChunk {
    EncodedChunk {
        min_ms: builder.first_ms(),
        max_ms: builder.last_ms(),
        times: Default::default(),
        bytes: builder.encode().into(),
    }
}
