//! What a query yields.

use std::sync::Arc;

use marigram_storage::model::histogram::{Histogram, HistogramSample};
use marigram_storage::model::labels::Labels;

use crate::annotations::Annotations;
use crate::parse::literal::Text;

/// An answer with its remarks.
#[derive(Clone, Debug)]
pub struct QueryOutput {
    /// The answer.
    pub value: Value,
    /// Warnings and infos.
    pub annotations: Annotations,
    /// What was looked at at each step, where that [was asked for](crate::Engine::counting_steps).
    pub samples_by_step: Option<Vec<StepSamples>>,
}

/// Samples that a query looked at at one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepSamples {
    /// Evaluation time.
    pub time_ms: i64,
    /// Those that the step looks at, as if it were the only one.
    pub queryable: u64,
    /// Those that no step before looked at.
    pub read: u64,
}

/// The four kinds of answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// One number.
    Scalar {
        /// Evaluation time.
        time_ms: i64,
        /// The number.
        value: f64,
    },
    /// A text.
    String {
        /// Evaluation time.
        time_ms: i64,
        /// The text.
        value: Text,
    },
    /// One sample per series; in the order of `sort` and `topk`, otherwise by labels.
    Vector(Vec<VectorSample>),
    /// Series over time, by labels.
    Matrix(Vec<Series>),
}

/// What a sample holds.
#[derive(Clone, Debug, PartialEq)]
pub enum SampleValue {
    /// A number.
    Float(f64),
    /// A native histogram, shared by all who hold it.
    Histogram(Arc<Histogram>),
}

/// A series' sample at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSample {
    /// Which series.
    pub labels: Labels,
    /// Evaluation time.
    pub time_ms: i64,
    /// The value.
    pub value: SampleValue,
}

/// A series over time: its floats, and its histograms at other times.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Which series.
    pub labels: Labels,
    /// Ascending.
    pub times_ms: Vec<i64>,
    /// One for each time.
    pub values: Vec<f64>,
    /// Ascending; none at one of `times_ms`.
    pub histograms: Vec<HistogramSample>,
}

impl SampleValue {
    /// The number, where it is one.
    pub fn float(&self) -> Option<f64> {
        match self {
            SampleValue::Float(value) => Some(*value),
            SampleValue::Histogram(_) => None,
        }
    }

    /// The histogram, where it is one.
    pub fn histogram(&self) -> Option<&Arc<Histogram>> {
        match self {
            SampleValue::Float(_) => None,
            SampleValue::Histogram(histogram) => Some(histogram),
        }
    }
}
