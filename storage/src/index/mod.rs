//! Indexes: from matchers to series. [`PostingsIndex`] lives in a head and changes; a block's index is a file that is
//! built once and read in place (`docs/format/index.md`). Both answer through one algorithm, `matching`.
//!
//! Files of version 1 are still read (`v1`); written is version 2, by `builder`, in four sections per tenant: `labels`,
//! `lists` (postings), `times`, `groups` (series).

mod builder;
mod cardinality;
mod cursor;
mod directory;
mod groups;
mod intern;
mod label_lists;
mod labels;
mod lists;
pub(crate) mod matching;
mod packed;
mod pairs;
mod postings;
mod predict;
mod reader;
mod selection;
mod times;
mod v1;
mod v2;

pub(crate) use builder::{IndexBuilder, TenantBuilder};
pub use cardinality::{Cardinality, CardinalityBuilder, Count};
pub(crate) use cursor::SeriesCursor;
pub(crate) use directory::IndexDirectory;
pub(crate) use groups::INLINE_BYTES_MAX;
pub use postings::PostingsIndex;
pub(crate) use reader::{IndexFile, TenantIndex};

use crate::format::binary::CRC_BYTES;

/// Begins an index file.
const MAGIC: [u8; 4] = *b"MGIX";
/// Ends an index file.
const FOOTER_MAGIC: [u8; 4] = *b"XIGM";
/// Version of the index files that are written.
const VERSION: u32 = 2;
/// Version of the index files that are still read.
const VERSION_OLD: u32 = 1;
/// Sections per tenant, in either version.
const SECTIONS: usize = 4;
/// What lies between two chunks of a series in the chunks file: the checksum of the first.
pub(crate) const CHUNK_GAP_BYTES: u64 = CRC_BYTES as u64;

/// Where a chunk is, and which time it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkRef {
    /// First timestamp.
    pub(crate) min_ms: i64,
    /// Last timestamp.
    pub(crate) max_ms: i64,
    /// Number of the tenant's column of timestamps that it goes with; 0: it holds its own.
    pub(crate) times: u32,
    /// Where its bytes are.
    pub(crate) place: ChunkPlace,
}

/// Where the bytes of a chunk are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChunkPlace {
    /// In the chunks file.
    File {
        /// First byte in the file.
        offset: u64,
        /// Length without the checksum that follows.
        length: u32,
    },
    /// In the index.
    Inline {
        /// The bytes, and zeros.
        bytes: [u8; INLINE_BYTES_MAX],
        /// How many of them are the chunk.
        length: u8,
    },
}

impl ChunkPlace {
    /// Where the checksum behind it ends in the chunks file; `None` if it does not lie there, or nowhere.
    pub(crate) fn end(&self) -> Option<u64> {
        match self {
            ChunkPlace::File { offset, length } => offset.checked_add(u64::from(*length))?.checked_add(CHUNK_GAP_BYTES),
            ChunkPlace::Inline { .. } => None,
        }
    }

    /// The bytes of a chunk that stands in the index.
    pub(crate) fn inline(&self) -> Option<&[u8]> {
        match self {
            ChunkPlace::Inline { bytes, length } => bytes.get(..usize::from(*length)),
            ChunkPlace::File { .. } => None,
        }
    }

    /// Length of the chunk, without a checksum.
    pub(crate) fn length(&self) -> u32 {
        match self {
            ChunkPlace::File { length, .. } => *length,
            ChunkPlace::Inline { length, .. } => u32::from(*length),
        }
    }
}

#[cfg(test)]
pub(crate) mod suite;
