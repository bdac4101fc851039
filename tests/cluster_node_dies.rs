//! Under more than 20,000 samples a second for a minute, one of three storage nodes is killed and comes back: writes go
//! on, every answer is complete all the time, and in the end everything is there once.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use support::cluster::{Cluster, Plan};
use support::http::Http;
use support::load::{Load, METRIC, Progress, RATE, SENDERS, SERIES, TICK_MS};
use support::{now_ms, poll_until, remote};

const RUN_MS: i64 = 60_000;
const KILLED_AFTER_MS: i64 = 15_000;
const BACK_AFTER_MS: i64 = 40_000;
const FAILURE_MAX: Duration = Duration::from_secs(5);
const RATE_MIN: usize = 20_000;

/// Asks for everything of one sender; the answer must be complete: all that was acknowledged before it was asked, and
/// nothing twice.
fn check_complete(http: &Http, progress: &Progress, sender: usize) {
    let least = progress.acknowledged(sender);
    let query = format!("count(count_over_time({METRIC}{{sender=\"{sender}\"}}[10m])) or vector(0)");
    let totals = format!("sum(count_over_time({METRIC}{{sender=\"{sender}\"}}[10m])) or vector(0)");
    // Later than any sample that can be there when the answer is made.
    let time = format!("{}", (now_ms() + 120_000) / 1000);
    let number = |query: &str| {
        let (status, answer) = http.json_post("/api/v1/query", &[("query", query), ("time", &time)]);
        assert_eq!(status, 200, "while a node is down: {answer}");
        assert!(answer.get("warnings").is_none(), "no answer is partial: {answer}");
        let text = answer["data"]["result"][0]["value"][1].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        text.parse::<f64>().unwrap() as usize
    };
    let samples = number(&totals);
    let most = progress.begun(sender);
    assert!(samples >= least * SERIES, "sender {sender}: {samples} samples where {least} ticks were acknowledged");
    assert!(samples <= most * SERIES, "sender {sender}: {samples} samples where {most} ticks were sent");
    if least > 0 {
        assert_eq!(number(&query), SERIES, "sender {sender}: series");
    }
}

#[test]
fn a_killed_storage_node_is_not_missed() {
    let mut cluster = Cluster::start("node-dies", &Plan::default());
    let load = Load::start(cluster.insert.http());
    let progress = load.progress().clone();
    let (over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let query = cluster.query.http().clone();
    let run = |until_ms: i64| {
        poll_until("the load to go on", || (now_ms() - progress.start_ms() >= until_ms).then_some(()));
    };
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let count = asked.fetch_add(1, Ordering::SeqCst);
                check_complete(&query, &progress, count % SENDERS);
            }
        });
        run(KILLED_AFTER_MS);
        let before = asked.load(Ordering::SeqCst);
        cluster.storage[1].kill();
        run(BACK_AFTER_MS);
        let during = asked.load(Ordering::SeqCst) - before;
        cluster.storage[1].start();
        cluster.storage[1].wait_ready();
        run(RUN_MS);
        over.store(true, Ordering::SeqCst);
        asking.join().unwrap();
        assert!(during >= 10, "queries were answered while the node was down: {during}");
    });
    let ticks_ms = now_ms() - progress.start_ms();
    load.stop();
    let (failed, reasons) = progress.longest_failure();
    let count = progress.acknowledged_samples();
    let rate = count * 1000 / ticks_ms as usize;
    let asked = asked.load(Ordering::SeqCst);
    eprintln!(
        "{count} samples acknowledged, {rate} a second; {asked} answers; longest failure {failed:?}: {reasons:?}"
    );
    assert!(failed <= FAILURE_MAX, "writes failed for {failed:?}: {reasons:?}");
    assert!(rate >= RATE_MIN, "{rate} samples a second of {RATE} were acknowledged");

    cluster.wait_ready();
    let sent = progress.samples();
    let range = (progress.start_ms() - 1, now_ms() + TICK_MS);
    sent.assert_equal(&remote::read_all(cluster.query.http(), range), "when the node is back");
    cluster.seal();
    sent.assert_equal(&remote::read_all(cluster.query.http(), range), "sealed");
    cluster.assert_sound();
}
