//! Whether a counter's histogram was reset since the one before.

use std::iter::Peekable;

use marigram_storage::model::histogram::{Buckets, Histogram, ResetHint};

use super::bounds;
use super::layout::{coarser, levels};
use super::zero::widened;

/// Whether the counts began anew between `previous` and `current`: the hint says so, or some count went down. A higher
/// resolution and a narrower zero bucket come only with a reset, too.
pub(crate) fn detect_reset(current: &Histogram, previous: &Histogram) -> bool {
    match current.hint {
        ResetHint::Reset => return true,
        ResetHint::NotReset => return false,
        ResetHint::Unknown | ResetHint::Gauge => {}
    }
    if current.count < previous.count {
        return true;
    }
    if current.has_custom_buckets() {
        if !previous.has_custom_buckets() {
            return true;
        }
        if current.custom_values != previous.custom_values {
            return custom_went_down(current, previous);
        }
    }
    if current.schema > previous.schema || current.zero_threshold < previous.zero_threshold {
        return true;
    }
    let zero = widened(previous, None, current.zero_threshold);
    if zero.threshold != current.zero_threshold || current.zero_count < zero.count {
        return true;
    }
    let levels = if current.has_custom_buckets() { 0 } else { levels(previous.schema, current.schema) };
    went_down(current, &current.positive, &previous.positive, levels)
        || went_down(current, &current.negative, &previous.negative, levels)
}

/// Whether a populated bucket of `previous`, in a schema that is `levels` coarser, is gone or has fewer observations.
fn went_down(histogram: &Histogram, current: &Buckets, previous: &Buckets, levels: u32) -> bool {
    let in_zero = |index: i32| {
        !histogram.has_custom_buckets()
            && histogram.zero_threshold > 0.0
            && bounds::exponential(index, histogram.schema) <= histogram.zero_threshold
    };
    let mut current = current.iter().skip_while(|(index, _)| in_zero(*index)).peekable();
    let mut previous = Merged { buckets: previous.iter().peekable(), levels }.skip_while(|(index, _)| in_zero(*index));
    previous.any(|(index, count)| {
        while current.next_if(|(at, _)| *at < index).is_some() {}
        match current.peek() {
            Some((at, now)) if *at == index => *now < count,
            _ => count != 0.0,
        }
    })
}

/// Buckets added up to those of a coarser schema.
struct Merged<I: Iterator<Item = (i32, f64)>> {
    buckets: Peekable<I>,
    levels: u32,
}

impl<I: Iterator<Item = (i32, f64)>> Iterator for Merged<I> {
    type Item = (i32, f64);

    fn next(&mut self) -> Option<(i32, f64)> {
        let (index, mut sum) = self.buckets.next()?;
        let levels = self.levels;
        if levels == 0 {
            return Some((index, sum));
        }
        let target = coarser(index, levels);
        while let Some((_, count)) = self.buckets.next_if(|(index, _)| coarser(*index, levels) == target) {
            sum += count;
        }
        Some((target, sum))
    }
}

/// Whether there are fewer observations up to a bound that both have, counted from the shared bound before.
fn custom_went_down(current: &Histogram, previous: &Histogram) -> bool {
    let mut now = current.positive.iter().peekable();
    let mut before = previous.positive.iter().peekable();
    let shared = current.custom_values.iter().copied().filter(|bound| previous.custom_values.contains(bound));
    let mut bounds = shared.chain([f64::INFINITY]);
    bounds.any(|bound| up_to(current, &mut now, bound) < up_to(previous, &mut before, bound))
}

/// Takes the observations of the next buckets that end at or below `bound`.
fn up_to(histogram: &Histogram, buckets: &mut Peekable<impl Iterator<Item = (i32, f64)>>, bound: f64) -> f64 {
    let mut sum = 0.0;
    while let Some((_, count)) = buckets.next_if(|(index, _)| bounds::upper(histogram, *index) <= bound) {
        sum += count;
    }
    sum
}
