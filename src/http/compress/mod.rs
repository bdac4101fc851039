//! Compression of answers, on the threads that make them: those that serve sockets have others to serve.
//!
//! 1. A short body is compressed in one piece.
//! 2. A long one is made in parts, each by whichever thread has time, and compressed there at once.
//! 3. A part ends at a byte's end, without a last block: one after the other, with a last block behind them, they are one DEFLATE
//!    stream, which is a gzip file (RFC 1952) with a header before it and checksum and length behind. It is one member: browsers do not
//!    look for another one.

mod deflate;

use std::ops::Range;

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use marigram_query::Engine;

use deflate::deflate;

/// Shorter bodies stay as they are: they would hardly become shorter.
const SHORT_BYTES: usize = 32;
/// Longer bodies are cut into parts.
const WHOLE_BYTES: usize = 64 << 10;
/// About how long a part is. Its beginning knows nothing of the part before it.
const PART_BYTES: usize = 40 << 10;
/// Member header: DEFLATE, no name, no time, fastest level, of an unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];

/// What an answer's body may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packer {
    takes_gzip: bool,
}

/// A body as it goes to the client.
#[derive(Debug)]
pub struct Packed {
    body: Vec<u8>,
    is_gzip: bool,
}

impl Packer {
    /// As a request's headers have it.
    pub fn new(headers: &HeaderMap) -> Self {
        Packer { takes_gzip: takes_gzip(headers) }
    }

    /// Packs a body in one piece.
    pub fn pack_whole(self, body: Vec<u8>) -> Packed {
        match self.takes_gzip && body.len() >= SHORT_BYTES {
            true => Packed { body: join(vec![Part::new(&body)]), is_gzip: true },
            false => Packed { body, is_gzip: false },
        }
    }

    /// Packs a body.
    pub fn pack(self, engine: &Engine, body: Vec<u8>) -> Packed {
        if !self.takes_gzip || body.len() <= WHOLE_BYTES {
            return self.pack_whole(body);
        }
        let lengths: Vec<usize> = body.chunks(PART_BYTES).map(<[u8]>::len).collect();
        let cuts = cut(&lengths);
        let made = engine.in_parts(cuts.len(), move |part| {
            let chunks = cuts.get(part).cloned().unwrap_or_default();
            let end = body.len().min(chunks.end * PART_BYTES);
            Part::new(body.get(chunks.start * PART_BYTES..end).unwrap_or_default())
        });
        Packed { body: join(made), is_gzip: true }
    }

    /// Makes and packs a body that consists of `rows`, each of about so many bytes. `write` is called with neighbouring ones after the
    /// other, until there are no more; at least once.
    pub fn pack_rows(
        self,
        engine: &Engine,
        rows: &[usize],
        write: impl Fn(&mut Vec<u8>, Range<usize>) + Send + Sync + 'static,
    ) -> Packed {
        let bytes: usize = rows.iter().sum();
        let cuts = cut(rows);
        if bytes <= WHOLE_BYTES || cuts.len() == 1 {
            let mut body = Vec::with_capacity(bytes);
            write(&mut body, 0..rows.len());
            return self.pack(engine, body);
        }
        let (parts, part_bytes) = (cuts.len(), PART_BYTES + PART_BYTES / 4);
        let write = move |part: usize| {
            let mut body = Vec::with_capacity(part_bytes);
            cuts.get(part).cloned().into_iter().for_each(|rows| write(&mut body, rows));
            body
        };
        match self.takes_gzip {
            true => {
                let made = engine.in_parts(parts, move |part| Part::new(&write(part)));
                Packed { body: join(made), is_gzip: true }
            }
            false => Packed { body: engine.in_parts(parts, write).concat(), is_gzip: false },
        }
    }
}

/// Cuts rows of these lengths into parts. There is at least one.
fn cut(rows: &[usize]) -> Vec<Range<usize>> {
    let (mut parts, mut from, mut part_bytes) = (Vec::new(), 0, 0);
    for (row, bytes) in rows.iter().enumerate() {
        part_bytes += bytes;
        if part_bytes >= PART_BYTES {
            parts.push(from..row + 1);
            (from, part_bytes) = (row + 1, 0);
        }
    }
    if from < rows.len() || parts.is_empty() {
        parts.push(from..rows.len());
    }
    parts
}

impl Packed {
    /// The answer that it is the body of.
    pub fn into_response(self, content_type: impl AsRef<str>) -> Response {
        let mut response = ([(header::CONTENT_TYPE, content_type.as_ref())], self.body).into_response();
        let headers = response.headers_mut();
        // Caches on the way must tell both kinds apart.
        headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
        if self.is_gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
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

/// A compressed part.
struct Part {
    deflated: Vec<u8>,
    crc: crc32fast::Hasher,
    bytes: usize,
}

impl Part {
    fn new(bytes: &[u8]) -> Self {
        let mut crc = crc32fast::Hasher::new();
        crc.update(bytes);
        Part { deflated: deflate(bytes), crc, bytes: bytes.len() }
    }
}

/// The file that parts are.
fn join(parts: Vec<Part>) -> Vec<u8> {
    let deflated: usize = parts.iter().map(|part| part.deflated.len()).sum();
    let mut out = Vec::with_capacity(HEADER.len() + deflated + deflate::END.len() + 8);
    out.extend_from_slice(&HEADER);
    let (mut crc, mut bytes) = (crc32fast::Hasher::new(), 0);
    for part in parts {
        out.extend_from_slice(&part.deflated);
        crc.combine(&part.crc);
        bytes += part.bytes;
    }
    out.extend_from_slice(&deflate::END);
    out.extend_from_slice(&crc.finalize().to_le_bytes());
    // Modulo 2^32, as the format has it.
    out.extend_from_slice(&(bytes as u32).to_le_bytes());
    out
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use marigram_query::{EngineOptions, Parallelism};
    use proptest::prelude::*;

    use super::*;

    const GZIP: Packer = Packer { takes_gzip: true };

    fn engine() -> Engine {
        let parallelism = Parallelism { workers: 3, ..Parallelism::default() };
        Engine::new(EngineOptions { parallelism, ..EngineOptions::default() })
    }

    fn unpacked(packed: &Packed) -> Vec<u8> {
        if !packed.is_gzip {
            return packed.body.clone();
        }
        let mut back = Vec::new();
        let mut file = flate2::bufread::GzDecoder::new(&packed.body[..]);
        file.read_to_end(&mut back).unwrap();
        // One member alone: clients do not look for another one.
        assert!(file.into_inner().is_empty());
        back
    }

    fn rows(count: usize) -> Vec<Vec<u8>> {
        (0..count).map(|i| format!("[{i},\"{}\"],", i * 7919 % 1000).repeat(i % 50).into_bytes()).collect()
    }

    #[test]
    fn a_body_comes_back_however_long_it_is() {
        let (engine, all) = (engine(), rows(20_000).concat());
        for length in
            [0, 1, SHORT_BYTES - 1, SHORT_BYTES, WHOLE_BYTES, WHOLE_BYTES + 1, 5 * PART_BYTES, 7 * PART_BYTES + 77]
        {
            let plain = &all[..length];
            let packed = GZIP.pack(&engine, plain.to_vec());
            assert_eq!(packed.is_gzip, length >= SHORT_BYTES);
            assert!(unpacked(&packed) == plain, "{length}");
            assert!(packed.body.len() < 300 + length / 2, "{} of {length}", packed.body.len());
            assert!(!Packer::default().pack(&engine, plain.to_vec()).is_gzip);
        }
    }

    #[test]
    fn rows_are_one_body_however_many_they_are() {
        let engine = engine();
        for count in [0, 1, 2, 100, 3000] {
            for packer in [GZIP, Packer::default()] {
                let (rows, all) = (rows(count), rows(count).concat());
                let lengths: Vec<usize> = rows.iter().map(Vec::len).collect();
                let packed = packer.pack_rows(&engine, &lengths, move |out, range| {
                    let ends = (range.start == 0, range.end == rows.len());
                    out.extend(ends.0.then_some(b'<'));
                    out.extend_from_slice(&rows[range].concat());
                    out.extend(ends.1.then_some(b'>'));
                });
                assert!(unpacked(&packed) == [&b"<"[..], &all, b">"].concat(), "{count}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// What cannot be compressed needs more room than the output was given.
        #[test]
        fn noise_comes_back(seed in any::<u64>(), length in 0usize..(4 * PART_BYTES + 1000)) {
            let mut state = seed | 1;
            let plain: Vec<u8> = std::iter::repeat_with(|| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            }).take(length).collect();
            prop_assert!(unpacked(&GZIP.pack(&engine(), plain.clone())) == plain);
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
