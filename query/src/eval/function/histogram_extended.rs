//! Functions of `anchored` and `smoothed` range vectors of histograms: what happened between the histograms *at* both ends of
//! the range. See the functions of floats for what the windows hold.

use std::sync::Arc;

use marigram_storage::model::histogram::{Histogram, HistogramSample, ResetHint};

use super::{HistogramKernel, Window, histograms};
use crate::eval::notes::{Note, Notes};
use crate::histogram::{Incompatible, add, compact, detect_reset, divide, multiply, subtract};
use crate::parse::ast::Boundary;
use crate::value::SampleValue;

/// The function of this name for windows with histograms and such ends, where there is one.
pub(crate) fn kernel(name: &str, boundary: Boundary) -> Option<HistogramKernel> {
    Some(match (boundary, name) {
        (Boundary::Anchored, "rate") => |w, notes| change(w, false, true, seconds(w), notes),
        (Boundary::Anchored, "increase") => |w, notes| change(w, false, true, 1.0, notes),
        (Boundary::Anchored, "delta") => |w, notes| change(w, false, false, 1.0, notes),
        (Boundary::Anchored, "resets") => |w, notes| histograms::resets(&since_anchor(w)?, notes),
        (Boundary::Anchored, "changes") => |w, notes| histograms::changes(&since_anchor(w)?, notes),
        (Boundary::Smoothed, "rate") => |w, notes| change(w, true, true, seconds(w), notes),
        (Boundary::Smoothed, "increase") => |w, notes| change(w, true, true, 1.0, notes),
        (Boundary::Smoothed, "delta") => |w, notes| change(w, true, false, 1.0, notes),
        _ => return None,
    })
}

fn seconds(window: &Window<'_>) -> f64 {
    window.range_ms as f64 / 1000.0
}

/// The window from its anchor on: the last sample at or before the start of the range. `None` if nothing comes after.
fn since_anchor<'w>(window: &Window<'w>) -> Option<Window<'w>> {
    let floats = window.times.partition_point(|time_ms| *time_ms <= window.start_ms);
    let histograms = window.histograms.partition_point(|sample| sample.timestamp_ms <= window.start_ms);
    if floats >= window.times.len() && histograms >= window.histograms.len() {
        return None;
    }
    let float_ms = floats.checked_sub(1).and_then(|at| window.times.get(at)).copied();
    let histogram_ms =
        histograms.checked_sub(1).and_then(|at| window.histograms.get(at)).map(|sample| sample.timestamp_ms);
    let (first, first_histogram) = match (float_ms, histogram_ms) {
        (None, None) => (0, 0),
        (Some(float_ms), Some(histogram_ms)) if float_ms < histogram_ms => (floats, histograms - 1),
        (Some(_), _) => (floats - 1, histograms),
        (None, Some(_)) => (floats, histograms - 1),
    };
    Some(Window {
        times: window.times.get(first..)?,
        values: window.values.get(first..)?,
        histograms: window.histograms.get(first_histogram..)?,
        ..*window
    })
}

/// The samples from the one at or before the start (or the first) to the last, of a smoothed window to the first at or behind
/// the end. `None` where none lies behind the start, or (smoothed) none before the end.
fn between_ends<'w>(window: &Window<'w>, smoothed: bool) -> Option<&'w [HistogramSample]> {
    let samples = window.histograms;
    let mut last = samples.len().checked_sub(1)?;
    let inner = samples.get(..last)?;
    let first = inner.partition_point(|sample| sample.timestamp_ms <= window.start_ms).saturating_sub(1);
    if smoothed {
        last = inner.partition_point(|sample| sample.timestamp_ms < window.end_ms);
    }
    let time_ms = |at: usize| samples.get(at).map(|sample| sample.timestamp_ms);
    if time_ms(last)? <= window.start_ms || smoothed && time_ms(first)? > window.end_ms {
        return None;
    }
    samples.get(first..=last)
}

/// The histogram at a time between two. A counter that was reset between both began at zero.
///
/// # Errors
/// One has exponential buckets, the other custom ones.
fn interpolated_histogram(
    before: &HistogramSample,
    after: &HistogramSample,
    time_ms: i64,
    counter: bool,
    notes: &mut Notes,
) -> Result<Histogram, Incompatible> {
    if time_ms == before.timestamp_ms {
        return Ok(Histogram::clone(&before.histogram));
    }
    let mut result = Histogram::clone(&after.histogram);
    if time_ms == after.timestamp_ms {
        return Ok(result);
    }
    let share = (time_ms - before.timestamp_ms) as f64 / (after.timestamp_ms - before.timestamp_ms) as f64;
    if counter && detect_reset(&after.histogram, &before.histogram) {
        multiply(&mut result, share);
        return Ok(result);
    }
    let combined = subtract(&mut result, &before.histogram)?;
    notes.add_if(combined.bounds_reconciled, Note::ReconciledInSubtraction);
    multiply(&mut result, share);
    let combined = add(&mut result, &before.histogram)?;
    notes.add_if(combined.bounds_reconciled, Note::ReconciledInAddition);
    Ok(result)
}

/// The change over the range, divided by `divisor`.
fn change(window: &Window<'_>, smoothed: bool, counter: bool, divisor: f64, notes: &mut Notes) -> Option<SampleValue> {
    if !window.values.is_empty() {
        notes.add(Note::MixedRange);
        return None;
    }
    let samples = between_ends(window, smoothed)?;
    let custom = samples.first()?.histogram.has_custom_buckets();
    if samples.iter().any(|sample| sample.histogram.has_custom_buckets() != custom) {
        notes.add(Note::MixedBuckets);
        return None;
    }
    let is_gauge = |histogram: &Histogram| histogram.hint == ResetHint::Gauge;
    notes.add_if(counter && samples.iter().any(|sample| is_gauge(&sample.histogram)), Note::NotCounter);
    let mut change = change_of(window, samples, smoothed, counter, notes).ok().or_else(|| {
        notes.add(Note::MixedBuckets);
        None
    })??;
    if divisor != 1.0 {
        divide(&mut change, divisor);
    }
    change.hint = ResetHint::Gauge;
    compact(&mut change);
    Some(SampleValue::Histogram(Arc::new(change)))
}

fn change_of(
    window: &Window<'_>,
    samples: &[HistogramSample],
    smoothed: bool,
    counter: bool,
    notes: &mut Notes,
) -> Result<Option<Histogram>, Incompatible> {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return Ok(None) };
    let mut left = Histogram::clone(&first.histogram);
    let mut left_is_between = false;
    if let (true, [before, after, ..]) = (smoothed && first.timestamp_ms < window.start_ms, samples) {
        left = interpolated_histogram(before, after, window.start_ms, counter, notes)?;
        left_is_between = true;
    }
    let mut right = Histogram::clone(&last.histogram);
    if let (true, [.., before, after]) = (smoothed && last.timestamp_ms > window.end_ms, samples) {
        right = interpolated_histogram(before, after, window.end_ms, counter, notes)?;
    }
    let is_gauge = |histogram: &Histogram| histogram.hint == ResetHint::Gauge;
    if !counter {
        notes.add_if(!is_gauge(&left) || !is_gauge(&right), Note::NotGauge);
    }
    let mut change = right.clone();
    let combined = subtract(&mut change, &left)?;
    notes.add_if(combined.bounds_reconciled, Note::ReconciledInSubtraction);
    if counter && let Some(lost) = lost_in_resets(samples, &left, &right, left_is_between, notes)? {
        let combined = add(&mut change, &lost)?;
        notes.add_if(combined.bounds_reconciled, Note::ReconciledInAddition);
    }
    Ok(Some(change))
}

/// What a counter lost in resets between the ends of the range.
fn lost_in_resets(
    samples: &[HistogramSample],
    left: &Histogram,
    right: &Histogram,
    left_is_between: bool,
    notes: &mut Notes,
) -> Result<Option<Histogram>, Incompatible> {
    let mut from = 1;
    let mut before = left;
    if let (true, [first, second, ..]) = (left_is_between, samples)
        && detect_reset(&second.histogram, &first.histogram)
    {
        // The left end was interpolated across this reset.
        before = &second.histogram;
        from += 1;
    }
    // The last sample is the right end itself, or is what that was interpolated with.
    let until = samples.len().saturating_sub(1);
    if from > until {
        return Ok(None);
    }
    let mut lost: Option<Histogram> = None;
    let between = samples.get(from..until).unwrap_or_default().iter().map(|sample| &*sample.histogram);
    for next in between.chain([right]) {
        if detect_reset(next, before) {
            match &mut lost {
                None => lost = Some(before.clone()),
                Some(lost) => {
                    let combined = add(lost, before)?;
                    notes.add_if(combined.bounds_reconciled, Note::ReconciledInAddition);
                }
            }
        }
        before = next;
    }
    Ok(lost)
}

/// The histogram at a time by those around it: the one there, between two, or the last before it.
pub(crate) fn smoothed_at(samples: &[&HistogramSample], time_ms: i64, notes: &mut Notes) -> Option<Arc<Histogram>> {
    let at = samples.partition_point(|sample| sample.timestamp_ms < time_ms);
    let (before, after) = (at.checked_sub(1).and_then(|before| samples.get(before)), samples.get(at));
    match (before, after) {
        (_, Some(there)) if there.timestamp_ms == time_ms => Some(Arc::clone(&there.histogram)),
        (None, _) => None,
        (Some(before), None) => {
            // The hint is about the sample before, not about this time.
            Some(Arc::new(Histogram { hint: ResetHint::Unknown, ..Histogram::clone(&before.histogram) }))
        }
        (Some(before), Some(after)) => {
            let is_gauge = |sample: &HistogramSample| sample.histogram.hint == ResetHint::Gauge;
            let counter = !is_gauge(before) || !is_gauge(after);
            if before.histogram.has_custom_buckets() != after.histogram.has_custom_buckets() {
                notes.add(Note::MixedBuckets);
                return None;
            }
            match interpolated_histogram(before, after, time_ms, counter, notes) {
                Ok(histogram) => Some(Arc::new(histogram)),
                Err(Incompatible) => {
                    notes.add(Note::MixedBuckets);
                    None
                }
            }
        }
    }
}
