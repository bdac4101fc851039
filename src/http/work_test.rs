use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};

use axum::body::Body;
use axum::http::Request;
use clap::Parser;
use http_body_util::BodyExt;
use marigram_query::source::Source;
use marigram_storage::Result;
use marigram_storage::context::Context;
use marigram_storage::disk::RealDisk;
use marigram_storage::env::{Env, ManualClock, SeededRandom};
use marigram_storage::model::labels::Labels;
use marigram_storage::model::matcher::Matcher;
use marigram_storage::model::time::TimeRange;
use marigram_storage::select::{SelectRequest, SeriesBatch, SeriesStream};
use marigram_storage::write::MetadataEntry;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::app::App;
use crate::config::Settings;
use crate::config::args::{Cli, Command};
use crate::reads::Reads;
use crate::service::{Reader, Service};

const REASON: &str = "node c does not answer";

/// A source that always lacks a member.
struct Short;

struct Nothing;

impl SeriesStream for Nothing {
    fn next_batch(&mut self) -> Result<Option<SeriesBatch>> {
        Ok(None)
    }
}

impl Source for Short {
    fn select(&self, context: &Context, _: SelectRequest<'_>) -> Result<Box<dyn SeriesStream>> {
        context.incomplete(REASON)?;
        Ok(Box::new(Nothing))
    }

    fn series(&self, context: &Context, _: &[Vec<Matcher>], _: TimeRange, _: usize) -> Result<Vec<Labels>> {
        context.incomplete(REASON).map(|()| Vec::new())
    }

    fn label_names(&self, context: &Context, _: &[Vec<Matcher>], _: TimeRange, _: usize) -> Result<Vec<String>> {
        context.incomplete(REASON).map(|()| vec!["job".to_owned(), "replica".to_owned()])
    }

    fn label_values(
        &self,
        context: &Context,
        _: &str,
        _: &[Vec<Matcher>],
        _: TimeRange,
        _: usize,
    ) -> Result<Vec<String>> {
        context.incomplete(REASON).map(|()| Vec::new())
    }

    fn metadata(&self, context: &Context) -> Result<BTreeMap<String, Vec<MetadataEntry>>> {
        context.incomplete(REASON).map(|()| BTreeMap::new())
    }
}

struct Role(Reader);

impl Service for Role {
    fn readiness(&self) -> std::result::Result<(), String> {
        Ok(())
    }

    fn reader(&self) -> Option<&Reader> {
        Some(&self.0)
    }

    fn seal(&self) -> Result<()> {
        Ok(())
    }

    fn cluster_status(&self) -> Value {
        Value::Null
    }
}

fn app() -> Arc<App> {
    let cli = Cli::try_parse_from(["marigram", "single", "--replica-label", "replica"]).unwrap();
    let Command::Single(args) = cli.command else { unreachable!("single was asked for") };
    let env = Env {
        clock: Arc::new(ManualClock::new(1_700_000_000_000)),
        random: Arc::new(SeededRandom::new(1)),
        disk: Arc::new(RealDisk),
    };
    let app = Arc::new(App::new(
        Settings::single(*args).unwrap(),
        env,
        Reads::new(tokio::runtime::Handle::current(), None),
        mpsc::channel().0,
    ));
    app.serve(Arc::new(Role(Reader { source: Arc::new(Short), engine: app.new_engine(), cache: None })));
    app
}

async fn get(path: &str) -> (u16, Value) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = crate::http::router(app()).oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn an_answer_is_short_only_where_that_is_allowed_and_then_says_so() {
    for path in [
        "/api/v1/query?query=up",
        "/api/v1/query_range?query=up&start=0&end=10&step=1",
        "/api/v1/series?match[]=up",
        "/api/v1/labels?limit=1",
        "/api/v1/label/job/values?dedup=false",
        "/api/v1/metadata?limit=5",
    ] {
        let (status, body) = get(path).await;
        assert_eq!(
            (status, &body["errorType"], &body["error"]),
            (503, &json!("unavailable"), &json!(REASON)),
            "{path}"
        );
        let (status, body) = get(&format!("{path}&partial_response=false")).await;
        assert_eq!(status, 503, "{path}: {body}");
        let (status, body) = get(&format!("{path}&partial_response=true")).await;
        assert_eq!((status, &body["status"], &body["warnings"][0]), (200, &json!("success"), &json!(REASON)), "{path}");
        let cut = usize::from(path.contains("limit=1"));
        assert_eq!(body["warnings"].as_array().unwrap().len(), 1 + cut, "{path}: {body}");
    }
}
