//! A chunk that decodes is one that a builder could have made: encoding its samples again gives the same samples.
#![no_main]

use libfuzzer_sys::fuzz_target;
use marigram_storage::chunk::{ChunkBuilder, decode};

fuzz_target!(|bytes: &[u8]| {
    let (mut times, mut values) = (Vec::new(), Vec::new());
    if decode(&[], bytes, &mut times, &mut values).is_err() {
        return;
    }
    let mut builder = ChunkBuilder::default();
    for (time, value) in times.iter().zip(&values) {
        builder.push(*time, *value);
    }
    let (mut again_times, mut again_values) = (Vec::new(), Vec::new());
    decode(&[], &builder.encode(), &mut again_times, &mut again_values).unwrap();
    assert_eq!(again_times, times);
    let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&again_values), bits(&values));
});
