//! `*_over_time`: aggregations of one series over a window.

use super::Window;
use super::quantile::quantile;
use crate::eval::kahan::{self, KahanMean, KahanSum};

/// `avg_over_time`
pub(crate) fn avg(window: &Window<'_>) -> Option<f64> {
    let (&first, rest) = window.values.split_first()?;
    let mut mean = KahanMean::starting_at(first);
    rest.iter().for_each(|&value| mean.add(value));
    Some(mean.mean())
}

/// `sum_over_time`
pub(crate) fn sum(window: &Window<'_>) -> Option<f64> {
    let mut sum = KahanSum::default();
    window.values.iter().for_each(|&value| sum.add(value));
    Some(if sum.sum.is_infinite() { sum.sum } else { sum.total() })
}

/// `count_over_time`
pub(crate) fn count(window: &Window<'_>) -> Option<f64> {
    Some(window.values.len() as f64)
}

/// `min_over_time`: NaN only where there is nothing else.
pub(crate) fn min(window: &Window<'_>) -> Option<f64> {
    fold(window, |least, value| if value < least || least.is_nan() { value } else { least })
}

/// `max_over_time`: NaN only where there is nothing else.
pub(crate) fn max(window: &Window<'_>) -> Option<f64> {
    fold(window, |most, value| if value > most || most.is_nan() { value } else { most })
}

/// `first_over_time`
pub(crate) fn first(window: &Window<'_>) -> Option<f64> {
    window.values.first().copied()
}

/// `last_over_time`
pub(crate) fn last(window: &Window<'_>) -> Option<f64> {
    window.values.last().copied()
}

/// `present_over_time`
pub(crate) fn present(_: &Window<'_>) -> Option<f64> {
    Some(1.0)
}

/// `quantile_over_time`
pub(crate) fn quantile_of(window: &Window<'_>) -> Option<f64> {
    Some(quantile(window.args[0], &mut window.values.to_vec()))
}

/// `stdvar_over_time`
pub(crate) fn stdvar(window: &Window<'_>) -> Option<f64> {
    // Welford's method, with compensated sums.
    let (mut mean, mut mean_lost) = (0.0, 0.0);
    let (mut squares, mut squares_lost) = (0.0, 0.0);
    let mut count = 0.0;
    for &value in window.values {
        count += 1.0;
        let delta = value - (mean + mean_lost);
        (mean, mean_lost) = kahan::add(delta / count, mean, mean_lost);
        (squares, squares_lost) = kahan::add(delta * (value - (mean + mean_lost)), squares, squares_lost);
    }
    Some((squares + squares_lost) / count)
}

/// `stddev_over_time`
pub(crate) fn stddev(window: &Window<'_>) -> Option<f64> {
    stdvar(window).map(f64::sqrt)
}

/// `mad_over_time`: the median of the distances from the median.
pub(crate) fn mad(window: &Window<'_>) -> Option<f64> {
    if window.values.iter().any(|value| value.is_nan()) {
        return Some(f64::NAN);
    }
    let mut values = window.values.to_vec();
    let median = quantile(0.5, &mut values);
    values.iter_mut().for_each(|value| *value = (*value - median).abs());
    Some(quantile(0.5, &mut values))
}

/// `ts_of_first_over_time`
pub(crate) fn time_of_first(window: &Window<'_>) -> Option<f64> {
    window.times.first().map(|&time_ms| seconds(time_ms))
}

/// `ts_of_last_over_time`
pub(crate) fn time_of_last(window: &Window<'_>) -> Option<f64> {
    window.times.last().map(|&time_ms| seconds(time_ms))
}

/// `ts_of_max_over_time`: of several, the last.
pub(crate) fn time_of_max(window: &Window<'_>) -> Option<f64> {
    time_of(window, |value, most| value >= most || most.is_nan())
}

/// `ts_of_min_over_time`: of several, the last.
pub(crate) fn time_of_min(window: &Window<'_>) -> Option<f64> {
    time_of(window, |value, least| value <= least || least.is_nan())
}

fn time_of(window: &Window<'_>, better: impl Fn(f64, f64) -> bool) -> Option<f64> {
    let samples = window.times.iter().copied().zip(window.values.iter().copied());
    samples.reduce(|best, next| if better(next.1, best.1) { next } else { best }).map(|(time_ms, _)| seconds(time_ms))
}

fn seconds(time_ms: i64) -> f64 {
    time_ms as f64 / 1000.0
}

fn fold(window: &Window<'_>, f: impl Fn(f64, f64) -> f64) -> Option<f64> {
    window.values.iter().copied().reduce(f)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(kernel: fn(&Window<'_>) -> Option<f64>, values: &[f64]) -> f64 {
        let times: Vec<i64> = (1..=values.len() as i64).collect();
        let (start_ms, end_ms, args) = (0, 100, [0.5, 0.0]);
        let window = Window {
            times: &times,
            values,
            histograms: &[],
            starts: &[],
            start_ms,
            end_ms,
            range_ms: 100,
            time_ms: end_ms,
            args,
        };
        kernel(&window).unwrap()
    }

    #[test]
    fn aggregations_of_a_window() {
        let values = [1.0, 4.0, f64::NAN, 2.0];
        assert_eq!(on(min, &values), 1.0);
        assert_eq!(on(max, &values), 4.0);
        assert!(on(sum, &values).is_nan());
        assert_eq!(on(count, &values), 4.0);
        assert_eq!((on(first, &values), on(last, &values), on(present, &values)), (1.0, 2.0, 1.0));
        assert!(on(max, &[f64::NAN, f64::NAN]).is_nan());
        assert_eq!(on(sum, &[1.0, 1e100, 1.0, -1e100]), 2.0);
        assert_eq!(on(avg, &[1e308, 1e308, 1e308]), 1e308);
        assert_eq!(on(quantile_of, &[4.0, 1.0, 3.0]), 3.0);
        assert_eq!(on(stdvar, &[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]), 4.0);
        assert_eq!(on(stddev, &[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]), 2.0);
        let (first, last) = (on(time_of_first, &values), on(time_of_last, &values));
        assert_eq!((first, last), (0.001, 0.004));
        let (max, min) = (on(time_of_max, &[2.0, 7.0, 7.0, 1.0]), on(time_of_min, &[2.0, 7.0, 7.0, 1.0]));
        assert_eq!((max, min), (0.003, 0.004));
        assert_eq!(on(mad, &[4.0, 6.0, 2.0, 1.0, 999.0, 1.0, 2.0]), 1.0);
    }
}
