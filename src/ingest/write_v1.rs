//! Remote write 1.0: Snappy and protobuf to a batch.
//!
//! 1. The body is decompressed, bounded, into the memory that becomes the batch's arena.
//! 2. The request is walked once. The label bytes of a well-behaved sender are canonical as they come and stay where they
//!    are; other labels are normalised into extra bytes behind the body.
//! 3. Each sample is judged by its time; histograms are refused, exemplars counted.
//!
//! A request of `n` bytes holds at most `n +` [`decoded_bytes_max`]`(n)` bytes of memory while it is decoded.

use marigram_proto::wire::WireError;
use marigram_proto::write_v1::{Entries, Entry, LabelFields, Series};
use marigram_storage::model::tenant::TenantId;
use marigram_storage::write::MetadataKind;

use super::assemble::{Assembly, is_canonical};
use super::{DecodeError, Decoded, IngestLimits, RAW_LABELS_MAX, Reason, TimeBounds, snappy};

/// How much a request may grow: the smallest series of an honest sender has 26 bytes (one label, a sample with the value
/// 0 left out), and takes 64, and its labels once more where they are not canonical.
const GROWTH_MAX: usize = 4;
/// What even the smallest request may hold.
const DECODED_BYTES_MIN: usize = 64 << 10;

/// Most bytes that a request of `body_bytes` (decompressed) may hold beside its body. Samples behind it are refused.
pub fn decoded_bytes_max(body_bytes: usize, limits: &IngestLimits) -> usize {
    body_bytes.saturating_mul(GROWTH_MAX).min(limits.request_bytes_max).max(DECODED_BYTES_MIN)
}

/// Decodes a compressed request.
///
/// # Errors
/// A body that is not Snappy, too large, or not a `WriteRequest`: nothing of it is to be stored.
pub fn decode(
    tenant: TenantId,
    body: &[u8],
    limits: &IngestLimits,
    bounds: TimeBounds,
) -> Result<Decoded, DecodeError> {
    decode_plain(tenant, snappy::decompress(body, limits.request_bytes_max)?, limits, bounds)
}

/// Decodes a decompressed request.
///
/// # Errors
/// The body is not a `WriteRequest`.
pub fn decode_plain(
    tenant: TenantId,
    mut body: Vec<u8>,
    limits: &IngestLimits,
    bounds: TimeBounds,
) -> Result<Decoded, DecodeError> {
    let mut assembly = Assembly::new(tenant, limits, bounds, decoded_bytes_max(body.len(), limits));
    let mut extra = Vec::new();
    walk(&body, &mut assembly, &mut extra).map_err(|error| DecodeError::Malformed(error.to_string()))?;
    body.reserve_exact(extra.len());
    body.extend_from_slice(&extra);
    Ok(assembly.finish(body))
}

fn walk(body: &[u8], assembly: &mut Assembly<'_>, extra: &mut Vec<u8>) -> Result<(), WireError> {
    let mut entries = Entries::new(body);
    let mut labels = Vec::new();
    while let Some(entry) = entries.next_entry()? {
        match entry {
            Entry::Series(series) => read_series(series, body.len(), assembly, &mut labels, extra)?,
            Entry::Metadata(m) => assembly.push_metadata(m.family, MetadataKind::from_number(m.kind), m.help, m.unit),
        }
    }
    Ok(())
}

fn read_series<'a>(
    series: Series<'a>,
    body_bytes: usize,
    assembly: &mut Assembly<'_>,
    labels: &mut Vec<(&'a [u8], &'a [u8])>,
    extra: &mut Vec<u8>,
) -> Result<(), WireError> {
    let parts = series.read(|timestamp_ms, value| assembly.push_sample(timestamp_ms, value))?;
    assembly.exemplars_ignored += parts.exemplars;
    if parts.histograms > 0 {
        let text = "native histograms are not supported yet";
        assembly.refused.add(Reason::Histogram, parts.histograms, || text.to_owned());
    }
    if parts.contiguous && is_canonical(parts.labels) {
        assembly.end_canonical(parts.labels, parts.labels_offset..parts.labels_offset + parts.labels.len());
        return Ok(());
    }
    labels.clear();
    let mut fields = LabelFields::new(parts.labels);
    let mut count = 0;
    while let Some(label) = fields.next_label()? {
        count += 1;
        // Empty ones do not count, but a label of two bytes must not take 32 of memory without end.
        if count <= RAW_LABELS_MAX {
            labels.push(label);
        }
    }
    if count > RAW_LABELS_MAX {
        assembly.refuse(Reason::LabelLimit, || format!("{count} labels, at most {RAW_LABELS_MAX} are looked at"));
    } else {
        assembly.end_raw(labels, extra, body_bytes);
    }
    Ok(())
}

#[cfg(test)]
#[path = "write_v1_test.rs"]
mod tests;
