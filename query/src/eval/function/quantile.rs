//! The quantile of plain samples.

/// The `q`-quantile of `values`, which end in another order; between two of them it is interpolated.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    between(q, values.len(), |lower| {
        let (_, &mut low, above) = values.select_nth_unstable_by_key(lower, |value| Key::of(*value));
        (low, above.iter().copied().min_by_key(|value| Key::of(*value)).unwrap_or(low))
    })
}

/// The `q`-quantile of so many values. `two` answers the one at a place in ascending order, NaN first, and the next one; of the last one
/// that one again.
pub(crate) fn between(q: f64, samples: usize, two: impl FnOnce(usize) -> (f64, f64)) -> f64 {
    if samples == 0 || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let last = samples - 1;
    let rank = q * last as f64;
    let lower = (rank.floor() as usize).min(last);
    let (low, high) = two(lower);
    let weight = rank - rank.floor();
    low * (1.0 - weight) + high * weight
}

/// A value as a number that orders as quantiles do: NaN before all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(i64);

impl Key {
    /// The key of a value.
    #[inline]
    pub(crate) fn of(value: f64) -> Self {
        if value.is_nan() { Key(i64::MIN) } else { Key(ordered(value.to_bits() as i64)) }
    }

    /// The value of the key.
    #[inline]
    pub(crate) fn value(self) -> f64 {
        if self.0 == i64::MIN { f64::NAN } else { f64::from_bits(ordered(self.0) as u64) }
    }
}

/// The bits of a float with those of the magnitude turned over where it is negative, and back.
fn ordered(bits: i64) -> i64 {
    bits ^ ((bits >> 63) as u64 >> 1) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_two_samples_it_is_interpolated() {
        assert_eq!(quantile(0.5, &mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(quantile(0.75, &mut [0.0, 1.0]), 0.75);
        assert_eq!(quantile(1.0, &mut [5.0]), 5.0);
        assert_eq!(quantile(1.1, &mut [5.0]), f64::INFINITY);
        assert_eq!(quantile(-0.1, &mut [5.0]), f64::NEG_INFINITY);
        assert!(quantile(f64::NAN, &mut [5.0]).is_nan());
        assert!(quantile(0.0, &mut [5.0, f64::NAN]).is_nan());
        assert_eq!(quantile(1.0, &mut [5.0, f64::NAN]), 5.0);
    }

    #[test]
    fn keys_order_as_values_do() {
        let values = [f64::NAN, f64::NEG_INFINITY, -2.0, -1e-310, -0.0, 0.0, 5e-324, 1.0, 1e300, f64::INFINITY];
        assert!(values.map(Key::of).is_sorted());
        assert!(values.iter().all(|value| Key::of(*value).value().to_bits() == value.to_bits() || value.is_nan()));
        assert!(Key::of(-f64::NAN) == Key::of(f64::NAN) && Key::of(f64::NAN).value().is_nan());
    }
}
