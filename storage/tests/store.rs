//! The store as a whole, on the machine's disk and a clock that the tests drive.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use marigram_storage::ErrorKind;
use marigram_storage::db::{Db, DbOptions};
use marigram_storage::env::ManualClock;
use marigram_storage::model::matcher::Matcher;
use marigram_storage::model::time::{TimeRange, WINDOW_MS};
use marigram_storage::write::{FamilyMetadata, MetadataEntry, MetadataKind, WriteBatch};
use support::store::{Contents, batch, contents, context, env, open, options};

const HOUR_MS: i64 = 3_600_000;
/// A window's start.
const START_MS: i64 = 1_700_006_400_000;

fn files(dir: &Path, below: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir.join(below)) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Writes a sample a minute for two instances from `from_ms` on, with the clock and the background work.
fn live(db: &Db, clock: &ManualClock, from_ms: i64, minutes: i64, sent: &mut Contents) {
    for minute in 0..minutes {
        let now_ms = from_ms + minute * 60_000;
        clock.set(now_ms);
        db.append(batch("a", &[("x", now_ms, minute as f64), ("y", now_ms - 30_000, -minute as f64)])).unwrap();
        sent.insert(("x".into(), now_ms), (minute as f64).to_bits());
        sent.insert(("y".into(), now_ms - 30_000), (-minute as f64).to_bits());
        db.maintain().unwrap();
    }
}

#[test]
fn a_day_becomes_blocks_in_seconds_and_survives_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let mut sent = Contents::new();
    for half in 0..2 {
        let db = open(dir.path(), &clock);
        live(&db, &clock, START_MS + half * 12 * HOUR_MS, 12 * 60, &mut sent);
        assert_eq!(contents(&db, "a", &clock, TimeRange::ALL).unwrap(), sent);
    }
    let db = open(dir.path(), &clock);
    assert_eq!(contents(&db, "a", &clock, TimeRange::ALL).unwrap(), sent);
    let stats = db.stats();
    // Eleven windows are over for more than a quarter of an hour; the very first sample of "y" was late.
    assert!((11..=13).contains(&stats.blocks), "{stats:?}");
    assert!(files(dir.path(), "wal").len() <= 4, "sealed segments go: {:?}", files(dir.path(), "wal"));
    let part = TimeRange { start_ms: START_MS + 5 * HOUR_MS, end_ms: START_MS + 7 * HOUR_MS };
    let expected: Contents = sent.into_iter().filter(|((_, time), _)| part.contains(*time)).collect();
    assert_eq!(contents(&db, "a", &clock, part).unwrap(), expected);
}

#[test]
fn late_samples_wait_for_quiet_and_become_one_block() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let db = open(dir.path(), &clock);
    let mut sent = Contents::new();
    for day in 0..50 {
        let time = START_MS - day * 24 * HOUR_MS - 2 * WINDOW_MS;
        db.append(batch("a", &[("x", time, day as f64)])).unwrap();
        sent.insert(("x".into(), time), (day as f64).to_bits());
    }
    clock.set(START_MS + 14 * 60_000);
    db.maintain().unwrap();
    assert_eq!(db.stats().blocks, 0);
    clock.set(START_MS + 15 * 60_000);
    db.maintain().unwrap();
    assert_eq!((db.stats().blocks, db.stats().head_series), (1, 0));
    assert_eq!(contents(&db, "a", &clock, TimeRange::ALL).unwrap(), sent);
}

#[test]
fn a_window_with_many_samples_is_cut_before_its_end_and_leaves_little_to_replay() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let options = DbOptions { window_samples_max: 50, ..options() };
    let db = Db::open(dir.path().to_owned(), env(&clock), options).unwrap();
    let mut sent = Contents::new();
    // Two samples a minute, within one window.
    live(&db, &clock, START_MS + 60_000, 110, &mut sent);
    assert_eq!(db.stats().blocks, 4);
    assert_eq!(contents(&db, "a", &clock, TimeRange::ALL).unwrap(), sent);
    drop(db);
    let log_bytes: u64 = files(dir.path(), "wal").iter().map(|file| file.metadata().unwrap().len()).sum();
    assert!(log_bytes < 2_000, "only what is in no block is in the log: {log_bytes}");
    let db = open(dir.path(), &clock);
    assert_eq!(contents(&db, "a", &clock, TimeRange::ALL).unwrap(), sent);
}

#[test]
fn a_window_that_was_sealed_takes_more_samples_and_repeats() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let db = open(dir.path(), &clock);
    for round in 0..3 {
        db.append(batch("a", &[("x", START_MS, 1.0), ("x", START_MS + 1 + round, 2.0)])).unwrap();
        db.seal().unwrap();
    }
    // The greater value of a timestamp wins, wherever it lies.
    db.append(batch("a", &[("x", START_MS, 0.5), ("x", START_MS + 1, 9.0)])).unwrap();
    let expected: Contents = [(0, 1.0), (1, 9.0), (2, 2.0), (3, 2.0)]
        .into_iter()
        .map(|(after, value): (i64, f64)| (("x".into(), START_MS + after), value.to_bits()))
        .collect();
    assert_eq!(contents(&db, "a", &clock, TimeRange::ALL).unwrap(), expected);
    drop(db);
    let db = open(dir.path(), &clock);
    assert_eq!(contents(&db, "a", &clock, TimeRange::ALL).unwrap(), expected);
    assert_eq!(db.stats().blocks, 3);
}

#[test]
fn tenants_do_not_see_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let db = open(dir.path(), &clock);
    let check = |db: &Db| {
        for (tenant, value) in [("a", 1.0f64), ("b", 2.0)] {
            let expected = Contents::from([(("x".into(), START_MS), value.to_bits())]);
            let found = contents(db, tenant, &clock, TimeRange::ALL).unwrap();
            let own: Contents = found.iter().filter(|((i, _), _)| i == "x").map(|(k, v)| (k.clone(), *v)).collect();
            assert_eq!(own, expected);
            let values = db.label_values(&context(tenant, &clock), "instance", &[], TimeRange::ALL, 0).unwrap();
            assert_eq!(values, if tenant == "a" { vec!["only-a", "x"] } else { vec!["x"] });
        }
        assert_eq!(contents(db, "c", &clock, TimeRange::ALL).unwrap(), Contents::new());
        assert_eq!(db.label_names(&context("c", &clock), &[], TimeRange::ALL, 0).unwrap(), Vec::<String>::new());
    };
    db.append(batch("a", &[("x", START_MS, 1.0), ("only-a", START_MS, 1.0)])).unwrap();
    db.append(batch("b", &[("x", START_MS, 2.0)])).unwrap();
    check(&db);
    db.seal().unwrap();
    check(&db);
    drop(db);
    check(&open(dir.path(), &clock));
}

#[test]
fn label_requests_look_at_the_range() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS + 4 * WINDOW_MS));
    let db = open(dir.path(), &clock);
    db.append(batch("a", &[("old", START_MS, 1.0)])).unwrap();
    db.seal().unwrap();
    db.append(batch("a", &[("new", START_MS + 4 * WINDOW_MS, 1.0)])).unwrap();
    let context = context("a", &clock);
    let instances = |range| db.label_values(&context, "instance", &[], range, 0).unwrap();
    assert_eq!(instances(TimeRange::ALL), ["new", "old"]);
    assert_eq!(instances(TimeRange { start_ms: START_MS, end_ms: START_MS + 1 }), ["old"]);
    assert_eq!(instances(TimeRange { start_ms: START_MS + 1, end_ms: i64::MAX }), ["new"]);
    assert_eq!(db.label_values(&context, "instance", &[], TimeRange::ALL, 1).unwrap().len(), 1);
    let selectors = [vec![Matcher::equal("instance", "old")], vec![Matcher::equal("instance", "none")]];
    let series = db.series(&context, &selectors, TimeRange::ALL, 0).unwrap();
    assert_eq!(series, [support::store::series("old")]);
    assert_eq!(db.label_names(&context, &[], TimeRange::ALL, 0).unwrap(), ["__name__", "instance"]);
}

#[test]
fn retention_drops_what_is_old_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let options = DbOptions { retention_ms: 6 * HOUR_MS, ..options() };
    let db = Db::open(dir.path().to_owned(), env(&clock), options.clone()).unwrap();
    let mut sent = Contents::new();
    live(&db, &clock, START_MS, 12 * 60, &mut sent);
    let oldest = contents(&db, "a", &clock, TimeRange::ALL).unwrap().into_keys().map(|(_, time)| time).min().unwrap();
    let age_ms = clock_now(&clock) - oldest;
    // Age counts from the newest sealed sample (up to 2.25 h behind), and a block goes as a whole.
    assert!((6 * HOUR_MS..11 * HOUR_MS).contains(&age_ms), "the oldest sample is {age_ms} ms old");
    assert_eq!(files(dir.path(), "blocks").len() as u64, db.stats().blocks);
    drop(db);
    let db = Db::open(dir.path().to_owned(), env(&clock), options).unwrap();
    let found = contents(&db, "a", &clock, TimeRange::ALL).unwrap();
    assert_eq!(found.keys().map(|(_, time)| *time).min(), Some(oldest), "nothing comes back");
}

#[test]
fn a_clock_that_jumps_while_samples_come_in_does_not_empty_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let options = DbOptions { retention_ms: 24 * HOUR_MS, ..options() };
    let db = Db::open(dir.path().to_owned(), env(&clock), options.clone()).unwrap();
    let mut sent = Contents::new();
    live(&db, &clock, START_MS, 6 * 60, &mut sent);
    clock.jump(1000 * 24 * HOUR_MS);
    live(&db, &clock, clock_now(&clock), 6 * 60, &mut sent);
    assert_eq!(contents(&db, "a", &clock, TimeRange::ALL).unwrap(), sent, "nothing was dropped");
    drop(db);
    let db = Db::open(dir.path().to_owned(), env(&clock), options).unwrap();
    db.maintain().unwrap();
    assert!(
        contents(&db, "a", &clock, TimeRange::ALL).unwrap().len() < sent.len(),
        "a restart says that the time is right"
    );
}

fn clock_now(clock: &ManualClock) -> i64 {
    marigram_storage::env::Clock::now_ms(clock)
}

#[test]
fn damage_in_the_log_is_refused_until_the_loss_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let db = open(dir.path(), &clock);
    for at in 0..3 {
        db.append(batch("a", &[("x", START_MS + at, at as f64)])).unwrap();
    }
    drop(db);
    let segment = files(dir.path(), "wal").pop().unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    // The last byte of the second frame's payload.
    let third = bytes.windows(4).enumerate().filter(|(_, window)| *window == b"MGWF").nth(2).unwrap().0;
    bytes[third - 1] ^= 1;
    std::fs::write(&segment, bytes).unwrap();

    for _ in 0..2 {
        let db = open(dir.path(), &clock);
        let refused = contents(&db, "a", &clock, TimeRange::ALL).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
        let elsewhere = TimeRange { start_ms: START_MS + 300, end_ms: START_MS + 400 };
        assert_eq!(contents(&db, "a", &clock, elsewhere).unwrap(), Contents::new());
        // The third value was written as a change of the second.
        let damage = db.damage();
        assert_eq!((db.stats().damage, damage.len()), (2, 2));
        assert!(damage[1].what.starts_with("1 samples") && damage[1].start_ms == START_MS + 2, "{damage:?}");
        db.append(batch("a", &[("x", START_MS + 150, 5.0)])).unwrap();
    }
    assert!(files(dir.path(), "quarantine").len() >= 2, "the bytes are kept: {:?}", files(dir.path(), "quarantine"));
    for accept_loss in [true, false] {
        let db = Db::open(dir.path().to_owned(), env(&clock), DbOptions { accept_loss, ..options() }).unwrap();
        let found = contents(&db, "a", &clock, TimeRange::ALL).unwrap();
        assert_eq!(found.into_keys().map(|(_, time)| time - START_MS).collect::<Vec<_>>(), [0, 150]);
        assert_eq!((db.stats().damage, db.stats().damage_accepted), (0, 2));
    }
}

#[test]
fn a_damaged_block_is_moved_aside_and_its_range_refused() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS + 4 * WINDOW_MS));
    let db = open(dir.path(), &clock);
    db.append(batch("a", &[("x", START_MS, 1.0), ("x", START_MS + 9, 1.0)])).unwrap();
    db.seal().unwrap();
    db.append(batch("a", &[("x", START_MS + 4 * WINDOW_MS, 1.0)])).unwrap();
    drop(db);
    let index = files(dir.path(), "blocks").pop().unwrap().join("index");
    let mut bytes = std::fs::read(&index).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    std::fs::write(&index, bytes).unwrap();

    for _ in 0..2 {
        let db = open(dir.path(), &clock);
        let inside = TimeRange { start_ms: START_MS + 5, end_ms: START_MS + 6 };
        assert_eq!(contents(&db, "a", &clock, inside).unwrap_err().kind(), ErrorKind::Corrupt);
        let behind = TimeRange { start_ms: START_MS + 10, end_ms: i64::MAX };
        assert_eq!(contents(&db, "a", &clock, behind).unwrap().len(), 1);
        assert_eq!(files(dir.path(), "blocks").len(), 0);
    }
    let db = Db::open(dir.path().to_owned(), env(&clock), DbOptions { accept_loss: true, ..options() }).unwrap();
    assert_eq!(contents(&db, "a", &clock, TimeRange::ALL).unwrap().len(), 1);
}

#[test]
fn what_an_answered_write_held_is_visible_through_seals_and_from_all_threads() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let db = open(dir.path(), &clock);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = ["p", "q", "r"]
            .into_iter()
            .map(|instance| {
                let (db, clock) = (&db, &clock);
                scope.spawn(move || {
                    for at in 0..150 {
                        db.append(batch("a", &[(instance, START_MS + at, at as f64)])).unwrap();
                        let mut own = contents(db, "a", clock, TimeRange::ALL).unwrap();
                        own.retain(|(name, _), _| name == instance);
                        assert_eq!(own.len() as i64, at + 1, "{instance} after {at}");
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                db.seal().unwrap();
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(contents(&db, "a", &clock, TimeRange::ALL).unwrap().len(), 450);
}

#[test]
fn metadata_outlives_seals_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let family = |help: &str| FamilyMetadata {
        family: "up".into(),
        entry: MetadataEntry { kind: MetadataKind::Gauge, help: help.into(), unit: String::new() },
    };
    let tenant = support::store::batch("a", &[]).tenant;
    for round in 0..3 {
        let db = open(dir.path(), &clock);
        let metadata = vec![family("one"), family("two")];
        if round == 0 {
            db.append(WriteBatch { tenant: tenant.clone(), metadata, ..WriteBatch::default() }).unwrap();
        }
        db.append(batch("a", &[("x", START_MS + round, 1.0)])).unwrap();
        db.seal().unwrap();
        let helps: Vec<_> = db.metadata(&tenant)["up"].iter().map(|entry| entry.help.clone()).collect();
        assert_eq!(helps, ["one", "two"]);
        assert!(db.metadata(&support::store::batch("b", &[]).tenant).is_empty());
    }
}

#[test]
fn limits_refuse_for_now_and_keep_what_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let options = DbOptions { head_series_max: 2, tenants_max: 2, ..options() };
    let db = Db::open(dir.path().to_owned(), env(&clock), options).unwrap();
    db.append(batch("a", &[("x", START_MS, 1.0)])).unwrap();
    db.append(batch("b", &[("x", START_MS, 1.0)])).unwrap();
    let refused = db.append(batch("a", &[("y", START_MS, 1.0)])).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
    assert_eq!(db.append(batch("c", &[("x", START_MS, 1.0)])).unwrap_err().kind(), ErrorKind::Unavailable);
    db.append(batch("a", &[("x", START_MS + 1, 1.0)])).unwrap();
    db.seal().unwrap();
    db.append(batch("a", &[("y", START_MS, 1.0)])).unwrap();
}

#[test]
fn a_data_directory_serves_one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let db = open(dir.path(), &clock);
    let second = Db::open(dir.path().to_owned(), env(&clock), options());
    assert!(second.err().unwrap().to_string().contains("in use by another process"));
    drop(db);
    open(dir.path(), &clock);
}

#[test]
fn a_failed_fsync_stops_writes_and_a_restart_recovers() {
    let disk = support::sim_disk::SimDisk::default();
    let clock = Arc::new(ManualClock::new(START_MS));
    let open = |disk: &support::sim_disk::SimDisk| {
        Db::open(PathBuf::from("/data"), support::store::env_on(Arc::new(disk.clone()), &clock), options()).unwrap()
    };
    let db = open(&disk);
    db.append(batch("a", &[("x", START_MS, 1.0)])).unwrap();
    disk.die_at(disk.steps() + 2); // the write goes through, its fsync does not
    assert!(db.append(batch("a", &[("x", START_MS + 1, 1.0)])).is_err());
    assert!(db.poisoned().is_some());
    let refused = db.append(batch("a", &[("x", START_MS + 2, 1.0)])).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
    assert_eq!(contents(&db, "a", &clock, TimeRange::ALL).unwrap().len(), 1, "queries go on");
    let db = open(&disk.after_power_loss(7));
    assert!(contents(&db, "a", &clock, TimeRange::ALL).unwrap().contains_key(&("x".into(), START_MS)));
    db.append(batch("a", &[("x", START_MS + 3, 1.0)])).unwrap();
}
