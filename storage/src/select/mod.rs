//! What a select yields: batches of series with their encoded chunks, in ascending order of the series id, then of the replica.

mod decode;
mod found;
mod shared_times;

pub use decode::{DecodedSeries, SeriesDecoder};
pub(crate) use found::{Found, FoundHere};

use std::cmp::Ordering;

use bytes::Bytes;

use crate::context::Reservation;
use crate::error::Result;
use crate::model::labels::{Labels, SeriesId};
use crate::model::matcher::Matcher;
use crate::model::time::TimeRange;

/// A batch ends with the series that brings it to this size.
pub const BATCH_TARGET_BYTES: usize = 1 << 20;

/// A chunk as it lies in the head or in a block. Chunks of one series may overlap in time, and hold the same
/// timestamp; the reader joins them.
#[derive(Clone, Debug)]
pub struct EncodedChunk {
    /// First timestamp.
    pub min_ms: i64,
    /// Last timestamp.
    pub max_ms: i64,
    /// The encoded timestamps, which the chunk shares with others; empty where `bytes` hold them. Chunks that share a
    /// column mostly share its memory too.
    pub times: Bytes,
    /// The bytes that [`crate::chunk::decode`] takes, or [`crate::chunk::decode_histograms`] if
    /// [`crate::chunk::is_histograms`]; perhaps behind start timestamps ([`crate::chunk::has_starts`]).
    pub bytes: Bytes,
}

impl EncodedChunk {
    /// A chunk that holds its timestamps itself.
    pub(crate) fn whole(min_ms: i64, max_ms: i64, bytes: Bytes) -> Self {
        EncodedChunk { min_ms, max_ms, times: Bytes::new(), bytes }
    }

    /// Whether its samples lie within its first and its last timestamp and `range` meets those.
    pub fn overlaps(&self, range: TimeRange) -> bool {
        range.overlaps(TimeRange { start_ms: self.min_ms, end_ms: self.max_ms })
    }
}

/// One series of a batch. Within a stream they ascend by `(id, replica)`, each pair at most once.
#[derive(Clone, Debug)]
pub struct SelectedSeries {
    /// The id of `labels`.
    pub id: SeriesId,
    /// The labels after the request's `drop_labels` were taken away. Where labels were dropped, neighbours in the
    /// stream may have the same.
    pub labels: Labels,
    /// The labels that were dropped: which replica of the series this is. Empty where nothing was dropped.
    pub replica: Labels,
    /// All chunks that overlap the range, in ascending order of `min_ms`. Chunks may hold samples outside of the range.
    pub chunks: Vec<EncodedChunk>,
}

impl SelectedSeries {
    /// A series, without its chunks yet, after `drop_labels` were taken away. `full_id` is the id of `labels`, if known.
    pub(crate) fn new(labels: Labels, drop_labels: &[String], full_id: Option<SeriesId>) -> Self {
        let dropped = |name: &str| drop_labels.iter().any(|drop| drop == name);
        if drop_labels.is_empty() || !labels.iter().any(|(name, _)| dropped(name)) {
            let id = full_id.unwrap_or_else(|| labels.id());
            return SelectedSeries { id, labels, replica: Labels::default(), chunks: Vec::new() };
        }
        let replica = labels.without(|name| !dropped(name));
        let labels = labels.without(dropped);
        SelectedSeries { id: labels.id(), labels, replica, chunks: Vec::new() }
    }

    /// The order of a stream: by id, then by replica.
    pub fn order(&self, other: &Self) -> Ordering {
        self.id.cmp(&other.id).then_with(|| self.replica.cmp(&other.replica))
    }

    /// About what it takes in memory; what a batch reserves for it. Shared timestamps are not counted: whoever made a copy of
    /// a column holds the memory for it.
    pub fn held_bytes(&self) -> usize {
        let chunks = self.chunks.iter().map(|chunk| size_of::<EncodedChunk>() + chunk.bytes.len()).sum::<usize>();
        size_of::<SelectedSeries>() + self.labels.as_bytes().len() + chunks
    }
}

/// Series, and the memory that they hold out of the query's budget.
#[derive(Debug)]
pub struct SeriesBatch {
    /// Ascending by `(id, replica)`.
    pub series: Vec<SelectedSeries>,
    /// Given back when the batch is dropped.
    pub reservation: Reservation,
}

/// What to select.
#[derive(Clone, Copy, Debug)]
pub struct SelectRequest<'a> {
    /// All must match.
    pub matchers: &'a [Matcher],
    /// Series without a chunk that overlaps it are left out.
    pub range: TimeRange,
    /// Labels to take away from every series before ordering (HA replica labels).
    pub drop_labels: &'a [String],
}

/// A running select. Blocking; holds everything it reads from alive, so that no seal or retention pass can pull data away.
pub trait SeriesStream: Send {
    /// The next batch, never empty; `None` at the end.
    ///
    /// # Errors
    /// The context's (timeout, cancelled, budget), or damage on disk. After an error the stream is over.
    fn next_batch(&mut self) -> Result<Option<SeriesBatch>>;
}
