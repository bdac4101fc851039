//! Real senders' requests take the fast way: their label bytes are used as they came, and nothing of them is refused.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use marigram::ingest::{IngestLimits, TimeBounds, write_v1};
use marigram_proto::prometheus::WriteRequest;
use marigram_storage::model::labels::Labels;
use marigram_storage::model::tenant::TenantId;
use prost::Message;

#[path = "support/needs.rs"]
#[allow(dead_code, reason = "lists more than this test needs")]
mod needs;

/// Frames of a recording: a length, then a `WriteRequest`.
fn frames(path: &Path) -> impl Iterator<Item = Vec<u8>> {
    let mut decoder = File::open(path).and_then(zstd::Decoder::new).expect("a recording");
    decoder.window_log_max(27).expect("a window of 128 MiB");
    std::iter::from_fn(move || {
        let mut length = [0; 4];
        match decoder.read_exact(&mut length) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return None,
            result => result.expect("a whole recording"),
        }
        let mut frame = vec![0; u32::from_le_bytes(length) as usize];
        decoder.read_exact(&mut frame).expect("a whole frame");
        Some(frame)
    })
}

#[test]
fn recorded_requests_decode_as_prost_decodes_them_without_copying_a_label() {
    let Some(folder) = needs::REAL_SCRAPES.path_or_skip("recorded_requests") else { return };
    let bounds = TimeBounds { oldest_ms: None, newest_ms: i64::MAX };
    let (mut samples, mut families) = (0, 0);
    for frame in frames(&folder.join("prometheus-a.rw1.zst")) {
        let oracle = WriteRequest::decode(&frame[..]).unwrap();
        let body_bytes = frame.len();
        let decoded = write_v1::decode_plain(TenantId::default(), frame, &IngestLimits::default(), bounds).unwrap();
        assert!(decoded.refused.is_empty(), "{}", decoded.refused);
        let batch = decoded.batch;
        assert_eq!(batch.arena.len(), body_bytes, "a label was copied");
        assert_eq!(batch.series.len(), oracle.timeseries.len());
        for (series, expected) in batch.series.iter().zip(&oracle.timeseries) {
            let labels = Labels::from_canonical(&batch.arena[series.labels.clone()]).unwrap();
            assert!(labels.iter().eq(expected.labels.iter().map(|l| (l.name.as_str(), l.value.as_str()))));
            let got = batch.samples[series.samples.clone()].iter().map(|s| (s.timestamp_ms, s.value.to_bits()));
            assert!(got.eq(expected.samples.iter().map(|s| (s.timestamp, s.value.to_bits()))));
        }
        assert_eq!(batch.metadata.len(), oracle.metadata.len());
        samples += batch.samples.len();
        families += batch.metadata.len();
    }
    println!("{samples} samples and {families} metadata entries");
    assert!(samples > 1_000_000 && families > 100);
}
