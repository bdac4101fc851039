//! Sweeps of the rate family: resets (and changes) are found once per series.

use super::cuts::Alike;
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
    let alike = if carried.places.is_empty() { windows.cuts.alike(times, slide) } else { Alike::default() };
    if let Some(&[first_ms, .., last_ms]) = times.get(alike.from..alike.from + alike.samples) {
        let end_ms = slide.end_ms(alike.steps.start);
        let extent = Extent::new((first_ms, last_ms), alike.samples, (end_ms - slide.range_ms, end_ms));
        let firsts = values.get(alike.from..).unwrap_or_default();
        let lasts = firsts.get(alike.samples - 1..).unwrap_or_default();
        let ends = lasts.iter().zip(firsts);
        let out = out.get_mut(alike.steps.clone()).unwrap_or_default();
        match alike.stride {
            1 => extrapolated_alike(&extent, ends, out, counter, &scale),
            stride => extrapolated_alike(&extent, ends.step_by(stride), out, counter, &scale),
        }
    }
    let mut shape = None;
    let (mut extent, mut scaled) = (Extent::default(), 0.0);
    let others = (0..alike.steps.start).chain(alike.steps.end..out.len());
    for step in others {
        let (Some(out), Some((from, to))) = (out.get_mut(step), windows.cuts.at(step)) else { continue };
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

/// The same of windows without resets that have the same extent, by the last and the first value of each.
#[inline(always)]
fn extrapolated_alike<'v>(
    extent: &Extent,
    ends: impl Iterator<Item = (&'v f64, &'v f64)> + Clone,
    out: &mut [f64],
    counter: bool,
    scale: impl Fn(f64) -> f64,
) {
    let scaled = scale(extent.factor(None));
    // What is stretched back to before the first sample may be more than that was.
    let may_be_more =
        |change: f64, first: f64| counter & (change > 0.0) & (first >= 0.0) & !extent.surely_reached(first, change);
    // A loop without branches; another one for those that need them, if there are any.
    let mut any = false;
    for (out, (last, first)) in out.iter_mut().zip(ends.clone()) {
        let change = last - first;
        any |= may_be_more(change, *first);
        *out = change * scaled;
    }
    if any {
        for (out, (last, first)) in out.iter_mut().zip(ends) {
            let change = last - first;
            if may_be_more(change, *first) {
                *out = change * scale(extent.factor(Some(first / change)));
            }
        }
    }
}
