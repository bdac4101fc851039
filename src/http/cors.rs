//! Scripts of other sites may read the API, as Prometheus lets them by default.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

const API: &str = "/api/v1/";

/// Adds the headers to what the API answers, and answers `OPTIONS` for all of its paths.
pub async fn cors(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if !path.strip_prefix(super::PREFIX).unwrap_or(path).starts_with(API) {
        return next.run(request).await;
    }
    let origin = request.headers().get(header::ORIGIN).filter(|origin| !origin.is_empty()).cloned();
    let is_options = request.method() == Method::OPTIONS;
    let mut response = if is_options { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    allow(response.headers_mut(), origin);
    response
}

fn allow(headers: &mut HeaderMap, origin: Option<HeaderValue>) {
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_HEADERS, "Accept, Authorization, Content-Type, Origin"),
            (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
            (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}
