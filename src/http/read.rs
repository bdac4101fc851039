//! `/api/v1/read`: remote read.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use marigram_proto::prometheus::read_request::ResponseType;

use super::error::ApiError;
use super::params::Params;
use super::request::{self, BodyError};
use super::work::{self, ReadOptions};
use crate::app::App;
use crate::ingest::DecodeError;
use crate::remote_read::{self, RemoteReadError};
use crate::remote_read_chunks;

/// Largest compressed request: matchers and ranges of a few queries.
const MAX_BODY_BYTES: usize = 1 << 20;

/// Answers with one Snappy-compressed message of samples, or with a stream of chunks, whichever the client prefers.
pub async fn remote_read(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let tenant = request::tenant(&parts.headers).map_err(ApiError::bad_data)?;
    let body = request::body(&app, body, MAX_BODY_BYTES, |_| true).await.map_err(|error| match error {
        BodyError::TooLarge => too_large("the request is larger than 1 MiB".to_owned()),
        BodyError::NoRoom | BodyError::Broken => ApiError::bad_data("the body could not be read"),
        BodyError::Slow => ApiError::bad_data("the body did not arrive in time"),
    })?;
    let asked = remote_read::decode(&body)?;
    let kind = remote_read::response_type(&asked)?;
    // The protocol has no place for any parameter, but a client's URL has. Nor has it one for warnings: no answer is short.
    let options = ReadOptions::new(&app, tenant, &Params::new(b"", parts.uri.query()))?.of("/api/v1/read");
    let options = ReadOptions { partial: false, ..options };
    match kind {
        ResponseType::Samples => {
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
        ResponseType::StreamedXorChunks => {
            let answer = work::stream(
                &app,
                |app| &app.lookups,
                options,
                move |work, outlet| {
                    let mut emit = |frame| outlet.send(frame).map_err(RemoteReadError::from);
                    remote_read_chunks::answer(&asked, work.source, work.context, &mut emit).map_err(ApiError::from)
                },
            );
            Ok(([(header::CONTENT_TYPE, remote_read_chunks::CONTENT_TYPE)], answer.await?).into_response())
        }
    }
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
