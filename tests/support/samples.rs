//! What a store must hold: series with samples, bit for bit, combined by the join.

use std::collections::BTreeMap;

use marigram_proto::prometheus::{Label, TimeSeries, WriteRequest};
use marigram_storage::model::sample::STALE_NAN_BITS;

/// Labels, sorted by name.
pub(crate) type SeriesKey = Vec<(String, String)>;
/// The bits of the value at each timestamp.
pub(crate) type Points = BTreeMap<i64, u64>;

/// Series and their samples.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Samples {
    series: BTreeMap<SeriesKey, Points>,
}

/// The order that decides at one timestamp, written down once more and independently of the store: a staleness marker is
/// less than every number, numbers are in IEEE 754's total order.
fn rank(bits: u64) -> (bool, i64) {
    let signed = bits as i64;
    // Negative numbers descend as their bits ascend.
    (bits != STALE_NAN_BITS, if signed < 0 { signed ^ i64::MAX } else { signed })
}

/// Whether the sample with the bits `left` wins over the one with `right`.
pub(crate) fn wins(left: u64, right: u64) -> bool {
    rank(left) > rank(right)
}

/// The key of labels as they were sent.
pub(crate) fn key(labels: &[Label]) -> SeriesKey {
    let mut key: SeriesKey = labels.iter().map(|label| (label.name.clone(), label.value.clone())).collect();
    key.retain(|(_, value)| !value.is_empty());
    key.sort();
    key
}

impl Samples {
    /// Joins one sample in.
    pub(crate) fn add(&mut self, key: &SeriesKey, timestamp_ms: i64, bits: u64) {
        if !self.series.contains_key(key) {
            self.series.insert(key.clone(), Points::new());
        }
        join(self.series.get_mut(key).unwrap(), timestamp_ms, bits);
    }

    /// Joins all samples of a request in.
    pub(crate) fn add_request(&mut self, request: &WriteRequest) {
        self.add_series(&request.timeseries, 0);
    }

    /// Joins series in, moved in time.
    pub(crate) fn add_series(&mut self, timeseries: &[TimeSeries], shift_ms: i64) {
        for series in timeseries {
            let points = self.series.entry(key(&series.labels)).or_default();
            for sample in &series.samples {
                join(points, sample.timestamp + shift_ms, sample.value.to_bits());
            }
        }
        self.series.retain(|_, points| !points.is_empty());
    }

    /// Joins everything of `other` in.
    pub(crate) fn merge(&mut self, other: Samples) {
        for (key, more) in other.series {
            let points = self.series.entry(key).or_default();
            more.into_iter().for_each(|(timestamp_ms, bits)| join(points, timestamp_ms, bits));
        }
    }

    /// How many samples.
    pub(crate) fn count(&self) -> usize {
        self.series.values().map(Points::len).sum()
    }

    /// How many staleness markers.
    pub(crate) fn stale_count(&self) -> usize {
        self.series.values().flat_map(Points::values).filter(|bits| **bits == STALE_NAN_BITS).count()
    }

    /// How many NaNs that are no staleness markers.
    pub(crate) fn nan_count(&self) -> usize {
        let bits = self.series.values().flat_map(Points::values);
        bits.filter(|bits| **bits != STALE_NAN_BITS && f64::from_bits(**bits).is_nan()).count()
    }

    /// How many series.
    pub(crate) fn series_count(&self) -> usize {
        self.series.len()
    }

    /// First and last timestamp.
    pub(crate) fn range_ms(&self) -> (i64, i64) {
        let first = self.series.values().filter_map(|points| points.first_key_value()).map(|(t, _)| *t).min();
        let last = self.series.values().filter_map(|points| points.last_key_value()).map(|(t, _)| *t).max();
        (first.expect("some sample"), last.expect("some sample"))
    }

    /// Equal bit for bit; otherwise says where not.
    pub(crate) fn assert_equal(&self, got: &Samples, when: &str) {
        self.assert_bounds(&Samples::default(), got, when);
    }

    /// `got` holds all of `self`, and besides that nothing but what `maybe` holds: each timestamp the join of what `self` has
    /// with some of what `maybe` has there.
    pub(crate) fn assert_bounds(&self, maybe: &Samples, got: &Samples, when: &str) {
        let none = Points::new();
        let mut wrong = Vec::new();
        let keys: std::collections::BTreeSet<_> =
            self.series.keys().chain(got.series.keys()).chain(maybe.series.keys()).collect();
        for key in keys {
            let side = |samples: &'_ Samples| samples.series.get(key).cloned().unwrap_or_default();
            let (must, may, got) = (self.series.get(key).unwrap_or(&none), side(maybe), side(got));
            for (t, bits) in must {
                match got.get(t) {
                    Some(found) if found == bits => {}
                    Some(found) if may.get(t) == Some(found) && wins(*found, *bits) => {}
                    found => wrong.push(format!("{key:?} at {t}: {bits:#x} was sent, {found:x?} is there")),
                }
            }
            for (t, found) in got.iter().filter(|(t, _)| !must.contains_key(t)) {
                if may.get(t) != Some(found) {
                    wrong.push(format!("{key:?} at {t}: {found:#x} is there and was not sent"));
                }
            }
        }
        let first = wrong.iter().take(10).cloned().collect::<Vec<_>>().join("\n");
        assert!(wrong.is_empty(), "{when}: {} of {} samples are wrong:\n{first}", wrong.len(), self.count());
    }
}

fn join(points: &mut Points, timestamp_ms: i64, bits: u64) {
    let held = points.entry(timestamp_ms).or_insert(bits);
    if wins(bits, *held) {
        *held = bits;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_here_is_the_order_of_the_join() {
        let values = [STALE_NAN_BITS, (-f64::NAN).to_bits(), f64::NEG_INFINITY.to_bits(), (-1.5f64).to_bits()];
        let more = [(-0.0f64).to_bits(), 0, 1.5f64.to_bits(), f64::INFINITY.to_bits(), f64::NAN.to_bits()];
        let all: Vec<u64> = values.into_iter().chain(more).collect();
        assert!(all.windows(2).all(|pair| wins(pair[1], pair[0]) && !wins(pair[0], pair[1])));
    }
}
