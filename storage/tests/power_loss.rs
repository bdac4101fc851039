//! Pulls the plug at every step of writing, sealing, retention and recovery: what was acknowledged is still there, and
//! nothing is there that was not sent.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use marigram_storage::context::Context;
use marigram_storage::db::{Db, DbOptions};
use marigram_storage::env::{Env, ManualClock, SeededRandom};
use marigram_storage::model::tenant::TenantId;
use marigram_storage::model::time::{TimeRange, WINDOW_MS};
use marigram_storage::select::{SelectRequest, SeriesDecoder};
use support::sim_disk::{Lcg, SimDisk};
use support::store::{add_histogram, batch, histogram, series};

const START_MS: i64 = 1_700_006_400_000;

/// Samples by tenant, series and timestamp: bits of a float, or of a histogram's sum, all inverted.
type Contents = BTreeMap<(String, String, i64), u64>;

struct World {
    disk: SimDisk,
    clock: Arc<ManualClock>,
    seed: u64,
}

impl World {
    fn open(&self) -> marigram_storage::Result<Db> {
        let env = Env {
            clock: self.clock.clone(),
            random: Arc::new(SeededRandom::new(self.seed * 1000 + self.disk.steps())),
            disk: Arc::new(self.disk.clone()),
        };
        // Segments of a few commits, so that rotation and truncation are among the steps.
        let options = DbOptions { segment_bytes: 300, retention_ms: 0, ..DbOptions::default() };
        Db::open(PathBuf::from("/data"), env, options)
    }
}

fn contents(db: &Db, clock: &Arc<ManualClock>) -> marigram_storage::Result<Contents> {
    let mut found = Contents::new();
    let mut decoder = SeriesDecoder::default();
    for tenant in ["a", "b"] {
        let context = Context::new(TenantId::parse(tenant).unwrap(), clock.clone(), None, u64::MAX);
        let request = SelectRequest { matchers: &[], range: TimeRange::ALL, drop_labels: &[] };
        let mut stream = db.select(&context, request)?;
        while let Some(batch) = stream.next_batch()? {
            for series in batch.series {
                let (samples, starts) = decoder.decode_with_starts(&series.chunks, TimeRange::ALL)?;
                let (times, values, histograms) = samples;
                for (time, value) in times.iter().zip(values) {
                    found.insert((tenant.to_owned(), series.labels.to_string(), *time), value.to_bits());
                }
                for sample in histograms {
                    let sum = sample.histogram.sum;
                    assert!(sample.histogram.join_order(&histogram(sum as i64)).is_eq(), "{:?}", sample.histogram);
                    found.insert((tenant.to_owned(), series.labels.to_string(), sample.timestamp_ms), !sum.to_bits());
                }
                for start in starts {
                    let labels = format!("start of {}", series.labels);
                    found.insert((tenant.to_owned(), labels, start.timestamp_ms), start.start_ms as u64);
                }
            }
        }
    }
    Ok(found)
}

/// Writes for a while; crosses a window's end, seals, restarts. Ends at the first error, which is the loss of power.
/// `sent` and `acknowledged` grow as it goes.
fn work(world: &World, sent: &mut Contents, acknowledged: &mut Contents) -> marigram_storage::Result<()> {
    let mut random = Lcg(world.seed);
    for life in 0..2i64 {
        let db = world.open()?;
        for round in 0..8i64 {
            let now_ms = START_MS + life * 9 * WINDOW_MS / 4 + round * WINDOW_MS / 4;
            world.clock.set(now_ms);
            let tenant = if random.below(3) == 0 { "b" } else { "a" };
            let late_ms = now_ms - 3 * WINDOW_MS - random.below(1000) as i64;
            let value = random.below(1000) as f64;
            let instance = format!("host-{}", random.below(4));
            let samples =
                [(instance.as_str(), now_ms, value), ("host-x", now_ms - 1, value), (&instance, late_ms, value)];
            let entries = samples.iter().map(|(instance, time, value)| {
                ((tenant.to_owned(), series(instance).to_string(), *time), value.to_bits())
            });
            let mut entries: Vec<_> = entries.collect();
            let mut batch = batch(tenant, &samples);
            // One among the floats of its series, one alone, one late.
            for (instance, time) in [(&*instance, now_ms + 1), ("host-h", now_ms), ("host-h", late_ms)] {
                add_histogram(&mut batch, instance, time, histogram(value as i64));
                let key = (tenant.to_owned(), series(instance).to_string(), time);
                entries.push((key, !value.to_bits()));
            }
            // The float and the histogram of now, and the late float, say since when they count.
            batch.starts.samples = vec![(0, now_ms - 7), (2, late_ms - 7)];
            batch.starts.histograms = vec![(1, now_ms - 7)];
            for (instance, time) in [(&*instance, now_ms), (&instance, late_ms), ("host-h", now_ms)] {
                let labels = format!("start of {}", series(instance));
                entries.push(((tenant.to_owned(), labels, time), (time - 7) as u64));
            }
            sent.extend(entries.iter().cloned());
            db.append(batch)?;
            acknowledged.extend(entries);
            match round {
                3 => db.maintain()?,
                5 => db.seal()?,
                _ => {}
            }
        }
    }
    Ok(())
}

/// Runs until the power goes at `step`, then looks at what a machine would find. `Err` says what is wrong.
fn violation(seed: u64, step: u64, lying: bool) -> Result<(), String> {
    let clock = Arc::new(ManualClock::new(START_MS));
    let world = World { disk: SimDisk::default(), clock: clock.clone(), seed };
    if lying {
        world.disk.lie_about_syncs();
    }
    world.disk.die_at(step);
    let (mut sent, mut acknowledged) = (Contents::new(), Contents::new());
    let worked = work(&world, &mut sent, &mut acknowledged);
    assert!(worked.is_err(), "the power was to go at step {step}");

    let found = World { disk: world.disk.after_power_loss(seed ^ step), clock: clock.clone(), seed: seed + 1 };
    let mut again = found.disk.clone();
    for attempt in 0..2 {
        // The first recovery is interrupted as well; what it leaves must be as good as before.
        let world = World { disk: again.clone(), clock: clock.clone(), seed: seed + 2 };
        if attempt == 0 {
            world.disk.die_at(1 + (seed + step) % 30);
        }
        let outcome = world.open().and_then(|db| contents(&db, &clock));
        match outcome {
            Err(_) if attempt == 0 => again = world.disk.after_power_loss(step),
            Err(error) => return Err(format!("recovery failed: {error}")),
            Ok(contents) => {
                if let Some(lost) = acknowledged.iter().find(|(key, value)| contents.get(*key) != Some(value)) {
                    return Err(format!("lost {lost:?}"));
                }
                if let Some(invented) = contents.iter().find(|(key, value)| sent.get(*key) != Some(value)) {
                    return Err(format!("invented {invented:?}"));
                }
                again = world.disk.after_power_loss(step);
            }
        }
    }
    Ok(())
}

fn steps(seed: u64) -> u64 {
    let world = World { disk: SimDisk::default(), clock: Arc::new(ManualClock::new(START_MS)), seed };
    work(&world, &mut Contents::new(), &mut Contents::new()).unwrap();
    world.disk.steps()
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_invented_at_any_step() {
    for seed in 1..=40 {
        let steps = steps(seed);
        assert!(steps > 100, "the work is too short to mean anything: {steps} steps");
        for step in 1..=steps {
            if let Err(what) = violation(seed, step, false) {
                panic!("seed {seed}, power lost at step {step} of {steps}: {what}");
            }
        }
    }
}

#[test]
fn the_same_test_fails_when_syncs_do_nothing() {
    let broken = (1..=steps(1)).filter(|step| violation(1, *step, true).is_err()).count();
    assert!(broken > 10, "a disk that ignores fsync went unnoticed: {broken} violations");
}
