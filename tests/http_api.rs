//! The parts of Prometheus' HTTP API that panels do not use, and what the server tells of itself: as Prometheus words it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/server.rs"]
mod support;

use marigram_proto::prometheus::label_matcher::Type;
use marigram_proto::prometheus::{ChunkedReadResponse, LabelMatcher, Query, ReadRequest};
use prost::Message;
use serde_json::{Value, json};
use support::{START_MS, TestServer};

fn server(flags: &[&str]) -> TestServer {
    let server = TestServer::start(flags);
    let mut text = String::new();
    for step in 0..60 {
        let time_ms = START_MS - 15_000 * (59 - step);
        text.push_str(&format!(
            "up{{job=\"node\"}} 1 {time_ms}\nup{{job=\"prom\"}} 1 {time_ms}\nload {step} {time_ms}\n"
        ));
    }
    server.import(None, &text);
    server
}

/// Status, error type and error of an answer that failed.
fn failure(server: &TestServer, path: &str) -> (u16, String, String) {
    let answer = server.get(None, path);
    let json = answer.json();
    let text = |key: &str| json[key].as_str().unwrap_or_else(|| panic!("{path}: {json}")).to_owned();
    (answer.status, text("errorType"), text("error"))
}

#[test]
fn what_is_not_there_has_the_form_that_prometheus_gives_it() {
    let server = server(&[]);
    let dropped = json!({"activeTargets": [], "droppedTargets": [], "droppedTargetCounts": {}});
    let active = json!({"activeTargets": [], "droppedTargets": [], "droppedTargetCounts": null});
    for (path, data) in [
        ("targets", &dropped),
        ("targets?state=Any", &dropped),
        ("targets?state=dropped&scrapePool=x", &dropped),
        ("targets?state=active", &active),
        ("targets/metadata?limit=2&metric=up&match_target={job=\"a\"}", &json!([])),
        ("scrape_pools", &json!({"scrapePools": []})),
        ("alertmanagers", &json!({"activeAlertmanagers": [], "droppedAlertmanagers": []})),
        (
            "rules?type=alert&file[]=a&rule_group[]=b&rule_name[]=c&match[]={a=\"b\"}&group_limit=3",
            &json!({"groups": []}),
        ),
        (
            "rules?file=&file[]=&rule_group=&rule_name=&exclude_alerts=&group_limit=&group_next_token=",
            &json!({"groups": []}),
        ),
        ("alerts", &json!({"alerts": []})),
        ("notifications", &json!([])),
        ("query_exemplars?query=up&start=1763600000000&end=1763601800000", &json!([])),
        ("query_exemplars?query=sum(rate(up[5m]))", &json!([])),
        ("labels?start=2&end=1", &json!([])),
        ("series?match[]=up&start=2&end=1", &json!([])),
    ] {
        for prefix in ["", "/prometheus"] {
            let path = format!("{prefix}/api/v1/{}", path.replace('{', "%7B").replace('}', "%7D").replace('"', "%22"));
            assert_eq!(server.get(None, &path).data(), *data, "{path}");
        }
    }
    for path in ["/api/v1/query_exemplars?query=1", "/api/v1/notifications/live"] {
        assert_eq!((server.get(None, path).status, server.get(None, path).body.len()), (204, 0), "{path}");
    }
}

#[test]
fn mistakes_are_told_in_the_words_of_prometheus() {
    let server = server(&[]);
    let range = "query_range?query=up&start=1&end=2&step=1";
    for (path, error) in [
        (
            "query?query=up&time=x",
            "invalid parameter \"time\": invalid time value for 'time': cannot parse \"x\" to a valid timestamp",
        ),
        ("query?query=up&limit=x", "invalid parameter \"limit\": strconv.Atoi: parsing \"x\": invalid syntax"),
        (
            "query?query=up&limit=99999999999999999999",
            "invalid parameter \"limit\": strconv.Atoi: parsing \"99999999999999999999\": value out of range",
        ),
        ("query?query=up&limit=-1", "invalid parameter \"limit\": limit must be non-negative"),
        ("query?query=up&timeout=x", "invalid parameter \"timeout\": cannot parse \"x\" to a valid duration"),
        (
            "query?query=up&lookback_delta=x",
            "error parsing lookback delta duration: cannot parse \"x\" to a valid duration",
        ),
        ("query?query=", ""),
        ("query?query=up[", ""),
        ("query_range?query=up&start=x", "invalid parameter \"start\": cannot parse \"x\" to a valid timestamp"),
        ("query_range?query=up&start=1", "invalid parameter \"end\": cannot parse \"\" to a valid timestamp"),
        (
            "query_range?query=up&start=2&end=1",
            "invalid parameter \"end\": end timestamp must not be before start time",
        ),
        (
            "query_range?query=up&start=1&end=2&step=x",
            "invalid parameter \"step\": cannot parse \"x\" to a valid duration",
        ),
        (
            "query_range?query=up&start=1&end=2&step=0",
            "invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer",
        ),
        (
            "query_range?query=up&start=0&end=12000&step=1",
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ),
        (
            "query_range?query=up[1m]&start=1&end=2&step=1",
            "invalid parameter \"query\": invalid expression type \"range vector\" for range query, must be Scalar or instant Vector",
        ),
        (
            "labels?start=x",
            "invalid parameter \"start\": invalid time value for 'start': cannot parse \"x\" to a valid timestamp",
        ),
        ("labels?match[]={}", "match[] must contain at least one non-empty matcher"),
        ("label/%ff%20a/values", "invalid label name: \"\\xff a\""),
        ("series", "no match[] parameter provided"),
        ("series?match[]={}", "invalid parameter \"match[]\": match[] must contain at least one non-empty matcher"),
        ("metadata?limit=x", "limit must be a number"),
        ("metadata?limit_per_metric=x", "limit_per_metric must be a number"),
        ("targets/metadata?limit=x", "limit must be a number"),
        ("targets/relabel_steps", "no scrapePool parameter provided"),
        ("targets/relabel_steps?scrapePool=a", "no labels parameter provided"),
        ("targets/relabel_steps?scrapePool=a&labels={}", "error retrieving scrape config: scrape pool \"a\" not found"),
        ("rules?type=x", "invalid parameter \"type\": not supported value \"x\""),
        (
            "rules?exclude_alerts=x",
            "invalid parameter \"exclude_alerts\": error converting exclude_alerts: strconv.ParseBool: parsing \"x\": invalid syntax",
        ),
        (
            "rules?group_limit=x",
            "invalid parameter \"group_limit\": group_limit needs to be a valid number: strconv.ParseInt: parsing \"x\": invalid syntax",
        ),
        ("rules?group_limit=0", "invalid parameter \"group_limit\": group_limit needs to be greater than 0"),
        (
            "rules?group_next_token=x",
            "invalid parameter \"group_next_token\": group_limit needs to be present in order to paginate over the groups",
        ),
        (
            "rules?group_limit=1&group_next_token=x",
            "invalid parameter \"group_next_token\": invalid group_next_token 'x'. were rule groups changed?",
        ),
        (
            "query_exemplars?query=up&start=x",
            "invalid parameter \"start\": invalid time value for 'start': cannot parse \"x\" to a valid timestamp",
        ),
        ("query_exemplars?query=up&start=2&end=1", "end timestamp must not be before start timestamp"),
        ("status/tsdb?limit=0", "limit must be a positive number"),
        ("status/tsdb?limit=x", "limit must be a positive number"),
        ("status/tsdb?limit=10001", "limit must not exceed 10000"),
    ] {
        let path =
            format!("/api/v1/{}", path.replace('{', "%7B").replace('}', "%7D").replace('[', "%5B").replace(']', "%5D"));
        let (status, kind, text) = failure(&server, &path);
        assert_eq!((status, kind.as_str()), (400, "bad_data"), "{path}: {text}");
        assert!(text == error || error.is_empty(), "{path}: {text}");
    }
    let (.., text) = failure(&server, "/api/v1/query?query=sum(");
    assert!(text.starts_with("invalid parameter \"query\": 1:5: parse error: "), "{text}");
    assert_eq!(server.get(None, &format!("/api/v1/{range}&lookback_delta=1m&stats=all")).status, 200);
}

#[test]
fn a_query_says_what_it_cost() {
    let server = server(&[]);
    let stats = |path: &str, form: &[(&str, &str)]| {
        let json = server.get_form(None, path, form).json();
        assert_eq!(json["status"], "success", "{json}");
        (json["data"]["stats"].clone(), json.get("warnings").cloned())
    };
    let at = ("time", "1700003600");
    let (found, warnings) = stats("/api/v1/query", &[("query", "up"), at, ("stats", "all")]);
    let timings = json!({"evalTotalTime": 0, "resultSortTime": 0, "queryPreparationTime": 0, "innerEvalTime": 0, "execQueueTime": 0, "execTotalTime": 0});
    assert_eq!(found["timings"], timings);
    assert_eq!(found["samples"]["totalQueryableSamples"], 2);
    assert_eq!(found["samples"]["samplesRead"], 2);
    assert!(found["samples"]["peakSamples"].as_u64().unwrap() >= 2);
    assert_eq!(warnings, None);
    // The windows of four steps of a minute, four samples new in each; five minutes hold twenty.
    let range = [("query", "sum(rate(load[5m]))"), ("start", "1700003420"), ("end", "1700003600"), ("step", "60")];
    let (found, warnings) = stats("/api/v1/query_range", &[&range[..], &[("stats", "1")]].concat());
    assert_eq!(found["samples"]["totalQueryableSamples"], 80);
    assert_eq!(found["samples"]["samplesRead"], 32);
    let deprecated = "value \"1\" for parameter \"stats\" is deprecated and will be rejected in the next major release, use \"true\" or \"all\"";
    assert_eq!(warnings, Some(json!([deprecated])));
    assert_eq!(stats("/api/v1/query", &[("query", "up"), at, ("stats", "")]), (Value::Null, None));

    let count = |lookback| {
        let late = [("query", "count(up)"), ("time", "1700003700"), ("lookback_delta", lookback)];
        server.get_form(None, "/api/v1/query", &late).data()["result"].as_array().unwrap().len()
    };
    assert_eq!((count("100"), count("101s"), count("0"), count("")), (0, 1, 1, 1));
}

#[test]
fn a_query_says_what_each_step_looked_at() {
    let server = server(&["--enable-feature", "promql-per-step-stats"]);
    let samples = |path: &str, form: &[(&str, &str)]| {
        let json = server.get_form(None, path, form).json();
        assert_eq!(json["status"], "success", "{json}");
        json["data"]["stats"]["samples"].clone()
    };
    let of_step =
        |samples: &Value| (samples["totalQueryableSamplesPerStep"].clone(), samples["samplesReadPerStep"].clone());
    let range = [("query", "sum(rate(load[5m]))"), ("start", "1700003480.5"), ("end", "1700003600.5"), ("step", "60")];
    let all = [&range[..], &[("stats", "all")]].concat();
    let windows = json!([[1700003480.5, 20], [1700003540.5, 20], [1700003600.5, 20]]);
    let read = json!([[1700003480.5, 20], [1700003540.5, 4], [1700003600.5, 4]]);
    let found = samples("/api/v1/query_range", &all);
    assert_eq!(of_step(&found), (windows, read));
    assert_eq!((&found["totalQueryableSamples"], &found["samplesRead"]), (&json!(60), &json!(28)));
    let instant = [("query", "up"), ("time", "1700003600"), ("stats", "all")];
    let one = json!([[1700003600, 2]]);
    assert_eq!(of_step(&samples("/api/v1/query", &instant)), (one.clone(), one));
    for plain in [("stats", "true"), ("stats", "1")] {
        let found = samples("/api/v1/query_range", &[&range[..], &[plain]].concat());
        assert_eq!(of_step(&found), (Value::Null, Value::Null));
    }
    assert_eq!(server.get(None, "/api/v1/features").data()["promql"]["per_step_stats"], true);
    // Without the feature `all` says no more than `true`.
    let found = self::server(&[]).get_form(None, "/api/v1/query_range", &all).data();
    assert_eq!(of_step(&found["stats"]["samples"]), (Value::Null, Value::Null));
}

#[test]
fn the_server_says_how_it_was_started_and_what_it_holds() {
    let server = server(&["--retention", "30d", "--query-timeout", "90s", "--enable-admin-api"]);
    let flags = server.get(None, "/api/v1/status/flags").data();
    assert_eq!((&flags["retention"], &flags["query-timeout"]), (&json!("30d"), &json!("90s")));
    assert_eq!((&flags["query-max-samples"], &flags["bucket"]), (&json!("50000000"), &json!("")));
    let config = server.get(None, "/api/v1/status/config").data();
    assert_eq!(config, json!({"yaml": "global: {}\nstorage:\n  tsdb:\n    retention:\n      time: 30d\n"}));
    let runtime = server.get(None, "/api/v1/status/runtimeinfo").data();
    assert_eq!((&runtime["storageRetention"], &runtime["corruptionCount"]), (&json!("30d"), &json!(0)));
    assert_eq!(runtime["startTime"], runtime["serverTime"], "the clock stands still");
    assert!(runtime["GOMAXPROCS"].as_u64().unwrap() > 0 && !runtime["hostname"].as_str().unwrap().is_empty());

    let own = server.get(None, "/api/v1/status/self_metrics?metric_name_pattern=marigram_storage_head_.*").data();
    let names: Vec<&str> = own.as_array().unwrap().iter().map(|family| family["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        ["marigram_storage_head_partitions", "marigram_storage_head_samples", "marigram_storage_head_series"]
    );
    assert_eq!((&own[2]["type"], &own[2]["metric"]), (&json!("GAUGE"), &json!([{"gauge": {"value": 3.0}}])));
    let all = server.get(None, "/api/v1/status/self_metrics").data();
    assert!(all.as_array().unwrap().iter().any(|family| family["type"] == "HISTOGRAM"), "{all}");
    let wrong = server.get(None, "/api/v1/status/self_metrics?metric_name_pattern=%5Bx");
    assert_eq!((wrong.status, &wrong.json()["errorType"]), (400, &json!("bad_data")));

    let head = server.get(None, "/api/v1/status/tsdb?limit=2").data();
    let first_ms = START_MS - 15_000 * 59;
    let stats = json!({"numSeries": 3, "numLabelPairs": 4, "chunkCount": 3, "minTime": first_ms, "maxTime": START_MS});
    let list = |entries: &[(&str, u64)]| -> Value {
        entries.iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
    };
    assert_eq!(head["headStats"], stats);
    assert_eq!(head["seriesCountByMetricName"], list(&[("up", 2), ("load", 1)]));
    assert_eq!(head["labelValueCountByLabelName"], list(&[("__name__", 2), ("job", 2)]));
    assert_eq!(head["memoryInBytesByLabelName"], list(&[("__name__", 8), ("job", 8)]));
    assert_eq!(head["seriesCountByLabelValuePair"], list(&[("__name__=up", 2), ("__name__=load", 1)]));
    let other = server.get(Some("other"), "/api/v1/status/tsdb").data();
    assert_eq!((&other["headStats"]["numSeries"], &other["headStats"]["minTime"]), (&json!(0), &json!(i64::MAX)));

    assert_eq!(server.get(None, "/api/v1/status/tsdb/blocks").data(), json!({"blocks": []}));
    assert_eq!(server.post("/api/v1/admin/tsdb/seal", &[], b"").status, 204);
    let blocks = server.get(None, "/api/v1/status/tsdb/blocks").data();
    let block = &blocks["blocks"][0];
    assert_eq!(block["stats"], json!({"numSamples": 180, "numSeries": 3}));
    assert_eq!((&block["minTime"], &block["maxTime"]), (&json!(first_ms), &json!(START_MS + 1)));
    assert_eq!((&block["compaction"]["level"], &block["version"]), (&json!(1), &json!(1)));
}

#[test]
fn scripts_of_other_sites_may_read() {
    let server = server(&[]);
    let head = |line: &str, origin: &str| {
        let text = format!("{line} HTTP/1.1\r\nHost: x\r\n{origin}Connection: close\r\n\r\n");
        server.raw(&text).split("\r\n\r\n").next().unwrap().to_ascii_lowercase()
    };
    let origin = "Origin: http://elsewhere\r\n";
    for (line, status) in [
        ("OPTIONS /api/v1/query_range", "204"),
        ("OPTIONS /prometheus/api/v1/whatever", "204"),
        ("GET /api/v1/labels", "200"),
        ("GET /api/v1/query?query=sum(", "400"),
    ] {
        let got = head(line, origin);
        assert!(got.starts_with(&format!("http/1.1 {status}")), "{line}: {got}");
        for header in [
            "access-control-allow-origin: http://elsewhere",
            "access-control-allow-methods: get, post, options",
            "access-control-allow-headers: accept, authorization, content-type, origin",
            "access-control-expose-headers: date",
        ] {
            assert!(got.contains(header), "{line}: {header} is not in {got}");
        }
        let without = head(line, "");
        assert!(without.contains("origin") && !without.contains("access-control"), "{line}: {without}");
    }
    let elsewhere = head("GET /-/healthy", origin);
    assert!(!elsewhere.contains("access-control"), "{elsewhere}");
    let wrong = head("POST /api/v1/status/buildinfo", "Content-Length: 0\r\n");
    assert!(wrong.starts_with("http/1.1 405") && wrong.contains("allow: get,head"), "{wrong}");
    assert!(head("DELETE /api/v1/query", "").contains("allow: get,head,post"));
}

/// Who prefers the stream gets it: a frame for each series, sorted, whatever else it accepts.
#[test]
fn remote_read_streams_to_those_who_prefer_it() {
    let server = server(&[]);
    let read = |accepted: &[i32], name: &str| {
        let matcher = LabelMatcher { r#type: Type::Re as i32, name: "__name__".into(), value: name.into() };
        let query =
            Query { start_timestamp_ms: 0, end_timestamp_ms: START_MS, matchers: vec![matcher], ..Query::default() };
        let request = ReadRequest { queries: vec![query], accepted_response_types: accepted.to_vec() };
        let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap();
        server.post("/api/v1/read", &[], &body)
    };
    let answer = read(&[1, 0], "up|load");
    let kind = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
    assert_eq!((answer.status, answer.content_type.as_str()), (200, kind));
    let (mut rest, mut series) = (&answer.body[..], Vec::new());
    while !rest.is_empty() {
        let length = prost::decode_length_delimiter(&mut rest).unwrap();
        let (checksum, message) = rest[..4 + length].split_at(4);
        assert_eq!(checksum, crc32c::crc32c(message).to_be_bytes());
        let frame = ChunkedReadResponse::decode(message).unwrap();
        let [one] = &frame.chunked_series[..] else { panic!("one series in a frame") };
        let labels: Vec<_> = one.labels.iter().map(|label| label.value.as_str()).collect();
        series.push((labels.join(" "), one.chunks.len(), one.chunks[0].max_time_ms));
        rest = &rest[4 + length..];
    }
    let expected = ["load", "up node", "up prom"].map(|labels| (labels.to_owned(), 1, START_MS));
    assert_eq!(series, expected);
    let nothing = read(&[1], "nothing");
    assert_eq!((nothing.status, nothing.content_type.as_str(), nothing.body.len()), (200, kind, 0));
    assert_eq!(read(&[0, 1], "up").content_type, "application/x-protobuf");
    let unknown = read(&[7], "up");
    assert!(unknown.status == 400 && unknown.text().contains("response types: [7]"), "{}", unknown.text());
}
