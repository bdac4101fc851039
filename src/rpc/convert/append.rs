//! Writes on their way to a storage node.
//!
//! 1. [`pieces`] takes the chosen series of a batch and fills pieces of at most 1 MiB, column by column. A series
//!    whose samples do not fit into what is left of a piece goes on in the next one, its labels repeated: each piece
//!    stands for itself.
//!    Histograms travel as small chunks, start timestamps as places and distances to their samples' times.
//! 2. [`Assembler`] checks each piece as it arrives and gathers them into batches for the store.

use bytes::{Bytes, BytesMut};
use marigram_proto::cluster as proto;
use marigram_storage::Error;
use marigram_storage::chunk::{Effort, decode_histograms, encode_histograms};
use marigram_storage::model::histogram::HistogramSample;
use marigram_storage::model::labels::{METRIC_NAME, SeriesId};
use marigram_storage::model::sample::Sample;
use marigram_storage::model::tenant::TenantId;
use marigram_storage::write::{FamilyMetadata, MetadataEntry, MetadataKind, WriteBatch, WriteSeries, WriteStarts};

use super::starts::{START_BYTES, push_starts, with_starts};
use super::{ID_BYTES, Malformed, id, labels_of};
use crate::rpc::PIECE_BYTES_MAX;

/// What a piece costs beside its series: header, tags, lengths.
const PIECE_OVERHEAD_BYTES: usize = 1024;
/// The id of a series, the length of its labels, its count of samples.
const SERIES_OVERHEAD_BYTES: usize = ID_BYTES + 5 + 5;
/// Tags and lengths of a family's metadata.
const METADATA_OVERHEAD_BYTES: usize = 32;
/// The bits of a value; its timestamp comes on top.
const VALUE_BYTES: usize = 8;

/// Histograms of one chunk: the largest there are fit into a piece.
const HISTOGRAMS_PER_CHUNK: usize = 4;
/// Tag and length of a chunk of histograms, and its count.
const CHUNK_OVERHEAD_BYTES: usize = 16;
/// What the histograms of a piece may take in memory: equal buckets cost next to nothing on the wire.
const HISTOGRAM_BYTES_MAX: usize = 16 << 20;

/// A series of a batch that is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChosenSeries {
    /// Its place in [`WriteBatch::series`].
    pub index: usize,
    /// Whether its labels are sent: a node that knows the series needs none.
    pub with_labels: bool,
}

/// Who is meant, and whose samples they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendHeader {
    /// The disk on which the copy is counted.
    pub disk_id: u128,
    /// The cluster that it belongs to.
    pub cluster_id: u128,
    /// Whose samples they are.
    pub tenant: TenantId,
}

/// Turns chosen series and families of a batch into pieces of at most 1 MiB, without a header.
///
/// # Errors
/// [`Error::BadInput`]: labels or metadata that do not fit into a piece.
pub fn pieces<'a>(
    batch: &WriteBatch,
    series: impl IntoIterator<Item = ChosenSeries>,
    metadata: impl IntoIterator<Item = &'a FamilyMetadata>,
) -> Result<Vec<proto::AppendPiece>, Error> {
    let mut filler = Filler::default();
    for chosen in series {
        let Some(series) = batch.series.get(chosen.index) else { continue };
        let labels = match chosen.with_labels {
            true => batch.arena.get(series.labels.clone()).unwrap_or_default(),
            false => &[],
        };
        let samples = batch.samples.get(series.samples.clone()).unwrap_or_default();
        filler.first_sample = series.samples.start;
        filler.starts = WriteStarts::within(&batch.starts.samples, series.samples.clone());
        filler.series(series.id, labels, samples)?;
        let histograms = batch.histograms_of(series).unwrap_or_default();
        if !histograms.is_empty() {
            filler.histograms(series.id, labels, &with_starts(batch, series, histograms))?;
        }
    }
    for family in metadata {
        filler.metadata(family)?;
    }
    Ok(filler.finish())
}

/// Fills pieces.
#[derive(Default)]
struct Filler<'a> {
    done: Vec<proto::AppendPiece>,
    ids: BytesMut,
    labels: BytesMut,
    columns: proto::SeriesColumns,
    metadata: Vec<proto::FamilyMetadata>,
    last_ms: i64,
    bytes: usize,
    /// Place of the next sample in the batch.
    first_sample: usize,
    /// Start timestamps of the series that are not sent yet, by places in the batch.
    starts: &'a [(u32, i64)],
    /// Places in the piece at which the last start timestamps were.
    last_start: (u32, u32),
    /// Histograms of the piece.
    histogram_count: u32,
    /// What the histograms of the piece take in memory.
    histogram_bytes: usize,
}

impl Filler<'_> {
    fn series(&mut self, id: SeriesId, labels: &[u8], mut samples: &[Sample]) -> Result<(), Error> {
        self.begin_series(id, labels)?;
        let mut count = 0;
        while let Some((sample, rest)) = samples.split_first() {
            let delta_ms = sample.timestamp_ms.wrapping_sub(self.last_ms);
            let start = self.starts.split_first().filter(|((place, _), _)| *place as usize == self.first_sample);
            let needed = VALUE_BYTES + zigzag_len(delta_ms) + if start.is_some() { START_BYTES } else { 0 };
            if self.bytes + needed > PIECE_BYTES_MAX && count > 0 {
                self.columns.sample_counts.push(std::mem::take(&mut count));
                self.end_series(0);
                self.flush();
                self.begin_series(id, labels)?;
                continue;
            }
            if let Some(((_, start_ms), rest)) = start {
                self.starts = rest;
                let place = self.columns.value_bits.len() as u32;
                let step = place - std::mem::replace(&mut self.last_start.0, place);
                self.columns.start_steps.push(step);
                self.columns.start_distances_ms.push(sample.timestamp_ms.wrapping_sub(*start_ms));
            }
            self.first_sample += 1;
            self.columns.time_deltas_ms.push(delta_ms);
            self.columns.value_bits.push(sample.value.to_bits());
            self.last_ms = sample.timestamp_ms;
            self.bytes += needed;
            count += 1;
            samples = rest;
        }
        self.columns.sample_counts.push(count);
        self.end_series(0);
        Ok(())
    }

    /// The number of chunks of histograms of the series that was begun last.
    fn end_series(&mut self, chunks: u32) {
        let counts = &mut self.columns.histogram_chunk_counts;
        if chunks > 0 || !counts.is_empty() {
            // Those before it have none if nothing was said.
            counts.resize(self.columns.sample_counts.len(), 0);
            if let Some(count) = counts.last_mut() {
                *count = chunks;
            }
        }
    }

    /// Adds histograms with their start timestamps, in order of time, to the series that was begun last.
    fn histograms(&mut self, id: SeriesId, labels: &[u8], sorted: &[(HistogramSample, i64)]) -> Result<(), Error> {
        let mut chunks = 0;
        // Two of one time are not for one chunk; the store joins them.
        for run in sorted.chunk_by(|(a, _), (b, _)| a.timestamp_ms < b.timestamp_ms) {
            for with_starts in run.chunks(HISTOGRAMS_PER_CHUNK) {
                let samples: Vec<HistogramSample> = with_starts.iter().map(|(sample, _)| sample.clone()).collect();
                let mut chunk = Vec::new();
                encode_histograms(&samples, Effort::Sealed, &mut chunk);
                let held: usize = samples.iter().map(|sample| sample.histogram.held_bytes()).sum();
                let needed = chunk.len() + CHUNK_OVERHEAD_BYTES + START_BYTES * samples.len();
                let full = self.bytes + needed > PIECE_BYTES_MAX || self.histogram_bytes + held > HISTOGRAM_BYTES_MAX;
                if full && self.bytes > PIECE_OVERHEAD_BYTES + SERIES_OVERHEAD_BYTES + labels.len() {
                    self.end_series(std::mem::take(&mut chunks));
                    self.flush();
                    self.begin_series(id, labels)?;
                    self.columns.sample_counts.push(0);
                }
                self.columns.histogram_chunks.push(chunk.into());
                for (place, (sample, start_ms)) in (self.histogram_count..).zip(with_starts) {
                    if *start_ms != 0 {
                        let step = place - std::mem::replace(&mut self.last_start.1, place);
                        self.columns.histogram_start_steps.push(step);
                        let distance_ms = sample.timestamp_ms.wrapping_sub(*start_ms);
                        self.columns.histogram_start_distances_ms.push(distance_ms);
                    }
                }
                self.histogram_count += samples.len() as u32;
                self.bytes += needed;
                self.histogram_bytes += held;
                chunks += 1;
            }
        }
        self.end_series(chunks);
        Ok(())
    }

    /// Leaves room for at least one sample.
    fn begin_series(&mut self, id: SeriesId, labels: &[u8]) -> Result<(), Error> {
        let needed = SERIES_OVERHEAD_BYTES + labels.len();
        self.make_room(needed + VALUE_BYTES + 10 + START_BYTES, "labels")?;
        self.bytes += needed;
        self.ids.extend_from_slice(&id.0.to_le_bytes());
        self.labels.extend_from_slice(labels);
        self.columns.labels_lengths.push(labels.len() as u32);
        Ok(())
    }

    fn metadata(&mut self, family: &FamilyMetadata) -> Result<(), Error> {
        let texts = family.family.len() + family.entry.help.len() + family.entry.unit.len();
        self.make_room(METADATA_OVERHEAD_BYTES + texts, "metadata")?;
        self.bytes += METADATA_OVERHEAD_BYTES + texts;
        self.metadata.push(encode_metadata(&family.family, &family.entry));
        Ok(())
    }

    fn make_room(&mut self, needed: usize, what: &str) -> Result<(), Error> {
        if self.bytes + needed > PIECE_BYTES_MAX {
            self.flush();
        }
        if needed > PIECE_BYTES_MAX - PIECE_OVERHEAD_BYTES {
            return Err(Error::BadInput(format!("{what} of {needed} bytes are longer than a message between nodes")));
        }
        self.bytes = self.bytes.max(PIECE_OVERHEAD_BYTES);
        Ok(())
    }

    fn flush(&mut self) {
        self.bytes = 0;
        self.last_ms = 0;
        self.last_start = (0, 0);
        self.histogram_count = 0;
        self.histogram_bytes = 0;
        let (ids, labels) = (self.ids.split().freeze(), self.labels.split().freeze());
        let columns = proto::SeriesColumns { ids, labels, ..std::mem::take(&mut self.columns) };
        let metadata = std::mem::take(&mut self.metadata);
        if columns.ids.is_empty() && metadata.is_empty() {
            return;
        }
        let series = Some(columns).filter(|columns| !columns.ids.is_empty());
        self.done.push(proto::AppendPiece { header: None, series, metadata });
    }

    fn finish(mut self) -> Vec<proto::AppendPiece> {
        self.flush();
        self.done
    }
}

/// Bytes of a zigzag varint.
fn zigzag_len(value: i64) -> usize {
    let zigzag = ((value << 1) ^ (value >> 63)) as u64;
    (64 - (zigzag | 1).leading_zeros()).div_ceil(7) as usize
}

/// Metadata as it travels.
pub(crate) fn encode_metadata(family: &str, entry: &MetadataEntry) -> proto::FamilyMetadata {
    proto::FamilyMetadata {
        family: family.to_owned(),
        kind: u32::from(entry.kind as u8),
        help: entry.help.clone(),
        unit: entry.unit.clone(),
    }
}

/// Metadata that came.
pub(crate) fn decode_metadata(metadata: proto::FamilyMetadata) -> Result<FamilyMetadata, Malformed> {
    if metadata.family.is_empty() {
        return Err(Malformed::new("a metric family has no name"));
    }
    let kind = MetadataKind::from_number(u64::from(metadata.kind));
    let entry = MetadataEntry { kind, help: metadata.help, unit: metadata.unit };
    Ok(FamilyMetadata { family: metadata.family, entry })
}

/// As it travels.
pub fn encode_header(header: &AppendHeader) -> proto::AppendHeader {
    proto::AppendHeader {
        disk_id: super::member::encode_id(header.disk_id),
        cluster_id: super::member::encode_id(header.cluster_id),
        tenant: header.tenant.as_str().to_owned(),
    }
}

/// One that came.
///
/// # Errors
/// Ids of another length, no tenant's name.
pub fn decode_header(header: &proto::AppendHeader) -> Result<AppendHeader, Malformed> {
    Ok(AppendHeader {
        disk_id: id(&header.disk_id, "a disk id")?,
        cluster_id: id(&header.cluster_id, "a cluster id")?,
        tenant: TenantId::parse(&header.tenant).map_err(|error| Malformed(error.to_string()))?,
    })
}

/// Gathers the pieces of one write into batches for the store. A series that came without labels has an empty range
/// of them in the batch.
#[derive(Debug)]
pub struct Assembler {
    batch: WriteBatch,
    histogram_bytes: usize,
}

impl Assembler {
    /// For the samples of this tenant.
    pub fn new(tenant: TenantId) -> Self {
        Assembler { batch: WriteBatch { tenant, ..WriteBatch::default() }, histogram_bytes: 0 }
    }

    /// Adds a piece.
    ///
    /// # Errors
    /// One that no sender makes; what was gathered is then of no use.
    pub fn push(&mut self, piece: proto::AppendPiece) -> Result<(), Malformed> {
        if let Some(columns) = &piece.series {
            self.histogram_bytes += push_columns(&mut self.batch, columns)?;
        }
        for metadata in piece.metadata {
            self.batch.metadata.push(decode_metadata(metadata)?);
        }
        Ok(())
    }

    /// Bytes that the gathered series hold, about.
    pub fn bytes(&self) -> usize {
        let metadata: usize =
            self.batch.metadata.iter().map(|m| m.family.len() + m.entry.help.len() + size_of_val(m)).sum();
        self.batch.arena.len()
            + self.batch.series.len() * size_of::<WriteSeries>()
            + self.batch.samples.len() * size_of::<Sample>()
            + (self.batch.starts.samples.len() + self.batch.starts.histograms.len()) * size_of::<(u32, i64)>()
            + self.histogram_bytes
            + metadata
    }

    /// Whether nothing was gathered since the last batch.
    pub fn is_empty(&self) -> bool {
        self.batch.series.is_empty() && self.batch.metadata.is_empty()
    }

    /// What was gathered so far.
    pub fn take(&mut self) -> WriteBatch {
        self.histogram_bytes = 0;
        let next = WriteBatch { tenant: self.batch.tenant.clone(), ..WriteBatch::default() };
        std::mem::replace(&mut self.batch, next)
    }
}

/// Adds a piece's series to the batch; answers what its histograms take in memory.
fn push_columns(batch: &mut WriteBatch, columns: &proto::SeriesColumns) -> Result<usize, Malformed> {
    let count = columns.ids.len() / ID_BYTES;
    let chunk_counts = &columns.histogram_chunk_counts;
    if !columns.ids.len().is_multiple_of(ID_BYTES)
        || columns.labels_lengths.len() != count
        || columns.sample_counts.len() != count
        || columns.time_deltas_ms.len() != columns.value_bits.len()
        || (!chunk_counts.is_empty() && chunk_counts.len() != count)
    {
        return Err(Malformed::new("the columns of a write differ in length"));
    }
    let sum = |lengths: &[u32]| lengths.iter().map(|n| u64::from(*n)).sum::<u64>();
    if sum(&columns.labels_lengths) != columns.labels.len() as u64
        || sum(&columns.sample_counts) != columns.value_bits.len() as u64
        || sum(chunk_counts) != columns.histogram_chunks.len() as u64
    {
        return Err(Malformed::new("the lengths in a write do not add up"));
    }
    let (first_sample, first_histogram) = (batch.samples.len(), batch.histograms.len());
    let mut timestamp_ms = 0i64;
    batch.samples.extend(columns.time_deltas_ms.iter().zip(&columns.value_bits).map(|(delta_ms, bits)| {
        timestamp_ms = timestamp_ms.wrapping_add(*delta_ms);
        Sample { timestamp_ms, value: f64::from_bits(*bits) }
    }));
    let first_label = batch.arena.len();
    batch.arena.extend_from_slice(&columns.labels);
    let (mut labels_at, mut samples_at) = (first_label, first_sample);
    let mut chunks = Chunks { left: &columns.histogram_chunks, held_bytes: 0 };
    let chunk_counts = chunk_counts.iter().copied().chain(std::iter::repeat(0));
    let lengths = columns.labels_lengths.iter().zip(&columns.sample_counts).zip(chunk_counts);
    for (id_bytes, ((labels, samples), chunk_count)) in columns.ids.chunks_exact(ID_BYTES).zip(lengths) {
        let id = SeriesId(id(id_bytes, "a series id")?);
        let labels = labels_at..labels_at + *labels as usize;
        let samples = samples_at..samples_at + *samples as usize;
        (labels_at, samples_at) = (labels.end, samples.end);
        if !labels.is_empty() {
            let bytes = batch.arena.get(labels.clone()).unwrap_or_default();
            if labels_of(id, bytes)?.get(METRIC_NAME).is_none() {
                return Err(Malformed::new("a series has no metric name"));
            }
        }
        let from = batch.histograms.len() as u32;
        chunks.take(chunk_count as usize, &mut batch.histograms)?;
        let histograms = from..batch.histograms.len() as u32;
        batch.series.push(WriteSeries::new(id, labels, samples).with_histograms(histograms));
    }
    let (steps, distances_ms) = (columns.start_steps.as_slice(), columns.start_distances_ms.as_slice());
    let new = batch.samples.get(first_sample..).unwrap_or_default();
    let times = new.iter().map(|sample| sample.timestamp_ms);
    push_starts(first_sample, times, (steps, distances_ms), &mut batch.starts.samples)?;
    let steps = columns.histogram_start_steps.as_slice();
    let distances_ms = columns.histogram_start_distances_ms.as_slice();
    let new = batch.histograms.get(first_histogram..).unwrap_or_default();
    let times = new.iter().map(|sample| sample.timestamp_ms);
    push_starts(first_histogram, times, (steps, distances_ms), &mut batch.starts.histograms)?;
    Ok(chunks.held_bytes)
}

/// Chunks of histograms that are not decoded yet.
struct Chunks<'a> {
    left: &'a [Bytes],
    /// What the others take in memory.
    held_bytes: usize,
}

impl Chunks<'_> {
    fn take(&mut self, count: usize, histograms: &mut Vec<HistogramSample>) -> Result<(), Malformed> {
        let Some((chunks, left)) = self.left.split_at_checked(count) else {
            return Err(Malformed::new("the lengths in a write do not add up"));
        };
        self.left = left;
        for chunk in chunks {
            let from = histograms.len();
            decode_histograms(chunk, histograms).map_err(|error| Malformed(error.to_string()))?;
            let new = histograms.get(from..).unwrap_or_default();
            self.held_bytes += new.iter().map(|sample| sample.histogram.held_bytes()).sum::<usize>();
            // A chunk more than the sender takes at most.
            if self.held_bytes > 2 * HISTOGRAM_BYTES_MAX {
                return Err(Malformed::new("a piece of a write has too many buckets"));
            }
        }
        Ok(())
    }
}

/// What a node answers to a write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// Series that it does not know: their samples were not stored and are to be sent again with labels.
    pub unknown: Vec<SeriesId>,
    /// Number of its newest list of members.
    pub catalog_number: u64,
}

/// As it travels.
pub fn encode_appended(appended: &Appended) -> proto::AppendResponse {
    let unknown_ids: Bytes = appended.unknown.iter().flat_map(|id| id.0.to_le_bytes()).collect::<Vec<u8>>().into();
    proto::AppendResponse { unknown_ids, catalog_number: appended.catalog_number }
}

/// One that came.
///
/// # Errors
/// Bytes that are not whole ids.
pub fn decode_appended(response: &proto::AppendResponse) -> Result<Appended, Malformed> {
    if !response.unknown_ids.len().is_multiple_of(ID_BYTES) {
        return Err(Malformed::new("the ids of unknown series are cut off"));
    }
    let unknown = response.unknown_ids.chunks_exact(ID_BYTES).map(|bytes| Ok(SeriesId(id(bytes, "a series id")?)));
    Ok(Appended { unknown: unknown.collect::<Result<_, Malformed>>()?, catalog_number: response.catalog_number })
}

#[cfg(test)]
#[path = "append_test.rs"]
mod tests;
