//! The parts of the storage core by themselves, each through the outer interface that queries and the ingest use, on a disk
//! in memory: what is seen is computing alone, as CPU time of all threads; benches/README.md says what each line means.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]
#![allow(missing_docs, reason = "a benchmark has no users of its items")]

mod compress;
mod cpu_time;
mod disk;
#[allow(dead_code, unused_imports, reason = "made for the comparison with the peers")]
#[path = "../peers/load/mod.rs"]
mod load;
#[allow(dead_code, unused_imports, reason = "made for the comparison with the peers")]
#[path = "../peers/sender.rs"]
mod sender;
mod store;

use std::hint::black_box;
use std::time::Duration;

use cpu_time::{CpuTime, cpu_time};
use criterion::Throughput;
use disk::MemoryDisk;
use marigram_storage::db::Db;
use marigram_storage::model::matcher::{MatchOp, Matcher};
use marigram_storage::model::time::TimeRange;
use marigram_storage::select::{EncodedChunk, SelectRequest, SeriesDecoder};
use marigram_storage::write::WriteBatch;
use store::{INTERVAL_MS, ROUNDS, bodies, context, decode, filled, open};

type Criterion = criterion::Criterion<CpuTime>;

/// Samples of a body.
const BODY_SAMPLES: u64 = 2_000;
/// Series of the stores that take known series.
const SERIES: usize = 50_000;
/// Series of the stores that are asked.
const ASKED_SERIES: usize = 10_000;

fn main() {
    // `cargo test --benches` runs this too; only `cargo bench` asks for a measurement.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let mut criterion = criterion::Criterion::default()
        .with_measurement(CpuTime)
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(4))
        .configure_from_args();
    decoding(&mut criterion);
    appending_known(&mut criterion);
    appending_new(&mut criterion);
    sealing(&mut criterion);
    asking(&mut criterion);
    compress::compressing(&mut criterion);
    criterion.final_summary();
}

/// Snappy, the walk over the request, ids of its series.
fn decoding(criterion: &mut Criterion) {
    let body = bodies(2_000, 1).remove(0);
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(BODY_SAMPLES));
    group.bench_function("a body of 2,000 samples", |bench| bench.iter(|| decode(black_box(&body))));
}

/// The same batches again and again, each time one interval later, so that no store takes more than a window.
struct Known {
    batches: Vec<WriteBatch>,
    db: Db,
    disk: MemoryDisk,
    next: usize,
}

impl Known {
    fn new() -> Known {
        let batches = bodies(SERIES, 1).iter().map(|body| decode(body)).collect();
        let disk = MemoryDisk::default();
        let mut known = Known { batches, db: open(&disk), disk, next: 0 };
        known.begin();
        known
    }

    /// A fresh store that knows all series.
    fn begin(&mut self) {
        self.disk = MemoryDisk::default();
        self.db = open(&self.disk);
        self.next = 0;
        for _ in 0..self.batches.len() {
            self.append();
        }
    }

    fn append(&mut self) -> Duration {
        let mut batch = self.batches[self.next % self.batches.len()].clone();
        let round = self.next / self.batches.len();
        for (at, sample) in batch.samples.iter_mut().enumerate() {
            sample.timestamp_ms += round as i64 * INTERVAL_MS;
            // As counters do; a tenth stays as it is.
            sample.value += if at % 10 == 0 { 0.0 } else { (round * (at % 7 + 1)) as f64 };
        }
        self.next += 1;
        let begin = cpu_time();
        self.db.append(batch).unwrap();
        cpu_time() - begin
    }
}

/// Look-up, chunks of the head, the log's record.
fn appending_known(criterion: &mut Criterion) {
    let mut known = Known::new();
    let mut group = criterion.benchmark_group("append");
    group.throughput(Throughput::Elements(BODY_SAMPLES));
    group.bench_function("2,000 samples of 50,000 known series", |bench| {
        bench.iter_custom(|count| {
            let append = |_| {
                if known.next == ROUNDS * known.batches.len() {
                    known.begin();
                }
                known.append()
            };
            (0..count).map(append).sum()
        });
    });
    drop(group);
    known.begin();
    let before = known.disk.log_bytes();
    let samples: u64 = (0..known.batches.len()).map(|_| (known.append(), BODY_SAMPLES).1).sum();
    let bytes = (known.disk.log_bytes() - before) as f64 / samples as f64;
    println!("append: {bytes:.2} bytes of log per sample of a known series");
}

/// New series: index, labels, and the log's record of them.
fn appending_new(criterion: &mut Criterion) {
    let bodies = bodies(200_000, 1);
    let mut group = criterion.benchmark_group("append");
    group.throughput(Throughput::Elements(BODY_SAMPLES));
    let (mut db, mut next) = (open(&MemoryDisk::default()), 0);
    group.bench_function("2,000 new series", |bench| {
        bench.iter_custom(|count| {
            let append = |_| {
                if next == bodies.len() {
                    (db, next) = (open(&MemoryDisk::default()), 0);
                }
                let batch = decode(&bodies[next]);
                next += 1;
                let begin = cpu_time();
                db.append(batch).unwrap();
                cpu_time() - begin
            };
            (0..count).map(append).sum()
        });
    });
}

/// A window into a block: decoding the head's chunks, encoding the block's, its index.
fn sealing(criterion: &mut Criterion) {
    let batches: Vec<WriteBatch> = bodies(2_000, ROUNDS).iter().map(|body| decode(body)).collect();
    let mut group = criterion.benchmark_group("seal");
    group.sample_size(10);
    group.throughput(Throughput::Elements(BODY_SAMPLES * ROUNDS as u64));
    group.bench_function("2,000 series of 480 samples", |bench| {
        bench.iter_custom(|count| {
            let seal = |_| {
                let db = open(&MemoryDisk::default());
                batches.iter().for_each(|batch| db.append(batch.clone()).unwrap());
                let begin = cpu_time();
                db.seal().unwrap();
                cpu_time() - begin
            };
            (0..count).map(seal).sum()
        });
    });
}

/// The encoded chunks of all series that match.
fn select(db: &Db, matchers: &[Matcher]) -> Vec<Vec<EncodedChunk>> {
    let request = SelectRequest { matchers, range: TimeRange::ALL, drop_labels: &[] };
    let mut stream = db.select(&context(), request).unwrap();
    let mut found = vec![];
    while let Some(batch) = stream.next_batch().unwrap() {
        found.extend(batch.series.into_iter().map(|series| series.chunks));
    }
    found
}

/// Postings, select and decode, on the head and on a block.
fn asking(criterion: &mut Criterion) {
    let one_metric = [Matcher::equal("__name__", "checkout_http_requests_total"), Matcher::equal("code", "200")];
    let ten_pods = [
        Matcher::new("job", MatchOp::Equal, "checkout").unwrap(),
        Matcher::new("instance", MatchOp::Regex, "10\\.32\\.0\\.(0|5|10|15|20|25|30|35|40|45):8080").unwrap(),
    ];
    for sealed in [false, true] {
        let (name, rounds) = if sealed { ("block", 480) } else { ("head", 480) };
        let db = filled(&MemoryDisk::default(), ASKED_SERIES, rounds);
        if sealed {
            db.seal().unwrap();
        }
        let selected = select(&db, &ten_pods);
        assert_eq!(selected.len(), 1_000, "ten pods of a hundred series");
        assert_eq!(select(&db, &one_metric).len(), 20, "one series of each pod of the application");

        let mut group = criterion.benchmark_group(name);
        let selector = [one_metric.to_vec()];
        group.bench_function("labels of 20 series by two equal labels", |bench| {
            bench.iter(|| db.series(&context(), black_box(&selector), TimeRange::ALL, 0).unwrap());
        });
        group.bench_function("select 1,000 series, a regular expression", |bench| {
            bench.iter(|| select(&db, black_box(&ten_pods)));
        });
        let samples: usize = selected.len() * rounds;
        group.throughput(Throughput::Elements(samples as u64));
        group.bench_function("decode 1,000 series of 480 samples", |bench| {
            let mut decoder = SeriesDecoder::default();
            bench.iter(|| {
                for chunks in &selected {
                    black_box(decoder.decode(black_box(chunks), TimeRange::ALL).unwrap());
                }
            });
        });
    }
}
