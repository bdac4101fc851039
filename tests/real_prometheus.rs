//! A real Prometheus scrapes a real node_exporter and itself, and writes to the real binary; then both are asked the same,
//! and must answer the same.
//!
//! Debian's Prometheus 2.42 closes ranges on the left, Prometheus 3 (and Marigram) leave them open, so no question may touch
//! a sample with the edge of a range: all times asked for lie on a millisecond of the second on which no sample lies, and
//! all ranges, offsets and steps are whole seconds. Sub-queries are evaluated on whole seconds whatever is asked, so the
//! range inside of one is given the fraction that brings its edge to such a millisecond too.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use support::answers::{self, number, time};
use support::http::Http;
use support::process::Folder;
use support::prometheus::{NodeExporter, Prometheus};
use support::single::Server;
use support::{needs, poll_until};

/// So long both take in what is compared: more than all windows together, because 2.42 and 3 stretch counters that begin
/// within a window differently (docs/promql.md).
const RECORDED_MS: i64 = 85_000;
/// Part of it is left for the ranges of the first step.
const COMPARED_MS: i64 = 35_000;

/// `{edge}` is the range of a sub-query's inner part, `{at}` a time.
const QUERIES: [&str; 32] = [
    "up",
    "{job=\"node\", __name__=~\"node_load.*\"}",
    "node_cpu_seconds_total{mode!~\"idle|iowait\", cpu=\"0\"}",
    "rate(node_cpu_seconds_total[30s])",
    "sum by (mode) (rate(node_cpu_seconds_total[20s]))",
    "irate(prometheus_http_requests_total[20s]) > 0",
    "increase(prometheus_tsdb_head_samples_appended_total[30s])",
    "delta(node_memory_MemFree_bytes[30s])",
    "idelta(node_memory_MemFree_bytes[30s])",
    "changes(process_cpu_seconds_total[30s]) + resets(process_cpu_seconds_total[30s])",
    "histogram_quantile(0.9, rate(prometheus_http_request_duration_seconds_bucket{handler=\"/metrics\"}[30s]))",
    "histogram_quantile(0.5, sum by (le) (rate(prometheus_http_response_size_bytes_bucket{handler=\"/metrics\"}[30s])))",
    "topk(3, sum by (mode) (node_cpu_seconds_total))",
    "bottomk(1, {__name__=~\"node_memory_(MemTotal|MemAvailable)_bytes\"})",
    "node_load1 * on (instance) group_left (nodename, release) node_uname_info",
    "prometheus_build_info * on (job) group_right (version) count by (job, handler) (prometheus_http_requests_total)",
    "max_over_time(rate(prometheus_tsdb_head_samples_appended_total[{edge}])[30s:5s])",
    "avg_over_time(node_memory_MemAvailable_bytes[20s:3s])",
    "node_memory_MemFree_bytes @ {at}",
    "rate(node_context_switches_total[20s] @ end()) + rate(node_context_switches_total[20s] @ start())",
    "sum(rate(node_context_switches_total[20s] offset 10s))",
    "node_load1 offset -5s",
    "up{job=\"node\"} or on (job) go_goroutines unless on (job) node_load1",
    "go_goroutines and on (job) prometheus_build_info",
    "1 - avg by (instance) (rate(node_cpu_seconds_total{mode=\"idle\"}[30s]))",
    "quantile(0.75, go_gc_duration_seconds) by (job)",
    "count by (job) ({__name__=~\".+\"})",
    "count_values(\"value\", up)",
    "stddev by (job) (scrape_samples_scraped) + stdvar by (job) (scrape_series_added)",
    "label_replace(up, \"port\", \"$1\", \"instance\", \".*:(.*)\")",
    "clamp_max(quantile_over_time(0.5, scrape_duration_seconds[30s]), 1) >= bool 0",
    "time() - timestamp(up) < bool 60 == on (job) group_left () sum by (job) (up)",
];

struct Pair {
    prometheus: Prometheus,
    marigram: Server,
    _folder: Folder,
}

/// The binaries, if both are there.
fn start(test: &str) -> Option<(Pair, NodeExporter)> {
    let prometheus = needs::PROMETHEUS.path_or_skip(test)?;
    let node_exporter = needs::NODE_EXPORTER.path_or_skip(test)?;
    let folder = Folder::new(test);
    let marigram = Server::start(folder.path());
    let node_exporter = NodeExporter::start(&node_exporter, folder.path());
    let mut prometheus = Prometheus::start(&prometheus, folder.path(), marigram.address());
    prometheus.scrape(node_exporter.address());
    Some((Pair { prometheus, marigram, _folder: folder }, node_exporter))
}

/// The data of a query that must succeed.
fn data(http: &Http, path: &str, parameters: &[(&str, &str)]) -> Value {
    let (status, mut answer) = http.json(path, parameters);
    assert_eq!((status, &answer["status"]), (200, &Value::from("success")), "{parameters:?}: {answer}");
    answer["data"].take()
}

fn instant(http: &Http, query: &str, at_ms: i64) -> Value {
    data(http, "/api/v1/query", &[("query", query), ("time", &time(at_ms))])
}

/// All timestamps of the scrapes of the last five minutes before `at_ms`, by job.
fn scrapes(http: &Http, at_ms: i64) -> BTreeMap<String, Vec<i64>> {
    let answer = instant(http, "up[5m]", at_ms);
    let times = |series: &Value| {
        let values = series["values"].as_array().unwrap();
        values.iter().map(|pair| (pair[0].as_f64().unwrap() * 1000.0).round() as i64).collect()
    };
    let series = answer["result"].as_array().unwrap().iter();
    series.map(|series| (series["metric"]["job"].as_str().unwrap().to_string(), times(series))).collect()
}

/// All samples, staleness markers apart, of the time from `from_ms` to `to_ms`.
fn samples(http: &Http, from_ms: i64, to_ms: i64) -> Value {
    instant(http, &format!("{{__name__=~\".+\"}}[{}ms]", to_ms - from_ms), to_ms)
}

fn count(samples: &Value) -> usize {
    let series = samples["result"].as_array().unwrap().iter();
    series.map(|series| series["values"].as_array().map_or(0, Vec::len)).sum()
}

/// A millisecond of the second that is as far as can be from those of all the samples, and from whole seconds.
fn free_ms(times: impl Iterator<Item = i64>) -> i64 {
    let taken: BTreeSet<i64> = times.map(|t| t.rem_euclid(1000)).chain([0]).collect();
    let distance = |ms: i64| {
        let around = |other: &i64| (ms - other).rem_euclid(1000).min((other - ms).rem_euclid(1000));
        taken.iter().map(around).min().unwrap_or(500)
    };
    let best = (0..1000).max_by_key(|ms| distance(*ms)).unwrap();
    assert!(distance(best) > 0, "the samples lie on every millisecond");
    best
}

/// Waits until both hold the same samples of the time up to `to_ms`.
fn wait_until_written(pair: &Pair, from_ms: i64, to_ms: i64) {
    let theirs = samples(pair.prometheus.http(), from_ms, to_ms);
    let ours = poll_until("all samples to be written", || {
        let ours = samples(pair.marigram.http(), from_ms, to_ms);
        (count(&ours) >= count(&theirs)).then_some(ours)
    });
    eprintln!("{} samples of {} series", count(&ours), ours["result"].as_array().unwrap().len());
    assert_eq!(difference(&theirs, &ours), None, "the samples themselves");
}

/// Where two answers differ.
fn difference(theirs: &Value, ours: &Value) -> Option<String> {
    if theirs["resultType"] != ours["resultType"] {
        return Some(format!("type {} instead of {}", ours["resultType"], theirs["resultType"]));
    }
    let (theirs, ours) = (answers::rows(&theirs["result"]), answers::rows(&ours["result"]));
    if theirs.values().flatten().all(|(_, value)| !value.is_finite()) {
        return Some("Prometheus' answer has no number: the query proves nothing".into());
    }
    answers::difference(&theirs, &ours, answers::close)
}

/// Asks both, and says where the answers differ.
fn compare(pair: &Pair, path: &str, parameters: &[(&str, &str)]) -> Option<String> {
    let (theirs, ours) = (data(pair.prometheus.http(), path, parameters), data(pair.marigram.http(), path, parameters));
    difference(&theirs, &ours).map(|difference| format!("{path} {parameters:?}: {difference}"))
}

fn compare_queries(pair: &Pair, queries: &[String], start_ms: i64, end_ms: i64) {
    let mut wrong = Vec::new();
    for query in queries {
        wrong.extend(compare(pair, "/api/v1/query", &[("query", query), ("time", &time(end_ms))]));
        let range = [("query", query.as_str()), ("start", &time(start_ms)), ("end", &time(end_ms)), ("step", "5")];
        wrong.extend(compare(pair, "/api/v1/query_range", &range));
    }
    assert!(wrong.is_empty(), "{} of {} answers differ:\n{}", wrong.len(), 2 * queries.len(), wrong.join("\n"));
    eprintln!("{} answers are the same", 2 * queries.len());
}

/// What is listed without a time is compared until it agrees, since both take in more all the time.
fn compare_lists(pair: &Pair) {
    for (path, parameters) in [
        ("/api/v1/labels", &[][..]),
        ("/api/v1/label/__name__/values", &[]),
        ("/api/v1/label/handler/values", &[("match[]", "prometheus_http_requests_total")]),
        ("/api/v1/series", &[("match[]", "up"), ("match[]", "node_cpu_seconds_total")]),
    ] {
        let mut last = (Value::Null, Value::Null);
        poll_until(path, || {
            let sorted = |http: &Http| {
                let mut list = data(http, path, parameters).as_array().unwrap().clone();
                list.sort_by_key(Value::to_string);
                Value::from(list)
            };
            last = (sorted(pair.prometheus.http()), sorted(pair.marigram.http()));
            (last.0 == last.1 && last.0 != Value::Array(vec![])).then_some(())
        });
    }
    let family = |http: &Http| data(http, "/api/v1/metadata", &[("metric", "node_load1")]);
    let theirs = family(pair.prometheus.http());
    assert_eq!(theirs["node_load1"][0]["type"], "gauge", "{theirs}");
    poll_until("metadata", || (family(pair.marigram.http()) == theirs).then_some(()));
}

#[test]
fn the_same_question_gets_the_same_answer() {
    let Some((mut pair, node_exporter)) = start("the_same_question_gets_the_same_answer") else { return };
    let (first_ms, end_ms) = poll_until("a minute of scrapes", || {
        let scrapes = scrapes(pair.prometheus.http(), support::now_ms());
        let first = scrapes.values().filter_map(|times| times.first()).max()?;
        let last = scrapes.values().filter_map(|times| times.last()).min()?;
        (scrapes.len() == 2 && last - first > RECORDED_MS).then_some((*first, *last))
    });
    let times = scrapes(pair.prometheus.http(), end_ms);
    assert!(times.values().all(|times| times.len() > 60), "scraped at 1 s for more than a minute: {times:?}");
    let free_ms = free_ms(times.values().flatten().copied());
    eprintln!("samples avoid millisecond {free_ms} of a second");
    let end_ms = (end_ms - 10_000).div_euclid(1000) * 1000 + free_ms;
    wait_until_written(&pair, first_ms - 1000, end_ms + 6000);

    let edge = format!("{}ms", 20_000 + 1000 - free_ms);
    let at = time(end_ms - 20_000);
    let queries = QUERIES.map(|query| query.replace("{edge}", &edge).replace("{at}", &at));
    compare_queries(&pair, &queries, end_ms - COMPARED_MS, end_ms);
    compare_lists(&pair);

    // A target that goes away: the staleness markers arrive too.
    drop(node_exporter);
    let gone_ms = poll_until("the loss of the target", || {
        let answer = instant(pair.prometheus.http(), "timestamp(up{job=\"node\"} == 0)", support::now_ms());
        answer["result"][0]["value"][1].as_str().map(|text| (number(text) * 1000.0) as i64)
    });
    let times = poll_until("scrapes after the loss", || {
        let scrapes = scrapes(pair.prometheus.http(), support::now_ms());
        scrapes.values().all(|times| times.last() > Some(&(gone_ms + 8000))).then_some(scrapes)
    });
    let free_ms = self::free_ms(times.values().flatten().copied());
    let end_ms = (gone_ms + 5000).div_euclid(1000) * 1000 + free_ms;
    wait_until_written(&pair, first_ms - 1000, end_ms);
    let queries = [
        "count by (job) ({__name__=~\".+\"})",
        "max_over_time(node_load1[20s])",
        "count_over_time(up[20s])",
        "up or absent(node_load1)",
    ];
    compare_queries(&pair, &queries.map(String::from), end_ms - 20_000, end_ms);
    let gone = instant(pair.marigram.http(), "node_load1", end_ms);
    assert_eq!(gone["result"], Value::Array(vec![]), "a series that ended is not there any more");
    pair.marigram.assert_sound();
}
