//! Sweeps of the rate family: resets (and changes) are found once per series.

use super::places::Places;
use super::{Carried, Windows};
use crate::error::QueryError;
use crate::eval::function::rate::{Extent, differs};

/// `rate`
pub(super) fn rate(windows: &Windows<'_>, carried: &mut Carried, out: &mut [f64]) -> Result<(), QueryError> {
    let range_s = windows.slide.range_ms as f64 / 1000.0;
    extrapolated(windows, carried, out, true, |stretch| stretch / range_s)
}

/// `increase`
pub(super) fn increase(windows: &Windows<'_>, carried: &mut Carried, out: &mut [f64]) -> Result<(), QueryError> {
    extrapolated(windows, carried, out, true, |stretch| stretch)
}

/// `delta`
pub(super) fn delta(windows: &Windows<'_>, carried: &mut Carried, out: &mut [f64]) -> Result<(), QueryError> {
    extrapolated(windows, carried, out, false, |stretch| stretch)
}

/// `resets`
pub(super) fn resets(windows: &Windows<'_>, carried: &mut Carried, out: &mut [f64]) -> Result<(), QueryError> {
    count(windows, &mut carried.places, out, |before, after| after < before);
    Ok(())
}

/// `changes`
pub(super) fn changes(windows: &Windows<'_>, carried: &mut Carried, out: &mut [f64]) -> Result<(), QueryError> {
    count(windows, &mut carried.places, out, differs);
    Ok(())
}

/// How many neighbours in each window differ like that.
fn count(windows: &Windows<'_>, places: &mut Places, out: &mut [f64], happens: impl Fn(f64, f64) -> bool) {
    places.find(windows.values, happens);
    for (out, (from, to)) in out.iter_mut().zip(windows.cuts.iter()) {
        *out = places.within(from, to).len() as f64;
    }
}

/// The change within each window, stretched to the whole range. `scale` makes of the factor what the change is multiplied with.
#[inline(always)]
fn extrapolated(
    windows: &Windows<'_>,
    carried: &mut Carried,
    out: &mut [f64],
    counter: bool,
    scale: impl Fn(f64) -> f64,
) -> Result<(), QueryError> {
    let Windows { times, values, slide, .. } = *windows;
    carried.places.find(if counter { values } else { &[] }, |before, after| after < before);
    // Where samples come regularly, windows are alike but for their values.
    let mut shape = None;
    let (mut extent, mut scaled) = (Extent::default(), 0.0);
    for ((step, out), (from, to)) in out.iter_mut().enumerate().zip(windows.cuts.iter()) {
        let samples = to - from;
        if samples < 2 {
            continue;
        }
        let (Some(&first_ms), Some(&last_ms)) = (times.get(from), times.get(to - 1)) else { continue };
        let (Some(&first), Some(&last)) = (values.get(from), values.get(to - 1)) else { continue };
        let mut change = last - first;
        let falls = carried.places.within(from, to);
        if !falls.is_empty() {
            for &after in falls {
                change += values.get(after as usize - 1).copied().unwrap_or_default();
            }
            let falls = falls.len();
            carried.look(windows.context, falls)?;
        }
        let end_ms = slide.end_ms(step);
        let this = Some((samples, last_ms - first_ms, end_ms - last_ms));
        if this != shape {
            shape = this;
            extent = Extent::new((first_ms, last_ms), samples, (end_ms - slide.range_ms, end_ms));
            scaled = scale(extent.factor(None));
        }
        let factor = match counter && change > 0.0 && first >= 0.0 && !extent.surely_reached(first, change) {
            true => scale(extent.factor(Some(first / change))),
            false => scaled,
        };
        *out = change * factor;
    }
    Ok(())
}
