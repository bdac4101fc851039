//! PromQL for Marigram: parser, planner, an engine that evaluates column by column, and Prometheus' JSON.
//!
//! It knows no server and no disk: data comes through [`source::Source`].

pub mod parse;
pub mod source;
