//! Whatever a client writes, the answer is the documented one, what is good is stored, nothing panics, and memory stays
//! bounded.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;

use marigram_proto::prometheus::{BucketSpan, Exemplar, Histogram, TimeSeries, WriteRequest, histogram, label_matcher};
use prost::Message;
use support::http::{Answer, Http};
use support::process::Folder;
use support::remote::{WRITE_HEADERS, body, read, request, send, send_body, series};
use support::single::Server;
use support::traffic::compress;
use support::{now_ms, poll_until};

const DAY_MS: i64 = 24 * 3_600_000;
/// Refused and accepted bodies may raise the memory that is resident at once by less than this.
const MEMORY_BYTES_MAX: u64 = 64 << 20;

fn write(http: &Http, body: &[u8]) -> Answer {
    send_body(http, body).unwrap()
}

/// The label sets and samples of a metric, as remote read gives them.
fn stored(http: &Http, name: &str) -> Vec<TimeSeries> {
    let now_ms = now_ms();
    let range = (now_ms - 400 * DAY_MS, now_ms + 400 * DAY_MS);
    let mut response = read(http, range.0, range.1, &[(label_matcher::Type::Eq, "__name__", name)]);
    response.results.remove(0).timeseries
}

fn start(test: &str) -> (Folder, Server) {
    let folder = Folder::new(test);
    let server = Server::start_with(folder.path(), &["--retention", "1d"]);
    (folder, server)
}

#[test]
fn bodies_that_cannot_be_decoded_are_refused_whole() {
    let (_folder, mut server) = start("undecodable");
    let http = server.http();
    let plain = request(vec![series(&[("__name__", "cut"), ("instance", "a")], &[(now_ms(), 1.0)])]).encode_to_vec();
    let announcing = |length: &[u8]| [length, &[0, 7]].concat();
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("not Snappy", b"this is not Snappy".to_vec()),
        ("not compressed", plain.clone()),
        ("empty", vec![]),
        ("Snappy that is cut", compress(&plain)[..20].to_vec()),
        ("announces 4 GiB", announcing(&[0xff, 0xff, 0xff, 0xff, 0x0f])),
        ("announces 1 GiB", announcing(&[0x80, 0x80, 0x80, 0x80, 0x04])),
        ("announces 31 MiB", announcing(&[0x80, 0x80, 0xc0, 0x0f])),
        ("announces more than 64 bits", vec![0xff; 30]),
        ("no protobuf", compress(b"\xff\xff\xff\xff this is not protobuf")),
        ("a group", compress(&[0x0b, 0x0c])),
        ("a length beyond the end", compress(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f])),
    ];
    for (what, body) in &bodies {
        let answer = write(http, body);
        assert_eq!(answer.status, 400, "{what}: {}", answer.text());
        assert!(!answer.body.is_empty(), "{what}: the answer says why");
    }
    for length in 1..plain.len() {
        let cut = &plain[..length];
        assert!(WriteRequest::decode(cut).is_err(), "one series, cut anywhere, is no request");
        let answer = write(http, &compress(cut));
        assert_eq!(answer.status, 400, "cut after {length} bytes: {}", answer.text());
    }
    assert!(stored(http, "cut").is_empty(), "nothing of a body that cannot be decoded is stored");
    assert_eq!(write(http, &compress(&plain)).status / 100, 2);
    assert_eq!(stored(http, "cut").len(), 1, "whole, it is taken");
    server.assert_sound();
}

#[test]
fn other_content_types_and_encodings_are_415() {
    let (_folder, mut server) = start("media-types");
    let http = server.http();
    let body = body(vec![series(&[("__name__", "unsupported")], &[(now_ms(), 1.0)])]);
    let [encoding, content_type, ..] = WRITE_HEADERS;
    for (encoding, content_type) in [
        (encoding.1, "application/json"),
        (encoding.1, "text/plain"),
        (encoding.1, "application/x-protobuf;proto=io.prometheus.write.v2.Request"),
        ("gzip", content_type.1),
        ("zstd", content_type.1),
        ("snappy, gzip", content_type.1),
    ] {
        let headers = [("content-encoding", encoding), ("content-type", content_type)];
        let answer = http.post("/api/v1/write", &headers, &body).unwrap();
        assert_eq!(answer.status, 415, "{content_type} in {encoding}: {}", answer.text());
    }
    assert!(stored(http, "unsupported").is_empty(), "nothing of it is stored");
    for path in ["/api/v1/write", "/api/v1/push", "/api/v1/receive", "/prometheus/api/v1/write"] {
        let version_one = "application/x-protobuf;proto=prometheus.WriteRequest";
        let headers = [("content-encoding", "snappy"), ("content-type", version_one)];
        assert_eq!(http.post(path, &headers, &body).unwrap().status / 100, 2, "{path}");
    }
    assert_eq!(stored(http, "unsupported").len(), 1);
    server.assert_sound();
}

/// A series that is refused, and words of the reason.
fn bad_series() -> Vec<(TimeSeries, &'static str)> {
    let now_ms = now_ms();
    let one = [(now_ms, 1.0)];
    let long = "x".repeat(100_000);
    let names: Vec<String> = (0..1000).map(|i| format!("label_{i:04}")).collect();
    let many: Vec<(&str, &str)> =
        names.iter().map(|name| (name.as_str(), "v")).chain([("__name__", "bad_many")]).collect();
    let count = histogram::Count::CountInt(1);
    let spans = vec![BucketSpan { offset: 0, length: 1 }];
    let native = Histogram { count: Some(count), positive_spans: spans, timestamp: now_ms, ..Histogram::default() };
    vec![
        (series(&[("__name__", "bad_twice"), ("a", "1"), ("a", "2")], &one), "more than once"),
        (series(&[("__name__", "bad_same"), ("a", "1"), ("a", "1")], &one), "more than once"),
        (series(&[("__name__", "bad_empty"), ("", "1")], &one), "empty"),
        (series(&[("job", "bad_nameless")], &one), "no metric name"),
        (series(&[("__name__", ""), ("job", "bad_nameless")], &one), "no metric name"),
        (series(&[], &one), "no metric name"),
        (series(&[("__name__", "bad_long_value"), ("a", &long)], &one), "100000 bytes"),
        (series(&[("__name__", "bad_long_name"), (&long, "1")], &one), "100000 bytes"),
        (series(&[("__name__", &long)], &one), "100000 bytes"),
        (series(&many, &one), "1001 labels"),
        (series(&[("__name__", "bad_old")], &[(now_ms - DAY_MS - 60_000, 1.0)]), "retention"),
        (series(&[("__name__", "bad_oldest")], &[(i64::MIN, 1.0)]), "retention"),
        (series(&[("__name__", "bad_zero")], &[(0, 1.0)]), "retention"),
        (series(&[("__name__", "bad_new")], &[(now_ms + 11 * 60_000, 1.0)]), "future"),
        (series(&[("__name__", "bad_newest")], &[(i64::MAX, 1.0)]), "future"),
        (TimeSeries { histograms: vec![native], ..series(&[("__name__", "bad_native")], &[]) }, "native histogram"),
    ]
}

#[test]
fn bad_samples_are_refused_one_by_one() {
    let (_folder, mut server) = start("bad-samples");
    let http = server.http();
    for (number, (bad, reason)) in bad_series().into_iter().enumerate() {
        let (before, after) = (format!("good_before_{number}"), format!("good_after_{number}"));
        let good = |name: &str| series(&[("__name__", name), ("job", "x")], &[(now_ms(), number as f64)]);
        let described = format!("{reason} ({:?})", bad.labels.first());
        let answer = write(http, &body(vec![good(&before), bad, good(&after)]));
        let text = answer.text();
        assert_eq!(answer.status, 400, "{described}: {text}");
        assert!(text.contains("1 sample") && text.contains(reason), "{described}: {text}");
        assert!(text.len() < 4000, "{described}: the answer stays short");
        for name in [before, after] {
            let found = stored(http, &name);
            assert_eq!(found.len(), 1, "{described}: {name} is stored");
            assert_eq!(found[0].samples[0].value, number as f64, "{described}");
        }
    }
    let now_ms = now_ms();
    let everything =
        read(http, now_ms - 400 * DAY_MS, now_ms + DAY_MS, &[(label_matcher::Type::Re, "__name__", "bad.*|x+")]);
    assert!(everything.results[0].timeseries.is_empty(), "nothing bad is stored: {:?}", everything.results);
    server.assert_sound();
}

#[test]
fn the_count_and_the_first_reasons_are_named() {
    let (_folder, mut server) = start("counted");
    let http = server.http();
    let mut all: Vec<TimeSeries> = bad_series().into_iter().map(|(bad, _)| bad).collect();
    let count = all.len();
    let times: Vec<(i64, f64)> =
        (0..100).map(|i| (now_ms() - i * 1000, i as f64)).chain([(0, 0.0), (1, 1.0)]).collect();
    all.push(series(&[("__name__", "partly_good")], &times));
    let answer = write(http, &body(all));
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains(&format!("{} samples", count + 2)), "{}", answer.text());
    assert_eq!(stored(http, "partly_good")[0].samples.len(), 100, "the good samples of a series are stored");
    server.assert_sound();
}

/// A series with one label more, whose name or value may be any bytes.
fn series_of_bytes(metric: &str, name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut message = series(&[("__name__", metric)], &[]).encode_to_vec();
    let label = [&[0x0a, name.len() as u8][..], name, &[0x12, value.len() as u8], value].concat();
    message.extend([&[0x0a, label.len() as u8][..], &label].concat());
    message.extend(series(&[], &[(now_ms(), 1.0)]).encode_to_vec());
    [&[0x0a, message.len() as u8][..], &message].concat()
}

#[test]
fn labels_that_are_not_utf8_cost_only_their_series() {
    let (_folder, mut server) = start("not-utf8");
    let http = server.http();
    for (name, value) in [(&b"a"[..], &b"\xff\xfe"[..]), (b"\xc3", b"x"), (b"a", b"\xed\xa0\x80"), (b"b", b"\xf8\x88")]
    {
        let mut plain = series_of_bytes("good_bytes", b"a", "ä".as_bytes());
        plain.extend(series_of_bytes("bad_bytes", name, value));
        let answer = write(http, &compress(&plain));
        let text = answer.text();
        assert_eq!(answer.status, 400, "{text}");
        assert!(text.contains("1 sample") && text.contains("UTF-8"), "{text}");
    }
    assert_eq!(stored(http, "good_bytes").len(), 1);
    assert!(stored(http, "bad_bytes").is_empty());
    server.assert_sound();
}

#[test]
fn sloppy_labels_are_normalised() {
    let (_folder, mut server) = start("sloppy");
    let http = server.http();
    let now_ms = now_ms();
    let sorted = [("__name__", "sloppy"), ("a", "1"), ("b", "2")];
    send(http, &request(vec![series(&[("b", "2"), ("a", "1"), ("__name__", "sloppy")], &[(now_ms, 1.0)])]));
    send(
        http,
        &request(vec![series(&[("a", "1"), ("c", ""), ("b", "2"), ("__name__", "sloppy")], &[(now_ms + 1, 2.0)])]),
    );
    send(http, &request(vec![series(&sorted, &[(now_ms + 2, 3.0)])]));
    assert_eq!(stored(http, "sloppy"), [series(&sorted, &[(now_ms, 1.0), (now_ms + 1, 2.0), (now_ms + 2, 3.0)])]);
    let exemplar = Exemplar { labels: vec![], value: 1.0, timestamp: now_ms };
    let with_exemplar =
        TimeSeries { exemplars: vec![exemplar], ..series(&[("__name__", "exemplary")], &[(now_ms, 1.0)]) };
    send(http, &request(vec![with_exemplar]));
    assert_eq!(stored(http, "exemplary").len(), 1, "exemplars are ignored");
    send(http, &request(vec![]));
    server.assert_sound();
}

#[test]
fn bad_lines_of_an_import_are_refused_one_by_one() {
    let (_folder, mut server) = start("bad-lines");
    let http = server.http();
    let text = "# TYPE imported counter\nimported{a=\"1\"} 1\nthis is no line }\nimported{a=\"2\" 2\nimported{a=\"3\"} x\n\
                imported{a=\"4\"} 4\nimported{a=\"5\",a=\"5\"} 5\n";
    let answer = http.post("/api/v1/import/prometheus", &[("content-type", "text/plain")], text.as_bytes()).unwrap();
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(answer.text().contains("4 samples"), "{}", answer.text());
    assert_eq!(stored(http, "imported").len(), 2, "the good lines are stored");
    server.assert_sound();
}

/// Bodies of few bytes that would cost many, all refused or stored without ever holding that many at once.
fn bombs() -> Vec<(&'static str, Vec<u8>)> {
    let repeated = |unit: &[u8], bytes: usize| compress(&unit.repeat(bytes / unit.len()));
    let inside = |field: &[u8], bytes: usize| {
        let message = field.repeat(bytes / field.len());
        let mut plain = vec![0x0a];
        let mut length = message.len();
        while length >= 0x80 {
            plain.push(length as u8 | 0x80);
            length >>= 7;
        }
        plain.push(length as u8);
        plain.extend(message);
        compress(&plain)
    };
    vec![
        ("announces 4 GiB", [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 7].to_vec()),
        ("announces 31 MiB", [0x80, 0x80, 0xc0, 0x0f, 0, 7].to_vec()),
        ("expands to 256 MiB", repeated(&[0], 256 << 20)),
        ("expands to zeros", repeated(&[0], 4 << 20)),
        ("empty series", repeated(&[0x0a, 0], 4 << 20)),
        ("empty samples", inside(&[0x12, 0], 4 << 20)),
        ("empty labels", inside(&[0x0a, 0], 4 << 20)),
        ("empty exemplars", inside(&[0x1a, 0], 4 << 20)),
        ("empty histograms", inside(&[0x22, 0], 4 << 20)),
        ("nameless metadata", repeated(&[0x1a, 0], 4 << 20)),
        ("one family's metadata", repeated(&[0x1a, 3, 0x12, 1, b'x'], 4 << 20)),
    ]
}

#[test]
fn bombs_do_not_take_memory() {
    let (_folder, mut server) = start("bombs");
    let http = server.http();
    let bombs = bombs();
    for round in 0..50 {
        let name = format!("warm_{round}");
        send(http, &request(vec![series(&[("__name__", &name)], &[(now_ms(), 1.0)])]));
        assert_eq!(stored(http, &name).len(), 1);
    }
    let mut report = Vec::new();
    for (what, bomb) in &bombs {
        server.reset_peak_memory();
        let before = server.peak_memory_bytes();
        let answer = write(http, bomb);
        let grown = server.peak_memory_bytes().saturating_sub(before);
        eprintln!("{what}: {} bytes, {} KiB more: {} {}", bomb.len(), grown >> 10, answer.status, answer.text().trim());
        assert!(answer.status < 500, "{what}: {} {}", answer.status, answer.text());
        report.push((what.to_string(), grown));
    }
    server.reset_peak_memory();
    let before = server.peak_memory_bytes();
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let (http, bombs) = (http.clone(), &bombs);
            scope.spawn(move || {
                for turn in 0..bombs.len() {
                    // A body for which there is no room may be refused before all of it is sent.
                    let Ok(answer) = send_body(&http, &bombs[(turn + thread) % bombs.len()].1) else { continue };
                    assert!(answer.status < 500 || answer.status == 503, "{} {}", answer.status, answer.text());
                }
            });
        }
    });
    let grown = server.peak_memory_bytes().saturating_sub(before);
    eprintln!("many at once: {} KiB more", grown >> 10);
    report.push(("many at once".into(), grown));
    for (what, grown) in report {
        assert!(grown < MEMORY_BYTES_MAX, "{what} took {} MiB", grown >> 20);
    }
    send(http, &request(vec![series(&[("__name__", "afterwards")], &[(now_ms(), 1.0)])]));
    assert_eq!(stored(http, "afterwards").len(), 1);
    server.assert_sound();
}

#[test]
fn what_is_not_even_http_harms_nobody() {
    let (_folder, mut server) = start("not-http");
    let head = "POST /api/v1/write HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n";
    for text in [
        "\0\u{1}\u{2}garbage\r\n\r\n".to_string(),
        format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1 << 20)),
        format!("{head}content-length: 18446744073709551615\r\n\r\nx"),
        format!("{head}content-length: -5\r\n\r\n"),
        format!("{head}transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n"),
        format!("{head}content-length: 1000\r\n\r\nbroken off"),
    ] {
        let mut connection = TcpStream::connect(server.address()).unwrap();
        // The server may close before all of it is read.
        let _ = connection.write_all(text.as_bytes());
        let _ = connection.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = connection.read_to_end(&mut answer);
        let status = String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap_or("4").to_string();
        assert!(status.starts_with('4'), "{status}");
    }
    poll_until("an answer afterwards", || server.http().get("/-/healthy").ok());
    server.assert_sound();
}
