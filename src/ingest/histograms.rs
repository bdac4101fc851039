//! The native histograms of a series, judged one by one.

use marigram_proto::prometheus::Histogram;
use marigram_proto::wire::WireError;
use marigram_proto::write_v1::Series;
use marigram_storage::model::histogram::HistogramSample;
use marigram_storage::model::sample::stale_nan;
use marigram_storage::write::WriteSeries;
use prost::Message;

use super::Reason;
use super::assemble::{Assembly, LabelRange, describe_canonical};
use crate::histograms::decode;

/// No histogram within the limits has a longer message: 8192 buckets of ten bytes, as many spans, custom bounds.
const MESSAGE_BYTES_MAX: usize = 384 << 10;
/// A bucket of one byte in a message takes eight in memory. Of these, four count as memory of the request, so that an honest
/// one has room for all of its histograms.
const CHARGED_PER_MESSAGE_BYTE: usize = 4;
/// What a histogram counts beside its buckets.
const CHARGED_BYTES_MIN: usize = 320;

impl<'a> Assembly<'a> {
    /// Adds the histograms of the series that is being read. Without labels it will be refused, and they are only counted.
    ///
    /// # Errors
    /// A message that is no histogram: nothing of the request is to be kept.
    #[cold]
    pub(super) fn push_histograms(&mut self, series: Series<'a>, labels: Option<&LabelRange>) -> Result<(), WireError> {
        series.read_histograms(|message| {
            if message.len() > MESSAGE_BYTES_MAX {
                let text =
                    || format!("a native histogram of {} bytes, at most {MESSAGE_BYTES_MAX} are taken", message.len());
                self.refused.add(Reason::Histogram, 1, text);
                return Ok(());
            }
            let histogram = Histogram::decode(message).map_err(|_| WireError::BadMessage)?;
            match labels {
                Some(labels) => self.push_histogram(histogram, message.len(), labels),
                None => self.crowded_out += 1,
            }
            Ok(())
        })
    }

    fn push_histogram(&mut self, histogram: Histogram, message_bytes: usize, labels: &LabelRange) {
        let sample = match decode(histogram) {
            Ok(sample) => sample,
            Err(error) => {
                let series = describe_canonical(self.labels(labels));
                return self.refused.add(Reason::Histogram, 1, || format!("bad native histogram, {error}: {series}"));
            }
        };
        if sample.histogram.is_stale() {
            return self.push_sample(sample.timestamp_ms, stale_nan());
        }
        if let Some((reason, fault)) = self.judge_time(sample.timestamp_ms) {
            let series = describe_canonical(self.labels(labels));
            return self.refused.add(reason, 1, || format!("timestamp {} {fault}: {series}", sample.timestamp_ms));
        }
        let held_bytes = size_of::<HistogramSample>() + sample.histogram.held_bytes();
        let charged = held_bytes.min(CHARGED_BYTES_MIN + CHARGED_PER_MESSAGE_BYTE * message_bytes);
        if self.has_room(charged + size_of::<WriteSeries>()) {
            self.bytes += charged;
            self.pending_histogram_bytes += charged;
            self.batch.histograms.push(sample);
        } else {
            self.crowded_out += 1;
        }
    }
}
