//! The admin API, served only with `--enable-admin-api`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;

use super::error::{ApiError, ErrorType};
use crate::app::App;

/// `/api/v1/admin/tsdb/seal`: all open data of all tenants into blocks; answers when they are on disk.
pub async fn seal(State(app): State<Arc<App>>) -> Result<StatusCode, ApiError> {
    if !app.settings.admin_api {
        return Err(ApiError::unavailable("admin APIs disabled"));
    }
    let job = tokio::task::spawn_blocking(move || {
        let service = app.service().ok_or_else(|| ApiError::unavailable("the store is still being recovered"))?;
        let sealed = service.seal().map_err(ApiError::from);
        app.check_poison();
        sealed
    });
    job.await.unwrap_or_else(|_| Err(ApiError::new(ErrorType::Internal, "sealing failed unexpectedly")))?;
    Ok(StatusCode::NO_CONTENT)
}
