//! `/api/v1/search/*`: lines of JSON, and only where the feature is on.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/server.rs"]
mod support;

use serde_json::{Value, json};
use support::{START_MS, TestServer};

fn server() -> TestServer {
    let server = TestServer::start(&["--enable-feature=search-api", "--search-limit-max=500"]);
    let mut text = String::from("# HELP http_requests_total Requests.\n# TYPE http_requests_total counter\n");
    for code in 100..400 {
        text += &format!("http_requests_total{{code=\"{code}\",job=\"api\"}} 1 {START_MS}\n");
    }
    text +=
        &format!("thread_count{{job=\"db\"}} 1 {START_MS}\nHttp_errors{{job=\"old\"}} 1 {}\n", START_MS - 7_200_000);
    server.import(None, &text);
    server
}

/// The lines of an answer about the hour that ends at the start.
fn lines(server: &TestServer, what: &str, parameters: &[(&str, &str)]) -> Vec<Value> {
    let (start, end) = ((START_MS / 1000 - 3600).to_string(), (START_MS / 1000).to_string());
    let parameters = [&[("start", &*start), ("end", &*end)], parameters].concat();
    let answer = server.get_form(None, &format!("/api/v1/search/{what}"), &parameters);
    assert_eq!((answer.status, &*answer.content_type), (200, "application/x-ndjson; charset=utf-8"));
    let body = answer.text();
    body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn end(has_more: bool) -> Value {
    json!({"status": "success", "has_more": has_more})
}

#[test]
fn names_are_found_by_what_is_in_them() {
    let server = server();
    let found = lines(&server, "metric_names", &[("include_metadata", "true")]);
    let http = json!({"name": "http_requests_total", "type": "counter", "help": "Requests."});
    assert_eq!(found, [json!({"results": [http, {"name": "thread_count"}]}), end(false)]);
    // Both hold the characters; the one that has them together is the better one.
    let by_score = [("search[]", "thr"), ("search[]", "rqs"), ("sort_by", "score"), ("include_score", "true")];
    let found = lines(&server, "metric_names", &by_score);
    let results = found[0]["results"].as_array().unwrap();
    assert_eq!((&results[0]["name"], &results[0]["score"]), (&json!("thread_count"), &json!(1.0)));
    assert_eq!(results[1]["name"], "http_requests_total");
    assert!(results[1]["score"].as_f64().unwrap() < 1.0);
    assert_eq!(lines(&server, "label_names", &[("search[]", "jb")])[0], json!({"results": [{"name": "job"}]}));
    assert_eq!(lines(&server, "label_names", &[("search[]", "JOB")]), [json!({"results": []}), end(false)]);
    let found = lines(&server, "label_names", &[("search[]", "JOB"), ("case_sensitive", "false")]);
    assert_eq!(found[0], json!({"results": [{"name": "job"}]}));
}

#[test]
fn values_come_in_batches_up_to_a_limit() {
    let server = server();
    let codes = |from: u32, to: u32| (from..to).map(|code| json!({"value": code.to_string()})).collect::<Vec<_>>();
    let found = lines(&server, "label_values", &[("label", "code"), ("limit", "5"), ("batch_size", "2")]);
    let batch = |from, to| json!({"results": codes(from, to)});
    assert_eq!(found, [batch(100, 102), batch(102, 104), batch(104, 105), end(true)]);
    let found = lines(&server, "label_values", &[("label", "code"), ("limit", "500"), ("batch_size", "300")]);
    assert_eq!(found, [batch(100, 400), end(false)]);
    let reversed = [("label", "job"), ("sort_by", "alpha"), ("sort_dir", "dsc")];
    assert_eq!(lines(&server, "label_values", &reversed)[0], json!({"results": [{"value": "db"}, {"value": "api"}]}));
    let selected = [("label", "job"), ("match[]", "thread_count"), ("match[]", "nothing")];
    assert_eq!(lines(&server, "label_values", &selected)[0], json!({"results": [{"value": "db"}]}));
}

#[test]
fn what_is_wrong_or_off_is_an_ordinary_error() {
    let server = server();
    let answer = server.get(None, "/api/v1/search/label_values");
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(answer.text().contains("label"), "{}", answer.text());
    let answer = server.get(None, "/api/v1/search/label_names?limit=501");
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(answer.text().contains("--search-limit-max"), "{}", answer.text());
    let answer = TestServer::start(&[]).get(None, "/api/v1/search/metric_names");
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("search-api"), "{}", answer.text());
}
