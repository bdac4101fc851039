//! HA deduplication over HTTP: two replicas of one Prometheus write the same targets, and queries see one series.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/server.rs"]
mod server;

use std::fmt::Write as _;

use marigram_proto::prometheus::label_matcher::Type;
use marigram_proto::prometheus::{LabelMatcher, Query, ReadRequest, ReadResponse};
use prost::Message;
use serde_json::{Value, json};
use server::{START_MS, TestServer};

/// The first scrape.
const FROM_MS: i64 = START_MS - 3_600_000;
/// Both replicas scrape this often.
const INTERVAL_MS: i64 = 15_000;
/// Replica `b` scrapes this much later than `a`.
const PHASE_MS: i64 = 6_000;
const SCRAPES: i64 = 120;
/// Scrapes 40 to 59 of `a` are missing.
const OUTAGE: std::ops::Range<i64> = 40..60;

/// What the target's counter shows at a scrape of `a`: 2 per second, reset at scrape 80.
fn counter(time_ms: i64) -> i64 {
    let since_ms = time_ms - FROM_MS;
    let reset_ms = 80 * INTERVAL_MS - 1000;
    if since_ms < reset_ms { 10_000 + 2 * since_ms / 1000 } else { 2 * (since_ms - reset_ms) / 1000 }
}

fn gauge(time_ms: i64) -> i64 {
    (time_ms / 1000) % 37
}

fn scrape_ms(replica: &str, scrape: i64) -> i64 {
    FROM_MS + scrape * INTERVAL_MS + if replica == "b" { PHASE_MS } else { 0 }
}

/// All that both replicas have stored: a counter and a gauge that `a` misses for 20 scrapes, with a staleness marker at the first
/// of them in the gauge's case; a series that both see end; one that only `b` has.
fn exposition() -> String {
    let mut text = String::new();
    for replica in ["a", "b"] {
        let labels = format!("{{job=\"app\",replica=\"{replica}\"}}");
        for scrape in 0..SCRAPES {
            let time_ms = scrape_ms(replica, scrape);
            // `b` reads the counter a second late: behind what `a` has seen a scrape before, never ahead.
            let behind_ms = if replica == "b" { 1000 } else { 0 };
            if replica == "b" || !OUTAGE.contains(&scrape) {
                writeln!(text, "requests_total{labels} {} {time_ms}", counter(time_ms - behind_ms)).unwrap();
                writeln!(text, "depth{labels} {} {time_ms}", gauge(time_ms)).unwrap();
            }
            if scrape < 20 {
                writeln!(text, "short{labels} 1 {time_ms}").unwrap();
            }
            if replica == "b" {
                writeln!(text, "only_b{labels} 1 {time_ms}").unwrap();
            }
        }
    }
    text
}

/// Staleness markers cannot be told in the text format: they are written.
fn markers() -> Vec<u8> {
    use marigram_proto::prometheus::{Label, Sample, TimeSeries, WriteRequest};
    let marker = |name: &str, replica: &str, scrape: i64| {
        let labels = [("__name__", name), ("job", "app"), ("replica", replica)];
        let labels = labels.map(|(name, value)| Label { name: name.to_owned(), value: value.to_owned() }).to_vec();
        let value = f64::from_bits(0x7ff0_0000_0000_0002);
        TimeSeries {
            labels,
            samples: vec![Sample { value, timestamp: scrape_ms(replica, scrape) }],
            ..Default::default()
        }
    };
    let timeseries = vec![marker("depth", "a", OUTAGE.start), marker("short", "a", 20), marker("short", "b", 20)];
    let request = WriteRequest { timeseries, ..Default::default() };
    snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap()
}

fn filled(flags: &[&str]) -> TestServer {
    let server = TestServer::start(flags);
    server.import(None, &exposition());
    let headers = [("content-type", "application/x-protobuf"), ("content-encoding", "snappy")];
    let answer = server.post("/api/v1/write", &headers, &markers());
    assert_eq!(answer.status, 204, "{}", answer.text());
    server
}

fn pair() -> TestServer {
    filled(&["--replica-label", "replica", "--enable-admin-api"])
}

fn time(time_ms: i64) -> String {
    format!("{}.{:03}", time_ms / 1000, time_ms % 1000)
}

fn end_ms() -> i64 {
    scrape_ms("b", SCRAPES)
}

/// `result` of an instant query.
fn query(server: &TestServer, query: &str, at_ms: i64, more: &[(&str, &str)]) -> Vec<Value> {
    let at = time(at_ms);
    let form = [&[("query", query), ("time", &at)], more].concat();
    let data = server.form(None, "/api/v1/query", &form).data();
    assert_eq!(server.get_form(None, "/api/v1/query", &form).data(), data);
    data["result"].as_array().unwrap().clone()
}

/// All stored samples of a selector: labels, and (ms, value) in order.
fn raw(server: &TestServer, selector: &str, more: &[(&str, &str)]) -> Vec<(Value, Vec<(i64, i64)>)> {
    let all = query(server, &format!("{selector}[2h]"), end_ms(), more);
    let each = all.iter().map(|series| {
        let samples = series["values"].as_array().unwrap().iter().map(|sample| {
            let time_ms = (sample[0].as_f64().unwrap() * 1000.0).round() as i64;
            (time_ms, sample[1].as_str().unwrap().parse().unwrap())
        });
        (series["metric"].clone(), samples.collect())
    });
    each.collect()
}

/// The times at which `a` is shown until its outage, and `b` after it.
fn switched() -> Vec<i64> {
    let before = (0..OUTAGE.start).map(|scrape| scrape_ms("a", scrape));
    before.chain((OUTAGE.start - 1..SCRAPES).map(|scrape| scrape_ms("b", scrape))).collect()
}

#[test]
fn two_replicas_are_one_series_without_a_gap() {
    let server = pair();
    for sealed in [false, true] {
        for name in ["depth", "requests_total"] {
            let got = raw(&server, name, &[]);
            assert_eq!(got.len(), 1, "{got:?}");
            assert_eq!(got[0].0, json!({"__name__": name, "job": "app"}));
            let times: Vec<i64> = got[0].1.iter().map(|(time_ms, _)| *time_ms).collect();
            assert_eq!(times, switched(), "{name}");
        }
        let depth = &raw(&server, "depth", &[])[0].1;
        assert!(depth.iter().all(|(time_ms, value)| *value == gauge(*time_ms)), "{depth:?}");
        if !sealed {
            assert_eq!(server.post("/api/v1/admin/tsdb/seal", &[], b"").status, 204);
        }
    }
}

#[test]
fn a_counter_is_reset_only_where_it_truly_was() {
    let server = pair();
    let value = |expression: &str, more: &[(&str, &str)]| {
        let got = query(&server, expression, end_ms(), more);
        assert_eq!(got.len(), 1, "{expression}: {got:?}");
        got[0]["value"][1].as_str().unwrap().parse::<f64>().unwrap()
    };
    assert_eq!(value("resets(requests_total[2h])", &[]), 1.0);
    // Over the switch, the rate is about the counter's: it is extrapolated from the average step, which is shorter there.
    let (start, end) = (time(scrape_ms("a", 20)), time(scrape_ms("a", 75)));
    let form = [("query", "rate(requests_total[1m])"), ("start", &start), ("end", &end), ("step", "5")];
    let data = server.form(None, "/api/v1/query_range", &form).data();
    let values = data["result"][0]["values"].as_array().unwrap();
    assert_eq!((data["result"].as_array().unwrap().len(), values.len()), (1, 55 * 3 + 1));
    for sample in values {
        let rate: f64 = sample[1].as_str().unwrap().parse().unwrap();
        assert!((1.6..=2.3).contains(&rate), "{sample}");
    }
    // The increase after the switch is exactly as the surviving replica has it.
    let increase = |selector: &str, more: &[(&str, &str)]| {
        let got = query(&server, &format!("increase({selector}[5m])"), scrape_ms("b", 70), more);
        got[0]["value"][1].clone()
    };
    let survivor = increase("requests_total{replica=\"b\"}", &[("dedup", "false")]);
    assert_eq!(increase("requests_total", &[]), survivor);
}

#[test]
fn markers_switch_or_end() {
    let server = pair();
    // `a` wrote a marker at its outage: the gauge goes on.
    for scrape in OUTAGE {
        let got = query(&server, "depth", scrape_ms("a", scrape) + 100, &[]);
        assert_eq!(got.len(), 1, "{scrape}");
    }
    // Both saw the series end: it ends with the one that saw it last (whose last sample comes on top), and not only after the
    // lookback.
    assert_eq!(query(&server, "short", scrape_ms("b", 19), &[]).len(), 1);
    assert_eq!(query(&server, "short", scrape_ms("b", 20), &[]).len(), 0);
    assert_eq!(query(&server, "count_over_time(short[2h])", end_ms(), &[])[0]["value"][1], json!("21"));
}

#[test]
fn a_request_can_ask_for_the_raw_replicas_or_name_other_labels() {
    let server = pair();
    let both = raw(&server, "depth", &[("dedup", "false")]);
    assert_eq!(both.len(), 2);
    assert_eq!(both[0].0, json!({"__name__": "depth", "job": "app", "replica": "a"}));
    assert_eq!((both[0].1.len() as i64, both[1].1.len() as i64), (SCRAPES - 20, SCRAPES));
    // `replicaLabels[]` goes before the flag's.
    assert_eq!(raw(&server, "depth", &[("replicaLabels[]", "job")]).len(), 2);
    let none = raw(&server, "depth", &[("replicaLabels[]", "replica"), ("replicaLabels[]", "job")]);
    assert_eq!(none.len(), 1);
    assert_eq!(none[0].0, json!({"__name__": "depth"}));
    assert_eq!(raw(&server, "depth", &[("replicaLabels[]", "")]).len(), 2);
    assert_eq!(raw(&server, "depth", &[("replicaLabels[]", "replica"), ("dedup", "0")]).len(), 2);
    // A replica can be asked for by name, and is then shown as it is.
    let only = raw(&server, "depth{replica=\"a\"}", &[]);
    assert_eq!((only.len(), only[0].1.len() as i64), (1, SCRAPES - 20));

    let plain = filled(&[]);
    assert_eq!(raw(&plain, "depth", &[]).len(), 2);
    let asked = raw(&plain, "depth", &[("replicaLabels[]", "replica")]);
    assert_eq!(asked, raw(&server, "depth", &[]));
}

#[test]
fn wrong_parameters_are_refused() {
    let server = pair();
    for path in [
        "/api/v1/query?query=depth%5B2h%5D&",
        "/api/v1/query_range?query=depth&start=0&end=1&step=1&",
        "/api/v1/series?match[]=depth&",
        "/api/v1/labels?",
        "/api/v1/label/job/values?",
    ] {
        for wrong in ["dedup=maybe", "partial_response=2", "replicaLabels[]=__name__"] {
            let answer = server.get(None, &format!("{path}{wrong}"));
            assert_eq!((answer.status, &answer.json()["errorType"]), (400, &json!("bad_data")), "{path}{wrong}");
        }
        let many = "replicaLabels[]=x&".repeat(33);
        assert_eq!(server.get(None, &format!("{path}{many}")).status, 400, "{path}");
        // Nothing is missing here: allowing a short answer changes nothing.
        let whole = server.get(None, &format!("{path}partial_response=true"));
        assert_eq!(whole.status, 200, "{path}");
        assert_eq!(whole.json(), server.get(None, path.trim_end_matches('&')).json(), "{path}");
    }
}

#[test]
fn series_are_listed_once_and_labels_as_they_are_stored() {
    let server = pair();
    let series = |more: &str| server.get(None, &format!("/api/v1/series?match[]=%7Bjob%3D%22app%22%7D{more}")).data();
    let names: Vec<Value> = series("").as_array().unwrap().iter().map(|labels| labels["__name__"].clone()).collect();
    assert_eq!(names, ["depth", "only_b", "requests_total", "short"]);
    assert!(!series("").to_string().contains("replica"));
    assert_eq!(series("&limit=2").as_array().unwrap().len(), 2);
    assert_eq!(series("&dedup=false").as_array().unwrap().len(), 7);
    assert_eq!(server.get(None, "/api/v1/labels").data(), json!(["__name__", "job", "replica"]));
    assert_eq!(server.get(None, "/api/v1/label/replica/values").data(), json!(["a", "b"]));
}

/// Labels without those of a remote-read answer, and how many samples each has.
fn remote_read(server: &TestServer, url: &str, matchers: &[(&str, &str)]) -> Vec<(String, usize)> {
    let matcher = |(name, value): &(&str, &str)| LabelMatcher {
        r#type: Type::Eq as i32,
        name: (*name).to_owned(),
        value: (*value).to_owned(),
    };
    let query = Query {
        start_timestamp_ms: FROM_MS,
        end_timestamp_ms: end_ms(),
        matchers: matchers.iter().map(matcher).collect(),
        ..Default::default()
    };
    let request = ReadRequest { queries: vec![query], ..Default::default() };
    let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap();
    let answer = server.post(url, &[("content-type", "application/x-protobuf")], &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let plain = snap::raw::Decoder::new().decompress_vec(&answer.body).unwrap();
    let response = ReadResponse::decode(&plain[..]).unwrap();
    let series = response.results[0].timeseries.iter().map(|series| {
        let replica = series.labels.iter().find(|label| label.name == "replica").map(|label| label.value.clone());
        (replica.unwrap_or_default(), series.samples.len())
    });
    series.collect()
}

#[test]
fn remote_read_sees_one_series_unless_its_url_says_otherwise() {
    let server = pair();
    let depth = [("__name__", "depth")];
    assert_eq!(remote_read(&server, "/api/v1/read", &depth), [(String::new(), switched().len())]);
    let raw = remote_read(&server, "/api/v1/read?dedup=false", &depth);
    // The outage's marker is a sample here.
    assert_eq!(raw, [("a".to_owned(), SCRAPES as usize - 19), ("b".to_owned(), SCRAPES as usize)]);
    // A Prometheus asks for what it has written itself.
    let own = remote_read(&server, "/api/v1/read", &[("__name__", "depth"), ("replica", "b")]);
    assert_eq!(own, [(String::new(), SCRAPES as usize)]);
}
