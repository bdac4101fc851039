//! Arithmetic of classic histograms: cumulative counts, one for each upper bound `le`.

/// Relative differences of counts up to this are rounding errors.
const ROUNDING_TOLERANCE: f64 = 1e-12;

/// A bucket at one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bucket {
    pub(super) upper: f64,
    pub(super) count: f64,
}

/// A bound as Go's `ParseFloat` reads it, as far as bounds go.
pub(super) fn parse_bound(text: &str) -> Option<f64> {
    text.parse::<f64>().ok()
}

/// Counts that had to be levelled out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Levelled {
    pub(super) lowest_bucket: f64,
    pub(super) highest_bucket: f64,
    pub(super) widest_diff: f64,
}

/// The `q`-quantile of a histogram whose buckets are sorted by bound.
pub(super) fn quantile(q: f64, buckets: &mut Vec<Bucket>) -> (f64, Option<Levelled>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if !(0.0..=1.0).contains(&q) {
        return (if q < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY }, None);
    }
    if buckets.last().is_none_or(|last| last.upper != f64::INFINITY) {
        return (f64::NAN, None);
    }
    merge_equal_bounds(buckets);
    let levelled = level_out(buckets);
    (interpolated(q, buckets), levelled)
}

fn interpolated(q: f64, buckets: &[Bucket]) -> f64 {
    let [finite @ .., last] = buckets else { return f64::NAN };
    let Some(highest) = finite.last() else { return f64::NAN };
    if last.count == 0.0 {
        return f64::NAN;
    }
    let mut rank = q * last.count;
    // A bucket with a NaN count counts as one below the rank, as in Prometheus.
    let at = finite.partition_point(|bucket| bucket.count < rank || bucket.count.is_nan() || rank.is_nan());
    let Some(bucket) = finite.get(at) else { return highest.upper };
    let (mut lower, mut count) = (0.0, bucket.count);
    match at.checked_sub(1).and_then(|before| finite.get(before)) {
        None if bucket.upper <= 0.0 => return bucket.upper,
        None => {}
        Some(before) => {
            lower = before.upper;
            count -= before.count;
            rank -= before.count;
        }
    }
    lower + (bucket.upper - lower) * (rank / count)
}

fn merge_equal_bounds(buckets: &mut Vec<Bucket>) {
    buckets.dedup_by(|next, kept| {
        let same = next.upper == kept.upper;
        if same {
            kept.count += next.count;
        }
        same
    });
}

/// Makes the counts ascend. Tiny differences in either direction are taken for rounding errors, and not told.
fn level_out(buckets: &mut [Bucket]) -> Option<Levelled> {
    let mut levelled: Option<Levelled> = None;
    let (first, rest) = buckets.split_first_mut()?;
    let mut previous = first.count;
    for bucket in rest {
        if bucket.count == previous {
            continue;
        }
        if almost_equal(previous, bucket.count) {
            bucket.count = previous;
        } else if bucket.count < previous {
            let told = levelled.get_or_insert(Levelled {
                lowest_bucket: f64::INFINITY,
                highest_bucket: f64::NEG_INFINITY,
                widest_diff: 0.0,
            });
            told.lowest_bucket = told.lowest_bucket.min(bucket.upper);
            told.highest_bucket = told.highest_bucket.max(bucket.upper);
            told.widest_diff = told.widest_diff.max(previous - bucket.count);
            bucket.count = previous;
        } else {
            previous = bucket.count;
        }
    }
    levelled
}

fn almost_equal(a: f64, b: f64) -> bool {
    if a.is_nan() && b.is_nan() || a == b {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < ROUNDING_TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < ROUNDING_TOLERANCE
}

/// The share of observations between `lower` and `upper`, in a histogram whose buckets are sorted by bound.
pub(super) fn fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if buckets.last().is_none_or(|last| last.upper != f64::INFINITY) {
        return f64::NAN;
    }
    merge_equal_bounds(buckets);
    let total = buckets.last().map_or(0.0, |last| last.count);
    if total == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    (rank_of(upper, buckets, total) - rank_of(lower, buckets, total)) / total
}

/// How many observations are at most `value`, interpolated within its bucket.
fn rank_of(value: f64, buckets: &[Bucket], total: f64) -> f64 {
    let mut below = 0.0;
    let mut bound = match buckets.first() {
        Some(first) if first.upper > 0.0 => 0.0,
        _ => f64::NEG_INFINITY,
    };
    for bucket in buckets {
        if bound >= value {
            return if below > total { total } else { below };
        }
        if bucket.upper > value {
            // Within a bucket without a lower end nothing can be interpolated.
            let rank = if bound == f64::NEG_INFINITY {
                bucket.count
            } else {
                below + (bucket.count - below) * (value - bound) / (bucket.upper - bound)
            };
            return if rank > total { total } else { rank };
        }
        below = bucket.count;
        bound = bucket.upper;
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(of: &[(f64, f64)]) -> Vec<Bucket> {
        of.iter().map(|&(upper, count)| Bucket { upper, count }).collect()
    }

    #[test]
    fn quantiles_are_interpolated() {
        let b = buckets(&[(1.0, 10.0), (2.0, 20.0), (f64::INFINITY, 20.0)]);
        assert_eq!(quantile(0.5, &mut b.clone()).0, 1.0);
        assert_eq!(quantile(0.75, &mut b.clone()).0, 1.5);
        assert_eq!(quantile(0.25, &mut b.clone()).0, 0.5);
        assert_eq!(quantile(2.0, &mut b.clone()).0, f64::INFINITY);
        let beyond = buckets(&[(1.0, 10.0), (f64::INFINITY, 20.0)]);
        assert_eq!(quantile(0.9, &mut beyond.clone()).0, 1.0);
        assert!(quantile(0.5, &mut buckets(&[(1.0, 10.0)])).0.is_nan());
        assert!(quantile(0.5, &mut buckets(&[(1.0, 0.0), (f64::INFINITY, 0.0)])).0.is_nan());
    }

    #[test]
    fn counts_that_go_down_are_levelled_and_told() {
        let mut b = buckets(&[(1.0, 10.0), (2.0, 8.0), (f64::INFINITY, 20.0)]);
        let told = quantile(0.5, &mut b).1.unwrap();
        assert_eq!((told.lowest_bucket, told.highest_bucket, told.widest_diff), (2.0, 2.0, 2.0));
        assert_eq!(b[1].count, 10.0);
        let mut tiny = buckets(&[(1.0, 10.0), (2.0, 10.0 - 1e-14), (f64::INFINITY, 20.0)]);
        assert_eq!(quantile(0.5, &mut tiny).1, None);
    }

    #[test]
    fn fractions() {
        let b = buckets(&[(1.0, 10.0), (2.0, 20.0), (f64::INFINITY, 40.0)]);
        assert_eq!(fraction(0.0, 1.0, &mut b.clone()), 0.25);
        assert_eq!(fraction(0.5, 1.5, &mut b.clone()), 0.25);
        assert_eq!(fraction(f64::NEG_INFINITY, f64::INFINITY, &mut b.clone()), 1.0);
        assert_eq!(fraction(3.0, 2.0, &mut b.clone()), 0.0);
        assert!(fraction(f64::NAN, 2.0, &mut b.clone()).is_nan());
    }
}
