//! Several sources of the same series become one: the copies of a cluster's members, and the replicas of an HA pair.

mod series;
#[cfg(test)]
mod series_test;

pub use series::{OnFailure, union};
