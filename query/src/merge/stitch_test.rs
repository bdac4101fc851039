use marigram_storage::model::sample::{is_stale, stale_nan};
use proptest::prelude::*;

use super::pace::Replica;
use super::stitch::stitch;

type Samples = Vec<(i64, f64)>;

/// What is taken, with the replica that each sample is of.
fn taken(replicas: &[Samples]) -> Vec<(usize, i64, f64)> {
    let columns: Vec<(Vec<i64>, Vec<f64>)> = replicas.iter().map(|r| r.iter().copied().unzip()).collect();
    let columns: Vec<Replica<'_>> = columns.iter().map(|(times, values)| Replica { times, values }).collect();
    let runs = stitch(&columns);
    let samples = runs.iter().flat_map(|run| {
        let Replica { times, values } = columns[run.replica];
        run.samples.clone().map(move |at| (run.replica, times[at], values[at]))
    });
    samples.collect()
}

fn times(replicas: &[Samples]) -> Vec<(usize, i64)> {
    taken(replicas).into_iter().map(|(replica, time, _)| (replica, time)).collect()
}

/// A sample every `step` from `first` to `last`, counting from 100.
fn steady(first: i64, step: usize, last: i64) -> Samples {
    (first..=last).step_by(step).map(|t| (t, 100.0 + t as f64)).collect()
}

fn without(mut samples: Samples, from: i64, to: i64) -> Samples {
    samples.retain(|(t, _)| *t < from || *t > to);
    samples
}

fn stale_at(mut samples: Samples, time: i64) -> Samples {
    samples.retain(|(t, _)| *t != time);
    samples.push((time, stale_nan()));
    samples.sort_by_key(|(t, _)| *t);
    samples
}

fn from_replica(got: &[(usize, i64)], replica: usize) -> Vec<i64> {
    got.iter().filter(|(r, _)| *r == replica).map(|(_, t)| *t).collect()
}

#[test]
fn the_first_replica_is_stayed_with() {
    let got = times(&[steady(5, 15, 600), steady(0, 15, 600)]);
    assert!(got.iter().all(|(replica, _)| *replica == 0), "{got:?}");
    assert_eq!(got.len(), 40);
}

#[test]
fn a_gap_is_bridged_and_the_other_replica_stayed_with() {
    let got = times(&[without(steady(0, 15, 900), 300, 400), steady(7, 15, 900)]);
    assert_eq!(from_replica(&got, 0).last(), Some(&285));
    assert_eq!(from_replica(&got, 1).first(), Some(&292));
    assert!(got.windows(2).all(|w| w[0].1 < w[1].1 && w[0].0 <= w[1].0), "{got:?}");
    assert_eq!(got.last(), Some(&(1, 892)));
}

#[test]
fn one_missed_scrape_is_a_gap() {
    for phase in 0..15 {
        let got = times(&[without(steady(0, 15, 600), 300, 300), steady(phase, 15, 600)]);
        let longest = got.windows(2).map(|w| w[1].1 - w[0].1).max().unwrap();
        assert!(longest <= 22, "{phase}: {longest}");
    }
}

#[test]
fn a_late_scrape_is_no_gap() {
    let mut late = steady(0, 15, 600);
    late[20].0 += 6;
    assert!(times(&[late, steady(7, 15, 600)]).iter().all(|(replica, _)| *replica == 0));
}

#[test]
fn a_replica_with_another_interval_is_gapless_by_its_own_measure() {
    let got = times(&[steady(0, 60, 3600), steady(7, 15, 3600)]);
    assert!(got.iter().all(|(replica, _)| *replica == 0), "{got:?}");
}

#[test]
fn a_new_interval_is_no_gap() {
    let change = |first: i64| -> Samples { [steady(first, 15, 600), steady(first + 660, 60, 3600)].concat() };
    let got = times(&[change(0), change(7)]);
    assert!(got.iter().all(|(replica, _)| *replica == 0), "{got:?}");
    let back = |first: i64| -> Samples { [steady(first, 60, 3600), steady(first + 3615, 15, 4800)].concat() };
    let got = times(&[back(0), back(7)]);
    assert!(got.iter().all(|(replica, _)| *replica == 0), "{got:?}");
}

#[test]
fn a_replica_that_fades_is_left() {
    let faded: Samples = [steady(0, 15, 600), steady(1200, 600, 6000)].concat();
    let got = times(&[faded, steady(7, 15, 6000)]);
    assert!(got.windows(2).all(|w| w[1].1 - w[0].1 <= 22), "{got:?}");
}

#[test]
fn single_samples() {
    assert_eq!(times(&[vec![(0, 1.0)], vec![]]), [(0, 0)]);
    assert_eq!(times(&[vec![(0, 1.0)], steady(7, 15, 60)]), [(0, 0), (1, 7), (1, 22), (1, 37), (1, 52)]);
    assert_eq!(times(&[vec![(7000, 1.0)], vec![(0, 1.0)]]), [(0, 7000)]);
    assert_eq!(times(&[vec![(700_000, 1.0)], vec![(0, 1.0)]]), [(1, 0), (0, 700_000)]);
}

#[test]
fn the_third_replica_helps_when_two_are_down() {
    let a = without(steady(0, 15, 900), 300, 900);
    let b = without(steady(5, 15, 900), 290, 600);
    let got = times(&[a, b, steady(10, 15, 900)]);
    assert!(got.windows(2).all(|w| w[1].1 - w[0].1 <= 22), "{got:?}");
    assert_eq!(got.last(), Some(&(2, 895)));
}

#[test]
fn a_marker_before_anothers_live_data_is_a_switch() {
    let got = taken(&[stale_at(without(steady(0, 15, 900), 300, 900), 300), steady(7, 15, 900)]);
    assert!(got.iter().all(|(_, _, value)| !is_stale(*value)), "{got:?}");
    assert_eq!(got.iter().map(|(_, t, _)| *t).find(|t| *t > 285), Some(292));
    assert_eq!(got.last().map(|(r, t, _)| (*r, *t)), Some((1, 892)));
}

#[test]
fn a_marker_stays_where_nobody_has_live_data() {
    let a = stale_at(steady(0, 15, 285), 300);
    let b = stale_at(steady(7, 15, 277), 292);
    let got = taken(&[a.clone(), b.clone()]);
    assert!(is_stale(got.last().unwrap().2));
    assert_eq!(got.iter().filter(|(_, _, value)| is_stale(*value)).count(), 1);
    // It comes back an hour later: anew with the first replica.
    let again = |mut samples: Samples, first: i64| {
        samples.extend(steady(first, 15, 4200));
        samples
    };
    let got = taken(&[again(a, 3600), again(b, 3595)]);
    assert_eq!(got.iter().filter(|(_, _, value)| is_stale(*value)).count(), 1);
    assert!(got.iter().all(|(replica, ..)| *replica == 0), "{got:?}");
}

#[test]
fn a_fresher_end_of_the_other_replica_is_taken() {
    // The target dies at 290: the other replica has seen it alive at 288, and knows at 303 that it is gone.
    let a = stale_at(steady(0, 15, 285), 300);
    let b = stale_at(steady(3, 15, 288), 303);
    let got = taken(&[a, b]);
    assert_eq!(got.iter().filter(|(_, _, value)| is_stale(*value)).count(), 1);
    assert!(is_stale(got.last().unwrap().2));
}

/// A counter as two replicas see it: the second one `lag` behind the first.
fn lagging(lag: i64) -> (Samples, Samples) {
    let a = without((0..60).map(|i| (i * 15, 1000.0 + (i * 15) as f64)).collect(), 300, 900);
    let b = (0..60).map(|i| (i * 15 + 7, 1000.0 + (i * 15 + 7 - lag) as f64)).collect();
    (a, b)
}

fn falls(got: &[(usize, i64, f64)]) -> usize {
    got.windows(2).filter(|w| w[1].2 < w[0].2).count()
}

#[test]
fn a_lagging_replica_does_not_reset_a_counter() {
    for lag in [0, 5, 9, 14, 20] {
        let (a, b) = lagging(lag);
        let got = taken(&[a, b]);
        assert_eq!(falls(&got), 0, "{lag}: {got:?}");
        assert!(got.windows(2).all(|w| w[1].1 - w[0].1 <= 37), "{lag}: {got:?}");
        assert!(got.iter().any(|(replica, ..)| *replica == 1));
    }
}

#[test]
fn a_true_reset_at_the_switch_is_shown_once() {
    // The counter is reset at 290: only the second replica sees it.
    let (a, mut b) = lagging(0);
    b.iter_mut().filter(|(t, _)| *t > 290).for_each(|(t, value)| *value = (*t - 290) as f64);
    let got = taken(&[a, b]);
    assert_eq!(falls(&got), 1, "{got:?}");
    assert!(got.contains(&(1, 292, 2.0)), "{got:?}");
    // It is reset at 280: both have seen it, the second one later.
    let (mut a, mut b) = lagging(0);
    a.iter_mut().filter(|(t, _)| *t > 280).for_each(|(t, value)| *value = (*t - 280) as f64 * 10.0);
    b.iter_mut().filter(|(t, _)| *t > 280).for_each(|(t, value)| *value = (*t - 290) as f64 * 10.0);
    let got = taken(&[a, b]);
    assert_eq!(falls(&got), 1, "{got:?}");
}

#[test]
fn a_reset_is_not_shown_again_by_a_scrape_that_read_before_it() {
    // The counter is reset at 290. The first replica's scrape of 285 is slow and reads after it, the second one's of 292 has read
    // before it (its clock is ahead).
    let mut a = without(steady(0, 15, 900), 300, 900);
    let mut b = steady(7, 15, 900);
    a.iter_mut().filter(|(t, _)| *t >= 285).for_each(|(t, value)| *value = (*t - 284) as f64);
    b.iter_mut().filter(|(t, _)| *t >= 307).for_each(|(t, value)| *value = (*t - 290) as f64);
    let got = taken(&[a, b]);
    assert_eq!(falls(&got), 1, "{got:?}");
    assert_eq!(got.iter().find(|(replica, ..)| *replica == 1).map(|(_, t, _)| *t), Some(307));
    // Found by chance among random ones.
    World::new(4_030_933_962_426_214_773, 69, 3).check(330);
}

#[test]
fn a_reset_that_nobody_saw_is_shown_in_the_end() {
    let (a, b) = lagging(0);
    let b: Samples = b.into_iter().filter(|(t, _)| *t > 290).map(|(t, _)| (t, (t - 290) as f64)).collect();
    let got = taken(&[a, b]);
    assert_eq!(falls(&got), 1, "{got:?}");
    assert_eq!(got.iter().find(|(replica, ..)| *replica == 1).map(|(_, t, _)| *t), Some(322));
}

#[test]
fn gauges_keep_what_is_lower_after_a_switch() {
    let wave = |t: i64| 50.0 + 40.0 * ((t as f64) / 20.0).sin();
    for shift in 0..40 {
        let a: Samples = (0..60).map(|i| (i * 15, wave(i * 15 + shift))).collect();
        let b: Samples = (0..60).map(|i| (i * 15 + 7, wave(i * 15 + 7 + shift))).collect();
        let got = times(&[without(a, 300, 900), b]);
        assert_eq!(got.iter().find(|(replica, _)| *replica == 1), Some(&(1, 292)));
    }
}

#[test]
fn thanos_7623_interleaved_scrapes_of_three_replicas_give_no_spike() {
    // Three replicas within a second of each other, the last of them lagging: the first samples of the report.
    let counts = [78988.0, 78995.0, 79001.0, 79007.0, 79013.0, 79019.0];
    let replica = |offset: i64, behind: [f64; 6]| -> Samples {
        (0..)
            .zip(counts.iter().zip(behind))
            .map(|(i, (count, less))| (786_600 + i * 20_000 + offset, count - less))
            .collect()
    };
    let none = [0.0; 6];
    let got = taken(&[replica(0, none), replica(888, none), replica(813, [-1.0, 0.0, 0.0, 0.0, 0.0, 0.0])]);
    assert_eq!(falls(&got), 0);
    assert!(got.iter().all(|(replica, ..)| *replica == 0), "{got:?}");
    // Also where the first one ends in the middle.
    let short: Samples = replica(0, none).into_iter().take(3).collect();
    let got = taken(&[short, replica(888, [0.0, 0.0, 3.0, 0.0, 0.0, 0.0]), replica(813, none)]);
    assert_eq!(falls(&got), 0, "{got:?}");
}

#[test]
fn thanos_2890_the_newest_values_of_a_replica_that_is_ahead_give_no_spike() {
    // Scraped every minute; the second replica's samples are always there first, and half a second after the first one's.
    let a = steady(0, 60_000, 3_600_000);
    let b = steady(500, 60_000, 3_600_500);
    for missing in 0..2 {
        let got = times(&[a[..a.len() - missing].to_vec(), b.clone()]);
        assert!(got.iter().all(|(replica, _)| *replica == 0), "{missing}: {got:?}");
    }
    // Two missing are a gap. The first sample after it is far enough from the last one for `irate` to make sense.
    let got = times(&[a[..a.len() - 2].to_vec(), b]);
    assert_eq!(got.last(), Some(&(1, 3_600_500)));
    assert!(got.windows(2).all(|w| (20_000..=90_000).contains(&(w[1].1 - w[0].1))), "{got:?}");
}

#[test]
fn thanos_7364_gaps_of_failed_scrapes_are_filled() {
    // The first replica's scrapes time out now and then, with a staleness marker each time; the second one's never do.
    let failed = [4, 5, 9, 14, 15, 16, 25, 31, 32, 40];
    let mut a = steady(0, 30, 1800);
    for (i, sample) in a.iter_mut().enumerate().filter(|(i, _)| failed.contains(i)) {
        sample.1 = if failed.contains(&(i - 1)) { f64::INFINITY } else { stale_nan() };
    }
    a.retain(|(_, value)| value.is_finite() || is_stale(*value));
    let b = steady(11, 30, 1811);
    for replicas in [[a.clone(), b.clone()], [b, a]] {
        let got = taken(&replicas);
        assert!(got.iter().all(|(_, _, value)| !is_stale(*value)), "{got:?}");
        assert!(got.windows(2).all(|w| w[1].1 - w[0].1 <= 45), "{got:?}");
        assert_eq!(falls(&got), 0);
    }
}

/// Random choices out of a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end.max(1) as u64) as i64
    }
}

/// One target's counter, scraped by several replicas.
struct World {
    interval: i64,
    /// Longest time between a scrape's timestamp and the moment when the target reads its counter.
    delay: i64,
    resets: Vec<i64>,
    replicas: Vec<Samples>,
}

const SCRAPES: i64 = 200;

impl World {
    fn new(seed: u64, delay_percent: i64, outages: i64) -> World {
        let mut dice = Dice(seed);
        let interval = [1000, 15_000, 30_000, 60_000][dice.below(4) as usize];
        let (delay, end) = (interval * delay_percent / 100, interval * SCRAPES);
        let mut resets = Vec::new();
        let mut at = interval * (30 + dice.below(100));
        while at < end {
            resets.push(at);
            at += interval * (40 + dice.below(100));
        }
        let growth = 1 + dice.below(50);
        let counter = |time: i64| -> f64 {
            let since = resets.iter().rev().find(|reset| **reset <= time).copied();
            let base = if since.is_none() { 1_000_000 } else { 0 };
            (base + (time - since.unwrap_or(0)) * growth / interval) as f64
        };
        let count = 2 + dice.below(2);
        let replicas = (0..count).map(|_| {
            let phase = dice.below(interval);
            let marks = dice.below(2) == 0;
            let down: Vec<(i64, i64)> = (0..dice.below(outages + 1))
                .map(|_| {
                    let from = interval * dice.below(SCRAPES);
                    (from, from + interval * (1 + dice.below(20)) / (1 + dice.below(3)))
                })
                .collect();
            let mut out = Samples::new();
            let mut was_down = false;
            for i in 0..SCRAPES {
                let time = i * interval + phase + dice.below(interval / 20);
                let value = counter(time + dice.below(delay + 1));
                let is_down = down.iter().any(|(from, to)| (*from..*to).contains(&time));
                if !is_down {
                    out.push((time, value));
                } else if marks && !was_down && !out.is_empty() {
                    out.push((time, stale_nan()));
                }
                was_down = is_down;
            }
            out
        });
        let replicas = replicas.collect();
        World { interval, delay, resets, replicas }
    }

    /// How long no replica was up between two times: each is up for an interval after a live sample.
    fn nobody_up(&self, from: i64, to: i64) -> i64 {
        let mut up: Vec<(i64, i64)> = self
            .replicas
            .iter()
            .flatten()
            .filter(|(_, value)| !is_stale(*value))
            .map(|(t, _)| ((*t).clamp(from, to), (*t + self.interval * 21 / 20).clamp(from, to)))
            .collect();
        up.sort_unstable();
        let (mut down, mut covered) = (0, from);
        for (start, end) in up {
            down += (start - covered).max(0);
            covered = covered.max(end);
        }
        down + (to - covered).max(0)
    }

    fn check(&self, slack_percent: i64) {
        let got = taken(&self.replicas);
        for (replica, time, value) in &got {
            let known = self.replicas[*replica].iter().any(|(t, v)| t == time && v.to_bits() == value.to_bits());
            assert!(known, "{time} {value} is no sample of replica {replica}");
        }
        assert!(got.windows(2).all(|w| w[0].1 < w[1].1), "times ascend: {got:?}");
        let live: Vec<_> = got.iter().filter(|(_, _, value)| !is_stale(*value)).copied().collect();
        let mut left = self.resets.clone();
        for w in live.windows(2) {
            let (from, to) = (w[0].1, w[1].1);
            if w[1].2 < w[0].2 {
                let true_reset = left.iter().position(|reset| from < *reset && *reset <= to + self.delay);
                assert!(true_reset.is_some(), "false reset after {:?}: {:?}, resets {:?}", w[0], w[1], self.resets);
                left.remove(true_reset.unwrap());
            }
            // Where the series had ended, it may begin anew with a replica that is there a little later.
            let ended = got.iter().any(|(_, time, value)| is_stale(*value) && (from..to).contains(time));
            let slack_percent = slack_percent + if ended { 150 } else { 0 };
            let allowed = self.nobody_up(from, to) + self.interval * slack_percent / 100;
            assert!(to - from <= allowed, "gap of {} (allowed {allowed}) {:?} {:?}", to - from, w[0], w[1]);
        }
        let newest = self.replicas.iter().flatten().filter(|(_, v)| !is_stale(*v)).map(|(t, _)| *t).max().unwrap();
        let allowed = self.interval * slack_percent / 100;
        assert!(newest - live.last().unwrap().1 <= allowed, "ends before the newest sample");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn replicas_without_gaps_give_one_of_them(seed in any::<u64>(), delay in 0i64..85) {
        let world = World::new(seed, delay, 0);
        let got = taken(&world.replicas);
        let replica = got[0].0;
        let got: Samples = got.into_iter().map(|(_, time, value)| (time, value)).collect();
        prop_assert_eq!(replica, 0);
        prop_assert_eq!(&got, &world.replicas[0]);
    }

    #[test]
    fn outages_leave_no_gap(seed in any::<u64>()) {
        World::new(seed, 0, 3).check(180);
    }

    #[test]
    fn delays_make_no_false_reset(seed in any::<u64>(), delay in 0i64..85) {
        World::new(seed, delay, 3).check(330);
    }

    #[test]
    fn anything_goes(parts in proptest::collection::vec(proptest::collection::btree_map(0i64..300, 0u8..5, 0..60), 1..4)) {
        let replicas: Vec<Samples> = parts.iter().map(|part| {
            part.iter().map(|(t, v)| (*t, if *v == 0 { stale_nan() } else { f64::from(*v) })).collect()
        }).collect();
        let got = taken(&replicas);
        prop_assert!(got.windows(2).all(|w| w[0].1 < w[1].1));
        for (replica, time, value) in got {
            prop_assert!(replicas[replica].iter().any(|(t, v)| *t == time && v.to_bits() == value.to_bits()));
        }
    }
}

#[test]
fn long_runs_of_markers_are_not_looked_through_again_and_again() {
    let a: Samples = (0..200_000).map(|i| (i, if i % 2 == 0 { 1.0 } else { stale_nan() })).collect();
    let b: Samples = (0..200_000).map(|i| (i, stale_nan())).collect();
    assert_eq!(taken(&[a.clone(), b]).len(), a.len());
}

#[test]
fn the_ends_of_time() {
    let ends = vec![(i64::MIN, 1.0), (0, 1.0), (i64::MAX, stale_nan())];
    let other = vec![(i64::MIN, 2.0), (i64::MAX - 1, 5.0), (i64::MAX, 1.0)];
    for replicas in [[ends.clone(), other.clone()], [other, ends]] {
        let got = taken(&replicas);
        assert!(got.windows(2).all(|w| w[0].1 < w[1].1), "{got:?}");
    }
}
