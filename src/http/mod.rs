//! The HTTP API: sockets and parsing run on the async runtime, everything that reads, computes or waits for the disk
//! runs on threads that may block ([`work`]).

pub mod active;
pub mod admin;
pub mod admission;
pub mod answer;
pub mod compress;
pub mod cors;
pub mod discovery;
pub mod error;
pub mod federate;
pub mod language;
pub mod listener;
pub mod meta;
pub mod params;
pub mod query;
pub mod read;
pub mod request;
pub mod runtime;
pub mod search;
pub mod self_metrics;
pub mod status;
pub mod text_format;
pub mod tsdb;
pub mod work;
pub mod write;

use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;

use crate::app::App;
use crate::role::Role;
use error::{ApiError, ErrorType};

/// Everything is also served below this path, where a Prometheus behind a proxy often is.
const PREFIX: &str = "/prometheus";

/// All routes.
pub fn router(app: Arc<App>) -> Router {
    let role = app.settings.role;
    routes("", role)
        .merge(routes(PREFIX, role))
        // What higher levels save is little beside the time that they take.
        .layer(CompressionLayer::new().quality(CompressionLevel::Fastest))
        .merge(packing_routes("", role))
        .merge(packing_routes(PREFIX, role))
        .fallback(async || ApiError::new(ErrorType::NotFound, "there is no such path"))
        .method_not_allowed_fallback(async || {
            ApiError::bad_data("this path does not take this method").with_status(StatusCode::METHOD_NOT_ALLOWED)
        })
        .layer(middleware::from_fn(cors::cors))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), measure))
        .with_state(app)
}

fn routes(prefix: &str, role: Role) -> Router<Arc<App>> {
    let path = |path: &str| format!("{prefix}{path}");
    let mut router = Router::new()
        .route(&path("/api/v1/status/buildinfo"), get(status::buildinfo))
        .route(&path("/api/v1/status/cluster"), get(status::cluster))
        .route(&path("/api/v1/status/config"), get(runtime::config))
        .route(&path("/api/v1/status/flags"), get(runtime::flags))
        .route(&path("/api/v1/status/runtimeinfo"), get(runtime::runtime_info))
        .route(&path("/api/v1/status/self_metrics"), get(self_metrics::self_metrics))
        .route(&path("/api/v1/admin/tsdb/seal"), post(admin::seal).put(admin::seal))
        .route(&path("/metrics"), get(status::metrics))
        .route(&path("/-/healthy"), get(status::healthy))
        .route(&path("/-/ready"), get(status::ready));
    if role.has_store() {
        router = router.route(&path("/api/v1/status/walreplay"), get(status::wal_replay));
    }
    if role.answers_queries() {
        router = router
            .route(&path("/api/v1/features"), get(language::features))
            .route(&path("/api/v1/query_exemplars"), get(discovery::exemplars).post(discovery::exemplars))
            .route(&path("/api/v1/rules"), get(discovery::rules))
            .route(&path("/api/v1/alerts"), get(discovery::alerts))
            .route(&path("/api/v1/alertmanagers"), get(discovery::alertmanagers))
            .route(&path("/api/v1/scrape_pools"), get(discovery::scrape_pools))
            .route(&path("/api/v1/targets"), get(discovery::targets))
            .route(&path("/api/v1/targets/metadata"), get(discovery::targets_metadata))
            .route(&path("/api/v1/targets/relabel_steps"), get(discovery::relabel_steps))
            .route(&path("/api/v1/notifications"), get(discovery::notifications))
            .route(&path("/api/v1/notifications/live"), get(discovery::live_notifications))
            .route(&path("/api/v1/status/active_queries"), get(active::active_queries))
            .route(&path("/api/v1/status/tsdb"), get(tsdb::status))
            .route(&path("/api/v1/status/tsdb/blocks"), get(tsdb::blocks));
    }
    router
}

/// Routes whose answers are compressed where they are made, if at all.
fn packing_routes(prefix: &str, role: Role) -> Router<Arc<App>> {
    let path = |path: &str| format!("{prefix}{path}");
    let mut router = Router::new();
    if role.answers_queries() {
        router = router
            .route(&path("/api/v1/query"), get(query::instant).post(query::instant))
            .route(&path("/api/v1/query_range"), get(query::range).post(query::range))
            .route(&path("/api/v1/format_query"), get(language::format_query).post(language::format_query))
            .route(&path("/api/v1/parse_query"), get(language::parse_query).post(language::parse_query))
            .route(&path("/api/v1/labels"), get(meta::label_names).post(meta::label_names))
            .route(&path("/api/v1/label/{name}/values"), get(meta::label_values))
            .route(&path("/api/v1/series"), get(meta::series).post(meta::series))
            .route(&path("/api/v1/metadata"), get(meta::metadata))
            .route(&path("/api/v1/search/metric_names"), get(search::metric_names).post(search::metric_names))
            .route(&path("/api/v1/search/label_names"), get(search::label_names).post(search::label_names))
            .route(&path("/api/v1/search/label_values"), get(search::label_values).post(search::label_values))
            .route(&path("/federate"), get(federate::federate))
            .route(&path("/api/v1/read"), post(read::remote_read));
    }
    if role.takes_writes() {
        router = router
            .route(&path("/api/v1/write"), post(write::remote_write))
            .route(&path("/api/v1/push"), post(write::remote_write))
            .route(&path("/api/v1/receive"), post(write::remote_write))
            .route(&path("/api/v1/import/prometheus"), post(write::import));
    }
    router
}

/// Counts and times every request under the route that it matched, never under what the client typed.
async fn measure(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().cloned();
    let started = app.env.clock.monotonic();
    let response = next.run(request).await;
    let path = path.as_ref().map_or("unmatched", |path| path.as_str());
    let handler = path.strip_prefix(PREFIX).unwrap_or(path);
    let elapsed = app.env.clock.monotonic().saturating_sub(started);
    app.telemetry.request_done(handler, response.status().as_u16(), elapsed);
    response
}
