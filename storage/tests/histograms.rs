//! Native histograms through the whole store: head, log, blocks, and back.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use marigram_storage::ErrorKind;
use marigram_storage::block::{Block, BlockSeriesRef, block_dir, list_blocks};
use marigram_storage::chunk::HISTOGRAMS_MAX;
use marigram_storage::compact::join::{JoinTarget, join_blocks};
use marigram_storage::disk::{Disk, RealDisk};
use marigram_storage::env::ManualClock;
use marigram_storage::model::histogram::{BucketSpan, Histogram, ResetHint};
use marigram_storage::model::time::{TimeRange, WINDOW_MS};
use marigram_storage::select::SeriesDecoder;
use support::store::{add_histogram, batch, contents, histogram, histograms, open, send};
use ulid::Ulid;

/// A window's start.
const START_MS: i64 = 1_700_006_400_000;

fn without_hint(histogram: &Histogram) -> Histogram {
    Histogram { hint: ResetHint::Unknown, ..histogram.clone() }
}

/// What was found, without hints.
fn plain(found: BTreeMap<(String, i64), Histogram>) -> BTreeMap<(String, i64), Histogram> {
    found.into_iter().map(|(key, histogram)| (key, without_hint(&histogram))).collect()
}

#[test]
fn floats_and_histograms_of_one_series_survive_seals_restarts_and_repeats() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let (mut floats, mut sent) = (BTreeMap::new(), BTreeMap::new());
    let check = |db: &_, floats: &_, sent: &_| {
        assert_eq!(&contents(db, "a", &clock, TimeRange::ALL).unwrap(), floats);
        assert_eq!(&plain(histograms(db, "a", &clock, TimeRange::ALL).unwrap()), sent);
    };
    let mut db = open(dir.path(), &clock);
    for round in 0..120i64 {
        let now_ms = START_MS + round * 180_000;
        clock.set(now_ms);
        let mut batch = batch("a", &[("x", now_ms, round as f64)]);
        floats.insert(("x".to_owned(), now_ms), (round as f64).to_bits());
        // Between the floats of "x", alone, and late; each third time the one before once more.
        let late_ms = START_MS - 3 * WINDOW_MS - round * 1000;
        for (instance, time) in [("x", now_ms + 1), ("h", now_ms), ("x", late_ms)] {
            add_histogram(&mut batch, instance, time, histogram(round));
            sent.insert((instance.to_owned(), time), histogram(round));
        }
        if round % 3 == 2 {
            add_histogram(&mut batch, "h", now_ms - 180_000, histogram(round - 1));
        }
        db.append(batch).unwrap();
        db.maintain().unwrap();
        if round % 40 == 17 {
            db.seal().unwrap();
            check(&db, &floats, &sent);
        }
        if round % 40 == 31 {
            drop(db);
            db = open(dir.path(), &clock);
            check(&db, &floats, &sent);
        }
    }
    check(&db, &floats, &sent);
    assert!(db.stats().blocks > 3 && db.stats().block_samples > 100, "{:?}", db.stats());
    let range = TimeRange { start_ms: START_MS + 3_600_001, end_ms: START_MS + 9_000_000 };
    sent.retain(|(_, time), _| range.contains(*time));
    assert_eq!(plain(histograms(&db, "a", &clock, range).unwrap()), sent);
}

#[test]
fn at_one_time_a_histogram_is_greater_than_a_float_wherever_both_lie() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let db = open(dir.path(), &clock);
    let check = |db: &_| {
        assert_eq!(contents(db, "a", &clock, TimeRange::ALL).unwrap().len(), 1);
        let found = plain(histograms(db, "a", &clock, TimeRange::ALL).unwrap());
        let expected = [("x", 0, histogram(10)), ("y", 1, histogram(7))];
        let key = |instance: &str, time| (instance.to_owned(), START_MS + time);
        assert_eq!(found, expected.map(|(instance, time, histogram)| (key(instance, time), histogram)).into());
    };
    // The float histogram (seed 10) beats the integer one, whichever comes first; a float beats neither.
    db.append(batch("a", &[("x", START_MS, 1e9), ("x", START_MS + 1, 3.0)])).unwrap();
    db.seal().unwrap();
    let mut first = batch("a", &[("y", START_MS + 1, f64::INFINITY)]);
    add_histogram(&mut first, "x", START_MS, histogram(10));
    add_histogram(&mut first, "x", START_MS, histogram(11));
    add_histogram(&mut first, "y", START_MS + 1, histogram(7));
    db.append(first).unwrap();
    check(&db);
    db.seal().unwrap();
    check(&db);
    let mut second = batch("a", &[]);
    add_histogram(&mut second, "x", START_MS, histogram(12));
    db.append(second).unwrap();
    check(&db);
    drop(db);
    check(&open(dir.path(), &clock));
}

#[test]
fn hints_tell_readers_what_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let db = open(dir.path(), &clock);
    let counter = |count: i64| Histogram { is_integer: true, schema: 0, ..histogram(count) };
    let hinted = |hint, count| Histogram { hint, ..counter(count) };
    // A gauge and a reset stay; a claim of no reset is checked.
    let series = [
        (counter(5), ResetHint::Unknown),
        (counter(6), ResetHint::NotReset),
        (counter(6), ResetHint::NotReset),
        (hinted(ResetHint::NotReset, 3), ResetHint::Unknown),
        (counter(4), ResetHint::NotReset),
        (Histogram { schema: 1, ..counter(5) }, ResetHint::Unknown),
        (hinted(ResetHint::Gauge, 5), ResetHint::Gauge),
        (hinted(ResetHint::Gauge, 4), ResetHint::Gauge),
        (counter(5), ResetHint::Unknown),
        (counter(6), ResetHint::NotReset),
        (hinted(ResetHint::Reset, 7), ResetHint::Reset),
        (Histogram { is_integer: false, ..counter(9) }, ResetHint::Unknown),
    ];
    for (at, (histogram, _)) in (0..).zip(&series) {
        let mut batch = batch("a", &[]);
        add_histogram(&mut batch, "x", START_MS + at, histogram.clone());
        db.append(batch).unwrap();
    }
    let mut mixed = batch("a", &[("y", START_MS + 1, 1.0)]);
    add_histogram(&mut mixed, "y", START_MS, counter(5));
    add_histogram(&mut mixed, "y", START_MS + 2, counter(6));
    add_histogram(&mut mixed, "y", START_MS + 3, counter(7));
    db.append(mixed).unwrap();
    for _ in 0..2 {
        let found = histograms(&db, "a", &clock, TimeRange::ALL).unwrap();
        let hint = |instance: &str, at| found[&(instance.to_owned(), START_MS + at)].hint;
        for (at, (_, expected)) in (0..).zip(&series) {
            assert_eq!(hint("x", at), *expected, "{at}");
        }
        assert_eq!([0, 2, 3].map(|at| hint("y", at)), [ResetHint::Unknown, ResetHint::Unknown, ResetHint::NotReset]);
        // What lies before the range is known, too.
        let range = TimeRange { start_ms: START_MS + 1, end_ms: START_MS + 1 };
        assert_eq!(
            histograms(&db, "a", &clock, range).unwrap().into_values().next().unwrap().hint,
            ResetHint::NotReset
        );
        db.seal().unwrap();
    }
}

#[test]
fn a_series_of_histograms_alone_is_found_by_range_and_by_id() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let db = open(dir.path(), &clock);
    let mut all = batch("a", &[]);
    for at in 0..3 * HISTOGRAMS_MAX as i64 {
        add_histogram(&mut all, "x", START_MS + 1000 * at, histogram(at));
    }
    assert!(send(&db, &all) > 0);
    assert_eq!(send(&db, &all), 0, "the series is known now");
    let range = TimeRange { start_ms: START_MS + 500, end_ms: START_MS + 999 };
    for _ in 0..2 {
        assert_eq!(histograms(&db, "a", &clock, TimeRange::ALL).unwrap().len(), 3 * HISTOGRAMS_MAX);
        assert!(histograms(&db, "a", &clock, range).unwrap().is_empty());
        db.seal().unwrap();
    }
    assert_eq!(db.stats().block_samples, 3 * HISTOGRAMS_MAX as u64);
}

#[test]
fn what_no_chunk_can_hold_is_refused_whole() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let db = open(dir.path(), &clock);
    let mut bad = batch("a", &[("x", START_MS, 1.0)]);
    let mut histogram = histogram(1);
    histogram.positive.spans.push(BucketSpan { offset: 0, length: 1 });
    add_histogram(&mut bad, "x", START_MS + 1, histogram);
    let error = db.append(bad).unwrap_err();
    assert!(error.kind() == ErrorKind::BadInput && error.to_string().contains("positive"), "{error}");
    let mut claims = batch("a", &[("x", START_MS, 1.0)]);
    claims.series[0].histograms = 0..1;
    assert_eq!(db.append_known(claims).unwrap_err().kind(), ErrorKind::BadInput);
    assert!(contents(&db, "a", &clock, TimeRange::ALL).unwrap().is_empty());
}

#[test]
fn histograms_whose_series_the_log_has_lost_are_damage() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let db = open(dir.path(), &clock);
    for at in 0..3 {
        let mut batch = batch("a", &[]);
        add_histogram(&mut batch, "x", START_MS + at, histogram(at));
        db.append(batch).unwrap();
    }
    drop(db);
    let segment = std::fs::read_dir(dir.path().join("wal")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&segment).unwrap();
    // The last byte of the first frame, which names the series.
    let second = bytes.windows(4).enumerate().filter(|(_, window)| *window == b"MGWF").nth(1).unwrap().0;
    bytes[second - 1] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let db = open(dir.path(), &clock);
    assert_eq!(histograms(&db, "a", &clock, TimeRange::ALL).unwrap_err().kind(), ErrorKind::Corrupt);
    let damage = db.damage();
    assert!(damage.len() == 2 && damage[1].what.starts_with("2 samples"), "{damage:?}");
    assert_eq!((damage[1].start_ms, damage[1].end_ms), (START_MS + 1, START_MS + 2));
}

#[test]
fn joined_blocks_hold_the_join() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let db = open(dir.path(), &clock);
    // Floats of the one are covered by histograms of the other, and both have some alone.
    db.append(batch("a", &[("x", START_MS, 1.0), ("x", START_MS + 1, 2.0), ("x", START_MS + 2, 3.0)])).unwrap();
    db.seal().unwrap();
    let mut other = batch("a", &[]);
    for (time, seed) in [(1, 1), (2, 2), (5, 3), (6, 4)] {
        add_histogram(&mut other, "x", START_MS + time, histogram(seed));
    }
    db.append(other).unwrap();
    db.seal().unwrap();
    drop(db);
    let blocks = list_blocks(&RealDisk, &dir.path().join("blocks")).unwrap();
    let dir_of = |ulid| block_dir(&dir.path().join("blocks"), ulid);
    let open = |ulid| Block::open(&RealDisk, &dir_of(ulid)).unwrap();
    let mut inputs: Vec<Block> = blocks.into_iter().map(open).collect();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let out = dir.path().join("out");
    let mut bytes = Vec::new();
    for ulid in [1, 2] {
        let target = JoinTarget { blocks_dir: &out, ulid: Ulid(ulid), sources: vec!["s".into()], created_ms: 1 };
        let meta = join_blocks(&disk, &inputs, target, &mut || Ok(())).unwrap();
        assert_eq!((meta.series, meta.samples), (1, 5));
        let joined = Block::open(&RealDisk, &block_dir(&out, Ulid(ulid))).unwrap();
        let tenant = joined.tenants().next().unwrap().clone();
        let chunks = joined.tenant(&tenant).unwrap().chunks(BlockSeriesRef(0), TimeRange::ALL).unwrap();
        let mut decoder = SeriesDecoder::default();
        let (times, values, found) = decoder.decode_both(&chunks, TimeRange::ALL).unwrap();
        assert_eq!((times, values), (&[START_MS][..], &[1.0][..]));
        let found: Vec<_> = found.iter().map(|s| (s.timestamp_ms - START_MS, without_hint(&s.histogram))).collect();
        assert_eq!(found, [(1, histogram(1)), (2, histogram(2)), (5, histogram(3)), (6, histogram(4))]);
        bytes.push(["index", "chunks"].map(|file| std::fs::read(block_dir(&out, Ulid(ulid)).join(file)).unwrap()));
        inputs.push(joined);
        inputs.reverse();
    }
    assert!(bytes[0] == bytes[1], "what is in twice is in once, in whatever order");
}
