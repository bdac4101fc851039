//! The ways in: remote write 1.0 and text expositions.
//!
//! 1. Content type and encoding are judged by the headers alone: what is not taken is not read.
//! 2. A slot and, as the body arrives, a share of the byte budget are taken, or the answer is 503 at once. The share
//!    is grown to what the body announces and to the most that it can decode to, before it is decompressed.
//! 3. Decoding and storing run on a thread that may block; the answer is given when the good samples are durable.
//! 4. 503 goes before 400: the sender repeats the request as a whole, and repeating is harmless.

use std::io::Read;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use marigram_storage::model::tenant::TenantId;
use marigram_storage::write::WriteSeries;

use super::admission::Share;
use super::error::WriteError;
use super::request::{self, BodyError, media_type};
use crate::app::App;
use crate::ingest::exposition::{self, TextOptions};
use crate::ingest::{DecodeError, Decoded, IngestLimits, TimeBounds, write_v1};
use crate::service::Sink;

/// How much a gzipped text is expected to grow; beyond it, decompression goes on in small steps.
const GZIP_FACTOR: usize = 10;

/// `/api/v1/write`
pub async fn remote_write(State(app): State<Arc<App>>, request: Request) -> Result<StatusCode, WriteError> {
    remote_write_headers(request.headers())?;
    take(app, request, |app, sink, tenant, body, share| {
        // A body that announces nothing readable is refused by the decoder.
        let announced = snap::raw::decompress_len(&body).unwrap_or(0).min(app.settings.write.max_request_bytes);
        let limits = limits(app);
        let decoded = announced.saturating_add(write_v1::decoded_bytes_max(announced, &limits));
        reserve(share, body.len().saturating_add(decoded))?;
        let recognise = |tenant: &TenantId, series: &mut [WriteSeries]| sink.recognise(tenant, series);
        write_v1::decode_for(tenant, &body, &limits, bounds(app), &app.arenas, &recognise).map_err(WriteError::from)
    })
    .await
}

/// `/api/v1/import/prometheus`: the text that Prometheus scrapes; samples without a time get the present one.
pub async fn import(State(app): State<Arc<App>>, request: Request) -> Result<StatusCode, WriteError> {
    let gzip = is_gzip(request.headers())?;
    let openmetrics = is_openmetrics(request.headers());
    take(app, request, move |app, _, tenant, body, share| {
        let text = if gzip { gunzip(app, &body, share)? } else { body };
        let limits = limits(app);
        reserve(share, text.len().saturating_add(exposition::decoded_bytes_max(text.len(), &limits)))?;
        let options = TextOptions { default_timestamp_ms: app.env.clock.now_ms(), openmetrics, extra_labels: &[] };
        Ok(exposition::decode(tenant, &text, &limits, bounds(app), options))
    })
    .await
}

/// Remote write says `application/x-protobuf` and `snappy`; a header that is absent is taken to mean that, as
/// Prometheus does.
fn remote_write_headers(headers: &HeaderMap) -> Result<(), WriteError> {
    let unsupported = |message: &str| Err(WriteError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    if let Some(content_type) = headers.get(header::CONTENT_TYPE) {
        let content_type = content_type.to_str().unwrap_or("?").to_ascii_lowercase();
        if media_type(&content_type) != "application/x-protobuf" {
            return unsupported("the content type must be application/x-protobuf");
        }
        let mut parameters = content_type.split(';').skip(1).filter_map(|parameter| parameter.trim().split_once('='));
        let message = parameters.find(|(name, _)| *name == "proto").map(|(_, message)| message.trim_matches('"'));
        if message.is_some_and(|message| message != "prometheus.writerequest") {
            return unsupported("only remote write 1.0 (proto=prometheus.WriteRequest) is taken");
        }
    }
    match headers.get(header::CONTENT_ENCODING) {
        Some(encoding) if !encoding.as_bytes().eq_ignore_ascii_case(b"snappy") => {
            unsupported("the content encoding must be snappy")
        }
        _ => Ok(()),
    }
}

fn is_gzip(headers: &HeaderMap) -> Result<bool, WriteError> {
    match headers.get(header::CONTENT_ENCODING).map(|encoding| encoding.as_bytes().to_ascii_lowercase()).as_deref() {
        None | Some(b"" | b"identity") => Ok(false),
        Some(b"gzip") => Ok(true),
        Some(_) => {
            Err(WriteError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the content encoding must be gzip or identity"))
        }
    }
}

fn is_openmetrics(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    media_type(content_type).eq_ignore_ascii_case("application/openmetrics-text")
}

/// Steps 2 to 4, the same for all formats; `decode` makes a batch of the body.
async fn take(
    app: Arc<App>,
    request: Request,
    decode: impl FnOnce(&App, &dyn Sink, TenantId, Vec<u8>, &mut Share) -> Result<Decoded, WriteError> + Send + 'static,
) -> Result<StatusCode, WriteError> {
    let (parts, body) = request.into_parts();
    let tenant =
        request::tenant(&parts.headers).map_err(|message| WriteError::new(StatusCode::BAD_REQUEST, message))?;
    app.sink().map_err(WriteError::unavailable)?;
    let Some(slot) = app.writes.try_enter() else {
        return Err(WriteError::unavailable("too many writes are under way"));
    };
    app.reads.note_write();
    let mut share = app.write_bytes.share();
    let max_bytes = app.settings.write.max_request_bytes;
    let body =
        request::body(&app, body, max_bytes, |total| share.grow_to(total)).await.map_err(|error| match error {
            BodyError::TooLarge => too_large(format!("the body is larger than {max_bytes} bytes")),
            BodyError::NoRoom => no_room(),
            BodyError::Broken => WriteError::new(StatusCode::BAD_REQUEST, "the body could not be read"),
            BodyError::Slow => WriteError::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"),
        })?;
    let job = tokio::task::spawn_blocking(move || {
        let _slot = slot;
        let sink = app.sink().map_err(WriteError::unavailable)?;
        let decoded = decode(&app, sink, tenant, body, &mut share)?;
        store(&app, sink, decoded)
    });
    let panicked = |_| Err(WriteError::new(StatusCode::INTERNAL_SERVER_ERROR, "the write failed unexpectedly"));
    job.await.unwrap_or_else(panicked)
}

/// Stores what is good, then says what was not.
fn store(app: &App, sink: &dyn Sink, decoded: Decoded) -> Result<StatusCode, WriteError> {
    let Decoded { batch, refused, exemplars_ignored } = decoded;
    let samples = batch.sample_count() as u64;
    if let Err(error) = sink.append(batch) {
        app.check_poison();
        return Err(error.into());
    }
    app.telemetry.stored(samples, exemplars_ignored);
    for (reason, count) in refused.by_reason().filter(|(_, count)| *count > 0) {
        app.telemetry.refused(reason.as_str(), count);
    }
    match refused.is_empty() {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(WriteError::new(StatusCode::BAD_REQUEST, refused.to_string())),
    }
}

/// Decompresses a text in steps, so that a bomb is noticed before it is large.
fn gunzip(app: &App, body: &[u8], share: &mut Share) -> Result<Vec<u8>, WriteError> {
    let limit = app.settings.write.max_request_bytes;
    let mut decoder = flate2::read::MultiGzDecoder::new(body);
    let mut text = Vec::new();
    let mut step = body.len().saturating_mul(GZIP_FACTOR).clamp(1 << 16, limit.max(1 << 16));
    loop {
        reserve(share, body.len().saturating_add(text.len()).saturating_add(step))?;
        let read = decoder.by_ref().take(step as u64).read_to_end(&mut text);
        let read = read.map_err(|error| {
            WriteError::new(StatusCode::BAD_REQUEST, format!("the body is not valid gzip: {error}"))
        })?;
        if text.len() > limit {
            return Err(too_large(format!("the text is larger than {limit} bytes")));
        }
        if read < step {
            return Ok(text);
        }
        step = 1 << 16;
    }
}

fn reserve(share: &mut Share, bytes: usize) -> Result<(), WriteError> {
    if share.grow_to(bytes) { Ok(()) } else { Err(no_room()) }
}

fn no_room() -> WriteError {
    WriteError::unavailable("the writes under way hold all the memory that they may")
}

fn too_large(message: String) -> WriteError {
    WriteError::new(StatusCode::PAYLOAD_TOO_LARGE, message)
}

impl From<DecodeError> for WriteError {
    fn from(error: DecodeError) -> Self {
        // Also what announces too much: a body that is not decoded, for whatever reason, is answered 400.
        WriteError::new(StatusCode::BAD_REQUEST, error.to_string())
    }
}

/// The limits of one request's content.
pub fn limits(app: &App) -> IngestLimits {
    let write = &app.settings.write;
    IngestLimits {
        labels_max: write.max_labels,
        label_name_bytes_max: write.max_name_bytes,
        label_value_bytes_max: write.max_value_bytes,
        request_bytes_max: write.max_request_bytes,
    }
}

/// Which timestamps are taken now.
pub fn bounds(app: &App) -> TimeBounds {
    TimeBounds::at(app.env.clock.now_ms(), app.settings.retention_ms)
}
