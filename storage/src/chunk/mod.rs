//! Chunks: a run of samples of one series, timestamps strictly ascending, encoded. `docs/format/chunk.md` has the bytes.

mod bits;
mod builder;
mod xor;

pub use builder::ChunkBuilder;

use crate::error::{Error, Result};

/// A chunk is cut when it holds this many samples.
pub const CHUNK_SAMPLES_MAX: usize = 128;

/// Kind tag of a chunk of floats.
const KIND_FLOAT_XOR: u8 = 1;

/// Appends the samples of an encoded chunk to the two columns; timestamps are strictly ascending.
///
/// # Errors
/// [`Error::Corrupt`] on bytes that no builder makes; reads never leave `bytes`, and the columns may then hold a part.
pub fn decode(bytes: &[u8], times: &mut Vec<i64>, values: &mut Vec<f64>) -> Result<()> {
    xor::decode(bytes, times, values).ok_or_else(|| Error::corrupt("chunk", "its bytes do not decode"))
}
