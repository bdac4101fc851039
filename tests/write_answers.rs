//! What a sender is told, and what of its request is stored.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/server.rs"]
mod support;

use std::io::Write;

use marigram_proto::prometheus::{Label, Sample, TimeSeries, WriteRequest};
use prost::Message;
use support::{Answer, START_MS, TestServer};

const PROTOBUF: (&str, &str) = ("Content-Type", "application/x-protobuf");
const SNAPPY: (&str, &str) = ("Content-Encoding", "snappy");

fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> TimeSeries {
    TimeSeries {
        labels: labels.iter().map(|(name, value)| Label { name: (*name).into(), value: (*value).into() }).collect(),
        samples: samples.iter().map(|&(timestamp, value)| Sample { timestamp, value }).collect(),
        ..TimeSeries::default()
    }
}

fn body(timeseries: Vec<TimeSeries>) -> Vec<u8> {
    let plain = WriteRequest { timeseries, ..WriteRequest::default() }.encode_to_vec();
    snap::raw::Encoder::new().compress_vec(&plain).unwrap()
}

/// How many samples the store holds up to the present.
fn count(server: &TestServer) -> usize {
    let answer = server.get(None, "/api/v1/query?query=%7B__name__!=%22%22%7D%5B30d%5D").data();
    let series = answer["result"].as_array().unwrap();
    series.iter().map(|series| series["values"].as_array().unwrap().len()).sum()
}

fn assert_refused(answer: &Answer, status: u16, parts: &[&str]) {
    assert_eq!(answer.status, status, "{}", answer.text());
    for part in parts {
        assert!(answer.text().contains(part), "{} lacks {part}", answer.text());
    }
}

#[test]
fn remote_write_is_taken_under_all_its_names() {
    let server = TestServer::start(&[]);
    let with_message = ("Content-Type", "application/x-protobuf;proto=prometheus.WriteRequest");
    let paths = ["/api/v1/write", "/api/v1/push", "/api/v1/receive", "/prometheus/api/v1/write"];
    for (i, path) in paths.iter().enumerate() {
        let request = body(vec![series(&[("__name__", "a")], &[(START_MS - i as i64, 1.0)])]);
        let headers = if i % 2 == 0 { [PROTOBUF, SNAPPY] } else { [with_message, SNAPPY] };
        let answer = server.post(path, &headers, &request);
        assert_eq!((answer.status, answer.body.len()), (204, 0), "{path}: {}", answer.text());
        // As Prometheus does, absent headers are taken to be the usual ones.
        assert_eq!(server.post(path, &[], &request).status, 204);
    }
    assert_eq!(count(&server), 4);
}

#[test]
fn good_samples_are_stored_and_bad_ones_named() {
    let server = TestServer::start(&["--retention", "1d"]);
    let request = body(vec![
        series(&[("__name__", "good"), ("empty", "")], &[(START_MS, 1.0), (START_MS + 600_000, 2.0)]),
        series(&[("job", "nameless")], &[(START_MS, 1.0)]),
        series(
            &[("__name__", "times")],
            &[(START_MS + 600_001, 1.0), (START_MS - 86_400_001, 1.0), (START_MS - 1, 3.0)],
        ),
        series(&[("__name__", "twice"), ("a", "1"), ("a", "2")], &[(START_MS, 1.0)]),
    ]);
    let answer = server.post("/api/v1/write", &[PROTOBUF, SNAPPY], &request);
    assert_refused(&answer, 400, &["4 samples refused", "metric name"]);
    server.clock.set(START_MS + 700_000);
    assert_eq!(count(&server), 3);
    let metrics = server.get(None, "/metrics").text();
    for line in
        ["samples_total 3", "{reason=\"bad_labels\"} 2", "{reason=\"too_old\"} 1", "{reason=\"too_far_in_future\"} 1"]
    {
        assert!(metrics.contains(&format!("marigram_ingest_{line}")) || metrics.contains(line), "{line}:\n{metrics}");
    }
}

#[test]
fn what_cannot_be_read_is_refused_whole() {
    let server = TestServer::start(&["--write-max-request-bytes", "64KiB"]);
    let good = body(vec![series(&[("__name__", "a")], &[(START_MS, 1.0)])]);
    let post = |headers: &[(&str, &str)], body: &[u8]| server.post("/api/v1/write", headers, body);
    for content_type in
        ["application/json", "text/plain", "application/x-protobuf;proto=io.prometheus.write.v2.Request"]
    {
        assert_refused(&post(&[("Content-Type", content_type), SNAPPY], &good), 415, &[]);
    }
    for encoding in ["gzip", "zstd", "identity"] {
        assert_refused(&post(&[PROTOBUF, ("Content-Encoding", encoding)], &good), 415, &["snappy"]);
    }
    assert_refused(&post(&[PROTOBUF, SNAPPY], b"not snappy at all"), 400, &["Snappy"]);
    assert_refused(&post(&[PROTOBUF, SNAPPY], &[0xff, 0xff, 0xff, 0xff, 0x0f, 0]), 400, &["bytes"]);
    assert_refused(&post(&[PROTOBUF, SNAPPY], &vec![0; 65_537]), 413, &["65536"]);
    let torn = snap::raw::Encoder::new().compress_vec(&[0x0a, 0x20, 0x0a]).unwrap();
    assert_refused(&post(&[PROTOBUF, SNAPPY], &torn), 400, &["remote-write request"]);
    assert_eq!(server.get(None, "/api/v1/write").status, 405);
    assert_eq!(count(&server), 0);
}

#[test]
fn texts_are_taken_plain_and_gzipped() {
    let server = TestServer::start(&["--write-max-request-bytes", "64KiB"]);
    let gzip = |text: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    };
    let post = |headers: &[(&str, &str)], body: &[u8]| server.post("/api/v1/import/prometheus", headers, body);
    let gzipped = ("Content-Encoding", "gzip");
    assert_eq!(post(&[], b"a 1\nb{c=\"d\"} 2\n").status, 204);
    assert_eq!(post(&[gzipped], &gzip(b"c 3\n")).status, 204);
    assert_refused(&post(&[], b"good 1\nbad line here\n"), 400, &["1 sample refused"]);
    assert_refused(&post(&[gzipped], b"not gzip"), 400, &["gzip"]);
    assert_refused(&post(&[gzipped], &gzip(&vec![b'\n'; 10 << 20])), 413, &["65536"]);
    assert_refused(&post(&[("Content-Encoding", "br")], b"a 1\n"), 415, &["gzip"]);
    assert_eq!(count(&server), 4);
}

#[test]
fn overload_is_503_with_a_time_to_come_back() {
    let server = TestServer::start(&["--write-max-concurrency", "1"]);
    let held = server.server.app().writes.try_enter().unwrap();
    let request = "POST /api/v1/write HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let answer = server.raw(request).to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 503") && answer.contains("retry-after: "), "{answer}");
    drop(held);
    assert!(server.raw(request).starts_with("HTTP/1.1 400"), "an empty body is no Snappy block");
}

#[test]
fn series_beyond_the_limit_are_503_and_known_ones_go_on() {
    let server = TestServer::start(&["--max-series", "1"]);
    let post = |text: &str| server.post("/api/v1/import/prometheus", &[], text.as_bytes()).status;
    assert_eq!((post("a 1\n"), post("b 1\n")), (204, 503));
    server.clock.set(START_MS + 1);
    assert_eq!(post("a 2\n"), 204);
}
