//! `/federate`: the newest samples as text, in the form that Prometheus gives them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/server.rs"]
mod support;

use marigram_proto::prometheus::{Label, Sample, TimeSeries, WriteRequest};
use marigram_storage::model::sample::STALE_NAN_BITS;
use prost::Message;
use support::{START_MS, TestServer};

fn server() -> TestServer {
    let server = TestServer::start(&[]);
    let at = |seconds: i64| START_MS - 1000 * seconds;
    let text = format!(
        "up{{job=\"b\"}} 0 {}\nup{{job=\"b\"}} 1 {}\nup{{job=\"a\",instance=\"x:1\"}} 1 {}\nold 1 {}\nedge 2 {}\n\
         gone 1 {}\nbig 1234567 {}\n{{\"http.requests\",\"status.code\"=\"20\\\"0\"}} NaN {}\n",
        at(30),
        at(10),
        at(20),
        at(301),
        at(300),
        at(40),
        at(5),
        at(1),
    );
    server.import(None, &text);
    end(&server, "gone", at(39));
    server
}

/// Writes a staleness marker, which no text can hold.
fn end(server: &TestServer, name: &str, timestamp: i64) {
    let labels = vec![Label { name: "__name__".into(), value: name.into() }];
    let samples = vec![Sample { timestamp, value: f64::from_bits(STALE_NAN_BITS) }];
    let timeseries = vec![TimeSeries { labels, samples, ..TimeSeries::default() }];
    let body = WriteRequest { timeseries, ..WriteRequest::default() }.encode_to_vec();
    let body = snap::raw::Encoder::new().compress_vec(&body).unwrap();
    assert_eq!(server.post("/api/v1/write", &[], &body).status, 204);
}

/// The content type and the body.
fn federate(server: &TestServer, selectors: &[&str], accept: &str) -> (String, String) {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for selector in selectors {
        query.append_pair("match[]", selector);
    }
    let query = query.finish();
    let accept = if accept.is_empty() { String::new() } else { format!("Accept: {accept}\r\n") };
    let answer = server.raw(&format!("GET /federate?{query} HTTP/1.0\r\nHost: x\r\n{accept}\r\n"));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let kind =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-type: ").map(str::to_owned));
    (kind.unwrap(), body.to_owned())
}

#[test]
fn the_newest_samples_come_sorted_by_name() {
    let server = server();
    let at = |seconds: i64| START_MS - 1000 * seconds;
    let (kind, body) = federate(&server, &["up", "{__name__=~\"old|edge|gone|big|up\"}"], "");
    let expected = format!(
        "# TYPE big untyped\nbig{{instance=\"\"}} 1.234567e+06 {}\n\
         # TYPE edge untyped\nedge{{instance=\"\"}} 2 {}\n\
         # TYPE up untyped\nup{{instance=\"x:1\",job=\"a\"}} 1 {}\nup{{job=\"b\",instance=\"\"}} 1 {}\n",
        at(5),
        at(300),
        at(20),
        at(10),
    );
    assert_eq!(body, expected);
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8; escaping=underscores");
    assert_eq!(federate(&server, &[], "").1, "");
    assert_eq!(federate(&server, &["nothing"], "").1, "");
}

#[test]
fn names_are_escaped_as_the_scraper_asks() {
    let server = server();
    let selector = ["{\"http.requests\"}"];
    let time_ms = START_MS - 1000;
    for (accept, line) in [
        ("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", "http_requests{status_code=\"20\\\"0\",instance=\"\"}"),
        (
            "application/openmetrics-text;escaping=allow-utf-8,text/plain;version=0.0.4;q=0.3",
            "{\"http.requests\",\"status.code\"=\"20\\\"0\",instance=\"\"}",
        ),
        (
            "text/plain;version=0.0.4;escaping=values",
            "U__http_2e_requests{U__status_2e_code=\"20\\\"0\",instance=\"\"}",
        ),
    ] {
        let (kind, body) = federate(&server, &selector, accept);
        assert!(body.ends_with(&format!(" untyped\n{line} NaN {time_ms}\n")), "{accept}: {body}");
        assert!(kind.starts_with("text/plain; version=0.0.4; charset=utf-8; escaping="), "{kind}");
    }
}

#[test]
fn mistakes_are_plain_text_and_tenants_stay_apart() {
    let server = server();
    let wrong = server.get(None, "/federate?match[]=%7Ba%7D");
    assert_eq!(wrong.status, 400);
    assert!(wrong.text().contains("parse error") && !wrong.text().starts_with('{'), "{}", wrong.text());
    assert_eq!(server.get(Some("other"), "/federate?match[]=up").text(), "");
    assert!(server.get(None, "/federate?match[]=%7B%7D").text().contains("up{"), "every series, as in Prometheus");
    assert!(server.get(None, "/prometheus/federate?match[]=up").text().contains("up{"));
    assert_eq!(server.post("/federate?match[]=up", &[], b"").status, 405);
}
