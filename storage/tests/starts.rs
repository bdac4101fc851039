//! Start timestamps through the whole store: head, log, blocks, and back.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use marigram_storage::block::{Block, BlockSeriesRef, block_dir, list_blocks};
use marigram_storage::chunk::has_starts;
use marigram_storage::compact::join::{JoinTarget, join_blocks};
use marigram_storage::db::Db;
use marigram_storage::disk::{Disk, RealDisk};
use marigram_storage::env::ManualClock;
use marigram_storage::model::time::{TimeRange, WINDOW_MS};
use marigram_storage::select::{SelectRequest, SeriesDecoder};
use marigram_storage::write::WriteBatch;
use support::store::{add_histogram, batch, contents, context, histogram, histograms, open, send};
use ulid::Ulid;

/// A window's start.
const START_MS: i64 = 1_700_006_400_000;

/// Start timestamps by series and the sample's time.
type Starts = BTreeMap<(String, i64), i64>;

/// All of a tenant's start timestamps in `range`.
fn starts(db: &Db, clock: &Arc<ManualClock>, range: TimeRange) -> Starts {
    let mut found = Starts::new();
    let mut decoder = SeriesDecoder::default();
    let request = SelectRequest { matchers: &[], range, drop_labels: &[] };
    let mut stream = db.select(&context("a", clock), request).unwrap();
    while let Some(batch) = stream.next_batch().unwrap() {
        for series in batch.series {
            let (_, starts) = decoder.decode_with_starts(&series.chunks, range).unwrap();
            assert!(starts.is_sorted_by(|a, b| a.timestamp_ms < b.timestamp_ms));
            let instance = series.labels.get("instance").unwrap();
            found.extend(starts.iter().map(|start| ((instance.to_owned(), start.timestamp_ms), start.start_ms)));
        }
    }
    found
}

/// Gives start timestamps to the samples of a batch for which `start_ms` has one, by their times.
fn give_starts(batch: &mut WriteBatch, start_ms: impl Fn(i64) -> Option<i64>) {
    let samples = (0..).zip(batch.samples.iter().map(|sample| start_ms(sample.timestamp_ms)));
    batch.starts.samples = samples.filter_map(|(place, start_ms)| Some((place, start_ms?))).collect();
    let histograms = (0..).zip(batch.histograms.iter().map(|sample| start_ms(sample.timestamp_ms)));
    batch.starts.histograms = histograms.filter_map(|(place, start_ms)| Some((place, start_ms?))).collect();
}

/// Some samples have none, most have that of the hour, and some their own.
fn start_of(time_ms: i64) -> Option<i64> {
    match time_ms / 1000 % 7 {
        0 => None,
        1 => Some(time_ms - 15_000),
        _ => Some(time_ms / 3_600_000 * 3_600_000 - 1),
    }
}

#[test]
fn start_timestamps_survive_seals_restarts_and_repeats() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let mut sent = Starts::new();
    let mut db = open(dir.path(), &clock);
    for round in 0..400i64 {
        let now_ms = START_MS + round * 61_000;
        clock.set(now_ms);
        // In order, late, in two windows at once, and now and then what was sent before.
        let late_ms = START_MS - 3 * WINDOW_MS - round * 1000;
        let mut samples = vec![("x", now_ms, round as f64), ("y", now_ms, 1.0), ("x", late_ms, 2.0)];
        if round % 3 == 2 {
            samples.push(("x", now_ms - 61_000, (round - 1) as f64));
        }
        let mut batch = batch("a", &samples);
        for (instance, time) in [("x", now_ms + 1), ("h", now_ms)] {
            add_histogram(&mut batch, instance, time, histogram(round));
        }
        give_starts(&mut batch, start_of);
        let all = samples.iter().map(|(instance, time, _)| (*instance, *time));
        for (instance, time) in all.chain([("x", now_ms + 1), ("h", now_ms)]) {
            sent.extend(start_of(time).map(|start_ms| ((instance.to_owned(), time), start_ms)));
        }
        db.append(batch).unwrap();
        db.maintain().unwrap();
        if round % 90 == 17 {
            db.seal().unwrap();
            assert_eq!(starts(&db, &clock, TimeRange::ALL), sent);
        }
        if round % 90 == 31 {
            drop(db);
            db = open(dir.path(), &clock);
            assert_eq!(starts(&db, &clock, TimeRange::ALL), sent);
        }
    }
    assert_eq!(starts(&db, &clock, TimeRange::ALL), sent);
    assert_eq!(contents(&db, "a", &clock, TimeRange::ALL).unwrap().len(), 1200);
    assert_eq!(histograms(&db, "a", &clock, TimeRange::ALL).unwrap().len(), 800);
    let range = TimeRange { start_ms: START_MS + 3_600_001, end_ms: START_MS + 9_000_000 };
    sent.retain(|(_, time), _| range.contains(*time));
    assert_eq!(starts(&db, &clock, range), sent);
}

#[test]
fn the_later_start_is_kept_wherever_both_lie_and_unknown_ones_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let db = open(dir.path(), &clock);
    let write = |at: i64, start_ms: i64| {
        let mut batch = batch("a", &[("x", START_MS + at, 1.0)]);
        batch.starts.samples = vec![(0, start_ms)];
        assert!(send(&db, &batch) <= 1);
    };
    let check = |expected: &[(i64, i64)]| {
        let expected = expected.iter().map(|(at, start_ms)| (("x".to_owned(), START_MS + at), *start_ms));
        assert_eq!(starts(&db, &clock, TimeRange::ALL), expected.collect());
    };
    write(0, 5);
    write(1, 8);
    write(2, 0);
    check(&[(0, 5), (1, 8)]);
    db.seal().unwrap();
    check(&[(0, 5), (1, 8)]);
    write(0, 6);
    write(1, 7);
    check(&[(0, 6), (1, 8)]);
    db.seal().unwrap();
    check(&[(0, 6), (1, 8)]);
}

#[test]
fn places_of_samples_that_are_not_there_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let db = open(dir.path(), &clock);
    let mut batch = batch("a", &[("x", START_MS, 1.0)]);
    batch.starts.samples = vec![(0, 5), (1, 6), (u32::MAX, 7)];
    batch.starts.histograms = vec![(0, 5)];
    db.append(batch).unwrap();
    for _ in 0..2 {
        assert_eq!(starts(&db, &clock, TimeRange::ALL), Starts::from([(("x".to_owned(), START_MS), 5)]));
        db.seal().unwrap();
    }
}

#[test]
fn joined_blocks_hold_the_join_and_chunks_without_starts_are_as_ever() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let db = open(dir.path(), &clock);
    let mut expected = Starts::new();
    for part in 0..3i64 {
        let times: Vec<i64> = (0..500).filter(|at| at % (part + 2) != 0).map(|at| START_MS + at * 1000).collect();
        let samples: Vec<_> = times.iter().flat_map(|time| [("x", *time, 1.0), ("bare", *time, 1.0)]).collect();
        let mut batch = batch("a", &samples);
        // Only of "x": the others have odd places.
        batch.starts.samples = (0..).step_by(2).zip(&times).map(|(place, time)| (place, time - 10 + part)).collect();
        for time in times {
            expected.insert(("x".to_owned(), time), time - 10 + part);
        }
        db.append(batch).unwrap();
        db.seal().unwrap();
    }
    assert_eq!(starts(&db, &clock, TimeRange::ALL), expected);
    drop(db);
    let blocks = list_blocks(&RealDisk, &dir.path().join("blocks")).unwrap();
    let open = |ulid| Block::open(&RealDisk, &block_dir(&dir.path().join("blocks"), ulid)).unwrap();
    let mut inputs: Vec<Block> = blocks.into_iter().map(open).collect();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let out = dir.path().join("out");
    let mut bytes = Vec::new();
    for ulid in [1, 2] {
        let target = JoinTarget { blocks_dir: &out, ulid: Ulid(ulid), sources: vec!["s".into()], created_ms: 1 };
        join_blocks(&disk, &inputs, target, &mut || Ok(())).unwrap();
        let joined = Block::open(&RealDisk, &block_dir(&out, Ulid(ulid))).unwrap();
        let tenant = joined.tenants().next().unwrap().clone();
        let part = joined.tenant(&tenant).unwrap();
        let mut found = Starts::new();
        for series in (0..part.series_count()).map(BlockSeriesRef) {
            let chunks = part.chunks(series, TimeRange::ALL).unwrap();
            let instance = part.series(series).unwrap().0.get("instance").unwrap().to_owned();
            assert!(chunks.iter().all(|chunk| has_starts(&chunk.bytes) == (instance == "x")));
            let mut decoder = SeriesDecoder::default();
            let (samples, starts) = decoder.decode_with_starts(&chunks, TimeRange::ALL).unwrap();
            assert_eq!(samples.0.len(), expected.len());
            found.extend(starts.iter().map(|start| ((instance.clone(), start.timestamp_ms), start.start_ms)));
        }
        assert_eq!(found, expected);
        bytes.push(["index", "chunks"].map(|file| std::fs::read(block_dir(&out, Ulid(ulid)).join(file)).unwrap()));
        inputs.push(joined);
        inputs.reverse();
    }
    assert!(bytes[0] == bytes[1], "what is in twice is in once, in whatever order");
}
