//! The chunk of histograms: times, then runs of samples of one layout; in a run each number of the samples is a column.
//!
//! 1. A layout says what the numbers of a histogram mean: integer or float, schema, zero threshold, spans, custom bounds. It is
//!    written once for all neighbours that share it.
//! 2. Counts of one bucket follow each other closely, as the samples of a counter do, so each bucket is a values column of its own.
//! 3. Where a run has only few samples, columns would cost more than they hold: then the buckets of all of them are one column,
//!    sample by sample.
//!
//! `docs/format/chunk.md` has the bytes.

mod decode;
mod encode;
#[cfg(test)]
pub(crate) mod tests;

pub(super) use decode::decode;
pub(super) use encode::encode;

use crate::model::histogram::{Histogram, same_bits};

/// Most histograms of a chunk: with the limits of each, this bounds the memory that a chunk decodes to.
pub const HISTOGRAMS_MAX: usize = 120;
/// Runs that are shorter write their buckets sample by sample.
const COLUMNS_SAMPLES_MIN: usize = 4;
/// Flag of a run: its counts are integers.
const FLAG_INTEGER: u8 = 1;
/// Flag of a run: its buckets are one column, sample by sample.
const FLAG_ROWS: u8 = 2;
/// In the place of a reset hint: each sample has its own.
const HINTS_DIFFER: u8 = 4;
/// Bits of a reset hint.
const HINT_BITS: u32 = 2;

/// Whether the numbers of both are read in the same way.
fn same_layout(a: &Histogram, b: &Histogram) -> bool {
    a.is_integer == b.is_integer
        && a.schema == b.schema
        && a.zero_threshold.to_bits() == b.zero_threshold.to_bits()
        && a.positive.spans == b.positive.spans
        && a.negative.spans == b.negative.spans
        && same_bits(&a.custom_values, &b.custom_values)
}
