//! The rate family of histograms: what happened within a window, as a histogram.

use std::sync::Arc;

use marigram_storage::model::histogram::{Histogram, HistogramSample, ResetHint};

use super::Window;
use super::rate::{stretch, stretch_since};
use super::start::{restarted, zero_within};
use crate::eval::notes::{Note, Notes};
use crate::histogram::{add, compact, detect_reset, divide, multiply, reduced_to, subtract};
use crate::value::SampleValue;

/// `rate`
pub(crate) fn rate(window: &Window<'_>, notes: &mut Notes) -> Option<SampleValue> {
    extrapolated(window, true, window.range_ms as f64 / 1000.0, notes)
}

/// `increase`
pub(crate) fn increase(window: &Window<'_>, notes: &mut Notes) -> Option<SampleValue> {
    extrapolated(window, true, 1.0, notes)
}

/// `delta`
pub(crate) fn delta(window: &Window<'_>, notes: &mut Notes) -> Option<SampleValue> {
    extrapolated(window, false, 1.0, notes)
}

/// `irate`
pub(crate) fn irate(window: &Window<'_>, notes: &mut Notes) -> Option<SampleValue> {
    instant(window, true, notes)
}

/// `idelta`
pub(crate) fn idelta(window: &Window<'_>, notes: &mut Notes) -> Option<SampleValue> {
    instant(window, false, notes)
}

fn extrapolated(window: &Window<'_>, counter: bool, seconds: f64, notes: &mut Notes) -> Option<SampleValue> {
    if !window.values.is_empty() {
        notes.add(Note::MixedRange);
        return None;
    }
    let samples = window.histograms;
    let (first, last) = samples.first().zip(samples.last())?;
    if let Some(zero_ms) = zero_within(window, first.timestamp_ms).filter(|_| counter) {
        let mut change = match samples.len() {
            1 => Histogram::clone(&first.histogram),
            _ => {
                let mut change = change(window, counter, notes)?;
                let Ok(combined) = add(&mut change, &first.histogram) else {
                    notes.add(Note::MixedBuckets);
                    return None;
                };
                notes.add_if(combined.bounds_reconciled, Note::ReconciledInAddition);
                change
            }
        };
        let ends = (first.timestamp_ms, last.timestamp_ms);
        multiply(&mut change, stretch_since(window, zero_ms, ends, samples.len()) / seconds);
        return Some(SampleValue::Histogram(Arc::new(change)));
    }
    if samples.len() < 2 {
        return None;
    }
    let mut change = change(window, counter, notes)?;
    let zero =
        (counter && change.count > 0.0 && first.histogram.count >= 0.0).then(|| first.histogram.count / change.count);
    let factor = stretch(window, (first.timestamp_ms, last.timestamp_ms), samples.len(), zero);
    multiply(&mut change, factor / seconds);
    Some(SampleValue::Histogram(Arc::new(change)))
}

/// The change between the first and last sample, with what counters lost in resets.
fn change(window: &Window<'_>, counter: bool, notes: &mut Notes) -> Option<Histogram> {
    let mut found = Notes::default();
    let change = change_with_notes(window, counter, &mut found);
    if change.is_none() {
        // Whatever else came up, the windows's histograms do not go together.
        found = Notes::default();
        found.add(Note::MixedBuckets);
    }
    notes.merge(found);
    change
}

fn change_with_notes(window: &Window<'_>, counter: bool, notes: &mut Notes) -> Option<Histogram> {
    let samples = window.histograms;
    let [first, rest @ ..] = samples else { return None };
    let [middle @ .., last] = rest else { return None };
    let (first_ms, first, last) = (first.timestamp_ms, &*first.histogram, &*last.histogram);
    let is_gauge = |histogram: &Histogram| histogram.hint == ResetHint::Gauge;
    // After a reset between the first and the second sample, the first does not count, whatever its buckets are.
    let HistogramSample { timestamp_ms: second_ms, histogram: second } = rest.first()?;
    let nothing;
    let mut before = first;
    if counter {
        notes.add_if(samples.iter().any(|sample| is_gauge(&sample.histogram)), Note::NotCounter);
        if restarted(window, first_ms, *second_ms) || detect_reset(second, first) {
            let (schema, custom_values) = (second.schema, second.custom_values.clone());
            nothing = Histogram { schema, custom_values, ..Histogram::default() };
            before = &nothing;
        }
    }
    let custom = before.has_custom_buckets();
    let mut schema = last.schema.min(before.schema);
    if counter {
        schema = middle.iter().map(|sample| sample.histogram.schema).fold(schema, i8::min);
        if middle.iter().any(|sample| sample.histogram.has_custom_buckets() != custom) {
            return None;
        }
    }
    if last.has_custom_buckets() != custom {
        return None;
    }
    let mut change = reduced_to(last, schema);
    let combined = subtract(&mut change, before).ok()?;
    notes.add_if(combined.bounds_reconciled, Note::ReconciledInSubtraction);
    if counter {
        let mut before_ms = first_ms;
        for HistogramSample { timestamp_ms, histogram } in rest {
            if restarted(window, before_ms, *timestamp_ms) || detect_reset(histogram, before) {
                let combined = add(&mut change, before).ok()?;
                notes.add_if(combined.bounds_reconciled, Note::ReconciledInAddition);
            }
            before_ms = *timestamp_ms;
            before = histogram;
        }
    } else {
        notes.add_if(!is_gauge(first) || !is_gauge(last), Note::NotGauge);
    }
    change.hint = ResetHint::Gauge;
    compact(&mut change);
    Some(change)
}

/// The change between the last two samples, per second for `irate`.
fn instant(window: &Window<'_>, counter: bool, notes: &mut Notes) -> Option<SampleValue> {
    let (before, last) = last_two(window)?;
    let seconds = (last.0 - before.0) as f64 / 1000.0;
    let restarted = counter && restarted(window, before.0, last.0);
    let (before, last) = match (before.1, last.1) {
        (Kind::Float(before), Kind::Float(last)) => {
            // As for a window of floats only.
            let change = if counter && (last < before || restarted) { last } else { last - before };
            return Some(SampleValue::Float(if counter { change / seconds } else { change }));
        }
        (Kind::Histogram(before), Kind::Histogram(last)) => (before, last),
        _ => {
            notes.add(Note::MixedRange);
            return None;
        }
    };
    let is_gauge = |histogram: &Histogram| histogram.hint == ResetHint::Gauge;
    notes.add_if(counter && (is_gauge(before) || is_gauge(last)), Note::NotCounter);
    notes.add_if(!counter && (!is_gauge(before) || !is_gauge(last)), Note::NotGauge);
    let mut change = last.clone();
    if !counter || !(restarted || detect_reset(last, before)) {
        let Ok(combined) = subtract(&mut change, before) else {
            notes.add(Note::MixedBuckets);
            return None;
        };
        notes.add_if(combined.bounds_reconciled, Note::ReconciledInSubtraction);
    }
    change.hint = ResetHint::Gauge;
    compact(&mut change);
    if counter {
        divide(&mut change, seconds);
    }
    Some(SampleValue::Histogram(Arc::new(change)))
}

/// A sample of a window.
#[derive(Clone, Copy)]
pub(super) enum Kind<'w> {
    Float(f64),
    Histogram(&'w Histogram),
}

/// The last two samples, of either kind.
fn last_two<'w>(window: &Window<'w>) -> Option<((i64, Kind<'w>), (i64, Kind<'w>))> {
    let mut floats = window.times.iter().zip(window.values).rev().peekable();
    let mut histograms = window.histograms.iter().rev().peekable();
    let mut next = || {
        let float_ms = floats.peek().map(|(time_ms, _)| **time_ms);
        match histograms.next_if(|sample| float_ms.is_none_or(|float_ms| float_ms < sample.timestamp_ms)) {
            Some(sample) => Some((sample.timestamp_ms, Kind::Histogram(&sample.histogram))),
            None => floats.next().map(|(time_ms, value)| (*time_ms, Kind::Float(*value))),
        }
    };
    let last = next()?;
    Some((next()?, last))
}

/// All samples, of either kind, ascending, with their times.
pub(super) fn merged<'w>(window: &Window<'w>) -> impl Iterator<Item = (i64, Kind<'w>)> {
    let mut floats = window.times.iter().zip(window.values).peekable();
    let mut histograms = window.histograms.iter().peekable();
    std::iter::from_fn(move || {
        let float_ms = floats.peek().map(|(time_ms, _)| **time_ms);
        match histograms.next_if(|sample| float_ms.is_none_or(|float_ms| sample.timestamp_ms < float_ms)) {
            Some(sample) => Some((sample.timestamp_ms, Kind::Histogram(&sample.histogram))),
            None => floats.next().map(|(time_ms, value)| (*time_ms, Kind::Float(*value))),
        }
    })
}
