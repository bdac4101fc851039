//! Random PromQL, and data for it: a grammar with a seed, so that a run can be repeated.
//!
//! Prometheus 2 closes ranges on the left, Prometheus 3 (and Marigram) leave them open. So no edge of a range may meet a sample:
//! 1. Samples lie on millisecond 217 of a second, everything asked for on whole seconds.
//! 2. Times asked for end in 7 s, and ranges, offsets and steps are multiples of 10 s, so that no range of a sub-query begins at
//!    one of its steps. Sub-queries are not nested.

mod data;
mod grammar;

pub(crate) use data::{INTERVAL_MS, ROUNDS, data};
pub(crate) use grammar::{Question, counts, questions};
