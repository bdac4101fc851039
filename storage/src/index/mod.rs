//! Indexes: from matchers to series. [`PostingsIndex`] lives in a head and changes; a block's index is a file that is
//! built once and read in place (`docs/format/index.md`). Both answer through one algorithm, `matching`.

mod builder;
mod directory;
mod label_lists;
mod labels_table;
pub(crate) mod matching;
mod pairs;
mod postings;
mod reader;
mod selection;
mod series_table;
mod symbols;

pub(crate) use builder::{IndexBuilder, TenantBuilder};
pub(crate) use directory::IndexDirectory;
pub use postings::PostingsIndex;
pub(crate) use reader::{IndexFile, TenantIndex};

use crate::format::binary::CRC_BYTES;

/// Begins an index file.
const MAGIC: [u8; 4] = *b"MGIX";
/// Ends an index file.
const FOOTER_MAGIC: [u8; 4] = *b"XIGM";
/// Version of the index file.
const VERSION: u32 = 1;
/// Sections per tenant: symbols, series, labels, postings.
const SECTIONS: usize = 4;
/// What lies between two chunks of a series in the chunks file: the checksum of the first.
pub(crate) const CHUNK_GAP_BYTES: u64 = CRC_BYTES as u64;

/// Where a chunk lies in the chunks file, and which time it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkRef {
    /// First timestamp.
    pub(crate) min_ms: i64,
    /// Last timestamp.
    pub(crate) max_ms: i64,
    /// First byte in the file.
    pub(crate) offset: u64,
    /// Length without the checksum that follows.
    pub(crate) length: u32,
}

#[cfg(test)]
pub(crate) mod suite;
