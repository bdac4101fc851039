//! From a socket's task to a thread that may block: takes a place, runs the work under the request's deadline, and
//! cancels it when the client goes away.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use marigram_query::merge::Deduplicated;
use marigram_query::source::Source;
use marigram_query::{Engine, RangeCache};
use marigram_storage::context::Context;
use marigram_storage::model::labels::METRIC_NAME;
use marigram_storage::model::tenant::TenantId;
use marigram_storage::turns;

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::active::{Asked, Ticket};
use super::admission::{Gate, Refused};
use super::compress::{Packed, Packer};
use super::error::{ApiError, ErrorType};
use super::params::{Params, invalid};
use crate::app::App;
use crate::service::{Reader, Service};

/// Pieces of a streamed answer that may wait for the client to take them.
const PIECES_AHEAD: usize = 2;
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
    /// What the answer's body may be.
    pub packer: Packer,
    /// What is asked, for people who watch the server.
    pub asked: Asked,
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
        let text = match params.get("query") {
            Some(query) => query.to_owned(),
            None => params.all("match[]").collect::<Vec<_>>().join(" "),
        };
        let asked = Asked { endpoint: "", text };
        let (partial, packer) = (params.flag("partial_response", false)?, params.packer());
        Ok(ReadOptions { tenant, timeout, replica_labels, partial, packer, asked })
    }

    /// The same for a route.
    #[must_use]
    pub fn of(mut self, endpoint: &'static str) -> Self {
        self.asked.endpoint = endpoint;
        self
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
    /// Answers of range queries over the source, where some are kept.
    pub cache: Option<&'a RangeCache>,
    /// Tenant, deadline, memory; what was missing.
    pub context: &'a Context,
    /// How long the request waited for its place.
    pub waited: Duration,
    /// Packs the answer.
    pub packer: Packer,
}

impl Work<'_> {
    /// Packs an answer's body.
    pub fn pack(&self, body: Vec<u8>) -> Packed {
        self.packer.pack(self.engine, body)
    }
}

/// A request that has its place.
struct Placed {
    app: Arc<App>,
    context: Context,
    ticket: Ticket,
    waited: Duration,
    replica_labels: Vec<String>,
    packer: Packer,
    _place: OwnedSemaphorePermit,
}

/// Waits for a place; the first part cancels the request when it is dropped.
async fn enter(app: &Arc<App>, places: Places, options: ReadOptions) -> Result<(CancelOnDrop, Placed), ApiError> {
    app.reader().map_err(ApiError::unavailable)?;
    let ReadOptions { tenant, timeout, replica_labels, partial, packer, asked } = options;
    let timeout = timeout.min(app.service().and_then(Service::query_timeout_max).unwrap_or(Duration::MAX));
    let clock = Arc::clone(&app.env.clock);
    let context = Context::new(tenant, clock, Some(timeout), app.settings.query.memory_budget_bytes);
    let context = if partial { context.allow_partial() } else { context };
    let guard = CancelOnDrop(context.clone());
    let ticket = Ticket::new(app, asked, &context);
    let place = match places(app).enter(timeout).await {
        Ok(place) => place,
        Err(reason) => {
            app.telemetry.query_refused(reason);
            ticket.done("no place");
            return Err(refused(reason));
        }
    };
    let waited = ticket.placed();
    app.telemetry.query_waited(waited);
    Ok((guard, Placed { app: Arc::clone(app), context, ticket, waited, replica_labels, packer, _place: place }))
}

impl Placed {
    /// Does the work, on a thread that may block.
    fn work<T>(self, work: impl FnOnce(&Work<'_>) -> Result<T, ApiError>) -> Result<T, ApiError> {
        let Placed { app, context, ticket, waited, replica_labels, packer, _place } = self;
        let reader = app.reader().map_err(ApiError::unavailable)?;
        // What is taken of which replica depends on where a range begins.
        let cache = reader.cache.as_ref().filter(|_| replica_labels.is_empty());
        let source = source(reader, replica_labels);
        let engine = &reader.engine;
        let result = work(&Work { source: &*source, engine, cache, context: &context, waited, packer });
        ticket.done(result.as_ref().map_or_else(|error| error.error_type.name(), |_| "success"));
        result
    }
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
    let (_guard, placed) = enter(app, places, options).await?;
    let job = app.reads.run(move || placed.work(work));
    job.await.unwrap_or_else(|_| Err(failed_unexpectedly()))
}

fn failed_unexpectedly() -> ApiError {
    ApiError::new(ErrorType::Internal, "the request failed unexpectedly")
}

/// A part of a streamed answer.
enum Piece {
    Data(Vec<u8>),
    Failed(ApiError),
    /// The answer is whole.
    End,
}

/// Where the pieces of a streamed answer go.
pub struct Outlet {
    sender: mpsc::Sender<Piece>,
    context: Context,
}

impl Outlet {
    /// Hands a piece to the client; waits while it is slow, until the request's deadline.
    ///
    /// # Errors
    /// The client has gone, or the deadline has passed.
    pub fn send(&self, data: Vec<u8>) -> marigram_storage::Result<()> {
        self.context.check()?;
        let left = self.context.time_left().unwrap_or(Duration::MAX);
        let sent = tokio::time::timeout(left, self.sender.send(Piece::Data(data)));
        match turns::without(|| tokio::runtime::Handle::current().block_on(sent)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(marigram_storage::Error::Cancelled),
            Err(_) => Err(marigram_storage::Error::Timeout),
        }
    }
}

/// Runs `work` as [`run`] does, but hands its answer over piece by piece. An error before the first piece is the answer; a
/// later one breaks the connection off, so that nobody takes a part for the whole.
///
/// # Errors
/// Those of [`run`].
pub async fn stream(
    app: &Arc<App>,
    places: Places,
    options: ReadOptions,
    work: impl FnOnce(&Work<'_>, &Outlet) -> Result<(), ApiError> + Send + 'static,
) -> Result<Body, ApiError> {
    let (guard, placed) = enter(app, places, options).await?;
    let (sender, mut pieces) = mpsc::channel(PIECES_AHEAD);
    let outlet = Outlet { sender, context: placed.context.clone() };
    app.reads.run(move || {
        let last = match placed.work(|work_at_hand| work(work_at_hand, &outlet)) {
            Ok(()) => Piece::End,
            Err(error) => Piece::Failed(error),
        };
        // Nobody is left to tell when this fails.
        let _ = turns::without(|| outlet.sender.blocking_send(last));
    });
    let first = match pieces.recv().await {
        Some(Piece::Data(data)) => data,
        Some(Piece::Failed(error)) => return Err(error),
        Some(Piece::End) => return Ok(Body::empty()),
        None => return Err(failed_unexpectedly()),
    };
    let state = (Some(first), pieces, guard);
    Ok(Body::from_stream(stream::unfold(state, |(first, mut pieces, guard)| async move {
        let piece = match first {
            Some(data) => Some(Piece::Data(data)),
            None => pieces.recv().await,
        };
        let item = match piece {
            Some(Piece::End) => return None,
            Some(Piece::Data(data)) => Ok(Bytes::from(data)),
            Some(Piece::Failed(error)) => Err(std::io::Error::other(error.message)),
            None => Err(std::io::Error::other("the answer broke off")),
        };
        Some((item, (None, pieces, guard)))
    })))
}

/// The answer to a request that got no place.
pub fn refused(refused: Refused) -> ApiError {
    match refused {
        Refused::QueueFull => ApiError::unavailable("too many queries are waiting"),
        Refused::TimedOut => ApiError::new(ErrorType::Timeout, "query timed out in query queue"),
    }
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
