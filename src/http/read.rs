//! `/api/v1/read`: remote read.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::params::Params;
use super::request::{self, BodyError};
use super::work::{self, ReadOptions};
use crate::app::App;
use crate::ingest::DecodeError;
use crate::remote_read::{self, RemoteReadError};

/// Largest compressed request: matchers and ranges of a few queries.
const MAX_BODY_BYTES: usize = 1 << 20;

/// Answers with one Snappy-compressed message of samples.
pub async fn remote_read(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let tenant = request::tenant(&parts.headers).map_err(ApiError::bad_data)?;
    let body = request::body(&app, body, MAX_BODY_BYTES, |_| true).await.map_err(|error| match error {
        BodyError::TooLarge => too_large("the request is larger than 1 MiB".to_owned()),
        BodyError::NoRoom | BodyError::Broken => ApiError::bad_data("the body could not be read"),
        BodyError::Slow => ApiError::bad_data("the body did not arrive in time"),
    })?;
    // The protocol has no place for any parameter, but a client's URL has. Nor has it one for warnings: no answer is short.
    let options = ReadOptions::new(&app, tenant, &Params::new(b"", parts.uri.query()))?;
    let options = ReadOptions { partial: false, ..options };
    let samples_max = app.settings.query.max_samples as u64;
    let answer = work::run(
        &app,
        |app| &app.lookups,
        options,
        move |work| remote_read::answer(&body, work.source, work.context, samples_max).map_err(ApiError::from),
    );
    let headers = [(header::CONTENT_TYPE, "application/x-protobuf"), (header::CONTENT_ENCODING, "snappy")];
    Ok((headers, answer.await?).into_response())
}

fn too_large(message: String) -> ApiError {
    ApiError::bad_data(message).with_status(StatusCode::PAYLOAD_TOO_LARGE)
}

impl From<RemoteReadError> for ApiError {
    fn from(error: RemoteReadError) -> Self {
        match error {
            RemoteReadError::Storage(error) => error.into(),
            RemoteReadError::Decode(error @ DecodeError::TooLarge { .. }) => too_large(error.to_string()),
            RemoteReadError::Decode(_) | RemoteReadError::BadRequest(_) => ApiError::bad_data(error.to_string()),
        }
    }
}
