//! What the API answers about the language alone: `format_query`, `parse_query`, `features`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::json;
use support::process::Folder;
use support::single::Server;

#[test]
fn queries_are_laid_out_and_taken_apart() {
    let folder = Folder::new("query-language");
    let mut server = Server::start(folder.path());
    let http = server.http();
    let long = "a_long_name_of_a_metric{instance=\"some instance\",job=\"some job of several\"}";
    for (query, formatted) in [
        ("sum( rate( m [5m] ) )BY (a)", "sum by (a) (rate(m[5m]))".to_owned()),
        ("m[2*1m+step()]", "m[2 * 1m + step()]".to_owned()),
        (&*format!("{long}/{long}"), format!("  {long}\n/\n  {long}")),
    ] {
        let wanted = json!({"status": "success", "data": formatted});
        assert_eq!(http.json("/api/v1/format_query", &[("query", query)]), (200, wanted.clone()), "{query}");
        assert_eq!(http.json_post("/api/v1/format_query", &[("query", query)]), (200, wanted), "{query}");
    }
    let tree = json!({
        "type": "unaryExpr",
        "op": "-",
        "expr": {"type": "parenExpr", "expr": {"type": "numberLiteral", "val": "0.5"}},
    });
    let wanted = json!({"status": "success", "data": tree});
    assert_eq!(http.json("/api/v1/parse_query", &[("query", "-(.5)")]), (200, wanted.clone()));
    assert_eq!(http.json_post("/api/v1/parse_query", &[("query", "-(.5)")]), (200, wanted));
    for path in ["/api/v1/format_query", "/api/v1/parse_query"] {
        for (query, error) in [
            ("sum(", "1:5: parse error: unclosed left parenthesis"),
            ("", "unknown position: parse error: no expression found in input"),
            (
                "limitk(1, m)",
                "1:1: parse error: limitk() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
            ),
        ] {
            let (status, answer) = http.json_post(path, &[("query", query)]);
            let error = format!("invalid parameter \"query\": {error}");
            assert_eq!((status, &answer["errorType"], &answer["error"]), (400, &json!("bad_data"), &json!(error)));
        }
    }
    let (status, features) = http.json("/api/v1/features", &[]);
    assert_eq!((status, &features["data"]["promql"]["smoothed"]), (200, &json!(false)), "{features}");
    assert_eq!(features["data"]["promql_functions"]["rate"], json!(true), "{features}");
    server.assert_sound();
}
