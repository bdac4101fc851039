//! Multiplication and division by a number.

use marigram_storage::model::histogram::{Buckets, Histogram, ResetHint};

/// Multiplies all counts and the sum.
pub(crate) fn multiply(histogram: &mut Histogram, factor: f64) {
    map(histogram, |value| value * factor);
    if factor < 0.0 {
        histogram.hint = ResetHint::Gauge;
    }
}

/// Divides all counts and the sum. A division by zero leaves no buckets.
pub(crate) fn divide(histogram: &mut Histogram, divisor: f64) {
    if divisor == 0.0 {
        histogram.positive = Buckets::default();
        histogram.negative = Buckets::default();
    }
    map(histogram, |value| value / divisor);
    if divisor < 0.0 {
        histogram.hint = ResetHint::Gauge;
    }
}

fn map(histogram: &mut Histogram, f: impl Fn(f64) -> f64) {
    histogram.is_integer = false;
    let singles = [&mut histogram.zero_count, &mut histogram.count, &mut histogram.sum];
    let buckets = histogram.positive.counts.iter_mut().chain(&mut histogram.negative.counts);
    singles.into_iter().chain(buckets).for_each(|value| *value = f(*value));
}
