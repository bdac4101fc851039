//! The generated load: pods of 100 series that are scraped together, as remote-write 1.0 requests.
//!
//! 1. A pod has 35 integer counters (idle to busy), 20 histogram buckets, 25 gauges, most of few decimals, 10 counters of CPU
//!    seconds and 10 constants; its scrapes have an offset of their own within the interval.
//! 2. A round is one sample of every series; a request holds 20 pods, 2,000 samples.
//! 3. Under churn a share of the pods is replaced by new ones every so many rounds, the oldest first.
//! 4. Requests are made by all cores, before any clock runs.

mod labels;
mod random;
mod values;

use labels::PodLabels;
pub(crate) use labels::{names, pod_name};
pub(crate) use random::Random;
use values::Pod;

use crate::sender::Request;

/// Series of a pod.
pub(crate) const POD_SERIES: usize = 100;
/// Pods of a request.
const REQUEST_PODS: usize = 20;
/// Buckets of a histogram.
const BUCKETS: usize = 10;
const SEED: u64 = 0x6d61_7269_6772_616d;

/// How a series behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// Integer, from idle to busy.
    Counter,
    /// Cumulative bucket of a histogram.
    Bucket,
    /// Gauge with two decimals.
    Walk,
    /// Gauge in bytes, whole pages.
    Bytes,
    /// Gauge between 0 and 1 with four decimals.
    Ratio,
    /// Gauge that is the quotient of two counts, with all digits of a double.
    Quotient,
    /// Counter with two decimals.
    Seconds,
    /// Never changes.
    Constant,
}

/// The class of series `at` of a pod, and which one of its kind (gauges together) it is.
pub(crate) const fn class(at: usize) -> (Class, usize) {
    match at {
        0..35 => (Class::Counter, at),
        35..55 => (Class::Bucket, at - 35),
        55..65 => (Class::Walk, at - 55),
        65..73 => (Class::Bytes, at - 55),
        73..76 => (Class::Ratio, at - 55),
        76..80 => (Class::Quotient, at - 55),
        80..90 => (Class::Seconds, at - 80),
        _ => (Class::Constant, at - 90),
    }
}

/// What a generated load looks like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Series at any time, a multiple of 100.
    pub(crate) series: usize,
    /// Time between two samples of a series.
    pub(crate) interval_ms: i64,
    /// Time of the first round.
    pub(crate) start_ms: i64,
    /// Every so many rounds, so many in a hundred pods are replaced.
    pub(crate) churn: Option<(usize, usize)>,
}

/// Makes the requests of one round after the other.
pub(crate) struct Generator {
    shape: Shape,
    pods: Vec<(u64, Pod)>,
    next_pod: u64,
    replaced_at: usize,
    round: usize,
}

/// What requests amount to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Amount {
    /// Samples.
    pub(crate) samples: u64,
    /// Bytes before Snappy.
    pub(crate) raw_bytes: u64,
    /// Bytes after it, without HTTP headers.
    pub(crate) body_bytes: u64,
}

impl Amount {
    /// Adds the other.
    pub(crate) fn add(&mut self, other: Amount) {
        self.samples += other.samples;
        self.raw_bytes += other.raw_bytes;
        self.body_bytes += other.body_bytes;
    }
}

impl Generator {
    /// At the first round.
    pub(crate) fn new(shape: Shape) -> Generator {
        let pods = (shape.series / POD_SERIES) as u64;
        let new = |pod| (pod, Pod::new(SEED, pod));
        Generator { shape, pods: (0..pods).map(new).collect(), next_pod: pods, replaced_at: 0, round: 0 }
    }

    /// Series that have been there so far.
    pub(crate) fn series_seen(&self) -> u64 {
        self.next_pod * POD_SERIES as u64
    }

    /// The requests of the next `rounds` rounds, round after round.
    pub(crate) fn next(&mut self, rounds: usize) -> (Vec<Vec<Request>>, Amount) {
        let (mut all, mut amount) = (vec![], Amount::default());
        let mut left = rounds;
        while left > 0 {
            self.churn();
            // Until the next replacement each thread goes its own way.
            let together = self.shape.churn.map_or(left, |(every, _)| left.min(every - self.round % every));
            let (made, more) = self.make(together);
            all.extend(made);
            amount.add(more);
            self.round += together;
            left -= together;
        }
        (all, amount)
    }

    fn churn(&mut self) {
        let Some((every, percent)) = self.shape.churn else { return };
        if self.round == 0 || !self.round.is_multiple_of(every) {
            return;
        }
        for _ in 0..self.pods.len() * percent / 100 {
            self.pods[self.replaced_at] = (self.next_pod, Pod::new(SEED, self.next_pod));
            self.replaced_at = (self.replaced_at + 1) % self.pods.len();
            self.next_pod += 1;
        }
    }

    fn make(&mut self, rounds: usize) -> (Vec<Vec<Request>>, Amount) {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let requests = self.pods.len().div_ceil(REQUEST_PODS);
        let share = requests.div_ceil(threads) * REQUEST_PODS;
        let (shape, first_round) = (self.shape, self.round);
        let parts: Vec<(Vec<Vec<Request>>, Amount)> = std::thread::scope(|scope| {
            let work = |pods| scope.spawn(move || make_part(shape, pods, first_round, rounds));
            let threads: Vec<_> = self.pods.chunks_mut(share).map(work).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let mut all: Vec<Vec<Request>> = (0..rounds).map(|_| vec![]).collect();
        let mut amount = Amount::default();
        for (part, more) in parts {
            all.iter_mut().zip(part).for_each(|(all, part)| all.extend(part));
            amount.add(more);
        }
        (all, amount)
    }
}

fn make_part(shape: Shape, pods: &mut [(u64, Pod)], first_round: usize, rounds: usize) -> (Vec<Vec<Request>>, Amount) {
    let (mut amount, mut raw, mut encoder) = (Amount::default(), vec![], snap::raw::Encoder::new());
    let mut all = Vec::with_capacity(rounds);
    for round in first_round..first_round + rounds {
        let request = |pods: &mut [(u64, Pod)]| {
            raw.clear();
            let start_ms = shape.start_ms + round as i64 * shape.interval_ms;
            pods.iter_mut().for_each(|(number, pod)| push_pod(*number, pod, start_ms, shape.interval_ms, &mut raw));
            let body = encoder.compress_vec(&raw).unwrap();
            let samples = (pods.len() * POD_SERIES) as u64;
            amount.add(Amount { samples, raw_bytes: raw.len() as u64, body_bytes: body.len() as u64 });
            Request::new(&body, samples)
        };
        all.push(pods.chunks_mut(REQUEST_PODS).map(request).collect());
    }
    (all, amount)
}

/// Appends a sample of each series of a pod to a request.
fn push_pod(number: u64, pod: &mut Pod, round_ms: i64, interval_ms: i64, out: &mut Vec<u8>) {
    let mut values = [0.0; POD_SERIES];
    pod.next(&mut values);
    let labels = PodLabels::new(number);
    let offset_ms = Random::new(SEED, !number).below(interval_ms as u64) as i64;
    let mut timestamp = Vec::with_capacity(10);
    push_varint((round_ms + offset_ms) as u64, &mut timestamp);
    for (at, value) in values.iter().enumerate() {
        push_sample(&labels, at, *value, &timestamp, out);
    }
}

/// Appends series `at` of a pod with one sample, whose timestamp is a varint already.
fn push_sample(labels: &PodLabels, at: usize, value: f64, timestamp: &[u8], out: &mut Vec<u8>) {
    let from = out.len();
    // The length takes two bytes: labels are more than 127 bytes and less than 16 KiB.
    out.extend_from_slice(&[0x0a, 0, 0]);
    labels.push_series(at, out);
    out.extend_from_slice(&[0x12, 10 + timestamp.len() as u8, 0x09]);
    out.extend_from_slice(&value.to_le_bytes());
    out.push(0x10);
    out.extend_from_slice(timestamp);
    let len = out.len() - from - 3;
    out[from + 1..from + 3].copy_from_slice(&[(len & 127) as u8 | 128, (len >> 7) as u8]);
}

/// Requests of single samples in the order given: (series, counted through all pods; time; value).
pub(crate) fn requests_of(samples: &[(usize, i64, f64)], request_samples: usize) -> (Vec<Vec<Request>>, Amount) {
    let (mut amount, mut raw, mut encoder) = (Amount::default(), vec![], snap::raw::Encoder::new());
    let pods = samples.iter().map(|(series, ..)| series / POD_SERIES + 1).max().unwrap_or(0);
    let labels: Vec<PodLabels> = (0..pods as u64).map(PodLabels::new).collect();
    let mut timestamp = vec![];
    let mut request = |samples: &[(usize, i64, f64)]| {
        raw.clear();
        for (series, time_ms, value) in samples {
            timestamp.clear();
            push_varint(*time_ms as u64, &mut timestamp);
            push_sample(&labels[series / POD_SERIES], series % POD_SERIES, *value, &timestamp, &mut raw);
        }
        let body = encoder.compress_vec(&raw).unwrap();
        let samples = samples.len() as u64;
        amount.add(Amount { samples, raw_bytes: raw.len() as u64, body_bytes: body.len() as u64 });
        vec![Request::new(&body, samples)]
    };
    let requests = samples.chunks(request_samples).map(&mut request).collect();
    (requests, amount)
}

fn push_varint(mut value: u64, out: &mut Vec<u8>) {
    while value > 127 {
        out.push((value & 127) as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The values of pods, series by series with their class: what the entropy is taken of.
pub(crate) fn columns(pods: usize, rounds: usize) -> Vec<(Class, Vec<f64>)> {
    let mut columns = vec![];
    for number in 0..pods as u64 {
        let mut pod = Pod::new(SEED, number);
        let first = columns.len();
        columns.extend((0..POD_SERIES).map(|at| (class(at).0, Vec::with_capacity(rounds))));
        let mut values = [0.0; POD_SERIES];
        for _ in 0..rounds {
            pod.next(&mut values);
            values.iter().enumerate().for_each(|(at, value)| columns[first + at].1.push(*value));
        }
    }
    columns
}
