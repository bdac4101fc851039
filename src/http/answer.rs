//! Bodies of successful answers.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use marigram_query::json;

use super::compress::Packed;

/// The type of most bodies.
const JSON: &str = "application/json";

/// A JSON body that is already written.
pub fn json(body: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, JSON)], body).into_response()
}

/// A JSON body that is packed.
pub fn packed(body: Packed) -> Response {
    body.into_response(JSON)
}

/// The envelope of success around `data`, with what is missing in it, and the warning of a cut list where it was cut.
pub fn success(missing: Vec<String>, truncated: bool, data: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut warnings = missing;
    warnings.extend(truncated.then(|| super::query::TRUNCATED.to_owned()));
    let mut body = Vec::new();
    json::write_success(&mut body, &warnings, &[], data);
    body
}

/// The envelope of success around JSON that is written as it stands.
pub fn fixed(data: &str) -> Response {
    json(success(Vec::new(), false, |out| out.extend_from_slice(data.as_bytes())))
}
