//! A series description of any text: read within its limits, or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use marigram_query::parse::series::{MAX_POINTS, parse_series};

fuzz_target!(|text: &str| {
    if let Ok(series) = parse_series(text) {
        assert!(series.points.len() <= MAX_POINTS);
    }
});
