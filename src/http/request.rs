//! What every handler needs of a request: its tenant, its parameters, its body, each within bounds.

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, Method, StatusCode, header};
use http_body_util::BodyExt;
use marigram_storage::model::tenant::TenantId;

use super::compress::Packer;
use super::error::ApiError;
use super::params::Params;
use crate::app::App;

/// The header that names the tenant.
pub const TENANT_HEADER: &str = "x-scope-orgid";

/// Largest form of a query: the limit that Go's HTTP server has, and thereby Prometheus.
const MAX_FORM_BYTES: usize = 10 << 20;

/// Memory that is taken for a body before it has arrived: Prometheus' default request of 2,000 samples fits.
const AHEAD_BYTES_MAX: usize = 128 << 10;

/// The tenant that a request names, or the default one.
///
/// # Errors
/// A sentence that says what is wrong with the header.
pub fn tenant(headers: &HeaderMap) -> Result<TenantId, String> {
    let mut names = headers.get_all(TENANT_HEADER).iter();
    let Some(name) = names.next() else { return Ok(TenantId::default()) };
    if names.next().is_some() {
        return Err("the header X-Scope-OrgID is given more than once".to_owned());
    }
    let name = name.to_str().map_err(|_| "the header X-Scope-OrgID is not text".to_owned())?;
    TenantId::parse(name).map_err(|error| format!("X-Scope-OrgID: {error}"))
}

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// It is longer than allowed.
    TooLarge,
    /// There is no room for it now.
    NoRoom,
    /// The client broke off.
    Broken,
    /// It did not arrive in time.
    Slow,
}

/// Reads a body of at most `max_bytes`; `room(n)` is asked before `n` bytes in all are held.
///
/// # Errors
/// [`BodyError`].
pub async fn body(
    app: &App,
    body: Body,
    max_bytes: usize,
    room: impl FnMut(usize) -> bool,
) -> Result<Vec<u8>, BodyError> {
    let read = read_body(body, max_bytes, room);
    tokio::time::timeout(app.settings.write.body_timeout, read).await.unwrap_or(Err(BodyError::Slow))
}

async fn read_body(
    mut body: Body,
    max_bytes: usize,
    mut room: impl FnMut(usize) -> bool,
) -> Result<Vec<u8>, BodyError> {
    // What is announced need not come: no more is taken ahead than an ordinary write has.
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut out = Vec::with_capacity(announced.min(max_bytes).min(AHEAD_BYTES_MAX));
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        let total = out.len().saturating_add(data.len());
        if total > max_bytes {
            return Err(BodyError::TooLarge);
        }
        if !room(total) {
            return Err(BodyError::NoRoom);
        }
        out.extend_from_slice(&data);
    }
    Ok(out)
}

/// Tenant and parameters of a read request.
///
/// # Errors
/// A bad tenant name, or a form that cannot be read.
pub async fn read_request(app: &App, request: axum::extract::Request) -> Result<(TenantId, Params), ApiError> {
    let (parts, payload) = request.into_parts();
    let tenant = tenant(&parts.headers).map_err(ApiError::bad_data)?;
    let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let is_form = media_type(content_type).eq_ignore_ascii_case("application/x-www-form-urlencoded");
    let form = if is_form && parts.method != Method::GET {
        body(app, payload, MAX_FORM_BYTES, |_| true).await.map_err(|error| match error {
            BodyError::TooLarge => {
                ApiError::bad_data("the form is larger than 10 MiB").with_status(StatusCode::PAYLOAD_TOO_LARGE)
            }
            BodyError::Slow => ApiError::bad_data("the form did not arrive in time"),
            BodyError::NoRoom | BodyError::Broken => ApiError::bad_data("the form could not be read"),
        })?
    } else {
        Vec::new()
    };
    Ok((tenant, Params::new(&form, parts.uri.query()).with_packer(Packer::new(&parts.headers))))
}

/// Whether a request is to be answered without anything that is kept for others: what the caches in front of Prometheus heed.
pub fn no_store(headers: &HeaderMap) -> bool {
    let directives = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    directives.flat_map(|value| value.split(',')).any(|directive| directive.trim().eq_ignore_ascii_case("no-store"))
}

/// The type of a `Content-Type` without its parameters.
pub fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}
