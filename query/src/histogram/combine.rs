//! Addition and subtraction.

use std::borrow::Cow;

use marigram_storage::model::histogram::{Buckets, Histogram, ResetHint};

use super::bounds;
use super::layout::{Growing, levels, reduced};
use super::sum::Lost;
use super::zero::reconcile;
use crate::eval::kahan;

/// What came up when two histograms were combined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Combined {
    /// One said that it was reset, the other that it was not.
    pub(crate) hints_collide: bool,
    /// Custom bounds differed, and only those were kept that both had.
    pub(crate) bounds_reconciled: bool,
}

/// Exponential buckets and custom ones cannot be combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Incompatible;

/// Adds `other` to `own`. The result can have empty buckets.
///
/// # Errors
/// One has exponential buckets, the other custom ones; `own` is unchanged then.
pub(crate) fn add(own: &mut Histogram, other: &Histogram) -> Result<Combined, Incompatible> {
    combine(own, other, 1.0, None)
}

/// Subtracts `other` from `own`. The reset hint becomes that of a sum.
///
/// # Errors
/// One has exponential buckets, the other custom ones; `own` is unchanged then.
pub(crate) fn subtract(own: &mut Histogram, other: &Histogram) -> Result<Combined, Incompatible> {
    combine(own, other, -1.0, None)
}

/// Adds `sign * other` to `own`. With `lost`, all sums are compensated.
pub(super) fn combine(
    own: &mut Histogram,
    other: &Histogram,
    sign: f64,
    mut lost: Option<&mut Lost>,
) -> Result<Combined, Incompatible> {
    if own.has_custom_buckets() != other.has_custom_buckets() {
        return Err(Incompatible);
    }
    own.is_integer = false;
    let hints_collide = adjust_hint(&mut own.hint, other.hint);
    if !own.has_custom_buckets() {
        let (zero_count, zero_lost) = reconcile(own, other, lost.as_deref_mut());
        match lost.as_deref_mut() {
            None => own.zero_count += sign * zero_count,
            Some(lost) => {
                let (count, left) = kahan::add(sign * zero_count, own.zero_count, lost.zero_count);
                (own.zero_count, lost.zero_count) = kahan::add(sign * zero_lost, count, left);
            }
        }
    }
    match lost.as_deref_mut() {
        None => {
            own.count += sign * other.count;
            own.sum += sign * other.sum;
        }
        Some(lost) => {
            (own.count, lost.count) = kahan::add(sign * other.count, own.count, lost.count);
            (own.sum, lost.sum) = kahan::add(sign * other.sum, own.sum, lost.sum);
        }
    }
    let mut bounds_reconciled = false;
    if own.has_custom_buckets() {
        if own.custom_values == other.custom_values {
            let lost = lost.map(|lost| &mut lost.positive);
            merge(&mut own.positive, lost, &other.positive, &[], sign, |_| false);
        } else {
            bounds_reconciled = true;
            merge_custom(own, other, sign, lost.map(|lost| &mut lost.positive));
        }
    } else {
        combine_exponential(own, other, sign, lost);
    }
    Ok(Combined { hints_collide, bounds_reconciled })
}

fn combine_exponential(own: &mut Histogram, other: &Histogram, sign: f64, lost: Option<&mut Lost>) {
    let (mut positive_lost, mut negative_lost) = match lost {
        Some(lost) => (Some(&mut lost.positive), Some(&mut lost.negative)),
        None => (None, None),
    };
    let compensated = positive_lost.is_some();
    let down = levels(own.schema, other.schema);
    if down > 0 {
        own.schema = other.schema;
        reduce(&mut own.positive, positive_lost.as_deref_mut(), down);
        reduce(&mut own.negative, negative_lost.as_deref_mut(), down);
    }
    let down = levels(other.schema, own.schema);
    let theirs = |buckets| -> (Cow<'_, Buckets>, Vec<f64>) { reduced_other(buckets, compensated, down) };
    let (positive, positive_other) = theirs(&other.positive);
    let (negative, negative_other) = theirs(&other.negative);
    // What lies within the zero bucket is counted there.
    let (schema, threshold) = (own.schema, own.zero_threshold);
    let in_zero = |index: i32| bounds::exponential(index, schema) <= threshold;
    merge(&mut own.positive, positive_lost, &positive, &positive_other, sign, in_zero);
    merge(&mut own.negative, negative_lost, &negative, &negative_other, sign, in_zero);
}

fn reduce(buckets: &mut Buckets, lost: Option<&mut Vec<f64>>, levels: u32) {
    let growing = reduced(buckets, lost.as_deref().map(Vec::as_slice), levels);
    *buckets = growing.buckets;
    if let Some(lost) = lost {
        *lost = growing.lost;
    }
}

/// The other side's buckets in a coarser schema, and what their sums lost (empty: nothing).
fn reduced_other(buckets: &Buckets, compensated: bool, levels: u32) -> (Cow<'_, Buckets>, Vec<f64>) {
    if levels == 0 {
        return (Cow::Borrowed(buckets), Vec::new());
    }
    let zeros = if compensated { vec![0.0; buckets.counts.len()] } else { Vec::new() };
    let growing = reduced(buckets, compensated.then_some(&zeros), levels);
    (Cow::Owned(growing.buckets), growing.lost)
}

/// Adds the buckets of `other` to `own`, both in the same schema. The first buckets of `other` are skipped as long as
/// `skips` says so of their index.
fn merge(
    own: &mut Buckets,
    mut own_lost: Option<&mut Vec<f64>>,
    other: &Buckets,
    other_lost: &[f64],
    sign: f64,
    skips: impl Fn(i32) -> bool,
) {
    let Some((first, _)) = other.iter().next() else { return };
    let add = |sum: &mut f64, lost: Option<&mut f64>, count: f64, count_lost: f64| match lost {
        None => *sum += count,
        Some(lost) => {
            (*sum, *lost) = kahan::add(count, *sum, *lost);
            if count_lost != 0.0 {
                (*sum, *lost) = kahan::add(count_lost, *sum, *lost);
            }
        }
    };
    if own.spans == other.spans && !skips(first) {
        for (at, (sum, count)) in own.counts.iter_mut().zip(&other.counts).enumerate() {
            let lost = own_lost.as_deref_mut().and_then(|lost| lost.get_mut(at));
            add(sum, lost, sign * count, sign * other_lost.get(at).copied().unwrap_or(0.0));
        }
        return;
    }
    let mut merged = Growing::with_capacity(own.counts.len().max(other.counts.len()));
    let lost_of = |lost: Option<&[f64]>, at: usize| lost.and_then(|lost| lost.get(at)).copied().unwrap_or(0.0);
    let mut ours = own.iter().enumerate().peekable();
    let mut skipping = true;
    for (at, (index, count)) in other.iter().enumerate() {
        skipping = skipping && skips(index);
        if skipping {
            continue;
        }
        let (count, count_lost) = (sign * count, sign * lost_of(Some(other_lost), at));
        while let Some((our_at, (our_index, our_count))) = ours.next_if(|(_, (ours, _))| *ours < index) {
            merged.push(our_index, our_count, lost_of(own_lost.as_deref().map(Vec::as_slice), our_at));
        }
        match ours.next_if(|(_, (ours, _))| *ours == index) {
            None => merged.push(index, count, count_lost),
            Some((our_at, (_, mut sum))) => {
                let mut lost = lost_of(own_lost.as_deref().map(Vec::as_slice), our_at);
                add(&mut sum, own_lost.is_some().then_some(&mut lost), count, count_lost);
                merged.push(index, sum, lost);
            }
        }
    }
    for (our_at, (index, count)) in ours {
        merged.push(index, count, lost_of(own_lost.as_deref().map(Vec::as_slice), our_at));
    }
    *own = merged.buckets;
    if let Some(lost) = own_lost {
        *lost = merged.lost;
    }
}

/// Adds custom buckets with other bounds: both are poured into the bounds that both have.
fn merge_custom(own: &mut Histogram, other: &Histogram, sign: f64, own_lost: Option<&mut Vec<f64>>) {
    let shared = shared_bounds(&own.custom_values, &other.custom_values);
    let mut counts = vec![(0.0, 0.0); shared.len() + 1];
    let mut pour = |buckets: &Buckets, bounds: &[f64], lost: &[f64], sign: f64| {
        for (at, (index, count)) in buckets.iter().enumerate() {
            let bound = usize::try_from(index).ok().and_then(|index| bounds.get(index));
            let target = bound.map_or(shared.len(), |bound| shared.partition_point(|shared| shared < bound));
            let Some((sum, sum_lost)) = counts.get_mut(target) else { continue };
            (*sum, *sum_lost) = kahan::add(sign * count, *sum, *sum_lost);
            if let Some(lost) = lost.get(at) {
                (*sum, *sum_lost) = kahan::add(*lost, *sum, *sum_lost);
            }
        }
    };
    pour(&own.positive, &own.custom_values, own_lost.as_deref().map_or(&[], Vec::as_slice), 1.0);
    pour(&other.positive, &other.custom_values, &[], sign);
    let mut growing = Growing::default();
    for (index, (count, lost)) in (0i32..).zip(counts) {
        if count != 0.0 || lost != 0.0 {
            growing.push(index, count, lost);
        }
    }
    own.custom_values = shared;
    own.positive = growing.buckets;
    if let Some(own_lost) = own_lost {
        *own_lost = growing.lost;
    }
}

/// The bounds that both have.
fn shared_bounds(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().copied().filter(|bound| b.binary_search_by(|other| other.total_cmp(bound)).is_ok()).collect()
}

/// The hint of a sum. Whether the two collide: one was reset and the other was not.
fn adjust_hint(own: &mut ResetHint, other: ResetHint) -> bool {
    let collide =
        matches!((*own, other), (ResetHint::Reset, ResetHint::NotReset) | (ResetHint::NotReset, ResetHint::Reset));
    *own = match (*own, other) {
        (own, other) if own == other => own,
        (ResetHint::Gauge, _) | (_, ResetHint::Gauge) => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    };
    collide
}
