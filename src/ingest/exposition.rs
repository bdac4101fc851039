//! The text formats that exporters write: Prometheus' own and OpenMetrics.
//!
//! One line at a time: comments are skipped, `# TYPE`, `# HELP` and `# UNIT` become metadata, every other line is one sample.
//! A line that does not parse is refused with its number; the others are kept. Work is linear in the text.

mod line;
mod metadata;

use marigram_storage::model::tenant::TenantId;

use super::assemble::Assembly;
use super::{Decoded, IngestLimits, Reason, TimeBounds};
use line::{Line, SampleLine};
use metadata::Families;

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
    let mut assembly = Assembly::new(tenant, limits, bounds);
    let mut arena = Vec::new();
    let mut families = Families::default();
    let mut sample = SampleLine::default();
    for (index, bytes) in text.split(|byte| *byte == b'\n').enumerate() {
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        match line::read(bytes, options.openmetrics, &mut sample) {
            Ok(Line::Blank) => {}
            Ok(Line::End) => break,
            Ok(Line::Metadata(metadata)) => families.add(metadata),
            Ok(Line::Sample) => {
                assembly.exemplars_ignored += u64::from(sample.has_exemplar);
                assembly.push_sample(sample.timestamp_ms.unwrap_or(options.default_timestamp_ms), sample.value);
                sample.add_labels(options.extra_labels);
                assembly.end_raw(&mut sample.labels(), &mut arena, 0);
            }
            Err(fault) => assembly.refused.add(Reason::BadLine, 1, || format!("line {}: {fault}", index + 1)),
        }
    }
    families.finish(&mut assembly);
    assembly.finish(arena)
}

#[cfg(test)]
#[path = "exposition/exposition_test.rs"]
mod tests;
