//! What a query yields.

use marigram_storage::model::labels::Labels;

use crate::annotations::Annotations;

/// An answer with its remarks.
#[derive(Clone, Debug)]
pub struct QueryOutput {
    /// The answer.
    pub value: Value,
    /// Warnings and infos.
    pub annotations: Annotations,
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
        value: String,
    },
    /// One sample per series; in the order of `sort` and `topk`, otherwise by labels.
    Vector(Vec<VectorSample>),
    /// Series over time, by labels.
    Matrix(Vec<Series>),
}

/// A series' sample at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSample {
    /// Which series.
    pub labels: Labels,
    /// Evaluation time.
    pub time_ms: i64,
    /// The value.
    pub value: f64,
}

/// A series over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Which series.
    pub labels: Labels,
    /// Ascending.
    pub times_ms: Vec<i64>,
    /// One for each time.
    pub values: Vec<f64>,
}
