//! A piece of a write of any bytes, as a storage node takes it. Whatever is accepted adds up.
#![no_main]

use libfuzzer_sys::fuzz_target;
use marigram::rpc::convert::append::{Assembler, decode_appended, decode_header};
use marigram_proto::cluster::{AppendPiece, AppendResponse};
use marigram_storage::model::labels::{Labels, SeriesId};
use marigram_storage::model::tenant::TenantId;
use prost::Message;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(response) = AppendResponse::decode(bytes) {
        let _ = decode_appended(&response);
    }
    let Ok(piece) = AppendPiece::decode(bytes) else { return };
    if let Some(header) = &piece.header {
        let _ = decode_header(header);
    }
    let mut assembler = Assembler::new(TenantId::default());
    for _ in 0..2 {
        if assembler.push(piece.clone()).is_err() {
            return;
        }
    }
    let batch = assembler.take();
    assert!(assembler.is_empty());
    let ascend = |starts: &[(u32, i64)], samples: usize| {
        starts.is_sorted_by(|a, b| a.0 < b.0) && starts.iter().all(|(place, _)| (*place as usize) < samples)
    };
    assert!(ascend(&batch.starts.samples, batch.samples.len()));
    assert!(ascend(&batch.starts.histograms, batch.histograms.len()));
    for series in &batch.series {
        let labels = &batch.arena[series.labels.clone()];
        if !labels.is_empty() {
            assert_eq!(SeriesId::of(labels), series.id);
            assert!(Labels::from_canonical(labels).unwrap().metric_name().is_some());
        }
        let _ = &batch.samples[series.samples.clone()];
        let histograms = batch.histograms_of(series).unwrap();
        assert!(histograms.iter().all(|sample| sample.histogram.check_layout().is_ok()));
    }
});
