//! Encoded chunks to columns: decode, join where chunks overlap, clip to the range.
//!
//! 1. Chunks come in ascending order of their first timestamp. Each is decoded behind what is there.
//! 2. Where it begins before that ends, the two are joined from there on. Copies of the same samples (replicas that cut their
//!    chunks at different places) are recognised by comparing, and dropped at once; anything else is merged.
//! 3. When that has moved much more than was decoded (many chunks over the same time: a shuffled sender), everything is
//!    sorted instead.

use super::EncodedChunk;
use crate::chunk;
use crate::error::Result;
use crate::model::sample::{Sample, join_columns, join_in_place};
use crate::model::time::TimeRange;

/// Joining may move this many times the samples that were decoded before sorting is the better way.
const MOVES_PER_SAMPLE_MAX: usize = 8;
/// Moves that are always free: few samples.
const MOVES_FREE: usize = 1024;

/// Decodes series into columns that it owns and reuses.
#[derive(Default)]
pub struct SeriesDecoder {
    times: Vec<i64>,
    values: Vec<f64>,
    joined_times: Vec<i64>,
    joined_values: Vec<f64>,
}

impl SeriesDecoder {
    /// The joined samples of all `chunks` within `range`: ascending timestamps without duplicates (ms), and their
    /// values. Valid until the next call.
    ///
    /// # Errors
    /// A chunk that does not decode.
    pub fn decode(&mut self, chunks: &[EncodedChunk], range: TimeRange) -> Result<(&[i64], &[f64])> {
        self.times.clear();
        self.values.clear();
        let (mut decoded, mut moved) = (0, 0);
        for chunk in chunks.iter().filter(|c| range.overlaps(TimeRange { start_ms: c.min_ms, end_ms: c.max_ms })) {
            let before = self.times.len();
            chunk::decode(&[], &chunk.bytes, &mut self.times, &mut self.values)?;
            decoded += self.times.len() - before;
            if let (Some(last), Some(first)) = (before.checked_sub(1).map(|i| self.times[i]), self.times.get(before))
                && *first <= last
            {
                moved += self.join_from(before);
                if moved > MOVES_FREE + MOVES_PER_SAMPLE_MAX * decoded {
                    return self.decode_sorted(chunks, range);
                }
            }
        }
        Ok(self.clipped(range))
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
    fn decode_sorted(&mut self, chunks: &[EncodedChunk], range: TimeRange) -> Result<(&[i64], &[f64])> {
        self.times.clear();
        self.values.clear();
        for chunk in chunks.iter().filter(|c| range.overlaps(TimeRange { start_ms: c.min_ms, end_ms: c.max_ms })) {
            chunk::decode(&[], &chunk.bytes, &mut self.times, &mut self.values)?;
        }
        let mut samples: Vec<Sample> =
            self.times.iter().zip(&self.values).map(|(&timestamp_ms, &value)| Sample { timestamp_ms, value }).collect();
        join_in_place(&mut samples);
        self.times.clear();
        self.values.clear();
        for sample in samples {
            self.times.push(sample.timestamp_ms);
            self.values.push(sample.value);
        }
        Ok(self.clipped(range))
    }

    fn clipped(&self, range: TimeRange) -> (&[i64], &[f64]) {
        let from = self.times.partition_point(|&t| t < range.start_ms);
        let to = self.times.partition_point(|&t| t <= range.end_ms).max(from);
        (&self.times[from..to], &self.values[from..to])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::ChunkBuilder;
    use proptest::prelude::*;

    fn encoded(samples: &[Sample]) -> EncodedChunk {
        let mut builder = ChunkBuilder::default();
        samples.iter().for_each(|s| builder.push(s.timestamp_ms, s.value));
        EncodedChunk { min_ms: builder.first_ms(), max_ms: builder.last_ms(), bytes: builder.encode().into() }
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
            chunk::decode(&[], &chunk.bytes, &mut decoder.times, &mut decoder.values).unwrap();
            if before > 0 && decoder.times[before] <= decoder.times[before - 1] {
                moved += decoder.join_from(before);
            }
        }
        assert_eq!(decoder.times.len(), samples.len());
        assert!(moved < 4 * samples.len(), "{moved}");
    }

    #[test]
    fn many_chunks_over_the_same_time_are_sorted() {
        let parts: Vec<_> = (0..400).map(|i| ((0..100).map(|j| sample(j * 400 + i, j)).collect(), 100)).collect();
        let got = decoded(&mut SeriesDecoder::default(), &chunks(&parts), TimeRange::ALL);
        assert!(got.iter().zip(0..).all(|(s, i)| s.timestamp_ms == i));
        assert_eq!(got.len(), 40_000);
    }
}
