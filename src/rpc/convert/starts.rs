//! Start timestamps in a write: places among the samples of a piece, and distances to the samples' times.

use marigram_storage::model::histogram::HistogramSample;
use marigram_storage::write::{WriteBatch, WriteSeries, WriteStarts};

use super::Malformed;

/// Most bytes of a start timestamp.
pub(super) const START_BYTES: usize = 5 + 10;

/// Histograms in order of time, each with its start timestamp (ms, 0: none).
pub(super) fn with_starts(
    batch: &WriteBatch,
    series: &WriteSeries,
    histograms: &[HistogramSample],
) -> Vec<(HistogramSample, i64)> {
    let mut sorted: Vec<(HistogramSample, i64)> = histograms.iter().map(|sample| (sample.clone(), 0)).collect();
    let first = series.histograms.start;
    for (place, start_ms) in
        WriteStarts::within(&batch.starts.histograms, first as usize..series.histograms.end as usize)
    {
        if let Some((_, start)) = sorted.get_mut((place - first) as usize) {
            *start = *start_ms;
        }
    }
    sorted.sort_by_key(|(sample, _)| sample.timestamp_ms);
    sorted
}

/// Adds the start timestamps of a piece's samples, whose times are given and whose first place in the batch is `first`.
pub(super) fn push_starts(
    first: usize,
    times: impl ExactSizeIterator<Item = i64>,
    (steps, distances_ms): (&[u32], &[i64]),
    starts: &mut Vec<(u32, i64)>,
) -> Result<(), Malformed> {
    let (count, mut times, mut next) = (times.len(), times, 0usize);
    if steps.len() != distances_ms.len() || steps.len() > count {
        return Err(Malformed::new("the start timestamps of a write are not those of its samples"));
    }
    let mut place = 0usize;
    for (at, (step, distance_ms)) in steps.iter().zip(distances_ms).enumerate() {
        place += *step as usize;
        let after = place.checked_sub(next).filter(|_| at == 0 || *step > 0);
        let Some(time_ms) = after.and_then(|skipped| times.nth(skipped)) else {
            return Err(Malformed::new("the start timestamps of a write are not those of its samples"));
        };
        next = place + 1;
        starts.push(((first + place) as u32, time_ms.wrapping_sub(*distance_ms)));
    }
    Ok(())
}
