//! What the process tells of itself.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use marigram_storage::db::ReplayState;

use super::answer;
use super::error::{ApiError, ErrorType};
use crate::app::App;
use crate::service::Service;

/// The version of Prometheus whose API this is. Clients choose their requests by it.
pub const API_VERSION: &str = "3.0.0";

/// `/api/v1/status/buildinfo`. No `features`: with any, Grafana would take this for Mimir and use its ruler.
pub async fn buildinfo() -> Response {
    let info = serde_json::json!({
        "version": API_VERSION,
        "revision": option_env!("MARIGRAM_REVISION").unwrap_or("unknown"),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
        "marigramVersion": env!("CARGO_PKG_VERSION"),
    });
    answer::fixed(&info.to_string())
}

/// `/-/healthy`: the process answers.
pub async fn healthy() -> &'static str {
    "Marigram is healthy.\n"
}

/// `/-/ready`: the role does its work.
pub async fn ready(State(app): State<Arc<App>>) -> Response {
    match app.readiness() {
        Ok(()) => "Marigram is ready.\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("Marigram is not ready: {reason}.\n")).into_response(),
    }
}

/// `/api/v1/status/cluster`
pub async fn cluster(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    let status = tokio::task::spawn_blocking(move || app.service().map(Service::cluster_status)).await;
    match status {
        Ok(Some(status)) => Ok(answer::fixed(&status.to_string())),
        _ => Err(ApiError::unavailable("the role has not started yet")),
    }
}

/// `/api/v1/status/walreplay`: also while the log is being replayed.
pub async fn wal_replay(State(app): State<Arc<App>>) -> Response {
    let so_far = app.settings.store.replay.so_far();
    let state = match so_far.state {
        ReplayState::Waiting => "waiting",
        ReplayState::InProgress => "in progress",
        ReplayState::Done => "done",
    };
    let progress =
        serde_json::json!({"min": so_far.first, "max": so_far.last, "current": so_far.current, "state": state});
    answer::fixed(&progress.to_string())
}

/// The own metrics in the classic text format.
pub(super) async fn own_metrics(app: Arc<App>) -> Result<String, ApiError> {
    let text = tokio::task::spawn_blocking(move || app.telemetry.render(&app)).await;
    text.map_err(|_| ApiError::new(ErrorType::Internal, "metrics could not be written"))
}

/// `/metrics`
pub async fn metrics(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    let text = own_metrics(app).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
