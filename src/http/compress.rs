//! Compression of large answers: they take so long that a task which serves sockets must not do it.
//!
//! 1. A body is cut into parts; several threads for reads compress each its own, while the first ones are on their way
//!    to the client.
//! 2. A part ends at a byte's end, without a last block but for the last part: one after the other they are one
//!    DEFLATE stream, which is a gzip file (RFC 1952) with a header before it and checksum and length behind.

use std::io;
use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress, Status};
use futures_util::{StreamExt, future, stream};
use marigram_query::Parallelism;

use super::error::{ApiError, ErrorType};
use crate::app::App;
use crate::reads::Reads;

/// Shorter bodies are compressed on the way.
const LARGE_BYTES: u64 = 64 << 10;
/// Bytes of a part. Its beginning knows nothing of the part before it.
const PART_BYTES: usize = 128 << 10;
/// Member header: DEFLATE, no name, no time, fastest level, of an unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];

/// Compresses large bodies for clients that take gzip; leaves all others as they are.
pub async fn large(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let wanted = takes_gzip(request.headers());
    let response = next.run(request).await;
    let is_large = response.body().size_hint().exact().is_some_and(|bytes| bytes >= LARGE_BYTES);
    if !wanted || !is_large || response.headers().contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // Its length is known because all of it is there.
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
        return ApiError::new(ErrorType::Internal, "the answer broke off").into_response();
    };
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    Response::from_parts(parts, gzip(body, app.reads.clone()))
}

/// Whether one of the codings in `Accept-Encoding` is gzip, with a weight that is not zero.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok());
        ["gzip", "x-gzip"].iter().any(|gzip| name.trim().eq_ignore_ascii_case(gzip)) && weight.is_none_or(|q| q > 0.0)
    })
}

fn gzip(body: Bytes, reads: Reads) -> Body {
    let length = body.len();
    let parts = length.div_ceil(PART_BYTES).max(1);
    let jobs = (0..parts).map(move |part| {
        let bytes = body.slice(part * PART_BYTES..length.min((part + 1) * PART_BYTES));
        let is_last = part + 1 == parts;
        let job = reads.run(move || (part, deflate(&bytes, is_last), crc_of(&bytes)));
        async { job.await.map_err(io::Error::other) }
    });
    let compressed = stream::iter(jobs).buffered(Parallelism::processors());
    let framed = compressed.scan(crc32fast::Hasher::new(), move |crc, done| {
        let framed = done.map(|(part, deflated, part_crc)| {
            crc.combine(&part_crc);
            let mut bytes = if part == 0 { HEADER.to_vec() } else { Vec::new() };
            bytes.extend_from_slice(&deflated);
            if part + 1 == parts {
                bytes.extend_from_slice(&crc.clone().finalize().to_le_bytes());
                // Modulo 2^32, as the format has it.
                bytes.extend_from_slice(&(length as u32).to_le_bytes());
            }
            Bytes::from(bytes)
        });
        future::ready(Some(framed))
    });
    Body::from_stream(framed)
}

fn crc_of(bytes: &[u8]) -> crc32fast::Hasher {
    let mut crc = crc32fast::Hasher::new();
    crc.update(bytes);
    crc
}

/// Answers are long rows of digits: what levels above the fastest save is little beside the time that they take.
fn deflate(mut bytes: &[u8], is_last: bool) -> Vec<u8> {
    let mut compress = Compress::new(Compression::fast(), false);
    let mut out = Vec::with_capacity(bytes.len() / 4 + 64);
    let flush = if is_last { FlushCompress::Finish } else { FlushCompress::Sync };
    loop {
        let before = compress.total_in();
        // Compression as such has no errors.
        let status = compress.compress_vec(bytes, &mut out, flush).unwrap_or(Status::StreamEnd);
        bytes = &bytes[(compress.total_in() - before) as usize..];
        let has_ended =
            if is_last { status == Status::StreamEnd } else { bytes.is_empty() && out.len() < out.capacity() };
        if has_ended {
            return out;
        }
        out.reserve(out.len().max(64));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use http_body_util::BodyExt;
    use proptest::prelude::*;

    use super::*;

    fn there_and_back(plain: Vec<u8>) -> (usize, Vec<u8>) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let body = gzip(plain.into(), Reads::new(runtime.handle().clone(), None));
        let packed = runtime.block_on(body.collect()).unwrap().to_bytes();
        let mut back = Vec::new();
        // One member alone: clients do not look for another one.
        flate2::bufread::GzDecoder::new(&packed[..]).read_to_end(&mut back).unwrap();
        (packed.len(), back)
    }

    #[test]
    fn parts_are_one_file() {
        for length in [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES, 5 * PART_BYTES + 77] {
            let plain: Vec<u8> =
                (0..).flat_map(|i| format!("[{i},\"{}\"],", i * 7919 % 1000).into_bytes()).take(length).collect();
            let (packed, back) = there_and_back(plain.clone());
            assert!(back == plain, "{length}");
            assert!(packed < 100 + length / 2, "{packed} of {length}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// What cannot be compressed needs more room than the output was given.
        #[test]
        fn noise_comes_back(seed in any::<u64>(), length in 0usize..(2 * PART_BYTES + 1000)) {
            let mut state = seed | 1;
            let plain: Vec<u8> = std::iter::repeat_with(|| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            }).take(length).collect();
            prop_assert!(there_and_back(plain.clone()).1 == plain);
        }
    }

    #[test]
    fn who_takes_gzip() {
        let takes = |value: &'static str| {
            takes_gzip(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(value))]))
        };
        for yes in ["gzip", "deflate, GZIP;q=0.5", "br,gzip", "x-gzip", "gzip; q=1.0"] {
            assert!(takes(yes), "{yes}");
        }
        for no in ["", "br", "gzip;q=0", "gzip;q=0.000", "notgzip", "*"] {
            assert!(!takes(no), "{no}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
