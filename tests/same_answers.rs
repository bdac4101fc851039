//! Random data into a real Prometheus and into Marigram, by the same remote writes; then hundreds of random queries, each at
//! one time and over a range: all answers must be the same, errors alike.
//!
//! Where Prometheus 2.42 and 3 differ by design, Marigram follows 3: docs/promql.md lists it, and `questions` says
//! how it keeps clear of that.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod questions;
mod support;

use marigram_storage::env::SeededRandom;
use questions::{INTERVAL_MS, Question, ROUNDS};
use support::answers::{self, Rows};
use support::http::Http;
use support::needs;
use support::process::Folder;
use support::prometheus::Prometheus;
use support::remote;
use support::single::Server;

/// Queries; each is asked twice.
const QUESTIONS: usize = 560;
/// What is left of zero where Prometheus 2 adds up without compensation.
const ZERO_MAX: f64 = 1e-13;
/// The questions of a run that names no seed.
const SEED: u64 = 20_261_126;

/// Queries that must fail, in both for the same reason.
const WRONG: [&str; 23] = [
    "sum(",
    "rate(temperature)",
    "temperature[5m] offset",
    "temperature + on (job) balance",
    "temperature + on (job) group_left () balance",
    "requests_total / ignoring (code) errors_total",
    "foo{",
    "{}",
    "sum by (job, temperature",
    "abs(temperature[5m])",
    "topk(temperature, balance)",
    "label_replace(temperature, \"a\", \"$1\", \"job\", \"(\")",
    "temperature == bool",
    "1 == 2",
    "temperature and 1",
    "temperature{job=~\"*\"}",
    "unknown_function(temperature)",
    "quantile_over_time(temperature[5m], 0.5)",
    "clamp(temperature)",
    "temperature[5m:1m",
    "count_values(1, temperature)",
    "temperature on (job) balance",
    "histogram_quantile(latency_bucket, 0.5)",
];

/// What one server says: the rows by their labels, or the kind of its error.
#[derive(Debug, PartialEq)]
enum Said {
    Rows(String, Rows),
    Error(u16, String, String),
}

fn ask(http: &Http, path: &str, parameters: &[(&str, &str)]) -> Said {
    let (status, answer) = http.json_post(path, parameters);
    if status != 200 {
        let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
        return Said::Error(status, text("errorType"), text("error"));
    }
    let kind = answer["data"]["resultType"].as_str().unwrap().to_owned();
    let result = &answer["data"]["result"];
    let rows = match kind.as_str() {
        "scalar" | "string" => [("{}".to_owned(), vec![answers::point(result)])].into(),
        _ => answers::rows(result),
    };
    Said::Rows(kind, rows)
}

fn close(a: f64, b: f64) -> bool {
    answers::close(a, b) || (a - b).abs() <= ZERO_MAX
}

/// Where two answers differ.
fn difference(theirs: &Said, ours: &Said) -> Option<String> {
    let (their_rows, our_rows) = match (theirs, ours) {
        (Said::Error(status, kind, _), Said::Error(own_status, own_kind, _))
            if (status, kind) == (own_status, own_kind) =>
        {
            return None;
        }
        (Said::Rows(kind, rows), Said::Rows(own_kind, own_rows)) if kind == own_kind => (rows, own_rows),
        _ => return Some(format!("{ours:?} instead of {theirs:?}").chars().take(600).collect()),
    };
    answers::difference(their_rows, our_rows, close)
}

#[test]
fn random_questions_get_the_same_answers() {
    let Some(binary) = needs::PROMETHEUS.path_or_skip("random_questions_get_the_same_answers") else { return };
    let seed = std::env::var("MARIGRAM_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(SEED);
    eprintln!("MARIGRAM_TEST_SEED={seed}");
    let random = SeededRandom::new(seed);
    let folder = Folder::new("same_answers");
    let flags = ["--web.enable-remote-write-receiver", "--storage.tsdb.retention.time=100y"];
    let prometheus = Prometheus::start_with(&binary, folder.path(), "global: {scrape_interval: 1h}\n", &flags);
    let theirs = prometheus.http();
    let mut marigram = Server::start(folder.path());
    let span_ms = ROUNDS as i64 * INTERVAL_MS;
    // Samples lie on millisecond 217; the last is some minutes ago.
    let first_ms = (support::now_ms() - span_ms - 120_000).div_euclid(60_000) * 60_000 + 217;
    for piece in questions::data(first_ms, &random).chunks(20) {
        let request = remote::request(piece.concat());
        remote::send(theirs, &request);
        remote::send(marigram.http(), &request);
    }
    let end_s = (first_ms + span_ms).div_euclid(60_000) * 60 - 53;
    let start_s = end_s - 1200;
    let questions = questions::questions(QUESTIONS, &random);
    let counts = questions::counts(&questions);
    assert!(counts.values().all(|count| *count >= 5), "{counts:?}");
    let (mut wrong, mut full, mut asked) = (vec![], 0, 0);
    for Question { query, .. } in &questions {
        let query = query.replace("<time>", &(start_s + 600).to_string());
        let (start, end) = (start_s.to_string(), end_s.to_string());
        let instant = ("/api/v1/query", vec![("query", query.as_str()), ("time", &end)]);
        let range =
            ("/api/v1/query_range", vec![("query", query.as_str()), ("start", &start), ("end", &end), ("step", "50")]);
        for (path, parameters) in [instant, range] {
            let (theirs, ours) = (ask(theirs, path, &parameters), ask(marigram.http(), path, &parameters));
            asked += 1;
            full += usize::from(matches!(&theirs, Said::Rows(_, rows) if !rows.is_empty()));
            if let Some(difference) = difference(&theirs, &ours) {
                wrong.push(format!("{path} {query}\n    {difference}"));
            }
        }
    }
    for query in WRONG {
        let parameters = [("query", query), ("time", &end_s.to_string())];
        let (theirs, ours) =
            (ask(theirs, "/api/v1/query", &parameters), ask(marigram.http(), "/api/v1/query", &parameters));
        assert!(matches!(theirs, Said::Error(..)), "{query} is to be wrong");
        if let Some(difference) = difference(&theirs, &ours) {
            wrong.push(format!("{query}\n    {difference}"));
        }
    }
    eprintln!("{asked} answers, {full} of them not empty; {} wrong queries", WRONG.len());
    assert!(wrong.is_empty(), "{} of {asked} answers differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(full * 10 >= asked * 8, "only {full} of {asked} answers are not empty");
    marigram.assert_sound();
}
