//! A log on the machine's disk, damaged at every place.

use std::path::Path;
use std::sync::Arc;

use super::record::{Record, RecordReader, RecordWriter};
use super::scan::{apply_cuts, scan};
use super::writer::WalWriter;
use crate::disk::{Disk, RealDisk};
use crate::head::{PartitionId, PartitionKind};
use crate::model::sample::Sample;
use crate::model::time::TimeRange;

/// Two segments of three commits each; timestamps count up from 0.
fn write_log(dir: &Path) {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let mut wal = WalWriter::create(disk, dir, 1, 0, TimeRange::EMPTY).unwrap();
    for timestamp_ms in 0..6 {
        if timestamp_ms == 3 {
            wal.rotate().unwrap();
        }
        let mut records = RecordWriter::default();
        let samples = [Sample { timestamp_ms, value: 1.0 }];
        records.samples(
            "t",
            PartitionId(1),
            PartitionKind::Late,
            1,
            [(0, &samples[..])].into_iter(),
            &mut Default::default(),
        );
        wal.commit(&mut records).unwrap();
    }
}

/// The timestamps that a scan finds.
fn timestamps(scan: &super::scan::Scan) -> Vec<i64> {
    let payloads =
        scan.segments.iter().flat_map(|s| s.payloads.iter().map(|range| s.bytes.get(range.clone()).unwrap()));
    let records = payloads.flat_map(|payload| RecordReader::new(payload).map(Result::unwrap));
    let samples = records.filter_map(|record| match record {
        Record::Samples { samples, .. } => Some(samples.resolve(&mut Default::default()).unwrap().0.samples),
        _ => None,
    });
    samples.flatten().map(|sample| sample.timestamp_ms).collect()
}

#[test]
fn a_whole_log_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path());
    let found = scan(&RealDisk, dir.path()).unwrap();
    assert_eq!(timestamps(&found), [0, 1, 2, 3, 4, 5]);
    assert_eq!((found.gaps.len(), found.cuts.len(), found.last_number), (0, 0, 2));
    assert_eq!(found.last_range, TimeRange { start_ms: 3, end_ms: 5 });
}

#[test]
fn a_log_cut_short_anywhere_keeps_its_front_and_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path());
    let path = dir.path().join(super::segment_file_name(2));
    let whole = std::fs::read(&path).unwrap();
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let found = scan(&RealDisk, dir.path()).unwrap();
        let times = timestamps(&found);
        assert!([0, 1, 2, 3, 4, 5].starts_with(&times) && times.len() >= 3, "{times:?} at {length}");
        assert_eq!(found.gaps, vec![], "at {length}");
        apply_cuts(&RealDisk, dir.path(), &found).unwrap();
        let again = scan(&RealDisk, dir.path()).unwrap();
        assert_eq!((timestamps(&again), again.cuts.len(), again.end), (times, 0, found.end));
    }
}

#[test]
fn a_flipped_byte_costs_one_frame_and_is_reported_with_its_range() {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path());
    let path = dir.path().join(super::segment_file_name(1));
    let whole = std::fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&path, &bytes).unwrap();
        let found = scan(&RealDisk, dir.path()).unwrap();
        let times = timestamps(&found);
        let lost: Vec<i64> = (0..6).filter(|t| !times.contains(t)).collect();
        assert!(lost.len() <= 1, "a flip at {at} cost {lost:?}");
        assert_eq!(found.gaps.len(), 1, "at {at}");
        assert!(found.cuts.is_empty(), "at {at}");
        assert!(lost.iter().all(|t| found.gaps[0].range.contains(*t)), "{:?} misses {lost:?}", found.gaps);
    }
}

#[test]
fn a_flipped_byte_in_the_last_frame_is_a_torn_tail() {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path());
    let path = dir.path().join(super::segment_file_name(2));
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let found = scan(&RealDisk, dir.path()).unwrap();
    assert_eq!(timestamps(&found), [0, 1, 2, 3, 4]);
    assert_eq!((found.gaps.len(), found.cuts.len()), (0, 1));
}

#[test]
fn positions_at_the_end_of_all_numbers_do_not_overflow() {
    use super::frame::FrameHeader;
    for position in [u64::MAX, u64::MAX - 60] {
        let range = TimeRange::EMPTY;
        let frame = FrameHeader { payload_bytes: 0, position, durable: position, segment_range: range, payload_crc: 0 };
        let mut bytes = vec![0; 50];
        bytes.extend_from_slice(&frame.encode());
        bytes.extend_from_slice(&frame.encode());
        let found = super::scan::scan_files(vec![(1, "1".into(), bytes.into())]).unwrap();
        assert!(found.end >= found.segments.iter().map(|s| s.bytes.len() as u64).sum());
    }
}
