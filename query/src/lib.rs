//! PromQL for Marigram: parser, planner, an engine that evaluates column by column, and Prometheus' JSON.
//!
//! It knows no server and no disk: data comes through [`source::Source`].

pub mod annotations;
pub mod ast_json;
pub mod cache;
pub mod calendar;
#[cfg(test)]
mod counts_test;
mod deep;
pub mod engine;
#[cfg(test)]
mod engine_test;
pub mod error;
mod eval;
mod histogram;
#[cfg(test)]
mod histogram_test;
pub mod json;
pub mod merge;
mod names;
pub mod number;
#[cfg(test)]
mod parallel_test;
pub mod parse;
mod parts;
mod plan;
#[cfg(test)]
mod property_test;
pub mod source;
#[cfg(test)]
mod testing;
mod text;
pub mod value;
mod workers;

pub use annotations::Annotations;
pub use cache::RangeCache;
pub use engine::{Engine, EngineOptions};
pub use error::{QueryError, QueryErrorKind};
pub use parse::Features;
pub use value::{QueryOutput, SampleValue, Series, StepSamples, Value, VectorSample};
pub use workers::Parallelism;
