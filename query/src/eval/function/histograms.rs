//! Functions of windows that have histograms, with or without floats beside them; the rates stand in a file of their own.

use std::sync::Arc;

use marigram_storage::model::histogram::{Histogram, HistogramSample, ResetHint};

use super::histogram_rate::{self, Kind, merged};
use super::start::restarted;
use super::{HistogramKernel, Window};
use crate::eval::notes::{Note, Notes};
use crate::histogram::{Combined, HistogramMean, HistogramSum, Incompatible, detect_reset, same_data};
use crate::value::SampleValue;

/// The function of this name, where it does not just ignore histograms.
pub(crate) fn kernel(name: &str) -> Option<HistogramKernel> {
    Some(match name {
        "rate" => histogram_rate::rate,
        "increase" => histogram_rate::increase,
        "delta" => histogram_rate::delta,
        "irate" => histogram_rate::irate,
        "idelta" => histogram_rate::idelta,
        "resets" => resets,
        "changes" => changes,
        "sum_over_time" => sum,
        "avg_over_time" => avg,
        "count_over_time" => count,
        "present_over_time" => present,
        "first_over_time" => first,
        "last_over_time" => last,
        "ts_of_first_over_time" => time_of_first,
        "ts_of_last_over_time" => time_of_last,
        _ => return None,
    })
}

fn count(window: &Window<'_>, _: &mut Notes) -> Option<SampleValue> {
    Some(SampleValue::Float((window.values.len() + window.histograms.len()) as f64))
}

fn present(_: &Window<'_>, _: &mut Notes) -> Option<SampleValue> {
    Some(SampleValue::Float(1.0))
}

fn first(window: &Window<'_>, _: &mut Notes) -> Option<SampleValue> {
    match (window.times.first(), window.histograms.first()) {
        (Some(float_ms), Some(sample)) if *float_ms < sample.timestamp_ms => float(window.values.first()),
        (_, Some(sample)) => Some(SampleValue::Histogram(Arc::clone(&sample.histogram))),
        (_, None) => float(window.values.first()),
    }
}

fn last(window: &Window<'_>, _: &mut Notes) -> Option<SampleValue> {
    match (window.times.last(), window.histograms.last()) {
        (Some(float_ms), Some(sample)) if *float_ms > sample.timestamp_ms => float(window.values.last()),
        (_, Some(sample)) => Some(SampleValue::Histogram(Arc::clone(&sample.histogram))),
        (_, None) => float(window.values.last()),
    }
}

fn float(value: Option<&f64>) -> Option<SampleValue> {
    value.copied().map(SampleValue::Float)
}

fn time_of_first(window: &Window<'_>, _: &mut Notes) -> Option<SampleValue> {
    let histogram_ms = window.histograms.first().map(|sample| sample.timestamp_ms);
    seconds(window.times.first().copied().into_iter().chain(histogram_ms).min())
}

fn time_of_last(window: &Window<'_>, _: &mut Notes) -> Option<SampleValue> {
    let histogram_ms = window.histograms.last().map(|sample| sample.timestamp_ms);
    seconds(window.times.last().copied().into_iter().chain(histogram_ms).max())
}

fn seconds(time_ms: Option<i64>) -> Option<SampleValue> {
    time_ms.map(|time_ms| SampleValue::Float(time_ms as f64 / 1000.0))
}

pub(super) fn resets(window: &Window<'_>, _: &mut Notes) -> Option<SampleValue> {
    Some(pairs_that(window, |before, after| after < before, |before, after| detect_reset(after, before)))
}

pub(super) fn changes(window: &Window<'_>, _: &mut Notes) -> Option<SampleValue> {
    let floats = |before: f64, after: f64| before != after && !(before.is_nan() && after.is_nan());
    Some(pairs_that(window, floats, |before, after| !same_data(before, after)))
}

/// How many neighbours differ like that, or by their start timestamps. A float and a histogram always do.
fn pairs_that(
    window: &Window<'_>,
    floats: impl Fn(f64, f64) -> bool,
    histograms: impl Fn(&Histogram, &Histogram) -> bool,
) -> SampleValue {
    let differ = |(before_ms, before): (i64, Kind<'_>), (after_ms, after): (i64, Kind<'_>)| match (before, after) {
        _ if restarted(window, before_ms, after_ms) => true,
        (Kind::Float(before), Kind::Float(after)) => floats(before, after),
        (Kind::Histogram(before), Kind::Histogram(after)) => histograms(before, after),
        _ => true,
    };
    let pairs = merged(window).zip(merged(window).skip(1));
    SampleValue::Float(pairs.filter(|(before, after)| differ(*before, *after)).count() as f64)
}

fn sum(window: &Window<'_>, notes: &mut Notes) -> Option<SampleValue> {
    folded(window, notes, HistogramSum::starting_at, HistogramSum::add, HistogramSum::total)
}

fn avg(window: &Window<'_>, notes: &mut Notes) -> Option<SampleValue> {
    folded(window, notes, HistogramMean::starting_at, HistogramMean::add, HistogramMean::mean)
}

fn folded<S>(
    window: &Window<'_>,
    notes: &mut Notes,
    start: fn(&Histogram) -> S,
    add: fn(&mut S, &Histogram) -> Result<Combined, Incompatible>,
    finish: fn(S) -> Histogram,
) -> Option<SampleValue> {
    if !window.values.is_empty() {
        notes.add(Note::MixedRange);
        return None;
    }
    let (first, rest) = window.histograms.split_first()?;
    let mut state = start(&first.histogram);
    let mut reconciled = false;
    for HistogramSample { histogram, .. } in rest {
        let Ok(combined) = add(&mut state, histogram) else {
            notes.add(Note::MixedBuckets);
            return None;
        };
        reconciled |= combined.bounds_reconciled;
    }
    let any = |hint| window.histograms.iter().any(|sample| sample.histogram.hint == hint);
    notes.add_if(any(ResetHint::Reset) && any(ResetHint::NotReset), Note::CollisionInAggregation);
    notes.add_if(reconciled, Note::ReconciledInAggregation);
    Some(SampleValue::Histogram(Arc::new(finish(state))))
}
