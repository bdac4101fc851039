//! Puts a batch together: labels checked and normalised, samples judged, refusals collected.
//!
//! A sample of two bytes on the wire (all its fields left out) takes sixteen in memory, and a series more, so a body's
//! length alone does not bound what it decodes to. The batch therefore counts its bytes, and refuses the samples behind
//! its limit, which no honest request reaches.

use std::ops::Range;

use marigram_proto::wire::WireError;
use marigram_storage::model::labels::{LabelError, LabelIter, METRIC_NAME, SeriesId, normalise};
use marigram_storage::model::sample::Sample;
use marigram_storage::model::tenant::TenantId;
use marigram_storage::write::{FamilyMetadata, MetadataEntry, MetadataKind, WriteBatch, WriteSeries};

use super::{Decoded, IngestLimits, Reason, Recognise, Refusals, TimeBounds};

/// Longest text of a family's metadata that is kept; longer ones are cut.
const METADATA_TEXT_BYTES_MAX: usize = 1024;
/// What a family's metadata takes in memory beside its texts: the entry and three small allocations.
const METADATA_OVERHEAD_BYTES: usize = size_of::<FamilyMetadata>() + 3 * 16;

/// Why a series is refused, in words too.
pub(super) type Refusal = (Reason, String);

/// A label as it came.
pub(super) type RawLabel<'a> = (&'a [u8], &'a [u8]);

/// A batch in the making.
pub(super) struct Assembly<'a> {
    pub(super) limits: &'a IngestLimits,
    bounds: TimeBounds,
    oldest_ms: i64,
    /// Most bytes that the batch may hold beside the body.
    bytes_max: usize,
    /// Held by series, normalised labels and metadata.
    pub(super) bytes: usize,
    /// Samples of the series that is being read for which there was no room.
    pub(super) crowded_out: u64,
    /// Whether a sample of the series that is being read is too old or too new.
    mistimed: bool,
    /// Begins the arena.
    pub(super) body: &'a [u8],
    /// Normalised labels, behind the body in the arena.
    pub(super) extra: Vec<u8>,
    pub(super) recognise: Recognise<'a>,
    /// Series from here on wait for [`Assembly::settle`].
    pub(super) unsettled_from: usize,
    /// Label bytes that are no labels: nothing of the request is kept.
    pub(super) fault: Option<WireError>,
    pub(super) batch: WriteBatch,
    pub(super) refused: Refusals,
    pub(super) exemplars_ignored: u64,
    /// The samples of the series that is being read.
    pub(super) pending_from: usize,
    /// Its histograms, and what they count of `bytes`.
    pending_histograms_from: usize,
    pub(super) pending_histogram_bytes: usize,
}

/// Where a series' label bytes are in the arena.
pub(super) type LabelRange = Range<usize>;

impl<'a> Assembly<'a> {
    /// An empty batch of `tenant` whose arena begins with `body`, and that may hold `bytes_max` beside it.
    pub(super) fn new(
        tenant: TenantId,
        body: &'a [u8],
        limits: &'a IngestLimits,
        bounds: TimeBounds,
        bytes_max: usize,
        recognise: Recognise<'a>,
    ) -> Self {
        Assembly {
            limits,
            bounds,
            oldest_ms: bounds.oldest_ms.unwrap_or(i64::MIN),
            bytes_max,
            bytes: 0,
            crowded_out: 0,
            mistimed: false,
            body,
            extra: Vec::new(),
            recognise,
            unsettled_from: 0,
            fault: None,
            batch: WriteBatch { tenant, ..WriteBatch::default() },
            refused: Refusals::default(),
            exemplars_ignored: 0,
            pending_from: 0,
            pending_histograms_from: 0,
            pending_histogram_bytes: 0,
        }
    }

    /// Takes memory for this many series of one sample, as far as there is room.
    pub(super) fn expect_series(&mut self, count: usize) {
        let count = count.min(self.bytes_max / (size_of::<WriteSeries>() + size_of::<Sample>()));
        self.batch.series.reserve(count);
        self.batch.samples.reserve(count);
    }

    #[inline]
    pub(super) fn has_room(&self, more: usize) -> bool {
        self.batch.samples.len() * size_of::<Sample>() + self.bytes + more <= self.bytes_max
    }

    /// Whether there is room once the series so far are settled.
    #[cold]
    fn makes_room(&mut self, more: usize) -> bool {
        self.settle();
        self.has_room(more)
    }

    /// Adds a sample to the series that is being read.
    #[inline]
    pub(super) fn push_sample(&mut self, timestamp_ms: i64, value: f64) {
        // The series itself must still fit behind its last sample.
        let bytes = size_of::<Sample>() + size_of::<WriteSeries>();
        if self.has_room(bytes) || self.makes_room(bytes) {
            self.mistimed |= timestamp_ms < self.oldest_ms || timestamp_ms > self.bounds.newest_ms;
            self.batch.samples.push(Sample { timestamp_ms, value });
        } else {
            self.crowded_out += 1;
        }
    }

    /// How many samples the series that is being read has so far.
    pub(super) fn pending(&self) -> u64 {
        let histograms = self.batch.histograms.len() - self.pending_histograms_from;
        (self.batch.samples.len() - self.pending_from + histograms) as u64 + self.crowded_out
    }

    /// Whether the series that is being read has samples, and all of them are good as far as can be said without its labels.
    #[inline]
    pub(super) fn all_samples_good(&self) -> bool {
        self.batch.samples.len() > self.pending_from && !self.mistimed && self.crowded_out == 0
    }

    /// Ends a series whose labels came as text or in some order: normalises them.
    pub(super) fn end_raw(&mut self, labels: &mut Vec<RawLabel<'_>>) {
        let range = self.normalised(labels);
        self.end(range);
    }

    /// Ends a series whose labels are canonical at a place of the arena, or refused. All before it are settled.
    pub(super) fn end(&mut self, labels: Result<LabelRange, Refusal>) {
        let normalised_from = match &labels {
            Ok(range) if range.start >= self.body.len() && !range.is_empty() => Some(range.start - self.body.len()),
            _ => None,
        };
        let series_before = self.batch.series.len();
        match labels {
            Ok(range) => self.end_series(range),
            Err((reason, text)) => self.refuse(reason, || text),
        }
        if let Some(from) = normalised_from
            && self.batch.series.len() == series_before
        {
            self.forget_normalised(from);
        }
        self.mistimed = false;
        self.unsettled_from = self.batch.series.len();
    }

    /// Where the normalised labels are, which end the arena now.
    ///
    /// # Errors
    /// Why they are refused; then they are not kept.
    #[cold]
    pub(super) fn normalised(&mut self, labels: &mut Vec<RawLabel<'_>>) -> Result<LabelRange, Refusal> {
        self.check_lengths(labels)?;
        let from = self.extra.len();
        normalise(labels, &mut self.extra)
            .map_err(|error| (Reason::BadLabels, format!("{error}: {}", describe(labels.iter().copied()))))?;
        self.bytes += self.extra.len() - from;
        let canonical = self.extra.get(from..).unwrap_or_default();
        if let Err(refusal) = self.check_limits(canonical) {
            self.forget_normalised(from);
            return Err(refusal);
        }
        Ok(self.body.len() + from..self.body.len() + self.extra.len())
    }

    /// Takes the labels off that were normalised last, from a place in [`Assembly::extra`] on.
    pub(super) fn forget_normalised(&mut self, from: usize) {
        self.bytes -= self.extra.len() - from;
        self.extra.truncate(from);
    }

    /// Label bytes, in the body or behind it.
    pub(super) fn labels(&self, range: &LabelRange) -> &[u8] {
        let bytes = self.body.len();
        let found = match range.start < bytes {
            true => self.body.get(range.clone()),
            false => self.extra.get(range.start - bytes..range.end - bytes),
        };
        found.unwrap_or_default()
    }

    /// Labels that are too long are refused before they are copied or put in words.
    fn check_lengths(&self, labels: &[RawLabel<'_>]) -> Result<(), Refusal> {
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
        self.forget_pending();
        self.crowded_out = 0;
    }

    /// Takes the samples of the series that is being read out.
    fn forget_pending(&mut self) {
        self.batch.samples.truncate(self.pending_from);
        self.batch.histograms.truncate(self.pending_histograms_from);
        self.bytes -= std::mem::take(&mut self.pending_histogram_bytes);
    }

    /// Whether canonical labels are within the limits, and have a metric name.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn check_limits(&self, labels: &[u8]) -> Result<(), Refusal> {
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

    fn end_series(&mut self, range: LabelRange) {
        if !self.has_room(size_of::<WriteSeries>()) {
            self.crowded_out = self.pending();
            self.forget_pending();
        }
        if self.crowded_out > 0 {
            let text = self.too_many();
            self.refused.add(Reason::TooMany, self.crowded_out, || text);
            self.crowded_out = 0;
        }
        if self.mistimed {
            self.judge_times(&range);
        }
        let samples = self.pending_from..self.batch.samples.len();
        // A request has not four billion of them: each counts some hundred bytes.
        let histograms = self.pending_histograms_from as u32..self.batch.histograms.len() as u32;
        if !samples.is_empty() || !histograms.is_empty() {
            let id = SeriesId::of(self.labels(&range));
            self.batch.series.push(WriteSeries::new(id, range, samples).with_histograms(histograms));
            self.bytes += size_of::<WriteSeries>();
        }
        self.pending_from = self.batch.samples.len();
        self.pending_histograms_from = self.batch.histograms.len();
        self.pending_histogram_bytes = 0;
    }

    pub(super) fn too_many(&self) -> String {
        format!("the request decodes to more than {} bytes, split it", self.bytes_max)
    }

    /// Takes out the samples of the series that are too old or too new.
    #[cold]
    fn judge_times(&mut self, labels: &LabelRange) {
        let series = describe_canonical(self.labels(labels));
        let all = self.batch.samples.split_off(self.pending_from);
        for sample in all {
            match self.judge_time(sample.timestamp_ms) {
                None => self.batch.samples.push(sample),
                Some((reason, fault)) => {
                    self.refused.add(reason, 1, || format!("timestamp {} {fault}: {series}", sample.timestamp_ms));
                }
            }
        }
    }

    /// Why a timestamp is refused, if it is.
    pub(super) fn judge_time(&self, timestamp_ms: i64) -> Option<Refusal> {
        let bounds = self.bounds;
        match bounds.oldest_ms {
            Some(oldest_ms) if timestamp_ms < oldest_ms => {
                Some((Reason::TooOld, format!("is older than the retention, which begins at {oldest_ms}")))
            }
            _ if timestamp_ms > bounds.newest_ms => {
                Some((Reason::TooNew, format!("is too far in the future, at most {} is taken", bounds.newest_ms)))
            }
            _ => None,
        }
    }

    /// Adds metadata of a family; texts are made UTF-8 and cut to a bounded length, a nameless family is left out.
    pub(super) fn push_metadata(&mut self, family: &[u8], kind: MetadataKind, help: &[u8], unit: &[u8]) {
        let limit = self.limits.label_value_bytes_max;
        match std::str::from_utf8(family) {
            Ok(name) if !name.is_empty() && name.len() <= limit => {
                let entry = MetadataEntry { kind, help: text_of(help), unit: text_of(unit) };
                let bytes = METADATA_OVERHEAD_BYTES + name.len() + entry.help.len() + entry.unit.len();
                if self.has_room(bytes) || self.makes_room(bytes) {
                    self.bytes += bytes;
                    self.batch.metadata.push(FamilyMetadata { family: name.to_owned(), entry });
                }
            }
            _ => {}
        }
    }

    /// The batch without its arena, and the bytes that go behind the body there. All series are settled.
    pub(super) fn finish(self) -> (Decoded, Vec<u8>) {
        let Assembly { batch, refused, exemplars_ignored, extra, .. } = self;
        (Decoded { batch, refused, exemplars_ignored }, extra)
    }
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

pub(super) fn describe_canonical(labels: &[u8]) -> String {
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
