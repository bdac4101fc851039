//! Writes a chunk of histograms.

use std::cell::RefCell;

use super::{COLUMNS_SAMPLES_MIN, FLAG_INTEGER, FLAG_ROWS, HINT_BITS, HINTS_DIFFER, HISTOGRAMS_MAX, same_layout};
use crate::chunk::column::times;
use crate::chunk::{COLUMN_SAMPLES_MAX, Effort, KIND_HISTOGRAMS, ValueEncoder};
use crate::format::varint::{push_uvarint, zigzag};
use crate::model::histogram::{BucketSpan, Histogram, HistogramSample};

thread_local! {
    static WRITER: RefCell<Writer> = RefCell::default();
}

/// Encodes columns behind their lengths; keeps its buffers.
#[derive(Default)]
struct Writer {
    encoder: ValueEncoder,
    values: Vec<f64>,
    column: Vec<u8>,
}

/// Appends a chunk of 1 to [`HISTOGRAMS_MAX`] samples in strictly ascending order of time, whose layouts were checked.
pub(in crate::chunk) fn encode(samples: &[HistogramSample], effort: Effort, out: &mut Vec<u8>) {
    debug_assert!((1..=HISTOGRAMS_MAX).contains(&samples.len()));
    debug_assert!(samples.is_sorted_by(|a, b| a.timestamp_ms < b.timestamp_ms));
    debug_assert!(samples.iter().all(|sample| sample.histogram.check_layout().is_ok()));
    out.push(KIND_HISTOGRAMS);
    let timestamps: Vec<i64> = samples.iter().map(|sample| sample.timestamp_ms).collect();
    let mut column = Vec::with_capacity(32);
    times::encode(&timestamps, &mut column);
    push_uvarint(out, column.len() as u64);
    out.extend_from_slice(&column);
    push_hints(samples, out);
    WRITER.with_borrow_mut(|writer| {
        for run in samples.chunk_by(|a, b| same_layout(&a.histogram, &b.histogram)) {
            writer.push_run(run, effort, out);
        }
    });
}

fn push_hints(samples: &[HistogramSample], out: &mut Vec<u8>) {
    let hints = || samples.iter().map(|sample| sample.histogram.hint as u8);
    let first = hints().next().unwrap_or_default();
    if hints().all(|hint| hint == first) {
        return out.push(first);
    }
    out.push(HINTS_DIFFER);
    let hints: Vec<u8> = hints().collect();
    for four in hints.chunks(4) {
        out.push(four.iter().rev().fold(0, |byte, hint| byte << HINT_BITS | hint));
    }
}

impl Writer {
    fn push_run(&mut self, run: &[HistogramSample], effort: Effort, out: &mut Vec<u8>) {
        let Some(HistogramSample { histogram: first, .. }) = run.first() else { return };
        let buckets = first.positive.counts.len() + first.negative.counts.len();
        let rows = run.len() < COLUMNS_SAMPLES_MIN && buckets * run.len() <= COLUMN_SAMPLES_MAX;
        push_uvarint(out, run.len() as u64);
        let integer = if first.is_integer { FLAG_INTEGER } else { 0 };
        out.push(integer | if rows { FLAG_ROWS } else { 0 });
        self.push_layout(first, effort, out);
        let histograms = || run.iter().map(|sample| &*sample.histogram);
        self.push_column(histograms().map(|histogram| histogram.count), effort, out);
        self.push_column(histograms().map(|histogram| histogram.zero_count), effort, out);
        self.push_column(histograms().map(|histogram| histogram.sum), effort, out);
        if rows && buckets > 0 {
            self.push_column(histograms().flat_map(counts), effort, out);
            return;
        }
        for place in 0..first.positive.counts.len() {
            let count = |histogram: &Histogram| histogram.positive.counts.get(place).copied().unwrap_or_default();
            self.push_column(histograms().map(count), effort, out);
        }
        for place in 0..first.negative.counts.len() {
            let count = |histogram: &Histogram| histogram.negative.counts.get(place).copied().unwrap_or_default();
            self.push_column(histograms().map(count), effort, out);
        }
    }

    fn push_layout(&mut self, histogram: &Histogram, effort: Effort, out: &mut Vec<u8>) {
        out.push(histogram.schema.cast_unsigned());
        out.extend_from_slice(&histogram.zero_threshold.to_bits().to_le_bytes());
        push_spans(&histogram.positive.spans, out);
        push_spans(&histogram.negative.spans, out);
        push_uvarint(out, histogram.custom_values.len() as u64);
        if !histogram.custom_values.is_empty() {
            self.push_column(histogram.custom_values.iter().copied(), effort, out);
        }
    }

    /// Appends at least one value as a column behind its length.
    fn push_column(&mut self, values: impl Iterator<Item = f64>, effort: Effort, out: &mut Vec<u8>) {
        self.values.clear();
        self.values.extend(values);
        self.column.clear();
        self.encoder.encode(&self.values, effort, &mut self.column);
        push_uvarint(out, self.column.len() as u64);
        out.extend_from_slice(&self.column);
    }
}

/// The counts of all buckets, those above zero first.
fn counts(histogram: &Histogram) -> impl Iterator<Item = f64> + '_ {
    histogram.positive.counts.iter().chain(&histogram.negative.counts).copied()
}

fn push_spans(spans: &[BucketSpan], out: &mut Vec<u8>) {
    push_uvarint(out, spans.len() as u64);
    for span in spans {
        push_uvarint(out, zigzag(span.offset.into()));
        push_uvarint(out, span.length.into());
    }
}
