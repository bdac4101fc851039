//! A query node's cache of range queries beside a cluster that changes: late samples are in the next answer, what moves to the bucket
//! costs nothing, and what nobody can vouch for is not answered from memory.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fmt::Write;

use serde_json::Value;
use support::cluster::{Cluster, Plan};
use support::{now_ms, poll_until};

const STEP_MS: i64 = 15_000;
const SERIES: usize = 20;

/// Asks about an hour that ended half an hour before `at_ms`.
fn ask(cluster: &Cluster, at_ms: i64, more: &[(&str, &str)]) -> (u16, Value) {
    let seconds = |ms: i64| (ms / 1000).to_string();
    let (start, end) = (seconds(at_ms - 5_400_000), seconds(at_ms - 1_800_000));
    let form = [("query", "sum by (i) (x)"), ("start", &start), ("end", &end), ("step", "60")];
    cluster.query.http().json_post("/api/v1/query_range", &[&form, more].concat())
}

/// The answer, which must be the one that is given without the cache.
fn answer(cluster: &Cluster, at_ms: i64) -> Value {
    let (status, kept) = ask(cluster, at_ms, &[]);
    assert_eq!(status, 200, "{kept}");
    assert_eq!(ask(cluster, at_ms, &[("nocache", "1")]), (200, kept.clone()));
    assert_eq!(kept["data"]["result"].as_array().unwrap().len(), SERIES);
    kept
}

/// Requests that found everything, and all that could have.
fn hits(cluster: &Cluster) -> (u64, u64) {
    let text = cluster.query.http().get("/metrics").unwrap().text();
    let count = |result: &str| {
        let name = format!("marigram_query_cache_requests_total{{result=\"{result}\"}}");
        let line = text.lines().find_map(|line| line.strip_prefix(&*name)).unwrap_or_else(|| panic!("{name}"));
        line.trim().parse::<u64>().unwrap()
    };
    (count("hit"), count("hit") + count("partial") + count("miss"))
}

/// Whether the next answer is a kept one.
fn is_kept(cluster: &Cluster, at_ms: i64) -> bool {
    let before = hits(cluster);
    answer(cluster, at_ms);
    let after = hits(cluster);
    assert_eq!(after.1, before.1 + 1, "one request asked the cache");
    after.0 > before.0
}

/// Whether answers are complete once the query node knows that so many members are missing.
fn is_complete(cluster: &Cluster, missing: usize) -> bool {
    poll_until("who is missing to be known", || {
        let status = cluster.status();
        let members = status["members"].as_array().unwrap();
        let known = members.iter().filter(|member| member["missing"] == true).count();
        (known == missing).then(|| status["complete"] == true)
    })
}

fn import(cluster: &Cluster, text: &str) {
    let answer = cluster.insert.http().post("/api/v1/import/prometheus", &[], text.as_bytes()).unwrap();
    assert_eq!(answer.status, 204, "{}", answer.text());
}

#[test]
fn what_is_kept_is_what_would_be_answered() {
    let mut cluster = Cluster::start("cluster-query-cache", &Plan::default());
    let at_ms = now_ms() / 60_000 * 60_000;
    let mut text = String::new();
    for step in 0..480 {
        for i in 0..SERIES {
            writeln!(text, "x{{i=\"{i}\"}} {} {}", step * i, at_ms - step as i64 * STEP_MS).unwrap();
        }
    }
    import(&cluster, &text);
    assert!(!is_kept(&cluster, at_ms) && is_kept(&cluster, at_ms));

    for late in 0..3 {
        let before = answer(&cluster, at_ms);
        // Of two samples at one time the greater counts.
        import(&cluster, &format!("x{{i=\"{late}\"}} 1e6 {}", at_ms - 3_600_000));
        assert_ne!(answer(&cluster, at_ms), before, "a late sample is in the next answer");
    }
    assert!(is_kept(&cluster, at_ms));

    cluster.seal();
    cluster.wait_dropped();
    assert!(is_kept(&cluster, at_ms), "what moves to the bucket is no change");

    cluster.storage[1].kill();
    assert!(is_complete(&cluster, 1) && is_kept(&cluster, at_ms), "the others vouch for it");
    // What is kept while it is away must not outlive its return.
    import(&cluster, &format!("x{{i=\"7\"}} 2e6 {}", at_ms - 3_600_000));
    answer(&cluster, at_ms);
    cluster.storage[1].start();
    assert!(is_complete(&cluster, 0));
    assert!(!is_kept(&cluster, at_ms), "anything may have changed on it");
    assert!(is_kept(&cluster, at_ms));

    cluster.storage[0].kill();
    cluster.storage[2].kill();
    assert!(!is_complete(&cluster, 2));
    assert_eq!(ask(&cluster, at_ms, &[]).0, 503, "nobody vouches for it");
    cluster.storage[0].start();
    cluster.storage[2].start();
    cluster.wait_ready();
    answer(&cluster, at_ms);
    cluster.assert_sound();
}
