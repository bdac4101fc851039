//! From a socket's task to a thread that may block: takes a place, runs the work under the request's deadline, and
//! cancels it when the client goes away.

use std::sync::Arc;
use std::time::Duration;

use marigram_query::Engine;
use marigram_query::merge::Deduplicated;
use marigram_query::source::Source;
use marigram_storage::context::Context;
use marigram_storage::model::labels::METRIC_NAME;
use marigram_storage::model::tenant::TenantId;

use super::admission::{Gate, Refused};
use super::error::{ApiError, ErrorType};
use super::params::{Params, invalid};
use crate::app::App;
use crate::service::{Reader, Service};

/// Most replica labels that a request may name: every series is looked through for each.
const REPLICA_LABELS_MAX: usize = 32;

/// Cancels on drop: the task of a request is dropped when its connection closes.
struct CancelOnDrop(Context);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Which places a piece of work takes.
pub type Places = fn(&App) -> &Gate;

/// What every read request may ask for beside its own parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// Whose data.
    pub tenant: TenantId,
    /// Longest time, waiting included.
    pub timeout: Duration,
    /// Labels that tell replicas apart; series that differ in these alone become one. Empty: none do.
    pub replica_labels: Vec<String>,
    /// Whether an answer may be short, with a warning that says so.
    pub partial: bool,
}

impl ReadOptions {
    /// `timeout`, `dedup`, `replicaLabels[]` and `partial_response`; what is not given is as the settings say.
    ///
    /// # Errors
    /// The parameter that is wrong.
    pub fn new(app: &App, tenant: TenantId, params: &Params) -> Result<Self, ApiError> {
        let given: Vec<&str> = params.all(REPLICA_LABELS).collect();
        let labels = given.iter().filter(|label| !label.is_empty()).map(|label| (*label).to_owned());
        let mut replica_labels: Vec<String> =
            if given.is_empty() { app.settings.replica_labels.clone() } else { labels.collect() };
        if replica_labels.iter().any(|label| label == METRIC_NAME) {
            return Err(invalid(REPLICA_LABELS, "__name__ cannot tell replicas apart"));
        }
        if given.len() > REPLICA_LABELS_MAX {
            return Err(invalid(REPLICA_LABELS, &format!("at most {REPLICA_LABELS_MAX} labels are taken")));
        }
        if !params.flag("dedup", true)? {
            replica_labels.clear();
        }
        let timeout = params.timeout(app.settings.query.timeout)?;
        Ok(ReadOptions { tenant, timeout, replica_labels, partial: params.flag("partial_response", false)? })
    }
}

/// The parameter that names replica labels; it may repeat.
const REPLICA_LABELS: &str = "replicaLabels[]";

/// A read request at work.
pub struct Work<'a> {
    /// The data as the request wants to see it.
    pub source: &'a dyn Source,
    /// Evaluates PromQL.
    pub engine: &'a Engine,
    /// Tenant, deadline, memory; what was missing.
    pub context: &'a Context,
}

/// Runs `work` on a thread of its own, for no longer than the cluster allows.
///
/// # Errors
/// The work's own, no place, not ready, or a panic (a bug, answered as such).
pub async fn run<T: Send + 'static>(
    app: &Arc<App>,
    places: Places,
    options: ReadOptions,
    work: impl FnOnce(&Work<'_>) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    app.reader().map_err(ApiError::unavailable)?;
    let ReadOptions { tenant, timeout, replica_labels, partial } = options;
    let timeout = timeout.min(app.service().and_then(Service::query_timeout_max).unwrap_or(Duration::MAX));
    let clock = Arc::clone(&app.env.clock);
    let context = Context::new(tenant, clock, Some(timeout), app.settings.query.memory_budget_bytes);
    let context = if partial { context.allow_partial() } else { context };
    let _guard = CancelOnDrop(context.clone());
    let place = places(app).enter(timeout).await.map_err(|refused| match refused {
        Refused::QueueFull => ApiError::unavailable("too many queries are waiting"),
        Refused::TimedOut => ApiError::new(ErrorType::Timeout, "query timed out in query queue"),
    })?;
    let app = Arc::clone(app);
    let job = tokio::task::spawn_blocking(move || {
        let _place = place;
        let reader = app.reader().map_err(ApiError::unavailable)?;
        let source = source(reader, replica_labels);
        work(&Work { source: &*source, engine: &reader.engine, context: &context })
    });
    job.await.unwrap_or_else(|_| Err(ApiError::new(ErrorType::Internal, "the request failed unexpectedly")))
}

fn source(reader: &Reader, replica_labels: Vec<String>) -> Arc<dyn Source> {
    match replica_labels.is_empty() {
        true => Arc::clone(&reader.source),
        false => Arc::new(Deduplicated::new(Arc::clone(&reader.source), replica_labels)),
    }
}

#[cfg(test)]
#[path = "work_test.rs"]
mod tests;
