//! An HA pair of real Prometheus servers, scraping a node_exporter and each other every second, writes to a cluster over
//! MinIO; queries make one series of the two replicas' and lose, double and reset nothing when one of the servers is down.
//!
//! The rule (docs/deduplication.md) looks at the steps between samples, and a busy machine delays scrapes: what is
//! compared series for series lies in a time in which both servers scraped calmly.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;

use serde_json::Value;
use support::cluster::{Cluster, Plan};
use support::http::Http;
use support::prometheus::{NodeExporter, Prometheus};
use support::{needs, now_ms, poll_until};

/// Scrapes come every second; a step above one and a half is a gap.
const CALM_STEP_MS: i64 = 1_350;
const CALM_MS: i64 = 25_000;
const DOWN_MS: i64 = 30_000;
const BEFORE_MS: i64 = 20_000;
const AFTER_MS: i64 = 12_000;
/// Two scrapes of one target are at most so far apart from each other's in time: a range this much longer or shorter holds
/// a sample more or less at each end.
const SHIFT_MS: i64 = 3_000;
/// How the two extrapolations may differ.
const EXTRAPOLATION: f64 = 0.05;

/// Timestamps and values, by labels without those that only one side has.
type Series = BTreeMap<String, Vec<(i64, f64)>>;

struct Pair {
    a: Prometheus,
    b: Prometheus,
    _node_exporter: NodeExporter,
    cluster: Cluster,
}

fn start(test: &str) -> Option<Pair> {
    let prometheus = needs::PROMETHEUS.path_or_skip(test)?;
    let node_exporter = needs::NODE_EXPORTER.path_or_skip(test)?;
    let minio = needs::MINIO.path_or_skip(test)?;
    let flags = vec![("query", "--replica-label=replica".into())];
    let plan = Plan { compactors: 2, minio: Some(minio), flags, ..Plan::default() };
    let cluster = Cluster::start("cluster-prometheus", &plan);
    let folder = cluster.folder();
    let node_exporter = NodeExporter::start(&node_exporter, folder);
    let replica = |name| Prometheus::start_replica(&prometheus, folder, name, cluster.insert.address());
    let (mut a, mut b) = (replica("a"), replica("b"));
    let both = [a.address().to_owned(), b.address().to_owned()];
    for server in [&mut a, &mut b] {
        server.scrape_jobs(&[("node", &[node_exporter.address()]), ("prometheus", &[&both[0], &both[1]])]);
    }
    Some(Pair { a, b, _node_exporter: node_exporter, cluster })
}

fn instant(http: &Http, query: &str, at_ms: i64, more: &[(&str, &str)]) -> Value {
    let time = format!("{}.{:03}", at_ms.div_euclid(1000), at_ms.rem_euclid(1000));
    let parameters = [&[("query", query), ("time", time.as_str())], more].concat();
    let (status, mut answer) = http.json_post("/api/v1/query", &parameters);
    assert_eq!(status, 200, "{query}: {answer}");
    assert!(answer.get("warnings").is_none(), "{query}: {answer}");
    answer["data"]["result"].take()
}

fn number(text: &Value) -> f64 {
    match text.as_str().unwrap() {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        text => text.parse().unwrap(),
    }
}

fn point(pair: &Value) -> (i64, f64) {
    ((pair[0].as_f64().unwrap() * 1000.0).round() as i64, number(&pair[1]))
}

/// Series of an answer; `cluster`, which only the pair's servers add on their way out, must be there or must not.
fn series_of(result: &Value, sent: bool) -> Series {
    let mut all = Series::new();
    for series in result.as_array().unwrap() {
        let mut labels = series["metric"].as_object().unwrap().clone();
        assert_eq!(labels.remove("cluster").is_some(), sent, "{labels:?}");
        let labels = Value::from(labels).to_string();
        let points = match &series["values"] {
            Value::Array(points) => points.iter().map(point).collect(),
            _ => vec![point(&series["value"])],
        };
        assert!(all.insert(labels.clone(), points).is_none(), "{labels} comes twice");
    }
    all
}

/// All samples, staleness markers apart, from `from_ms` (exclusive) to `to_ms`.
fn samples(http: &Http, from_ms: i64, to_ms: i64, sent: bool) -> Series {
    // Prometheus 2 closes a range on the left: without its first millisecond the two mean the same.
    let from_ms = if sent { from_ms } else { from_ms + 1 };
    series_of(&instant(http, &format!("{{__name__=~\".+\"}}[{}ms]", to_ms - from_ms), to_ms, &[]), sent)
}

fn count(series: &Series) -> usize {
    series.values().map(Vec::len).sum()
}

fn longest_step_ms(points: &[(i64, f64)]) -> i64 {
    points.windows(2).map(|pair| pair[1].0 - pair[0].0).max().unwrap_or(0)
}

/// How often the values fall.
fn falls(points: &[(i64, f64)]) -> usize {
    points.windows(2).filter(|pair| pair[1].1 < pair[0].1).count()
}

/// Bit for bit, but that the text of a NaN does not tell which it is.
fn same(left: &[(i64, f64)], right: &[(i64, f64)]) -> bool {
    let same = |(left, right): (&(i64, f64), &(i64, f64))| {
        left.0 == right.0 && (left.1.to_bits() == right.1.to_bits() || left.1.is_nan() && right.1.is_nan())
    };
    left.len() == right.len() && left.iter().zip(right).all(same)
}

fn is_counter(labels: &str) -> bool {
    ["_total\"", "_count\"", "_bucket\""].iter().any(|end| {
        labels
            .split_once("\"__name__\":")
            .is_some_and(|(_, rest)| rest.split_once(',').map_or(rest, |name| name.0).contains(end))
    })
}

/// When both servers have scraped all three targets calmly for the last `CALM_MS`: the end of that time.
fn calm_end_ms(pair: &Pair) -> Option<i64> {
    let ups = [&pair.a, &pair.b].map(|server| series_of(&instant(server.http(), "up[90s]", now_ms(), &[]), false));
    let last = |points: &Vec<(i64, f64)>| points.last().map(|point| point.0);
    let end_ms = ups.iter().flat_map(Series::values).filter_map(last).min()?;
    let calm = |points: &Vec<(i64, f64)>| {
        let part: Vec<(i64, f64)> = points.iter().copied().filter(|point| point.0 > end_ms - CALM_MS).collect();
        let first_ms = part.first().map_or(i64::MAX, |point| point.0);
        first_ms - (end_ms - CALM_MS) <= CALM_STEP_MS
            && longest_step_ms(&part) <= CALM_STEP_MS
            && points.first() < part.first()
    };
    let all = |ups: &Series| ups.len() == 3 && ups.values().all(calm);
    ups.iter().all(all).then_some(end_ms)
}

/// Waits until the cluster holds what the servers hold of that time; gives the servers' own.
fn wait_until_written(pair: &Pair, from_ms: i64, to_ms: i64) -> [Series; 2] {
    let theirs = [&pair.a, &pair.b].map(|server| samples(server.http(), from_ms, to_ms, false));
    let all: usize = theirs.iter().map(count).sum();
    let query = format!("{{__name__=~\".+\"}}[{}ms]", to_ms - from_ms);
    poll_until("all samples to be written", || {
        let both = instant(pair.cluster.query.http(), &query, to_ms, &[("dedup", "false")]);
        let held = count(&series_of(&both, true));
        assert!(held <= all, "{held} samples are held where {all} were scraped");
        (held == all).then_some(())
    });
    eprintln!("{all} samples of both servers are there");
    theirs
}

/// Each deduplicated series is that of one of the two servers.
fn compare_calm(pair: &Pair) {
    let end_ms = poll_until("both servers to scrape calmly", || calm_end_ms(pair));
    let from_ms = end_ms - CALM_MS;
    let theirs = wait_until_written(pair, from_ms, end_ms);
    let ours = samples(pair.cluster.query.http(), from_ms, end_ms, true);
    let names: std::collections::BTreeSet<&String> = theirs.iter().flat_map(Series::keys).collect();
    assert!(ours.keys().eq(names.iter().copied()), "the same series: {} and {}", ours.len(), names.len());
    let wrong: Vec<&String> = ours
        .iter()
        .filter(|(labels, points)| !theirs.iter().any(|series| series.get(*labels).is_some_and(|of| same(of, points))))
        .map(|(labels, _)| labels)
        .collect();
    eprintln!("{} series compared", ours.len());
    assert!(wrong.is_empty(), "{} series are neither server's: {:?}", wrong.len(), &wrong[..wrong.len().min(5)]);
}

/// One server is down for a while: nothing of the other's is missing, doubled or reset.
fn compare_switch(pair: &mut Pair) {
    let stopped_ms = now_ms();
    pair.a.stop();
    let newest = |server: &Prometheus| {
        let answer = instant(server.http(), "timestamp(up{job=\"node\"})", now_ms(), &[]);
        answer[0]["value"].get(1).map_or(0, |value| (number(value) * 1000.0) as i64)
    };
    let past = |what: &str, server: &Prometheus, ms: i64| {
        poll_until(what, || (newest(server) >= ms).then_some(()));
    };
    past("half a minute with one server", &pair.b, stopped_ms + DOWN_MS);
    pair.a.start_again();
    let back_ms = poll_until("scrapes of the server that is back", || {
        Some(newest(&pair.a)).filter(|ms| *ms > stopped_ms + DOWN_MS)
    });
    past("some time with both", &pair.a, back_ms + AFTER_MS + 2_000);
    past("some time with both", &pair.b, back_ms + AFTER_MS + 2_000);
    let (from_ms, to_ms) = (stopped_ms - BEFORE_MS, back_ms + AFTER_MS);
    let [a, b] = wait_until_written(pair, from_ms, to_ms);
    let ours = samples(pair.cluster.query.http(), from_ms, to_ms, true);
    let (mut counters, mut switched) = (0, 0);
    for (labels, survivor) in &b {
        let points = ours.get(labels).unwrap_or_else(|| panic!("{labels} is missing"));
        let other = a.get(labels).map(Vec::as_slice).unwrap_or_default();
        assert!(points.windows(2).all(|pair| pair[0].0 < pair[1].0), "{labels}: times ascend");
        let known = |point: &&(i64, f64)| !survivor.iter().chain(other).any(|of| same(&[*of], &[**point]));
        assert_eq!(points.iter().find(known), None, "{labels}: a sample that no server has");
        let (step_ms, allowed_ms) = (longest_step_ms(points), longest_step_ms(survivor) + 3 * CALM_STEP_MS / 2);
        assert!(
            step_ms <= allowed_ms,
            "{labels}: a gap of {step_ms} ms, the survivor's longest step and one: {allowed_ms} ms"
        );
        let most = survivor.len() + survivor.len() / 10 + 3;
        assert!(points.len() <= most, "{labels}: {} samples instead of {}", points.len(), survivor.len());
        // The server that is stopped counts anew itself, after what its own last scrape saw.
        if is_counter(labels) && !labels.contains(pair.a.address()) {
            counters += 1;
            assert_eq!(falls(points), falls(survivor), "{labels}: resets");
        }
        let of_a = |point: &(i64, f64)| point.0 < stopped_ms && !survivor.iter().any(|of| of.0 == point.0);
        switched += usize::from(points.iter().any(of_a));
    }
    eprintln!("{} series, {counters} counters; {switched} went over from one server to the other", b.len());
    assert!(counters > 300 && switched > 300, "the switch was seen");
    compare_increase(pair, to_ms - from_ms, to_ms);
}

/// `increase` over the switch lies between the survivor's of a little less and of a little more time.
fn compare_increase(pair: &Pair, range_ms: i64, at_ms: i64) {
    let names = instant(pair.b.http(), "count by (__name__) ({__name__=~\"node_.+_total\"})", at_ms, &[]);
    let mut compared = 0;
    for name in names.as_array().unwrap().iter().map(|series| series["metric"]["__name__"].as_str().unwrap()) {
        let of = |http: &Http, range_ms: i64, sent: bool| {
            series_of(&instant(http, &format!("increase({name}[{range_ms}ms])"), at_ms, &[]), sent)
        };
        let ours = of(pair.cluster.query.http(), range_ms, true);
        let theirs = [-SHIFT_MS, -SHIFT_MS / 2, 0, SHIFT_MS / 2, SHIFT_MS]
            .map(|shift| of(pair.b.http(), range_ms + shift, false));
        for (labels, points) in &ours {
            let around: Vec<f64> = theirs.iter().filter_map(|series| Some(series.get(labels)?.first()?.1)).collect();
            let least = around.iter().copied().fold(f64::INFINITY, f64::min) * (1.0 - EXTRAPOLATION);
            let most = around.iter().copied().fold(0.0, f64::max) * (1.0 + EXTRAPOLATION);
            let value = points[0].1;
            assert!((least..=most).contains(&value), "increase of {name}{labels}: {value}, the survivor's: {around:?}");
            compared += usize::from(value > 0.0);
        }
    }
    eprintln!("{compared} counters rose as the survivor saw it");
    assert!(compared > 20, "counters rose");
}

#[test]
fn an_ha_pair_is_one_server_to_whoever_asks() {
    let Some(mut pair) = start("an_ha_pair_is_one_server_to_whoever_asks") else { return };
    compare_calm(&pair);
    compare_switch(&mut pair);
    pair.cluster.assert_sound();
}
