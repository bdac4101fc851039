//! The trim operators: histograms without the observations on one side of a value.

use marigram_storage::model::histogram::Histogram;

use super::bucket::{Bucket, negative, positive, zero};
use super::layout::compact;

/// Which observations are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    Below,
    Above,
}

/// Keeps the observations below `value` (`</`). If that takes any away, count and sum are estimated anew.
pub(crate) fn keep_below(histogram: &mut Histogram, value: f64) {
    trim(histogram, value, Keep::Below);
}

/// Keeps the observations above `value` (`>/`). If that takes any away, count and sum are estimated anew.
pub(crate) fn keep_above(histogram: &mut Histogram, value: f64) {
    trim(histogram, value, Keep::Above);
}

/// What is left of a histogram.
#[derive(Default)]
struct Rest {
    count: f64,
    sum: f64,
    trimmed: bool,
}

fn trim(histogram: &mut Histogram, value: f64, keep: Keep) {
    let custom = histogram.has_custom_buckets();
    let mut rest = Rest::default();
    let positives: Vec<Bucket> = positive(histogram).collect();
    let negatives: Vec<Bucket> = negative(histogram).collect();
    let mut side = |counts: &mut [f64], buckets: &[Bucket], is_positive: bool| {
        for (count, bucket) in counts.iter_mut().zip(buckets).filter(|(_, bucket)| bucket.count != 0.0) {
            let (kept, middle) = rest_of_bucket(*bucket, value, keep, is_positive, custom);
            if kept != bucket.count {
                *count = kept;
                rest.trimmed = true;
            }
            rest.count += kept;
            rest.sum += middle * kept;
        }
    };
    side(&mut histogram.positive.counts, &positives, true);
    side(&mut histogram.negative.counts, &negatives, false);
    if histogram.zero_count > 0.0 {
        let any = |buckets: &[Bucket]| buckets.iter().any(|bucket| bucket.count != 0.0);
        let (kept, middle) = rest_of_zero(zero(histogram), value, keep, any(&negatives), any(&positives));
        rest.trimmed |= histogram.zero_count != kept;
        histogram.zero_count = kept;
        rest.sum += middle * kept;
        rest.count += kept;
    }
    if rest.trimmed {
        histogram.is_integer = false;
        histogram.count = rest.count;
        histogram.sum = rest.sum;
        compact(histogram);
    }
}

/// How many observations of a bucket are left, and around which value they lie.
fn rest_of_bucket(bucket: Bucket, value: f64, keep: Keep, is_positive: bool, custom: bool) -> (f64, f64) {
    let (whole, cut) = match keep {
        Keep::Below => (bucket.upper <= value, bucket.lower < value),
        Keep::Above => (bucket.lower >= value, bucket.upper > value),
    };
    if whole {
        return (bucket.count, middle(bucket.lower, bucket.upper, is_positive, custom));
    }
    if !cut {
        return (0.0, 0.0);
    }
    if bucket.lower == f64::NEG_INFINITY {
        return rest_of_first(bucket, value, keep);
    }
    if bucket.upper == f64::INFINITY {
        return match keep {
            // Nothing says how many observations of a bucket without an end are below the value.
            Keep::Below => (0.0, 0.0),
            Keep::Above if value >= bucket.lower => (bucket.count, value),
            Keep::Above => (0.0, 0.0),
        };
    }
    let below = if value <= bucket.lower {
        0.0
    } else if value >= bucket.upper {
        bucket.count
    } else {
        bucket.count * bucket.fraction_below(value, custom)
    };
    match keep {
        Keep::Below => (below, middle(bucket.lower, value, is_positive, custom)),
        Keep::Above => (bucket.count - below, middle(value, bucket.upper, is_positive, custom)),
    }
}

/// The same of a bucket that has no lower end. One with a positive upper end counts as beginning at zero.
fn rest_of_first(bucket: Bucket, value: f64, keep: Keep) -> (f64, f64) {
    let ends = bucket.upper != f64::INFINITY;
    match keep {
        Keep::Below if value > 0.0 && bucket.upper > 0.0 && ends => (bucket.count * value / bucket.upper, value / 2.0),
        Keep::Below if bucket.upper <= 0.0 => (bucket.count, value),
        Keep::Above if value >= 0.0 && bucket.upper > value && ends => {
            (bucket.count * (1.0 - value / bucket.upper), (value + bucket.upper) / 2.0)
        }
        _ => (0.0, 0.0),
    }
}

/// The same of the zero bucket, which reaches only to the sides on which the histogram has buckets, if it has any.
fn rest_of_zero(bucket: Bucket, value: f64, keep: Keep, has_negative: bool, has_positive: bool) -> (f64, f64) {
    let lower = if has_positive && !has_negative { 0.0 } else { bucket.lower };
    let upper = if has_negative && !has_positive { 0.0 } else { bucket.upper };
    let whole = (bucket.count, (lower + upper) / 2.0);
    match keep {
        Keep::Below if value <= lower => (0.0, 0.0),
        Keep::Below if value >= upper => whole,
        Keep::Below => (bucket.count * ((value - lower) / (upper - lower)), (lower + value) / 2.0),
        Keep::Above if value <= lower => whole,
        Keep::Above if value >= upper => (0.0, 0.0),
        Keep::Above => (bucket.count * ((upper - value) / (upper - lower)), (value + upper) / 2.0),
    }
}

/// The value around which the observations between two values lie.
fn middle(lower: f64, upper: f64, is_positive: bool, linear: bool) -> f64 {
    match (lower.is_infinite(), upper.is_infinite()) {
        (true, true) => 0.0,
        (true, false) if upper > 0.0 => upper / 2.0,
        (true, false) => upper,
        (false, true) => lower,
        (false, false) if linear => (lower + upper) / 2.0,
        (false, false) => {
            let geometric = (lower * upper).abs().sqrt();
            if is_positive { geometric } else { -geometric }
        }
    }
}
