//! A stream of remote read from the real binary decodes to exactly what remote write sent, also of a series that changes between
//! floats and native histograms.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use marigram_proto::prometheus::histogram::{Count, ResetHint, ZeroCount};
use marigram_proto::prometheus::label_matcher::Type;
use marigram_proto::prometheus::{BucketSpan, Histogram, LabelMatcher, Query, TimeSeries};
use marigram_storage::model::sample::STALE_NAN_BITS;
use support::chunks::{self, Point, Read};
use support::now_ms;
use support::process::Folder;
use support::remote::{request, send, series};
use support::samples::key;
use support::single::Server;

const STEP_MS: i64 = 15_000;
const MIXED: [(&str, &str); 2] = [("__name__", "mixed"), ("job", "a")];

/// A histogram as it is written, and as it must come back.
type Pair = (Histogram, chunks::Histogram);

/// What both forms have in common, at its simplest.
fn pair(count: f64, sum: f64, schema: i32) -> Pair {
    let written = Histogram {
        count: Some(Count::CountFloat(count)),
        zero_count: Some(ZeroCount::ZeroCountFloat(0.0)),
        sum,
        schema,
        ..Histogram::default()
    };
    let read = chunks::Histogram {
        schema: schema.into(),
        count: count.to_bits(),
        sum: sum.to_bits(),
        ..chunks::Histogram::default()
    };
    (written, read)
}

/// Counts of integers on both sides of zero; more buckets with time, and a reset.
fn integer(i: i64) -> Pair {
    let age = if i < 12 { i } else { i - 12 };
    let (above, below): (Vec<i64>, Vec<i64>) = ((0..4 + age / 8).map(|b| (age + 1) * (b + 1)).collect(), vec![age, 7]);
    let count = above.iter().chain(&below).sum::<i64>() + 3;
    let (mut written, mut read) = pair(count as f64, -2.5 * (age + 1) as f64, 3);
    let deltas = |counts: &[i64]| {
        let before = [0].into_iter().chain(counts.iter().copied());
        counts.iter().zip(before).map(|(count, before)| count - before).collect::<Vec<i64>>()
    };
    written.count = Some(Count::CountInt(count as u64));
    written.zero_count = Some(ZeroCount::ZeroCountInt(3));
    written.zero_threshold = 2f64.powi(-128);
    written.positive_spans =
        vec![BucketSpan { offset: -3, length: 2 }, BucketSpan { offset: 5, length: above.len() as u32 - 2 }];
    written.positive_deltas = deltas(&above);
    written.negative_spans = vec![BucketSpan { offset: 300, length: 2 }];
    written.negative_deltas = deltas(&below);
    read.zero_count = 3f64.to_bits();
    read.zero_threshold = 2f64.powi(-128).to_bits();
    let bits = |counts: Vec<i64>| counts.into_iter().map(|count| (count as f64).to_bits());
    read.positive = (-3..-1).chain(4..).zip(bits(above)).collect();
    read.negative = (300..).zip(bits(below)).collect();
    (written, read)
}

/// A gauge of floats.
fn gauge(i: i64) -> Pair {
    let counts = [0.1 * i as f64, 2.75];
    let (mut written, mut read) = pair(counts[0] + counts[1], 1e300, -4);
    written.zero_threshold = 0.001;
    written.reset_hint = ResetHint::Gauge.into();
    written.positive_spans = vec![BucketSpan { offset: 1, length: 2 }];
    written.positive_counts = counts.to_vec();
    read.zero_threshold = 0.001f64.to_bits();
    read.is_gauge = true;
    read.positive = (1..).zip(counts.map(f64::to_bits)).collect();
    (written, read)
}

/// Buckets with bounds of their own.
fn custom(i: i64) -> Pair {
    let (bounds, counts) = ([0.005, 1.0 / 3.0, 40_000.0], [i as f64, 0.0, 4.0, 1.5]);
    let (mut written, mut read) = pair(counts.iter().sum(), 7.0, -53);
    written.custom_values = bounds.to_vec();
    written.positive_spans = vec![BucketSpan { offset: 0, length: 4 }];
    written.positive_counts = counts.to_vec();
    read.custom_values = bounds.map(f64::to_bits).to_vec();
    read.positive = (0..).zip(counts.map(f64::to_bits)).collect();
    (written, read)
}

/// Floats at steps of the series: more than a chunk holds, among them what is no number.
fn floats(start_ms: i64, steps: std::ops::Range<i64>) -> Vec<(i64, f64)> {
    let value = |i: i64| match i % 50 {
        7 => f64::from_bits(0x7ff8_0000_0000_0001),
        11 => f64::NEG_INFINITY,
        23 => -5e-324,
        31 => f64::from_bits(STALE_NAN_BITS),
        _ => i as f64 * 1.1,
    };
    steps.map(|i| (start_ms + i * STEP_MS, value(i))).collect()
}

fn points(floats: &[(i64, f64)]) -> Vec<(i64, Point)> {
    floats.iter().map(|(time_ms, value)| (*time_ms, Point::Float(value.to_bits()))).collect()
}

fn query(name: &str, start_timestamp_ms: i64, end_timestamp_ms: i64) -> Query {
    let matcher = LabelMatcher { r#type: Type::Re.into(), name: "__name__".into(), value: name.into() };
    Query { start_timestamp_ms, end_timestamp_ms, matchers: vec![matcher], hints: None }
}

#[test]
fn a_series_of_floats_then_histograms_then_floats_comes_back_as_it_was_written() {
    let folder = Folder::new("remote_read_stream");
    let mut server = Server::start(folder.path());
    let start_ms = now_ms() - 500 * STEP_MS;
    let (first, last) = (floats(start_ms, 0..250), floats(start_ms, 320..450));
    let mut written = points(&first);
    let mut histograms = Vec::new();
    for i in 250..320 {
        let (mut histogram, read) = match i {
            250..280 => integer(i - 250),
            280..300 => gauge(i),
            _ => custom(i),
        };
        histogram.timestamp = start_ms + i * STEP_MS;
        written.push((histogram.timestamp, Point::Histogram(Box::new(read))));
        histograms.push(histogram);
    }
    written.extend(points(&last));

    let plain = [("__name__", "plain"), ("job", "a")];
    let other = floats(start_ms, 0..10);
    let send_mixed = |samples: &[(i64, f64)], histograms: &[Histogram]| {
        let mixed = TimeSeries { histograms: histograms.to_vec(), ..series(&MIXED, samples) };
        send(server.http(), &request(vec![mixed]));
    };
    send_mixed(&first, &[]);
    // Part of the histograms goes into a block with the floats before them, the rest stays in memory with those behind.
    send_mixed(&[], &histograms[..35]);
    server.seal();
    assert!(server.blocks() > 0);
    send_mixed(&last, &histograms[35..]);
    send(server.http(), &request(vec![series(&plain, &other)]));

    let named = |labels: &[(&str, &str)]| key(&series(labels, &[]).labels);
    let (mixed, plain) = ((named(&MIXED), written.clone()), (named(&plain), points(&other)));
    let (from_ms, to_ms) = (start_ms + 240 * STEP_MS, start_ms + 325 * STEP_MS);
    let queries = || vec![query("plain|mixed", 0, i64::MAX), query("mixed", from_ms, to_ms), query("none", 0, 1)];
    let part: Read = (mixed.0.clone(), written[240..=325].to_vec());
    let expected = vec![vec![mixed, plain], vec![part], vec![]];
    assert_same(&chunks::read(server.http(), queries()), &expected);
    server.seal();
    assert_same(&chunks::read(server.http(), queries()), &expected);
    server.restart();
    assert_same(&chunks::read(server.http(), queries()), &expected);
    server.assert_sound();
}

/// Says which sample differs, not all of them.
fn assert_same(got: &[Vec<Read>], expected: &[Vec<Read>]) {
    assert_eq!(got.len(), expected.len());
    for (got, expected) in got.iter().zip(expected) {
        let names =
            |series: &[Read]| series.iter().map(|(key, samples)| (key.clone(), samples.len())).collect::<Vec<_>>();
        assert_eq!(names(got), names(expected));
        for ((_, got), (_, expected)) in got.iter().zip(expected) {
            for (got, expected) in got.iter().zip(expected) {
                assert_eq!(got, expected);
            }
        }
    }
}
