//! Several sources of the same series become one: the copies of a cluster's members, and the replicas of an HA pair.

mod dedup;
#[cfg(test)]
mod dedup_test;
mod feed;
mod pace;
mod series;
#[cfg(test)]
mod series_test;
mod stitch;
#[cfg(test)]
mod stitch_test;

pub use dedup::Deduplicated;
pub use series::{OnFailure, union};
