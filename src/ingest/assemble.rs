//! Puts a batch together: labels checked and normalised, samples judged, refusals collected.

use std::ops::Range;

use marigram_storage::model::labels::{LabelError, LabelIter, METRIC_NAME, SeriesId, check_canonical, normalise};
use marigram_storage::model::sample::Sample;
use marigram_storage::model::tenant::TenantId;
use marigram_storage::write::{FamilyMetadata, MetadataEntry, MetadataKind, WriteBatch, WriteSeries};

use super::{Decoded, IngestLimits, Reason, Refusals, TimeBounds};

/// Longest text of a family's metadata that is kept; longer ones are cut.
const METADATA_TEXT_BYTES_MAX: usize = 1024;

/// A batch in the making.
pub(super) struct Assembly<'a> {
    limits: &'a IngestLimits,
    bounds: TimeBounds,
    pub(super) batch: WriteBatch,
    pub(super) refused: Refusals,
    pub(super) exemplars_ignored: u64,
    /// The samples of the series that is being read.
    pending_from: usize,
}

/// Where a series' label bytes are, once they are canonical.
pub(super) type LabelRange = Range<usize>;

impl<'a> Assembly<'a> {
    /// An empty batch of `tenant`.
    pub(super) fn new(tenant: TenantId, limits: &'a IngestLimits, bounds: TimeBounds) -> Self {
        let batch = WriteBatch { tenant, ..WriteBatch::default() };
        Assembly { limits, bounds, batch, refused: Refusals::default(), exemplars_ignored: 0, pending_from: 0 }
    }

    /// Adds a sample to the series that is being read.
    #[inline]
    pub(super) fn push_sample(&mut self, timestamp_ms: i64, value: f64) {
        self.batch.samples.push(Sample { timestamp_ms, value });
    }

    /// How many samples the series that is being read has so far.
    pub(super) fn pending(&self) -> u64 {
        (self.batch.samples.len() - self.pending_from) as u64
    }

    /// Ends a series whose labels are canonical bytes, which will lie at `range` of the arena.
    pub(super) fn end_canonical(&mut self, labels: &[u8], range: LabelRange) {
        match self.check_limits(labels) {
            Ok(()) => self.end_series(labels, range),
            Err((reason, text)) => self.refuse(reason, || text),
        }
    }

    /// Ends a series whose labels came in some other form: normalises them into `extra`, which will be appended to the arena
    /// at `extra_at`.
    #[cold]
    pub(super) fn end_raw(&mut self, labels: &mut Vec<(&[u8], &[u8])>, extra: &mut Vec<u8>, extra_at: usize) {
        let from = extra.len();
        match normalise(labels, extra) {
            Err(error) => self.refuse_labels(&error, labels),
            Ok(()) => {
                let canonical = extra.get(from..).unwrap_or_default();
                self.end_canonical(canonical, extra_at + from..extra_at + from + canonical.len());
            }
        }
    }

    /// Gives up the series that is being read, with all its samples.
    pub(super) fn refuse(&mut self, reason: Reason, text: impl FnOnce() -> String) {
        let count = self.pending();
        self.refused.add(reason, count, text);
        self.batch.samples.truncate(self.pending_from);
    }

    #[cold]
    fn refuse_labels(&mut self, error: &LabelError, labels: &[(&[u8], &[u8])]) {
        self.refuse(Reason::BadLabels, || format!("{error}: {}", describe(labels.iter().copied())));
    }

    fn check_limits(&self, labels: &[u8]) -> Result<(), (Reason, String)> {
        let limits = self.limits;
        let (mut count, mut named) = (0, false);
        for (name, value) in LabelIter::over(labels) {
            count += 1;
            named |= name == METRIC_NAME;
            if name.len() > limits.label_name_bytes_max || value.len() > limits.label_value_bytes_max {
                let (part, length, limit) = match name.len() > limits.label_name_bytes_max {
                    true => ("name", name.len(), limits.label_name_bytes_max),
                    false => ("value", value.len(), limits.label_value_bytes_max),
                };
                let text =
                    format!("the {part} of label {} has {length} bytes, at most {limit} are taken", shortened(name));
                return Err((Reason::LabelLimit, format!("{text}: {}", describe_canonical(labels))));
            }
        }
        if count > limits.labels_max {
            let text =
                format!("{count} labels, at most {} are taken: {}", limits.labels_max, describe_canonical(labels));
            return Err((Reason::LabelLimit, text));
        }
        if !named {
            return Err((Reason::BadLabels, format!("{}: {}", LabelError::NoMetricName, describe_canonical(labels))));
        }
        Ok(())
    }

    fn end_series(&mut self, labels: &[u8], range: LabelRange) {
        self.judge_times(labels);
        let samples = self.pending_from..self.batch.samples.len();
        if !samples.is_empty() {
            self.batch.series.push(WriteSeries { id: SeriesId::of(labels), labels: range, samples });
        }
        self.pending_from = self.batch.samples.len();
    }

    /// Takes out the samples of the series that are too old or too new.
    fn judge_times(&mut self, labels: &[u8]) {
        let bounds = self.bounds;
        let judge = |sample: &Sample| match bounds.oldest_ms {
            Some(oldest_ms) if sample.timestamp_ms < oldest_ms => Some(Reason::TooOld),
            _ if sample.timestamp_ms > bounds.newest_ms => Some(Reason::TooNew),
            _ => None,
        };
        let pending = self.batch.samples.get(self.pending_from..).unwrap_or_default();
        if pending.iter().all(|sample| judge(sample).is_none()) {
            return;
        }
        let all = self.batch.samples.split_off(self.pending_from);
        for sample in all {
            match judge(&sample) {
                None => self.batch.samples.push(sample),
                Some(reason) => self.refused.add(reason, 1, || {
                    let fault = match (reason, bounds.oldest_ms) {
                        (Reason::TooOld, Some(oldest)) => {
                            format!("is older than the retention, which begins at {oldest}")
                        }
                        _ => format!("is too far in the future, at most {} is taken", bounds.newest_ms),
                    };
                    format!("timestamp {} {fault}: {}", sample.timestamp_ms, describe_canonical(labels))
                }),
            }
        }
    }

    /// Adds metadata of a family; texts are made UTF-8 and cut to a bounded length, a nameless family is left out.
    pub(super) fn push_metadata(&mut self, family: &[u8], kind: MetadataKind, help: &[u8], unit: &[u8]) {
        let limit = self.limits.label_value_bytes_max;
        match std::str::from_utf8(family) {
            Ok(name) if !name.is_empty() && name.len() <= limit => {
                let entry = MetadataEntry { kind, help: text_of(help), unit: text_of(unit) };
                self.batch.metadata.push(FamilyMetadata { family: name.to_owned(), entry });
            }
            _ => {}
        }
    }

    /// The batch, its label bytes in `arena`.
    pub(super) fn finish(mut self, arena: Vec<u8>) -> Decoded {
        self.batch.arena = arena;
        Decoded { batch: self.batch, refused: self.refused, exemplars_ignored: self.exemplars_ignored }
    }
}

/// Whether a series' label bytes can be used as they came.
#[inline]
pub(super) fn is_canonical(labels: &[u8]) -> bool {
    check_canonical(labels).is_ok()
}

fn text_of(bytes: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    text.truncate(text.floor_char_boundary(METADATA_TEXT_BYTES_MAX));
    text
}

/// A text for people, cut to a readable length.
fn shortened(text: &str) -> String {
    let end = text.floor_char_boundary(64);
    if end < text.len() { format!("{:?}…", &text[..end]) } else { format!("{text:?}") }
}

fn describe_canonical(labels: &[u8]) -> String {
    describe(LabelIter::over(labels).map(|(name, value)| (name.as_bytes(), value.as_bytes())))
}

/// `{a="b", …}` of labels in any state, bounded.
fn describe<'b>(labels: impl Iterator<Item = (&'b [u8], &'b [u8])>) -> String {
    let pairs: Vec<String> = labels
        .take(8)
        .map(|(name, value)| {
            let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
            format!("{}={}", name.get(..name.floor_char_boundary(64)).unwrap_or_default(), shortened(&value))
        })
        .collect();
    format!("{{{}}}", pairs.join(", "))
}
