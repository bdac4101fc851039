//! PromQL's functions, by family. What a function *is* stands here as data that the plan holds; the families hold the
//! arithmetic as free functions on slices and numbers.

pub(crate) mod histogram;
pub(crate) mod label;
pub(crate) mod math;
pub(crate) mod over_time;
pub(crate) mod quantile;
pub(crate) mod rate;
pub(crate) mod smoothing;
mod sort;
pub(crate) mod time;

mod operators;

pub(crate) use histogram::HistogramFunction;
pub(crate) use label::LabelFunction;
pub(crate) use math::MapFunction;
pub(crate) use operators::{absent, computed, each, histogram, label, map, negate, of_scalar};
pub(crate) use sort::sort;
pub(crate) use time::DatePart;

use crate::eval::Exec;
use crate::number;
use crate::parse::ast::Span;

/// What a function of a range vector sees at one step: at least one sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window<'w> {
    /// Ascending, in `(start_ms, end_ms]`.
    pub(crate) times: &'w [i64],
    /// One for each time.
    pub(crate) values: &'w [f64],
    /// Start of the range, itself not in it.
    pub(crate) start_ms: i64,
    /// End of the range.
    pub(crate) end_ms: i64,
    /// Length of the range.
    pub(crate) range_ms: i64,
    /// The step's time.
    pub(crate) time_ms: i64,
    /// The function's scalar arguments at this step.
    pub(crate) args: [f64; 2],
}

/// A function of a range vector.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WindowFunction {
    /// The value of a window, or none.
    pub(crate) kernel: fn(&Window<'_>) -> Option<f64>,
    /// Whether the result keeps the metric's name.
    pub(crate) keeps_name: bool,
    /// What is remarked about its input.
    pub(crate) check: Check,
}

/// What the engine remarks about the input of a function, or refuses.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Check {
    /// Nothing.
    Nothing,
    /// The name should be a counter's. The argument stands there.
    Counter(Span),
    /// The first scalar argument should lie in 0..=1. It stands there.
    Quantile(Span),
    /// Both scalar arguments must lie between 0 and 1.
    Factors,
}

/// Warns of a quantile that is none.
pub(crate) fn check_quantile(exec: &Exec<'_>, quantile: f64, span: Span) {
    if !(0.0..=1.0).contains(&quantile) {
        let text = format!("quantile value should be between 0 and 1, got {}", number::go_g(quantile));
        exec.remarks.borrow_mut().warn(text, span);
    }
}
