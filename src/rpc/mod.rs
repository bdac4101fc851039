//! The RPC between the roles of a cluster (`marigram.v1`): what is sent and how it is checked ([`convert`]), asking
//! ([`client`]) and answering ([`server`]).

pub mod client;
pub mod convert;
pub mod server;

/// Largest message that is sent.
pub const PIECE_BYTES_MAX: usize = 1 << 20;
/// Largest message that is read: a sender's count of its own bytes need not be exact.
pub const MESSAGE_BYTES_MAX: usize = PIECE_BYTES_MAX + (256 << 10);
/// What one stream may have on its way: enough that the next piece arrives while one is worked on.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 2 << 20;
