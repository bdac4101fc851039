//! Sweeps of sums and means.

use super::lanes::{Lanes, Run};
use super::prefix::{Prefix, magnitude};
use super::{Carried, Windows};
use crate::error::QueryError;
use crate::eval::function::{Window, over_time};

/// How far, in parts of it, a sum that is taken apart may be from what adding up its window makes of it.
const TOLERANCE: f64 = 1e-11;
/// In how many windows samples lie where sums are taken apart although that may be to be seen in their last digit.
const MANY: u64 = 64;

/// `sum_over_time`
pub(super) fn sum(windows: &Windows<'_>, carried: &mut Carried, out: &mut [f64]) -> Result<(), QueryError> {
    summed(windows, carried, out, |(sum, lost), _| sum + lost, over_time::sum)
}

/// `avg_over_time`
pub(super) fn avg(windows: &Windows<'_>, carried: &mut Carried, out: &mut [f64]) -> Result<(), QueryError> {
    let mean = |(sum, lost): (f64, f64), samples: usize| sum / samples as f64 + lost / samples as f64;
    summed(windows, carried, out, mean, over_time::avg)
}

/// What `finish` makes of the sum, what it lost, and the number of samples. `kernel` does all of it for one window.
fn summed(
    windows: &Windows<'_>,
    carried: &mut Carried,
    out: &mut [f64],
    finish: impl Fn((f64, f64), usize) -> f64,
    kernel: impl Fn(&Window<'_>) -> Option<f64>,
) -> Result<(), QueryError> {
    if !windows.overlap() {
        return windows.each(carried, out, kernel);
    }
    let many = windows.coverage.looked_at > MANY * windows.coverage.read;
    // Most series tell at once, and need no prefix then.
    if !many && Prefix::loses(windows.values) && magnitude(windows.values).is_some() {
        return side_by_side(windows, carried, out, finish);
    }
    if !carried.prefix.build(windows.values) {
        return windows.each(carried, out, kernel);
    }
    if !many && !carried.prefix.is_exact() {
        return side_by_side(windows, carried, out, finish);
    }
    for ((step, out), (from, to)) in out.iter_mut().enumerate().zip(windows.cuts.iter()) {
        let value = match carried.prefix.sum((from, to), TOLERANCE) {
            Some(sum) => Some(finish(sum, to - from)),
            None => {
                carried.look(windows.context, to - from)?;
                windows.window(step, from, to).and_then(|window| kernel(&window))
            }
        };
        *out = value.unwrap_or_default();
    }
    Ok(())
}

/// The same by adding up several windows at a time.
fn side_by_side(
    windows: &Windows<'_>,
    carried: &mut Carried,
    out: &mut [f64],
    finish: impl Fn((f64, f64), usize) -> f64,
) -> Result<(), QueryError> {
    let mut write = |run: &Run, lanes: &mut Lanes| {
        let sums = lanes.sums(run, windows.values, |_| 1.0);
        for (out, sum) in out.iter_mut().skip(run.step).zip(sums) {
            *out = finish(sum, run.samples);
        }
    };
    let mut run = Run::default();
    for (step, (from, to)) in windows.cuts.iter().enumerate() {
        carried.look(windows.context, to - from)?;
        if !run.goes_on(step, (from, to)) {
            write(&run, &mut carried.lanes);
            run = Run::starting_at(step, (from, to));
        }
    }
    write(&run, &mut carried.lanes);
    Ok(())
}
