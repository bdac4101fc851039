//! How often a replica is scraped, measured by its own samples, and what that makes of a long step.
//!
//! A step is the time between two samples that follow each other. Missed scrapes only make steps longer, never shorter, so the
//! *lower quartile* of the steps around a place is the interval even where every second scrape fails at random.

/// Steps that are looked at on each side of a place.
const STEPS_NEAR: usize = 16;
/// Fewer steps than this say little: one outage would be taken for the interval.
const STEPS_MIN: usize = 3;
/// Where no replica has two samples: the interval that a Prometheus has by default.
const DEFAULT_MS: i64 = 60_000;

/// The samples of one replica, ascending.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Replica<'a> {
    pub(super) times: &'a [i64],
    pub(super) values: &'a [f64],
}

/// The steps around a place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pace {
    /// The lower quartile of the steps on both sides; `None` with too few of them.
    pub(super) interval_ms: Option<i64>,
    /// The longer of the two sides' quartiles: what a step may also be, for the interval may just have changed.
    pub(super) slower_ms: i64,
}

impl<'a> Replica<'a> {
    /// Index of the first sample at or after `time_ms`.
    pub(super) fn at_or_after(self, time_ms: i64) -> usize {
        self.times.partition_point(|&t| t < time_ms)
    }

    /// Steps of up to `STEPS_NEAR` samples before the one at `last`, and of those from the one at `next` on.
    fn sides(self, last: Option<usize>, next: usize) -> (&'a [i64], &'a [i64]) {
        let end = last.map_or(0, |last| last + 1).min(self.times.len());
        let before = &self.times[end.saturating_sub(STEPS_NEAR + 1)..end];
        let next = next.min(self.times.len());
        let after = &self.times[next..self.times.len().min(next + STEPS_NEAR + 1)];
        (before, after)
    }

    /// The pace around a step from the sample at `last` to the one at `next`; the step itself does not count.
    pub(super) fn pace(self, last: Option<usize>, next: usize) -> Pace {
        let (before, after) = self.sides(last, next);
        let slower_ms = quartile(&[before], STEPS_MIN).max(quartile(&[after], STEPS_MIN)).unwrap_or(0);
        Pace { interval_ms: quartile(&[before, after], STEPS_MIN), slower_ms }
    }

    /// The pace at the sample at `at`.
    pub(super) fn pace_at(self, at: usize) -> Pace {
        self.pace(Some(at), at)
    }
}

/// The interval at `time_ms` where the replica in question has too few steps of its own: that of the fastest replica there.
pub(super) fn interval_of_all(replicas: &[Replica<'_>], time_ms: i64) -> i64 {
    let each = replicas.iter().filter_map(|replica| {
        let next = replica.at_or_after(time_ms);
        let (before, after) = replica.sides(Some(next).filter(|next| *next < replica.times.len()), next);
        quartile(&[before, after], 1).or_else(|| quartile(&[&replica.times[next.saturating_sub(2)..next]], 1))
    });
    each.min().unwrap_or(DEFAULT_MS)
}

/// The lower quartile of the steps within each list of times, if there are at least `least` of them.
fn quartile(sides: &[&[i64]], least: usize) -> Option<i64> {
    let mut steps = [0; 2 * STEPS_NEAR];
    let all = sides.iter().flat_map(|times| times.windows(2).map(|w| w[1].saturating_sub(w[0])));
    let count = steps.iter_mut().zip(all).map(|(slot, step)| *slot = step).count();
    if count == 0 || count < least {
        return None;
    }
    let (_, quartile, _) = steps[..count].select_nth_unstable(count / 4);
    Some(*quartile)
}

/// Half as much again: the longest step that is no gap, for scrapes come early and late.
pub(super) fn and_a_half(interval_ms: i64) -> i64 {
    interval_ms.saturating_add(interval_ms / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(times: &[i64], last: usize) -> Option<i64> {
        Replica { times, values: &[] }.pace(Some(last), last + 1).interval_ms
    }

    #[test]
    fn missed_scrapes_and_jitter_leave_the_interval() {
        assert_eq!(interval(&[0, 15, 30, 45, 60, 75], 2), Some(15));
        assert_eq!(interval(&[0, 16, 60, 75, 89, 120, 150, 166], 2), Some(16));
        let every_second_at_random = [0, 15, 45, 75, 90, 120, 135, 165, 180, 210];
        assert_eq!(interval(&every_second_at_random, 5), Some(15));
    }

    #[test]
    fn few_samples_say_nothing() {
        assert_eq!(interval(&[], 0), None);
        assert_eq!(interval(&[7], 0), None);
        assert_eq!(interval(&[0, 15, 600, 615], 1), None);
        assert_eq!(interval(&[0, 15, 30, 600, 615], 2), Some(15));
    }

    #[test]
    fn a_changed_interval_is_a_slower_pace() {
        let times: Vec<i64> = (0..20).map(|i| i * 15).chain((1..20).map(|i| 285 + i * 60)).collect();
        let pace = Replica { times: &times, values: &[] }.pace(Some(19), 20);
        assert_eq!(pace, Pace { interval_ms: Some(15), slower_ms: 60 });
    }

    #[test]
    fn others_help_out() {
        let alone = Replica { times: &[100], values: &[] };
        let steady = Replica { times: &[0, 15, 30, 45], values: &[] };
        assert_eq!(interval_of_all(&[alone, steady], 100), 15);
        assert_eq!(interval_of_all(&[alone, alone], 100), DEFAULT_MS);
        let pair = Replica { times: &[0, 20], values: &[] };
        assert_eq!(interval_of_all(&[alone, pair], 0), 20);
        assert_eq!(interval_of_all(&[alone, pair], 500), 20);
    }
}
