//! A text exposition of any bytes. Whatever is accepted is canonical.
#![no_main]

use libfuzzer_sys::fuzz_target;
use marigram::ingest::exposition::{TextOptions, decode};
use marigram::ingest::{IngestLimits, TimeBounds};
use marigram_storage::model::labels::Labels;
use marigram_storage::model::tenant::TenantId;

fuzz_target!(|input: (bool, &[u8])| {
    let (openmetrics, text) = input;
    let bounds = TimeBounds { oldest_ms: None, newest_ms: i64::MAX };
    let options = TextOptions { default_timestamp_ms: 1, openmetrics, extra_labels: &[("job", "fuzz")] };
    let batch = decode(TenantId::default(), text, &IngestLimits::default(), bounds, options).batch;
    for series in &batch.series {
        let labels = Labels::from_canonical(&batch.arena[series.labels.clone()]).unwrap();
        assert_eq!(labels.get("job"), Some("fuzz"));
        assert_eq!(series.samples.len(), 1);
    }
});
