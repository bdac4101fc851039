//! The text formats that exporters write: Prometheus' own and OpenMetrics.
//!
//! One line at a time: comments are skipped, `# TYPE`, `# HELP` and `# UNIT` become metadata, every other line is one sample.
//! A line that does not parse is refused with its number; the others are kept. Work is linear in the text, and memory
//! bounded by [`decoded_bytes_max`].

pub(crate) mod line;
mod metadata;

use marigram_storage::model::tenant::TenantId;

use super::assemble::Assembly;
use super::{Decoded, IngestLimits, Reason, TimeBounds, recognise_none};
use line::{Line, SampleLine};
use metadata::Families;

/// How much a text may grow: the shortest line, `a 1`, takes 80 bytes for series and sample, and 15 for its labels.
const GROWTH_MAX: usize = 24;
/// What even the shortest text may hold.
const DECODED_BYTES_MIN: usize = 64 << 10;
/// Longest line; a series at the limits has a third of it.
const LINE_BYTES_MAX: usize = 1 << 20;

/// Most bytes that a text of `text_bytes` may hold beside itself once decoded. Samples behind it are refused.
pub fn decoded_bytes_max(text_bytes: usize, limits: &IngestLimits) -> usize {
    text_bytes.saturating_mul(GROWTH_MAX).min(limits.request_bytes_max).max(DECODED_BYTES_MIN)
}

/// How to read a text.
#[derive(Clone, Copy, Debug, Default)]
pub struct TextOptions<'a> {
    /// For samples without a timestamp.
    pub default_timestamp_ms: i64,
    /// OpenMetrics: timestamps are seconds, exemplars may follow, `# EOF` ends the text.
    pub openmetrics: bool,
    /// Labels that every series gets; one of the same name in the text becomes `exported_<name>`.
    pub extra_labels: &'a [(&'a str, &'a str)],
}

/// Decodes a text.
pub fn decode(
    tenant: TenantId,
    text: &[u8],
    limits: &IngestLimits,
    bounds: TimeBounds,
    options: TextOptions<'_>,
) -> Decoded {
    let bytes_max = decoded_bytes_max(text.len(), limits);
    // Labels of a text are always normalised, so none lie in a body.
    let mut assembly = Assembly::new(tenant, &[], limits, bounds, bytes_max, &recognise_none);
    let mut families = Families::default();
    let mut sample = SampleLine::default();
    for (index, bytes) in text.split(|byte| *byte == b'\n').enumerate() {
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        let line = match bytes.len() > LINE_BYTES_MAX {
            true => Err("the line is longer than 1 MiB"),
            false => line::read(bytes, options.openmetrics, &mut sample),
        };
        match line {
            Ok(Line::Blank) => {}
            Ok(Line::End) => break,
            Ok(Line::Metadata(metadata)) => families.add(metadata),
            Ok(Line::Sample) => {
                assembly.exemplars_ignored += u64::from(sample.has_exemplar);
                assembly.push_sample(sample.timestamp_ms.unwrap_or(options.default_timestamp_ms), sample.value);
                sample.add_labels(options.extra_labels);
                assembly.end_raw(&mut sample.labels());
            }
            Err(fault) => assembly.refused.add(Reason::BadLine, 1, || format!("line {}: {fault}", index + 1)),
        }
    }
    families.finish(&mut assembly);
    let (mut decoded, labels) = assembly.finish();
    decoded.batch.arena = labels.into();
    decoded
}

#[cfg(test)]
#[path = "exposition/exposition_test.rs"]
mod tests;
