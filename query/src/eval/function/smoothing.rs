//! `double_exponential_smoothing`: a moving average that follows trends.

use super::Window;
use crate::error::QueryError;

/// The smoothed value at the window's end. Arguments: how much a sample weighs, and how much a change of the trend does.
pub(crate) fn double_exponential(window: &Window<'_>) -> Option<f64> {
    let [smoothing, trending] = window.args;
    let (&[first, second, ..], true) = (window.values, window.values.len() > 1) else { return None };
    let (mut smooth, mut trend) = (first, second - first);
    let mut before = 0.0;
    for (i, value) in window.values.iter().enumerate().skip(1) {
        if i > 1 {
            trend = trending * (smooth - before) + (1.0 - trending) * trend;
        }
        before = smooth;
        smooth = smoothing * value + (1.0 - smoothing) * (smooth + trend);
    }
    Some(smooth)
}

/// Refuses factors outside of (0, 1).
pub(crate) fn check_factors([smoothing, trending]: [f64; 2]) -> Result<(), QueryError> {
    for (factor, name, letters) in [(smoothing, "smoothing", "sf"), (trending, "trend", "tf")] {
        if factor <= 0.0 || factor >= 1.0 {
            return Err(QueryError::execution(format!(
                "invalid {name} factor. Expected: 0 < {letters} < 1, got: {factor:.6}"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_a_line() {
        let times: Vec<i64> = (0..10).collect();
        let values: Vec<f64> = (0..10).map(f64::from).collect();
        let window = Window {
            times: &times,
            values: &values,
            histograms: &[],
            starts: &[],
            start_ms: -1,
            end_ms: 9,
            range_ms: 10,
            time_ms: 9,
            args: [0.5, 0.1],
        };
        assert!((double_exponential(&window).unwrap() - 9.0).abs() < 1e-12);
        assert_eq!(double_exponential(&Window { times: &times[..1], values: &values[..1], ..window }), None);
        assert!(check_factors([0.5, 0.1]).is_ok());
        assert_eq!(
            check_factors([1.5, 0.1]).unwrap_err().message,
            "invalid smoothing factor. Expected: 0 < sf < 1, got: 1.500000"
        );
    }
}
