//! Where queries get their data from: in one process the node's own store, in a cluster every storage node and the
//! bucket.

pub mod completeness;
mod local;

pub use local::Local;
