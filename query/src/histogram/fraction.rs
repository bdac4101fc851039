//! Which share of the observations lies between two values.

use marigram_storage::model::histogram::Histogram;

use super::bucket::{Bucket, ascending};

/// The share of observations between `lower` and `upper`, interpolated as quantiles are; and whether there are
/// observations of NaN, which lie between no values.
pub(crate) fn fraction(lower: f64, upper: f64, histogram: &Histogram) -> (f64, bool) {
    if histogram.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return (f64::NAN, false);
    }
    if lower >= upper {
        return (0.0, false);
    }
    let buckets = ascending(histogram);
    let mut count = histogram.count;
    let mut has_nan = false;
    if histogram.sum.is_nan() {
        count = buckets.iter().map(|bucket| bucket.count).sum();
        has_nan = count < histogram.count;
    }
    let rank = |value: f64| match rank_of(value, &buckets, histogram) {
        Some(rank) if rank <= count || rank.is_nan() => rank,
        _ => count,
    };
    ((rank(upper) - rank(lower)) / histogram.count, has_nan)
}

/// How many observations are below `value`; `None`: all.
fn rank_of(value: f64, buckets: &[Bucket], histogram: &Histogram) -> Option<f64> {
    let custom = histogram.has_custom_buckets();
    let mut below = 0.0;
    for bucket in buckets {
        let mut bucket = *bucket;
        let around_zero = bucket.lower <= 0.0 && bucket.upper >= 0.0;
        if around_zero {
            match (histogram.negative.counts.is_empty(), histogram.positive.counts.is_empty()) {
                (true, false) => bucket.lower = 0.0,
                (false, true) => bucket.upper = 0.0,
                _ => {}
            }
        }
        if bucket.lower >= value {
            return Some(below);
        }
        if bucket.upper > value {
            let linear = custom || around_zero;
            // Nothing can be interpolated in a bucket without a lower end.
            return Some(if linear && bucket.lower == f64::NEG_INFINITY {
                bucket.count
            } else {
                below + bucket.count * bucket.fraction_below(value, linear)
            });
        }
        below += bucket.count;
    }
    None
}
