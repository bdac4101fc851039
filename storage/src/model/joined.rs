//! Floats and histograms of one series, joined.
//!
//! At one timestamp a histogram is greater than every float, and of two histograms the one that is greater in their order is kept.
//! Of equal ones with different reset hints a gauge is kept rather than a reset, and that rather than any other: so the join does not
//! depend on who comes first.

use std::cmp::Reverse;
use std::sync::Arc;

use super::histogram::{Histogram, HistogramSample, ResetHint};

/// Joins histograms in place: sorts by timestamp and keeps the greatest of each timestamp.
pub(crate) fn join_histograms(samples: &mut Vec<HistogramSample>) {
    if samples.is_sorted_by(|a, b| a.timestamp_ms < b.timestamp_ms) {
        return;
    }
    let hint = |sample: &HistogramSample| match sample.histogram.hint {
        ResetHint::Gauge => 3,
        ResetHint::Reset => 2,
        ResetHint::NotReset => 1,
        ResetHint::Unknown => 0,
    };
    samples.sort_by(|a, b| {
        let greater_first =
            || b.histogram.join_order(&a.histogram).then_with(|| Reverse(hint(a)).cmp(&Reverse(hint(b))));
        a.timestamp_ms.cmp(&b.timestamp_ms).then_with(greater_first)
    });
    samples.dedup_by_key(|sample| sample.timestamp_ms);
}

/// Joins the histograms of a series with each other and with its floats, which are joined already: floats at the time of a
/// histogram go, and the reset hints of the histograms become what their order in time makes of them.
pub(crate) fn join_kinds(times: &mut Vec<i64>, values: &mut Vec<f64>, histograms: &mut Vec<HistogramSample>) {
    join_histograms(histograms);
    remove_covered(times, values, histograms);
    set_hints(times, histograms);
}

/// Removes the floats at the times of histograms.
fn remove_covered(times: &mut Vec<i64>, values: &mut Vec<f64>, histograms: &[HistogramSample]) {
    let mut covering = histograms.iter().map(|sample| sample.timestamp_ms).peekable();
    let mut kept = 0;
    for at in 0..times.len().min(values.len()) {
        let (time, value) = (times[at], values[at]);
        while covering.next_if(|covered| *covered < time).is_some() {}
        if covering.peek() != Some(&time) {
            (times[kept], values[kept]) = (time, value);
            kept += 1;
        }
    }
    times.truncate(kept);
    values.truncate(kept);
}

/// Sets hints: a gauge and a reset stay what their sender called them; a histogram is known to be no reset where no count has fallen
/// since the sample before it, and that is a histogram of a layout that can be compared; anything else is not known.
fn set_hints(times: &[i64], histograms: &mut [HistogramSample]) {
    let mut floats = times.iter().peekable();
    let mut before: Option<Arc<Histogram>> = None;
    for sample in histograms {
        while floats.next_if(|float| **float < sample.timestamp_ms).is_some() {
            before = None;
        }
        let hint = match (sample.histogram.hint, &before) {
            (told @ (ResetHint::Gauge | ResetHint::Reset), _) => told,
            (_, None) => ResetHint::Unknown,
            (_, Some(before)) if before.hint == ResetHint::Gauge => ResetHint::Unknown,
            (_, Some(before)) if sample.histogram.goes_on_from(before) => ResetHint::NotReset,
            _ => ResetHint::Unknown,
        };
        if sample.histogram.hint != hint {
            Arc::make_mut(&mut sample.histogram).hint = hint;
        }
        before = Some(Arc::clone(&sample.histogram));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::chunk::histogram_tests::histogram;
    use crate::chunk::{ChunkBuilder, Effort, encode_histograms};
    use crate::model::sample::{Sample, join_in_place};
    use crate::model::time::TimeRange;
    use crate::select::{EncodedChunk, SeriesDecoder};

    fn samples() -> impl Strategy<Value = Vec<HistogramSample>> {
        let histogram = prop_oneof![Just(Histogram::default()), histogram()];
        let sample = (0i64..20, histogram)
            .prop_map(|(timestamp_ms, histogram)| HistogramSample { timestamp_ms, histogram: Arc::new(histogram) });
        proptest::collection::vec(sample, 0..8)
    }

    fn floats() -> impl Strategy<Value = Vec<Sample>> {
        let sample = (0i64..20, 0u8..3);
        let sample = sample.prop_map(|(timestamp_ms, value)| Sample { timestamp_ms, value: value.into() });
        proptest::collection::vec(sample, 0..8)
    }

    fn join(parts: &[&[HistogramSample]]) -> Vec<HistogramSample> {
        let mut all = parts.concat();
        join_histograms(&mut all);
        all
    }

    fn float_chunk(samples: &[Sample]) -> Option<EncodedChunk> {
        let mut samples = samples.to_vec();
        join_in_place(&mut samples);
        let mut builder = ChunkBuilder::default();
        samples.iter().for_each(|s| builder.push(s.timestamp_ms, s.value));
        let (first_ms, last_ms) = (builder.first_ms(), builder.last_ms());
        (!builder.is_empty()).then(|| EncodedChunk::whole(first_ms, last_ms, builder.encode().into()))
    }

    fn histogram_chunk(samples: &[HistogramSample]) -> Option<EncodedChunk> {
        let samples = join(&[samples]);
        let (first, last) = samples.first().zip(samples.last())?;
        let mut bytes = Vec::new();
        encode_histograms(&samples, Effort::Sealed, &mut bytes);
        Some(EncodedChunk::whole(first.timestamp_ms, last.timestamp_ms, bytes.into()))
    }

    proptest! {
        #[test]
        fn the_join_is_commutative_associative_idempotent(a in samples(), b in samples(), c in samples()) {
            prop_assert_eq!(join(&[&a, &b]), join(&[&b, &a]));
            prop_assert_eq!(join(&[&join(&[&a, &b]), &c]), join(&[&a, &join(&[&b, &c])]));
            prop_assert_eq!(join(&[&a, &a]), join(&[&a]));
        }

        #[test]
        fn a_series_of_both_kinds_decodes_to_its_join(
            floats in proptest::collection::vec(floats(), 0..4), histograms in proptest::collection::vec(samples(), 0..4),
            from in -2i64..22, to in -2i64..22,
        ) {
            let range = TimeRange { start_ms: from, end_ms: to };
            let mut chunks: Vec<EncodedChunk> = floats.iter().filter_map(|part| float_chunk(part)).collect();
            chunks.extend(histograms.iter().filter_map(|part| histogram_chunk(part)));
            chunks.sort_by_key(|chunk| chunk.min_ms);
            let mut all = floats.concat();
            join_in_place(&mut all);
            let mut expected: BTreeMap<i64, Result<f64, Arc<Histogram>>> =
                all.iter().map(|sample| (sample.timestamp_ms, Ok(sample.value))).collect();
            let parts: Vec<&[HistogramSample]> = histograms.iter().map(Vec::as_slice).collect();
            expected.extend(join(&parts).into_iter().map(|sample| (sample.timestamp_ms, Err(sample.histogram))));
            expected.retain(|time, _| range.contains(*time));
            let mut decoder = SeriesDecoder::default();
            let (times, values, found) = decoder.decode_both(&chunks, range).unwrap();
            let mut got: BTreeMap<i64, Result<f64, Arc<Histogram>>> =
                times.iter().zip(values).map(|(time, value)| (*time, Ok(*value))).collect();
            prop_assert_eq!(got.len(), times.len());
            got.extend(found.iter().map(|sample| (sample.timestamp_ms, Err(Arc::clone(&sample.histogram)))));
            prop_assert_eq!(got.len(), times.len() + found.len(), "one sample at a time");
            prop_assert!(got.keys().eq(expected.keys()));
            for (got, expected) in got.values().zip(expected.values()) {
                match (got, expected) {
                    (Ok(got), Ok(expected)) => prop_assert_eq!(got, expected),
                    (Err(got), Err(expected)) => prop_assert!(got.join_order(expected).is_eq()),
                    other => prop_assert!(false, "{:?}", other),
                }
            }
        }
    }
}
