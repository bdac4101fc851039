//! PromQL from text to a checked tree.

pub mod ast;
pub mod functions;
