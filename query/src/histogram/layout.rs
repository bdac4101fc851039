//! Which buckets there are: lower resolutions, and histograms without empty buckets.

use marigram_storage::model::histogram::{Buckets, Histogram};

use crate::eval::kahan;

/// Buckets in the making, with what each count lost in sums.
#[derive(Default)]
pub(super) struct Growing {
    pub(super) buckets: Buckets,
    pub(super) lost: Vec<f64>,
    next: i32,
}

impl Growing {
    /// Room for so many buckets.
    pub(super) fn with_capacity(buckets: usize) -> Self {
        let mut growing = Growing::default();
        growing.buckets.counts.reserve(buckets);
        growing
    }

    /// Adds a bucket behind all others.
    pub(super) fn push(&mut self, index: i32, count: f64, lost: f64) {
        use marigram_storage::model::histogram::BucketSpan;
        match self.buckets.spans.last_mut() {
            Some(span) if index == self.next => span.length += 1,
            _ => self.buckets.spans.push(BucketSpan { offset: index.saturating_sub(self.next), length: 1 }),
        }
        self.next = index.saturating_add(1);
        self.buckets.counts.push(count);
        self.lost.push(lost);
    }
}

/// The index of the bucket, in a schema that is `levels` coarser, that holds the bucket with this index.
pub(super) fn coarser(index: i32, levels: u32) -> i32 {
    (index.saturating_sub(1) >> levels.min(31)) + 1
}

/// How many levels `to` is coarser than `from`.
pub(super) fn levels(from: i8, to: i8) -> u32 {
    u32::try_from(i32::from(from) - i32::from(to)).unwrap_or(0)
}

/// The buckets in a schema that is `levels` coarser. With `lost` (one for each bucket), sums are compensated.
pub(super) fn reduced(buckets: &Buckets, lost: Option<&[f64]>, levels: u32) -> Growing {
    let mut growing = Growing::with_capacity(buckets.counts.len());
    let mut last: Option<i32> = None;
    for (at, (index, count)) in buckets.iter().enumerate() {
        let index = coarser(index, levels);
        let count_lost = lost.and_then(|lost| lost.get(at)).copied().unwrap_or(0.0);
        match (growing.buckets.counts.last_mut(), growing.lost.last_mut()) {
            (Some(sum), Some(sum_lost)) if last == Some(index) => {
                if lost.is_some() {
                    (*sum, *sum_lost) = kahan::add(count, *sum, *sum_lost);
                    (*sum, *sum_lost) = kahan::add(count_lost, *sum, *sum_lost);
                } else {
                    *sum += count;
                }
            }
            _ => growing.push(index, count, count_lost),
        }
        last = Some(index);
    }
    growing
}

/// A copy in a schema that is not finer.
pub(crate) fn reduced_to(histogram: &Histogram, schema: i8) -> Histogram {
    if histogram.schema <= schema || histogram.has_custom_buckets() {
        return histogram.clone();
    }
    let levels = levels(histogram.schema, schema);
    Histogram {
        // The copy is another histogram as far as resets are concerned.
        hint: Default::default(),
        is_integer: false,
        schema,
        positive: reduced(&histogram.positive, None, levels).buckets,
        negative: reduced(&histogram.negative, None, levels).buckets,
        custom_values: Vec::new(),
        ..*histogram
    }
}

/// Takes empty buckets out.
pub(crate) fn compact(histogram: &mut Histogram) {
    for side in [&mut histogram.positive, &mut histogram.negative] {
        if !is_compact(side) {
            *side = side.compacted();
        }
    }
}

/// Takes out the buckets that are empty and have lost nothing.
pub(super) fn compact_with_lost(buckets: &mut Buckets, lost: &mut Vec<f64>) {
    let mut growing = Growing::with_capacity(buckets.counts.len());
    for ((index, count), lost) in buckets.iter().zip(lost.iter()) {
        if count != 0.0 || *lost != 0.0 {
            growing.push(index, count, *lost);
        }
    }
    (*buckets, *lost) = (growing.buckets, growing.lost);
}

fn is_compact(buckets: &Buckets) -> bool {
    buckets.counts.iter().all(|count| *count != 0.0)
        && buckets.spans.iter().all(|span| span.length != 0)
        && buckets.spans.iter().skip(1).all(|span| span.offset != 0)
}
