//! What the index of a block costs: bytes per series and section, and the time to build it, to open it, and to read labels
//! and chunks in order and at random. On label sets as the generated workload has them, and, if `MARIGRAM_REAL_SCRAPES`
//! names a directory with recordings, on real ones. Times are CPU times, but those of selects, which are the best of three.
//!
//! `cargo bench -p marigram-storage --bench index`; does nothing without `--bench`.

#![allow(clippy::unwrap_used, reason = "a failed unwrap ends the bench")]
#![allow(clippy::disallowed_methods, reason = "a bench measures the clock's time")]

#[path = "../tests/support/recordings.rs"]
mod recordings;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use marigram_storage::block::{Block, BlockFile, BlockSeriesRef, BlockWriter, TenantBlock, block_dir};
use marigram_storage::disk::{Disk, RealDisk};
use marigram_storage::model::labels::Labels;
use marigram_storage::model::matcher::{MatchOp, Matcher};
use marigram_storage::model::tenant::TenantId;
use marigram_storage::model::time::TimeRange;
use ulid::Ulid;

const START_MS: i64 = 1_700_000_000_000;
const METRICS: usize = 280;
const SERIES_PER_POD: usize = 100;

/// A series: labels, timestamps, values.
type Series = (Labels, Vec<i64>, Vec<f64>);

fn main() {
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    for series in [50_000, 1_000_000] {
        measure(&format!("generated, {series} series"), &generated(series));
    }
    match std::env::var_os("MARIGRAM_REAL_SCRAPES") {
        Some(dir) => {
            let recorded = recordings::read_recordings(Path::new(&dir));
            let series = recorded.into_iter().map(|(labels, samples)| {
                let (times, values) = samples.iter().map(|sample| (sample.timestamp_ms, sample.value)).unzip();
                (labels, times, values)
            });
            measure("real scrapes", &series.collect::<Vec<_>>());
        }
        None => println!("LEFT OUT: MARIGRAM_REAL_SCRAPES does not name the directory with the recordings"),
    }
}

/// A number that looks random.
fn noise(seed: usize) -> u64 {
    let mut state = (seed as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// Pods of a hundred series of 8 to 10 labels: plain series of 80 names, and two histograms of ten buckets. Each pod has
/// scrape times of its own. A fifth of the series is constant.
fn generated(count: usize) -> Vec<Series> {
    let apps = ["checkout-service", "payment-gateway", "inventory-api", "recommendation-engine", "session-store"];
    let mut all: Vec<Series> = Vec::with_capacity(count);
    for pod in 0..count / SERIES_PER_POD {
        let app = apps[pod % apps.len()];
        let namespace = format!("team-{:02}-production", pod / 7 % 20);
        let (a, b) = (noise(pod) as u32, noise(pod + 1_000_000) % 100_000);
        let pod_name = format!("{app}-{:08x}-{b:05}", noise(pod / 3) as u32);
        let instance = format!("10.{}.{}.{}:8080", pod / 16 % 200, a % 250, a / 250 % 250);
        let node = format!("ip-10-{}-{}.eu-central-1.compute.internal", pod / 16 % 200, pod / 12);
        let job = format!("kubernetes-pods/{app}");
        let times: Vec<i64> = (0..8).map(|i| START_MS + i64::from(a % 15_000) + i * 15_000).collect();
        for i in 0..SERIES_PER_POD {
            let metric = (pod % 4 * 66 + if i < 80 { i } else { 80 + i % 2 }) % METRICS;
            let name = format!("application_{}_{metric:03}_total", ["http_requests", "db_pool", "cache"][metric % 3]);
            let bucket = format!("{}", (1u32 << ((i - i.min(80)) / 2)) as f64 / 8.0);
            let mut pairs = vec![
                ("__name__", name.as_str()),
                ("cluster", "prod-eu-central-1"),
                ("container", app),
                ("instance", instance.as_str()),
                ("job", job.as_str()),
                ("namespace", namespace.as_str()),
                ("node", node.as_str()),
                ("pod", pod_name.as_str()),
            ];
            if i >= 80 {
                pairs.push(("le", bucket.as_str()));
            }
            if i % 4 == 1 {
                pairs.push(("code", ["200", "404", "500"][i % 3]));
            }
            let values = (0..8).map(|at| if i % 5 == 0 { 1.0 } else { (noise(pod * 800 + i * 8 + at) % 1000) as f64 });
            all.push((Labels::from_pairs(pairs), times.clone(), values.collect()));
        }
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// CPU time of this thread, so that neighbours on the machine do not count; short times, which it cannot tell, on the clock.
#[derive(Clone, Copy)]
struct Cpu(Duration, Instant);

impl Cpu {
    fn now() -> Self {
        let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        Cpu(Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap()), Instant::now())
    }

    fn elapsed(self) -> Duration {
        match self.1.elapsed() {
            short if short < Duration::from_millis(20) => short,
            _ => Cpu::now().0 - self.0,
        }
    }
}

fn per(count: usize, started: Cpu) -> f64 {
    started.elapsed().as_nanos() as f64 / count as f64
}

fn measure(title: &str, series: &[Series]) {
    let temp = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let count = series.len();
    let raw: usize = series.iter().flat_map(|(labels, ..)| labels.iter()).map(|(n, v)| n.len() + v.len()).sum();
    let samples: usize = series.iter().map(|(_, times, _)| times.len()).sum();
    println!("== {title}: {} samples, labels raw {} B per series", samples, raw / count);

    let started = Cpu::now();
    let mut writer = BlockWriter::create(&disk, temp.path(), Ulid(1)).unwrap();
    writer.begin_tenant(&TenantId::default()).unwrap();
    for (labels, times, values) in series {
        writer.add_series(labels, times, values).unwrap();
    }
    let added = per(count, started);
    let finished = Cpu::now();
    writer.finish(Vec::new(), 0).unwrap();
    println!("   write: {added:.0} ns per series added, {:.0} ns at the end (fsync included)", per(count, finished));

    let started = Cpu::now();
    let block = Block::open(&*disk, &block_dir(temp.path(), Ulid(1))).unwrap();
    println!("   open: {:.1} ns per series, {:.1} ms", per(count, started), started.elapsed().as_secs_f64() * 1e3);
    sections(&block, count);
    let block = block.tenant(&TenantId::default()).unwrap();
    read(&block, series);
}

/// Prints the bytes of each section, found by the index's footer and directory.
fn sections(block: &Block, count: usize) {
    let index = block.file(BlockFile::Index);
    let number = |at: usize| u64::from_le_bytes(index[at..at + 8].try_into().unwrap()) as usize;
    let directory = number(index.len() - 24);
    let first = directory + 5 + usize::from(index[directory + 4]);
    let each = |bytes: usize| format!("{:.2}", bytes as f64 / count as f64);
    let names = ["labels", "postings", "times", "series"];
    let parts = names.iter().enumerate().map(|(at, name)| format!("{name} {}", each(number(first + at * 16 + 8))));
    let chunks = block.file(BlockFile::Chunks).len();
    println!(
        "   bytes per series: index {} ({}); chunks {}; all {:.3} per sample",
        each(index.len()),
        parts.collect::<Vec<_>>().join(", "),
        each(chunks),
        (index.len() + chunks) as f64 / block.meta().samples as f64,
    );
}

fn read(block: &TenantBlock, series: &[Series]) {
    let count = series.len();
    let mut cursor = block.cursor();
    for (pass, name) in ["first walk", "second walk"].iter().enumerate() {
        let started = Cpu::now();
        let mut bytes = 0;
        for number in 0..count as u32 {
            cursor.seek(BlockSeriesRef(number)).unwrap();
            bytes += cursor.label_bytes().unwrap().len();
        }
        println!("   label bytes in order, {name}: {:.0} ns per series", per(count, started));
        assert!(bytes > 0 && pass < 2);
    }
    let started = Cpu::now();
    for number in 0..count as u32 {
        cursor.seek(BlockSeriesRef(number)).unwrap();
        assert!(cursor.labels().unwrap().0 == series[number as usize].0);
    }
    println!("   labels and ids in order, compared: {:.0} ns per series", per(count, started));
    let started = Cpu::now();
    let mut chunks = 0;
    for number in 0..count as u32 {
        cursor.seek(BlockSeriesRef(number)).unwrap();
        chunks += cursor.chunks(TimeRange::ALL).unwrap().len();
    }
    println!("   chunks in order, verified: {:.0} ns per series, {chunks} chunks", per(count, started));
    let random: Vec<BlockSeriesRef> =
        (0..count.min(50_000)).map(|at| BlockSeriesRef((noise(at) % count as u64) as u32)).collect();
    let started = Cpu::now();
    random.iter().for_each(|series| drop(block.series(*series).unwrap()));
    println!("   labels at random: {:.0} ns per series", per(random.len(), started));
    let started = Cpu::now();
    random.iter().for_each(|series| drop(block.chunks(*series, TimeRange::ALL).unwrap()));
    println!("   chunks at random: {:.0} ns per series", per(random.len(), started));
    select(block, series);
}

fn select(block: &TenantBlock, series: &[Series]) {
    let middle = &series[series.len() / 2].0;
    let value = |name: &str| middle.get(name).unwrap_or("x").to_owned();
    let one = |name: &str| Matcher::equal(name, value(name));
    let own = block.range();
    let half = TimeRange { start_ms: own.start_ms + (own.end_ms - own.start_ms) / 2, end_ms: own.end_ms };
    let namespaces = Matcher::new("namespace", MatchOp::Regex, "team-0.+").unwrap();
    let selectors = [
        ("one metric", vec![one("__name__")], TimeRange::ALL),
        ("one metric, half of the time", vec![one("__name__")], half),
        ("one pod", vec![one("pod")], TimeRange::ALL),
        ("one metric of one pod", vec![one("__name__"), one("pod")], TimeRange::ALL),
        ("one metric of ten namespaces", vec![one("__name__"), namespaces], TimeRange::ALL),
        ("everything", vec![], TimeRange::ALL),
    ];
    for (name, matchers, range) in selectors {
        let mut best = (Duration::MAX, Duration::MAX);
        let mut count = 0;
        for _ in 0..3 {
            let started = Instant::now();
            let found = block.select(&matchers, range).unwrap();
            let selected = started.elapsed();
            let mut cursor = block.cursor();
            for series in &found {
                cursor.seek(*series).unwrap();
                cursor.label_bytes().unwrap();
            }
            best = (best.0.min(selected), best.1.min(started.elapsed()));
            count = found.len();
        }
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        println!("   select {name}: {count} series in {:.0} us, with labels {:.0} us", micros(best.0), micros(best.1));
    }
    let started = Instant::now();
    let pods = block.label_values("pod", &[], TimeRange::ALL).unwrap().len();
    println!("   values of pod: {pods} in {:.0} us", started.elapsed().as_secs_f64() * 1e6);
}
