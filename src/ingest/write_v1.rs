//! Remote write 1.0: Snappy and protobuf to a batch.
//!
//! 1. The body is decompressed, bounded, into the memory that becomes the batch's arena.
//! 2. The request is walked once: samples go to one vector and are judged by their times, labels are located and hashed as they
//!    came. Exemplars are counted. A series with histograms is read once more for them ([`super::histograms`]).
//! 3. The store is asked for all series at once. Labels are looked into only where it does not know a series ([`super::settle`]): those
//!    of a well-behaved sender are canonical as they come and stay where they are; other labels are normalised into extra
//!    bytes behind the body.
//!
//! A request of `n` bytes holds at most `n +` [`decoded_bytes_max`]`(n)` bytes of memory while it is decoded; the buckets of
//! histograms may hold twice of their part of it.

use std::sync::Arc;

use marigram_proto::wire::WireError;
use marigram_proto::write_v1::{Entries, Entry};
use marigram_storage::model::tenant::TenantId;
use marigram_storage::write::{Arena, ArenaPool, MetadataKind};

use super::assemble::Assembly;
use super::{DecodeError, Decoded, IngestLimits, Recognise, TimeBounds, recognise_none, snappy};

/// How much a request may grow: the smallest series of an honest sender has 26 bytes (one label, a sample with the value
/// 0 left out), and takes 80, and its labels once more where they are not canonical.
const GROWTH_MAX: usize = 4;
/// What even the smallest request may hold.
const DECODED_BYTES_MIN: usize = 64 << 10;
/// A series of one sample and about ten labels: memory for that many is taken at once.
const SERIES_BYTES: usize = 256;

/// Most bytes that a request of `body_bytes` (decompressed) may hold beside its body. Samples behind it are refused.
pub fn decoded_bytes_max(body_bytes: usize, limits: &IngestLimits) -> usize {
    body_bytes.saturating_mul(GROWTH_MAX).min(limits.request_bytes_max).max(DECODED_BYTES_MIN)
}

/// Decodes a compressed request of which no series is known, as far as anybody says.
///
/// # Errors
/// A body that is not Snappy, too large, or not a `WriteRequest`: nothing of it is to be stored.
pub fn decode(
    tenant: TenantId,
    body: &[u8],
    limits: &IngestLimits,
    bounds: TimeBounds,
) -> Result<Decoded, DecodeError> {
    decode_for(tenant, body, limits, bounds, &Arc::default(), &recognise_none)
}

/// Decodes a compressed request for a store that may know its series.
///
/// # Errors
/// A body that is not Snappy, too large, or not a `WriteRequest`: nothing of it is to be stored.
pub fn decode_for(
    tenant: TenantId,
    body: &[u8],
    limits: &IngestLimits,
    bounds: TimeBounds,
    arenas: &Arc<ArenaPool>,
    recognise: Recognise<'_>,
) -> Result<Decoded, DecodeError> {
    let plain = snappy::decompress(body, limits.request_bytes_max, arenas)?;
    decode_arena(tenant, plain, limits, bounds, recognise)
}

/// Decodes a decompressed request of which no series is known, as far as anybody says.
///
/// # Errors
/// The body is not a `WriteRequest`.
pub fn decode_plain(
    tenant: TenantId,
    body: Vec<u8>,
    limits: &IngestLimits,
    bounds: TimeBounds,
) -> Result<Decoded, DecodeError> {
    decode_arena(tenant, body.into(), limits, bounds, &recognise_none)
}

fn decode_arena(
    tenant: TenantId,
    mut body: Arena,
    limits: &IngestLimits,
    bounds: TimeBounds,
    recognise: Recognise<'_>,
) -> Result<Decoded, DecodeError> {
    let bytes_max = decoded_bytes_max(body.len(), limits);
    let mut assembly = Assembly::new(tenant, &body, limits, bounds, bytes_max, recognise);
    assembly.expect_series(body.len() / SERIES_BYTES);
    walk(&body, &mut assembly).map_err(|error| DecodeError::Malformed(error.to_string()))?;
    let (mut decoded, extra) = assembly.finish();
    body.reserve_exact(extra.len());
    body.extend_from_slice(&extra);
    decoded.batch.arena = body;
    Ok(decoded)
}

fn walk<'a>(body: &'a [u8], assembly: &mut Assembly<'a>) -> Result<(), WireError> {
    let mut entries = Entries::new(body);
    while let Some(entry) = entries.next_entry()? {
        match entry {
            Entry::Series(series) => {
                let parts = series.read(|timestamp_ms, value| assembly.push_sample(timestamp_ms, value))?;
                assembly.end_parts(series, &parts)?;
            }
            Entry::Metadata(m) => assembly.push_metadata(m.family, MetadataKind::from_number(m.kind), m.help, m.unit),
        }
    }
    assembly.settle();
    assembly.fault.take().map_or(Ok(()), Err)
}

#[cfg(test)]
#[path = "write_v1_test.rs"]
mod tests;
