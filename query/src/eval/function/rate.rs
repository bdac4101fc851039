//! The rate family: what counters and gauges did within a window.

use super::Window;
use super::start::{restarted, zero_within};
use crate::eval::kahan::KahanSum;

/// `rate`
pub(crate) fn rate(window: &Window<'_>) -> Option<f64> {
    let (change, stretch) = extrapolated(window, true)?;
    Some(change * (stretch / (window.range_ms as f64 / 1000.0)))
}

/// `increase`
pub(crate) fn increase(window: &Window<'_>) -> Option<f64> {
    extrapolated(window, true).map(|(change, stretch)| change * stretch)
}

/// `delta`
pub(crate) fn delta(window: &Window<'_>) -> Option<f64> {
    extrapolated(window, false).map(|(change, stretch)| change * stretch)
}

/// `irate`
pub(crate) fn irate(window: &Window<'_>) -> Option<f64> {
    let ((before_ms, before), (last_ms, last)) = last_two(window)?;
    // A counter that went down was reset, so that all of its value is new.
    let reset = last < before || restarted(window, before_ms, last_ms);
    let change = if reset { last } else { last - before };
    Some(change / ((last_ms - before_ms) as f64 / 1000.0))
}

/// `idelta`
pub(crate) fn idelta(window: &Window<'_>) -> Option<f64> {
    let ((_, before), (_, last)) = last_two(window)?;
    Some(last - before)
}

/// `resets`
pub(crate) fn resets(window: &Window<'_>) -> Option<f64> {
    if !window.starts.is_empty() {
        return Some(before_resets(window).count() as f64);
    }
    Some(pairs(window.values).filter(|(before, after)| after < before).count() as f64)
}

/// `changes`: how often the value differs from the one before; NaN does not differ from NaN.
pub(crate) fn changes(window: &Window<'_>) -> Option<f64> {
    Some(pairs(window.values).filter(|(before, after)| differs(*before, *after)).count() as f64)
}

/// Whether a value is another one than the one before.
pub(crate) fn differs(before: f64, after: f64) -> bool {
    before != after && !(before.is_nan() && after.is_nan())
}

/// `deriv`
pub(crate) fn deriv(window: &Window<'_>) -> Option<f64> {
    if window.values.len() < 2 {
        return None;
    }
    // Times are taken relative to one near them, which keeps their squares small.
    let origin_ms = *window.times.first()?;
    Some(regression(window, origin_ms).0)
}

/// `predict_linear`
pub(crate) fn predict_linear(window: &Window<'_>) -> Option<f64> {
    if window.values.len() < 2 {
        return None;
    }
    let (slope, intercept) = regression(window, window.time_ms);
    Some(slope * window.args[0] + intercept)
}

fn pairs<T: Copy>(values: &[T]) -> impl Iterator<Item = (T, T)> + '_ {
    values.iter().copied().zip(values.iter().copied().skip(1))
}

/// The values before resets, those included that only start timestamps tell.
fn before_resets(window: &Window<'_>) -> impl Iterator<Item = f64> {
    let all = pairs(window.values).zip(pairs(window.times));
    let resets = all.filter(move |((before, after), (before_ms, after_ms))| {
        after < before || restarted(window, *before_ms, *after_ms)
    });
    resets.map(|((before, _), _)| before)
}

type Point = (i64, f64);

fn last_two(window: &Window<'_>) -> Option<(Point, Point)> {
    let [.., before_ms, last_ms] = window.times else { return None };
    let [.., before, last] = window.values else { return None };
    Some(((*before_ms, *before), (*last_ms, *last)))
}

/// The change between the first and last sample, with what counters lost in resets, and the factor that stretches it to
/// the whole range.
///
/// Where the first (last) sample is nearer to the range's start (end) than 1.1 times the average distance of samples,
/// the change is stretched up to there; else by half of that distance, since the series then probably began (ended)
/// within the range. A counter is not stretched back beyond the moment at which it would have been zero. Where it is known when it was
/// zero, and that is within the range, the change is the one since then.
fn extrapolated(window: &Window<'_>, counter: bool) -> Option<(f64, f64)> {
    let (&[first_ms, ..], &[.., last_ms]) = (window.times, window.times) else { return None };
    let (&[first, ..], &[.., last]) = (window.values, window.values) else { return None };
    let mut change = last - first;
    if counter && window.starts.is_empty() {
        for (before, _) in pairs(window.values).filter(|(before, after)| after < before) {
            change += before;
        }
    } else if counter {
        for before in before_resets(window) {
            change += before;
        }
        if let Some(zero_ms) = zero_within(window, first_ms) {
            let factor = stretch_since(window, zero_ms, (first_ms, last_ms), window.values.len());
            return Some((change + first, factor));
        }
    }
    if window.values.len() < 2 {
        return None;
    }
    let zero = (counter && change > 0.0 && first >= 0.0).then_some(first / change);
    Some((change, stretch(window, (first_ms, last_ms), window.values.len(), zero)))
}

/// The factor that stretches a change between the first and the last of `samples` to the whole range. With `zero`, the
/// value was zero so many times the sampled interval before the first sample, and is not stretched back beyond that.
pub(super) fn stretch(window: &Window<'_>, ends_ms: (i64, i64), samples: usize, zero: Option<f64>) -> f64 {
    Extent::new(ends_ms, samples, (window.start_ms, window.end_ms)).factor(zero)
}

/// How far, in seconds, samples reach, and how far what they tell is stretched.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extent {
    sampled: f64,
    to_start: f64,
    to_end: f64,
}

impl Extent {
    /// That of several samples between a first and a last time, in a range between two others.
    pub(crate) fn new((first_ms, last_ms): (i64, i64), samples: usize, (start_ms, end_ms): (i64, i64)) -> Self {
        let sampled = (last_ms - first_ms) as f64 / 1000.0;
        let distance = sampled / (samples - 1) as f64;
        let threshold = distance * 1.1;
        let mut to_start = (first_ms - start_ms) as f64 / 1000.0;
        let mut to_end = (end_ms - last_ms) as f64 / 1000.0;
        if to_start >= threshold {
            to_start = distance / 2.0;
        }
        if to_end >= threshold {
            to_end = distance / 2.0;
        }
        Extent { sampled, to_start, to_end }
    }

    /// Whether a counter that grew by `change` from `first` on was surely above zero all the time since it is stretched back to. It says no
    /// where only a division can tell.
    #[inline]
    pub(crate) fn surely_reached(&self, first: f64, change: f64) -> bool {
        /// More than rounding makes of it.
        const CLEARLY: f64 = 1.0 + 1e-9;
        (change > 1e-250) & (first * self.sampled > change * self.to_start * CLEARLY)
    }

    /// The factor that stretches a change between the samples to the whole range.
    #[inline]
    pub(crate) fn factor(&self, zero: Option<f64>) -> f64 {
        let to_start = match zero {
            Some(zero) if self.sampled * zero < self.to_start => self.sampled * zero,
            _ => self.to_start,
        };
        (self.sampled + to_start + self.to_end) / self.sampled
    }
}

/// The factor that stretches a change since `zero_ms`, at which the counter was zero, to the end of the range.
pub(super) fn stretch_since(window: &Window<'_>, zero_ms: i64, (first_ms, last_ms): (i64, i64), samples: usize) -> f64 {
    let counted = (last_ms - zero_ms) as f64 / 1000.0;
    let distance = if samples > 1 { (last_ms - first_ms) as f64 / 1000.0 / (samples - 1) as f64 } else { 0.0 };
    let mut to_end = (window.end_ms - last_ms) as f64 / 1000.0;
    if to_end >= distance * 1.1 {
        to_end = distance / 2.0;
    }
    (counted + to_end) / counted
}

/// Least squares: slope per second, and the value at `origin_ms`.
fn regression(window: &Window<'_>, origin_ms: i64) -> (f64, f64) {
    let Some(&first) = window.values.first() else { return (f64::NAN, f64::NAN) };
    if window.values.iter().all(|&value| value == first) {
        // A constant has no slope, whatever rounding would make of it.
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let (mut x_sum, mut y_sum) = (KahanSum::default(), KahanSum::default());
    let (mut xy_sum, mut xx_sum) = (KahanSum::default(), KahanSum::default());
    for (&time_ms, &y) in window.times.iter().zip(window.values) {
        let x = seconds_from(origin_ms, time_ms);
        x_sum.add(x);
        y_sum.add(y);
        xy_sum.add(x * y);
        xx_sum.add(x * x);
    }
    let spread = Spread::new(window.values.len(), x_sum.total(), xx_sum.total());
    spread.line(y_sum.total(), xy_sum.total())
}

/// What a regression needs to know of a time.
#[inline]
pub(crate) fn seconds_from(origin_ms: i64, time_ms: i64) -> f64 {
    (time_ms - origin_ms) as f64 / 1e3
}

/// How the times of samples are spread.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spread {
    n: f64,
    x_sum: f64,
    variance: f64,
}

impl Spread {
    /// Of a number of samples, the sum of their times and that of the squares.
    pub(crate) fn new(samples: usize, x_sum: f64, xx_sum: f64) -> Self {
        let n = samples as f64;
        Spread { n, x_sum, variance: xx_sum - x_sum * x_sum / n }
    }

    /// Slope and intercept by the sum of the values and that of their products with the times.
    pub(crate) fn line(&self, y_sum: f64, xy_sum: f64) -> (f64, f64) {
        let covariance = xy_sum - self.x_sum * y_sum / self.n;
        let slope = covariance / self.variance;
        (slope, y_sum / self.n - slope * self.x_sum / self.n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window<'w>(times: &'w [i64], values: &'w [f64], end_ms: i64, range_ms: i64) -> Window<'w> {
        let (start_ms, time_ms) = (end_ms - range_ms, end_ms);
        Window { times, values, histograms: &[], starts: &[], start_ms, end_ms, range_ms, time_ms, args: [0.0; 2] }
    }

    #[test]
    fn a_counter_that_fills_the_range_is_stretched_to_its_ends() {
        let times = [10_000, 20_000, 30_000, 40_000, 50_000, 60_000];
        let w = window(&times, &[10.0, 20.0, 30.0, 40.0, 50.0, 60.0], 60_000, 60_000);
        assert_eq!(increase(&w), Some(60.0));
        assert_eq!(rate(&w), Some(1.0));
        assert_eq!(irate(&w), Some(1.0));
        assert_eq!(idelta(&w), Some(10.0));
    }

    #[test]
    fn resets_are_added_back_and_zero_is_the_limit() {
        let times = [10_000, 20_000, 30_000];
        let w = window(&times, &[100.0, 110.0, 5.0], 35_000, 300_000);
        assert_eq!(resets(&w), Some(1.0));
        // 15 within 20 s, 5 s more to the end, 5 s (half a distance) before the start.
        assert_eq!(increase(&w), Some(15.0 * 30.0 / 20.0));
        let w = window(&times, &[1.0, 11.0, 21.0], 30_000, 300_000);
        // The counter was zero one second before its first sample.
        assert_eq!(increase(&w), Some(21.0));
        assert_eq!(delta(&w), Some(20.0 * 25.0 / 20.0));
    }

    #[test]
    fn a_counter_far_above_zero_needs_no_division() {
        let extent = Extent::new((10_000, 30_000), 3, (0, 30_000));
        for (first, change) in
            [(1e3, 1.0), (0.6, 1.0), (0.5, 1.0), (0.4, 1.0), (0.0, 1.0), (1e308, 1e300), (1e-300, 1e-305)]
        {
            let cut = extent.factor(Some(first / change)) != extent.factor(None);
            assert!(!cut || !extent.surely_reached(first, change), "{first} {change}");
        }
        assert!(extent.surely_reached(0.6, 1.0) && !extent.surely_reached(0.4, 1.0));
    }

    #[test]
    fn one_sample_has_no_rate() {
        let w = window(&[1], &[1.0], 10, 100);
        assert_eq!((rate(&w), irate(&w), deriv(&w), idelta(&w)), (None, None, None, None));
        assert_eq!((changes(&w), resets(&w)), (Some(0.0), Some(0.0)));
    }

    #[test]
    fn a_line_is_found() {
        let times = [0, 10_000, 20_000];
        let mut w = window(&times, &[1.0, 2.0, 3.0], 20_000, 60_000);
        assert!((deriv(&w).unwrap() - 0.1).abs() < 1e-12);
        w.args[0] = 10.0;
        assert!((predict_linear(&w).unwrap() - 4.0).abs() < 1e-9);
        assert_eq!(deriv(&window(&times, &[7.0, 7.0, 7.0], 20_000, 60_000)), Some(0.0));
    }
}
