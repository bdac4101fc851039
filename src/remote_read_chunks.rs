//! Remote read, streamed: frames with the samples of one series each, in the chunks that Prometheus itself keeps.
//!
//! 1. A stream has its series sorted by labels, but a select yields them in the order of their ids. So a pass over the select
//!    collects the first series by labels, still encoded, as many as half of the query's memory budget holds; mostly these are all.
//!    Otherwise further passes collect the series behind them.
//! 2. Series by series is decoded and encoded again: chunks of 120 samples, frames that end when they hold about a megabyte.
//! 3. A frame is its length (varint), a checksum (CRC-32C, four bytes, big-endian) and a `ChunkedReadResponse`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use marigram_proto::prometheus::chunk::Encoding;
use marigram_proto::prometheus::{Chunk, ChunkedReadResponse, ChunkedSeries, Label, ReadRequest};
use marigram_query::source::Source;
use marigram_storage::context::{Context, Reservation};
use marigram_storage::model::histogram::HistogramSample;
use marigram_storage::model::labels::Labels;
use marigram_storage::model::matcher::Matcher;
use marigram_storage::model::time::TimeRange;
use marigram_storage::select::{EncodedChunk, SelectRequest, SeriesBatch, SeriesDecoder};
use prost::Message;

use crate::remote_read::{RemoteReadError, matcher};

mod bits;
mod histogram;
mod xor;

/// The content type of a streamed answer.
pub const CONTENT_TYPE: &str = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";

/// A frame ends with the chunk that brings it to this size.
const FRAME_TARGET_BYTES: usize = 1 << 20;
/// Samples of a chunk, as Prometheus cuts them.
const CHUNK_SAMPLES: usize = 120;
/// What a decoded sample takes, with its copy.
const SAMPLE_BYTES: u64 = 32;

/// Takes frames, one after the other; its error ends the answer.
pub type Emit<'a> = dyn FnMut(Vec<u8>) -> Result<(), RemoteReadError> + 'a;

/// Answers a request with frames.
///
/// # Errors
/// A matcher that is none; the store's errors; those of `emit`. Frames that were emitted before are right, but not all.
pub fn answer(
    request: &ReadRequest,
    source: &dyn Source,
    context: &Context,
    emit: &mut Emit<'_>,
) -> Result<(), RemoteReadError> {
    let page_bytes = (context.budget_left() / 2).max(1);
    for (index, query) in request.queries.iter().enumerate() {
        let matchers = query.matchers.iter().map(matcher).collect::<Result<Vec<_>, _>>()?;
        let range = TimeRange { start_ms: query.start_timestamp_ms, end_ms: query.end_timestamp_ms };
        let select = Select { source, context, matchers: &matchers, range };
        let mut frames = Frames { query_index: index as i64, emit: &mut *emit };
        let mut after = None;
        loop {
            let page = select.page(after.as_ref(), page_bytes)?;
            let (is_last, mut last) = (page.cut.is_none(), None);
            for (labels, held) in page.series {
                select.write(&labels, &held.chunks, &mut frames)?;
                last = Some(labels);
            }
            if is_last || last.is_none() {
                break;
            }
            after = last;
        }
    }
    Ok(())
}

/// What a query asks for.
struct Select<'a> {
    source: &'a dyn Source,
    context: &'a Context,
    matchers: &'a [Matcher],
    range: TimeRange,
}

/// Neighbouring series, in the order of their labels.
#[derive(Default)]
struct Page {
    series: BTreeMap<Labels, Held>,
    bytes: u64,
    /// Series from here on are for later pages.
    cut: Option<Labels>,
}

struct Held {
    chunks: Vec<EncodedChunk>,
    bytes: u64,
    _reservation: Reservation,
}

impl Select<'_> {
    /// The first series behind `after`, as many as `bytes_max` hold, at least one.
    fn page(&self, after: Option<&Labels>, bytes_max: u64) -> Result<Page, RemoteReadError> {
        let request = SelectRequest { matchers: self.matchers, range: self.range, drop_labels: &[] };
        let mut stream = self.source.select(self.context, request)?;
        let mut page = Page::default();
        while let Some(SeriesBatch { series, mut reservation }) = stream.next_batch()? {
            self.context.check()?;
            for series in series {
                let is_here = after.is_none_or(|after| series.labels > *after)
                    && page.cut.as_ref().is_none_or(|cut| series.labels < *cut);
                if is_here {
                    let bytes = series.held_bytes() as u64;
                    let held = Held { chunks: series.chunks, bytes, _reservation: reservation.split(bytes) };
                    page.add(series.labels, held, bytes_max);
                }
            }
        }
        Ok(page)
    }

    /// Writes the samples of a series.
    fn write(
        &self,
        labels: &Labels,
        chunks: &[EncodedChunk],
        frames: &mut Frames<'_, '_>,
    ) -> Result<(), RemoteReadError> {
        self.context.check()?;
        let mut decoder = SeriesDecoder::default();
        let (times, values) = decoder.decode(chunks, self.range)?;
        let _decoded = self.context.reserve(SAMPLE_BYTES * times.len() as u64)?;
        let (times, values) = (times.to_vec(), values.to_vec());
        let mut series = frames.series(labels);
        // Floats and histograms take turns: chunks of a series do not overlap.
        let mut from = 0;
        for histogram in decoder.histograms() {
            let to = times.partition_point(|time_ms| *time_ms < histogram.timestamp_ms);
            series.floats(times.get(from..to).unwrap_or_default(), values.get(from..to).unwrap_or_default())?;
            series.histogram(histogram)?;
            from = to;
        }
        series.floats(times.get(from..).unwrap_or_default(), values.get(from..).unwrap_or_default())?;
        series.end_frame()
    }
}

impl Page {
    fn add(&mut self, labels: Labels, held: Held, bytes_max: u64) {
        self.bytes += held.bytes;
        match self.series.entry(labels) {
            Entry::Vacant(entry) => {
                entry.insert(held);
            }
            // A source that yields a series in parts.
            Entry::Occupied(mut entry) => {
                let known = entry.get_mut();
                known.bytes += held.bytes;
                known.chunks.extend(held.chunks);
                known.chunks.sort_by_key(|chunk| chunk.min_ms);
            }
        }
        while self.bytes > bytes_max && self.series.len() > 1 {
            let Some((labels, held)) = self.series.pop_last() else { return };
            self.bytes -= held.bytes;
            self.cut = Some(labels);
        }
    }
}

/// Where frames go.
struct Frames<'e, 'f> {
    query_index: i64,
    emit: &'e mut Emit<'f>,
}

impl<'e, 'f> Frames<'e, 'f> {
    fn series<'a>(&'a mut self, labels: &'a Labels) -> SeriesFrames<'a, 'e, 'f> {
        let frame_bytes = FRAME_TARGET_BYTES.saturating_sub(labels.as_bytes().len());
        SeriesFrames { frames: self, labels, frame_bytes, chunks: Vec::new(), bytes: 0 }
    }
}

/// Cuts a series into frames.
struct SeriesFrames<'a, 'e, 'f> {
    frames: &'a mut Frames<'e, 'f>,
    labels: &'a Labels,
    /// A frame ends when its chunks take so much.
    frame_bytes: usize,
    chunks: Vec<Chunk>,
    bytes: usize,
}

impl SeriesFrames<'_, '_, '_> {
    fn floats(&mut self, times: &[i64], values: &[f64]) -> Result<(), RemoteReadError> {
        for (times, values) in times.chunks(CHUNK_SAMPLES).zip(values.chunks(CHUNK_SAMPLES)) {
            let (Some(&min_time_ms), Some(&max_time_ms)) = (times.first(), times.last()) else { continue };
            let data = xor::encode(times, values);
            self.add(Chunk { min_time_ms, max_time_ms, r#type: Encoding::Xor as i32, data })?;
        }
        Ok(())
    }

    fn histogram(&mut self, sample: &HistogramSample) -> Result<(), RemoteReadError> {
        let (time_ms, data) = (sample.timestamp_ms, histogram::encode(sample));
        let r#type = Encoding::FloatHistogram as i32;
        self.add(Chunk { min_time_ms: time_ms, max_time_ms: time_ms, r#type, data })
    }

    fn add(&mut self, chunk: Chunk) -> Result<(), RemoteReadError> {
        self.bytes += chunk.encoded_len();
        self.chunks.push(chunk);
        if self.bytes >= self.frame_bytes { self.end_frame() } else { Ok(()) }
    }

    /// Emits what the frame holds, if anything.
    fn end_frame(&mut self) -> Result<(), RemoteReadError> {
        self.bytes = 0;
        let chunks = std::mem::take(&mut self.chunks);
        if chunks.is_empty() {
            return Ok(());
        }
        let labels = self.labels.iter().map(|(name, value)| Label { name: name.into(), value: value.into() }).collect();
        let chunked_series = vec![ChunkedSeries { labels, chunks }];
        let message = ChunkedReadResponse { chunked_series, query_index: self.frames.query_index }.encode_to_vec();
        let mut frame = Vec::with_capacity(message.len() + 14);
        // Cannot fail: a vector grows.
        let _ = prost::encode_length_delimiter(message.len(), &mut frame);
        frame.extend_from_slice(&crc32c::crc32c(&message).to_be_bytes());
        frame.extend_from_slice(&message);
        (self.frames.emit)(frame)
    }
}

#[cfg(test)]
#[path = "remote_read_chunks_test.rs"]
mod tests;
