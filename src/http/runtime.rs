//! How the process was started: `/api/v1/status/config`, `flags` and `runtimeinfo`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use marigram_query::parse::duration::format_duration;
use serde_json::json;

use super::answer;
use crate::app::App;
use crate::calendar::format_rfc3339;
use crate::storage_node::host_name;
use crate::telemetry::process;

/// `/api/v1/status/flags`: every flag of the role with its value.
pub async fn flags(State(app): State<Arc<App>>) -> Response {
    answer::fixed(&json!(app.settings.flags).to_string())
}

/// `/api/v1/status/config`: there is no file, so this is what of Prometheus' configuration flags decide here.
pub async fn config(State(app): State<Arc<App>>) -> Response {
    let settings = &app.settings;
    let mut yaml = String::from("global: {}\n");
    if let Some(interval) = settings.self_scrape_interval {
        let interval = format_duration(i64::try_from(interval.as_millis()).unwrap_or(i64::MAX));
        yaml = format!("global:\n  scrape_interval: {interval}\n");
    }
    if settings.retention_ms > 0 {
        let retention = format_duration(settings.retention_ms);
        yaml.push_str(&format!("storage:\n  tsdb:\n    retention:\n      time: {retention}\n"));
    }
    answer::fixed(&json!({ "yaml": yaml }).to_string())
}

/// `/api/v1/status/runtimeinfo`. What only Go has is empty; its routines are threads here.
pub async fn runtime_info(State(app): State<Arc<App>>) -> Response {
    let started = format_rfc3339(app.telemetry.started_ms());
    let retention_ms = app.settings.retention_ms;
    let folder = std::env::current_dir().map(|folder| folder.to_string_lossy().into_owned()).unwrap_or_default();
    let info = json!({
        "startTime": started,
        "CWD": folder,
        "hostname": host_name::get(),
        "serverTime": format_rfc3339(app.env.clock.now_ms()),
        "reloadConfigSuccess": true,
        "lastConfigTime": started,
        "corruptionCount": app.store().map_or(0, |db| db.stats().damage),
        "goroutineCount": process::threads().unwrap_or(0),
        "GOMAXPROCS": std::thread::available_parallelism().map_or(1, usize::from),
        "GOMEMLIMIT": i64::MAX,
        "GOGC": "",
        "GODEBUG": "",
        "storageRetention": if retention_ms > 0 { format_duration(retention_ms) } else { String::new() },
    });
    answer::fixed(&info.to_string())
}
