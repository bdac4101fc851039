//! The cache of range queries in a whole server: its answers are those that are given without it, whatever is written meanwhile.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/server.rs"]
mod support;

use std::fmt::Write;

use marigram_storage::env::{OsRandom, Random, SeededRandom};
use support::{Answer, START_MS, TestServer};

const STEP_MS: i64 = 15_000;
const HOUR_MS: i64 = 3_600_000;

/// An hour of samples up to the start.
fn server(flags: &[&str]) -> TestServer {
    let server = TestServer::start(&[&["--enable-admin-api"], flags].concat());
    let mut text = String::new();
    for at in 0..240 {
        let time_ms = START_MS - at * STEP_MS;
        for job in ["a", "b", "c"] {
            let value = f64::from(240 - at as i32) * 0.1 + f64::from(job.as_bytes()[0]);
            writeln!(text, "x_total{{job=\"{job}\",zone=\"{}\"}} {value} {time_ms}", at % 2).unwrap();
            writeln!(text, "y{{job=\"{job}\"}} {} {time_ms}", value.sin()).unwrap();
        }
    }
    server.import(None, &text);
    server
}

fn path(query: &str, start_ms: i64, end_ms: i64, step_ms: i64) -> String {
    let seconds = |ms: i64| format!("{}.{:03}", ms / 1000, ms % 1000);
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("query", query).finish();
    let (start, end, step) = (seconds(start_ms), seconds(end_ms), seconds(step_ms));
    format!("/api/v1/query_range?{query}&start={start}&end={end}&step={step}")
}

fn ask(server: &TestServer, path: &str) -> Answer {
    let answer = server.get(None, path);
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer
}

/// Requests so far that were hits, partial ones, misses and passed; and the memory that is taken.
fn figures(server: &TestServer) -> ([u64; 4], u64) {
    let text = server.get(None, "/metrics").text();
    let figure = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}"));
        line.trim().parse::<u64>().unwrap()
    };
    let requests = ["hit", "partial", "miss", "passed"]
        .map(|result| figure(&format!("marigram_query_cache_requests_total{{result=\"{result}\"}}")));
    (requests, figure("marigram_query_cache_bytes"))
}

#[test]
fn a_late_write_is_seen_by_whoever_asks_after_it_was_acknowledged() {
    let server = server(&[]);
    let path = path("sum(x_total)", START_MS - HOUR_MS / 2, START_MS - HOUR_MS / 4, 60_000);
    let first = ask(&server, &path).text();
    assert_eq!(ask(&server, &path).text(), first);
    assert_eq!(figures(&server).0, [1, 0, 1, 0]);
    for value in [7, 8, 9] {
        // Of two samples at one time the greater counts.
        let time_ms = START_MS - HOUR_MS / 3;
        server.import(None, &format!("x_total{{job=\"a\",zone=\"0\"}} {value}e6 {time_ms}"));
        let now = ask(&server, &path).text();
        assert_ne!(now, first);
        assert_eq!(now, ask(&server, &format!("{path}&nocache=1")).text());
    }
    server.import(Some("other"), &format!("x_total 1 {}", START_MS - HOUR_MS / 3));
    let before = figures(&server).0;
    ask(&server, &path);
    let after = figures(&server).0;
    assert_eq!(after[0], before[0] + 1, "another tenant's writes are no change: {before:?} {after:?}");
    assert_eq!(server.get(Some("other"), &path).data()["result"].as_array().unwrap().len(), 1);
}

#[test]
fn figures_of_steps_are_those_of_what_is_read() {
    let server = server(&["--enable-feature", "promql-per-step-stats"]);
    let path = path("y", START_MS - HOUR_MS / 2, START_MS - HOUR_MS / 4, 60_000);
    let samples = |stats: &str| {
        let answer = ask(&server, &format!("{path}&stats={stats}")).data();
        answer["stats"]["samples"]["totalQueryableSamplesPerStep"].as_array().cloned()
    };
    for _ in 0..2 {
        let steps = samples("all").unwrap();
        assert!(steps.len() == 16 && steps.iter().all(|step| step[1] == 3), "{steps:?}");
    }
    assert_eq!(figures(&server), ([0; 4], 0));
    assert_eq!((samples("true"), samples("1")), (None, None));
    assert_eq!(figures(&server).0, [1, 0, 1, 0]);
    assert_eq!(samples("all").unwrap().len(), 16);
    assert_eq!(figures(&server).0, [1, 0, 1, 0]);
}

#[test]
fn a_request_can_do_without() {
    let server = server(&[]);
    let path = path("y", START_MS - HOUR_MS / 2, START_MS - HOUR_MS / 4, 60_000);
    for _ in 0..2 {
        ask(&server, &format!("{path}&nocache=1"));
        let answer = server.get_with(&path, &[("Cache-Control", "max-age=0, no-store")]);
        assert_eq!(answer.status, 200);
        assert_eq!(server.get(None, &format!("{path}&replicaLabels[]=zone")).status, 200);
    }
    assert_eq!(figures(&server), ([0; 4], 0));
    ask(&server, &path);
    assert_eq!(figures(&server).0, [0, 0, 1, 0]);
    assert_eq!(server.get(None, &format!("{path}&nocache=perhaps")).status, 400);
}

#[test]
fn without_memory_there_is_no_cache() {
    let server = server(&["--query-cache-size", "0"]);
    let path = path("y", START_MS - HOUR_MS / 2, START_MS - HOUR_MS / 4, 60_000);
    assert_eq!(ask(&server, &path).text(), ask(&server, &path).text());
    assert!(!server.get(None, "/metrics").text().contains("marigram_query_cache"));
}

#[test]
fn the_memory_stays_bounded() {
    let server = server(&["--query-cache-size", "64KiB"]);
    for at in 0..40 {
        ask(&server, &path(&format!("x_total * {at}"), START_MS - HOUR_MS, START_MS, STEP_MS));
        ask(&server, &path(&format!("sum(y) + {at}"), START_MS - HOUR_MS, START_MS, STEP_MS));
        assert!(figures(&server).1 <= 64 << 10);
    }
    assert!(figures(&server).1 > 16 << 10);
}

const QUERIES: [&str; 12] = [
    "x_total",
    "sum by (job) (rate(x_total[5m]))",
    "sum(y) / count(y)",
    "avg(sum by (job) (x_total * 1.1))",
    "topk(2, y)",
    "max_over_time(sum(y)[10m:1m])",
    "y - y offset 7m",
    "stddev_over_time(y[3m]) > 0.1",
    "absent(y{job=\"new\"})",
    "quantile by (zone) (0.3, x_total)",
    "y @ 1700002000 + on (job) group_left () y offset -2m",
    "count_values by (job) (\"v\", round(y))",
];

#[test]
fn answers_are_the_same_with_and_without_whatever_happens() {
    let seed = std::env::var("MARIGRAM_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| OsRandom.next_u128() as u64);
    eprintln!("MARIGRAM_TEST_SEED={seed}");
    let random = SeededRandom::new(seed);
    let below = |end: i64| (random.next_u128() % end as u128) as i64;
    let server = server(&["--query-cache-size", if below(2) == 0 { "64MiB" } else { "48KiB" }]);
    let mut now_ms = START_MS;
    for _ in 0..400 {
        match below(20) {
            0 => {
                server.post("/api/v1/admin/tsdb/seal", &[], b"");
            }
            1..4 => {
                now_ms += STEP_MS * (1 + below(20));
                server.clock.set(now_ms);
                server.import(
                    None,
                    &format!("y{{job=\"a\"}} {} {now_ms}\nx_total{{job=\"b\",zone=\"0\"}} 1 {now_ms}", below(100)),
                );
            }
            4..6 => {
                let time_ms = now_ms - below(HOUR_MS);
                let job = ["a", "b", "new"][below(3) as usize];
                server.import(None, &format!("y{{job=\"{job}\"}} 0.{} {time_ms}", below(1000)));
            }
            _ => {
                let query = QUERIES[below(QUERIES.len() as i64) as usize];
                let step_ms = [STEP_MS, STEP_MS, 60_000, 7_000][below(4) as usize];
                let start_ms = (now_ms - below(HOUR_MS * 3 / 2)) / step_ms * step_ms;
                let path = path(query, start_ms, start_ms + below(150) * step_ms, step_ms);
                let (with, without) = (server.get(None, &path), server.get(None, &format!("{path}&nocache=1")));
                assert_eq!(with.text(), without.text(), "{path}");
            }
        }
    }
    let (requests, _) = figures(&server);
    assert!(requests[1] + requests[0] > 20, "{requests:?}");
}
