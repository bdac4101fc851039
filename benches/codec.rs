//! What columns take at rest, and what encoding and decoding them costs, by class of column.
//!
//! 1. Columns: those of the recordings in `MARIGRAM_REAL_SCRAPES`, a whole recording per series, and generated ones: pods of
//!    100 series as a service's, 480 samples at 15 s.
//! 2. Per class: bytes per sample as XOR chunks of 128 (timestamps included, which are about nothing), as zstd 19 over varints
//!    of scaled differences, and as the encoder makes them with either effort; CPU time of both directions, best of a few.
//! 3. Beside them the empirical entropy of the scaled first differences, for columns that are decimals. Of a column whose
//!    differences are nearly all distinct this is below any possible code, which would have to hold the differences.

#![allow(clippy::unwrap_used, unused_imports, reason = "a benchmark fails by panicking")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::{BTreeMap, HashMap};

use marigram_proto::prometheus::WriteRequest;
use marigram_storage::chunk::{
    CHUNK_SAMPLES_MAX, ChunkBuilder, Effort, ValueEncoder, decode_times, decode_values, encode_times,
};
use prost::Message;
use support::needs;
use support::traffic::{Frames, recordings};

const PODS: u64 = 20;
const ROUNDS: usize = 480;
const REPETITIONS: usize = 5;

struct Column {
    class: String,
    times: Vec<i64>,
    values: Vec<f64>,
}

fn main() {
    // `cargo test --benches` runs this too; only `cargo bench` asks for a measurement.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    report("generated", &generated());
    let Some(dir) = needs::REAL_SCRAPES.path_or_skip("codec") else { return };
    for path in recordings(&dir) {
        report(&path.display().to_string(), &recorded(&path));
    }
}

/// The columns of a recording, classified by what they hold.
fn recorded(path: &std::path::Path) -> Vec<Column> {
    let mut series: HashMap<Vec<(String, String)>, Column> = HashMap::new();
    for frame in Frames::open(path) {
        for one in WriteRequest::decode(&frame[..]).unwrap().timeseries {
            let labels = one.labels.into_iter().map(|label| (label.name, label.value)).collect();
            let column = series.entry(labels).or_insert_with(|| Column {
                class: String::new(),
                times: Vec::new(),
                values: Vec::new(),
            });
            for sample in one.samples {
                if column.times.last().is_none_or(|&last| last < sample.timestamp) {
                    column.times.push(sample.timestamp);
                    column.values.push(sample.value);
                }
            }
        }
    }
    let mut columns: Vec<Column> = series.into_values().collect();
    columns.retain(|column| !column.values.is_empty());
    for column in &mut columns {
        column.class = class_of(&column.values);
    }
    columns
}

fn class_of(values: &[f64]) -> String {
    let changes = changes(values);
    if changes == 0 {
        return "constant".into();
    }
    let number = match scaled(values) {
        Some((0, _)) => "integer",
        Some(_) => "decimal",
        None => "float",
    };
    let kind = if values.windows(2).any(|pair| pair[1] < pair[0]) { "gauge" } else { "counter" };
    format!("{number} {kind}, {}", busyness(changes, values.len()))
}

fn changes(values: &[f64]) -> usize {
    values.windows(2).filter(|pair| pair[0].to_bits() != pair[1].to_bits()).count()
}

fn busyness(changes: usize, count: usize) -> &'static str {
    match 10 * changes {
        tenths if tenths < count => "idle",
        tenths if tenths < 5 * count => "now and then",
        _ => "busy",
    }
}

/// The values that are numbers as integers, with the smallest power of ten that makes all of them exact.
fn scaled(values: &[f64]) -> Option<(i32, Vec<i64>)> {
    (0..=9).find_map(|exponent| {
        let power = 10f64.powi(exponent);
        let scale = |&value: &f64| {
            let integer = (value * power).round();
            (integer.abs() < 9e15 && (integer / power).to_bits() == value.to_bits()).then_some(integer as i64)
        };
        let integers: Option<Vec<i64>> = values.iter().filter(|value| value.is_finite()).map(scale).collect();
        Some((exponent, integers?))
    })
}

/// What a class comes to.
#[derive(Default)]
struct Sums {
    columns: usize,
    samples: usize,
    xor: usize,
    zstd: usize,
    sealed: usize,
    cold: usize,
    entropy_bytes: f64,
    encode_ns: f64,
    encode_cold_ns: f64,
    decode_ns: f64,
}

fn report(title: &str, columns: &[Column]) {
    let mut classes: BTreeMap<&str, Vec<&Column>> = BTreeMap::new();
    for column in columns {
        classes.entry(&column.class).or_default().push(column);
    }
    println!("{title}: bytes per sample and ns per sample");
    println!(
        "{:<28} {:>7} {:>9} {:>7} {:>7} {:>7} {:>7} {:>8}  {:>7} {:>7} {:>7}",
        "class", "columns", "samples", "XOR", "zstd 19", "sealed", "cold", "entropy", "encode", "(cold)", "decode"
    );
    let mut all = Sums::default();
    for (class, columns) in classes {
        let sums = measure(&columns);
        print(class, &sums);
        all.columns += sums.columns;
        all.samples += sums.samples;
        all.xor += sums.xor;
        all.zstd += sums.zstd;
        all.sealed += sums.sealed;
        all.cold += sums.cold;
        all.entropy_bytes += sums.entropy_bytes;
        all.encode_ns += sums.encode_ns;
        all.encode_cold_ns += sums.encode_cold_ns;
        all.decode_ns += sums.decode_ns;
    }
    print("all", &all);
    let mut distinct = HashMap::new();
    let (mut bytes, mut times) = (Vec::new(), Vec::new());
    for column in columns {
        bytes.clear();
        encode_times(&column.times, &mut bytes);
        times.clear();
        decode_times(&bytes, &mut times).unwrap();
        assert_eq!(times, column.times);
        distinct.entry(bytes.clone()).or_insert(bytes.len());
    }
    let bytes: usize = distinct.values().sum();
    println!(
        "{} distinct times columns, {bytes} bytes: {:.4} per sample\n",
        distinct.len(),
        bytes as f64 / all.samples as f64
    );
}

fn print(class: &str, sums: &Sums) {
    let per = |amount: f64| amount / sums.samples as f64;
    println!(
        "{class:<28} {:>7} {:>9} {:>7.3} {:>7.3} {:>7.4} {:>7.4} {:>8.3}  {:>7.1} {:>7.1} {:>7.2}",
        sums.columns,
        sums.samples,
        per(sums.xor as f64),
        per(sums.zstd as f64),
        per(sums.sealed as f64),
        per(sums.cold as f64),
        per(sums.entropy_bytes),
        per(sums.encode_ns),
        per(sums.encode_cold_ns),
        per(sums.decode_ns),
    );
}

fn measure(columns: &[&Column]) -> Sums {
    let mut sums = Sums { columns: columns.len(), ..Sums::default() };
    for column in columns {
        sums.samples += column.values.len();
        sums.xor += xor_bytes(column);
        let (zstd, entropy_bytes) = references(&column.values);
        sums.zstd += zstd;
        sums.entropy_bytes += entropy_bytes;
    }
    let (sealed, sealed_ns) = encode(columns, Effort::Sealed);
    let (cold, cold_ns) = encode(columns, Effort::Cold);
    (sums.encode_ns, sums.encode_cold_ns) = (sealed_ns, cold_ns);
    sums.cold = cold.iter().map(Vec::len).sum();
    sums.sealed = sealed.iter().map(Vec::len).sum();
    let mut values = Vec::new();
    sums.decode_ns = best_of(|| {
        for (column, bytes) in columns.iter().zip(&sealed) {
            values.clear();
            decode_values(bytes, column.values.len(), &mut values).unwrap();
        }
    });
    for (column, bytes) in columns.iter().zip(&sealed).chain(columns.iter().zip(&cold)) {
        values.clear();
        decode_values(bytes, column.values.len(), &mut values).unwrap();
        assert!(values.iter().zip(&column.values).all(|(a, b)| a.to_bits() == b.to_bits()), "bit for bit");
    }
    sums
}

fn encode(columns: &[&Column], effort: Effort) -> (Vec<Vec<u8>>, f64) {
    let mut encoder = ValueEncoder::new();
    let mut encoded = vec![Vec::new(); columns.len()];
    let ns = best_of(|| {
        for (column, bytes) in columns.iter().zip(&mut encoded) {
            bytes.clear();
            encoder.encode(&column.values, effort, bytes);
        }
    });
    (encoded, ns)
}

fn xor_bytes(column: &Column) -> usize {
    let chunks = column.times.chunks(CHUNK_SAMPLES_MAX).zip(column.values.chunks(CHUNK_SAMPLES_MAX));
    let lengths = chunks.map(|(times, values)| {
        let mut builder = ChunkBuilder::default();
        for (&time, &value) in times.iter().zip(values) {
            builder.push(time, value);
        }
        builder.encode().len()
    });
    lengths.sum()
}

/// Bytes as zstd 19 over varints of scaled differences (over the floats where they do not scale), and the entropy of these
/// differences.
fn references(values: &[f64]) -> (usize, f64) {
    let Some((_, integers)) = scaled(values) else {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        return (zstd::bulk::compress(&bytes, 19).unwrap().len(), 8.0 * changes(values) as f64);
    };
    let mut differences: Vec<i64> = integers.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let divisor = differences.iter().fold(0, |divisor, &difference| gcd(divisor, difference.unsigned_abs())).max(1);
    let mut bytes = Vec::new();
    let mut counts: HashMap<i64, usize> = HashMap::new();
    for difference in &mut differences {
        *difference /= divisor as i64;
        *counts.entry(*difference).or_default() += 1;
        push_varint(((*difference << 1) ^ (*difference >> 63)) as u64, &mut bytes);
    }
    push_varint(integers.first().map_or(0, |first| first.unsigned_abs()), &mut bytes);
    let total = differences.len() as f64;
    let bits: f64 = counts.values().map(|&count| count as f64 * (total / count as f64).log2()).sum();
    (zstd::bulk::compress(&bytes, 19).unwrap().len(), bits / 8.0)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn push_varint(mut number: u64, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// CPU time of this thread in the quickest of a few repetitions, ns.
fn best_of(mut work: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..REPETITIONS {
        let before = thread_cpu_ns();
        work();
        best = best.min(thread_cpu_ns() - before);
    }
    best
}

fn thread_cpu_ns() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a `timespec` of this stack frame, which the call fills and does not keep.
    let answer = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(answer, 0, "the system has a clock of threads");
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// A generator of its own, so that the columns are the same everywhere.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }

    fn log_uniform(&mut self, low: f64, high: f64) -> f64 {
        low * (high / low).powf(self.unit())
    }

    /// Events in a scrape of which `mean` are expected; busy ones swing by 0.3 of that.
    fn events(&mut self, mean: f64) -> f64 {
        if mean > 20.0 {
            return (mean + (mean + 0.09 * mean * mean).sqrt() * self.normal()).round().max(0.0);
        }
        let (limit, mut product, mut events) = ((-mean).exp(), self.unit(), 0.0);
        while product > limit {
            product *= self.unit();
            events += 1.0;
        }
        events
    }
}

/// Pods of 100 series: 35 integer counters (8 of them never count), 20 histogram buckets, 25 gauges, 10 counters of
/// seconds with two decimals, 10 constants.
fn generated() -> Vec<Column> {
    let times: Vec<i64> = (0..ROUNDS as i64).map(|round| 1_790_000_000_000 + 15_000 * round).collect();
    let mut columns = Vec::new();
    for pod in 0..PODS {
        let mut random = Random(pod << 32);
        let mut add = |class: String, values| columns.push(Column { class, times: times.clone(), values });
        for counter in 0..35 {
            let rate = if counter < 8 { 0.0 } else { random.log_uniform(0.003, 3e7) };
            let mut state = (rate * random.log_uniform(10.0, 1e5)).floor();
            let values: Vec<f64> = (0..ROUNDS)
                .map(|_| {
                    state += random.events(rate);
                    state
                })
                .collect();
            let class = if rate == 0.0 { "never" } else { busyness(changes(&values), ROUNDS) };
            add(format!("integer counter, {class}"), values);
        }
        for _ in 0..2 {
            let rate = random.log_uniform(0.1, 5e5);
            let shares = [0.02, 0.06, 0.22, 0.25, 0.23, 0.14, 0.05, 0.02, 0.008, 0.002];
            let mut states = shares.map(|share| (share * rate * 1e4).floor());
            let mut buckets = [const { Vec::new() }; 10];
            for _ in 0..ROUNDS {
                let requests = random.events(rate);
                let mut below = 0.0;
                for ((state, share), bucket) in states.iter_mut().zip(shares).zip(&mut buckets) {
                    let mean = requests * share;
                    *state += (mean + (mean * (1.0 - share)).sqrt() * random.normal()).round().max(0.0);
                    below += *state;
                    bucket.push(below);
                }
            }
            buckets.into_iter().for_each(|values| add("histogram bucket".into(), values));
        }
        for gauge in 0..25 {
            let (class, start, step, power) = match gauge {
                0..10 => ("gauge, 2 decimals", 2e4, random.log_uniform(3.0, 300.0), 100.0),
                10..18 => ("gauge, pages of 4 KiB", 5e5, random.log_uniform(0.5, 2000.0), 1.0 / 4096.0),
                18..21 => ("ratio, 4 decimals", 1e4, random.log_uniform(10.0, 300.0), 1e4),
                _ => ("quotient of two counts", 1e5, random.log_uniform(10.0, 1000.0), 1.0),
            };
            let mut state = (start * random.unit()).floor();
            let values = (0..ROUNDS).map(|_| {
                if gauge > 20 || random.unit() < 0.6 {
                    state = (state + step * random.normal()).round().abs();
                }
                let power = if gauge > 20 { 1e5 + (1000.0 * random.unit()).floor() } else { power };
                state / power
            });
            add(class.into(), values.collect());
        }
        for _ in 0..10 {
            let rate = random.log_uniform(0.5, 1400.0);
            let mut state = (rate * random.log_uniform(10.0, 1e5)).floor();
            let values = (0..ROUNDS).map(|_| {
                state += random.events(rate);
                state / 100.0
            });
            add("counter of seconds".into(), values.collect());
        }
        for constant in 0..10 {
            let value = [1.0, 1.79e9 + (9e6 * random.unit()).floor(), 1_073_741_824.0, 2.0, 65_536.0][constant % 5];
            add("constant".into(), vec![value; ROUNDS]);
        }
    }
    columns
}
