//! The samples of one series in one partition.

use bytes::Bytes;

use crate::chunk::{CHUNK_SAMPLES_MAX, ChunkBuilder};
use crate::model::sample::{Sample, join_order};
use crate::model::time::TimeRange;
use crate::select::EncodedChunk;

/// Closed chunks, an open one that takes samples in order, and a small sorted buffer for those out of order. Chunks may
/// overlap; the reader joins them.
#[derive(Debug, Default)]
pub struct SeriesChunks {
    closed: Vec<EncodedChunk>,
    open: ChunkBuilder,
    open_last_bits: u64,
    unordered: Vec<Sample>,
}

impl SeriesChunks {
    /// Takes a sample, in whatever order.
    pub fn push(&mut self, sample: Sample) {
        if self.open.is_empty() || sample.timestamp_ms > self.open.last_ms() {
            self.open.push(sample.timestamp_ms, sample.value);
            self.open_last_bits = sample.value.to_bits();
            if self.open.len() >= CHUNK_SAMPLES_MAX {
                let full = std::mem::take(&mut self.open);
                self.closed.push(encoded(&full));
            }
        } else if sample.timestamp_ms != self.open.last_ms() || sample.value.to_bits() != self.open_last_bits {
            self.push_unordered(sample);
        }
    }

    #[cold]
    fn push_unordered(&mut self, sample: Sample) {
        match self.unordered.binary_search_by_key(&sample.timestamp_ms, |s| s.timestamp_ms) {
            Ok(at) => {
                if join_order(self.unordered[at].value, sample.value).is_lt() {
                    self.unordered[at] = sample;
                }
            }
            Err(at) => self.unordered.insert(at, sample),
        }
        if self.unordered.len() >= CHUNK_SAMPLES_MAX {
            let full = std::mem::take(&mut self.unordered);
            self.closed.push(encoded_samples(&full));
        }
    }

    /// The chunks that overlap `range`, ascending by their first timestamp.
    pub fn chunks(&self, range: TimeRange) -> Vec<EncodedChunk> {
        let in_range =
            |chunk: &EncodedChunk| range.overlaps(TimeRange { start_ms: chunk.min_ms, end_ms: chunk.max_ms });
        let mut chunks: Vec<EncodedChunk> = self.closed.iter().filter(|c| in_range(c)).cloned().collect();
        if !self.open.is_empty()
            && range.overlaps(TimeRange { start_ms: self.open.first_ms(), end_ms: self.open.last_ms() })
        {
            chunks.push(encoded(&self.open));
        }
        if !self.unordered.is_empty() {
            let chunk = encoded_samples(&self.unordered);
            if in_range(&chunk) {
                chunks.push(chunk);
            }
        }
        chunks.sort_by_key(|chunk| chunk.min_ms);
        chunks
    }

    /// Whether a chunk overlaps `range`.
    pub fn overlaps(&self, range: TimeRange) -> bool {
        let edges = |samples: &[Sample]| Some((samples.first()?.timestamp_ms, samples.last()?.timestamp_ms));
        let open = (!self.open.is_empty()).then(|| (self.open.first_ms(), self.open.last_ms()));
        let closed = self.closed.iter().map(|c| (c.min_ms, c.max_ms));
        closed
            .chain(open)
            .chain(edges(&self.unordered))
            .any(|(start_ms, end_ms)| range.overlaps(TimeRange { start_ms, end_ms }))
    }
}

fn encoded(builder: &ChunkBuilder) -> EncodedChunk {
    let bytes = Bytes::from(builder.encode());
    EncodedChunk { min_ms: builder.first_ms(), max_ms: builder.last_ms(), times: Bytes::new(), bytes }
}

fn encoded_samples(samples: &[Sample]) -> EncodedChunk {
    let mut builder = ChunkBuilder::default();
    for sample in samples {
        builder.push(sample.timestamp_ms, sample.value);
    }
    encoded(&builder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample::join_in_place;
    use crate::select::SeriesDecoder;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_order_of_samples_reads_back_as_their_join(pairs in proptest::collection::vec((0i64..400, 0u64..4), 0..900)) {
            let mut samples: Vec<Sample> = pairs.iter()
                .map(|&(timestamp_ms, v)| Sample { timestamp_ms, value: f64::from_bits(0x7ff0_0000_0000_0001 + v) }).collect();
            let mut series = SeriesChunks::default();
            for sample in &samples {
                series.push(*sample);
            }
            join_in_place(&mut samples);
            let range = TimeRange { start_ms: 17, end_ms: 350 };
            let mut decoder = SeriesDecoder::default();
            let (times, values) = decoder.decode(&series.chunks(range), range).unwrap();
            let got: Vec<_> = times.iter().zip(values).map(|(&timestamp_ms, &value)| Sample { timestamp_ms, value }).collect();
            let expected: Vec<_> = samples.into_iter().filter(|s| range.contains(s.timestamp_ms)).collect();
            prop_assert_eq!(got, expected);
        }
    }
}
