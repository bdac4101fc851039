//! The chunk of start timestamps: those of some or all samples of another chunk, which follows it and is as it would be without
//! them. In the head it stands alone, beside the chunks that hold the samples.
//!
//! `docs/format/chunk.md` has the bytes.

use super::column::{starts, times};
use super::{COLUMN_SAMPLES_MAX, KIND_STARTS};
use crate::format::varint::{push_uvarint, take_uvarint};
use crate::model::start::StartTime;

/// A chunk of start timestamps, taken apart.
#[derive(Clone, Copy, Debug)]
pub struct StartsPart<'a> {
    /// The times column; empty where every sample of the chunk behind has a start timestamp.
    times: &'a [u8],
    starts: &'a [u8],
    /// The chunk of the samples, or nothing.
    pub rest: &'a [u8],
}

/// Appends 1 to [`COLUMN_SAMPLES_MAX`] start timestamps, joined; the chunk of their samples, of which there are so many, is to be
/// appended behind them.
pub(super) fn encode(joined: &[StartTime], samples: usize, out: &mut Vec<u8>) {
    debug_assert!((1..=COLUMN_SAMPLES_MAX).contains(&joined.len()));
    debug_assert!(joined.is_sorted_by(|a, b| a.timestamp_ms < b.timestamp_ms));
    let (timestamps, start_times): (Vec<i64>, Vec<i64>) =
        joined.iter().map(|start| (start.timestamp_ms, start.start_ms)).unzip();
    let mut column = Vec::with_capacity(32);
    out.push(KIND_STARTS);
    if joined.len() != samples {
        times::encode(&timestamps, &mut column);
    }
    push_uvarint(out, column.len() as u64);
    out.extend_from_slice(&column);
    column.clear();
    starts::encode(&timestamps, &start_times, &mut column);
    push_uvarint(out, column.len() as u64);
    out.extend_from_slice(&column);
}

/// Takes a chunk of start timestamps apart; `None` for bytes that no encoder makes.
pub(super) fn split(bytes: &[u8]) -> Option<StartsPart<'_>> {
    let (&KIND_STARTS, mut rest) = bytes.split_first()? else { return None };
    let (times, starts) = (take_part(&mut rest)?, take_part(&mut rest)?);
    // No chunk has two of them: whoever reads it need not go deeper than once.
    (rest.first() != Some(&KIND_STARTS)).then_some(StartsPart { times, starts, rest })
}

/// Appends the start timestamps; `samples` are the times of the samples in the chunk behind.
pub(super) fn decode(part: StartsPart<'_>, samples: impl Iterator<Item = i64>, out: &mut Vec<StartTime>) -> Option<()> {
    let mut timestamps = Vec::new();
    if part.times.is_empty() {
        timestamps.extend(samples);
    } else {
        times::decode(part.times, &mut timestamps)?;
    }
    if timestamps.len() > COLUMN_SAMPLES_MAX {
        return None;
    }
    let mut start_times = Vec::with_capacity(timestamps.len());
    starts::decode(part.starts, &timestamps, &mut start_times)?;
    let pairs = timestamps.into_iter().zip(start_times);
    out.extend(pairs.map(|(timestamp_ms, start_ms)| StartTime { timestamp_ms, start_ms }));
    Some(())
}

fn take_part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_uvarint(rest)?).ok()?;
    let (part, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::start::join_starts;

    fn starts() -> impl Strategy<Value = Vec<StartTime>> {
        let start =
            (any::<i64>(), any::<i64>()).prop_map(|(timestamp_ms, start_ms)| StartTime { timestamp_ms, start_ms });
        let regular = (1usize..300, 0i64..100_000, any::<bool>()).prop_map(|(count, age_ms, counts_on)| {
            let time = |at: usize| 1_700_000_000_000 + at as i64 * 15_000;
            let start = |at: usize| if counts_on { time(at / 100 * 100) - age_ms } else { time(at) - age_ms };
            let start = |at| StartTime { timestamp_ms: time(at), start_ms: start(at) };
            (0..count).map(start).collect::<Vec<_>>()
        });
        prop_oneof![proptest::collection::vec(start, 1..60), regular].prop_map(|mut starts: Vec<StartTime>| {
            join_starts(&mut starts);
            starts
        })
    }

    proptest! {
        #[test]
        fn any_start_timestamps_read_back(starts in starts(), behind in prop_oneof![Just(vec![]), Just(vec![5u8, 1, 2])]) {
            for samples in [0, starts.len(), starts.len() + 1] {
                let mut bytes = Vec::new();
                encode(&starts, samples, &mut bytes);
                bytes.extend_from_slice(&behind);
                let part = split(&bytes).unwrap();
                prop_assert_eq!(part.rest, &behind[..]);
                let mut got = Vec::new();
                let times = starts.iter().map(|start| start.timestamp_ms).take(samples);
                decode(part, times, &mut got).unwrap();
                prop_assert_eq!(&got, &starts);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(prop_oneof![0u8..7, any::<u8>()], 0..60), samples in 0i64..9) {
            let bytes = [&[KIND_STARTS][..], &bytes].concat();
            if let Some(part) = split(&bytes) {
                let _ = decode(part, 0..samples, &mut Vec::new());
            }
        }
    }

    #[test]
    fn start_timestamps_of_a_regular_sender_take_few_bytes() {
        let at = |number: i64| 1_700_000_000_000 + 15_000 * number;
        let kinds: [fn(i64) -> i64; 2] = [|at| at - 15_000, |_| 1_699_999_999_123];
        for start in kinds {
            let starts: Vec<StartTime> =
                (0..1000).map(|number| StartTime { timestamp_ms: at(number), start_ms: start(at(number)) }).collect();
            let mut bytes = Vec::new();
            encode(&starts, starts.len(), &mut bytes);
            assert!(bytes.len() <= 12, "{}", bytes.len());
        }
    }
}
