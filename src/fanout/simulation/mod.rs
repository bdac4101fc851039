//! Runs of the simulated cluster, each from a seed: every complete answer has everything that was acknowledged before
//! it was asked for, whether it was kept or is new; an incomplete one says so; and what can be answered is answered.

mod fakes;
mod world;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use marigram_query::cache::{CacheOptions, CacheResult, RangeCache};
use marigram_query::source::Source;
use marigram_query::{Engine, EngineOptions, QueryErrorKind, Value};
use marigram_storage::context::Context;
use marigram_storage::env::ManualClock;
use marigram_storage::model::tenant::TenantId;
use marigram_storage::model::time::TimeRange;
use marigram_storage::select::{SelectRequest, SeriesDecoder};
use marigram_storage::{Error, ErrorKind, Result};
use parking_lot::Mutex;

use self::fakes::{Sim, labels, value};
use self::world::{SERIES, Samples, State, World};
use super::{Cluster, ClusterChanges};

const SEEDS: u64 = 400;
const QUERIES: usize = 12;

/// Answers about younger samples are not kept.
const MIN_AGE: i64 = 100;

#[derive(Debug, Default)]
struct Seen {
    complete: usize,
    complete_though_missing: usize,
    refused: usize,
    partial: usize,
    bucket_reads: u64,
    bucket_replans: u64,
    /// Complete answers of which all, and a part, were kept.
    kept: u64,
    partly_kept: u64,
}

fn context() -> Context {
    Context::new(TenantId::default(), Arc::new(ManualClock::default()), None, 1 << 30)
}

fn select(cluster: &Cluster, context: &Context, range: TimeRange) -> Result<Samples> {
    let mut stream = cluster.select(context, SelectRequest { matchers: &[], range, drop_labels: &[] })?;
    let (mut found, mut decoder) = (Samples::new(), SeriesDecoder::default());
    while let Some(batch) = stream.next_batch()? {
        for series in batch.series {
            let number = (0..SERIES).find(|number| labels(*number) == series.labels).unwrap();
            let (times, values) = decoder.decode(&series.chunks, range)?;
            for (t, v) in times.iter().zip(values) {
                assert_eq!(*v, value((number, *t)));
                assert!(found.insert((number, *t)), "a series came twice");
            }
        }
    }
    Ok(found)
}

/// The same through the cache: `m` at each moment, and nothing before it.
fn select_kept(cache: &RangeCache, cluster: &Cluster, context: &Context, range: TimeRange) -> Result<Samples> {
    let engine = Engine::new(EngineOptions { lookback_ms: 1, ..EngineOptions::default() });
    let times = (range.start_ms, range.end_ms, 1);
    let output = cache.range(&engine, cluster, context, "m", times).map_err(|error| {
        assert_eq!(error.kind, QueryErrorKind::Unavailable, "{error}");
        Error::Unavailable(error.message)
    })?;
    let Value::Matrix(series) = output.value else { panic!("{:?}", output.value) };
    let mut found = Samples::new();
    for series in series {
        let number = (0..SERIES).find(|number| labels(*number) == series.labels).unwrap();
        for (t, v) in series.times_ms.iter().zip(&series.values) {
            assert_eq!(*v, value((number, *t)));
            found.insert((number, *t));
        }
    }
    Ok(found)
}

fn run(seed: u64, runtime: &tokio::runtime::Handle, seen: &mut Seen) {
    let sim = Sim(Arc::new(Mutex::new(World::new(seed))));
    let cluster = Cluster::new(Arc::new(sim.clone()), Arc::new(sim.clone()), runtime.clone())
        .with_patience(Duration::from_secs(60));
    let options = CacheOptions { bytes_max: 1 << 20, min_age_ms: MIN_AGE };
    let cache = RangeCache::new(options, Arc::new(sim.clone()), Arc::new(ClusterChanges::new(cluster.clone())));
    for query in 0..QUERIES {
        let kept = seed % 4 < 2;
        let (acknowledged, range, calm, partial) = {
            let mut world = sim.0.lock();
            world.restless = true;
            for _ in 0..world.below(if kept { 20 } else { 60 }) {
                world.step();
            }
            let calm = world.below(3) == 0;
            if calm {
                world.calm();
                lose_one_less_than_a_quorum(&mut world);
            }
            // Dashboards ask for about the same again.
            let start_ms = if kept { world.now / 256 * 256 - 300 } else { world.now - world.below(400) as i64 };
            let range = TimeRange { start_ms, end_ms: start_ms + world.below(300) as i64 };
            let inside = |(_, t): &&(u64, i64)| range.contains(*t);
            let acknowledged = world.acknowledged.iter().filter(inside).copied().collect::<Samples>();
            (acknowledged, range, calm, world.below(3) == 0)
        };
        let context = if partial { context().allow_partial() } else { context() };
        let found = match kept {
            true => select_kept(&cache, &cluster, &context, range),
            false => select(&cluster, &context, range),
        };
        let series = cluster.series(&context, &[], range, 0);
        let told = format!("seed {seed}, query {query}, {range:?}, warnings {:?}", context.warnings());
        let whole = context.warnings().is_empty();
        match found {
            Ok(found) => {
                assert!(found.is_subset(&sim.0.lock().written), "{told}");
                let lost = acknowledged.difference(&found).collect::<Vec<_>>();
                assert!(!whole || lost.is_empty(), "{told}: {lost:?} were acknowledged");
                match whole {
                    true => seen.complete += 1,
                    false => seen.partial += 1,
                }
                seen.complete_though_missing += usize::from(calm && whole);
                assert!(!calm || whole, "{told}");
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{told}: {error}");
                assert!(!calm && !partial, "{told}: {error}");
                seen.refused += 1;
            }
        }
        if let (Ok(series), true) = (series, whole) {
            let expected = acknowledged.iter().map(|(series, _)| labels(*series)).collect::<BTreeSet<_>>();
            assert!(expected.is_subset(&series.into_iter().collect()), "{told}");
        }
    }
    seen.bucket_reads += cluster.counters().bucket_reads();
    seen.bucket_replans += cluster.counters().bucket_replans();
    for (result, requests) in cache.stats().requests {
        match result {
            CacheResult::Hit => seen.kept += requests,
            CacheResult::Partial => seen.partly_kept += requests,
            CacheResult::Miss | CacheResult::Passed => {}
        }
    }
}

/// The most that may be missing, is.
fn lose_one_less_than_a_quorum(world: &mut World) {
    let quorum = world.list().write_quorum();
    for i in 0..quorum.saturating_sub(1) {
        world.nodes[i].state = if world.below(2) == 0 { State::Down } else { State::Replaying };
    }
}

#[test]
fn complete_answers_have_everything_that_was_acknowledged() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    let mut seen = Seen::default();
    for seed in 0..SEEDS {
        run(seed, runtime.handle(), &mut seen);
    }
    // Each kind of thing has happened, many times.
    let kinds = [seen.complete, seen.complete_though_missing, seen.refused, seen.partial];
    assert!(kinds.iter().all(|times| *times > 50), "{seen:?}");
    assert!(seen.bucket_reads > 50 && seen.bucket_replans > 10, "{seen:?}");
    assert!(seen.kept > 20 && seen.partly_kept > 50, "{seen:?}");
}
