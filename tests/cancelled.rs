//! A query whose client has gone stops at its next check, and its place is free again.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/server.rs"]
mod support;

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use http_body_util::BodyExt;
use marigram::http::error::{ApiError, ErrorType};
use marigram::http::params::Params;
use marigram::http::work::{self, ReadOptions};
use marigram_storage::model::tenant::TenantId;
use serde_json::json;
use support::TestServer;

#[test]
fn dropping_the_request_cancels_its_work_and_frees_its_place() {
    let server = TestServer::start(&["--query-max-concurrency", "1"]);
    let app = Arc::clone(server.server.app());
    let (started_in, started) = tokio::sync::oneshot::channel();
    let (ended_in, ended) = mpsc::channel();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let params = Params::new(b"", Some("timeout=60s"));
        let request = work::run(
            &app,
            |app| &app.queries,
            ReadOptions::new(&app, TenantId::default(), &params).unwrap(),
            move |work| {
                let context = work.context;
                let _ = started_in.send(());
                // The clock of this server stands still, so only the cancellation can end this.
                while context.check().is_ok() {
                    std::thread::yield_now();
                }
                let error = ApiError::from(context.check().unwrap_err());
                ended_in.send(error.clone()).unwrap();
                Err::<(), _>(error)
            },
        );
        tokio::select! {
            _ = request => panic!("nothing ended the work"),
            _ = started => {}
        }
        // Here the request is dropped, as the server drops it when the connection closes.
    });
    assert_eq!(ended.recv().unwrap().error_type, ErrorType::Canceled);
    let free = runtime.block_on(app.queries.enter(Duration::from_secs(60)));
    assert!(free.is_ok());
}

#[test]
fn a_full_house_is_told_so() {
    let server = TestServer::start(&["--query-max-concurrency", "1", "--query-max-waiting", "0"]);
    let _held = server.server.app().queries.try_enter().unwrap();
    let answer = server.get(None, "/api/v1/query?query=1");
    assert_eq!((answer.status, answer.json()["errorType"].as_str()), (503, Some("unavailable")));
    // Label requests have places of their own.
    assert_eq!(server.get(None, "/api/v1/labels").status, 200);
}

#[test]
fn active_queries_are_shown_and_slow_ones_counted() {
    let server = TestServer::start(&["--query-max-concurrency", "1", "--query-log-slow", "5s"]);
    let app = Arc::clone(server.server.app());
    let (started_in, started) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let params = Params::new(b"", Some("query=sum(up)&timeout=60s"));
    let options = ReadOptions::new(&app, TenantId::parse("team").unwrap(), &params).unwrap().of("/api/v1/query");
    let other = Arc::clone(&app);
    let request = std::thread::spawn(move || {
        let work = work::run(
            &other,
            |app| &app.queries,
            options,
            move |work| {
                let _held = work.context.reserve(1000).unwrap();
                work.context.tally().add(7, 5);
                started_in.send(()).unwrap();
                may_go_on.recv().unwrap();
                Ok(())
            },
        );
        tokio::runtime::Runtime::new().unwrap().block_on(work).unwrap();
    });
    started.recv().unwrap();
    server.clock.set(support::START_MS + 6000);
    let active = server.get(None, "/api/v1/status/active_queries").data();
    let expected = json!([{
        "id": 0, "endpoint": "/api/v1/query", "query": "sum(up)", "tenant": "team", "state": "running",
        "start": "2023-11-14T23:13:20.000Z", "ageSeconds": 6.0, "queueSeconds": 0.0,
        "samplesQueryable": 7, "samplesHeld": 0, "samplesPeak": 0, "bytesReserved": 1000,
    }]);
    assert_eq!(active["activeQueries"], expected);
    let of = |tenant| server.get(Some(tenant), "/api/v1/status/active_queries").data()["activeQueries"].clone();
    assert_eq!((of("other"), of("team").as_array().unwrap().len()), (json!([]), 1));
    let metrics = server.get(None, "/metrics").text();
    for line in ["marigram_query_running{kind=\"queries\"} 1", "marigram_query_waiting{kind=\"queries\"} 0"] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }

    // Meanwhile a second one waits in vain.
    let answer = server.get(None, "/api/v1/query?query=1&timeout=10ms");
    assert_eq!((answer.status, answer.json()["errorType"].as_str()), (503, Some("timeout")));
    go_on.send(()).unwrap();
    request.join().unwrap();
    assert_eq!(server.get(None, "/api/v1/status/active_queries").data(), json!({"activeQueries": []}));
    let metrics = server.get(None, "/metrics").text();
    for line in [
        "marigram_queries_slow_total 1",
        "marigram_queries_refused_total{reason=\"timeout\"} 1",
        "marigram_query_running{kind=\"queries\"} 0",
        "marigram_query_queue_duration_seconds_count 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

#[test]
fn a_stream_ends_with_its_client_and_breaks_off_after_an_error() {
    let server = TestServer::start(&[]);
    let app = Arc::clone(server.server.app());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let options = || ReadOptions::new(&app, TenantId::default(), &Params::default()).unwrap();
    let (ended_in, ended) = mpsc::channel();
    runtime.block_on(async {
        let endless = work::stream(
            &app,
            |app| &app.lookups,
            options(),
            move |_, outlet| {
                let mut sent = 0;
                let error = loop {
                    match outlet.send(vec![0; 1000]) {
                        Ok(()) => sent += 1,
                        Err(error) => break ApiError::from(error),
                    }
                };
                ended_in.send((sent, error.error_type)).unwrap();
                Err(error)
            },
        );
        let mut body = endless.await.unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap().len(), 1000);
    });
    let (sent, kind) = ended.recv().unwrap();
    assert!(sent <= 4, "{sent} pieces were made for a client that took one");
    assert_eq!(kind, ErrorType::Canceled);

    runtime.block_on(async {
        let failing = |pieces: usize| {
            work::stream(
                &app,
                |app| &app.lookups,
                options(),
                move |_, outlet| {
                    (0..pieces).try_for_each(|_| outlet.send(vec![1]))?;
                    Err(ApiError::unavailable("no more"))
                },
            )
        };
        assert_eq!(failing(0).await.unwrap_err().message, "no more");
        let mut body = failing(1).await.unwrap();
        assert!(body.frame().await.unwrap().is_ok());
        assert!(body.frame().await.unwrap().is_err(), "a part is not taken for the whole");
    });
}
