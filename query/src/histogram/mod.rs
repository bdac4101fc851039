//! Arithmetic of native histograms: what the functions and operators of PromQL do with one or two of them.
//!
//! Everything here follows Prometheus' order of operations, so that results agree to the bit. Histograms of different
//! resolution meet at the lower one; zero buckets of different width meet at one that cuts no populated bucket; custom
//! buckets with different bounds meet at the bounds that both have. Exponential and custom buckets do not meet at all.

mod bounds;
mod bucket;
mod combine;
mod fraction;
mod layout;
mod quantile;
mod reset;
mod scale;
mod statistics;
mod sum;
mod text;
mod trim;
mod zero;

pub(crate) use bucket::{Bucket, ascending};
pub(crate) use combine::{Combined, Incompatible, add, subtract};
pub(crate) use fraction::fraction;
pub(crate) use layout::{compact, reduced_to};
pub(crate) use quantile::quantile;
pub(crate) use reset::detect_reset;
pub(crate) use scale::{divide, multiply};
pub(crate) use statistics::{mean, standard_deviation, variance};
pub(crate) use sum::{HistogramMean, HistogramSum};
pub(crate) use text::to_text;
pub(crate) use trim::{keep_above, keep_below};

use marigram_storage::model::histogram::Histogram;

/// How many samples a histogram counts as against the sample limit: as many as would take its memory, at 16 bytes each.
pub(crate) fn size_in_samples(histogram: &Histogram) -> usize {
    /// What a histogram takes besides its lists, and the time that stands with it.
    const FIXED_BYTES: usize = 168 + 8;
    let positive = histogram.positive.spans.len() + histogram.positive.counts.len();
    let negative = histogram.negative.spans.len() + histogram.negative.counts.len();
    (FIXED_BYTES + 8 * (positive + negative + histogram.custom_values.len())) / 16
}

/// Whether both hold the same data: the same numbers in the same buckets, empty ones included. Hints do not count.
pub(crate) fn same_data(a: &Histogram, b: &Histogram) -> bool {
    let same = |a: f64, b: f64| a.to_bits() == b.to_bits();
    let buckets = |a: &marigram_storage::model::histogram::Buckets, b: &marigram_storage::model::histogram::Buckets| {
        a.counts.len() == b.counts.len() && a.iter().zip(b.iter()).all(|(a, b)| a.0 == b.0 && same(a.1, b.1))
    };
    a.schema == b.schema
        && same(a.count, b.count)
        && same(a.sum, b.sum)
        && (!a.has_custom_buckets() || a.custom_values == b.custom_values)
        && a.zero_threshold == b.zero_threshold
        && same(a.zero_count, b.zero_count)
        && buckets(&a.negative, &b.negative)
        && buckets(&a.positive, &b.positive)
}

#[cfg(test)]
mod tests;
