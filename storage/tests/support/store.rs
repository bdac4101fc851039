//! A store to play with: batches, and everything that a tenant has.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use marigram_storage::Result;
use marigram_storage::context::Context;
use marigram_storage::db::{Db, DbOptions};
use marigram_storage::disk::{Disk, RealDisk};
use marigram_storage::env::{Env, ManualClock, OsRandom};
use marigram_storage::model::histogram::{Buckets, Histogram, HistogramSample};
use marigram_storage::model::labels::Labels;
use marigram_storage::model::sample::Sample;
use marigram_storage::model::tenant::TenantId;
use marigram_storage::model::time::TimeRange;
use marigram_storage::select::{SelectRequest, SeriesDecoder};
use marigram_storage::write::{WriteBatch, WriteSeries};

/// Value bits by series and timestamp.
pub type Contents = BTreeMap<(String, i64), u64>;

pub fn env(clock: &Arc<ManualClock>) -> Env {
    env_on(Arc::new(RealDisk), clock)
}

pub fn env_on(disk: Arc<dyn Disk>, clock: &Arc<ManualClock>) -> Env {
    Env { clock: clock.clone(), random: Arc::new(OsRandom), disk }
}

pub fn options() -> DbOptions {
    DbOptions { retention_ms: 0, disk_reserve_bytes: 0, ..DbOptions::default() }
}

pub fn open(dir: &Path, clock: &Arc<ManualClock>) -> Db {
    Db::open(dir.to_owned(), env(clock), options()).unwrap()
}

pub fn series(instance: &str) -> Labels {
    Labels::from_pairs([("__name__", "up"), ("instance", instance)])
}

/// One sample per instance.
pub fn batch(tenant: &str, samples: &[(&str, i64, f64)]) -> WriteBatch {
    let mut batch = WriteBatch { tenant: TenantId::parse(tenant).unwrap(), ..WriteBatch::default() };
    for (instance, timestamp_ms, value) in samples {
        let labels = series(instance);
        let from = batch.arena.len();
        batch.arena.extend_from_slice(labels.as_bytes());
        let at = batch.samples.len();
        batch.samples.push(Sample { timestamp_ms: *timestamp_ms, value: *value });
        batch.series.push(WriteSeries::new(labels.id(), from..batch.arena.len(), at..at + 1));
    }
    batch
}

/// A histogram that says by its sum how it was made.
pub fn histogram(seed: i64) -> Histogram {
    let positive = Buckets::from_ascending((0..4).map(|i| (i * 2, (seed + i64::from(i)) as f64)));
    Histogram {
        is_integer: seed % 5 != 0,
        schema: (seed % 3) as i8,
        zero_threshold: 0.001,
        zero_count: 1.0,
        count: 1.0 + positive.counts.iter().sum::<f64>(),
        sum: seed as f64,
        positive,
        ..Histogram::default()
    }
}

/// Adds a histogram of an instance to a batch.
pub fn add_histogram(batch: &mut WriteBatch, instance: &str, timestamp_ms: i64, histogram: Histogram) {
    let labels = series(instance);
    let from = batch.arena.len();
    batch.arena.extend_from_slice(labels.as_bytes());
    let at = batch.histograms.len() as u32;
    batch.histograms.push(HistogramSample { timestamp_ms, histogram: Arc::new(histogram) });
    let samples = batch.samples.len()..batch.samples.len();
    let series = WriteSeries::new(labels.id(), from..batch.arena.len(), samples);
    batch.series.push(series.with_histograms(at..at + 1));
}

/// All of a tenant's histograms in `range`, by series and timestamp, with the hints that a reader gets.
pub fn histograms(
    db: &Db,
    tenant: &str,
    clock: &Arc<ManualClock>,
    range: TimeRange,
) -> Result<BTreeMap<(String, i64), Histogram>> {
    let mut found = BTreeMap::new();
    let mut decoder = SeriesDecoder::default();
    let request = SelectRequest { matchers: &[], range, drop_labels: &[] };
    let mut stream = db.select(&context(tenant, clock), request)?;
    while let Some(batch) = stream.next_batch()? {
        for series in batch.series {
            let (times, _, histograms) = decoder.decode_both(&series.chunks, range)?;
            for sample in histograms {
                assert!(times.binary_search(&sample.timestamp_ms).is_err(), "one sample at a time");
                let instance = series.labels.get("instance").unwrap().to_owned();
                found.insert((instance, sample.timestamp_ms), Histogram::clone(&sample.histogram));
            }
        }
    }
    Ok(found)
}

pub fn context(tenant: &str, clock: &Arc<ManualClock>) -> Context {
    Context::new(TenantId::parse(tenant).unwrap(), clock.clone(), None, u64::MAX)
}

/// All of a tenant's samples in `range`; checks on the way that ids ascend.
pub fn contents(db: &Db, tenant: &str, clock: &Arc<ManualClock>, range: TimeRange) -> Result<Contents> {
    let mut found = Contents::new();
    let mut decoder = SeriesDecoder::default();
    let request = SelectRequest { matchers: &[], range, drop_labels: &[] };
    let mut stream = db.select(&context(tenant, clock), request)?;
    let mut last = None;
    while let Some(batch) = stream.next_batch()? {
        for series in batch.series {
            assert_eq!(series.id, series.labels.id());
            assert!(last.is_none_or(|last| last < series.id), "ids ascend and are unique");
            last = Some(series.id);
            let (times, values) = decoder.decode(&series.chunks, range)?;
            for (time, value) in times.iter().zip(values) {
                found.insert((series.labels.get("instance").unwrap().to_owned(), *time), value.to_bits());
            }
        }
    }
    Ok(found)
}

/// The batch without its labels, as it is sent to a store that is believed to know all its series.
pub fn without_labels(batch: &WriteBatch) -> WriteBatch {
    let mut bare = batch.clone();
    bare.arena.clear();
    bare.series.iter_mut().for_each(|series| series.labels = 0..0);
    bare
}

/// Sends a batch as a node does that believes every series to be known: first by id alone, then with labels what was not.
/// Answers how many series that were.
pub fn send(db: &Db, batch: &WriteBatch) -> usize {
    let unknown = db.append_known(without_labels(batch)).unwrap();
    if !unknown.is_empty() {
        let mut again = batch.clone();
        again.series.retain(|series| unknown.contains(&series.id));
        assert_eq!(db.append_known(again).unwrap(), []);
    }
    unknown.len()
}
