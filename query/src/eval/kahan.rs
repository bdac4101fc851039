//! Neumaier's variant of Kahan's summation: a running sum and a compensation for the digits that it lost. Every sum
//! of the engine goes through it, in the same order of operations as in Prometheus, so that answers agree to the bit.

/// A sum with its compensation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct KahanSum {
    pub(crate) sum: f64,
    pub(crate) compensation: f64,
}

impl KahanSum {
    /// Starts from a first value.
    pub(crate) fn starting_at(value: f64) -> Self {
        KahanSum { sum: value, compensation: 0.0 }
    }

    /// Adds a value.
    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        (self.sum, self.compensation) = add(value, self.sum, self.compensation);
    }

    /// The sum, corrected.
    pub(crate) fn total(self) -> f64 {
        self.sum + self.compensation
    }
}

/// Adds `value` to `sum`, whose lost digits are `compensation`. An infinite sum has none to lose.
#[inline]
pub(crate) fn add(value: f64, sum: f64, compensation: f64) -> (f64, f64) {
    let total = sum + value;
    let compensation = if total.is_infinite() {
        0.0
    } else if sum.abs() >= value.abs() {
        compensation + ((sum - total) + value)
    } else {
        compensation + ((value - total) + sum)
    };
    (total, compensation)
}

/// A sum and what rounding has taken from it, exactly, in an order of operations that knows no branches: the same as [`add`] finds. For
/// numbers that do not overflow.
#[inline]
pub(crate) fn exact_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_there = sum - a;
    (sum, (a - (sum - b_there)) + (b - b_there))
}

/// A mean: the corrected sum over the count, until the sum would overflow; from there on a running mean.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KahanMean {
    sum: KahanSum,
    mean: f64,
    count: f64,
    running: bool,
}

impl KahanMean {
    /// Starts from a first value.
    pub(crate) fn starting_at(value: f64) -> Self {
        KahanMean { sum: KahanSum::starting_at(value), mean: 0.0, count: 1.0, running: false }
    }

    /// Takes a further value in.
    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if !self.running {
            let mut next = self.sum;
            next.add(value);
            if !next.sum.is_infinite() {
                self.sum = next;
                return;
            }
            self.running = true;
            self.mean = self.sum.sum / (self.count - 1.0);
            self.sum.compensation /= self.count - 1.0;
        }
        let keep = (self.count - 1.0) / self.count;
        (self.mean, self.sum.compensation) = add(value / self.count, keep * self.mean, keep * self.sum.compensation);
    }

    /// The mean so far.
    pub(crate) fn mean(self) -> f64 {
        if self.running {
            self.mean + self.sum.compensation
        } else {
            self.sum.sum / self.count + self.sum.compensation / self.count
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_digits_come_back() {
        let mut sum = KahanSum::default();
        for value in [1.0, 1e100, 1.0, -1e100] {
            sum.add(value);
        }
        assert_eq!(sum.total(), 2.0);
    }

    #[test]
    fn both_ways_lose_the_same() {
        let numbers = [0.0, 0.1, -0.3, 1.0, -1e16, 1e16, 3e-320, 1e100, -7.25, f64::EPSILON, 1e300];
        for (a, b) in numbers.iter().flat_map(|a| numbers.iter().map(move |b| (*a, *b))) {
            assert_eq!(exact_sum(a, b), add(b, a, 0.0), "{a} + {b}");
        }
        assert_eq!(exact_sum(0.1, 0.2).1, -2f64.powi(-55));
    }

    #[test]
    fn a_mean_survives_an_overflowing_sum() {
        let mut mean = KahanMean::starting_at(f64::MAX);
        mean.add(f64::MAX);
        mean.add(f64::MAX);
        assert!((mean.mean() / f64::MAX - 1.0).abs() < 1e-12);
        let mut infinite = KahanMean::starting_at(f64::INFINITY);
        infinite.add(1.0);
        assert_eq!(infinite.mean(), f64::INFINITY);
    }
}
