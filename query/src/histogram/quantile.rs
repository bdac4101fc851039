//! Quantiles.

use marigram_storage::model::histogram::Histogram;

use super::bucket::ascending;

/// A quantile, and what observations of NaN did to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Quantile {
    pub(crate) value: f64,
    /// NaN observations took the place of the quantile: it is NaN.
    pub(crate) lost_to_nan: bool,
    /// NaN observations count as the greatest, so that the quantile is too high.
    pub(crate) skewed_by_nan: bool,
}

/// The `q`-quantile, interpolated within its bucket: on a linear scale in custom buckets and in the zero bucket, on a
/// logarithmic one in all others. The zero bucket of a histogram with observations on one side only ends at zero.
pub(crate) fn quantile(q: f64, histogram: &Histogram) -> Quantile {
    let plain = |value| Quantile { value, lost_to_nan: false, skewed_by_nan: false };
    if q < 0.0 {
        return plain(f64::NEG_INFINITY);
    }
    if q > 1.0 {
        return plain(f64::INFINITY);
    }
    if histogram.count == 0.0 || q.is_nan() {
        return plain(f64::NAN);
    }
    // NaN observations are counted, but in no bucket: then only the way from below leads to the right bucket.
    let upwards = histogram.sum.is_nan() || q < 0.5;
    let rank = if upwards { q * histogram.count } else { (1.0 - q) * histogram.count };
    let mut buckets = ascending(histogram);
    if !upwards {
        buckets.reverse();
    }
    let mut rest = buckets.iter();
    let (mut bucket, mut count) =
        (super::Bucket { lower: 0.0, upper: 0.0, lower_inclusive: false, upper_inclusive: false, count: 0.0 }, 0.0);
    for next in rest.by_ref() {
        bucket = *next;
        if bucket.count == 0.0 {
            continue;
        }
        count += bucket.count;
        if count >= rank {
            break;
        }
    }
    let custom = histogram.has_custom_buckets();
    if !custom && bucket.lower < 0.0 && bucket.upper > 0.0 {
        match (histogram.negative.counts.is_empty(), histogram.positive.counts.is_empty()) {
            (true, false) => bucket.lower = 0.0,
            (false, true) => bucket.upper = 0.0,
            _ => {}
        }
    } else if custom && bucket.lower == f64::NEG_INFINITY {
        if bucket.upper <= 0.0 {
            return plain(bucket.upper);
        }
        bucket.lower = 0.0;
    } else if custom && bucket.upper == f64::INFINITY {
        return plain(bucket.lower);
    }
    // Rounding can make the buckets hold more than there is in all.
    if count > histogram.count {
        count = histogram.count;
    }
    if count < rank {
        return match histogram.sum.is_nan() {
            true => Quantile { value: f64::NAN, lost_to_nan: true, skewed_by_nan: false },
            false => plain(bucket.upper),
        };
    }
    let within = if upwards { rank - (count - bucket.count) } else { count - rank };
    let mut skewed_by_nan = false;
    if histogram.sum.is_nan() {
        skewed_by_nan = count + rest.as_slice().iter().map(|bucket| bucket.count).sum::<f64>() < histogram.count;
        // As in Prometheus, the bucket is then the last one.
        if let Some(last) = rest.as_slice().last() {
            bucket = *last;
        }
    }
    let fraction = within / bucket.count;
    let value = if custom || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
        bucket.lower + (bucket.upper - bucket.lower) * fraction
    } else {
        let (lower, upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
        if bucket.lower > 0.0 {
            (lower + (upper - lower) * fraction).exp2()
        } else {
            -(upper + (lower - upper) * (1.0 - fraction)).exp2()
        }
    };
    Quantile { value, lost_to_nan: false, skewed_by_nan }
}
