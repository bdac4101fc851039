//! Functions of `anchored` and `smoothed` range vectors: what happened between the values *at* both ends of the range.
//!
//! The window then holds samples beyond its ends: of an anchored one those of the lookback before the start; of a smoothed one
//! also those of the lookback behind the end. At an end, an anchored window has the value of the sample before it; a smoothed
//! one what a straight line between the samples on both sides has.

use super::{Window, rate};
use crate::parse::ast::Boundary;

/// A function of a range vector without extrapolation.
type Kernel = fn(&Window<'_>) -> Option<f64>;

/// The functions that know anchored range vectors, as the message of Prometheus lists them.
const ANCHORED: &str = "changes, delta, increase, rate, resets";
/// The functions that know smoothed range vectors.
const SMOOTHED: &str = "delta, increase, rate";

/// The function of this name for range vectors with such ends.
///
/// # Errors
/// What is to be said where there is none.
pub(crate) fn kernel(name: &str, boundary: Boundary) -> Result<Kernel, String> {
    let anchored = boundary == Boundary::Anchored;
    Ok(match name {
        "rate" if anchored => |w| per_second(w, change(w, false, true)),
        "rate" => |w| per_second(w, change(w, true, true)),
        "increase" if anchored => |w| change(w, false, true),
        "increase" => |w| change(w, true, true),
        "delta" if anchored => |w| change(w, false, false),
        "delta" => |w| change(w, true, false),
        "changes" if anchored => |w| rate::changes(&since_anchor(w)?),
        "resets" if anchored => |w| rate::resets(&since_anchor(w)?),
        _ => return Err(not_for(name, boundary)),
    })
}

/// What is to be said of a function that does not know range vectors with such ends.
pub(crate) fn not_for(name: &str, boundary: Boundary) -> String {
    let known = if boundary == Boundary::Anchored { ANCHORED } else { SMOOTHED };
    format!("{} modifier can only be used with: {known} - not with {name}", boundary.as_str())
}

fn per_second(window: &Window<'_>, change: Option<f64>) -> Option<f64> {
    Some(change? / (window.range_ms as f64 / 1000.0))
}

/// Which samples stand for the ends of a window, and the values there.
struct Ends {
    /// The sample at or before the start, or the first behind it.
    first: usize,
    /// The last sample, of a smoothed window the first at or behind the end.
    last: usize,
    left: f64,
    right: f64,
}

/// `None` where no sample lies behind the start.
fn ends(window: &Window<'_>, smoothed: bool, counter: bool) -> Option<Ends> {
    let Window { times, start_ms, end_ms, .. } = *window;
    let mut last = times.len().checked_sub(1)?;
    let inner = times.get(..last)?;
    let first = inner.partition_point(|t| *t <= start_ms).saturating_sub(1);
    if smoothed {
        last = inner.partition_point(|t| *t < end_ms);
    }
    let time = |at: usize| times.get(at).copied();
    if time(last)? <= start_ms {
        return None;
    }
    let left = match time(first)? < start_ms && smoothed {
        true => interpolated(window, first, start_ms, counter)?,
        false => *window.values.get(first)?,
    };
    let right = match time(last)? > end_ms && smoothed && last > 0 {
        true => interpolated(window, last - 1, end_ms, counter)?,
        false => *window.values.get(last)?,
    };
    Some(Ends { first, last, left, right })
}

/// The value at a time between the sample at `before` and the next. A counter that was reset between both began at zero.
fn interpolated(window: &Window<'_>, before: usize, time_ms: i64, counter: bool) -> Option<f64> {
    let (&from_ms, &to_ms) = (window.times.get(before)?, window.times.get(before + 1)?);
    let (&from, &to) = (window.values.get(before)?, window.values.get(before + 1)?);
    let from = if counter && to < from { 0.0 } else { from };
    Some(from + (to - from) * (time_ms - from_ms) as f64 / (to_ms - from_ms) as f64)
}

/// The change between both ends, with what a counter lost in resets.
fn change(window: &Window<'_>, smoothed: bool, counter: bool) -> Option<f64> {
    let Ends { mut first, last, left, right } = ends(window, smoothed, counter)?;
    if *window.times.get(first)? > window.end_ms {
        return None;
    }
    let mut change = right - left;
    if counter {
        // Samples at the ends are in `left` and `right` already.
        if *window.times.get(first)? <= window.start_ms {
            first += 1;
        }
        let end = if *window.times.get(last)? >= window.end_ms { last } else { last + 1 };
        let within = window.values.get(first..end).unwrap_or_default();
        let mut before = left;
        for &value in within.iter().chain([&right]) {
            if value < before {
                change += before;
            }
            before = value;
        }
    }
    Some(change)
}

/// The window from the last sample at or before its start on; `None` where no sample lies behind the start.
fn since_anchor<'w>(window: &Window<'w>) -> Option<Window<'w>> {
    let behind = window.times.partition_point(|t| *t <= window.start_ms);
    if behind == window.times.len() {
        return None;
    }
    let from = behind.saturating_sub(1);
    Some(Window { times: window.times.get(from..)?, values: window.values.get(from..)?, ..*window })
}

/// The samples of a range vector with such ends: those within, and one at each end.
pub(crate) fn with_ends(window: &Window<'_>, boundary: Boundary) -> (Vec<i64>, Vec<f64>) {
    let Some(Ends { left, right, .. }) = ends(window, boundary == Boundary::Smoothed, false) else {
        return (Vec::new(), Vec::new());
    };
    let within = |t: i64| t > window.start_ms && t < window.end_ms;
    let samples = window.times.iter().copied().zip(window.values.iter().copied()).filter(|(t, _)| within(*t));
    let all = std::iter::once((window.start_ms, left)).chain(samples).chain([(window.end_ms, right)]);
    all.unzip()
}

/// The value at a time by the samples around it: of the sample there, between two, or of the last before it.
pub(crate) fn smoothed_at(times: &[i64], values: &[f64], time_ms: i64) -> Option<f64> {
    let at = times.partition_point(|t| *t < time_ms);
    if times.get(at) == Some(&time_ms) {
        return values.get(at).copied();
    }
    let before = at.checked_sub(1)?;
    let (&from_ms, &from) = (times.get(before)?, values.get(before)?);
    match (times.get(at), values.get(at)) {
        (Some(&to_ms), Some(&to)) => Some(from + (to - from) * (time_ms - from_ms) as f64 / (to_ms - from_ms) as f64),
        _ => Some(from),
    }
}
