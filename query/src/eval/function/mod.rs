//! PromQL's functions, by family. What a function *is* stands here as data that the plan holds; the families hold the
//! arithmetic as free functions on slices and numbers.

mod classic;
pub(crate) mod extended;
pub(crate) mod histogram;
pub(crate) mod histogram_extended;
pub(crate) mod histogram_rate;
pub(crate) mod histograms;
pub(crate) mod label;
pub(crate) mod math;
pub(crate) mod over_time;
pub(crate) mod quantile;
pub(crate) mod rate;
pub(crate) mod smoothing;
mod sort;
pub(crate) mod start;
pub(crate) mod time;

mod operators;

pub(crate) use histogram::HistogramFunction;
pub(crate) use label::LabelFunction;
pub(crate) use math::MapFunction;
pub(crate) use operators::{absent, computed, each, histogram, label, map, negate, of_scalar};
pub(crate) use sort::sort;
pub(crate) use time::DatePart;

use marigram_storage::model::histogram::HistogramSample;
use marigram_storage::model::start::StartTime;

use crate::eval::EvalContext;
use crate::eval::notes::{Note, Notes};
use crate::eval::sweep::Sweep;
use crate::number;
use crate::parse::ast::Span;
use crate::value::SampleValue;

/// What a function of a range vector sees at one step: at least one sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window<'w> {
    /// Ascending, in `(start_ms, end_ms]`.
    pub(crate) times: &'w [i64],
    /// One for each time.
    pub(crate) values: &'w [f64],
    /// Ascending, in the same range, at other times.
    pub(crate) histograms: &'w [HistogramSample],
    /// Start timestamps of samples of the series, ascending by the samples' times; empty where nobody looks at them.
    pub(crate) starts: &'w [StartTime],
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
    /// The value of a window without histograms, or none.
    pub(crate) kernel: fn(&Window<'_>) -> Option<f64>,
    /// The same for all windows of a series at once, where they have neither histograms nor start timestamps.
    pub(crate) sweep: Option<Sweep>,
    /// The value of a window with histograms. `None`: it takes the floats only, and tells that it does.
    pub(crate) histogram_kernel: Option<HistogramKernel>,
    /// Whether the result keeps the metric's name.
    pub(crate) keeps_name: bool,
    /// Whether it looks at start timestamps.
    pub(crate) uses_starts: bool,
    /// What is remarked about its input.
    pub(crate) check: Check,
    /// Where the first argument stands.
    pub(crate) span: Span,
}

/// A function of a window that has histograms, with or without floats beside them.
pub(crate) type HistogramKernel = fn(&Window<'_>, &mut Notes) -> Option<SampleValue>;

impl WindowFunction {
    /// The value of a window that has histograms, or none.
    pub(crate) fn of_histograms(&self, window: &Window<'_>, notes: &mut Notes) -> Option<SampleValue> {
        match self.histogram_kernel {
            Some(kernel) => kernel(window, notes),
            None if window.values.is_empty() => None,
            None => {
                notes.add(Note::IgnoredInRange);
                (self.kernel)(window).map(SampleValue::Float)
            }
        }
    }
}

/// What the engine remarks about the input of a function, or refuses.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Check {
    /// Nothing.
    Nothing,
    /// The name should be a counter's.
    Counter,
    /// The first scalar argument should lie in 0..=1.
    Quantile,
    /// Both scalar arguments must lie between 0 and 1.
    Factors,
}

/// Warns of a quantile that is none.
pub(crate) fn check_quantile(eval: &EvalContext, quantile: f64, span: Span) {
    if !(0.0..=1.0).contains(&quantile) {
        let text = format!("quantile value should be between 0 and 1, got {}", number::go_g(quantile));
        eval.remarks.borrow_mut().warn(text, span);
    }
}
