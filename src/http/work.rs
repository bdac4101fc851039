//! From a socket's task to a thread that may block: takes a place, runs the work under the request's deadline, and
//! cancels it when the client goes away.

use std::sync::Arc;
use std::time::Duration;

use marigram_storage::context::Context;
use marigram_storage::model::tenant::TenantId;

use super::admission::{Gate, Refused};
use super::error::{ApiError, ErrorType};
use crate::app::App;
use crate::service::Reader;

/// Cancels on drop: the task of a request is dropped when its connection closes.
struct CancelOnDrop(Context);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Which places a piece of work takes.
pub type Places = fn(&App) -> &Gate;

/// Runs `work` on a thread of its own, at most `timeout` from now, waiting included.
///
/// # Errors
/// The work's own, no place, not ready, or a panic (a bug, answered as such).
pub async fn run<T: Send + 'static>(
    app: &Arc<App>,
    places: Places,
    tenant: TenantId,
    timeout: Duration,
    work: impl FnOnce(&Reader, &Context) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    app.reader().map_err(ApiError::unavailable)?;
    let clock = Arc::clone(&app.env.clock);
    let context = Context::new(tenant, clock, Some(timeout), app.settings.query.memory_budget_bytes);
    let _guard = CancelOnDrop(context.clone());
    let place = places(app).enter(timeout).await.map_err(|refused| match refused {
        Refused::QueueFull => ApiError::unavailable("too many queries are waiting"),
        Refused::TimedOut => ApiError::new(ErrorType::Timeout, "query timed out in query queue"),
    })?;
    let app = Arc::clone(app);
    let job = tokio::task::spawn_blocking(move || {
        let _place = place;
        work(app.reader().map_err(ApiError::unavailable)?, &context)
    });
    job.await.unwrap_or_else(|_| Err(ApiError::new(ErrorType::Internal, "the request failed unexpectedly")))
}
