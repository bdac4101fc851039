//! A store that is fed by series id alone, and sent labels only of what it does not know: whatever it forgets meanwhile,
//! no sample is lost and none is stored twice.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use marigram_storage::db::{Db, DbOptions};
use marigram_storage::env::ManualClock;
use marigram_storage::model::time::{TimeRange, WINDOW_MS};
use support::sim_disk::Lcg;
use support::store::{Contents, batch, contents, env, open, options, send};

/// A window's start.
const START_MS: i64 = 1_700_006_400_000;

/// So often series must have been forgotten for the test to mean anything.
const UNKNOWN_MIN: usize = 30;

/// Series that a writer writes to in turn.
const CYCLE: i64 = 200;

/// Every sample of the tenant once, and nothing else: in what a select reads, and in what was written.
fn check(db: &Db, clock: &Arc<ManualClock>, sent: &Contents, what: &str) {
    assert_eq!(contents(db, "a", clock, TimeRange::ALL).unwrap(), *sent, "{what}");
    let stats = db.stats();
    assert_eq!(stats.head_samples + stats.block_samples, sent.len() as u64, "{what}: {stats:?}");
}

#[test]
fn nothing_is_lost_or_doubled_while_series_are_forgotten() {
    let mut forgotten = 0;
    for seed in 0..60 {
        let mut random = Lcg(seed);
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(START_MS));
        let options = DbOptions { segment_bytes: 1 + random.below(4000), ..options() };
        let open = || Db::open(dir.path().to_owned(), env(&clock), options.clone()).unwrap();
        let mut db = open();
        let mut sent = Contents::new();
        let mut now_ms = START_MS;
        for step in 0..60i64 {
            now_ms += random.below(WINDOW_MS as u64 / 4) as i64;
            clock.set(now_ms);
            match random.below(12) {
                0 => db.seal().unwrap(),
                1 | 2 => db.maintain().unwrap(),
                3 => {
                    drop(db);
                    db = open();
                }
                _ => {
                    let mut samples = Vec::new();
                    for number in 0..random.below(6) as i64 {
                        // Some come late; a series may come twice in one batch, no timestamp does.
                        let instance = format!("host-{}", random.below(5));
                        let late_ms = if random.below(3) == 0 { 2 * WINDOW_MS } else { 0 };
                        let time = (now_ms - late_ms) / 1000 * 1000 + step * 10 + number;
                        sent.insert((instance.clone(), time), (number as f64).to_bits());
                        samples.push((instance, time, number as f64));
                    }
                    let samples: Vec<_> =
                        samples.iter().map(|(name, time, value)| (name.as_str(), *time, *value)).collect();
                    forgotten += send(&db, &batch("a", &samples));
                }
            }
            check(&db, &clock, &sent, &format!("seed {seed}, step {step}"));
        }
        drop(db);
        check(&open(), &clock, &sent, &format!("seed {seed}, restarted"));
    }
    assert!(forgotten > 1000, "series were unknown {forgotten} times only");
}

#[test]
fn appends_by_id_go_on_while_others_seal() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let db = open(dir.path(), &clock);
    let (done, unknown) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut sent = Contents::new();
    std::thread::scope(|scope| {
        let writers: Vec<_> = ["p", "q", "r"]
            .into_iter()
            .map(|instance| {
                let (db, unknown) = (&db, &unknown);
                scope.spawn(move || {
                    let mut at = 0;
                    while at < 2 * CYCLE || (unknown.load(Ordering::Relaxed) < UNKNOWN_MIN && at < 100 * CYCLE) {
                        // Every series rests long enough for a seal to find it idle.
                        let own = format!("{instance}-{}", at % CYCLE);
                        let shared = format!("shared-{}", at % CYCLE);
                        let samples = [(&*own, START_MS + at, at as f64), (&*shared, START_MS + at, 1.0)];
                        let asked_again = send(db, &batch("a", &samples));
                        if at >= CYCLE {
                            unknown.fetch_add(asked_again, Ordering::Relaxed);
                        }
                        at += 1;
                    }
                    (instance, at)
                })
            })
            .collect();
        let sealer = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                db.seal().unwrap();
            }
        });
        let written: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        done.store(true, Ordering::Relaxed);
        sealer.join().unwrap();
        for (instance, count) in written.into_iter().map(Result::unwrap) {
            for at in 0..count {
                sent.insert((format!("{instance}-{}", at % CYCLE), START_MS + at), (at as f64).to_bits());
                sent.insert((format!("shared-{}", at % CYCLE), START_MS + at), 1f64.to_bits());
            }
        }
    });
    assert_eq!(contents(&db, "a", &clock, TimeRange::ALL).unwrap(), sent);
    assert!(unknown.into_inner() >= UNKNOWN_MIN, "no seal made the store forget a series");
    drop(db);
    assert_eq!(contents(&open(dir.path(), &clock), "a", &clock, TimeRange::ALL).unwrap(), sent);
}
