//! Prometheus' chunks of float histograms, with one sample each: its second sample would claim that no counter was reset between
//! the two, and only who compares them knows that.
//!
//! Two bytes hold the number of samples, one says whether they are gauges. Then bits: the zero threshold, the schema, the spans
//! above and below zero, custom bounds where the schema has them; the time; the bits of count, zero count and sum, and of
//! every bucket.

use marigram_storage::model::histogram::{BucketSpan, CUSTOM_BUCKETS_SCHEMA, Histogram, HistogramSample, ResetHint};
use marigram_storage::model::sample::is_stale;

use super::bits::Bits;

/// The header's flag of gauges.
const GAUGE: u8 = 0b1100_0000;
/// Largest bound, in thousandths, that is written as a number.
const BOUND_MAX: f64 = 33_554_430.0;

/// Encodes a chunk of one sample.
pub(super) fn encode(sample: &HistogramSample) -> Vec<u8> {
    let histogram = &*sample.histogram;
    if is_stale(histogram.sum) {
        // The marker has no buckets.
        let marker = Histogram { sum: histogram.sum, ..Histogram::default() };
        return encode_one(sample.timestamp_ms, &marker);
    }
    encode_one(sample.timestamp_ms, histogram)
}

fn encode_one(timestamp_ms: i64, histogram: &Histogram) -> Vec<u8> {
    let flags = if histogram.hint == ResetHint::Gauge { GAUGE } else { 0 };
    let mut out = Bits::after(&[0, 1, flags]);
    push_threshold(&mut out, histogram.zero_threshold);
    out.push_signed(histogram.schema.into());
    push_spans(&mut out, &histogram.positive.spans);
    push_spans(&mut out, &histogram.negative.spans);
    if histogram.schema == CUSTOM_BUCKETS_SCHEMA {
        out.push_unsigned(histogram.custom_values.len() as u64);
        histogram.custom_values.iter().for_each(|bound| push_bound(&mut out, *bound));
    }
    out.push_signed(timestamp_ms);
    for value in [histogram.count, histogram.zero_count, histogram.sum] {
        out.push_float(value);
    }
    histogram.positive.counts.iter().chain(&histogram.negative.counts).for_each(|count| out.push_float(*count));
    out.into_bytes()
}

/// A power of two between 2^-243 and 2^10 takes a byte, everything else but 0 nine.
fn push_threshold(out: &mut Bits, threshold: f64) {
    let bits = threshold.to_bits();
    let (exponent, fraction) = ((bits >> 52) as i64 - 1023, bits & ((1 << 52) - 1));
    if threshold == 0.0 {
        out.push(0, 8);
    } else if fraction == 0 && (-243..=10).contains(&exponent) {
        out.push((exponent + 244) as u64, 8);
    } else {
        out.push(255, 8);
        out.push(bits, 64);
    }
}

fn push_spans(out: &mut Bits, spans: &[BucketSpan]) {
    out.push_unsigned(spans.len() as u64);
    for span in spans {
        out.push_unsigned(span.length.into());
        out.push_signed(span.offset.into());
    }
}

/// Whole thousandths take few bits, other bounds 65.
fn push_bound(out: &mut Bits, bound: f64) {
    let thousandths = (bound * 1000.0).round();
    if (0.0..=BOUND_MAX).contains(&(bound * 1000.0)) && thousandths / 1000.0 == bound {
        return out.push_unsigned(thousandths as u64 + 1);
    }
    out.push(0, 1);
    out.push_float(bound);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use marigram_storage::model::histogram::Buckets;
    use marigram_storage::model::sample::STALE_NAN_BITS;

    use super::*;

    fn encoded(histogram: Histogram) -> Vec<u8> {
        encode(&HistogramSample { timestamp_ms: 1_700_000_000_123, histogram: Arc::new(histogram) })
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The bytes are those of Prometheus' own encoder.
    #[test]
    fn known_chunks() {
        let span = |offset, length| BucketSpan { offset, length };
        let exponential = Histogram {
            hint: ResetHint::Unknown,
            is_integer: false,
            schema: 3,
            zero_threshold: 2f64.powi(-128),
            zero_count: 2.0,
            count: 11.5,
            sum: -18.25,
            positive: Buckets { spans: vec![span(-5, 2), span(300, 1)], counts: vec![1.0, 2.5, 3.0] },
            negative: Buckets { spans: vec![span(1, 1)], counts: vec![3.0] },
            custom_values: Vec::new(),
        };
        assert_eq!(
            hex(&encoded(exponential.clone())),
            concat!(
                "000100749ca5bb8f84b2318ff0000c5e7f2b43da013800000000000200000000000000060192000000000001ff80000000000002002000000000",
                "000200400000000000020040000000000000"
            )
        );
        let gauge = Histogram { hint: ResetHint::Gauge, zero_threshold: 0.001, ..exponential.clone() };
        assert_eq!(
            hex(&encoded(gauge)),
            concat!(
                "0001c0ff3f50624dd2f1a9fc9ca5bb8f84b2318ff0000c5e7f2b43da013800000000000200000000000000060192000000000001ff8000000000",
                "0002002000000000000200400000000000020040000000000000"
            )
        );
        let custom = Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            positive: Buckets { spans: vec![span(0, 3)], counts: vec![1.0, 0.0, 4.0] },
            count: 5.0,
            sum: 7.0,
            custom_values: vec![0.005, 1.0 / 3.0, 40_000.0],
            ..Histogram::default()
        };
        assert_eq!(
            hex(&encoded(custom)),
            concat!(
                "00010000ee5c664ec3fd55555555555552071c400000000007f0000c5e7f2b43da00a0000000000000000000000000000200e000000000",
                "0001ff8000000000000000000000000000020080000000000000"
            )
        );
        let stale = Histogram { sum: f64::from_bits(STALE_NAN_BITS), ..exponential };
        assert_eq!(hex(&encoded(stale)), "000100001fc0003179fcad0f600000000000000000000000000000000ffe00000000000040");
    }
}
