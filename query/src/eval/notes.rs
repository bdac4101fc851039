//! What is remarked about histograms, collected while samples are worked on and written down once for each series.

use super::EvalContext;
use crate::parse::ast::Span;
use crate::parse::strings::quote;

/// Something to be remarked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    /// Floats and histograms in one window.
    MixedRange,
    /// A function of counters got a gauge.
    NotCounter,
    /// A function of gauges got a counter.
    NotGauge,
    /// Exponential and custom buckets together.
    MixedBuckets,
    /// Histograms beside floats in a window of which only floats are looked at.
    IgnoredInRange,
    /// Floats and histograms in one group.
    MixedGroup,
    /// An aggregation that knows only floats got a histogram.
    IgnoredInAggregation,
    /// An operator between buckets that do not go together.
    IncompatibleBuckets,
    /// Operators between kinds of samples that have no result.
    FloatWithFloat,
    FloatWithHistogram,
    HistogramWithFloat,
    HistogramWithHistogram,
    /// Histograms of which one was reset and another was not.
    CollisionInAddition,
    CollisionInSubtraction,
    CollisionInAggregation,
    /// Custom bounds that differed.
    ReconciledInAddition,
    ReconciledInSubtraction,
    ReconciledInAggregation,
    /// NaN observations.
    QuantileLostToNan,
    QuantileSkewedByNan,
    FractionWithoutNan,
    /// The same histogram as classic buckets and as a native histogram.
    MixedKinds,
}

const ALL: [Note; 22] = [
    Note::MixedRange,
    Note::NotCounter,
    Note::NotGauge,
    Note::MixedBuckets,
    Note::IgnoredInRange,
    Note::MixedGroup,
    Note::IgnoredInAggregation,
    Note::IncompatibleBuckets,
    Note::FloatWithFloat,
    Note::FloatWithHistogram,
    Note::HistogramWithFloat,
    Note::HistogramWithHistogram,
    Note::CollisionInAddition,
    Note::CollisionInSubtraction,
    Note::CollisionInAggregation,
    Note::ReconciledInAddition,
    Note::ReconciledInSubtraction,
    Note::ReconciledInAggregation,
    Note::QuantileLostToNan,
    Note::QuantileSkewedByNan,
    Note::FractionWithoutNan,
    Note::MixedKinds,
];

/// A set of notes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Notes(u32);

impl Notes {
    /// Takes a note.
    #[inline]
    pub(crate) fn add(&mut self, note: Note) {
        self.0 |= 1 << note as u32;
    }

    /// Takes the notes of another set.
    #[inline]
    pub(crate) fn merge(&mut self, other: Notes) {
        self.0 |= other.0;
    }

    /// Takes a note if it holds.
    pub(crate) fn add_if(&mut self, holds: bool, note: Note) {
        if holds {
            self.add(note);
        }
    }

    /// Writes the notes down. `subject` is what they are about: the metric's name, the aggregation, the operator.
    pub(crate) fn write(self, eval: &EvalContext, subject: &str, span: Span) {
        if self.0 == 0 {
            return;
        }
        let mut remarks = eval.remarks.borrow_mut();
        for note in ALL.into_iter().filter(|note| self.0 & (1 << *note as u32) != 0) {
            match note.text(subject) {
                (true, text) => remarks.warn(text, span),
                (false, text) => remarks.info(text, span),
            }
        }
    }
}

/// A text with the metric's name, where there is one.
pub(crate) fn with_name(text: String, name: &str) -> String {
    if name.is_empty() { text } else { format!("{text} for metric name {}", quote(name)) }
}

impl Note {
    /// Whether it is a warning, and its text.
    fn text(self, subject: &str) -> (bool, String) {
        let reset = |operation: &str| (true, format!("conflicting counter resets during histogram {operation}"));
        let bounds = |operation: &str| (false, format!("mismatched custom buckets were reconciled during {operation}"));
        let types = |left: &str, right: &str| {
            let text = "incompatible sample types encountered for binary operator";
            (false, format!("{text} \"{subject}\": {left} {subject} {right}"))
        };
        let name = || quote(subject);
        match self {
            Note::MixedRange => {
                (true, format!("encountered a mix of histograms and floats for metric name {}", name()))
            }
            Note::NotCounter => (true, format!("this native histogram metric is not a counter: {}", name())),
            Note::NotGauge => (true, format!("this native histogram metric is not a gauge: {}", name())),
            Note::MixedBuckets => {
                let text =
                    "vector contains a mix of histograms with exponential and custom buckets schemas for metric name";
                (true, format!("{text} {}", name()))
            }
            Note::IgnoredInRange => {
                let text = "ignored histograms in a range containing both floats and histograms for metric name";
                (false, format!("{text} {}", name()))
            }
            Note::MixedGroup => (true, "encountered a mix of histograms and floats for aggregation".to_owned()),
            Note::IgnoredInAggregation => (false, format!("ignored histogram in {subject} aggregation")),
            Note::IncompatibleBuckets => {
                (true, format!("incompatible bucket layout encountered for binary operator {subject}"))
            }
            Note::FloatWithFloat => types("float", "float"),
            Note::FloatWithHistogram => types("float", "histogram"),
            Note::HistogramWithFloat => types("histogram", "float"),
            Note::HistogramWithHistogram => types("histogram", "histogram"),
            Note::CollisionInAddition => reset("addition"),
            Note::CollisionInSubtraction => reset("subtraction"),
            Note::CollisionInAggregation => reset("aggregation"),
            Note::ReconciledInAddition => bounds("addition"),
            Note::ReconciledInSubtraction => bounds("subtraction"),
            Note::ReconciledInAggregation => bounds("aggregation"),
            Note::QuantileLostToNan => {
                let text = "input to histogram_quantile has NaN observations, result is NaN";
                (false, with_name(text.to_owned(), subject))
            }
            Note::QuantileSkewedByNan => {
                let text = "input to histogram_quantile has NaN observations, result is skewed higher";
                (false, with_name(text.to_owned(), subject))
            }
            Note::FractionWithoutNan => {
                let text = "input to histogram_fraction has NaN observations, which are excluded from all fractions";
                (false, with_name(text.to_owned(), subject))
            }
            Note::MixedKinds => {
                (true, with_name("vector contains a mix of classic and native histograms".to_owned(), subject))
            }
        }
    }
}
