//! Where buckets begin and end.

use std::sync::LazyLock;

use marigram_storage::model::histogram::{Histogram, SCHEMA_MAX};

/// How many buckets the finest schema has for each power of two.
const FINEST: usize = 1 << SCHEMA_MAX;
/// `2^(2^-schema)` for the schemas from 1 to 8, rounded as Prometheus' table of bounds was made with: the first is one
/// unit in the last place too small.
const FACTORS: [f64; SCHEMA_MAX as usize] = [
    f64::from_bits(0x3ff6_a09e_667f_3bcc),
    f64::from_bits(0x3ff3_06fe_0a31_b715),
    f64::from_bits(0x3ff1_72b8_3c7d_517b),
    f64::from_bits(0x3ff0_b558_6cf9_890f),
    f64::from_bits(0x3ff0_59b0_d315_8574),
    f64::from_bits(0x3ff0_2c9a_3e77_8061),
    f64::from_bits(0x3ff0_163d_a9fb_3335),
    f64::from_bits(0x3ff0_0b1a_fa5a_bcbf),
];

/// The bounds of the finest schema within 0.5 to 1. Those of the others are among them.
static FRACTIONS: LazyLock<[f64; FINEST]> = LazyLock::new(|| {
    let mut bounds = [0.5; FINEST];
    let mut step = FINEST;
    for factor in FACTORS {
        // Every second bound is one of the schema before; those between them are one factor above.
        let before = step;
        step /= 2;
        for at in (step..FINEST).step_by(before) {
            bounds[at] = bounds[at - step] * factor;
        }
    }
    bounds
});

/// Upper bound of the bucket with this index in an exponential schema.
pub(super) fn exponential(index: i32, schema: i8) -> f64 {
    if schema < 0 {
        return scaled(1.0, i64::from(index) << -schema);
    }
    let within = index & ((1 << schema) - 1);
    let fraction = usize::try_from(within).ok().and_then(|within| FRACTIONS.get(within << (SCHEMA_MAX - schema)));
    scaled(fraction.copied().unwrap_or(0.5), (i64::from(index) >> schema) + 1)
}

/// Upper bound of the bucket with this index on the positive side of a histogram; `-1` has the lower end of the first
/// custom bucket.
pub(super) fn upper(histogram: &Histogram, index: i32) -> f64 {
    if !histogram.has_custom_buckets() {
        return exponential(index, histogram.schema);
    }
    match usize::try_from(index) {
        Ok(at) => histogram.custom_values.get(at).copied().unwrap_or(f64::INFINITY),
        Err(_) => f64::NEG_INFINITY,
    }
}

/// `fraction * 2^exponent`. The bound that would be 2^1024 is the greatest number instead: the bucket above it holds
/// the infinite observations.
fn scaled(fraction: f64, exponent: i64) -> f64 {
    if (fraction == 1.0 && exponent == 1024) || (fraction == 0.5 && exponent == 1025) {
        return f64::MAX;
    }
    // In two steps, since the power alone can lie outside of what a float holds.
    let exponent = exponent.clamp(-2200, 2200) as i32;
    let first = exponent.clamp(-1000, 1000);
    let second = (exponent - first).clamp(-1000, 1000);
    fraction * power(first) * power(second) * power(exponent - first - second)
}

/// `2^exponent`, within the exponents of normal numbers.
fn power(exponent: i32) -> f64 {
    f64::from_bits(((1023 + i64::from(exponent)) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_schemas() {
        assert_eq!(exponential(-1, 0), 0.5);
        assert_eq!(exponential(0, 0), 1.0);
        assert_eq!(exponential(3, 0), 8.0);
        assert_eq!(exponential(512, 0), 2f64.powi(512));
        assert_eq!(exponential(1024, 0), f64::MAX);
        assert_eq!(exponential(1025, 0), f64::INFINITY);
        assert_eq!(exponential(64, -4), f64::MAX);
        assert_eq!(exponential(65, -4), f64::INFINITY);
        assert_eq!(exponential(2, -2), 256.0);
        assert_eq!(exponential(-1, -2), 1.0 / 16.0);
        assert_eq!(exponential(1024 << 8, 8), f64::MAX);
        assert_eq!(exponential(-1074, 0), f64::from_bits(1));
        // As in Prometheus' table, one unit below the exact bound.
        assert_eq!(exponential(1, 1), std::f64::consts::SQRT_2.next_down());
        assert_eq!(exponential(1, 2), 1.189_207_115_002_721);
        assert_eq!(exponential(255, 8), 2.0 * 0.997_296_056_085_469_8);
        assert_eq!(exponential(18, 8), 2.0 * 0.524_972_042_900_343_5);
    }

    #[test]
    fn finer_schemas_contain_the_bounds_of_coarser_ones() {
        for schema in 0..SCHEMA_MAX {
            for index in -300..300 {
                assert_eq!(exponential(index, schema), exponential(2 * index, schema + 1));
            }
        }
    }
}
