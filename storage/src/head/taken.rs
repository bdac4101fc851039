//! Chunks that a select takes out of the head.
//!
//! Writers wait for the lock under which a series' chunks are taken, and may wait long if who holds it is put aside by the
//! system. So under the lock bytes are copied, or taken hold of, and nothing else: room for them was made before, and
//! chunks are made of them afterwards. The copies of many series lie in one buffer.

use bytes::Bytes;

use crate::select::EncodedChunk;

/// Buffers begin with this size, …
const BUFFER_BYTES_MIN: usize = 8 << 10;
/// … and become twice as large each time, up to this one.
const BUFFER_BYTES_MAX: usize = 128 << 10;
/// Room that is there for the copies of a series: enough for its open chunk and some small full ones.
const ROOM_BYTES: usize = 4 << 10;
/// Room for chunks of a series.
const ROOM_CHUNKS: usize = 16;

/// The chunks of some series, one series after the other.
#[derive(Debug, Default)]
pub struct TakenChunks {
    chunks: Vec<Taken>,
    buffers: Vec<Bytes>,
    /// The buffer that is being filled.
    open: Vec<u8>,
}

#[derive(Debug)]
struct Taken {
    min_ms: i64,
    max_ms: i64,
    bytes: Held,
}

#[derive(Debug)]
enum Held {
    /// In memory that does not change.
    There(Bytes),
    /// From one to another byte of a buffer.
    Copied { buffer: usize, from: usize, to: usize },
}

impl TakenChunks {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.chunks.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// What those from `from` on take in memory, as chunks of a select.
    pub fn held_bytes(&self, from: usize) -> usize {
        let bytes = |taken: &Taken| match &taken.bytes {
            Held::There(bytes) => bytes.len(),
            Held::Copied { from, to, .. } => to - from,
        };
        self.chunks.iter().skip(from).map(|taken| size_of::<EncodedChunk>() + bytes(taken)).sum()
    }

    /// Makes room for a series.
    pub(super) fn make_room(&mut self) {
        self.chunks.reserve(ROOM_CHUNKS);
        if self.open.capacity() - self.open.len() < ROOM_BYTES {
            let larger = (2 * self.open.capacity()).clamp(BUFFER_BYTES_MIN, BUFFER_BYTES_MAX);
            let full = std::mem::replace(&mut self.open, Vec::with_capacity(larger));
            self.buffers.push(full.into());
        }
    }

    /// Takes a chunk whose bytes stay as they are.
    pub(super) fn hold(&mut self, min_ms: i64, max_ms: i64, bytes: Bytes) {
        self.chunks.push(Taken { min_ms, max_ms, bytes: Held::There(bytes) });
    }

    /// Takes a chunk whose bytes `write` appends.
    pub(super) fn copy(&mut self, min_ms: i64, max_ms: i64, write: impl FnOnce(&mut Vec<u8>)) {
        let from = self.open.len();
        write(&mut self.open);
        let bytes = Held::Copied { buffer: self.buffers.len(), from, to: self.open.len() };
        self.chunks.push(Taken { min_ms, max_ms, bytes });
    }

    /// All chunks, in the order in which they were taken.
    pub fn finish(self) -> impl Iterator<Item = EncodedChunk> {
        let TakenChunks { chunks, mut buffers, open } = self;
        buffers.push(open.into());
        chunks.into_iter().map(move |Taken { min_ms, max_ms, bytes }| {
            let bytes = match bytes {
                Held::There(bytes) => bytes,
                Held::Copied { buffer, from, to } => buffers[buffer].slice(from..to),
            };
            EncodedChunk::whole(min_ms, max_ms, bytes)
        })
    }
}
