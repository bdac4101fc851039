//! A query whose client has gone stops at its next check, and its place is free again.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/server.rs"]
mod support;

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use marigram::http::error::{ApiError, ErrorType};
use marigram::http::params::Params;
use marigram::http::work::{self, ReadOptions};
use marigram_storage::model::tenant::TenantId;
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
