//! The requests that read data and are not answered yet: who asks what, for how long, and what it holds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use marigram_storage::context::Context;
use parking_lot::Mutex;
use serde_json::json;

use super::answer;
use super::error::ApiError;
use super::request::{TENANT_HEADER, tenant};
use crate::app::App;
use crate::calendar::format_rfc3339;

/// Longest text that is kept of a request, in bytes.
const TEXT_BYTES_MAX: usize = 4 << 10;

/// All active requests.
#[derive(Debug, Default)]
pub struct ActiveQueries {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    running: BTreeMap<u64, Arc<ActiveQuery>>,
}

/// A request.
#[derive(Debug)]
pub struct ActiveQuery {
    /// What is asked.
    pub asked: Asked,
    /// When it came, milliseconds since the Unix epoch.
    pub started_ms: i64,
    /// When it came, on the monotonic clock.
    pub started: Duration,
    /// When it got its place, on the monotonic clock; `None`: it waits.
    placed: Mutex<Option<Duration>>,
    /// Tenant, memory, samples.
    pub context: Context,
}

/// What a request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The route.
    pub endpoint: &'static str,
    /// The query, or the selectors.
    pub text: String,
}

/// An entry, taken out on drop.
pub struct Ticket {
    app: Arc<App>,
    number: u64,
    query: Arc<ActiveQuery>,
}

impl ActiveQuery {
    /// How long it waited for its place, or waits already.
    pub fn waited(&self, now: Duration) -> Duration {
        self.placed.lock().unwrap_or(now).saturating_sub(self.started)
    }

    fn document(&self, number: u64, now: Duration) -> serde_json::Value {
        let tally = self.context.tally();
        json!({
            "id": number,
            "endpoint": self.asked.endpoint,
            "query": self.asked.text,
            "tenant": self.context.tenant().as_str(),
            "state": if self.placed.lock().is_some() { "running" } else { "waiting" },
            "start": format_rfc3339(self.started_ms),
            "ageSeconds": now.saturating_sub(self.started).as_secs_f64(),
            "queueSeconds": self.waited(now).as_secs_f64(),
            "samplesQueryable": tally.samples_queryable.load(Ordering::Relaxed),
            "samplesHeld": tally.samples_held.load(Ordering::Relaxed),
            "samplesPeak": tally.samples_peak.load(Ordering::Relaxed),
            "bytesReserved": self.context.budget_used(),
        })
    }
}

impl Ticket {
    /// Enters a request.
    pub fn new(app: &Arc<App>, mut asked: Asked, context: &Context) -> Self {
        if asked.text.len() > TEXT_BYTES_MAX {
            asked.text.truncate(asked.text.floor_char_boundary(TEXT_BYTES_MAX));
            asked.text.push('…');
        }
        let query = Arc::new(ActiveQuery {
            asked,
            started_ms: app.env.clock.now_ms(),
            started: app.env.clock.monotonic(),
            placed: Mutex::new(None),
            context: context.clone(),
        });
        let mut inner = app.active.inner.lock();
        let number = inner.next;
        inner.next += 1;
        inner.running.insert(number, Arc::clone(&query));
        drop(inner);
        Ticket { app: Arc::clone(app), number, query }
    }

    /// Notes that the request has got its place; says how long it waited.
    pub fn placed(&self) -> Duration {
        let now = self.app.env.clock.monotonic();
        *self.query.placed.lock() = Some(now);
        self.query.waited(now)
    }

    /// Logs and counts the request if it took long; to be called when it is done.
    pub fn done(self, outcome: &str) {
        let Some(slow) = self.app.settings.query.log_slow else { return };
        let now = self.app.env.clock.monotonic();
        let took = now.saturating_sub(self.query.started);
        if took < slow {
            return;
        }
        let tally = self.query.context.tally();
        self.app.telemetry.slow_query();
        tracing::warn!(
            endpoint = self.query.asked.endpoint,
            query = self.query.asked.text,
            tenant = self.query.context.tenant().as_str(),
            outcome,
            seconds = took.as_secs_f64(),
            queue_seconds = self.query.waited(now).as_secs_f64(),
            samples_queryable = tally.samples_queryable.load(Ordering::Relaxed),
            samples_peak = tally.samples_peak.load(Ordering::Relaxed),
            "slow query"
        );
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.app.active.inner.lock().running.remove(&self.number);
    }
}

/// `/api/v1/status/active_queries`: the oldest first. With a tenant's header only the tenant's.
pub async fn active_queries(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let only = match request.headers().contains_key(TENANT_HEADER) {
        true => Some(tenant(request.headers()).map_err(ApiError::bad_data)?),
        false => None,
    };
    let now = app.env.clock.monotonic();
    let running: Vec<_> =
        app.active.inner.lock().running.iter().map(|(number, query)| (*number, Arc::clone(query))).collect();
    let shown = running.iter().filter(|(_, query)| only.as_ref().is_none_or(|only| query.context.tenant() == only));
    let documents: Vec<_> = shown.map(|(number, query)| query.document(*number, now)).collect();
    Ok(answer::fixed(&json!({"activeQueries": documents}).to_string()))
}
