//! Mean and spread of the observations.

use marigram_storage::model::histogram::Histogram;

use super::bucket::ascending;
use crate::eval::kahan::KahanSum;

/// The mean.
pub(crate) fn mean(histogram: &Histogram) -> f64 {
    histogram.sum / histogram.count
}

/// The variance, as if all observations of a bucket were in its middle: the arithmetic one of custom buckets, zero in
/// the zero bucket, the geometric one in all others.
pub(crate) fn variance(histogram: &Histogram) -> f64 {
    let mean = mean(histogram);
    let mut sum = KahanSum::default();
    for bucket in ascending(histogram).iter().filter(|bucket| bucket.count != 0.0) {
        let middle = if histogram.has_custom_buckets() {
            (bucket.upper + bucket.lower) / 2.0
        } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            0.0
        } else {
            (bucket.upper * bucket.lower).sqrt().copysign(bucket.upper)
        };
        let distance = middle - mean;
        sum.add(bucket.count * distance * distance);
    }
    sum.total() / histogram.count
}

/// The standard deviation.
pub(crate) fn standard_deviation(histogram: &Histogram) -> f64 {
    variance(histogram).sqrt()
}
