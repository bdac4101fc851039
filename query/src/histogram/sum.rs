//! Sums and means of many histograms, compensated for what their counts lose.

use marigram_storage::model::histogram::{Buckets, Histogram};

use super::combine::{Combined, Incompatible, combine};
use super::scale::{divide, multiply};

/// What the numbers of a histogram lost in sums; buckets as in the histogram.
#[derive(Clone, Debug, Default)]
pub(super) struct Lost {
    pub(super) zero_count: f64,
    pub(super) count: f64,
    pub(super) sum: f64,
    pub(super) positive: Vec<f64>,
    pub(super) negative: Vec<f64>,
}

impl Lost {
    fn nothing_of(histogram: &Histogram) -> Self {
        Lost {
            positive: vec![0.0; histogram.positive.counts.len()],
            negative: vec![0.0; histogram.negative.counts.len()],
            ..Lost::default()
        }
    }

    fn map(&mut self, f: impl Fn(f64) -> f64) {
        let singles = [&mut self.zero_count, &mut self.count, &mut self.sum];
        singles.into_iter().chain(&mut self.positive).chain(&mut self.negative).for_each(|value| *value = f(*value));
    }

    /// Adds what was lost to the histogram that lost it.
    fn give_back(&self, histogram: &mut Histogram) {
        histogram.zero_count += self.zero_count;
        histogram.count += self.count;
        histogram.sum += self.sum;
        let buckets = |buckets: &mut Buckets, lost: &[f64]| {
            buckets.counts.iter_mut().zip(lost).for_each(|(count, lost)| *count += lost);
        };
        buckets(&mut histogram.positive, &self.positive);
        buckets(&mut histogram.negative, &self.negative);
    }
}

/// A sum of histograms.
#[derive(Clone, Debug)]
pub(crate) struct HistogramSum {
    value: Histogram,
    lost: Option<Lost>,
}

impl HistogramSum {
    /// Starts from a first histogram.
    pub(crate) fn starting_at(first: &Histogram) -> Self {
        HistogramSum { value: first.clone(), lost: None }
    }

    /// Adds a histogram.
    ///
    /// # Errors
    /// One kind of buckets on one side and the other on the other; the sum is unchanged then.
    pub(crate) fn add(&mut self, other: &Histogram) -> Result<Combined, Incompatible> {
        let lost = self.lost.get_or_insert_with(|| Lost::nothing_of(&self.value));
        combine(&mut self.value, other, 1.0, Some(lost))
    }

    /// The sum, corrected. It can have empty buckets.
    pub(crate) fn total(mut self) -> Histogram {
        if let Some(lost) = &self.lost {
            lost.give_back(&mut self.value);
        }
        self.value
    }

    /// How much memory it takes, about.
    pub(crate) fn size_bytes(&self) -> usize {
        size_of::<Self>() + 24 * (self.value.positive.counts.len() + self.value.negative.counts.len())
    }
}

/// A mean of histograms: the corrected sum over the count, until the sum would overflow; from there on a running mean.
#[derive(Clone, Debug)]
pub(crate) struct HistogramMean {
    sum: HistogramSum,
    count: f64,
    /// Whether `sum` holds the running mean.
    running: bool,
}

impl HistogramMean {
    /// Starts from a first histogram.
    pub(crate) fn starting_at(first: &Histogram) -> Self {
        HistogramMean { sum: HistogramSum::starting_at(first), count: 1.0, running: false }
    }

    /// Takes a further histogram in.
    ///
    /// # Errors
    /// One kind of buckets on one side and the other on the other.
    pub(crate) fn add(&mut self, other: &Histogram) -> Result<Combined, Incompatible> {
        self.count += 1.0;
        if !self.running {
            if !could_overflow(&self.sum.value) && !could_overflow(other) {
                return self.sum.add(other);
            }
            let mut next = self.sum.clone();
            let combined = next.add(other)?;
            if !overflows(&next.value) {
                self.sum = next;
                return Ok(combined);
            }
            self.running = true;
            divide(&mut self.sum.value, self.count - 1.0);
            if let Some(lost) = &mut self.sum.lost {
                lost.map(|value| value / (self.count - 1.0));
            }
        }
        let keep = (self.count - 1.0) / self.count;
        if let Some(lost) = &mut self.sum.lost {
            lost.map(|value| value * keep);
        }
        multiply(&mut self.sum.value, keep);
        let mut share = other.clone();
        divide(&mut share, self.count);
        self.sum.add(&share)
    }

    /// The mean so far. It can have empty buckets.
    pub(crate) fn mean(mut self) -> Histogram {
        if !self.running {
            divide(&mut self.sum.value, self.count);
            if let Some(lost) = &mut self.sum.lost {
                lost.map(|value| value / self.count);
            }
        }
        self.sum.total()
    }

    /// How much memory it takes, about.
    pub(crate) fn size_bytes(&self) -> usize {
        self.sum.size_bytes()
    }
}

fn any(histogram: &Histogram, f: impl Fn(f64) -> bool) -> bool {
    let singles = [&histogram.zero_count, &histogram.count, &histogram.sum];
    singles.into_iter().chain(&histogram.positive.counts).chain(&histogram.negative.counts).any(|value| f(*value))
}

/// Whether a sum of such histograms could have an infinite part.
fn could_overflow(histogram: &Histogram) -> bool {
    any(histogram, |value| value.abs() >= f64::MAX / 2.0 - 1.0) || overflows(histogram)
}

fn overflows(histogram: &Histogram) -> bool {
    any(histogram, f64::is_infinite) || histogram.custom_values.iter().any(|bound| bound.is_infinite())
}
