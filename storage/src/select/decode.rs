//! Encoded chunks to columns of floats and a list of histograms: decode, join where chunks overlap, clip to the range.
//!
//! 1. Chunks come in ascending order of their first timestamp. Each is decoded behind what is there. Columns of timestamps that
//!    chunks share are kept ([`SharedTimes`]); a series that is one such chunk is cut out of its column.
//! 2. Where it begins before that ends, the two are joined from there on. Copies of the same samples (replicas that cut their
//!    chunks at different places) are recognised by comparing, and dropped at once; anything else is merged.
//! 3. When that has moved much more than was decoded (many chunks over the same time: a shuffled sender), all chunks are
//!    decoded one behind the other and neighbours joined in pairs, then the pairs, and so on: each sample is moved once per
//!    doubling.
//! 4. Chunks of histograms are decoded into a list beside, which is joined in the end ([`join_kinds`]); so are start timestamps.

use std::ops::Range;

use super::EncodedChunk;
use super::shared_times::SharedTimes;
use crate::chunk::{self, KIND_FLOAT_VALUES};
use crate::error::Result;
use crate::model::histogram::HistogramSample;
use crate::model::joined::join_kinds;
use crate::model::sample::join_columns;
use crate::model::start::{StartTime, join_starts};
use crate::model::time::TimeRange;

/// Joining may move this many times the samples that were decoded before joining in pairs is the better way.
const MOVES_PER_SAMPLE_MAX: usize = 8;
/// Moves that are always free: few samples.
const MOVES_FREE: usize = 1024;

/// Timestamps and values of floats, and histograms.
pub type DecodedSeries<'a> = (&'a [i64], &'a [f64], &'a [HistogramSample]);

/// Decodes series into columns that it owns and reuses.
#[derive(Default)]
pub struct SeriesDecoder {
    times: Vec<i64>,
    values: Vec<f64>,
    joined_times: Vec<i64>,
    joined_values: Vec<f64>,
    histograms: Vec<HistogramSample>,
    starts: Vec<StartTime>,
    shared: SharedTimes,
}

impl SeriesDecoder {
    /// The joined samples of all `chunks` within `range`: ascending timestamps without duplicates (ms), and their
    /// values. Valid until the next call.
    ///
    /// # Errors
    /// A chunk that does not decode.
    pub fn decode(&mut self, chunks: &[EncodedChunk], range: TimeRange) -> Result<(&[i64], &[f64])> {
        self.decode_both(chunks, range).map(|(times, values, _)| (times, values))
    }

    /// As [`SeriesDecoder::decode`], and beside it what [`SeriesDecoder::histograms`] answers.
    ///
    /// # Errors
    /// A chunk that does not decode.
    pub fn decode_both(&mut self, chunks: &[EncodedChunk], range: TimeRange) -> Result<DecodedSeries<'_>> {
        self.decode_with_starts(chunks, range).map(|(series, _)| series)
    }

    /// As [`SeriesDecoder::decode_both`], and beside it the start timestamps of those samples that have one, in ascending order of
    /// the samples' times.
    ///
    /// # Errors
    /// A chunk that does not decode.
    pub fn decode_with_starts(
        &mut self,
        chunks: &[EncodedChunk],
        range: TimeRange,
    ) -> Result<(DecodedSeries<'_>, &[StartTime])> {
        self.clear();
        if let [chunk] = chunks
            && let Some(values) = values_alone(chunk)
        {
            return self.decode_one(chunk, values, range).map(|columns| (columns, &[][..]));
        }
        let (mut decoded, mut moved) = (0, 0);
        for chunk in chunks.iter().filter(|chunk| chunk.overlaps(range)) {
            let before = self.times.len();
            self.append(chunk)?;
            decoded += self.times.len() - before;
            if let (Some(last), Some(first)) = (before.checked_sub(1).map(|i| self.times[i]), self.times.get(before))
                && *first <= last
            {
                moved += self.join_from(before);
                if moved > MOVES_FREE + MOVES_PER_SAMPLE_MAX * decoded {
                    return self.decode_in_pairs(chunks, range);
                }
            }
        }
        Ok(self.clipped(range))
    }

    /// A series of one chunk that shares its timestamps.
    fn decode_one(&mut self, chunk: &EncodedChunk, values: &[u8], range: TimeRange) -> Result<DecodedSeries<'_>> {
        let times = self.shared.get(&chunk.times)?;
        let within = within(times, range);
        chunk::decode_values_within(values, times.len(), within.clone(), &mut self.values)?;
        Ok((times.get(within).unwrap_or_default(), &self.values, &[]))
    }

    /// The histograms of the series that was decoded last, within the range, ascending; no float is at the time of one. A reset hint
    /// says that the sender called it a gauge or a reset, or that no count has fallen since the sample before it, be that within the
    /// range or before it; otherwise it is unknown.
    pub fn histograms(&self) -> &[HistogramSample] {
        &self.histograms
    }

    fn clear(&mut self) {
        self.times.clear();
        self.values.clear();
        self.histograms.clear();
        self.starts.clear();
    }

    /// Decodes a chunk behind what is there.
    fn append(&mut self, chunk: &EncodedChunk) -> Result<()> {
        match values_alone(chunk) {
            Some(values) => {
                let times = self.shared.get(&chunk.times)?;
                self.times.extend_from_slice(times);
                chunk::decode_values(values, times.len(), &mut self.values)
            }
            _ if chunk::is_histograms(&chunk.bytes) => chunk::decode_histograms(&chunk.bytes, &mut self.histograms),
            _ if chunk::has_starts(&chunk.bytes) => self.append_with_starts(chunk),
            _ => chunk::decode(&chunk.times, &chunk.bytes, &mut self.times, &mut self.values),
        }
    }

    #[cold]
    fn append_with_starts(&mut self, chunk: &EncodedChunk) -> Result<()> {
        let part = chunk::split_starts(&chunk.bytes)?;
        let (floats, histograms) = (self.times.len(), self.histograms.len());
        if !part.rest.is_empty() {
            self.append(&EncodedChunk { bytes: chunk.bytes.slice_ref(part.rest), ..chunk.clone() })?;
        }
        let floats = self.times.get(floats..).unwrap_or_default().iter().copied();
        let histograms = self.histograms.get(histograms..).unwrap_or_default().iter();
        chunk::decode_starts(part, floats.chain(histograms.map(|sample| sample.timestamp_ms)), &mut self.starts)
    }

    /// Joins what lies from `middle` on into what lies before it; both are sorted. Answers how many samples that moved.
    fn join_from(&mut self, middle: usize) -> usize {
        let first = self.times[middle];
        let from = self.times[..middle].partition_point(|&t| t < first);
        let shared = (middle - from).min(self.times.len() - middle);
        let (here, there) = (from..from + shared, middle..middle + shared);
        let bits = |range: &std::ops::Range<usize>| self.values[range.clone()].iter().map(|v| v.to_bits());
        if self.times[here.clone()] == self.times[there.clone()] && bits(&here).eq(bits(&there)) {
            self.times.drain(there.clone());
            self.values.drain(there);
            return shared;
        }
        join_columns(
            (&self.times[from..middle], &self.values[from..middle]),
            (&self.times[middle..], &self.values[middle..]),
            &mut self.joined_times,
            &mut self.joined_values,
        );
        self.times.truncate(from);
        self.values.truncate(from);
        self.times.extend_from_slice(&self.joined_times);
        self.values.extend_from_slice(&self.joined_values);
        self.joined_times.len()
    }

    #[cold]
    fn decode_in_pairs(
        &mut self,
        chunks: &[EncodedChunk],
        range: TimeRange,
    ) -> Result<(DecodedSeries<'_>, &[StartTime])> {
        self.clear();
        let mut ends = Vec::with_capacity(chunks.len());
        for chunk in chunks.iter().filter(|chunk| chunk.overlaps(range)) {
            self.append(chunk)?;
            ends.push(self.times.len());
        }
        let (mut times, mut values) = (Vec::new(), Vec::new());
        while ends.len() > 1 {
            times.clear();
            values.clear();
            let mut start = 0;
            let mut joined_ends = Vec::with_capacity(ends.len().div_ceil(2));
            for pair in ends.chunks(2) {
                let (middle, end) = (pair[0], *pair.last().unwrap_or(&pair[0]));
                join_columns(
                    (&self.times[start..middle], &self.values[start..middle]),
                    (&self.times[middle..end], &self.values[middle..end]),
                    &mut self.joined_times,
                    &mut self.joined_values,
                );
                times.extend_from_slice(&self.joined_times);
                values.extend_from_slice(&self.joined_values);
                joined_ends.push(times.len());
                start = end;
            }
            std::mem::swap(&mut self.times, &mut times);
            std::mem::swap(&mut self.values, &mut values);
            ends = joined_ends;
        }
        Ok(self.clipped(range))
    }

    fn clipped(&mut self, range: TimeRange) -> (DecodedSeries<'_>, &[StartTime]) {
        if !self.histograms.is_empty() {
            join_kinds(&mut self.times, &mut self.values, &mut self.histograms);
            self.histograms.retain(|sample| range.contains(sample.timestamp_ms));
        }
        let Range { start: from, end: to } = within(&self.times, range);
        if !self.starts.is_empty() {
            join_starts(&mut self.starts);
            let (times, histograms) = (&self.times[from..to], &self.histograms);
            // A chunk of the head may tell more than the range holds.
            self.starts.retain(|start| {
                times.binary_search(&start.timestamp_ms).is_ok()
                    || histograms.binary_search_by_key(&start.timestamp_ms, |sample| sample.timestamp_ms).is_ok()
            });
        }
        ((&self.times[from..to], &self.values[from..to], &self.histograms), &self.starts)
    }
}

/// The values column of a chunk that shares its timestamps with others.
fn values_alone(chunk: &EncodedChunk) -> Option<&[u8]> {
    let (kind, values) = chunk.bytes.split_first()?;
    (*kind == KIND_FLOAT_VALUES && !chunk.times.is_empty()).then_some(values)
}

/// The places of the timestamps that lie in a range.
fn within(times: &[i64], range: TimeRange) -> Range<usize> {
    let from = times.partition_point(|&t| t < range.start_ms);
    from..times.partition_point(|&t| t <= range.end_ms).max(from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::{ChunkBuilder, Effort, ValueEncoder};
    use crate::model::sample::{Sample, join_in_place};
    use bytes::Bytes;
    use proptest::prelude::*;

    fn encoded(samples: &[Sample]) -> EncodedChunk {
        let mut builder = ChunkBuilder::default();
        samples.iter().for_each(|s| builder.push(s.timestamp_ms, s.value));
        EncodedChunk {
            min_ms: builder.first_ms(),
            max_ms: builder.last_ms(),
            times: Default::default(),
            bytes: builder.encode().into(),
        }
    }

    fn sample(timestamp_ms: i64, value: i64) -> Sample {
        Sample { timestamp_ms, value: value as f64 }
    }

    /// Chunks of `len` samples, in the order that a stream has.
    fn chunks(parts: &[(Vec<Sample>, usize)]) -> Vec<EncodedChunk> {
        let chunks = parts.iter().flat_map(|(samples, len)| samples.chunks(*len).map(encoded));
        let mut chunks: Vec<_> = chunks.collect();
        chunks.sort_by_key(|chunk| chunk.min_ms);
        chunks
    }

    fn decoded(decoder: &mut SeriesDecoder, chunks: &[EncodedChunk], range: TimeRange) -> Vec<Sample> {
        let (times, values) = decoder.decode(chunks, range).unwrap();
        times.iter().zip(values).map(|(&timestamp_ms, &value)| Sample { timestamp_ms, value }).collect()
    }

    fn part() -> impl Strategy<Value = (Vec<Sample>, usize)> {
        (proptest::collection::btree_map(0i64..80, 0i64..3, 1..50), 1usize..20)
            .prop_map(|(samples, len)| (samples.into_iter().map(|(t, v)| sample(t, v)).collect(), len))
    }

    proptest! {
        #[test]
        fn chunks_are_joined_however_they_overlap(parts in proptest::collection::vec(part(), 1..12), copies in 0usize..3, from in -5i64..90, to in -5i64..90) {
            let mut parts = parts;
            for copy in 0..copies {
                let (samples, len) = parts[0].clone();
                parts.push((samples, len + copy));
            }
            let range = TimeRange { start_ms: from, end_ms: to };
            let mut expected: Vec<Sample> = parts.iter().flat_map(|(samples, _)| samples.clone()).collect();
            join_in_place(&mut expected);
            expected.retain(|s| range.contains(s.timestamp_ms));
            prop_assert_eq!(decoded(&mut SeriesDecoder::default(), &chunks(&parts), range), expected);
        }
    }

    #[test]
    fn replicas_are_joined_in_one_pass() {
        let samples: Vec<Sample> = (0..50_000).map(|i| sample(i, i % 7)).collect();
        let odd: Vec<Sample> = samples.iter().skip(1).step_by(2).copied().collect();
        let mut moved = 0;
        let chunks = chunks(&[(samples.clone(), 120), (samples.clone(), 128), (odd, 77)]);
        let mut decoder = SeriesDecoder::default();
        for chunk in &chunks {
            let before = decoder.times.len();
            decoder.append(chunk).unwrap();
            if before > 0 && decoder.times[before] <= decoder.times[before - 1] {
                moved += decoder.join_from(before);
            }
        }
        assert_eq!(decoder.times.len(), samples.len());
        assert!(moved < 4 * samples.len(), "{moved}");
    }

    #[test]
    fn many_chunks_over_the_same_time_are_joined_in_pairs() {
        let parts: Vec<_> = (0..400).map(|i| ((0..100).map(|j| sample(j * 400 + i, j)).collect(), 100)).collect();
        let got = decoded(&mut SeriesDecoder::default(), &chunks(&parts), TimeRange::ALL);
        assert!(got.iter().zip(0..).all(|(s, i)| s.timestamp_ms == i));
        assert_eq!(got.len(), 40_000);
    }

    #[test]
    fn a_shuffled_sender_costs_little_more_than_the_samples() {
        // Ten times the chunks must not cost a hundred times the time; measured in moves, not on a clock.
        let parts: Vec<_> =
            (0..5000).map(|i| ((0..20).map(|j| sample(j * 5000 + (i * 7919) % 5000, j)).collect(), 20)).collect();
        let got = decoded(&mut SeriesDecoder::default(), &chunks(&parts), TimeRange::ALL);
        assert_eq!(got.len(), 100_000);
        assert!(got.iter().zip(0..).all(|(s, i)| s.timestamp_ms == i));
    }

    #[test]
    fn a_shared_column_is_decoded_once_and_never_mistaken() {
        let mut encoder = ValueEncoder::default();
        let column = |times: &[i64]| {
            let mut bytes = Vec::new();
            chunk::encode_times(times, &mut bytes);
            Bytes::from(bytes)
        };
        let mut values = |values: &[f64], times: &Bytes, edges: (i64, i64)| {
            let mut bytes = Vec::new();
            chunk::encode_values_chunk(&mut encoder, values, Effort::Sealed, &mut bytes);
            EncodedChunk { min_ms: edges.0, max_ms: edges.1, times: times.clone(), bytes: bytes.into() }
        };
        let (one, other) = (column(&[1, 5, 9]), column(&[1, 4, 7]));
        let chunks = [
            values(&[1.0, 2.0, 3.0], &one, (1, 9)),
            values(&[1.5, 2.5, 3.5], &one, (1, 9)),
            values(&[4.0, 5.0, 6.0], &other, (1, 7)),
            EncodedChunk { times: Bytes::new(), ..encoded(&[sample(20, 8)]) },
            values(&[9.0, 9.0, 9.0], &one, (1, 9)),
        ];
        let mut decoder = SeriesDecoder::default();
        for chunk in &chunks {
            let mut whole = (Vec::new(), Vec::new());
            chunk::decode(&chunk.times, &chunk.bytes, &mut whole.0, &mut whole.1).unwrap();
            assert_eq!(decoder.decode(std::slice::from_ref(chunk), TimeRange::ALL).unwrap(), (&*whole.0, &*whole.1));
            for (start_ms, end_ms) in [(4, 8), (5, 5), (2, 3), (0, 4), (7, 9), (10, 30)] {
                let range = TimeRange { start_ms, end_ms };
                let pairs = whole.0.iter().zip(&whole.1).filter(|(t, _)| range.contains(**t));
                let expected: (Vec<i64>, Vec<f64>) = pairs.unzip();
                let decoded = decoder.decode(std::slice::from_ref(chunk), range).unwrap();
                assert_eq!(decoded, (&*expected.0, &*expected.1), "{start_ms}..{end_ms}");
            }
        }
        let bad = EncodedChunk { times: Bytes::from_static(&[9, 9, 9]), ..chunks[0].clone() };
        assert!(decoder.decode(&[bad], TimeRange::ALL).is_err());
        assert_eq!(decoder.decode(&chunks[..1], TimeRange::ALL).unwrap().1, [1.0, 2.0, 3.0]);
    }
}
