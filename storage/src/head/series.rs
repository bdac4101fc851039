//! The samples of one series in one partition, in a cache line.
//!
//! 1. Samples in order go to an open chunk: a buffer of the slabs, written by [`crate::chunk::stream`].
//! 2. A full chunk goes to the spill as it is, and the buffer back to the slabs. (Packed into columns it would be a fifth
//!    smaller, for a third more CPU per sample.) Chunks hold [`CHUNK_SAMPLES_MAX`] samples, but the first of a series has its own
//!    length: series that began together would otherwise all be full at the same moment.
//! 3. A sample out of order goes to a list beside; a full list is sorted and becomes a chunk of its own. So it costs one
//!    append and its share of a sort, however old it is.
//! 4. Histograms go to a list of their own, which becomes a chunk of histograms when it is full. Start timestamps do the same.
//!
//! Chunks may overlap; the reader joins them.

use super::slab::{BUFFER_BYTES_MAX, BufferRef, Slabs};
use super::spill::{Spill, SpillRef};
use super::taken::TakenChunks;
use crate::chunk::stream::{self, StreamTimes, VALUE_BYTES_MAX, ValueState};
use crate::chunk::{CHUNK_SAMPLES_MAX, Effort, encode_histograms, encode_starts};
use crate::format::varint::{push_uvarint, zigzag};
use crate::model::histogram::HistogramSample;
use crate::model::joined::join_histograms;
use crate::model::sample::{Sample, join_in_place};
use crate::model::start::{StartTime, join_starts};
use crate::model::time::TimeRange;

const _: () = assert!(CHUNK_SAMPLES_MAX <= u8::MAX as usize && CHUNK_SAMPLES_MAX * VALUE_BYTES_MAX <= BUFFER_BYTES_MAX);
const _: () = assert!(size_of::<SeriesState>() == 64);
/// Below, a chunk costs more than it holds.
const FIRST_CHUNK_SAMPLES_MIN: u8 = 32;
/// Histograms of a series that are not encoded yet: each takes some hundred bytes so, and a tenth of that in a chunk.
const HISTOGRAMS_OPEN_MAX: usize = 16;
const _: () = assert!(HISTOGRAMS_OPEN_MAX <= crate::chunk::HISTOGRAMS_MAX);
/// Start timestamps of a series that are not encoded yet.
const STARTS_OPEN_MAX: usize = 64;
const _: () = assert!(STARTS_OPEN_MAX <= crate::chunk::COLUMN_SAMPLES_MAX);

/// A series. Its bytes lie in the slabs and the spill of its shard.
#[derive(Debug)]
pub(super) struct SeriesState {
    first_ms: i64,
    last_ms: i64,
    values: ValueState,
    /// Its newest full chunk.
    newest: SpillRef,
    buffer: BufferRef,
    /// Bytes of the open chunk's values.
    len: u16,
    /// Samples of the open chunk.
    count: u8,
    times: TimeState,
    more: Option<Box<More>>,
}

/// What only few series need.
#[derive(Debug, Default)]
struct More {
    /// Changes of the step in the open chunk, once it did not stay the same.
    steps: Vec<u8>,
    last_step_ms: i64,
    unordered: Vec<Sample>,
    /// In any order of time.
    histograms: Vec<HistogramSample>,
    /// In any order of time.
    starts: Vec<StartTime>,
}

/// How the timestamps of the open chunk began.
#[derive(Clone, Copy, Debug, Default)]
struct TimeState {
    step_ms: u32,
    /// How many keep the step.
    regular: u8,
}

/// Where the bytes of the series of a shard are.
#[derive(Debug)]
pub(super) struct Bytes {
    pub(super) slabs: Slabs,
    pub(super) spill: Spill,
    /// A chunk on its way to the spill.
    pub(super) scratch: Vec<u8>,
}

/// How many samples the first chunk of a series holds.
#[inline]
pub(super) fn first_chunk_samples(dense: u32) -> u8 {
    // Neighbours, which come in one request, differ.
    FIRST_CHUNK_SAMPLES_MIN + (dense % (CHUNK_SAMPLES_MAX as u32 - u32::from(FIRST_CHUNK_SAMPLES_MIN))) as u8
}

impl Default for SeriesState {
    fn default() -> Self {
        SeriesState {
            first_ms: 0,
            last_ms: 0,
            values: ValueState::default(),
            newest: SpillRef::default(),
            buffer: BufferRef::NONE,
            len: 0,
            count: 0,
            times: TimeState::default(),
            more: None,
        }
    }
}

impl SeriesState {
    /// Takes a sample, in whatever order.
    #[inline]
    pub(super) fn push(&mut self, sample: Sample, first_chunk_samples: u8, bytes: &mut Bytes) {
        if self.count > 0 && sample.timestamp_ms <= self.last_ms {
            return self.push_unordered(sample, bytes);
        }
        let before = self.values;
        let code = self.values.push(sample.value);
        let code = code.as_slice();
        let end = usize::from(self.len) + code.len();
        if end > self.buffer.capacity() {
            let larger = bytes.slabs.grow(self.buffer, usize::from(self.len), end);
            if larger == BufferRef::NONE {
                self.values = before;
                return self.push_unordered(sample, bytes);
            }
            self.buffer = larger;
        }
        if let Some(target) = bytes.slabs.bytes_mut(self.buffer).get_mut(usize::from(self.len)..end) {
            target.copy_from_slice(code);
        }
        self.len = end as u16;
        self.push_time(sample.timestamp_ms);
        let full = if self.newest == SpillRef::default() { first_chunk_samples } else { CHUNK_SAMPLES_MAX as u8 };
        if self.count >= full {
            self.close(bytes);
        }
    }

    #[inline]
    fn push_time(&mut self, time_ms: i64) {
        let times = &mut self.times;
        let step_ms = time_ms.wrapping_sub(self.last_ms);
        if times.regular == self.count && self.count > 1 && step_ms == i64::from(times.step_ms) {
            times.regular += 1;
        } else if self.count == 0 {
            self.first_ms = time_ms;
            *times = TimeState { step_ms: 0, regular: 1 };
        } else if self.count == 1 && (1..=i64::from(u32::MAX)).contains(&step_ms) {
            *times = TimeState { step_ms: step_ms as u32, regular: 2 };
        } else {
            self.push_step(step_ms);
        }
        self.last_ms = time_ms;
        self.count += 1;
    }

    fn push_step(&mut self, step_ms: i64) {
        let more = self.more.get_or_insert_default();
        if self.times.regular == self.count {
            more.steps.clear();
            more.last_step_ms = i64::from(self.times.step_ms);
        }
        push_uvarint(&mut more.steps, zigzag(step_ms.wrapping_sub(more.last_step_ms)));
        more.last_step_ms = step_ms;
    }

    #[cold]
    fn push_unordered(&mut self, sample: Sample, bytes: &mut Bytes) {
        if sample.timestamp_ms == self.last_ms && self.count > 0 && self.values.ends_with(sample.value) {
            return;
        }
        let more = self.more.get_or_insert_default();
        more.unordered.push(sample);
        if more.unordered.len() < CHUNK_SAMPLES_MAX {
            return;
        }
        join_in_place(&mut more.unordered);
        bytes.scratch.clear();
        let range = encode_sorted(&more.unordered, &mut bytes.scratch);
        more.unordered.clear();
        self.newest = bytes.spill.push(self.newest, range, &bytes.scratch);
    }

    /// Takes a histogram, in whatever order.
    #[cold]
    pub(super) fn push_histogram(&mut self, sample: &HistogramSample, bytes: &mut Bytes) {
        let histograms = &mut self.more.get_or_insert_default().histograms;
        // What is sent again.
        if histograms.last() == Some(sample) {
            return;
        }
        histograms.push(sample.clone());
        if histograms.len() < HISTOGRAMS_OPEN_MAX {
            return;
        }
        bytes.scratch.clear();
        let range = encode_open_histograms(histograms, &mut bytes.scratch);
        *histograms = Vec::new();
        self.newest = bytes.spill.push(self.newest, range, &bytes.scratch);
    }

    /// Takes the start timestamp of a sample that it takes, too, in whatever order.
    #[cold]
    pub(super) fn push_start(&mut self, start: StartTime, bytes: &mut Bytes) {
        let starts = &mut self.more.get_or_insert_default().starts;
        // What is sent again.
        if starts.last() == Some(&start) {
            return;
        }
        starts.push(start);
        if starts.len() < STARTS_OPEN_MAX {
            return;
        }
        bytes.scratch.clear();
        let range = encode_open_starts(starts, &mut bytes.scratch);
        starts.clear();
        self.newest = bytes.spill.push(self.newest, range, &bytes.scratch);
    }

    fn close(&mut self, bytes: &mut Bytes) {
        let Bytes { slabs, spill, scratch } = bytes;
        scratch.clear();
        self.encode_open(slabs, scratch);
        self.newest = spill.push(self.newest, (self.first_ms, self.last_ms), scratch);
        slabs.give_back(self.buffer);
        self.buffer = BufferRef::NONE;
        (self.len, self.count) = (0, 0);
        self.values = self.values.next_chunk();
        if let Some(more) = &self.more
            && more.unordered.is_empty()
            && more.histograms.is_empty()
            && more.starts.is_empty()
        {
            self.more = None;
        }
    }

    fn encode_open(&self, slabs: &Slabs, out: &mut Vec<u8>) {
        let regular = usize::from(self.times.regular);
        let rest = self.more.as_ref().filter(|_| regular < usize::from(self.count)).map_or(&[][..], |more| &more.steps);
        let times = StreamTimes { first_ms: self.first_ms, step_ms: u64::from(self.times.step_ms), regular, rest };
        let values = slabs.bytes(self.buffer).get(..usize::from(self.len)).unwrap_or_default();
        stream::encode(usize::from(self.count), times, self.values.first_exponent(), values, out);
    }

    /// Takes the chunks that overlap `range`, in no order.
    pub(super) fn take(&self, bytes: &Bytes, range: TimeRange, out: &mut TakenChunks) {
        let overlaps = |start_ms, end_ms| range.overlaps(TimeRange { start_ms, end_ms });
        bytes.spill.visit(self.newest, |min_ms, max_ms, chunk| {
            if overlaps(min_ms, max_ms) {
                chunk.take(min_ms, max_ms, out);
            }
            true
        });
        if self.count > 0 && overlaps(self.first_ms, self.last_ms) {
            out.copy(self.first_ms, self.last_ms, |out| self.encode_open(&bytes.slabs, out));
        }
        if self.more.is_some() {
            self.take_more(overlaps, out);
        }
    }

    #[cold]
    fn take_more(&self, overlaps: impl Fn(i64, i64) -> bool, out: &mut TakenChunks) {
        let mut unordered = self.unordered().to_vec();
        if !unordered.is_empty() {
            join_in_place(&mut unordered);
            let mut chunk = Vec::new();
            let (min_ms, max_ms) = encode_sorted(&unordered, &mut chunk);
            if overlaps(min_ms, max_ms) {
                out.hold(min_ms, max_ms, chunk.into());
            }
        }
        let mut histograms = self.histograms().to_vec();
        if !histograms.is_empty() {
            let mut chunk = Vec::new();
            let (min_ms, max_ms) = encode_open_histograms(&mut histograms, &mut chunk);
            if overlaps(min_ms, max_ms) {
                out.hold(min_ms, max_ms, chunk.into());
            }
        }
        let mut starts = self.more.as_ref().map_or_else(Vec::new, |more| more.starts.clone());
        if !starts.is_empty() {
            let mut chunk = Vec::new();
            let (min_ms, max_ms) = encode_open_starts(&mut starts, &mut chunk);
            if overlaps(min_ms, max_ms) {
                out.hold(min_ms, max_ms, chunk.into());
            }
        }
    }

    fn histograms(&self) -> &[HistogramSample] {
        self.more.as_ref().map_or(&[], |more| &more.histograms)
    }

    fn unordered(&self) -> &[Sample] {
        self.more.as_ref().map_or(&[], |more| &more.unordered)
    }

    /// Whether a chunk of samples overlaps `range`.
    pub(super) fn overlaps(&self, bytes: &Bytes, range: TimeRange) -> bool {
        let overlaps = |start_ms, end_ms| range.overlaps(TimeRange { start_ms, end_ms });
        let mut found = self.count > 0 && overlaps(self.first_ms, self.last_ms);
        if !found {
            bytes.spill.visit(self.newest, |min_ms, max_ms, _| {
                found = overlaps(min_ms, max_ms);
                !found
            });
        }
        found
            || self.unordered().iter().any(|sample| range.contains(sample.timestamp_ms))
            || self.histograms().iter().any(|sample| range.contains(sample.timestamp_ms))
    }
}

/// Joins histograms and encodes them, at least one and at most [`HISTOGRAMS_OPEN_MAX`]; answers the first and last timestamp.
fn encode_open_histograms(histograms: &mut Vec<HistogramSample>, out: &mut Vec<u8>) -> (i64, i64) {
    join_histograms(histograms);
    encode_histograms(histograms, Effort::Sealed, out);
    let edges = histograms.first().zip(histograms.last());
    edges.map_or((0, 0), |(first, last)| (first.timestamp_ms, last.timestamp_ms))
}

/// Joins start timestamps and encodes them, at least one and at most [`STARTS_OPEN_MAX`]; answers the samples' first and last time.
fn encode_open_starts(starts: &mut Vec<StartTime>, out: &mut Vec<u8>) -> (i64, i64) {
    join_starts(starts);
    encode_starts(starts, 0, out);
    let edges = starts.first().zip(starts.last());
    edges.map_or((0, 0), |(first, last)| (first.timestamp_ms, last.timestamp_ms))
}

/// Encodes samples in strictly ascending order of time, at least one; answers the first and last timestamp.
fn encode_sorted(samples: &[Sample], out: &mut Vec<u8>) -> (i64, i64) {
    let time = |at: usize| samples.get(at).map_or(0, |sample| sample.timestamp_ms);
    let (first_ms, last_ms) = (time(0), time(samples.len().saturating_sub(1)));
    let step_ms = if samples.len() > 1 { time(1).wrapping_sub(first_ms) } else { 0 };
    let plain = (0..=i64::from(u32::MAX)).contains(&step_ms);
    let regular = match plain {
        true => {
            samples
                .windows(2)
                .take_while(|pair| pair[1].timestamp_ms.wrapping_sub(pair[0].timestamp_ms) == step_ms)
                .count()
                + 1
        }
        false => 1,
    };
    let step_ms = if regular > 1 { step_ms } else { 0 };
    let (mut steps, mut last_step_ms) = (Vec::new(), step_ms);
    for at in regular..samples.len() {
        let step_ms = time(at).wrapping_sub(time(at - 1));
        push_uvarint(&mut steps, zigzag(step_ms.wrapping_sub(last_step_ms)));
        last_step_ms = step_ms;
    }
    let mut state = ValueState::default();
    let mut values = Vec::with_capacity(samples.len() * 4);
    for sample in samples {
        values.extend_from_slice(state.push(sample.value).as_slice());
    }
    let times = StreamTimes { first_ms, step_ms: step_ms as u64, regular, rest: &steps };
    stream::encode(samples.len(), times, 0, &values, out);
    (first_ms, last_ms)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::disk::RealDisk;
    use crate::head::{SpillDir, SpillMemory};
    use crate::select::SeriesDecoder;

    fn time() -> impl Strategy<Value = i64> {
        prop_oneof![8 => 0i64..400, 1 => any::<i64>()]
    }

    fn value() -> impl Strategy<Value = u64> {
        prop_oneof![
            (0u64..4).prop_map(|v| 0x7ff0_0000_0000_0001 + v),
            (0u32..5).prop_map(|v| f64::from(v).to_bits()),
            (0u32..5).prop_map(|v| (f64::from(v) / 8.0).to_bits()),
            (0u32..5).prop_map(|v| (f64::from(v) / 3.0).to_bits()),
        ]
    }

    proptest! {
        #[test]
        fn any_order_of_samples_reads_back_as_their_join(
            pairs in proptest::collection::vec((time(), value()), 0..900),
            ascending in proptest::collection::vec((prop_oneof![Just(15_000i64), 1i64..3, Just(1 << 40)], value()), 0..500),
        ) {
            let mut samples: Vec<Sample> = Vec::new();
            let mut time = 1000;
            for (step, bits) in ascending {
                time += step;
                samples.push(Sample { timestamp_ms: time, value: f64::from_bits(bits) });
            }
            samples.extend(pairs.iter().map(|&(timestamp_ms, bits)| Sample { timestamp_ms, value: f64::from_bits(bits) }));
            let temp = tempfile::tempdir().unwrap();
            let dir = SpillDir { disk: Arc::new(RealDisk), dir: temp.path().to_owned(), page_bytes: 700, memory: Arc::new(SpillMemory::new(1000)) };
            let mut bytes = Bytes { slabs: Slabs::default(), spill: Spill::new(dir, "p".into()), scratch: Vec::new() };
            let mut series = SeriesState::default();
            for sample in &samples {
                series.push(*sample, 40, &mut bytes);
            }
            join_in_place(&mut samples);
            let mut decoder = SeriesDecoder::default();
            for range in [TimeRange { start_ms: 17, end_ms: 350 }, TimeRange::ALL] {
                let mut taken = TakenChunks::default();
                series.take(&bytes, range, &mut taken);
                let mut chunks: Vec<_> = taken.finish().collect();
                chunks.sort_by_key(|chunk| chunk.min_ms);
                let (times, values) = decoder.decode(&chunks, range).unwrap();
                let got: Vec<_> = times.iter().zip(values).map(|(&timestamp_ms, &value)| Sample { timestamp_ms, value }).collect();
                let expected: Vec<_> = samples.iter().copied().filter(|s| range.contains(s.timestamp_ms)).collect();
                // A chunk may reach over the range without a sample in it.
                prop_assert!(expected.is_empty() || (series.overlaps(&bytes, range) && !chunks.is_empty()));
                prop_assert_eq!(got, expected);
            }
        }
    }
}
