//! Sweeps of the least and the greatest value.

use super::{Carried, Windows};
use crate::error::QueryError;
use crate::eval::function::{Window, over_time};

/// `min_over_time`
pub(super) fn min(windows: &Windows<'_>, carried: &mut Carried, out: &mut [f64]) -> Result<(), QueryError> {
    extremes(windows, carried, out, |new, old| new < old, over_time::min)
}

/// `max_over_time`
pub(super) fn max(windows: &Windows<'_>, carried: &mut Carried, out: &mut [f64]) -> Result<(), QueryError> {
    extremes(windows, carried, out, |new, old| new > old, over_time::max)
}

/// The value of each window than which no other is `better`; of several the first.
///
/// A queue holds the samples that can still become it: the best of the window, the best of those behind that, and so on.
fn extremes(
    windows: &Windows<'_>,
    carried: &mut Carried,
    out: &mut [f64],
    better: impl Fn(f64, f64) -> bool,
    kernel: impl Fn(&Window<'_>) -> Option<f64>,
) -> Result<(), QueryError> {
    if !windows.overlap() {
        return windows.each(carried, out, kernel);
    }
    let queue = &mut carried.queue;
    queue.clear();
    let (mut first, mut next) = (0, 0);
    for (out, (from, to)) in out.iter_mut().zip(windows.cuts.iter()) {
        next = from.max(next);
        let new = windows.values.get(next..to).unwrap_or_default();
        // NaN is the answer only where there is nothing else.
        for (at, &value) in (next..).zip(new).filter(|(_, value)| !value.is_nan()) {
            while queue.len() > first && queue.last().is_some_and(|(_, old)| better(value, *old)) {
                queue.pop();
            }
            queue.push((at as u32, value));
        }
        next = to;
        while queue.get(first).is_some_and(|(at, _)| (*at as usize) < from) {
            first += 1;
        }
        *out = queue.get(first).map_or(f64::NAN, |(_, value)| *value);
    }
    Ok(())
}
