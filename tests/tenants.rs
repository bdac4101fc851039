//! Two tenants write the same series with other values; neither sees anything of the other by any endpoint.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/server.rs"]
mod support;

use marigram_proto::prometheus::{LabelMatcher, Query, ReadRequest, ReadResponse, label_matcher};
use prost::Message;
use serde_json::{Value, json};
use support::{START_MS, TestServer, headers};

/// What one tenant gets of every endpoint.
fn sees(server: &TestServer, tenant: Option<&str>) -> Vec<Value> {
    let get = |path: &str| server.get(tenant, path).data();
    vec![
        get("/api/v1/query?query=shared&time=1700003600"),
        get("/api/v1/query?query=count({__name__!=\"\"})&time=1700003600".replace('"', "%22").as_str()),
        get("/api/v1/query_range?query=shared&start=1700003540&end=1700003600&step=15"),
        get("/api/v1/labels"),
        get("/api/v1/label/__name__/values"),
        get("/api/v1/label/owner/values"),
        get("/api/v1/series?match[]=%7B__name__!=%22%22%7D"),
        get("/api/v1/metadata"),
        remote_read(server, tenant),
    ]
}

fn remote_read(server: &TestServer, tenant: Option<&str>) -> Value {
    let matcher =
        LabelMatcher { r#type: label_matcher::Type::Neq as i32, name: "__name__".into(), value: String::new() };
    let query =
        Query { start_timestamp_ms: 0, end_timestamp_ms: i64::MAX, matchers: vec![matcher], ..Query::default() };
    let request = ReadRequest { queries: vec![query], ..ReadRequest::default() }.encode_to_vec();
    let body = snap::raw::Encoder::new().compress_vec(&request).unwrap();
    let answer = server.post("/api/v1/read", &headers(tenant, &[]), &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let plain = snap::raw::Decoder::new().decompress_vec(&answer.body).unwrap();
    let series = &ReadResponse::decode(&plain[..]).unwrap().results[0].timeseries;
    let show = |label: &marigram_proto::prometheus::Label| format!("{}={}", label.name, label.value);
    series
        .iter()
        .map(|s| {
            let labels: Vec<String> = s.labels.iter().map(show).collect();
            let samples: Vec<(i64, f64)> = s.samples.iter().map(|s| (s.timestamp, s.value)).collect();
            json!([labels, samples])
        })
        .collect()
}

fn write(server: &TestServer, tenant: Option<&str>, name: &str, value: u32) {
    let text = format!(
        "# HELP shared Help of {name}.\n# TYPE shared gauge\nshared{{job=\"x\"}} {value} {START_MS}\nonly_{name}{{owner=\"{name}\"}} {value} {START_MS}\n"
    );
    server.import(tenant, &text);
}

#[test]
fn tenants_see_nothing_of_each_other() {
    let server = TestServer::start(&["--enable-admin-api"]);
    let tenants = [(Some("alpha"), "alpha", 11), (Some("beta"), "beta", 22), (None, "nobody", 33)];
    for (tenant, name, value) in tenants {
        write(&server, tenant, name, value);
    }
    let before: Vec<Vec<Value>> = tenants.iter().map(|(tenant, ..)| sees(&server, *tenant)).collect();
    for ((_, name, value), answers) in tenants.iter().zip(&before) {
        assert_eq!(answers[0]["result"][0]["value"], json!([1700003600, value.to_string()]));
        assert_eq!(answers[1]["result"][0]["value"][1], "2");
        assert_eq!(answers[4], json!([format!("only_{name}"), "shared"]));
        assert_eq!(answers[5], json!([name]));
        assert_eq!(answers[7]["shared"], json!([{"type": "gauge", "help": format!("Help of {name}."), "unit": ""}]));
        assert_eq!(answers[8].as_array().unwrap().len(), 2);
        let all = json!(answers).to_string();
        for (_, other, other_value) in tenants.iter().filter(|(_, other, _)| other != name) {
            assert!(!all.contains(other) && !all.contains(&format!("\"{other_value}\"")), "{name} sees {other}: {all}");
        }
    }
    // The default tenant has a name, and it is the same with and without the header.
    assert_eq!(sees(&server, Some("anonymous")), before[2]);
    // Somebody who never wrote sees nothing.
    let stranger = sees(&server, Some("gamma"));
    assert_eq!(stranger[3..], [json!([]), json!([]), json!([]), json!([]), json!({}), json!([])]);

    // The same out of blocks.
    let sealed = server.post("/api/v1/admin/tsdb/seal", &headers(Some("alpha"), &[]), b"");
    assert_eq!(sealed.status, 204, "{}", sealed.text());
    let after: Vec<Vec<Value>> = tenants.iter().map(|(tenant, ..)| sees(&server, *tenant)).collect();
    assert_eq!(after, before);
}

#[test]
fn bad_names_are_refused_everywhere() {
    let server = TestServer::start(&[]);
    for path in ["/api/v1/query?query=1", "/api/v1/labels", "/api/v1/series?match[]=a", "/api/v1/metadata"] {
        for name in ["a/b", "..", "a|b", " "] {
            assert_eq!(server.get(Some(name), path).status, 400, "{path} {name:?}");
        }
    }
    for path in ["/api/v1/write", "/api/v1/import/prometheus", "/api/v1/read"] {
        assert_eq!(server.post(path, &[("X-Scope-OrgID", "a/b")], b"").status, 400, "{path}");
    }
}
