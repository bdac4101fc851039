//! The time-series storage core of Marigram: write-ahead log, head, blocks and catalog of one node.
//!
//! It knows no network and no async runtime: every call blocks, and time, randomness and the disk come from outside
//! ([`env::Env`]).

pub mod block;
pub mod bucket;
pub mod chunk;
pub mod compact;
pub mod context;
pub mod db;
pub mod disk;
pub mod env;
pub mod error;
mod format;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
pub mod head;
pub mod index;
pub mod model;
pub mod node;
pub mod priority;
pub mod processors;
mod rooms;
pub mod select;
mod striped;
pub mod turns;
pub mod wal;
pub mod write;

pub use error::{Error, ErrorKind, Result};
