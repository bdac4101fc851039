//! Floats that are quotients of two moderate integers, such as hits by requests: two columns of some 20 bits instead of 53.
//!
//! 1. Continued fractions give the smallest numerator and denominator with exactly this quotient.
//! 2. What was 50 / 100 comes back as 1 / 2, so every fraction is expanded: its denominator becomes the greatest multiple
//!    that is not above the column's greatest denominator. Counts that change slowly then change slowly again.

/// Greatest product of numerator and denominator. A float is one of the fractions up to it by chance as often as this is
/// part of 2^52; and two integers of a greater product would hardly be shorter than the float.
const PRODUCT_MAX: f64 = (1u64 << 40) as f64;
const NUMERATOR_MAX: f64 = (1u64 << 52) as f64;
/// Steps of a continued fraction after which a denominator is too great in any case.
const STEPS_MAX: usize = 32;
/// Relative distance below which a fraction is looked at closely: 2^-50.
const NEAR: f64 = 8.881_784_197_001_252e-16;

/// Smallest integers of which a float is the quotient. A negative numerator is that of a negative float.
fn fraction(value: f64) -> Option<(i64, i64)> {
    let magnitude = value.abs();
    let mut rest = magnitude;
    let (mut numerators, mut denominators) = ((0.0, 1.0), (1.0, 0.0));
    for _ in 0..STEPS_MAX {
        if rest >= PRODUCT_MAX {
            return None;
        }
        let whole = rest as i64 as f64;
        let (numerator, denominator) = (whole * numerators.1 + numerators.0, whole * denominators.1 + denominators.0);
        if denominator * numerator.max(1.0) > PRODUCT_MAX {
            return None;
        }
        if (magnitude * denominator - numerator).abs() <= numerator * NEAR {
            let signed = if value < 0.0 { -(numerator as i64) } else { numerator as i64 };
            if quotient(signed, denominator as i64).to_bits() == value.to_bits() {
                return Some((signed, denominator as i64));
            }
        }
        (numerators, denominators) = ((numerators.1, numerator), (denominators.1, denominator));
        rest = 1.0 / (rest - whole);
    }
    None
}

/// The float that two integers stand for.
#[inline(always)]
pub(super) fn quotient(numerator: i64, denominator: i64) -> f64 {
    numerator as f64 / denominator as f64
}

/// Numerators and denominators of a column; `false` where a value has none.
pub(super) fn split(values: &[f64], numerators: &mut Vec<i64>, denominators: &mut Vec<i64>) -> bool {
    const SAMPLE: usize = 8;
    let step = values.len().div_ceil(SAMPLE).max(1);
    if !values.iter().step_by(step).all(|&value| fraction(value).is_some()) {
        return false;
    }
    numerators.clear();
    denominators.clear();
    for &value in values {
        let Some((numerator, denominator)) = fraction(value) else { return false };
        numerators.push(numerator);
        denominators.push(denominator);
    }
    let greatest = denominators.iter().copied().max().unwrap_or(1);
    for (numerator, denominator) in numerators.iter_mut().zip(denominators) {
        let times = greatest / *denominator;
        // The quotient of integers below 2^53 is rounded once, so it is the same for any multiple of both.
        if let Some(expanded) = numerator.checked_mul(times)
            && (expanded.unsigned_abs() as f64) < NUMERATOR_MAX
        {
            *numerator = expanded;
            *denominator *= times;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn quotients_are_found_exactly(pairs in prop::collection::vec((-(1i64 << 20)..1 << 20, 1i64..1 << 20), 1..50)) {
            // A numerator of 0 is positive zero, which a negative denominator would not give.
            let values: Vec<f64> = pairs.iter().map(|&(a, b)| quotient(a, b)).collect();
            let (mut numerators, mut denominators) = (Vec::new(), Vec::new());
            prop_assert!(split(&values, &mut numerators, &mut denominators));
            for ((value, numerator), denominator) in values.iter().zip(numerators).zip(denominators) {
                prop_assert_eq!(quotient(numerator, denominator).to_bits(), value.to_bits());
            }
        }
    }
}
