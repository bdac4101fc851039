//! The histograms of a record: each series' samples as chunks of histograms, which stand for themselves.
//!
//! ```text
//! ┌───────────┬─────────────────────────────────────────────┐
//! │ chunks uv │ chunks × { reference zz, length uv, chunk } │
//! └───────────┴─────────────────────────────────────────────┘
//! ```
//!
//! `reference` is the difference to the reference before (the first to 0).

use crate::chunk::{Effort, HISTOGRAMS_MAX, decode_histograms, encode_histograms};
use crate::format::varint::{push_uvarint, take_uvarint, unzigzag, zigzag};
use crate::model::histogram::HistogramSample;
use crate::model::joined::join_histograms;
use crate::model::time::TimeRange;

/// Histograms by series.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct HistogramColumns {
    /// The series' numbers within segment and tenant; one may come more than once.
    pub references: Vec<u32>,
    /// Where the samples of each end.
    pub ends: Vec<u32>,
    /// The samples, series by series.
    pub samples: Vec<HistogramSample>,
}

impl HistogramColumns {
    /// Each series' reference and samples.
    pub fn series(&self) -> impl Iterator<Item = (u32, &[HistogramSample])> {
        let mut start = 0;
        self.references.iter().zip(&self.ends).map(move |(reference, end)| {
            let from = std::mem::replace(&mut start, *end as usize);
            (*reference, self.samples.get(from..*end as usize).unwrap_or_default())
        })
    }

    /// Adds a series.
    pub fn push(&mut self, reference: u32, samples: &[HistogramSample]) {
        self.references.push(reference);
        self.samples.extend_from_slice(samples);
        self.ends.push(self.samples.len() as u32);
    }
}

/// Appends the histograms of some series, each in any order of time, as far as there are any; answers their time range.
pub(super) fn encode<'a>(
    out: &mut Vec<u8>,
    series: impl Iterator<Item = (u32, &'a [HistogramSample])> + Clone,
) -> TimeRange {
    let mut range = TimeRange::EMPTY;
    let (mut chunks, mut count, mut before) = (Vec::new(), 0u64, 0i64);
    let (mut sorted, mut chunk) = (Vec::new(), Vec::new());
    for (reference, samples) in series {
        sorted.clear();
        sorted.extend_from_slice(samples);
        join_histograms(&mut sorted);
        for samples in sorted.chunks(HISTOGRAMS_MAX) {
            range = samples.iter().fold(range, |range, sample| range.including(sample.timestamp_ms));
            chunk.clear();
            encode_histograms(samples, Effort::Sealed, &mut chunk);
            push_uvarint(&mut chunks, zigzag(i64::from(reference) - before));
            push_uvarint(&mut chunks, chunk.len() as u64);
            chunks.extend_from_slice(&chunk);
            before = reference.into();
            count += 1;
        }
    }
    push_uvarint(out, count);
    out.extend_from_slice(&chunks);
    range
}

/// Takes the histograms off the front; `None` for bytes that no writer makes.
pub(super) fn decode(rest: &mut &[u8]) -> Option<HistogramColumns> {
    let mut columns = HistogramColumns::default();
    let mut before = 0i64;
    for _ in 0..take_uvarint(rest)? {
        before = before.checked_add(unzigzag(take_uvarint(rest)?))?;
        columns.references.push(u32::try_from(before).ok()?);
        decode_histograms(super::take_bytes(rest)?, &mut columns.samples).ok()?;
        columns.ends.push(u32::try_from(columns.samples.len()).ok()?);
    }
    Some(columns)
}
