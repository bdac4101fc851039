//! Zero buckets of different width.

use marigram_storage::model::histogram::Histogram;

use super::bucket::{negative, positive};
use super::layout::{compact, compact_with_lost};
use super::sum::Lost;
use crate::eval::kahan;

/// A zero bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Zero {
    pub(super) count: f64,
    /// What the sum of the count lost.
    pub(super) lost: f64,
    pub(super) threshold: f64,
}

/// The zero bucket of `histogram` if it were as wide as `threshold`, which must not be narrower; wider still where that
/// would cut a populated bucket.
pub(super) fn widened(histogram: &Histogram, lost: Option<&Lost>, threshold: f64) -> Zero {
    let mut zero = Zero { count: histogram.zero_count, lost: lost.map_or(0.0, |lost| lost.zero_count), threshold };
    if threshold == histogram.zero_threshold {
        return zero;
    }
    let start = zero;
    'again: loop {
        (zero.count, zero.lost) = (start.count, start.lost);
        for (at, bucket) in positive(histogram).enumerate() {
            if bucket.lower >= zero.threshold {
                break;
            }
            zero.take_in(bucket.count, lost.and_then(|lost| lost.positive.get(at)));
            if bucket.upper > zero.threshold {
                if bucket.count != 0.0 {
                    zero.threshold = bucket.upper;
                }
                break;
            }
        }
        for (at, bucket) in negative(histogram).enumerate() {
            if bucket.upper <= -zero.threshold {
                break;
            }
            zero.take_in(bucket.count, lost.and_then(|lost| lost.negative.get(at)));
            if bucket.lower < -zero.threshold {
                if bucket.count != 0.0 {
                    // What was counted on the positive side is too little now.
                    zero.threshold = -bucket.lower;
                    continue 'again;
                }
                break;
            }
        }
        return zero;
    }
}

impl Zero {
    fn take_in(&mut self, count: f64, lost: Option<&f64>) {
        (self.count, self.lost) = kahan::add(count, self.count, self.lost);
        if let Some(lost) = lost {
            (self.count, self.lost) = kahan::add(*lost, self.count, self.lost);
        }
    }
}

/// Widens the zero bucket of `own` until it is one that `other` could have, too, and answers what `other` would then
/// have in it: the count, and what its sum lost.
pub(super) fn reconcile(own: &mut Histogram, other: &Histogram, mut lost: Option<&mut Lost>) -> (f64, f64) {
    let mut theirs = Zero { count: other.zero_count, lost: 0.0, threshold: other.zero_threshold };
    while theirs.threshold != own.zero_threshold {
        if own.zero_threshold > theirs.threshold {
            theirs = widened(other, None, own.zero_threshold);
        } else if theirs.threshold > own.zero_threshold {
            let ours = widened(own, lost.as_deref(), theirs.threshold);
            own.zero_count = ours.count;
            own.zero_threshold = ours.threshold;
            if let Some(lost) = lost.as_deref_mut() {
                lost.zero_count = ours.lost;
            }
            trim(own, lost.as_deref_mut());
        } else {
            // Not comparable, which no valid histogram is.
            break;
        }
    }
    (theirs.count, theirs.lost)
}

/// Takes the buckets out that lie within the zero bucket.
fn trim(histogram: &mut Histogram, lost: Option<&mut Lost>) {
    let threshold = histogram.zero_threshold;
    let positives = positive(histogram).take_while(|bucket| bucket.lower < threshold).count();
    let negatives = negative(histogram).take_while(|bucket| bucket.upper > -threshold).count();
    let clear = |counts: &mut Vec<f64>, first: usize| counts.iter_mut().take(first).for_each(|count| *count = 0.0);
    clear(&mut histogram.positive.counts, positives);
    clear(&mut histogram.negative.counts, negatives);
    match lost {
        None => compact(histogram),
        Some(lost) => {
            clear(&mut lost.positive, positives);
            clear(&mut lost.negative, negatives);
            compact_with_lost(&mut histogram.positive, &mut lost.positive);
            compact_with_lost(&mut histogram.negative, &mut lost.negative);
        }
    }
}
