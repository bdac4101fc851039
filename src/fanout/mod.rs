//! Where queries get their data from: in one process the node's own store ([`Local`]), in a cluster every storage node
//! and the bucket ([`Cluster`]).

mod archive;
mod ask;
mod bucket_stream;
mod changes;
mod cluster;
pub mod completeness;
mod counters;
mod local;
mod members;
mod seal;
#[cfg(test)]
mod simulation;

pub use archive::{Archive, Followed};
pub use changes::ClusterChanges;
pub use cluster::Cluster;
pub(crate) use cluster::another_cluster;
pub use counters::Counters;
pub use local::Local;
pub use members::{Lookup, Members, Node, Opened};
pub use seal::seal;

/// Why nobody can be asked before a compactor has run.
pub const NO_LIST: &str =
    "no list of members is known yet: a compactor makes the first once enough storage nodes answer";
