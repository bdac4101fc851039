use std::sync::Arc;

use proptest::prelude::*;

use crate::chunk::{Effort, HISTOGRAMS_MAX, decode_histograms, encode_histograms, is_histograms};
use crate::model::histogram::{
    BUCKETS_MAX, Buckets, CUSTOM_BUCKETS_SCHEMA, Histogram, HistogramSample, ResetHint, SCHEMA_MAX, SCHEMA_MIN,
};

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => (0u32..1000).prop_map(f64::from),
        1 => Just(f64::INFINITY),
        1 => Just(f64::from_bits(0x7ff8_0000_dead_beef)),
        1 => Just(-0.0),
        2 => any::<u64>().prop_map(f64::from_bits),
    ]
}

fn buckets() -> impl Strategy<Value = Buckets> {
    proptest::collection::btree_map(-20i32..20, number(), 0..12).prop_map(Buckets::from_ascending)
}

/// Histograms with any numbers, as storage takes them: only their layout has to be right.
pub(crate) fn histogram() -> impl Strategy<Value = Histogram> {
    let schema = prop_oneof![3 => Just(0i8), 1 => SCHEMA_MIN..=SCHEMA_MAX, 1 => Just(CUSTOM_BUCKETS_SCHEMA)];
    let parts = (0u8..4, any::<bool>(), schema, prop_oneof![Just(0.001), number()]);
    let numbers = (number(), number(), number());
    (parts, numbers, buckets(), buckets(), proptest::collection::vec(number(), 0..4)).prop_map(
        |((hint, is_integer, schema, zero_threshold), (zero_count, count, sum), positive, negative, bounds)| {
            Histogram {
                hint: ResetHint::from_number(hint).unwrap(),
                is_integer,
                schema,
                zero_threshold,
                zero_count,
                count,
                sum,
                positive,
                negative,
                custom_values: if schema == CUSTOM_BUCKETS_SCHEMA { bounds } else { Vec::new() },
            }
        },
    )
}

/// Runs of histograms of one layout, their numbers growing.
fn samples() -> impl Strategy<Value = Vec<HistogramSample>> {
    let run = (histogram(), 1usize..20, 1i64..60_000);
    proptest::collection::vec(run, 1..7).prop_map(|runs| {
        let (mut samples, mut timestamp_ms) = (Vec::new(), -7);
        for (mut histogram, length, step_ms) in runs {
            for i in 0..length {
                histogram.count += i as f64;
                histogram.positive.counts.iter_mut().for_each(|count| *count += 1.0);
                timestamp_ms += step_ms;
                samples.push(HistogramSample { timestamp_ms, histogram: Arc::new(histogram.clone()) });
            }
        }
        samples.truncate(HISTOGRAMS_MAX);
        samples
    })
}

fn encoded(samples: &[HistogramSample], effort: Effort) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_histograms(samples, effort, &mut bytes);
    bytes
}

fn decoded(bytes: &[u8]) -> Option<Vec<HistogramSample>> {
    let mut samples = Vec::new();
    decode_histograms(bytes, &mut samples).ok().map(|()| samples)
}

proptest! {
    #[test]
    fn histograms_read_back_bit_for_bit(samples in samples(), cold: bool, cut: prop::sample::Index) {
        let bytes = encoded(&samples, if cold { Effort::Cold } else { Effort::Sealed });
        prop_assert!(is_histograms(&bytes));
        prop_assert_eq!(decoded(&bytes), Some(samples));
        prop_assert_eq!(decoded(&bytes[..cut.index(bytes.len())]), None);
    }

    #[test]
    fn changed_and_arbitrary_bytes_never_panic(
        samples in samples(), at: prop::sample::Index, byte: u8, other in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        let mut bytes = encoded(&samples, Effort::Sealed);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Some(again) = decoded(&bytes) {
            prop_assert_eq!(decoded(&encoded(&again, Effort::Sealed)), Some(again));
        }
        let _ = decoded(&[&[5], &other[..]].concat());
    }
}

#[test]
fn the_largest_histograms_and_the_most_of_them_read_back() {
    let large = |first: u32| Histogram {
        positive: Buckets::from_ascending((0..BUCKETS_MAX as i32).map(|i| (2 * i, f64::from(first + i as u32)))),
        negative: Buckets::from_ascending((0..BUCKETS_MAX as i32).map(|i| (i, 1.0))),
        ..Histogram::default()
    };
    for count in [1, 2, HISTOGRAMS_MAX as u32] {
        let sample = |i: u32| HistogramSample { timestamp_ms: i.into(), histogram: Arc::new(large(i)) };
        let samples: Vec<_> = (0..count).map(sample).collect();
        assert_eq!(decoded(&encoded(&samples, Effort::Sealed)).as_deref(), Some(&samples[..]), "{count}");
    }
}

#[test]
fn a_busy_counter_costs_a_few_bytes_a_bucket() {
    let sample = |i: u32| {
        let counts = (0..20).map(|bucket| (bucket, f64::from(i * (bucket as u32 + 1) + i * i % 7)));
        let positive = Buckets::from_ascending(counts);
        let count = positive.counts.iter().sum();
        let histogram = Histogram { is_integer: true, count, sum: count / 4.0, positive, ..Histogram::default() };
        HistogramSample { timestamp_ms: i64::from(i) * 15_000, histogram: Arc::new(histogram) }
    };
    let samples: Vec<_> = (0..HISTOGRAMS_MAX as u32).map(sample).collect();
    let bytes = encoded(&samples, Effort::Sealed).len();
    assert!(bytes < HISTOGRAMS_MAX * 20, "{bytes} bytes for {HISTOGRAMS_MAX} samples of 20 buckets");
    let alone = encoded(&samples[50..51], Effort::Sealed).len();
    assert!(alone < 80, "{alone} bytes for one sample");
}
