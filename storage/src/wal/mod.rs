//! The write-ahead log: what was acknowledged and is not yet in a block.
//!
//! 1. A commit group (the writes of one or more requests) becomes one *frame*: a header with its own position, the
//!    position that was durable when it was written, and checksums; then *records* ([`record`]).
//! 2. [`writer::WalWriter::commit`] writes the frame and fsyncs; only then is anybody answered.
//! 3. Frames lie in *segments*. A segment is self-contained: it names every series that it refers to, so that one goes
//!    without another, and a broken one costs only itself. A new segment begins at every start, at every cut of the head,
//!    and when the current one is large.
//! 4. Once every partition of the head that a segment holds samples of is in a published block, it is removed.
//! 5. Recovery ([`scan`]) reads what is whole. Damage at or above the highest position known to be durable is the torn
//!    tail of a write that nobody was told of, and is cut. Damage below it is reported; the log goes on behind it.
//!
//! `docs/format/wal.md` has the bytes.

pub mod frame;
pub mod record;
pub mod scan;
pub mod writer;

/// Name of a segment's file.
pub(crate) fn segment_file_name(number: u64) -> String {
    format!("{number:020}.wal")
}

/// The number in a segment's file name.
pub(crate) fn segment_number(file_name: &str) -> Option<u64> {
    let digits = file_name.strip_suffix(".wal")?;
    if digits.len() != 20 {
        return None;
    }
    digits.parse().ok()
}

#[cfg(test)]
mod scan_test;
