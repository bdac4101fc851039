//! Encoded chunks to columns: decode, join where chunks overlap, clip to the range.

use super::EncodedChunk;
use crate::chunk;
use crate::error::Result;
use crate::model::sample::{Sample, join_columns, join_in_place};
use crate::model::time::TimeRange;

/// Decodes series into columns that it owns and reuses.
#[derive(Default)]
pub struct SeriesDecoder {
    times: Vec<i64>,
    values: Vec<f64>,
    chunk_times: Vec<i64>,
    chunk_values: Vec<f64>,
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
        let mut overlapping = 0;
        for chunk in chunks.iter().filter(|c| range.overlaps(TimeRange { start_ms: c.min_ms, end_ms: c.max_ms })) {
            self.chunk_times.clear();
            self.chunk_values.clear();
            chunk::decode(&chunk.bytes, &mut self.chunk_times, &mut self.chunk_values)?;
            match (self.times.last(), self.chunk_times.first()) {
                (Some(last), Some(first)) if first <= last => {
                    overlapping += 1;
                    if overlapping > 8 {
                        // Many overlapping chunks (a shuffled sender): joining them one by one would be quadratic.
                        return self.decode_sorted(chunks, range);
                    }
                    join_columns(
                        (&self.times, &self.values),
                        (&self.chunk_times, &self.chunk_values),
                        &mut self.joined_times,
                        &mut self.joined_values,
                    );
                    std::mem::swap(&mut self.times, &mut self.joined_times);
                    std::mem::swap(&mut self.values, &mut self.joined_values);
                }
                _ => {
                    self.times.extend_from_slice(&self.chunk_times);
                    self.values.extend_from_slice(&self.chunk_values);
                }
            }
        }
        Ok(self.clipped(range))
    }

    #[cold]
    fn decode_sorted(&mut self, chunks: &[EncodedChunk], range: TimeRange) -> Result<(&[i64], &[f64])> {
        self.times.clear();
        self.values.clear();
        for chunk in chunks.iter().filter(|c| range.overlaps(TimeRange { start_ms: c.min_ms, end_ms: c.max_ms })) {
            chunk::decode(&chunk.bytes, &mut self.times, &mut self.values)?;
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
