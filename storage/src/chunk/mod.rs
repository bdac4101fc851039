//! Chunks: a run of samples of one series, timestamps strictly ascending, encoded. `docs/format/chunk.md` has the bytes.

mod bits;
mod builder;
pub(crate) mod stream;
mod xor;

pub use builder::ChunkBuilder;

use crate::error::{Error, Result};

/// A chunk is cut when it holds this many samples.
pub const CHUNK_SAMPLES_MAX: usize = 128;

/// No chunk holds more samples; decoders refuse more, which bounds what they allocate.
pub const COLUMN_SAMPLES_MAX: usize = 8192;

/// Kind tag of a chunk of floats.
const KIND_FLOAT_XOR: u8 = 1;
/// Kind tag of a chunk that was written sample by sample.
const KIND_STREAM: u8 = 2;

/// Appends the samples of an encoded chunk to the two columns; timestamps are strictly ascending. `times_column` holds
/// the timestamps of a chunk that does not hold them itself.
///
/// # Errors
/// [`Error::Corrupt`] on bytes that no builder makes; reads never leave `bytes`, and the columns may then hold a part.
pub fn decode(times_column: &[u8], bytes: &[u8], times: &mut Vec<i64>, values: &mut Vec<f64>) -> Result<()> {
    let _ = times_column;
    let decoded = match bytes.split_first() {
        Some((&KIND_STREAM, rest)) => stream::decode(rest, times, values),
        _ => xor::decode(bytes, times, values),
    };
    decoded.ok_or_else(|| Error::corrupt("chunk", "its bytes do not decode"))
}
