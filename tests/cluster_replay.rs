//! Recorded traffic of an HA pair, sent through a whole cluster over MinIO, comes back bit for bit: from the heads, from the
//! storage nodes' blocks, after restarts of every process, and from the bucket; and whoever asks all the time, while data
//! moves from the heads to blocks to the bucket and is dropped, gets one answer.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::Value;
use support::cluster::{Cluster, Plan};
use support::http::Http;
use support::samples::Samples;
use support::traffic::{Traffic, recordings};
use support::{needs, poll_until, remote};

/// What is asked all the time: few and many series, raw samples and a fold over all of them.
const QUERIES: [&str; 3] =
    ["up[30m]", "node_cpu_seconds_total[10m]", "count by (job) (last_over_time({__name__!=\"\"}[2h]))"];

/// The cluster's samples of a range that is wider than what was sent by an hour on both sides.
fn read_back(cluster: &Cluster, sent: &Samples) -> Samples {
    let (first_ms, last_ms) = sent.range_ms();
    remote::read_all(cluster.query.http(), (first_ms - 3_600_000, last_ms + 3_600_000))
}

/// The answers to all queries.
fn answers(http: &Http, time: &str) -> Vec<Value> {
    let answer = |query| {
        let (status, answer) = http.json_post("/api/v1/query", &[("query", query), ("time", time)]);
        assert_eq!(status, 200, "{query}: {answer}");
        assert!(answer.get("warnings").is_none(), "{query}: {answer}");
        assert_ne!(answer["data"]["result"], Value::Array(vec![]), "{query} proves something");
        answer
    };
    QUERIES.map(answer).into()
}

/// Says where two answers differ, and not more: they are long.
fn assert_same(first: &[Value], now: &[Value], when: &str) {
    for ((query, first), now) in QUERIES.iter().zip(first).zip(now) {
        let series = |answer: &Value| answer["data"]["result"].as_array().unwrap().clone();
        let (first, now) = (series(first), series(now));
        assert_eq!(first.len(), now.len(), "{when}: {query}: series");
        if let Some((first, now)) = first.iter().zip(&now).find(|(first, now)| first != now) {
            let (first, now) = (first.to_string(), now.to_string());
            let at = first.bytes().zip(now.bytes()).take_while(|(first, now)| first == now).count();
            let part = |text: &str| text.chars().skip(at.saturating_sub(60)).take(160).collect::<String>();
            panic!("{when}: {query}: …{}… became …{}…", part(&first), part(&now));
        }
    }
}

#[test]
fn all_of_it_comes_back_from_heads_blocks_and_bucket() {
    let test = "all_of_it_comes_back_from_heads_blocks_and_bucket";
    let (Some(dir), Some(minio)) = (needs::REAL_SCRAPES.path_or_skip(test), needs::MINIO.path_or_skip(test)) else {
        return;
    };
    let plan = Plan { compactors: 2, minio: Some(minio), ..Plan::default() };
    let mut cluster = Cluster::start("cluster-replay", &plan);
    let mut sent = Samples::default();
    for path in recordings(&dir) {
        let traffic = Traffic::load(&path);
        remote::send_all(cluster.insert.http(), &traffic.bodies);
        sent.merge(traffic.samples);
    }
    eprintln!("{} samples of {} series", sent.count(), sent.series_count());
    assert!(sent.count() > 3_000_000 && sent.stale_count() > 0, "the recordings are whole");
    sent.assert_equal(&read_back(&cluster, &sent), "from the heads");

    let time = format!("{}", sent.range_ms().1 / 1000);
    let first = answers(cluster.query.http(), &time);
    let (over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let query = cluster.query.http().clone();
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                assert_same(&first, &answers(&query, &time), "while data moves");
                asked.fetch_add(1, Ordering::SeqCst);
            }
        });
        let answered = |more: usize| {
            let until = asked.load(Ordering::SeqCst) + more;
            poll_until("answers", || (asked.load(Ordering::SeqCst) >= until || asking.is_finished()).then_some(()));
        };
        answered(1);
        cluster.seal();
        assert!(cluster.blocks() > 0 || asking.is_finished(), "there are blocks after a seal");
        answered(1);
        poll_until("upload and drop", || (cluster.blocks() == 0 || asking.is_finished()).then_some(()));
        answered(2);
        over.store(true, Ordering::SeqCst);
        asking.join().unwrap();
    });
    eprintln!("{} times the same answer while data moved", asked.load(Ordering::SeqCst));

    sent.assert_equal(&read_back(&cluster, &sent), "from the bucket");
    cluster.restart();
    assert_eq!(cluster.blocks(), 0, "the bucket alone has it");
    sent.assert_equal(&read_back(&cluster, &sent), "from the bucket, after restarts of every process");
    assert_same(&first, &answers(cluster.query.http(), &time), "after restarts");
    cluster.assert_sound();
}

#[test]
fn heads_and_blocks_survive_restarts() {
    let test = "heads_and_blocks_survive_restarts";
    let Some(dir) = needs::REAL_SCRAPES.path_or_skip(test) else { return };
    // Nothing is uploaded while this runs.
    let plan = Plan { flags: vec![("compact", "--compact-delay=1h".into())], ..Plan::default() };
    let mut cluster = Cluster::start("cluster-restarts", &plan);
    let traffic = Traffic::load(&recordings(&dir)[0]);
    let bodies = &traffic.bodies[..traffic.bodies.len() / 2];
    let mut sent = Samples::default();
    bodies.iter().for_each(|body| sent.add_request(&support::traffic::decode(body)));
    remote::send_all(cluster.insert.http(), bodies);
    cluster.restart();
    sent.assert_equal(&read_back(&cluster, &sent), "from the heads, after restarts of every process");
    cluster.seal();
    sent.assert_equal(&read_back(&cluster, &sent), "from blocks");
    let blocks = cluster.blocks();
    assert!(blocks >= 3, "every node has a block");
    cluster.nodes().for_each(support::cluster::Node::kill);
    cluster.nodes().for_each(support::cluster::Node::start);
    cluster.wait_ready();
    assert_eq!(cluster.blocks(), blocks, "nothing was moved");
    sent.assert_equal(&read_back(&cluster, &sent), "from blocks, after kills of every process");
    cluster.assert_sound();
}
