//! HA deduplication: a source whose series lack the replica labels, the replicas of each stitched into one.
//!
//! 1. The source below drops the replica labels and yields the replicas of a series as neighbours, ordered by what was dropped.
//! 2. A series with one replica passes as it is, its chunks untouched.
//! 3. Of several, all are decoded within the range (never beyond, so that it does not matter where chunks are cut) and
//!    stitched ([`super::stitch`]). Where one replica gives everything, its chunks pass untouched, too; else the samples that
//!    were taken are encoded anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use marigram_storage::Result;
use marigram_storage::chunk::{CHUNK_SAMPLES_MAX, ChunkBuilder};
use marigram_storage::context::Context;
use marigram_storage::model::labels::Labels;
use marigram_storage::model::matcher::Matcher;
use marigram_storage::model::time::TimeRange;
use marigram_storage::select::{
    BATCH_TARGET_BYTES, EncodedChunk, SelectRequest, SelectedSeries, SeriesBatch, SeriesDecoder, SeriesStream,
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
        let feed = Feed::new(self.source.select(context, request)?);
        Ok(Box::new(Stitched { context: context.clone(), range, feed, ahead: None, decoders: Vec::new(), over: false }))
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
        let mut replicas = Vec::with_capacity(pieces.len());
        let mut decoded = self.context.reserve(0)?;
        for (decoder, piece) in self.decoders.iter_mut().zip(&pieces) {
            let (times, values) = decoder.decode(&piece.series.chunks, self.range)?;
            decoded.absorb(self.context.reserve((COLUMN_BYTES_PER_SAMPLE * times.len()) as u64)?);
            replicas.push(Replica { times, values });
        }
        let runs = stitch(&replicas);
        if let [Run { replica, samples }] = &runs[..]
            && replicas.get(*replica).is_some_and(|all| all.times.len() == samples.len())
        {
            return Ok(pieces.swap_remove(*replica));
        }
        let chunks = encoded(&replicas, &runs);
        let Piece { series, .. } = pieces.swap_remove(0);
        let series = SelectedSeries { chunks, ..series };
        let reservation = self.context.reserve(series.held_bytes() as u64)?;
        Ok(Piece { series, reservation })
    }
}

fn encoded(replicas: &[Replica<'_>], runs: &[Run]) -> Vec<EncodedChunk> {
    let mut chunks = Vec::new();
    let mut builder = ChunkBuilder::default();
    for run in runs {
        let Some(Replica { times, values }) = replicas.get(run.replica) else { continue };
        let samples = run.samples.clone();
        for (&time_ms, &value) in times[samples.clone()].iter().zip(&values[samples]) {
            builder.push(time_ms, value);
            if builder.len() == CHUNK_SAMPLES_MAX {
                chunks.push(chunk(&std::mem::take(&mut builder)));
            }
        }
    }
    if !builder.is_empty() {
        chunks.push(chunk(&builder));
    }
    chunks
}

fn chunk(builder: &ChunkBuilder) -> EncodedChunk {
    EncodedChunk {
        min_ms: builder.first_ms(),
        max_ms: builder.last_ms(),
        times: Default::default(),
        bytes: builder.encode().into(),
    }
}
