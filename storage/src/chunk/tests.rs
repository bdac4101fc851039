//! Columns and chunks of any samples read back bit for bit; any bytes at all are refused or decode.

use proptest::prelude::*;

use super::*;

/// Columns as they occur, and as they hopefully do not.
fn value_column(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<f64>> {
    let odd = prop::sample::select(vec![
        f64::from_bits(0x7ff0_0000_0000_0002),
        f64::from_bits(0x7ff8_0000_0000_0001),
        f64::from_bits(0xfff7_1234_5678_9abc),
        f64::INFINITY,
        f64::NEG_INFINITY,
        -0.0,
        0.0,
        f64::MIN_POSITIVE,
        5e-324,
        f64::MAX,
        f64::MIN,
        9_007_199_254_740_993.0,
        9.3e18,
        -9.3e18,
        1e300,
        0.1 + 0.2,
    ]);
    (count, 0u32..10, any::<u64>(), 0i32..12, 0u32..64, 0u32..100, prop::collection::vec((any::<u64>(), odd), 0..20))
        .prop_map(|(count, shape, seed, decimals, spread, sprinkled, odd)| {
            let mut random = fastrand(seed);
            let mut sum = 0i64;
            let mut float_sum = 0.0;
            let power = 10f64.powi(decimals);
            let mut column: Vec<f64> = (0..count)
                .map(|_| {
                    let noise = random() >> spread;
                    match shape {
                        0 => f64::from_bits(random()),
                        1 => (noise >> 11) as f64,
                        2 => {
                            sum = sum.wrapping_add((noise >> 20) as i64);
                            sum as f64
                        }
                        3 => ((noise >> 14) as i64 - (1 << 49)) as f64 / power,
                        4 => {
                            float_sum += (noise >> 40) as f64 / power;
                            float_sum
                        }
                        5 => f64::from(u8::from(random().is_multiple_of(16))),
                        6 => {
                            if random().is_multiple_of(50) {
                                sum = (noise >> 30) as i64;
                            }
                            sum as f64 / power
                        }
                        7 => f64::from_bits(seed),
                        8 => (random() % 5000) as f64 / (1 + random() % 7000) as f64,
                        _ => f64::from(f32::from_bits(random() as u32)),
                    }
                })
                .collect();
            if sprinkled < 50 {
                for (place, value) in odd {
                    column[place as usize % count] = value;
                }
            }
            column
        })
}

/// A small generator, so that a column follows from its seed.
fn fastrand(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

fn times_column(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<i64>> {
    (count, any::<u64>(), 0u32..64, any::<i64>()).prop_map(|(count, seed, spread, start)| {
        let mut random = fastrand(seed);
        let mut times: Vec<i64> = (0..count as i64)
            .map(|at| start.saturating_add(at.saturating_mul(15_000)).saturating_add((random() >> spread) as i64 / 2))
            .collect();
        times.sort_unstable();
        times.dedup();
        times
    })
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn reads_back(encoder: &mut ValueEncoder, values: &[f64]) {
    for effort in [Effort::Sealed, Effort::Cold] {
        let mut bytes = vec![7];
        encoder.encode(values, effort, &mut bytes);
        let mut got = vec![1.5];
        decode_values(&bytes[1..], values.len(), &mut got).unwrap();
        assert_eq!(got[0], 1.5, "values are appended");
        assert_eq!(bits(&got[1..]), bits(values));
        for within in [values.len() / 3..values.len() - values.len() / 4, values.len() - 1..values.len(), 0..0] {
            got.truncate(1);
            decode_values_within(&bytes[1..], values.len(), within.clone(), &mut got).unwrap();
            assert_eq!(bits(&got[1..]), bits(&values[within]));
        }
        assert!(decode_values_within(&bytes[1..], values.len(), 1..values.len() + 1, &mut got).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn value_columns_read_back_bit_for_bit(first in value_column(1..2001), second in value_column(1..200)) {
        let mut encoder = ValueEncoder::new();
        reads_back(&mut encoder, &first);
        reads_back(&mut encoder, &second);
    }

    #[test]
    fn chunks_read_back(times in times_column(1..2001), values in value_column(2000..2001)) {
        let values = &values[..times.len()];
        let mut encoder = ValueEncoder::new();
        let mut column = Vec::new();
        encode_times(&times, &mut column);
        let (mut whole, mut half) = (Vec::new(), Vec::new());
        encode_chunk(&mut encoder, &times, values, Effort::Sealed, &mut whole);
        encode_values_chunk(&mut encoder, values, Effort::Sealed, &mut half);
        for (times_column, chunk) in [(&[][..], &whole), (&column, &half)] {
            let (mut got_times, mut got_values) = (Vec::new(), Vec::new());
            decode(times_column, chunk, &mut got_times, &mut got_values).unwrap();
            prop_assert_eq!(&got_times, &times);
            prop_assert_eq!(bits(&got_values), bits(values));
        }
        prop_assert!(decode(&[], &half, &mut Vec::new(), &mut Vec::new()).is_err());
    }

    #[test]
    fn any_bytes_are_refused_or_decode(mut bytes in prop::collection::vec(any::<u8>(), 0..300), count in 0usize..9000) {
        let (mut times, mut values) = (Vec::new(), Vec::new());
        let _ = decode_times(&bytes, &mut times);
        let _ = decode_values(&bytes, count, &mut values);
        for kind in 0..6 {
            if let Some(first) = bytes.first_mut() {
                *first = kind;
            }
            let _ = decode(&[], &bytes, &mut times, &mut values);
        }
        prop_assert!(values.len() <= 7 * COLUMN_SAMPLES_MAX && times.len() <= 7 * COLUMN_SAMPLES_MAX);
    }

    #[test]
    fn damaged_columns_are_refused_or_decode(
        values in value_column(1..600),
        times in times_column(1..600),
        damage in prop::collection::vec((any::<usize>(), any::<u8>()), 1..4),
        cut in any::<usize>(),
    ) {
        let mut bytes = Vec::new();
        ValueEncoder::new().encode(&values, Effort::Sealed, &mut bytes);
        let mut time_bytes = Vec::new();
        encode_times(&times, &mut time_bytes);
        for bytes in [&mut bytes, &mut time_bytes] {
            let _ = decode_values(&bytes[..cut % bytes.len()], values.len(), &mut Vec::new());
            let _ = decode_times(&bytes[..cut % bytes.len()], &mut Vec::new());
            for (place, byte) in &damage {
                let length = bytes.len();
                bytes[place % length] = *byte;
            }
        }
        let (mut got_times, mut got_values) = (Vec::new(), Vec::new());
        if decode_values(&bytes, values.len(), &mut got_values).is_ok() {
            prop_assert_eq!(got_values.len(), values.len());
        }
        if decode_times(&time_bytes, &mut got_times).is_ok() {
            prop_assert!(got_times.is_sorted_by(|a, b| a < b));
        }
    }
}

#[test]
fn every_length_reads_back() {
    let mut random = fastrand(1);
    let values: Vec<f64> = (0..2000).map(|at| (at * at) as f64 + (random() % 40) as f64).collect();
    let mut encoder = ValueEncoder::new();
    for length in 1..=values.len() {
        reads_back(&mut encoder, &values[..length]);
    }
}

#[test]
fn the_longest_columns_read_back_and_longer_ones_are_refused() {
    let mut random = fastrand(2);
    let mut encoder = ValueEncoder::new();
    let times: Vec<i64> = (0..COLUMN_SAMPLES_MAX as i64).map(|at| at * 15_000 + (random() % 5) as i64).collect();
    let columns: [Vec<f64>; 4] = [
        times.iter().map(|_| f64::from_bits(random())).collect(),
        times.iter().map(|_| (random() % 1000) as f64 / 100.0).collect(),
        times.iter().map(|_| if random().is_multiple_of(300) { f64::NAN } else { 1.0 }).collect(),
        vec![3.25; times.len()],
    ];
    for values in &columns {
        reads_back(&mut encoder, values);
        let (mut chunk, mut got_times, mut got_values) = (Vec::new(), Vec::new(), Vec::new());
        encode_chunk(&mut encoder, &times, values, Effort::Cold, &mut chunk);
        decode(&[], &chunk, &mut got_times, &mut got_values).unwrap();
        assert_eq!(got_times, times);
        assert_eq!(bits(&got_values), bits(values));
    }
    let mut bytes = Vec::new();
    encoder.encode(&columns[3], Effort::Sealed, &mut bytes);
    assert!(decode_values(&bytes, COLUMN_SAMPLES_MAX + 1, &mut Vec::new()).is_err());
    assert!(decode_values(&bytes, 0, &mut Vec::new()).is_err());
}

#[test]
fn simple_columns_take_a_few_bytes() {
    let length = |values: &[f64]| {
        let mut bytes = Vec::new();
        ValueEncoder::new().encode(values, Effort::Sealed, &mut bytes);
        bytes.len()
    };
    assert_eq!(length(&[0.0; 480]), 2);
    assert_eq!(length(&[1.0; 480]), 3);
    assert_eq!(length(&[12.34; 480]), 4);
    let steady: Vec<f64> = (0..480).map(|at| f64::from(at * 3)).collect();
    assert!(length(&steady) <= 4);
    let mut ended = [5.0; 480];
    ended[470..].fill(f64::from_bits(0x7ff0_0000_0000_0002));
    assert!(length(&ended) <= 9);
    let mut times = Vec::new();
    encode_times(&(0..480).map(|at| 1_760_000_000_000 + at * 15_000).collect::<Vec<_>>(), &mut times);
    assert!(times.len() <= 13);
}
