//! The quantile of plain samples.

/// The `q`-quantile of `values`, which are sorted in place, NaN first; between two of them it is interpolated.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_unstable_by(|a, b| match (a.is_nan(), b.is_nan()) {
        (false, false) => a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal),
        (a, b) => b.cmp(&a),
    });
    let last = values.len() - 1;
    let rank = q * last as f64;
    let lower = (rank.floor() as usize).min(last);
    let upper = (lower + 1).min(last);
    let weight = rank - rank.floor();
    values[lower] * (1.0 - weight) + values[upper] * weight
}

#[cfg(test)]
mod tests {
    use super::quantile;

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
}
