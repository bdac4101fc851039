//! Puts a batch together: labels checked and normalised, samples judged, refusals collected.
//!
//! A sample of two bytes on the wire (all its fields left out) takes sixteen in memory, and a series more, so a body's
//! length alone does not bound what it decodes to. The batch therefore counts its bytes, and refuses the samples behind
//! its limit, which no honest request reaches.

use std::ops::Range;

use marigram_storage::model::labels::{LabelError, LabelIter, METRIC_NAME, SeriesId, check_canonical, normalise};
use marigram_storage::model::sample::Sample;
use marigram_storage::model::tenant::TenantId;
use marigram_storage::write::{FamilyMetadata, MetadataEntry, MetadataKind, WriteBatch, WriteSeries};

use super::{Decoded, IngestLimits, Reason, Refusals, TimeBounds};

/// Longest text of a family's metadata that is kept; longer ones are cut.
const METADATA_TEXT_BYTES_MAX: usize = 1024;
/// What a family's metadata takes in memory beside its texts: the entry and three small allocations.
const METADATA_OVERHEAD_BYTES: usize = size_of::<FamilyMetadata>() + 3 * 16;

/// A batch in the making.
pub(super) struct Assembly<'a> {
    limits: &'a IngestLimits,
    bounds: TimeBounds,
    /// Most bytes that the batch may hold beside the body.
    bytes_max: usize,
    /// Held by series, normalised labels and metadata.
    bytes: usize,
    /// Samples of the series that is being read for which there was no room.
    crowded_out: u64,
    pub(super) batch: WriteBatch,
    pub(super) refused: Refusals,
    pub(super) exemplars_ignored: u64,
    /// The samples of the series that is being read.
    pending_from: usize,
}

/// Where a series' label bytes are, once they are canonical.
pub(super) type LabelRange = Range<usize>;

impl<'a> Assembly<'a> {
    /// An empty batch of `tenant` that may hold `bytes_max` beside the body.
    pub(super) fn new(tenant: TenantId, limits: &'a IngestLimits, bounds: TimeBounds, bytes_max: usize) -> Self {
        Assembly {
            limits,
            bounds,
            bytes_max,
            bytes: 0,
            crowded_out: 0,
            batch: WriteBatch { tenant, ..WriteBatch::default() },
            refused: Refusals::default(),
            exemplars_ignored: 0,
            pending_from: 0,
        }
    }

    #[inline]
    fn has_room(&self, more: usize) -> bool {
        self.batch.samples.len() * size_of::<Sample>() + self.bytes + more <= self.bytes_max
    }

    /// Adds a sample to the series that is being read.
    #[inline]
    pub(super) fn push_sample(&mut self, timestamp_ms: i64, value: f64) {
        // The series itself must still fit behind its last sample.
        if self.has_room(size_of::<Sample>() + size_of::<WriteSeries>()) {
            self.batch.samples.push(Sample { timestamp_ms, value });
        } else {
            self.crowded_out += 1;
        }
    }

    /// How many samples the series that is being read has so far.
    pub(super) fn pending(&self) -> u64 {
        (self.batch.samples.len() - self.pending_from) as u64 + self.crowded_out
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
        if let Err((reason, text)) = self.check_lengths(labels) {
            return self.refuse(reason, || text);
        }
        let (from, series_before) = (extra.len(), self.batch.series.len());
        match normalise(labels, extra) {
            Err(error) => self.refuse_labels(&error, labels),
            Ok(()) => {
                let canonical = extra.get(from..).unwrap_or_default();
                self.bytes += canonical.len();
                self.end_canonical(canonical, extra_at + from..extra_at + from + canonical.len());
            }
        }
        if self.batch.series.len() == series_before {
            self.bytes -= extra.len() - from;
            extra.truncate(from);
        }
    }

    /// Labels that are too long are refused before they are copied or put in words.
    fn check_lengths(&self, labels: &[(&[u8], &[u8])]) -> Result<(), (Reason, String)> {
        let limits = self.limits;
        let too_long = |(name, value): &&(&[u8], &[u8])| {
            name.len() > limits.label_name_bytes_max || value.len() > limits.label_value_bytes_max
        };
        match labels.iter().find(too_long) {
            None => Ok(()),
            Some((name, value)) => {
                let text = self.too_long(name, value, describe(labels.iter().copied()));
                Err((Reason::LabelLimit, text))
            }
        }
    }

    #[cold]
    fn too_long(&self, name: &[u8], value: &[u8], series: String) -> String {
        let limits = self.limits;
        let (part, length, limit) = match name.len() > limits.label_name_bytes_max {
            true => ("name", name.len(), limits.label_name_bytes_max),
            false => ("value", value.len(), limits.label_value_bytes_max),
        };
        format!("the {part} of label {} has {length} bytes, at most {limit} are taken: {series}", shortened(name))
    }

    /// Gives up the series that is being read, with all its samples.
    pub(super) fn refuse(&mut self, reason: Reason, text: impl FnOnce() -> String) {
        let count = self.pending();
        self.refused.add(reason, count, text);
        self.batch.samples.truncate(self.pending_from);
        self.crowded_out = 0;
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
                let text = self.too_long(name.as_bytes(), value.as_bytes(), describe_canonical(labels));
                return Err((Reason::LabelLimit, text));
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
        if !self.has_room(size_of::<WriteSeries>()) {
            self.crowded_out = self.pending();
            self.batch.samples.truncate(self.pending_from);
        }
        if self.crowded_out > 0 {
            let text = || format!("the request decodes to more than {} bytes, split it", self.bytes_max);
            self.refused.add(Reason::TooMany, self.crowded_out, text);
            self.crowded_out = 0;
        }
        self.judge_times(labels);
        let samples = self.pending_from..self.batch.samples.len();
        if !samples.is_empty() {
            self.batch.series.push(WriteSeries { id: SeriesId::of(labels), labels: range, samples });
            self.bytes += size_of::<WriteSeries>();
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
                let bytes = METADATA_OVERHEAD_BYTES + name.len() + entry.help.len() + entry.unit.len();
                if self.has_room(bytes) {
                    self.bytes += bytes;
                    self.batch.metadata.push(FamilyMetadata { family: name.to_owned(), entry });
                }
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
    // A character more than fits, so that the cut never leaves half of one.
    let mut text = String::from_utf8_lossy(bytes.get(..METADATA_TEXT_BYTES_MAX + 4).unwrap_or(bytes)).into_owned();
    text.truncate(text.floor_char_boundary(METADATA_TEXT_BYTES_MAX));
    text
}

/// A text for people, cut to a readable length.
fn shortened(text: &[u8]) -> String {
    let (text, more) = readable(text);
    format!("{text:?}{more}")
}

/// The first bytes of a text, and the sign that there are more.
fn readable(bytes: &[u8]) -> (String, &'static str) {
    const BYTES_MAX: usize = 64;
    let mut text = String::from_utf8_lossy(bytes.get(..BYTES_MAX + 4).unwrap_or(bytes)).into_owned();
    text.truncate(text.floor_char_boundary(BYTES_MAX));
    (text, if bytes.len() > BYTES_MAX { "…" } else { "" })
}

fn describe_canonical(labels: &[u8]) -> String {
    describe(LabelIter::over(labels).map(|(name, value)| (name.as_bytes(), value.as_bytes())))
}

/// `{a="b", …}` of labels in any state, bounded.
fn describe<'b>(labels: impl Iterator<Item = (&'b [u8], &'b [u8])>) -> String {
    let pairs: Vec<String> = labels
        .take(8)
        .map(|(name, value)| {
            let (name, more) = readable(name);
            format!("{name}{more}={}", shortened(value))
        })
        .collect();
    format!("{{{}}}", pairs.join(", "))
}
