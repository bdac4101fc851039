//! One series out of those of several replicas. `docs/deduplication.md` tells the rule to users; keep the two in step.
//!
//! 1. Begin with the first replica, in the order given, whose first sample comes within 1.5 intervals of the earliest one.
//! 2. Stay with it while its steps are at most 1.5 times its own interval ([`super::pace`]).
//! 3. At a longer step (or where it ends before others do) go over to another replica that has a live sample in the gap: at
//!    least a third of the interval after the last sample and as much before the next. Not where both replicas take such steps
//!    from here on or did so until here: then the interval has changed.
//! 4. At a staleness marker go over to another replica that has a live sample until 1.5 intervals later. Without one the series
//!    ends there: the marker is kept, and the next live sample begins anew with 1.
//! 5. Of several replicas that could take over, take the first in the order given that is there within 1.5 intervals of the last
//!    sample; where none is, the earliest.
//! 6. No false counter reset: where the values around the switch rise as a counter's do, samples of the new replica that are less than
//!    the last one taken are left out for up to two intervals (a slow scrape or a skewed clock), unless the new replica's own
//!    samples show a reset there. And no reset twice: where the last one taken came after a reset, samples of the new replica from
//!    before that reset are left out as well.
//!
//! Everything looks at samples near the place alone, but for which replica it is at: that depends on where the data begins.

use std::ops::Range;

use marigram_storage::model::sample::is_stale;

use super::pace::{Replica, and_a_half, interval_of_all};

/// Live steps that are looked at to tell a counter from a gauge.
const COUNTER_STEPS: usize = 8;
/// Samples that are looked at for that, live or not: the work at a place is bounded whatever the series holds.
const SAMPLES_NEAR: usize = 64;

/// Consecutive samples that are taken of one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) replica: usize,
    pub(super) samples: Range<usize>,
}

/// The samples to take, in ascending order of their times.
pub(super) fn stitch(replicas: &[Replica<'_>]) -> Vec<Run> {
    let mut stitcher = Stitcher {
        replicas,
        runs: Vec::new(),
        last_live: None,
        live_from: vec![0; replicas.len()],
        calm_ms: replicas.iter().map(|replica| calm_step_ms(*replica)).collect(),
    };
    let mut place = stitcher.begin(i64::MIN);
    while let Some((replica, first)) = place {
        place = stitcher.follow(replica, first);
    }
    stitcher.runs
}

struct Stitcher<'a> {
    replicas: &'a [Replica<'a>],
    runs: Vec<Run>,
    /// The last live sample that was taken: which replica, where.
    last_live: Option<(usize, usize)>,
    /// Of each replica, a sample before which no beginning needs to look for a live one.
    live_from: Vec<usize>,
    /// Of each replica, a step that is no gap anywhere.
    calm_ms: Vec<i64>,
}

/// Which replica, and the index of a sample.
type Place = (usize, usize);

impl Stitcher<'_> {
    /// Where the series begins, or begins anew, from `from_ms` on.
    fn begin(&mut self, from_ms: i64) -> Option<Place> {
        for (replica, live_from) in self.replicas.iter().zip(&mut self.live_from) {
            let from = replica.at_or_after(from_ms).max(*live_from);
            *live_from =
                (from..replica.times.len()).find(|at| !is_stale(replica.values[*at])).unwrap_or(replica.times.len());
        }
        let guard =
            self.last_live.map(|(replica, at)| self.guard(replica, at, self.interval(replica, Some(at), at + 1)));
        self.first_of(None, |i, replica| {
            let from_ms = *replica.times.get(*self.live_from.get(i)?)?;
            self.candidate(replica, from_ms, i64::MAX, guard)
        })
    }

    /// Takes samples of a replica until another one takes over, or the series ends or begins anew.
    fn follow(&mut self, active: usize, first: usize) -> Option<Place> {
        let replica = self.replicas[active];
        let calm_ms = self.calm_ms[active];
        let mut at = first;
        loop {
            while let (Some(&next_ms), Some(&value)) = (replica.times.get(at + 1), replica.values.get(at + 1))
                && next_ms.saturating_sub(replica.times[at]) <= calm_ms
                && !is_stale(value)
            {
                at += 1;
            }
            self.last_live = Some((active, at));
            if let Some(place) = self.takes_over(active, at) {
                self.runs.push(Run { replica: active, samples: first..at + 1 });
                return Some(place);
            }
            at += 1;
            let Some(&value) = replica.values.get(at) else {
                self.runs.push(Run { replica: active, samples: first..at });
                return None;
            };
            if is_stale(value) {
                self.runs.push(Run { replica: active, samples: first..at + 1 });
                return replica.times[at].checked_add(1).and_then(|from_ms| self.begin(from_ms));
            }
        }
    }

    /// Who goes on after the live sample at `at`, if not the active replica itself.
    #[cold]
    fn takes_over(&self, active: usize, at: usize) -> Option<Place> {
        let replica = self.replicas[active];
        let last_ms = replica.times[at];
        let interval_ms = self.interval(active, Some(at), at + 1);
        let margin_ms = (interval_ms / 3).max(1);
        let from_ms = last_ms.saturating_add(margin_ms);
        let soon_ms = Some(last_ms.saturating_add(and_a_half(interval_ms)));
        let guard = Some(self.guard(active, at, interval_ms));
        let next = replica.times.get(at + 1).copied().zip(replica.values.get(at + 1).copied());
        if let Some((next_ms, value)) = next
            && is_stale(value)
        {
            let until_ms = next_ms.saturating_add(and_a_half(interval_ms));
            return self.first_of(soon_ms, |other, replica| {
                (other != active).then(|| self.candidate(replica, from_ms, until_ms, guard)).flatten()
            });
        }
        let (step_end_ms, until_ms) = match next {
            Some((next_ms, _)) => (next_ms, next_ms.saturating_sub(margin_ms)),
            None => (self.newest_live_ms(active)?, i64::MAX),
        };
        let step_ms = step_end_ms.saturating_sub(last_ms);
        if step_ms <= and_a_half(interval_ms) {
            return None;
        }
        let usual_here = step_ms <= and_a_half(replica.pace(Some(at), at + 1).slower_ms);
        self.first_of(soon_ms, |other, replica| {
            let found = (other != active).then(|| self.candidate(replica, from_ms, until_ms, guard)).flatten()?;
            let usual_there = usual_here && step_ms <= and_a_half(replica.pace_at(found).slower_ms);
            (!usual_there).then_some(found)
        })
    }

    /// The first replica in order that is there until `soon_ms`; where none is, the earliest. Without `soon_ms`, soon after the
    /// earliest is soon enough.
    fn first_of(&self, soon_ms: Option<i64>, find: impl Fn(usize, Replica<'_>) -> Option<usize>) -> Option<Place> {
        let found: Vec<Place> =
            self.replicas.iter().enumerate().filter_map(|(i, &replica)| Some((i, find(i, replica)?))).collect();
        let time = |&(replica, at): &Place| self.replicas[replica].times[at];
        let earliest_ms = found.iter().map(time).min()?;
        found.into_iter().find(|place| {
            let interval_ms = || self.interval(place.0, Some(place.1), place.1);
            let soon_ms = soon_ms.unwrap_or_else(|| earliest_ms.saturating_add(and_a_half(interval_ms())));
            time(place) <= soon_ms.max(earliest_ms)
        })
    }

    /// The interval around a step of a replica.
    fn interval(&self, replica: usize, last: Option<usize>, next: usize) -> i64 {
        let own = self.replicas[replica].pace(last, next).interval_ms;
        let time_ms = || last.and_then(|last| self.replicas[replica].times.get(last)).copied().unwrap_or(i64::MIN);
        own.unwrap_or_else(|| interval_of_all(self.replicas, time_ms()))
    }

    /// The time of the newest live sample of all but the active replica.
    fn newest_live_ms(&self, active: usize) -> Option<i64> {
        let others = self.replicas.iter().enumerate().filter(|(other, _)| *other != active);
        let newest = others.filter_map(|(_, replica)| {
            let last = replica.values.iter().rposition(|value| !is_stale(*value))?;
            replica.times.get(last).copied()
        });
        newest.max()
    }

    /// The first live sample of a replica within the times that may follow what was taken.
    fn candidate(&self, replica: Replica<'_>, from_ms: i64, until_ms: i64, guard: Option<Guard>) -> Option<usize> {
        let first = replica.at_or_after(from_ms);
        let mut live = (first..replica.times.len()).filter(|at| !is_stale(replica.values[*at]));
        let found = live.find(|at| {
            replica.times[*at] > until_ms || guard.is_none_or(|guard| guard.lets_through(replica, first, *at))
        });
        found.filter(|at| replica.times[*at] <= until_ms)
    }

    fn guard(&self, replica: usize, at: usize, interval_ms: i64) -> Guard {
        let replica = self.replicas[replica];
        Guard {
            last_ms: replica.times[at],
            last_value: replica.values[at],
            interval_ms,
            rises: rises(live_back(replica, at)),
            fell_from: fell_from(replica, at, interval_ms),
        }
    }
}

/// What the last live sample says about the next one of another replica.
#[derive(Clone, Copy)]
struct Guard {
    last_ms: i64,
    last_value: f64,
    interval_ms: i64,
    /// Whether the values until there rise as a counter's do.
    rises: bool,
    /// The value before a reset that its replica saw within an interval until there.
    fell_from: Option<f64>,
}

impl Guard {
    /// Whether the sample at `at` may follow; `first` is the first one that could.
    fn lets_through(&self, replica: Replica<'_>, first: usize, at: usize) -> bool {
        let (time_ms, value) = (replica.times[at], replica.values[at]);
        let falls = value < self.last_value;
        let soon = time_ms.saturating_sub(self.last_ms) < self.interval_ms.saturating_mul(2);
        if !soon || !self.rises {
            return true;
        }
        if !falls {
            return !self.precedes_reset(replica, at);
        }
        let after = replica.values[at..].iter().take(SAMPLES_NEAR).copied().filter(|value| !is_stale(*value));
        let is_counter = rises(live_back(replica, first)) && rises_forward(after);
        !is_counter || self.saw_reset(replica, at)
    }

    /// Whether the sample at `at` was read before the reset that the last sample came after: it is nearer to the value before the
    /// reset than to the last one, and the replica's own next sample falls.
    fn precedes_reset(&self, replica: Replica<'_>, at: usize) -> bool {
        let value = replica.values[at];
        let is_nearer = |before: f64| value - self.last_value > before - value;
        let mut later = replica.values[at + 1..].iter().take(SAMPLES_NEAR).filter(|value| !is_stale(**value));
        self.fell_from.is_some_and(is_nearer) && later.next().is_some_and(|next| *next < value)
    }

    /// Whether the replica's own samples show a reset, between an interval before the last sample and the one at `at`, that the last
    /// sample does not know of: it is nearer to the value before the reset than to the one now.
    fn saw_reset(&self, replica: Replica<'_>, at: usize) -> bool {
        let earliest_ms = self.last_ms.saturating_sub(self.interval_ms);
        let mut later = replica.values[at];
        for i in (0..at).rev().take(SAMPLES_NEAR).filter(|i| !is_stale(replica.values[*i])) {
            let earlier = replica.values[i];
            if later < earlier && self.last_value - replica.values[at] > earlier - self.last_value {
                return true;
            }
            if replica.times[i] <= earliest_ms {
                return false;
            }
            later = earlier;
        }
        false
    }
}

/// The value before the latest fall within an interval until the sample at `at`, if there is one.
fn fell_from(replica: Replica<'_>, at: usize, interval_ms: i64) -> Option<f64> {
    let earliest_ms = replica.times[at].saturating_sub(interval_ms);
    let mut later = replica.values[at];
    for i in (0..at).rev().take(SAMPLES_NEAR).filter(|i| !is_stale(replica.values[*i])) {
        if later < replica.values[i] {
            return Some(replica.values[i]);
        }
        if replica.times[i] <= earliest_ms {
            return None;
        }
        later = replica.values[i];
    }
    None
}

/// Live values from the sample at `at` backwards.
fn live_back<'a>(replica: Replica<'a>, at: usize) -> impl Iterator<Item = f64> + 'a {
    let values = replica.values.get(..=at.min(replica.values.len().saturating_sub(1))).unwrap_or_default();
    values.iter().rev().take(SAMPLES_NEAR).copied().filter(|value| !is_stale(*value))
}

/// Whether values, the latest first, are those of a counter: none is negative, and they fall once at most.
fn rises(back: impl Iterator<Item = f64>) -> bool {
    let mut later = f64::INFINITY;
    let (mut falls, mut positive) = (0, true);
    for value in back.take(COUNTER_STEPS + 1) {
        falls += usize::from(later < value);
        positive &= value >= 0.0;
        later = value;
    }
    positive && falls <= 1
}

/// The same for values with the earliest first.
fn rises_forward(values: impl Iterator<Item = f64>) -> bool {
    let mut earlier = f64::NEG_INFINITY;
    let (mut falls, mut positive) = (0, true);
    for value in values.take(COUNTER_STEPS + 1) {
        falls += usize::from(value < earlier);
        positive &= value >= 0.0;
        earlier = value;
    }
    positive && falls <= 1
}

/// A step that is no gap whatever the interval around it: 1.5 times the least step of all is within 1.5 times any quartile.
fn calm_step_ms(replica: Replica<'_>) -> i64 {
    if replica.times.len() < 5 {
        return 0;
    }
    let steps = replica.times.windows(2).map(|w| w[1].saturating_sub(w[0]));
    and_a_half(steps.min().unwrap_or(0))
}
