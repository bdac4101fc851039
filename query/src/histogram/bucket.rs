//! Buckets with their bounds.

use marigram_storage::model::histogram::Histogram;

use super::bounds;

/// A bucket of a histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bucket {
    pub(crate) lower: f64,
    pub(crate) upper: f64,
    pub(crate) lower_inclusive: bool,
    pub(crate) upper_inclusive: bool,
    pub(crate) count: f64,
}

impl Bucket {
    /// The share of the bucket that lies below `value`, which must be within finite bounds: on a linear scale, or on
    /// the logarithmic one on which exponential buckets are all as wide.
    pub(crate) fn fraction_below(&self, value: f64, linear: bool) -> f64 {
        if linear {
            return (value - self.lower) / (self.upper - self.lower);
        }
        let (lower, upper) = (self.lower.abs().log2(), self.upper.abs().log2());
        let at = value.abs().log2();
        if value > 0.0 { (at - lower) / (upper - lower) } else { 1.0 - (at - upper) / (lower - upper) }
    }
}

/// Buckets on the positive side, upwards, empty ones included.
pub(super) fn positive(histogram: &Histogram) -> impl Iterator<Item = Bucket> + '_ {
    let custom = histogram.has_custom_buckets();
    histogram.positive.iter().map(move |(index, count)| {
        let (lower, upper) = (bounds::upper(histogram, index.saturating_sub(1)), bounds::upper(histogram, index));
        let (lower_inclusive, upper_inclusive) = if custom { (index == 0, true) } else { (lower < 0.0, upper > 0.0) };
        Bucket { lower, upper, lower_inclusive, upper_inclusive, count }
    })
}

/// Buckets on the negative side, downwards from zero, empty ones included.
pub(super) fn negative(histogram: &Histogram) -> impl Iterator<Item = Bucket> + '_ {
    histogram.negative.iter().map(move |(index, count)| {
        let lower = -bounds::upper(histogram, index);
        let upper = -bounds::upper(histogram, index.saturating_sub(1));
        Bucket { lower, upper, lower_inclusive: lower < 0.0, upper_inclusive: upper > 0.0, count }
    })
}

/// The zero bucket.
pub(super) fn zero(histogram: &Histogram) -> Bucket {
    Bucket {
        lower: -histogram.zero_threshold,
        upper: histogram.zero_threshold,
        lower_inclusive: true,
        upper_inclusive: true,
        count: histogram.zero_count,
    }
}

/// All buckets upwards. Those that reach into the zero bucket are cut there; an empty zero bucket is left out.
pub(crate) fn ascending(histogram: &Histogram) -> Vec<Bucket> {
    let threshold = histogram.zero_threshold;
    let cut = |mut bucket: Bucket| {
        if bucket.upper < 0.0 && bucket.upper > -threshold {
            bucket.upper = -threshold;
        } else if bucket.lower > 0.0 && bucket.lower < threshold {
            bucket.lower = threshold;
        }
        bucket
    };
    let mut all = Vec::with_capacity(histogram.negative.counts.len() + histogram.positive.counts.len() + 1);
    all.extend(negative(histogram).map(cut));
    all.reverse();
    if histogram.zero_count > 0.0 {
        all.push(zero(histogram));
    }
    all.extend(positive(histogram).map(cut));
    all
}
