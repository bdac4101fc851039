//! PromQL for Marigram: parser, planner, an engine that evaluates column by column, and Prometheus' JSON.
//!
//! It knows no server and no disk: data comes through [`source::Source`].

pub mod annotations;
pub mod calendar;
pub mod engine;
#[cfg(test)]
mod engine_test;
pub mod error;
mod eval;
pub mod json;
pub mod merge;
mod names;
pub mod number;
pub mod parse;
mod plan;
#[cfg(test)]
mod property_test;
pub mod source;
#[cfg(test)]
mod testing;
mod text;
pub mod value;

pub use annotations::Annotations;
pub use engine::{Engine, EngineOptions};
pub use error::{QueryError, QueryErrorKind};
pub use value::{QueryOutput, Series, Value, VectorSample};
