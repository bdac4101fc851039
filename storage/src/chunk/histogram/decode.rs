//! Reads a chunk of histograms; every number is bounded before memory is taken for it.

use std::sync::Arc;

use super::{FLAG_INTEGER, FLAG_ROWS, HINT_BITS, HINTS_DIFFER, HISTOGRAMS_MAX};
use crate::chunk::column::{times, values};
use crate::chunk::{COLUMN_SAMPLES_MAX, KIND_HISTOGRAMS};
use crate::format::varint::{take_uvarint, unzigzag};
use crate::model::histogram::{BUCKETS_MAX, BucketSpan, Buckets, Histogram, HistogramSample, ResetHint};

/// Appends the samples of a chunk; `None` for bytes that no encoder makes.
pub(in crate::chunk) fn decode(bytes: &[u8], samples: &mut Vec<HistogramSample>) -> Option<()> {
    let (&KIND_HISTOGRAMS, rest) = bytes.split_first()? else { return None };
    let rest = &mut &*rest;
    let column = take_part(rest)?;
    let mut timestamps = Vec::new();
    let count = times::decode(column, &mut timestamps).filter(|count| *count <= HISTOGRAMS_MAX)?;
    let hints = take_hints(rest, count)?;
    let mut left = timestamps.into_iter().zip(hints);
    while left.len() > 0 {
        let length = take_length(rest, left.len()).filter(|length| *length > 0)?;
        take_run(rest, left.by_ref().take(length).collect(), samples)?;
    }
    rest.is_empty().then_some(())
}

fn take_hints(rest: &mut &[u8], count: usize) -> Option<Vec<ResetHint>> {
    let head = take_byte(rest)?;
    if head != HINTS_DIFFER {
        return Some(vec![ResetHint::from_number(head)?; count]);
    }
    let (packed, after) = rest.split_at_checked(count.div_ceil(4))?;
    *rest = after;
    let hint = |at: usize| packed.get(at / 4).map(|four| four >> (HINT_BITS as usize * (at % 4)) & 3);
    (0..count).map(|at| ResetHint::from_number(hint(at)?)).collect()
}

/// Takes a run, whose samples have these times and hints.
fn take_run(rest: &mut &[u8], times_hints: Vec<(i64, ResetHint)>, samples: &mut Vec<HistogramSample>) -> Option<()> {
    let flags = take_byte(rest).filter(|flags| *flags <= FLAG_INTEGER | FLAG_ROWS)?;
    let mut layout = take_layout(rest)?;
    layout.is_integer = flags & FLAG_INTEGER != 0;
    let runs = times_hints.len();
    let (mut counts, mut zero_counts, mut sums) = (Vec::new(), Vec::new(), Vec::new());
    for column in [&mut counts, &mut zero_counts, &mut sums] {
        take_column(rest, runs, column)?;
    }
    let buckets = take_buckets(rest, &layout, runs, flags & FLAG_ROWS != 0)?;
    let numbers = counts.into_iter().zip(zero_counts).zip(sums).zip(buckets);
    for ((timestamp_ms, hint), (((count, zero_count), sum), (positive, negative))) in
        times_hints.into_iter().zip(numbers)
    {
        let mut histogram = Histogram { hint, count, zero_count, sum, ..layout.clone() };
        histogram.positive.counts = positive;
        histogram.negative.counts = negative;
        samples.push(HistogramSample { timestamp_ms, histogram: Arc::new(histogram) });
    }
    Some(())
}

/// A histogram without numbers: its spans, but no counts.
fn take_layout(rest: &mut &[u8]) -> Option<Histogram> {
    let schema = take_byte(rest)?.cast_signed();
    let (threshold, after) = rest.split_first_chunk::<8>()?;
    *rest = after;
    let zero_threshold = f64::from_bits(u64::from_le_bytes(*threshold));
    let positive = Buckets { spans: take_spans(rest)?, counts: Vec::new() };
    let negative = Buckets { spans: take_spans(rest)?, counts: Vec::new() };
    let mut custom_values = Vec::new();
    let bounds = take_length(rest, BUCKETS_MAX)?;
    if bounds > 0 {
        take_column(rest, bounds, &mut custom_values)?;
    }
    let layout = Histogram { schema, zero_threshold, positive, negative, custom_values, ..Histogram::default() };
    layout.has_known_schema().then_some(layout)
}

fn take_spans(rest: &mut &[u8]) -> Option<Vec<BucketSpan>> {
    // A span takes at least two bytes.
    let most = BUCKETS_MAX.min(rest.len() / 2);
    let count = take_length(rest, most)?;
    let mut spans = Vec::with_capacity(count);
    for _ in 0..count {
        let offset = i32::try_from(unzigzag(take_uvarint(rest)?)).ok()?;
        let length = u32::try_from(take_uvarint(rest)?).ok()?;
        spans.push(BucketSpan { offset, length });
    }
    Buckets::spanned(&spans).filter(|buckets| *buckets <= BUCKETS_MAX)?;
    Some(spans)
}

/// The counts above and below zero of each sample of a run.
fn take_buckets(rest: &mut &[u8], layout: &Histogram, runs: usize, rows: bool) -> Option<Vec<(Vec<f64>, Vec<f64>)>> {
    let positive = Buckets::spanned(&layout.positive.spans)?;
    let negative = Buckets::spanned(&layout.negative.spans)?;
    let all = positive + negative;
    // Not before as many columns are there as are announced: each takes at least two bytes.
    if !rows && all > rest.len() {
        return None;
    }
    if rows && all > 0 {
        let mut counts = Vec::new();
        take_column(rest, Some(all * runs).filter(|count| *count <= COLUMN_SAMPLES_MAX)?, &mut counts)?;
        let split = |row: &[f64]| row.split_at_checked(positive).map(|(a, b)| (a.to_vec(), b.to_vec()));
        return counts.chunks(all).map(split).collect();
    }
    let mut buckets = vec![(Vec::with_capacity(positive), Vec::with_capacity(negative)); runs];
    let mut column = Vec::new();
    for place in 0..all {
        column.clear();
        take_column(rest, runs, &mut column)?;
        for (count, (above, below)) in column.iter().zip(&mut buckets) {
            if place < positive { above.push(*count) } else { below.push(*count) }
        }
    }
    Some(buckets)
}

fn take_column(rest: &mut &[u8], count: usize, out: &mut Vec<f64>) -> Option<()> {
    values::decode(take_part(rest)?, count, 0..count, out)
}

/// Bytes behind their length.
fn take_part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_uvarint(rest)?).ok()?;
    let (part, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(part)
}

fn take_length(rest: &mut &[u8], max: usize) -> Option<usize> {
    usize::try_from(take_uvarint(rest)?).ok().filter(|length| *length <= max)
}

fn take_byte(rest: &mut &[u8]) -> Option<u8> {
    let (&byte, after) = rest.split_first()?;
    *rest = after;
    Some(byte)
}
