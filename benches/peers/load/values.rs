//! The values of a pod's series, round after round.
//!
//! 1. Each series has a level that is drawn once: how busy a counter is, how far a gauge steps.
//! 2. A round moves the state of every series by what its class does, and gives the state as a value.

use super::random::Random;
use super::{BUCKETS, Class, POD_SERIES, class};

/// Of the counters of a pod, so many never count.
const IDLE_COUNTERS: usize = 8;
/// How much the rate of a busy counter swings from scrape to scrape, as a part of it.
const SPREAD: f64 = 0.3;

/// The state of a pod.
#[derive(Clone)]
pub(crate) struct Pod {
    random: Random,
    /// Counts, or hundredths, pages, ten-thousandths, what a quotient is made of.
    state: Box<[i64; POD_SERIES]>,
    /// Expected events a scrape, or the width of a step.
    level: Box<[f32; POD_SERIES]>,
}

impl Pod {
    /// The pod of this number as it starts.
    pub(crate) fn new(seed: u64, pod: u64) -> Pod {
        let mut random = Random::new(seed, pod);
        let mut state = Box::new([0; POD_SERIES]);
        let mut level = Box::new([0.0; POD_SERIES]);
        for at in 0..POD_SERIES {
            let (class, nth) = class(at);
            let scrapes_before = random.log_uniform(10.0, 100_000.0);
            (state[at], level[at]) = match class {
                Class::Counter if nth % 4 == 1 && nth / 4 < IDLE_COUNTERS => (random.below(3) as i64 * 17, 0.0),
                Class::Counter => {
                    let rate = random.log_uniform(0.003, 30_000_000.0);
                    ((rate * scrapes_before) as i64, rate as f32)
                }
                Class::Bucket if nth % BUCKETS > 0 => (0, level[at - 1]),
                Class::Bucket => (0, random.log_uniform(0.1, 500_000.0) as f32),
                Class::Walk => (random.below(20_000) as i64, random.log_uniform(3.0, 300.0) as f32),
                Class::Bytes => (random.below(500_000) as i64, random.log_uniform(0.5, 2_000.0) as f32),
                Class::Ratio => (random.below(10_000) as i64, random.log_uniform(10.0, 300.0) as f32),
                Class::Quotient => (random.below(100_000) as i64, random.log_uniform(10.0, 1_000.0) as f32),
                Class::Seconds => {
                    // Hundredths of a second in 15 s, up to one core.
                    let rate = random.log_uniform(0.5, 1_400.0);
                    ((rate * scrapes_before) as i64, rate as f32)
                }
                Class::Constant => {
                    ([1, 1_790_000_000 + random.below(9_000_000) as i64, 1 << 30, 2, 65_536][nth % 5], 0.0)
                }
            };
        }
        for first in (0..POD_SERIES).filter(|at| matches!(class(*at), (Class::Bucket, nth) if nth % BUCKETS == 0)) {
            let total = f64::from(level[first]) * random.log_uniform(10.0, 100_000.0);
            for bucket in 0..BUCKETS {
                state[first + bucket] = (total * share(bucket)) as i64;
            }
        }
        Pod { random, state, level }
    }

    /// The values of the next round.
    pub(crate) fn next(&mut self, values: &mut [f64; POD_SERIES]) {
        let Pod { random, state, level } = self;
        let mut at = 0;
        while at < POD_SERIES {
            let (level, class) = (f64::from(level[at]), class(at).0);
            if class == Class::Bucket {
                step_histogram(random, level, &mut state[at..at + BUCKETS]);
                for bucket in at..at + BUCKETS {
                    values[bucket] = state[bucket] as f64;
                }
                at += BUCKETS;
                continue;
            }
            let state = &mut state[at];
            values[at] = match class {
                Class::Counter | Class::Seconds => {
                    if level > 0.0 {
                        *state += random.events(level, SPREAD) as i64;
                    }
                    if class == Class::Seconds { *state as f64 / 100.0 } else { *state as f64 }
                }
                Class::Walk => {
                    if !random.holds() {
                        *state = (*state + (level * random.normal()).round() as i64).abs();
                    }
                    *state as f64 / 100.0
                }
                Class::Bytes => {
                    if !random.holds() {
                        *state = (*state + (level * random.normal()).round() as i64).abs();
                    }
                    (*state * 4096) as f64
                }
                Class::Ratio => {
                    if !random.holds() {
                        *state = (*state + (level * random.normal()).round() as i64).clamp(0, 10_000);
                    }
                    *state as f64 / 10_000.0
                }
                Class::Quotient => {
                    *state = (*state + (level * random.normal()).round() as i64).abs();
                    let all = 100_000 + random.below(1_000);
                    *state as f64 / all as f64
                }
                Class::Constant | Class::Bucket => *state as f64,
            };
            at += 1;
        }
    }
}

/// The part of all requests that is at most as slow as a bucket's bound.
fn share(bucket: usize) -> f64 {
    [0.02, 0.08, 0.3, 0.55, 0.78, 0.92, 0.97, 0.99, 0.998, 1.0][bucket]
}

/// Adds a scrape's requests: of those in a bucket, the part that also falls into the next smaller one.
fn step_histogram(random: &mut Random, rate: f64, counts: &mut [i64]) {
    let mut requests = random.events(rate, SPREAD);
    for bucket in (0..BUCKETS).rev() {
        counts[bucket] += requests as i64;
        if bucket > 0 && requests > 0 {
            let part = share(bucket - 1) / share(bucket);
            let mean = requests as f64 * part;
            let deviation = (mean * (1.0 - part)).sqrt();
            requests = ((mean + deviation * random.normal()).round().max(0.0) as u64).min(requests);
        }
    }
}
