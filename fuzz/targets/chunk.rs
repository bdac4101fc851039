//! Whatever decodes, as a chunk or as a column, is samples that encode and decode again to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use marigram_storage::chunk::{
    COLUMN_SAMPLES_MAX, Effort, HISTOGRAMS_MAX, ValueEncoder, decode, decode_histograms, decode_starts, decode_times,
    decode_values, encode_chunk, encode_histograms, encode_starts, encode_times, is_histograms, split_starts,
};

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn again(times: &[i64], values: &[f64]) {
    let mut bytes = Vec::new();
    encode_chunk(&mut ValueEncoder::new(), times, values, Effort::Cold, &mut bytes);
    let (mut again_times, mut again_values) = (Vec::new(), Vec::new());
    decode(&[], &bytes, &mut again_times, &mut again_values).unwrap();
    assert_eq!(again_times, times);
    assert_eq!(bits(&again_values), bits(values));
}

// The first two bytes split the rest into a times column and a chunk or values column, and are its count.
fuzz_target!(|bytes: &[u8]| {
    let Some((head, rest)) = bytes.split_first_chunk::<2>() else { return };
    let number = usize::from(u16::from_le_bytes(*head));
    let (times_column, chunk) = rest.split_at(number % (rest.len() + 1));
    let (mut times, mut values) = (Vec::new(), Vec::new());
    if decode(times_column, chunk, &mut times, &mut values).is_ok() {
        assert_eq!(times.len(), values.len());
        again(&times, &values);
    }
    let mut histograms = Vec::new();
    if decode_histograms(rest, &mut histograms).is_ok() {
        assert!(is_histograms(rest) && histograms.len() <= HISTOGRAMS_MAX);
        assert!(histograms.is_sorted_by(|a, b| a.timestamp_ms < b.timestamp_ms));
        assert!(histograms.iter().all(|sample| sample.histogram.check_layout().is_ok()));
        let (mut bytes, mut again) = (Vec::new(), Vec::new());
        encode_histograms(&histograms, Effort::Sealed, &mut bytes);
        decode_histograms(&bytes, &mut again).unwrap();
        assert_eq!(again, histograms);
    }
    let mut starts = Vec::new();
    let samples = || 0..number as i64 % 9000;
    if let Ok(part) = split_starts(rest)
        && decode_starts(part, samples(), &mut starts).is_ok()
    {
        let (mut bytes, mut again) = (Vec::new(), Vec::new());
        encode_starts(&starts, 0, &mut bytes);
        decode_starts(split_starts(&bytes).unwrap(), samples(), &mut again).unwrap();
        assert_eq!(again, starts);
    }
    times.clear();
    if decode_times(times_column, &mut times).is_ok() {
        assert!(times.is_sorted_by(|a, b| a < b) && times.len() <= COLUMN_SAMPLES_MAX);
        let (mut column, mut again_times) = (Vec::new(), Vec::new());
        encode_times(&times, &mut column);
        decode_times(&column, &mut again_times).unwrap();
        assert_eq!(again_times, times);
    }
    values.clear();
    let count = number % (COLUMN_SAMPLES_MAX + 2);
    if decode_values(chunk, count, &mut values).is_ok() {
        assert_eq!(values.len(), count);
        again(&(0..count as i64).collect::<Vec<_>>(), &values);
    }
});
