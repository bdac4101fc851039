//! Whoever keeps what it has read is told of every change of it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use marigram_storage::db::{Db, DbOptions, Settled};
use marigram_storage::env::ManualClock;
use marigram_storage::model::tenant::TenantId;
use marigram_storage::model::time::{TimeRange, WINDOW_MS};
use support::store::{Contents, batch, contents, env, open, options};

const NOW_MS: i64 = 1_700_000_000_000;

fn settle(db: &Db, up_to_ms: i64) -> Settled {
    db.settle(&TenantId::parse("a").unwrap(), up_to_ms)
}

fn changed(db: &Db, since: &Settled) -> Vec<(i64, i64)> {
    settle(db, i64::MIN).since(since.number).map(|range| (range.start_ms, range.end_ms)).collect()
}

#[test]
fn late_samples_are_changes_and_those_in_order_are_none() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &Arc::new(ManualClock::new(NOW_MS)));
    db.append(batch("a", &[("i", NOW_MS - 5000, 1.0)])).unwrap();
    let before = settle(&db, NOW_MS - 1000);
    db.append(batch("a", &[("i", NOW_MS - 999, 1.0), ("j", NOW_MS, 2.0)])).unwrap();
    db.append(batch("b", &[("i", NOW_MS - 3000, 1.0)])).unwrap();
    assert_eq!(changed(&db, &before), []);
    db.append(batch("a", &[("i", NOW_MS, 1.0), ("j", NOW_MS - 3000, 2.0), ("k", NOW_MS - 2000, 2.0)])).unwrap();
    assert_eq!(changed(&db, &before), [(NOW_MS - 3000, NOW_MS - 1000)]);
    let after = settle(&db, i64::MIN);
    db.seal().unwrap();
    assert_eq!(changed(&db, &after), [], "a seal changes nothing");
}

#[test]
fn what_retention_drops_is_a_change() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let options = DbOptions { retention_ms: 10 * WINDOW_MS, ..options() };
    let db = Db::open(dir.path().to_owned(), env(&clock), options).unwrap();
    db.append(batch("a", &[("i", NOW_MS - 5000, 1.0), ("i", NOW_MS, 1.0)])).unwrap();
    db.seal().unwrap();
    let before = settle(&db, NOW_MS);
    clock.set(NOW_MS + 12 * WINDOW_MS);
    db.append(batch("a", &[("i", NOW_MS + 12 * WINDOW_MS, 1.0)])).unwrap();
    // Age counts from the newest block.
    db.seal().unwrap();
    db.maintain().unwrap();
    assert_eq!(db.stats().blocks_dropped, 1);
    assert_eq!(changed(&db, &before), [(NOW_MS - 5000, NOW_MS)]);
}

#[test]
fn what_the_bucket_covers_goes_without_a_change() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), &Arc::new(ManualClock::new(NOW_MS)));
    db.append(batch("a", &[("i", NOW_MS - 5000, 1.0)])).unwrap();
    db.seal().unwrap();
    let before = settle(&db, NOW_MS);
    let ulids: Vec<_> = db.sealed_blocks().iter().map(|block| block.meta.ulid).collect();
    assert_eq!(db.covered(&ulids, Duration::ZERO), []);
    db.maintain().unwrap();
    assert_eq!((db.stats().blocks_dropped, db.drop_mark_ms()), (1, Some(NOW_MS - 5000)));
    assert_eq!(changed(&db, &before), []);
}

/// What a reader kept: as of when, and what it read.
struct Reading {
    settled: Settled,
    contents: Contents,
}

#[test]
fn no_write_slips_past_a_reader() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let db = open(dir.path(), &clock);
    let (newest, over) = (AtomicI64::new(NOW_MS), AtomicBool::new(false));
    let all = TimeRange { start_ms: 0, end_ms: i64::MAX };
    let readings = std::thread::scope(|scope| {
        let writers: Vec<_> = ["i", "j", "k"]
            .into_iter()
            .enumerate()
            .map(|(writer, instance)| {
                let (db, newest) = (&db, &newest);
                scope.spawn(move || {
                    for at in 0..150 {
                        // In order for a reader that settled before, late for one that settles now.
                        let time_ms = newest.fetch_add(1, Ordering::Relaxed);
                        let late_ms = time_ms - (at * 7 + writer as i64) % 50;
                        db.append(batch("a", &[(instance, late_ms, at as f64), (instance, time_ms, 0.5)])).unwrap();
                    }
                })
            })
            .collect();
        let reader = scope.spawn(|| {
            let mut readings = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let settled = settle(&db, newest.load(Ordering::Relaxed));
                let range = TimeRange { end_ms: settled.up_to_ms, ..all };
                let contents = contents(&db, "a", &clock, range).unwrap();
                readings.push(Reading { settled, contents });
            }
            readings
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        over.store(true, Ordering::Relaxed);
        reader.join().unwrap()
    });
    let last = contents(&db, "a", &clock, all).unwrap();
    assert!(!readings.is_empty());
    for Reading { settled, contents } in readings {
        let changes = changed(&db, &settled);
        let unchanged =
            |time_ms: i64| !changes.iter().any(|(start_ms, end_ms)| (*start_ms..=*end_ms).contains(&time_ms));
        for ((instance, time_ms), value) in last.range(..).filter(|((_, time_ms), _)| *time_ms <= settled.up_to_ms) {
            if unchanged(*time_ms) {
                let kept = contents.get(&(instance.clone(), *time_ms));
                assert_eq!(kept, Some(value), "{instance} {time_ms} came after {settled:?} and is no change");
            }
        }
    }
}
