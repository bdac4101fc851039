//! Builds a chunk sample by sample.

use super::KIND_FLOAT_XOR;
use super::xor::{TimeColumn, ValueColumn};
use crate::format::varint::push_uvarint;

/// An open chunk: encoded as it grows, so that it costs memory by what it holds.
#[derive(Clone, Debug, Default)]
pub struct ChunkBuilder {
    times: TimeColumn,
    values: ValueColumn,
    first_ms: i64,
    last_ms: i64,
    len: usize,
}

impl ChunkBuilder {
    /// Appends a sample. `timestamp_ms` must be greater than [`ChunkBuilder::last_ms`] of a chunk that is not empty.
    pub fn push(&mut self, timestamp_ms: i64, value: f64) {
        debug_assert!(self.len == 0 || timestamp_ms > self.last_ms);
        if self.len == 0 {
            self.first_ms = timestamp_ms;
        }
        self.times.push(timestamp_ms);
        self.values.push(value.to_bits());
        self.last_ms = timestamp_ms;
        self.len += 1;
    }

    /// How many samples it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds no sample.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// First timestamp; 0 when empty.
    pub fn first_ms(&self) -> i64 {
        self.first_ms
    }

    /// Last timestamp; 0 when empty.
    pub fn last_ms(&self) -> i64 {
        self.last_ms
    }

    /// The encoded chunk as it stands.
    pub fn encode(&self) -> Vec<u8> {
        let (times, values) = (self.times.as_bytes(), self.values.as_bytes());
        let mut out = Vec::with_capacity(times.len() + values.len() + 8);
        out.push(KIND_FLOAT_XOR);
        push_uvarint(&mut out, self.len as u64);
        push_uvarint(&mut out, times.len() as u64);
        out.extend_from_slice(times);
        out.extend_from_slice(values);
        out
    }
}
