//! Two files of a log, of any bytes: whatever is found whole is read record by record, and what stays is a log again.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use marigram_storage::wal::record::{LastValues, Record, RecordReader};
use marigram_storage::wal::scan::scan_files;

fuzz_target!(|input: (u16, &[u8])| {
    let (at, bytes) = input;
    let (first, second) = bytes.split_at(usize::from(at).min(bytes.len()));
    let file = |number: u64, bytes: &[u8]| (number, format!("{number}").into(), Bytes::copy_from_slice(bytes));
    let Ok(found) = scan_files(vec![file(1, first), file(2, second)]) else { return };
    for segment in &found.segments {
        let mut last = LastValues::default();
        for payload in &segment.payloads {
            for record in RecordReader::new(&segment.bytes[payload.clone()]) {
                let Ok(Record::Samples { samples, .. }) = record else { continue };
                if let Ok((columns, lost)) = samples.resolve(&mut last) {
                    let kept = columns.series().map(|(_, samples)| samples.len()).sum::<usize>();
                    assert!(kept == columns.samples.len() && lost.len() <= bytes.len());
                }
            }
        }
    }
    // What stays is a log again. (That it says the same is tested on logs as the writer makes them: bytes made up can tell
    // one story about what is durable at their end and another at their start.)
    let kept = found.segments.iter().map(|s| (s.number, s.path.clone(), s.bytes.clone())).collect();
    let again = scan_files(kept).unwrap();
    assert!(again.segments.len() <= found.segments.len());
});
