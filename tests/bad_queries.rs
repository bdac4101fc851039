//! Whatever a client asks, the answer is Prometheus' JSON with the right status and error type; nothing panics, and
//! memory stays bounded.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::Value;
use support::http::Http;
use support::process::Folder;
use support::remote::{read, request, send, series};
use support::single::Server;
use support::{now_ms, traffic::compress};

/// Refused queries may raise the memory that is resident at once by less than this.
const MEMORY_BYTES_MAX: u64 = 64 << 20;

struct Asked<'a> {
    what: String,
    status: u16,
    answer: Value,
    _http: &'a Http,
}

impl Asked<'_> {
    /// The answer is an error of this kind, and names what is wrong.
    fn fails(self, status: u16, kind: &str, words: &str) {
        let Asked { what, status: got, answer, .. } = self;
        let shown: String = answer.to_string().chars().take(2000).collect();
        assert_eq!(got, status, "{what}: {shown}");
        assert_eq!(answer["status"], "error", "{what}: {shown}");
        assert_eq!(answer["errorType"], kind, "{what}: {shown}");
        let text = answer["error"].as_str().unwrap();
        assert!(text.contains(words), "{what}: {shown}");
        assert!(text.len() < 4000, "{what}: the answer stays short");
    }
}

fn ask<'a>(http: &'a Http, path: &str, parameters: &[(&str, &str)]) -> Asked<'a> {
    // By POST, because some are longer than a URL may be.
    let (status, answer) = http.json_post(path, parameters);
    let what: String = format!("{path} {parameters:?}").chars().take(200).collect();
    Asked { what, status, answer, _http: http }
}

fn query<'a>(http: &'a Http, query: &str) -> Asked<'a> {
    ask(http, "/api/v1/query", &[("query", query)])
}

fn range<'a>(http: &'a Http, start: &str, end: &str, step: &str) -> Asked<'a> {
    ask(http, "/api/v1/query_range", &[("query", "up"), ("start", start), ("end", end), ("step", step)])
}

fn start(test: &str) -> (Folder, Server) {
    let folder = Folder::new(test);
    let server = Server::start(folder.path());
    let one = |instance| series(&[("__name__", "up"), ("instance", instance)], &[(now_ms(), 1.0)]);
    send(server.http(), &request(vec![one("a"), one("b")]));
    (folder, server)
}

#[test]
fn texts_that_are_no_promql_are_bad_data() {
    let (_folder, mut server) = start("no-promql");
    let http = server.http();
    for (text, words) in [
        ("sum(", "parse error"),
        ("", "parse error"),
        ("up{", "parse error"),
        ("up{a=}", "parse error"),
        ("{}", "non-empty matcher"),
        ("{a=~\".*\"}", "non-empty matcher"),
        ("nonsense(up)", "unknown function"),
        ("rate(up)", "parse error"),
        ("up offset", "parse error"),
        ("up[0s]", "duration must be greater than 0"),
        ("up[99999999999999999999y]", "parse error"),
        ("sum_over_time(up[300000y])", "parse error"),
        ("\"unterminated", "parse error"),
        ("up == bool", "parse error"),
        ("1 == 1", "BOOL"),
        ("up{a=~\"(\"}", "parse error"),
        ("up{a=~\"*\"}", "parse error"),
        ("\u{0}\u{1}", "parse error"),
        ("up @ 99999999999999999999999999999", "parse error"),
    ] {
        query(http, text).fails(400, "bad_data", words);
    }
    query(http, "up + on(job) up").fails(422, "execution", "many-to-many");
    server.assert_sound();
}

#[test]
fn huge_queries_are_refused_without_taking_memory() {
    let (_folder, mut server) = start("huge-queries");
    let http = server.http();
    let alternatives: Vec<String> = (0..200_000).map(|i| format!("value{i}[a-z]+")).collect();
    let many_matchers: Vec<String> = (0..2000).map(|i| format!("l{i}=~\"a{{1,500}}.*\"")).collect();
    server.reset_peak_memory();
    let before = server.peak_memory_bytes();
    for text in [
        format!("{}1{}", "(".repeat(100_000), ")".repeat(100_000)),
        "(".repeat(1_000_000),
        format!("{}1", "-".repeat(100_000)),
        format!("{}up{}", "sum(".repeat(20_000), ")".repeat(20_000)),
        format!("1{}", " + 1".repeat(100_000)),
        format!("1{}", " ^ 1".repeat(100_000)),
        format!("up{}", "[5m:1m]".repeat(50_000)),
        "up{a=~\"((((a{100}){100}){100}){100}){100}\"}".to_string(),
        format!("up{{a=~\"{}x{}\"}}", "(".repeat(50_000), ")".repeat(50_000)),
        format!("up{{a=~\"{}\"}}", alternatives.join("|")),
        format!("up{{{}}}", many_matchers.join(",")),
        format!("up{{a=\"{}", "\\\"".repeat(1_000_000)),
    ] {
        query(http, &text).fails(400, "bad_data", "");
    }
    let grown = server.peak_memory_bytes().saturating_sub(before);
    eprintln!("huge queries: {} KiB more", grown >> 10);
    assert!(grown < MEMORY_BYTES_MAX, "huge queries took {} MiB", grown >> 20);
    server.assert_sound();
}

#[test]
fn bad_parameters_are_named() {
    let (_folder, mut server) = start("bad-parameters");
    let http = server.http();
    ask(http, "/api/v1/query", &[("query", "up"), ("time", "soon")]).fails(
        400,
        "bad_data",
        "invalid parameter \"time\"",
    );
    ask(http, "/api/v1/query", &[("query", "up"), ("timeout", "x")]).fails(
        400,
        "bad_data",
        "invalid parameter \"timeout\"",
    );
    range(http, "x", "1", "1").fails(400, "bad_data", "invalid parameter \"start\"");
    range(http, "0", "", "1").fails(400, "bad_data", "invalid parameter \"end\"");
    range(http, "0", "1", "x").fails(400, "bad_data", "invalid parameter \"step\"");
    range(http, "0", "1", "0").fails(400, "bad_data", "zero or negative query resolution step widths are not accepted");
    range(http, "0", "1", "-1").fails(
        400,
        "bad_data",
        "zero or negative query resolution step widths are not accepted",
    );
    range(http, "2", "1", "1").fails(400, "bad_data", "end timestamp must not be before start time");
    range(http, "0", "11001", "1").fails(
        400,
        "bad_data",
        "exceeded maximum resolution of 11,000 points per timeseries",
    );
    range(http, "-9223372036854775", "9223372036854775", "1").fails(400, "bad_data", "11,000 points");
    assert_eq!(range(http, "0", "11000", "1").status, 200, "so many are still answered");
    server.assert_sound();
}

#[test]
fn bad_selectors_are_named() {
    let (_folder, mut server) = start("bad-selectors");
    let http = server.http();
    ask(http, "/api/v1/series", &[]).fails(400, "bad_data", "no match[] parameter provided");
    for path in ["/api/v1/series", "/api/v1/labels"] {
        ask(http, path, &[("match[]", "{}")]).fails(400, "bad_data", "non-empty matcher");
        ask(http, path, &[("match[]", "up{")]).fails(400, "bad_data", "parse error");
        ask(http, path, &[("match[]", "sum(up)")]).fails(400, "bad_data", "parse error");
        ask(http, path, &[("match[]", "up"), ("match[]", "up{a=~\"(\"}")]).fails(400, "bad_data", "parse error");
        ask(http, path, &[("match[]", "up"), ("start", "x")]).fails(400, "bad_data", "start");
    }
    let (status, answer) = http.json("/api/v1/label/job/values", &[("match[]", "{")]);
    assert_eq!((status, &answer["errorType"]), (400, &Value::from("bad_data")), "{answer}");
    assert_eq!(http.get("/api/v1/nothing").unwrap().status, 404);
    assert_eq!(http.get("/api/v1/write").unwrap().status, 405);
    server.assert_sound();
}

#[test]
fn bad_remote_reads_are_refused() {
    let (_folder, mut server) = start("bad-reads");
    let http = server.http();
    let headers = [("content-encoding", "snappy"), ("content-type", "application/x-protobuf")];
    for body in [
        &b"this is not Snappy"[..],
        b"",
        &[0xff, 0xff, 0xff, 0xff, 0x0f, 0],
        &compress(b"\xff\xff\xff"),
        &compress(&[0x0a, 9]),
    ] {
        let answer = http.post("/api/v1/read", &headers, body).unwrap();
        assert_eq!(answer.status, 400, "{body:?}: {}", answer.text());
    }
    assert_eq!(read(http, i64::MAX, i64::MIN, &[]).results[0].timeseries.len(), 0, "an empty range is empty");
    server.assert_sound();
}

#[test]
fn many_bad_queries_at_once_leave_it_sound() {
    let (_folder, mut server) = start("many-bad");
    let http = server.http();
    std::thread::scope(|scope| {
        for thread in 0..16usize {
            let http = http.clone();
            scope.spawn(move || {
                for depth in 0..40usize {
                    let text = "sum(".repeat(depth * thread * 10 + 1);
                    query(&http, &text).fails(400, "bad_data", "");
                }
            });
        }
    });
    assert_eq!(query(http, "up").status, 200);
    server.assert_sound();
}
