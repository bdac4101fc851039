//! Chunks: a run of samples of one series, timestamps strictly ascending, encoded. `docs/format/chunk.md` has the bytes.

mod bits;
mod builder;
mod column;
mod histogram;
mod starts;
pub(crate) mod stream;
#[cfg(test)]
mod tests;
mod xor;

pub use builder::ChunkBuilder;
pub use column::values::{Effort, ValueEncoder};
pub use histogram::HISTOGRAMS_MAX;
#[cfg(test)]
pub(crate) use histogram::tests as histogram_tests;
pub use starts::StartsPart;

use std::ops::Range;

use crate::error::{Error, Result};
use crate::format::varint::{push_uvarint, take_uvarint};
use crate::model::histogram::HistogramSample;
use crate::model::start::StartTime;

/// A chunk in the head is cut when it holds this many samples.
pub const CHUNK_SAMPLES_MAX: usize = 128;
/// No chunk and no column holds more samples; decoders refuse more, which bounds their memory.
pub const COLUMN_SAMPLES_MAX: usize = 8192;

/// Kind tag of a chunk of floats that holds its timestamps, values as XOR.
const KIND_FLOAT_XOR: u8 = 1;
/// Kind tag of a chunk of floats that was written sample by sample, in the head.
const KIND_STREAM: u8 = 2;
/// Kind tag of a chunk of floats that holds a times column and a values column.
const KIND_FLOAT_COLUMNS: u8 = 3;
/// Kind tag of a chunk of floats that holds a values column only.
pub(crate) const KIND_FLOAT_VALUES: u8 = 4;
/// Kind tag of a chunk of histograms, which holds its timestamps.
const KIND_HISTOGRAMS: u8 = 5;
/// Kind tag of a chunk of start timestamps, behind which that of their samples may follow.
const KIND_STARTS: u8 = 6;

/// Appends a times column: 1 to [`COLUMN_SAMPLES_MAX`] timestamps (ms), strictly ascending.
pub fn encode_times(times: &[i64], out: &mut Vec<u8>) {
    column::times::encode(times, out);
}

/// Appends the timestamps (ms) of a times column, strictly ascending.
///
/// # Errors
/// [`Error::Corrupt`] on bytes that [`encode_times`] does not make; `times` may then hold a part.
pub fn decode_times(bytes: &[u8], times: &mut Vec<i64>) -> Result<()> {
    column::times::decode(bytes, times)
        .map(drop)
        .ok_or_else(|| Error::corrupt("times column", "its bytes do not decode"))
}

/// Appends the `count` values of a values column.
///
/// # Errors
/// [`Error::Corrupt`] on bytes that [`ValueEncoder::encode`] does not make of `count` values; `values` may then hold a part.
pub fn decode_values(bytes: &[u8], count: usize, values: &mut Vec<f64>) -> Result<()> {
    decode_values_within(bytes, count, 0..count, values)
}

/// As [`decode_values`], but appends only the values whose places are `within`, a part of `0..count`.
///
/// # Errors
/// Those of [`decode_values`].
pub fn decode_values_within(bytes: &[u8], count: usize, within: Range<usize>, values: &mut Vec<f64>) -> Result<()> {
    column::values::decode(bytes, count, within, values)
        .ok_or_else(|| Error::corrupt("values column", "its bytes do not decode"))
}

/// Appends a chunk that holds both of its columns, of equal length.
pub fn encode_chunk(encoder: &mut ValueEncoder, times: &[i64], values: &[f64], effort: Effort, out: &mut Vec<u8>) {
    debug_assert_eq!(times.len(), values.len());
    out.push(KIND_FLOAT_COLUMNS);
    let mut column = Vec::with_capacity(32);
    encode_times(times, &mut column);
    push_uvarint(out, column.len() as u64);
    out.extend_from_slice(&column);
    encoder.encode(values, effort, out);
}

/// Appends a chunk that holds its values only; whoever reads it needs its times column too.
pub fn encode_values_chunk(encoder: &mut ValueEncoder, values: &[f64], effort: Effort, out: &mut Vec<u8>) {
    out.push(KIND_FLOAT_VALUES);
    encoder.encode(values, effort, out);
}

/// Whether a chunk holds histograms: [`decode_histograms`] takes its bytes, and [`decode`] does not.
#[inline]
pub fn is_histograms(bytes: &[u8]) -> bool {
    bytes.first() == Some(&KIND_HISTOGRAMS)
}

/// Appends a chunk of 1 to [`HISTOGRAMS_MAX`] histograms in strictly ascending order of time, each of which passes
/// [`crate::model::histogram::Histogram::check_layout`].
pub fn encode_histograms(samples: &[HistogramSample], effort: Effort, out: &mut Vec<u8>) {
    histogram::encode(samples, effort, out);
}

/// Appends the samples of a chunk of histograms; timestamps are strictly ascending, reset hints are as they were written.
///
/// # Errors
/// [`Error::Corrupt`] on bytes that [`encode_histograms`] does not make; `samples` may then hold a part.
pub fn decode_histograms(bytes: &[u8], samples: &mut Vec<HistogramSample>) -> Result<()> {
    histogram::decode(bytes, samples).ok_or_else(|| Error::corrupt("chunk of histograms", "its bytes do not decode"))
}

/// Whether a chunk begins with start timestamps: [`split_starts`] takes its bytes, and neither [`decode`] nor
/// [`decode_histograms`] does.
#[inline]
pub fn has_starts(bytes: &[u8]) -> bool {
    bytes.first() == Some(&KIND_STARTS)
}

/// Appends 1 to [`COLUMN_SAMPLES_MAX`] start timestamps in strictly ascending order of their samples' times. The chunk of these
/// samples may be appended behind them; it holds `samples` (0: none follows), and the sample of each start timestamp is among them.
pub fn encode_starts(starts: &[StartTime], samples: usize, out: &mut Vec<u8>) {
    starts::encode(starts, samples, out);
}

/// Takes a chunk with start timestamps apart.
///
/// # Errors
/// [`Error::Corrupt`] on bytes that [`encode_starts`] does not make.
pub fn split_starts(bytes: &[u8]) -> Result<StartsPart<'_>> {
    starts::split(bytes).ok_or_else(bad_starts)
}

/// Appends start timestamps. `samples` are the times of the samples in the chunk behind them.
///
/// # Errors
/// [`Error::Corrupt`] on bytes that [`encode_starts`] does not make for such samples.
pub fn decode_starts(part: StartsPart<'_>, samples: impl Iterator<Item = i64>, out: &mut Vec<StartTime>) -> Result<()> {
    starts::decode(part, samples, out).ok_or_else(bad_starts)
}

fn bad_starts() -> Error {
    Error::corrupt("chunk of start timestamps", "its bytes do not decode")
}

/// Appends the samples of an encoded chunk of floats to the two columns; timestamps are strictly ascending.
///
/// `times_column` is the chunk's times column where it does not hold its own, otherwise it is not looked at.
///
/// # Errors
/// [`Error::Corrupt`] on bytes that no encoder makes; reads never leave the bytes, and the columns may then hold a part.
pub fn decode(times_column: &[u8], bytes: &[u8], times: &mut Vec<i64>, values: &mut Vec<f64>) -> Result<()> {
    decode_any(times_column, bytes, times, values).ok_or_else(|| Error::corrupt("chunk", "its bytes do not decode"))
}

fn decode_any(times_column: &[u8], bytes: &[u8], times: &mut Vec<i64>, values: &mut Vec<f64>) -> Option<()> {
    let (&kind, mut rest) = bytes.split_first()?;
    match kind {
        KIND_FLOAT_XOR => xor::decode(bytes, times, values),
        KIND_STREAM => stream::decode(rest, times, values),
        KIND_FLOAT_COLUMNS => {
            let length = usize::try_from(take_uvarint(&mut rest)?).ok()?;
            let (own_times, own_values) = rest.split_at_checked(length)?;
            let count = column::times::decode(own_times, times)?;
            column::values::decode(own_values, count, 0..count, values)
        }
        KIND_FLOAT_VALUES => {
            let count = column::times::decode(times_column, times)?;
            column::values::decode(rest, count, 0..count, values)
        }
        _ => None,
    }
}
