//! A histogram as a text: what `count_values` writes into its label.

use std::fmt::Write;

use marigram_storage::model::histogram::Histogram;

use super::bucket::ascending;
use crate::number::go_g;

/// `{count:…, sum:…, [lower,upper]:count, …}`, with the populated buckets.
pub(crate) fn to_text(histogram: &Histogram) -> String {
    let mut text = format!("{{count:{}, sum:{}", go_g(histogram.count), go_g(histogram.sum));
    let uncut = Histogram { zero_threshold: 0.0, zero_count: 0.0, ..histogram.clone() };
    let mut buckets = ascending(&uncut);
    if histogram.zero_count != 0.0 {
        let at = buckets.partition_point(|bucket| bucket.upper <= 0.0 && !histogram.has_custom_buckets());
        buckets.insert(at, super::bucket::zero(histogram));
    }
    for bucket in buckets.iter().filter(|bucket| bucket.count != 0.0) {
        let (open, close) =
            (if bucket.lower_inclusive { '[' } else { '(' }, if bucket.upper_inclusive { ']' } else { ')' });
        // Writing to a string does not fail.
        let _ = write!(text, ", {open}{},{}{close}:{}", go_g(bucket.lower), go_g(bucket.upper), go_g(bucket.count));
    }
    text.push('}');
    text
}
