//! A real Prometheus scrapes native histograms (by protobuf) and writes them to the real binary; both are asked for them, raw and
//! through functions, and must give the same.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prost::Message;
use serde_json::Value;
use support::answers;
use support::http::Http;
use support::process::Folder;
use support::prometheus::Prometheus;
use support::single::Server;
use support::{needs, now_ms, poll_until};

/// So many scrapes are compared.
const SCRAPES: usize = 25;
const NAMES: [&str; 3] = ["request_size_bytes", "temperature_celsius", "queue_length"];

/// The exposition format of io.prometheus.client, as far as histograms need it.
#[derive(Clone, PartialEq, Message)]
struct MetricFamily {
    #[prost(string, tag = "1")]
    name: String,
    /// 4: histogram, 5: gauge histogram.
    #[prost(int32, tag = "3")]
    kind: i32,
    #[prost(message, repeated, tag = "4")]
    metric: Vec<Metric>,
}

#[derive(Clone, PartialEq, Message)]
struct Metric {
    #[prost(message, repeated, tag = "1")]
    label: Vec<Label>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(uint64, tag = "1")]
    sample_count: u64,
    #[prost(double, tag = "2")]
    sample_sum: f64,
    #[prost(sint32, optional, tag = "5")]
    schema: Option<i32>,
    #[prost(double, optional, tag = "6")]
    zero_threshold: Option<f64>,
    #[prost(uint64, optional, tag = "7")]
    zero_count: Option<u64>,
    #[prost(message, repeated, tag = "9")]
    negative_span: Vec<Span>,
    #[prost(sint64, repeated, tag = "10")]
    negative_delta: Vec<i64>,
    #[prost(message, repeated, tag = "12")]
    positive_span: Vec<Span>,
    #[prost(sint64, repeated, tag = "13")]
    positive_delta: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

fn deltas(counts: &[u64]) -> Vec<i64> {
    let before = [0].into_iter().chain(counts.iter().copied());
    counts.iter().zip(before).map(|(count, before)| *count as i64 - before as i64).collect()
}

/// What the exporter says the `scrape`th time.
fn families(scrape: u64) -> Vec<MetricFamily> {
    // A restart of what is counted, and new buckets later on.
    let age = if scrape < 12 { scrape } else { scrape - 12 };
    let counter = |instance: u64| {
        let counts: Vec<u64> = (0..4 + age / 8).map(|bucket| (age + 1) * (bucket + instance)).collect();
        let (first, rest) = (2, counts.len() as u32 - 2);
        Histogram {
            sample_count: counts.iter().sum::<u64>() + age,
            sample_sum: age as f64 * 12.25,
            schema: Some(3),
            zero_threshold: Some(1e-128),
            zero_count: Some(age),
            positive_span: vec![Span { offset: -3, length: first }, Span { offset: 5, length: rest }],
            positive_delta: deltas(&counts),
            ..Histogram::default()
        }
    };
    let both_sides = Histogram {
        sample_count: 10 * (scrape + 1),
        sample_sum: -0.5 * scrape as f64,
        schema: Some(0),
        zero_threshold: Some(0.001),
        zero_count: Some(scrape + 1),
        negative_span: vec![Span { offset: 0, length: 2 }],
        negative_delta: deltas(&[4 * (scrape + 1), 2 * (scrape + 1)]),
        positive_span: vec![Span { offset: 1, length: 1 }, Span { offset: 2, length: 1 }],
        positive_delta: deltas(&[scrape + 1, 2 * (scrape + 1)]),
    };
    let queue = [3, 9, 1, 0, 7][scrape as usize % 5];
    let gauge = Histogram {
        sample_count: queue + 5,
        sample_sum: queue as f64 * 3.0,
        schema: Some(1),
        zero_threshold: Some(0.0),
        zero_count: Some(0),
        positive_span: vec![Span { offset: 0, length: 2 }],
        positive_delta: deltas(&[queue, 5]),
        ..Histogram::default()
    };
    let family = |name: &str, kind, histograms: Vec<Histogram>| {
        let metric = |(number, histogram): (usize, Histogram)| Metric {
            label: vec![Label { name: "shard".into(), value: number.to_string() }],
            histogram: Some(histogram),
        };
        MetricFamily { name: name.into(), kind, metric: histograms.into_iter().enumerate().map(metric).collect() }
    };
    vec![
        family(NAMES[0], 4, vec![counter(1), counter(2), counter(5)]),
        family(NAMES[1], 4, vec![both_sides]),
        family(NAMES[2], 5, vec![gauge]),
    ]
}

fn answer(stream: &mut TcpStream, scrape: u64) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let body: Vec<u8> = families(scrape).iter().flat_map(Message::encode_length_delimited_to_vec).collect();
    let kind = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body)
}

/// An exporter; its address, and how often it was asked.
fn exporter() -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let scrapes = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&scrapes);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let scrape = counted.fetch_add(1, Ordering::SeqCst);
            // Whoever goes away before the end comes again.
            let _ = stream.and_then(|mut stream| answer(&mut stream, scrape));
        }
    });
    (address, scrapes)
}

fn ask(http: &Http, query: &str, at_ms: i64) -> Value {
    let (status, mut answer) = http.json("/api/v1/query", &[("query", query), ("time", &answers::time(at_ms))]);
    assert_eq!(status, 200, "{query}: {answer}");
    let mut rows = answer["data"]["result"].take();
    rows.as_array_mut().unwrap().sort_by_key(|row| row["metric"].to_string());
    rows
}

/// All numbers of an answer must be equal, but for the last bits of what was computed.
fn same(theirs: &Value, ours: &Value) -> bool {
    match (theirs, ours) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (Value::String(a), Value::String(b)) => match (a.parse::<f64>(), b.parse::<f64>()) {
            (Ok(x), Ok(y)) => answers::close(x, y),
            _ => a == b,
        },
        (a, b) => a == b,
    }
}

#[test]
fn native_histograms_come_back_as_prometheus_wrote_them() {
    let Some(binary) = needs::PROMETHEUS.path_or_skip("native_histograms_come_back_as_prometheus_wrote_them") else {
        return;
    };
    let folder = Folder::new("native_histograms");
    let mut marigram = Server::start(folder.path());
    let (address, scrapes) = exporter();
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nremote_write:\n- url: http://{}/api/v1/write\n  \
         send_native_histograms: true\n  queue_config: {{batch_send_deadline: 200ms}}\nscrape_configs:\n- job_name: histograms\n  \
         static_configs: [{{targets: [\"{address}\"]}}]\n",
        marigram.address()
    );
    let prometheus = Prometheus::start_with(&binary, folder.path(), &config, &["--enable-feature=native-histograms"]);
    poll_until("the scrapes", || (scrapes.load(Ordering::SeqCst) as usize > SCRAPES).then_some(()));
    let at_ms = now_ms();
    let raw = |http: &Http| NAMES.map(|name| ask(http, &format!("{name}[1h]"), at_ms));
    let count = |rows: &Value| -> usize {
        rows.as_array().unwrap().iter().map(|row| row["histograms"].as_array().map_or(0, Vec::len)).sum()
    };
    let theirs = raw(prometheus.http());
    let ours = poll_until("what was scraped to be written", || {
        let ours = raw(marigram.http());
        theirs.iter().zip(&ours).all(|(theirs, ours)| count(ours) >= count(theirs)).then_some(ours)
    });
    assert!(count(&theirs[0]) >= 3 * SCRAPES && count(&theirs[2]) >= SCRAPES, "{theirs:?}");
    assert_eq!(ours, theirs, "the histograms themselves");
    let check = |marigram: &Server| {
        assert_eq!(raw(marigram.http()), theirs, "the histograms themselves");
        // A millisecond on which no scrape lies: ranges of the two are closed at different ends.
        let time_ms = |row: &Value| (row[0].as_f64().unwrap() * 1000.0).round() as i64;
        let scraped: Vec<i64> = theirs[1][0]["histograms"].as_array().unwrap().iter().map(time_ms).collect();
        let at_ms = (0..1000).map(|ms| at_ms - ms).find(|at| scraped.iter().all(|t| (at - t) % 1000 != 0)).unwrap();
        // Quantiles and fractions are left out: Prometheus 2 interpolates them in another way.
        for query in [
            "request_size_bytes",
            "queue_length",
            "sum(request_size_bytes)",
            "histogram_count(request_size_bytes) + histogram_sum(request_size_bytes)",
            "rate(request_size_bytes[10s])",
            "increase(temperature_celsius[15s])",
            "count_over_time(queue_length[15s])",
            "sum by (job) (request_size_bytes)",
        ] {
            let (theirs, ours) = (ask(prometheus.http(), query, at_ms), ask(marigram.http(), query, at_ms));
            assert!(!theirs.as_array().unwrap().is_empty(), "{query}");
            assert!(same(&theirs, &ours), "{query}:\n{ours}\ninstead of\n{theirs}");
        }
    };
    check(&marigram);
    marigram.restart();
    check(&marigram);
    marigram.seal();
    check(&marigram);
    marigram.assert_sound();
}
