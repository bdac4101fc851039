//! Floats as integers: `m / 10^e`, as short decimal text becomes a float, exactly or up to a few units in the last place.

/// Highest power of ten that a column is scaled by.
pub(super) const EXPONENT_MAX: u32 = 14;

const POWERS: [f64; EXPONENT_MAX as usize + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14];

/// 1.5 * 2^52: added to a float below 2^51, it leaves the nearest integer in the low bits.
const ROUNDER: f64 = 6_755_399_441_055_744.0;
const ROUNDED_MAX: f64 = 2_251_799_813_685_248.0;

/// `10^exponent`, the exponent at most [`EXPONENT_MAX`].
#[inline]
pub(in crate::chunk) fn power(exponent: u32) -> f64 {
    POWERS[exponent.min(EXPONENT_MAX) as usize]
}

/// The float that an integer stands for.
#[inline(always)]
pub(in crate::chunk) fn unscale(integer: i64, power: f64) -> f64 {
    integer as f64 / power
}

/// The integer nearest to `value * power`, where that is below 2^51.
#[inline(always)]
pub(super) fn nearest(value: f64, power: f64) -> Option<i64> {
    let scaled = value * power;
    let integer = (scaled + ROUNDER).to_bits().wrapping_sub(ROUNDER.to_bits()) as i64;
    (scaled.abs() < ROUNDED_MAX).then_some(integer)
}

/// The integer that stands for exactly this float.
#[inline(always)]
pub(in crate::chunk) fn scale(value: f64, power: f64) -> Option<i64> {
    let integer = nearest(value, power)?;
    (unscale(integer, power).to_bits() == value.to_bits()).then_some(integer)
}

/// The integer that is exactly this float; unlike [`scale`], beyond 2^51 too.
#[inline]
pub(in crate::chunk) fn whole(value: f64) -> Option<i64> {
    let integer = value as i64;
    (unscale(integer, 1.0).to_bits() == value.to_bits()).then_some(integer)
}

/// Scales a column by the smallest power of ten with which (nearly) all of it is exact.
///
/// 1. Go through the values, and raise the exponent where a value asks for it. What is exact with an exponent is so with
///    a higher one, as far as 2^51.
/// 2. Values that no exponent makes exact are `outliers` (their places); more than a sixteenth of them, and the column is
///    not decimal.
/// 3. Scale all by the exponent found. An outlier takes the integer before it.
pub(super) fn scale_column(values: &[f64], integers: &mut Vec<i64>, outliers: &mut Vec<u32>) -> Option<u32> {
    let outliers_max = (values.len() / 4).min(1 + values.len() / 16);
    let mut exponent = 0;
    let mut outlying = 0;
    for &value in values {
        if scale(value, power(exponent)).is_some() || (exponent == 0 && whole(value).is_some()) {
            continue;
        }
        match (exponent + 1..=EXPONENT_MAX).find(|&e| scale(value, power(e)).is_some()) {
            Some(higher) => exponent = higher,
            None => {
                outlying += 1;
                if outlying > outliers_max {
                    return None;
                }
            }
        }
    }
    integers.clear();
    outliers.clear();
    let power = power(exponent);
    let mut before = None;
    for (at, &value) in values.iter().enumerate() {
        let integer = if exponent == 0 { whole(value) } else { scale(value, power) };
        if integer.is_none() {
            outliers.push(at as u32);
            if outliers.len() > outliers_max {
                return None;
            }
        }
        before = integer.or(before);
        integers.push(before.unwrap_or(0));
    }
    // Outliers at the beginning had nothing before them.
    let leading = outliers.iter().enumerate().take_while(|(at, place)| *at == **place as usize).count();
    if let Some(&first) = integers.get(leading) {
        integers[..leading].fill(first);
    }
    Some(exponent)
}

/// Units in the last place from the float that `integer` stands for to `value`, modulo 2^64.
#[inline]
pub(super) fn correction(value: f64, integer: i64, power: f64) -> i64 {
    value.to_bits().wrapping_sub(unscale(integer, power).to_bits()) as i64
}

/// Bits of a float such that integers order as the floats do; its own inverse is [`from_ordered`].
#[inline]
pub(super) fn to_ordered(value: f64) -> i64 {
    let bits = value.to_bits() as i64;
    bits ^ ((bits >> 63) & i64::MAX)
}

/// The float of ordered bits.
#[inline]
pub(super) fn from_ordered(ordered: i64) -> f64 {
    f64::from_bits((ordered ^ ((ordered >> 63) & i64::MAX)) as u64)
}

/// The exponent with which decimals and their corrections are probably cheapest: for sums of decimals, whose rounding
/// errors add up. From the changes within a sample of the column; `None` where nothing comes near.
pub(super) fn near_exponent(values: &[f64]) -> Option<u32> {
    const PAIRS: usize = 24;
    let step = (values.len() / PAIRS).max(1);
    let pairs = || values.windows(2).step_by(step).filter(|pair| pair[0].to_bits() != pair[1].to_bits()).take(PAIRS);
    let cost = |exponent: u32| {
        let power = power(exponent);
        let mut bits = 0;
        for pair in pairs() {
            let (before, after) = (nearest(pair[0], power)?, nearest(pair[1], power)?);
            let errors = [correction(pair[0], before, power), correction(pair[1], after, power)];
            for change in [after.wrapping_sub(before), errors[1].wrapping_sub(errors[0])] {
                bits += 64 - change.unsigned_abs().leading_zeros();
            }
        }
        Some(bits)
    };
    (1..=EXPONENT_MAX).filter_map(|exponent| Some((cost(exponent)?, exponent))).min().map(|(_, exponent)| exponent)
}
