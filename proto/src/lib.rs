//! The wire formats of Marigram: protobuf types generated from `proto/`, and decoders that borrow from the request's
//! body for the hot path.
//!
//! The generated types serve where speed does not matter (remote read, tests); there they are the oracle of
//! [`write_v1`].

pub mod wire;
pub mod write_v1;

/// Remote write 1.0 and remote read, generated from `proto/prometheus/`.
#[allow(missing_docs, clippy::all, reason = "generated; the .proto files hold the comments")]
pub mod prometheus {
    include!(concat!(env!("OUT_DIR"), "/prometheus.rs"));
}

/// The RPC between the roles of a cluster, generated from `proto/cluster/`.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated; the .proto files hold the comments")]
pub mod cluster {
    include!(concat!(env!("OUT_DIR"), "/marigram.v1.rs"));
}
