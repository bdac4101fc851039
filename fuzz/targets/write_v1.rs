//! The body of a remote-write request, compressed and plain. Whatever is accepted is canonical, and a store that knows half of the
//! series gets the same batch.
#![no_main]

use libfuzzer_sys::fuzz_target;
use marigram::ingest::{IngestLimits, TimeBounds, write_v1};
use marigram_storage::model::labels::{Labels, SeriesId};
use marigram_storage::model::tenant::TenantId;
use marigram_storage::write::{NO_HINT, WriteSeries};

fuzz_target!(|body: &[u8]| {
    let limits = IngestLimits { request_bytes_max: 1 << 20, ..IngestLimits::default() };
    let bounds = TimeBounds { oldest_ms: Some(0), newest_ms: 1 << 40 };
    let compressed = write_v1::decode(TenantId::default(), body, &limits, bounds);
    let plain = write_v1::decode_plain(TenantId::default(), body.to_vec(), &limits, bounds);
    for decoded in [&compressed, &plain].into_iter().flatten() {
        let batch = &decoded.batch;
        for series in &batch.series {
            let bytes = &batch.arena[series.labels.clone()];
            assert_eq!(SeriesId::of(bytes), series.id);
            assert!(Labels::from_canonical(bytes).unwrap().metric_name().is_some());
            let histograms = batch.histograms_of(series).unwrap();
            assert!(histograms.iter().all(|h| (0..=1 << 40).contains(&h.timestamp_ms) && h.histogram.check().is_ok()));
            assert!(batch.samples[series.samples.clone()].iter().all(|s| (0..=1 << 40).contains(&s.timestamp_ms)));
        }
    }
    let Ok(decoded) = compressed else { return };
    let known: Vec<SeriesId> = decoded.batch.series.iter().map(|series| series.id).filter(|id| id.0 & 1 == 1).collect();
    let recognise = |_: &TenantId, series: &mut [WriteSeries]| {
        for series in series {
            series.hint = known.iter().position(|id| *id == series.id).map_or(NO_HINT, |at| at as u32);
        }
    };
    let aided = write_v1::decode_for(TenantId::default(), body, &limits, bounds, &Default::default(), &recognise);
    let aided = aided.expect("what is known makes no request wrong");
    let samples = |batch: &marigram_storage::write::WriteBatch| -> Vec<(SeriesId, Vec<(i64, u64)>)> {
        let of = |s: &WriteSeries| batch.samples[s.samples.clone()].iter().map(|s| (s.timestamp_ms, s.value.to_bits()));
        batch.series.iter().map(|series| (series.id, of(series).collect())).collect()
    };
    assert_eq!(samples(&aided.batch), samples(&decoded.batch));
    assert_eq!(aided.refused, decoded.refused);
});
