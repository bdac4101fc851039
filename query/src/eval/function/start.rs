//! What start timestamps tell functions of counters: when a counter was zero, and that it was zero in between.

use marigram_storage::model::start::StartTime;

use super::Window;

/// Since when the sample at a time counts, ms; 0 where that is not known.
pub(crate) fn start_of(starts: &[StartTime], time_ms: i64) -> i64 {
    let place = starts.binary_search_by_key(&time_ms, |start| start.timestamp_ms).ok();
    place.and_then(|place| starts.get(place)).map_or(0, |start| start.start_ms)
}

/// Whether a counter began anew between a sample and the next one, by the start timestamp of the latter.
pub(super) fn restarted(window: &Window<'_>, before_ms: i64, after_ms: i64) -> bool {
    if window.starts.is_empty() {
        return false;
    }
    let start_ms = start_of(window.starts, after_ms);
    if start_ms == 0 || start_ms < before_ms || start_ms >= after_ms {
        return false;
    }
    if start_ms > before_ms {
        return true;
    }
    // It counts since the sample before: so do counters of differences, but also those of which only the first sample is known, and
    // these have nothing before that one.
    let start_before_ms = start_of(window.starts, before_ms);
    start_before_ms != 0 && start_before_ms < before_ms
}

/// The moment within the window at which the counter of its first sample was zero, if it is known.
pub(super) fn zero_within(window: &Window<'_>, first_ms: i64) -> Option<i64> {
    if window.starts.is_empty() {
        return None;
    }
    let start_ms = start_of(window.starts, first_ms);
    (start_ms != 0 && start_ms > window.start_ms && start_ms < first_ms).then_some(start_ms)
}

/// Whether a sample counts what the one before it has counted already, although it began at another time.
pub(crate) fn overlapping(window: &Window<'_>) -> bool {
    if window.starts.is_empty() {
        return false;
    }
    let overlaps = |before_ms: i64, after_ms: i64| {
        let start_ms = start_of(window.starts, after_ms);
        start_ms != 0 && start_ms < before_ms && start_ms != start_of(window.starts, before_ms)
    };
    window.times.windows(2).any(|pair| overlaps(pair[0], pair[1]))
        || window.histograms.windows(2).any(|pair| overlaps(pair[0].timestamp_ms, pair[1].timestamp_ms))
}

#[cfg(test)]
mod tests {
    use super::super::{histogram_rate, rate};
    use super::*;

    fn starts(pairs: &[(i64, i64)]) -> Vec<StartTime> {
        pairs.iter().map(|&(timestamp_ms, start_ms)| StartTime { timestamp_ms, start_ms }).collect()
    }

    fn window<'w>(times: &'w [i64], values: &'w [f64], starts: &'w [StartTime]) -> Window<'w> {
        let (start_ms, end_ms, range_ms, time_ms) = (0, 60_000, 60_000, 60_000);
        Window { times, values, histograms: &[], starts, start_ms, end_ms, range_ms, time_ms, args: [0.0; 2] }
    }

    #[test]
    fn a_later_start_is_a_reset_and_the_sample_before_only_if_it_had_one() {
        let told = |pairs: &[(i64, i64)]| {
            let starts = starts(pairs);
            restarted(&window(&[], &[], &starts), 10, 20)
        };
        assert!(told(&[(20, 15)]) && told(&[(10, 4), (20, 11)]));
        assert!(!told(&[]) && !told(&[(10, 4), (20, 4)]) && !told(&[(20, 9)]), "it went on");
        assert!(!told(&[(20, 20)]) && !told(&[(20, 25)]), "the start is not known");
        assert!(told(&[(10, 4), (20, 10)]), "differences");
        assert!(!told(&[(20, 10)]) && !told(&[(10, 10), (20, 10)]) && !told(&[(10, 12), (20, 10)]));
    }

    #[test]
    fn a_start_within_the_window_is_where_the_counter_was_zero() {
        // Zero at 10 s, then 20 in ten seconds each, and 20 s to the end of the window, of which five are believed.
        let starts = starts(&[(20_000, 10_000), (30_000, 10_000), (40_000, 10_000)]);
        let values = [20.0, 40.0, 60.0];
        let window = window(&[20_000, 30_000, 40_000], &values, &starts);
        assert_eq!(rate::increase(&window), Some(60.0 * 35.0 / 30.0));
        let one = Window { times: &window.times[..1], values: &values[..1], ..window };
        assert_eq!(rate::increase(&one), Some(20.0), "one sample is enough");
        assert_eq!(rate::irate(&one), None);
        assert_eq!(rate::increase(&Window { starts: &[], ..one }), None);
        assert_eq!(rate::increase(&Window { start_ms: 10_000, ..one }), None, "the start of the window is not in it");
        assert_eq!(rate::delta(&one), None);
        assert!(
            histogram_rate::increase(&Window { times: &[], values: &[], ..one }, &mut Default::default()).is_none()
        );
    }

    #[test]
    fn resets_without_a_fall_are_seen() {
        let starts = starts(&[(20_000, 10_000), (30_000, 25_000), (40_000, 25_000)]);
        let window = window(&[20_000, 30_000, 40_000], &[20.0, 40.0, 60.0], &starts);
        assert_eq!(rate::resets(&window), Some(1.0));
        // From 20 to 60, 20 lost in the reset, and 20 before the first sample.
        assert_eq!(rate::increase(&window), Some(80.0 * (35.0 / 30.0)));
        let two = Window { times: &window.times[..2], values: &window.values[..2], ..window };
        assert_eq!((rate::irate(&two), rate::irate(&window)), (Some(4.0), Some(2.0)));
        assert!(!overlapping(&window));
    }

    #[test]
    fn starts_that_overlap_are_seen() {
        let starts = starts(&[(20, 5), (30, 6), (40, 30)]);
        assert!(overlapping(&window(&[20, 30], &[1.0, 1.0], &starts)));
        assert!(!overlapping(&window(&[30, 40], &[1.0, 1.0], &starts)));
    }
}
