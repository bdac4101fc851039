//! Sums from the first sample of a series on: that of a window is the difference of two.

use crate::eval::kahan::exact_sum;

/// For every number of samples the sum of the first so many, and what rounding has taken from it.
#[derive(Debug, Default)]
pub(super) struct Prefix {
    sums: Vec<(f64, f64)>,
    /// How uncertain the difference of two sums can be; 0 if it is exact.
    uncertainty: f64,
}

/// Up to where sums, and their products with times, surely do not overflow.
const LARGEST: f64 = 1e280;
/// 2^-106, what rounding can take from a number of two parts.
const LOST: f64 = f64::EPSILON * f64::EPSILON / 4.0;

/// The sum of all absolute values, in any order; `None` if there is a number that is not finite, or as large.
pub(super) fn magnitude(values: &[f64]) -> Option<f64> {
    let mut lanes = [0.0; 8];
    for values in values.chunks(lanes.len()) {
        lanes.iter_mut().zip(values).for_each(|(lane, value)| *lane += value.abs());
    }
    let magnitude = lanes.iter().sum::<f64>();
    (magnitude <= LARGEST).then_some(magnitude)
}

impl Prefix {
    /// Adds up a series. Whether that was possible: a number that is not finite, or as large, spoils all sums behind it.
    pub(super) fn build(&mut self, values: &[f64]) -> bool {
        let Some(magnitude) = magnitude(values) else { return false };
        self.sums.clear();
        self.sums.push((0.0, 0.0));
        let (mut sum, mut lost, mut any_lost) = (0.0, 0.0, false);
        self.sums.extend(values.iter().map(|&value| {
            let (next, rest) = exact_sum(sum, value);
            any_lost |= rest != 0.0;
            (sum, lost) = (next, lost + rest);
            (sum, lost)
        }));
        // What is lost in an addition is known exactly, but what is lost in adding up the losses is not.
        let n = values.len() as f64 + 2.0;
        self.uncertainty = if any_lost { (2.0 * n * n * LOST * magnitude).max(f64::MIN_POSITIVE) } else { 0.0 };
        true
    }

    /// Whether the series surely adds up with a loss; a series that it does not say that of may do so, too.
    pub(super) fn loses(values: &[f64]) -> bool {
        let few = values.iter().take(16);
        few.fold((0.0, false), |(sum, any), value| {
            let (next, rest) = exact_sum(sum, *value);
            (next, any | (rest != 0.0))
        })
        .1
    }

    /// Whether nothing was lost: so it is with whole numbers.
    pub(super) fn is_exact(&self) -> bool {
        self.uncertainty == 0.0
    }

    /// The sum of a window and what rounding has taken from it; together they are what adding up its values with compensation has, but
    /// for `tolerance` of it. `None` where that is not certain.
    #[inline]
    pub(super) fn sum(&self, (from, to): (usize, usize), tolerance: f64) -> Option<(f64, f64)> {
        let (&(before, before_lost), &(all, all_lost)) = (self.sums.get(from)?, self.sums.get(to)?);
        let (sum, rest) = exact_sum(all, -before);
        let lost = rest + (all_lost - before_lost);
        (self.uncertainty <= tolerance * (sum + lost).abs()).then_some((sum, lost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(values: &[f64], window: (usize, usize)) -> Option<f64> {
        let mut prefix = Prefix::default();
        let (sum, lost) = prefix.build(values).then(|| prefix.sum(window, 1e-11))??;
        Some(sum + lost)
    }

    #[test]
    fn differences_of_sums_are_sums() {
        assert_eq!(sum(&[1.0, 2.0, 3.0, 4.0], (1, 3)), Some(5.0));
        assert_eq!(sum(&[1.0, -1.0, 0.0, 0.0], (2, 4)), Some(0.0), "whole numbers are exact");
        assert_eq!(sum(&[0.1, 0.2, 0.3, 0.4], (1, 3)), Some(0.5));
        assert!((sum(&[1e15, 0.1, 0.2], (1, 3)).unwrap() - 0.3).abs() < 1e-15);
    }

    #[test]
    fn what_was_lost_for_good_is_not_made_up() {
        assert_eq!(sum(&[1e40, 0.1, 0.2], (1, 3)), None);
        assert_eq!(sum(&[0.1, 0.2, 0.0, 0.0], (2, 4)), None);
        assert_eq!(sum(&[1.0, f64::NAN], (0, 1)), None);
        assert_eq!(sum(&[f64::INFINITY, 1.0], (1, 2)), None);
        assert_eq!(sum(&[1e308, 1e308], (0, 1)), None);
    }
}
