//! The body of a remote-write request, compressed and plain. Whatever is accepted is canonical.
#![no_main]

use libfuzzer_sys::fuzz_target;
use marigram::ingest::{IngestLimits, TimeBounds, write_v1};
use marigram_storage::model::labels::{Labels, SeriesId};
use marigram_storage::model::tenant::TenantId;

fuzz_target!(|body: &[u8]| {
    let limits = IngestLimits { request_bytes_max: 1 << 20, ..IngestLimits::default() };
    let bounds = TimeBounds { oldest_ms: Some(0), newest_ms: 1 << 40 };
    let compressed = write_v1::decode(TenantId::default(), body, &limits, bounds);
    let plain = write_v1::decode_plain(TenantId::default(), body.to_vec(), &limits, bounds);
    for decoded in [compressed, plain].into_iter().flatten() {
        let batch = decoded.batch;
        for series in &batch.series {
            let bytes = &batch.arena[series.labels.clone()];
            assert_eq!(SeriesId::of(bytes), series.id);
            assert!(Labels::from_canonical(bytes).unwrap().metric_name().is_some());
            assert!(batch.samples[series.samples.clone()].iter().all(|s| (0..=1 << 40).contains(&s.timestamp_ms)));
        }
    }
});
