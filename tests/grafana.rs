//! Every request that Grafana sends gets what Grafana expects: as a form, in the URL, and below a prefix.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/server.rs"]
mod support;

use serde_json::{Value, json};
use support::{Answer, START_MS, TestServer};

const HOUR: [(&str, &str); 2] = [("start", "1700000000"), ("end", "1700003600")];

fn server() -> TestServer {
    let server = TestServer::start(&[]);
    let mut text = String::from("# HELP up Whether it is up.\n# TYPE up gauge\n");
    for step in 0..60 {
        let time_ms = START_MS - 15_000 * (59 - step);
        text.push_str(&format!("up{{job=\"node\",instance=\"a:1\"}} 1 {time_ms}\nup{{job=\"prom\"}} 1 {time_ms}\n"));
        text.push_str(&format!("node_load1{{job=\"node\",\"http.status_code\"=\"200\"}} {step} {time_ms}\n"));
    }
    server.import(None, &text);
    server
}

#[test]
fn the_data_source_is_found_healthy_and_taken_for_prometheus() {
    let server = server();
    for prefix in ["", "/prometheus"] {
        let path = |path: &str| format!("{prefix}/api/v1/{path}");
        let health = server.form(None, &path("query"), &[("query", "1+1"), ("time", "4")]).data();
        assert_eq!(health, json!({"resultType": "scalar", "result": [4, "2"]}));
        assert_eq!(server.form(None, &path("status/buildinfo"), &[]).status, 405);
        assert_eq!(server.form(None, &path("rules"), &[]).status, 405);
        let build = server.get(None, &path("status/buildinfo")).data();
        let version: Vec<u32> = build["version"].as_str().unwrap().split('.').map(|n| n.parse().unwrap()).collect();
        assert!(version.len() == 3 && version >= vec![2, 24, 0], "{version:?}");
        assert!(build.get("features").is_none() && build.as_object().unwrap().values().all(|v| v.is_string()));
    }
}

#[test]
fn panels_are_drawn() {
    let server = server();
    let form =
        [("query", "rate(node_load1[1m0s])"), ("start", "1700002800.000"), ("end", "1700003600"), ("step", "15")];
    let timed = [&form[..], &[("timeout", "60s"), ("dedup", "true"), ("max_source_resolution", "5m")]].concat();
    let data = server.form(None, "/api/v1/query_range", &timed).data();
    assert_eq!(data["resultType"], "matrix");
    let values = data["result"][0]["values"].as_array().unwrap();
    assert!(values.len() > 40 && values.iter().all(|point| point[0].is_number() && point[1].is_string()), "{values:?}");
    assert_eq!(server.get_form(None, "/api/v1/query_range", &timed).data(), data);
    assert_eq!(server.get_form(None, "/prometheus/api/v1/query_range", &form).data(), data);

    let nothing = server.form(None, "/api/v1/query", &[("query", "absent_metric")]).data();
    assert_eq!(nothing, json!({"resultType": "vector", "result": []}));
    let table = server.get_form(None, "/api/v1/query", &[("query", "up"), ("time", "1700003600.123456")]).data();
    let first = json!({"metric": {"__name__": "up", "instance": "a:1", "job": "node"}, "value": [1700003600.123, "1"]});
    assert_eq!((table["result"].as_array().unwrap().len(), &table["result"][0]), (2, &first));
}

#[test]
fn url_parameters_of_an_empty_form_count_and_the_form_goes_first() {
    let server = server();
    let form = &[("Content-Type", "application/x-www-form-urlencoded")];
    let path = "/api/v1/query?query=1%2B1&time=4";
    assert_eq!(server.post(path, form, b"").data()["result"], json!([4, "2"]));
    assert_eq!(server.post(path, form, b"query=7").data()["result"], json!([4, "7"]));
}

#[test]
fn mistakes_are_told_in_json() {
    let server = server();
    let range = |step| [("query", "up"), ("start", "0"), ("end", "1700000000"), ("step", step)];
    let cases = [
        (server.form(None, "/api/v1/query_range", &range("1")), 400, "bad_data", "11,000 points"),
        (server.form(None, "/api/v1/query_range", &range("0")), 400, "bad_data", "\"step\""),
        (server.form(None, "/api/v1/query_range", &[("query", "up")]), 400, "bad_data", "\"start\""),
        (server.get_form(None, "/api/v1/query", &[("query", "sum(")]), 400, "bad_data", "parse error"),
        (server.get_form(None, "/api/v1/query", &[("query", "up"), ("time", "now")]), 400, "bad_data", "\"now\""),
        (server.get_form(None, "/api/v1/query", &[("query", "up"), ("limit", "-1")]), 400, "bad_data", "limit"),
        (server.get_form(None, "/api/v1/query", &[("query", "up + on(x) up")]), 422, "execution", "many"),
        (server.get_form(None, "/api/v1/query", &[("query", "up"), ("timeout", "0")]), 503, "timeout", "timed out"),
        (server.get(None, "/api/v1/series"), 400, "bad_data", "match[]"),
        (server.get_form(None, "/api/v1/labels", &[("match[]", "{}")]), 400, "bad_data", "match[]"),
        (server.get(None, "/api/v1/label/%ff/values"), 400, "bad_data", "label"),
        (server.get(Some("a/b"), "/api/v1/labels"), 400, "bad_data", "X-Scope-OrgID"),
        (server.get(None, "/api/v1/nothing"), 404, "not_found", "path"),
        (server.post("/api/v1/admin/tsdb/seal", &[], b""), 503, "unavailable", "disabled"),
    ];
    for (answer, status, error_type, part) in cases {
        let json = answer.json();
        assert_eq!((answer.status, json["status"].as_str()), (status, Some("error")), "{json}");
        assert_eq!(json["errorType"], error_type, "{json}");
        assert!(json["error"].as_str().unwrap().contains(part), "{json} lacks {part}");
    }
}

#[test]
fn the_editor_learns_names_values_and_metadata() {
    let server = server();
    let with_limit = |limit| [&HOUR[..], &[("limit", limit)]].concat();
    let names = server.get_form(None, "/api/v1/label/__name__/values", &with_limit("40000")).data();
    assert_eq!(names, json!(["node_load1", "up"]));
    let labels = server.form(None, "/api/v1/labels", &with_limit("40000")).data();
    assert_eq!(labels, json!(["__name__", "http.status_code", "instance", "job"]));
    let scoped = [("match[]", "up"), ("match[]", "{__name__=~\"node_.*\"}"), ("limit", "0")];
    assert_eq!(server.get_form(None, "/api/v1/label/job/values", &scoped).data(), json!(["node", "prom"]));
    assert_eq!(server.get(None, "/api/v1/label/U__http_2e_status__code/values").data(), json!(["200"]));
    assert_eq!(server.get(None, "/api/v1/label/nobody/values").data(), json!([]));

    let all = server.form(None, "/api/v1/series", &[("match[]", "{__name__!=\"\"}"), ("limit", "5")]).json();
    assert_eq!((all["data"].as_array().unwrap().len(), all.get("warnings")), (3, None));
    let cut = server.form(None, "/api/v1/series", &[("match[]", "{__name__!=\"\"}"), ("limit", "2")]).json();
    assert_eq!(cut["data"].as_array().unwrap().len(), 2);
    assert_eq!(cut["warnings"], json!(["results truncated due to limit"]));
    let cut = server.get_form(None, "/api/v1/query", &[("query", "up"), ("limit", "1")]).json();
    assert_eq!(cut["data"]["result"].as_array().unwrap().len(), 1);
    assert_eq!(cut["warnings"], json!(["results truncated due to limit"]));

    let metadata = server.get(None, "/api/v1/metadata?limit=40000").data();
    assert_eq!(metadata, json!({"up": [{"type": "gauge", "help": "Whether it is up.", "unit": ""}]}));
    assert_eq!(server.get(None, "/api/v1/metadata?metric=absent").data(), json!({}));
}

#[test]
fn what_is_not_there_is_empty_not_missing() {
    let server = server();
    let times = [("query", "test"), ("start", "1763600000000"), ("end", "1763601800000")];
    assert_eq!(server.form(None, "/api/v1/query_exemplars", &times).data(), json!([]));
    let rules = server.get(None, "/api/v1/rules?file=a&file[]=a&exclude_alerts=true&group_limit=40").data();
    assert_eq!(rules, json!({"groups": []}));
    assert_eq!(server.get(None, "/api/v1/alerts").data(), json!({"alerts": []}));
}

#[test]
fn answers_are_compressed_for_those_who_take_it() {
    let server = server();
    let head = |accept: &str| {
        let line = "GET /api/v1/query?query=up&foo=bar HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
        server.raw(&format!("{line}{accept}\r\n")).to_ascii_lowercase()
    };
    let compressed = head("Accept-Encoding: gzip\r\n");
    assert!(compressed.starts_with("http/1.1 200") && compressed.contains("content-encoding: gzip"), "{compressed}");
    let plain = head("");
    assert!(!plain.contains("content-encoding"));
    // Caches on the way keep both apart.
    assert!([plain, compressed].iter().all(|head| head.contains("vary: accept-encoding")));
}

#[test]
fn the_own_metrics_are_text_that_can_be_stored_again() {
    let server = server();
    assert_eq!(server.get(None, "/-/healthy").status, 200);
    assert_eq!(server.get(None, "/-/ready").status, 200);
    let text = server.get(None, "/metrics").text();
    for name in [
        "marigram_build_info{",
        "marigram_ingest_samples_total 180",
        "marigram_storage_head_series 3",
        "marigram_http_requests_total{",
        "marigram_http_request_duration_seconds_bucket{",
        "process_start_time_seconds ",
    ] {
        assert!(text.contains(name), "{name} is not in\n{text}");
    }
    let app = server.server.app();
    marigram::scrape::once(app, app.sink().unwrap(), "here:1").unwrap();
    let form = [("query", "marigram_build_info{job=\"marigram\",instance=\"here:1\"} * on(job) up{job=\"marigram\"}")];
    let data = server.get_form(None, "/api/v1/query", &form).data();
    assert_eq!(data["result"][0]["value"], json!([1700003600, "1"]));
}

/// Headers that Grafana sends along, whatever they say.
const HEADERS: [(&str, &str); 6] = [
    ("Authorization", "Basic dXNlcjpwYXNzd29yZA=="),
    ("User-Agent", "Grafana/12.0.0"),
    ("X-Grafana-Org-Id", "1"),
    ("X-Datasource-Uid", "abc"),
    ("X-Dashboard-Uid", "def"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
];

/// How a data source is configured.
#[derive(Clone, Copy, Debug)]
struct Source {
    prefix: &'static str,
    posts: bool,
}

impl Source {
    fn all() -> impl Iterator<Item = Source> {
        ["", "/prometheus"].into_iter().flat_map(|prefix| [true, false].map(|posts| Source { prefix, posts }))
    }

    /// A request that the data source makes with its method.
    fn ask(self, server: &TestServer, path: &str, form: &[(&str, &str)]) -> Answer {
        if !self.posts {
            return self.get(server, path, form);
        }
        let body = encoded(form);
        let headers = [&HEADERS[..], &[("Content-Type", "application/x-www-form-urlencoded")]].concat();
        server.post(&format!("{}/api/v1/{path}", self.prefix), &headers, body.as_bytes())
    }

    /// A request that it always makes with GET.
    fn get(self, server: &TestServer, path: &str, form: &[(&str, &str)]) -> Answer {
        server.get_with(&format!("{}/api/v1/{path}?{}", self.prefix, encoded(form)), &HEADERS)
    }
}

fn encoded(form: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish()
}

/// What every data source asks, whatever its method, prefix and authentication.
#[test]
fn the_requests_of_every_data_source_succeed() {
    let server = server();
    for source in Source::all() {
        let data = |answer: Answer| {
            let json = answer.json();
            assert_eq!((answer.status, json["status"].as_str()), (200, Some("success")), "{source:?}: {json}");
            json["data"].clone()
        };
        let ask = |path: &str, form: &[(&str, &str)]| data(source.ask(&server, path, form));
        let get = |path: &str, form: &[(&str, &str)]| data(source.get(&server, path, form));

        let health = ask("query", &[("query", "1+1"), ("time", "4")]);
        assert_eq!(health, json!({"resultType": "scalar", "result": [4, "2"]}));
        let build = get("status/buildinfo", &[]);
        assert!(build["version"].as_str().unwrap().starts_with("3.") && build.get("features").is_none(), "{build}");
        let range = [("start", "1700000000.000"), ("end", "1700003600"), ("step", "15"), ("timeout", "60s")];
        let rate = ask("query_range", &[&[("query", "rate(node_load1[1m0s])")], &range[..]].concat());
        assert_eq!((&rate["resultType"], rate["result"].as_array().unwrap().len()), (&json!("matrix"), 1));
        let interval = ask("query_range", &[&[("query", "max_over_time(up[3600s])")], &range[..]].concat());
        assert_eq!(interval["result"].as_array().unwrap().len(), 2);

        let exemplars = [("query", "test"), ("start", "1763600000000"), ("end", "1763601800000")];
        assert_eq!(ask("query_exemplars", &exemplars), json!([]));
        let limited = [&HOUR[..], &[("limit", "40000")]].concat();
        assert_eq!(get("label/__name__/values", &limited), json!(["node_load1", "up"]));
        let jobs = [("match[]", "up"), ("match[]", "{__name__=~\"node_.*\"}"), ("limit", "0")];
        assert_eq!(get("label/job/values", &jobs), json!(["node", "prom"]));
        assert_eq!(ask("labels", &limited), json!(["__name__", "http.status_code", "instance", "job"]));
        let named = [("match[]", "{__name__=~\".*load.*\"}")];
        assert_eq!(ask("labels", &named), json!(["__name__", "http.status_code", "job"]));
        let all = ask("series", &[("match[]", "{__name__!=\"\"}"), ("limit", "5")]);
        assert!(all.as_array().unwrap().len() <= 5);
        assert!(get("metadata", &[("limit", "40000")])["up"][0]["type"].is_string());
        let rules = [
            ("file", "a"),
            ("file[]", "a"),
            ("rule_group", ""),
            ("rule_group[]", ""),
            ("rule_name", ""),
            ("rule_name[]", ""),
            ("exclude_alerts", "true"),
            ("group_limit", "40"),
            ("group_next_token", ""),
        ];
        assert_eq!(get("rules", &rules), json!({"groups": []}));
        assert_eq!(get("rules", &[]), json!({"groups": []}));
        assert_eq!(get("alerts", &[]), json!({"alerts": []}));
        assert_eq!(get("label/U__http_2e_status_code/values", &[]), json!([]));
        assert!(get("status/flags", &[]).is_object());
        let unknown = [("query", "up"), ("foo", "bar"), ("dedup", "true")];
        assert_eq!(ask("query", &unknown)["result"].as_array().unwrap().len(), 2);
        let quoted = ask("query", &[("query", "{\"node_load1\",\"http.status_code\"=\"200\"}[4m15s]")]);
        assert_eq!((&quoted["resultType"], quoted["result"].as_array().unwrap().len()), (&json!("matrix"), 1));

        let fails = |answer: Answer, part: &str| {
            let json: Value = answer.json();
            assert_eq!((answer.status, &json["errorType"]), (400, &json!("bad_data")), "{source:?}: {json}");
            assert!(json["error"].as_str().unwrap().contains(part), "{json}");
        };
        let many = [("query", "up"), ("start", "0"), ("end", "1700000000"), ("step", "1")];
        fails(source.ask(&server, "query_range", &many), "11,000 points");
        fails(source.ask(&server, "query", &[("query", "sum(")]), "parse error");
    }
}
