//! Chunks: a run of samples of one series, timestamps strictly ascending, encoded. `docs/format/chunk.md` has the bytes.

mod bits;
mod builder;
mod columns;
mod xor;

pub use builder::ChunkBuilder;
pub use columns::{
    COLUMN_SAMPLES_MAX, Effort, ValueEncoder, decode_times, decode_values, encode_chunk, encode_times,
    encode_values_chunk,
};

use crate::error::{Error, Result};

/// A chunk is cut when it holds this many samples.
pub const CHUNK_SAMPLES_MAX: usize = 128;

/// Kind tag of a chunk of floats.
const KIND_FLOAT_XOR: u8 = 1;
/// Kind tag of a chunk that holds a column of times and one of values.
const KIND_COLUMNS: u8 = 3;
/// Kind tag of a chunk that holds values only; its times stand elsewhere.
pub(crate) const KIND_VALUES: u8 = 4;

/// Appends the samples of an encoded chunk to the two columns; timestamps are strictly ascending. `times_column` is the
/// column that the chunk shares with others, and empty where it holds its own.
///
/// # Errors
/// [`Error::Corrupt`] on bytes that no builder makes; reads never leave `bytes`, and the columns may then hold a part.
pub fn decode(times_column: &[u8], bytes: &[u8], times: &mut Vec<i64>, values: &mut Vec<f64>) -> Result<()> {
    match bytes.split_first() {
        Some((&KIND_FLOAT_XOR, _)) => {
            xor::decode(bytes, times, values).ok_or_else(|| Error::corrupt("chunk", "its bytes do not decode"))
        }
        Some((&KIND_COLUMNS, rest)) => columns::decode_both(rest, times, values),
        Some((&KIND_VALUES, rest)) => {
            let before = times.len();
            decode_times(times_column, times)?;
            decode_values(rest, times.len() - before, values)
        }
        _ => Err(Error::corrupt("chunk", "it is of no known kind")),
    }
}
