//! Functions of single values, and the arithmetic of binary operators.

use marigram_storage::model::histogram::Histogram;

use super::DatePart;
use crate::eval::scalar::ScalarColumn;
use crate::histogram;
use crate::parse::ast::BinaryOp;

/// A function of each value of a vector.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MapFunction {
    /// Of the value alone.
    Plain(fn(f64) -> f64),
    /// A part of the date that the value is, in seconds.
    Date(DatePart),
    /// `round(v, nearest)`
    Round,
    /// `clamp(v, min, max)`
    Clamp,
    /// `clamp_min(v, min)`
    ClampMin,
    /// `clamp_max(v, max)`
    ClampMax,
    /// The time of the step: `timestamp` of anything but a selector.
    StepTime,
    /// No result: `start_timestamp` of anything but a selector.
    Nothing,
    /// Of histograms only.
    OfHistogram(fn(&Histogram) -> f64),
}

impl MapFunction {
    /// The result for `value` at a step.
    pub(crate) fn apply(self, value: f64, step: usize, time_ms: i64, args: &[ScalarColumn]) -> Option<f64> {
        let arg = |i: usize| args.get(i).map_or(f64::NAN, |column| column.at(step));
        Some(match self {
            MapFunction::Plain(f) => f(value),
            MapFunction::Date(part) => part.of(value),
            MapFunction::Round => round(value, if args.is_empty() { 1.0 } else { arg(0) }),
            MapFunction::Clamp if arg(1) < arg(0) => return None,
            MapFunction::Clamp => max(arg(0), min(arg(1), value)),
            MapFunction::ClampMin => max(arg(0), value),
            MapFunction::ClampMax => min(arg(0), value),
            MapFunction::StepTime => time_ms as f64 / 1000.0,
            MapFunction::Nothing | MapFunction::OfHistogram(_) => return None,
        })
    }
}

/// The function of one histogram with this name.
pub(crate) fn of_histogram(name: &str) -> Option<fn(&Histogram) -> f64> {
    Some(match name {
        "histogram_count" => |histogram| histogram.count,
        "histogram_sum" => |histogram| histogram.sum,
        "histogram_avg" => histogram::mean,
        "histogram_stddev" => histogram::standard_deviation,
        "histogram_stdvar" => histogram::variance,
        _ => return None,
    })
}

/// Rounds to a multiple of `nearest`, halves upwards.
fn round(value: f64, nearest: f64) -> f64 {
    // Multiplying with the inverse loses fewer digits than dividing.
    let inverse = 1.0 / nearest;
    (value * inverse + 0.5).floor() / inverse
}

/// The sign; zero and NaN stay what they are.
pub(crate) fn sgn(value: f64) -> f64 {
    if value < 0.0 {
        -1.0
    } else if value > 0.0 {
        1.0
    } else {
        value
    }
}

/// Go's `math.Max`: NaN wins, unless the other is +Inf; 0 is greater than -0.
pub(crate) fn max(a: f64, b: f64) -> f64 {
    match () {
        () if a == f64::INFINITY || b == f64::INFINITY => f64::INFINITY,
        () if a.is_nan() || b.is_nan() => f64::NAN,
        () if a == 0.0 && b == 0.0 => {
            if a.is_sign_negative() {
                b
            } else {
                a
            }
        }
        () => {
            if a > b {
                a
            } else {
                b
            }
        }
    }
}

/// Go's `math.Min`: NaN wins, unless the other is -Inf; -0 is less than 0.
pub(crate) fn min(a: f64, b: f64) -> f64 {
    match () {
        () if a == f64::NEG_INFINITY || b == f64::NEG_INFINITY => f64::NEG_INFINITY,
        () if a.is_nan() || b.is_nan() => f64::NAN,
        () if a == 0.0 && b == 0.0 => {
            if a.is_sign_negative() {
                a
            } else {
                b
            }
        }
        () => {
            if a < b {
                a
            } else {
                b
            }
        }
    }
}

/// The function of one argument with this name.
pub(crate) fn plain(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "abs" => f64::abs,
        "ceil" => f64::ceil,
        "floor" => f64::floor,
        "exp" => f64::exp,
        "sqrt" => f64::sqrt,
        "ln" => f64::ln,
        "log2" => f64::log2,
        "log10" => f64::log10,
        "sin" => f64::sin,
        "cos" => f64::cos,
        "tan" => f64::tan,
        "asin" => f64::asin,
        "acos" => f64::acos,
        "atan" => f64::atan,
        "sinh" => f64::sinh,
        "cosh" => f64::cosh,
        "tanh" => f64::tanh,
        "asinh" => f64::asinh,
        "acosh" => f64::acosh,
        "atanh" => f64::atanh,
        "rad" => |v| v * std::f64::consts::PI / 180.0,
        "deg" => |v| v * 180.0 / std::f64::consts::PI,
        "sgn" => sgn,
        _ => return None,
    })
}

/// The function of an operator. Comparisons yield 1 and 0; trim and set operators have none and yield NaN.
pub(crate) fn binary_operation(op: BinaryOp) -> fn(f64, f64) -> f64 {
    match op {
        BinaryOp::Add => |l, r| l + r,
        BinaryOp::Sub => |l, r| l - r,
        BinaryOp::Mul => |l, r| l * r,
        BinaryOp::Div => |l, r| l / r,
        BinaryOp::Mod => |l, r| l % r,
        BinaryOp::Pow => f64::powf,
        BinaryOp::Atan2 => f64::atan2,
        BinaryOp::Eql => |l, r| f64::from(l == r),
        BinaryOp::Neq => |l, r| f64::from(l != r),
        BinaryOp::Gtr => |l, r| f64::from(l > r),
        BinaryOp::Lss => |l, r| f64::from(l < r),
        BinaryOp::Gte => |l, r| f64::from(l >= r),
        BinaryOp::Lte => |l, r| f64::from(l <= r),
        BinaryOp::TrimUpper | BinaryOp::TrimLower | BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => |_, _| f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_and_clamping() {
        assert_eq!(round(2.5, 1.0), 3.0);
        assert_eq!(round(-2.5, 1.0), -2.0);
        assert_eq!(round(27.0, 10.0), 30.0);
        let args = [ScalarColumn::Constant(1.0), ScalarColumn::Constant(3.0)];
        assert_eq!(MapFunction::Clamp.apply(7.0, 0, 0, &args), Some(3.0));
        assert_eq!(MapFunction::Clamp.apply(-7.0, 0, 0, &args), Some(1.0));
        let args = [ScalarColumn::Constant(3.0), ScalarColumn::Constant(1.0)];
        assert_eq!(MapFunction::Clamp.apply(2.0, 0, 0, &args), None);
        assert!(MapFunction::ClampMin.apply(f64::NAN, 0, 0, &args).unwrap().is_nan());
        assert_eq!(MapFunction::StepTime.apply(2.0, 0, 1500, &[]), Some(1.5));
    }

    #[test]
    fn modulo_keeps_the_sign_of_the_dividend() {
        let modulo = binary_operation(BinaryOp::Mod);
        assert_eq!(modulo(-5.0, 3.0), -2.0);
        assert_eq!(modulo(5.0, -3.0), 2.0);
        assert!(modulo(5.0, 0.0).is_nan());
    }

    #[test]
    fn signs() {
        assert_eq!((sgn(-3.0), sgn(0.0), sgn(9.0)), (-1.0, 0.0, 1.0));
        assert!(sgn(f64::NAN).is_nan());
    }
}
