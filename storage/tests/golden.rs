//! Files that an earlier version wrote must load for ever. `golden/v1/`, `golden/v2/` and `golden/v3/` each hold a block and a catalog;
//! what they hold is computed here anew, without the code that wrote them. The block of `v3` is of version 2, as before, and has
//! histograms.
//!
//! A new format version adds a folder and keeps the old ones. `MARIGRAM_WRITE_GOLDEN=DIR` makes this test write the
//! files of the present version into a new directory instead of reading.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use marigram_storage::block::{Block, BlockWriter, TenantBlock, block_dir, list_blocks};
use marigram_storage::bucket::DirectoryBucket;
use marigram_storage::bucket::catalog::{CatalogBlock, CatalogStore, Contents};
use marigram_storage::chunk::{decode_histograms, is_histograms};
use marigram_storage::disk::{Disk, RealDisk};
use marigram_storage::env::{Env, ManualClock, SeededRandom};
use marigram_storage::model::histogram::{Buckets, CUSTOM_BUCKETS_SCHEMA, Histogram, HistogramSample, ResetHint};
use marigram_storage::model::labels::Labels;
use marigram_storage::model::matcher::{MatchOp, Matcher};
use marigram_storage::model::sample::STALE_NAN_BITS;
use marigram_storage::model::tenant::TenantId;
use marigram_storage::model::time::TimeRange;
use marigram_storage::select::SeriesDecoder;
use ulid::Ulid;

const MADE_MS: i64 = 1_700_000_000_000;
const START_MS: i64 = MADE_MS - 7_200_000;

fn ulid() -> Ulid {
    Ulid::from_parts(MADE_MS as u64, 42)
}

type Series = (Labels, Vec<i64>, Vec<f64>);

/// What the block holds: integers, fractions, markers and payloads; one sample and several chunks; plain and odd labels.
fn expected() -> Vec<(TenantId, Vec<Series>)> {
    let series = |labels: &[(&str, &str)], count: i64, value: &dyn Fn(i64) -> f64| {
        let times = (0..count).map(|i| START_MS + i * 15_000 + i % 3).collect();
        (Labels::from_pairs(labels.iter().copied()), times, (0..count).map(value).collect())
    };
    let mut anonymous = vec![
        series(&[("__name__", "up"), ("job", "node"), ("instance", "a:9100")], 480, &|_| 1.0),
        series(&[("__name__", "up"), ("job", "node"), ("instance", "b:9100")], 300, &|i| match i {
            299 => f64::from_bits(STALE_NAN_BITS),
            _ => f64::from(i32::from(i % 50 != 7)),
        }),
        series(&[("__name__", "requests_total"), ("path", "/grüße?a=\"b\"\n")], 129, &|i| (i * i) as f64 * 1.1),
    ];
    for i in 0..40u8 {
        let pod = format!("pod-{i:02}");
        anonymous.push(series(&[("__name__", "heat"), ("pod", &pod)], 3, &|j| f64::from(i) - j as f64 * 0.25));
    }
    let values = [f64::NAN, -0.0, f64::INFINITY, f64::MIN_POSITIVE / 2.0, f64::from_bits(0xfff8_0000_dead_beef)];
    let odd = vec![series(&[("__name__", "up"), ("job", "node"), ("instance", "a:9100")], 5, &|i| values[i as usize])];
    let mut tenants = vec![(TenantId::default(), anonymous), (TenantId::parse("team-b").unwrap(), odd)];
    tenants.iter_mut().for_each(|(_, series)| series.sort_by(|a, b| a.0.cmp(&b.0)));
    tenants
}

/// Whose the series of floats and histograms is that blocks of histograms have.
fn mixed_tenant() -> TenantId {
    TenantId::parse("team-c").unwrap()
}

/// Floats before, histograms behind: of both kinds of counts and buckets, with odd numbers, hints, and a layout that changes.
fn mixed() -> (Labels, Vec<i64>, Vec<f64>, Vec<HistogramSample>) {
    let odd = f64::from_bits(0xfff8_0000_dead_beef);
    let of = |i: i64| {
        let counts = (0..3 + i32::from(i > 20)).map(|bucket| (3 * bucket - 4, (i * (i64::from(bucket) + 1)) as f64));
        let exponential = Histogram {
            hint: if i == 7 { ResetHint::Reset } else { ResetHint::Unknown },
            is_integer: i < 30,
            schema: 3,
            zero_threshold: 1e-9,
            zero_count: i as f64,
            count: 100.0 * i as f64,
            sum: if i == 11 { odd } else { i as f64 / 8.0 },
            positive: Buckets::from_ascending(counts),
            negative: Buckets::from_ascending([(0, i as f64)]),
            custom_values: Vec::new(),
        };
        let custom = Histogram {
            hint: ResetHint::Gauge,
            schema: CUSTOM_BUCKETS_SCHEMA,
            count: 1.5,
            sum: f64::INFINITY,
            positive: Buckets::from_ascending([(1, 1.5)]),
            custom_values: vec![f64::NEG_INFINITY, 0.1, 12.0],
            ..Histogram::default()
        };
        let histogram = Arc::new(if i < 40 { exponential } else { custom });
        HistogramSample { timestamp_ms: START_MS + i * 15_000, histogram }
    };
    let labels = Labels::from_pairs([("__name__", "latency")]);
    (labels, vec![START_MS, START_MS + 1], vec![1.0, 2.0], (1..43).map(of).collect())
}

fn env() -> Env {
    Env { clock: Arc::new(ManualClock::new(MADE_MS)), random: Arc::new(SeededRandom::new(1)), disk: Arc::new(RealDisk) }
}

fn write(dir: &Path) {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let mut writer = BlockWriter::create(&disk, &dir.join("blocks"), ulid()).unwrap();
    for (tenant, series) in expected() {
        writer.begin_tenant(&tenant).unwrap();
        for (labels, times, values) in series {
            writer.add_series(&labels, &times, &values).unwrap();
        }
    }
    let (labels, times, values, histograms) = mixed();
    writer.begin_tenant(&mixed_tenant()).unwrap();
    writer.add_series_of_both(&labels, &times, &values, &histograms).unwrap();
    let meta = writer.finish(vec!["node-1".into()], MADE_MS).unwrap();
    let store = CatalogStore::new(Arc::new(DirectoryBucket::open(&env(), dir).unwrap()), env());
    let cluster = |c: &Contents| Ok(Some(Contents { cluster_id: Some(7), replication_factor: Some(1), ..c.clone() }));
    store.commit(cluster).unwrap();
    let add = |c: &Contents| Ok(Some(Contents { blocks: vec![CatalogBlock::from(&meta)], ..c.clone() }));
    store.commit(add).unwrap();
}

fn read_block(dir: &Path, histograms: bool) {
    let disk = RealDisk;
    assert_eq!(list_blocks(&disk, &dir.join("blocks")).unwrap(), [ulid()]);
    let block = Block::open(&disk, &block_dir(&dir.join("blocks"), ulid())).unwrap();
    let expected = expected();
    let meta = block.meta();
    assert_eq!(
        (meta.ulid, meta.created_ms, meta.level, meta.sources.clone()),
        (ulid(), MADE_MS, 1, vec!["node-1".into()])
    );
    let mixed_samples = if histograms { 2 + 42 } else { 0 };
    assert_eq!(meta.series, 44 + u64::from(histograms));
    assert_eq!(meta.samples, 480 + 300 + 129 + 40 * 3 + 5 + mixed_samples);
    assert_eq!(meta.range, TimeRange { start_ms: START_MS, end_ms: START_MS + 479 * 15_000 + 2 });
    let mixed_tenant = mixed_tenant();
    let tenants = expected.iter().map(|(tenant, _)| tenant).chain(histograms.then_some(&mixed_tenant));
    assert!(block.tenants().eq(tenants));
    if histograms {
        read_mixed(&block.tenant(&mixed_tenant).unwrap());
    }
    let mut decoder = SeriesDecoder::default();
    for (tenant, series) in &expected {
        let block = block.tenant(tenant).unwrap();
        let refs = block.select(&[], TimeRange::ALL).unwrap();
        assert_eq!(refs.len(), series.len());
        for (found, (labels, times, values)) in refs.into_iter().zip(series) {
            assert_eq!(block.series(found).unwrap(), (labels.clone(), labels.id()));
            let chunks = block.chunks(found, TimeRange::ALL).unwrap();
            let (got_times, got_values) = decoder.decode(&chunks, TimeRange::ALL).unwrap();
            assert_eq!(got_times, times);
            let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(got_values), bits(values), "{labels}");
        }
    }
    let block = block.tenant(&TenantId::default()).unwrap();
    let matcher = Matcher::new("pod", MatchOp::Regex, "pod-[13]7").unwrap();
    assert_eq!(block.label_values("pod", &[matcher], TimeRange::ALL).unwrap(), ["pod-17", "pod-37"]);
    assert_eq!(block.label_names(&[], TimeRange::ALL).unwrap(), ["__name__", "instance", "job", "path", "pod"]);
}

fn read_mixed(block: &TenantBlock) {
    let (labels, times, values, histograms) = mixed();
    let series = block.select(&[], TimeRange::ALL).unwrap()[0];
    assert_eq!(block.series(series).unwrap().0, labels);
    let mut stored = Vec::new();
    let chunks = block.chunks(series, TimeRange::ALL).unwrap();
    for chunk in chunks.iter().filter(|chunk| is_histograms(&chunk.bytes)) {
        decode_histograms(&chunk.bytes, &mut stored).unwrap();
    }
    assert_eq!(stored, histograms, "hints are as they were written");
    let mut decoder = SeriesDecoder::default();
    let (got_times, got_values, got) = decoder.decode_both(&chunks, TimeRange::ALL).unwrap();
    assert_eq!((got_times, got_values), (&*times, &*values));
    assert!(got.iter().zip(&histograms).all(|(got, sample)| got.histogram.join_order(&sample.histogram).is_eq()));
    let hint = |i: usize| got[i - 1].histogram.hint;
    assert_eq!(
        [1, 2, 7, 8].map(hint),
        [ResetHint::Unknown, ResetHint::NotReset, ResetHint::Reset, ResetHint::NotReset]
    );
}

fn read_catalog(dir: &Path) {
    let store = CatalogStore::new(Arc::new(DirectoryBucket::open(&env(), dir).unwrap()), env());
    let catalog = store.load().unwrap().unwrap();
    assert_eq!((catalog.number, catalog.created_ms, catalog.ancestors.len()), (2, MADE_MS, 1));
    assert_eq!((catalog.contents.cluster_id, catalog.contents.replication_factor), (Some(7), Some(1)));
    assert_eq!(catalog.contents.query_timeout_max_ms, None);
    let block = Block::open(&RealDisk, &block_dir(&dir.join("blocks"), ulid())).unwrap();
    assert_eq!(catalog.contents.blocks, [CatalogBlock::from(block.meta())]);
}

#[test]
fn files_of_all_versions_load() {
    if let Some(dir) = std::env::var_os("MARIGRAM_WRITE_GOLDEN") {
        write(Path::new(&dir));
        return;
    }
    for version in ["v1", "v2", "v3"] {
        let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(version);
        read_block(&dir, version >= "v3");
        read_catalog(&dir);
    }
}

#[test]
fn what_is_written_today_reads_the_same() {
    let temp = tempfile::tempdir().unwrap();
    write(temp.path());
    read_block(temp.path(), true);
    read_catalog(temp.path());
}
