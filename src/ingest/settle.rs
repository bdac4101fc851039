//! Series whose labels nobody has looked at yet, and how that is made up for.
//!
//! 1. While the request is walked, a series whose samples are good is only noted ([`Assembly::defer`]): its label bytes are hashed
//!    as they came.
//! 2. The store is asked for all that were noted ([`Assembly::settle`]). Equal ids are equal series, so the labels of those that it
//!    knows need no look: they are canonical, and were within the limits when the series was new.
//! 3. The labels of the others are checked, normalised where they are not canonical, and then hashed again. A series that is refused is taken out
//!    with its samples; what lies behind closes up.
//!
//! Before anything else of the request is refused, what was noted is settled, so that refusals keep the request's order.

use marigram_proto::wire::WireError;
use marigram_proto::write_v1::{LabelFields, Series, SeriesParts};
use marigram_storage::model::labels::{SeriesId, check_canonical};
use marigram_storage::write::{NO_HINT, WriteSeries};

use super::assemble::{Assembly, LabelRange, RawLabel, Refusal};
use super::{RAW_LABELS_MAX, Reason};

impl<'a> Assembly<'a> {
    /// Ends a series of the body.
    ///
    /// # Errors
    /// A histogram of it is malformed: nothing of the request is to be kept.
    #[inline]
    pub(super) fn end_parts(&mut self, series: Series<'a>, parts: &SeriesParts<'a>) -> Result<(), WireError> {
        self.exemplars_ignored += parts.exemplars;
        let range = parts.labels_offset..parts.labels_offset + parts.labels.len();
        if parts.contiguous && parts.histograms == 0 && self.all_samples_good() {
            self.defer(parts.labels, range);
            Ok(())
        } else {
            self.end_at_once(series, range, parts)
        }
    }

    /// Step 1 of the module. There is room: every sample made sure of it.
    #[inline]
    fn defer(&mut self, labels: &[u8], range: LabelRange) {
        let samples = self.pending_from..self.batch.samples.len();
        self.pending_from = samples.end;
        self.bytes += size_of::<WriteSeries>();
        self.batch.series.push(WriteSeries::new(SeriesId::of(labels), range, samples));
    }

    /// Ends a series that has histograms, of which something is to be refused, or that is not to be stored at all.
    #[cold]
    fn end_at_once(&mut self, series: Series<'a>, range: LabelRange, parts: &SeriesParts<'a>) -> Result<(), WireError> {
        self.settle();
        let labels = self.checked(range, parts.contiguous, &mut Vec::new());
        if parts.histograms > 0 {
            self.push_histograms(series, labels.as_ref().ok())?;
        }
        self.end(labels);
        Ok(())
    }

    /// Steps 2 and 3 of the module.
    pub(super) fn settle(&mut self) {
        let from = self.unsettled_from;
        self.unsettled_from = self.batch.series.len();
        let Some(unsettled) = self.batch.series.get_mut(from..).filter(|unsettled| !unsettled.is_empty()) else {
            return;
        };
        (self.recognise)(&self.batch.tenant, unsettled);
        let unsettled = self.batch.series.get(from..).unwrap_or_default();
        if let Some(odd) = unsettled.iter().position(|series| !self.is_good(series)) {
            self.close_up(from + odd);
            self.unsettled_from = self.batch.series.len();
        }
    }

    /// Whether a noted series can be stored as it is.
    #[inline]
    fn is_good(&self, series: &WriteSeries) -> bool {
        series.hint != NO_HINT || {
            let labels = self.body.get(series.labels.clone()).unwrap_or_default();
            check_canonical(labels).is_ok() && self.check_limits(labels).is_ok()
        }
    }

    /// Normalises and refuses noted series, of which the one at `odd` is the first that needs it.
    #[cold]
    fn close_up(&mut self, odd: usize) {
        let Some(first) = self.batch.series.get(odd) else { return };
        let (mut kept, mut samples_end) = (odd, first.samples.start);
        let mut labels = Vec::new();
        for at in odd..self.batch.series.len() {
            let Some(mut series) = self.batch.series.get(at).cloned() else { break };
            if !self.is_good(&series) {
                match self.checked(series.labels.clone(), true, &mut labels) {
                    Ok(range) => {
                        series.id = SeriesId::of(self.labels(&range));
                        series.labels = range;
                    }
                    Err((reason, text)) => {
                        self.refused.add(reason, series.samples.len() as u64, || text);
                        self.bytes -= size_of::<WriteSeries>();
                        continue;
                    }
                }
            }
            let samples = samples_end..samples_end + series.samples.len();
            self.batch.samples.copy_within(series.samples, samples_end);
            samples_end = samples.end;
            series.samples = samples;
            if let Some(place) = self.batch.series.get_mut(kept) {
                *place = series;
            }
            kept += 1;
        }
        self.batch.series.truncate(kept);
        let pending = self.batch.samples.len() - self.pending_from;
        self.batch.samples.copy_within(self.pending_from.., samples_end);
        self.batch.samples.truncate(samples_end + pending);
        self.pending_from = samples_end;
    }

    /// Where the canonical labels are of a series whose labels lie in the body.
    ///
    /// # Errors
    /// Why they are refused.
    fn checked(
        &mut self,
        range: LabelRange,
        contiguous: bool,
        labels: &mut Vec<RawLabel<'a>>,
    ) -> Result<LabelRange, Refusal> {
        let bytes = self.body.get(range.clone()).unwrap_or_default();
        if contiguous && check_canonical(bytes).is_ok() {
            return self.check_limits(bytes).map(|()| range);
        }
        labels.clear();
        let mut fields = LabelFields::new(bytes);
        let mut count = 0;
        loop {
            match fields.next_label() {
                Ok(None) => break,
                // Empty ones do not count, but a label of two bytes must not take 32 of memory without end.
                Ok(Some(label)) => {
                    count += 1;
                    if count <= RAW_LABELS_MAX {
                        labels.push(label);
                    }
                }
                Err(fault) => {
                    self.fault.get_or_insert(fault);
                    return Err((Reason::BadLabels, String::new()));
                }
            }
        }
        if count > RAW_LABELS_MAX {
            let text = format!("{count} labels, at most {RAW_LABELS_MAX} are looked at");
            return Err((Reason::LabelLimit, text));
        }
        let normalised = self.normalised(labels)?;
        if !self.has_room(0) {
            self.forget_normalised(normalised.start - self.body.len());
            return Err((Reason::TooMany, self.too_many()));
        }
        Ok(normalised)
    }
}
