//! `meta.json`: what a block is, without opening it. Written last.

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::{CHUNKS_FILE, INDEX_FILE, META_FILE};
use crate::error::{Error, Result};
use crate::format::json;
use crate::model::time::TimeRange;

const FORMAT: &str = "marigram-block";
const VERSION: u32 = 1;
/// Level of a block that was sealed from a head; compaction counts up.
pub(super) const LEVEL_SEALED: u8 = 1;

/// Describes a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockMeta {
    /// Its name.
    pub ulid: Ulid,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// First and last timestamp of all samples.
    pub range: TimeRange,
    /// 1: sealed from a head.
    pub level: u8,
    /// Series of all tenants.
    pub series: u64,
    /// Samples of all series.
    pub samples: u64,
    /// Length of the index and chunks files together.
    pub size_bytes: u64,
    /// What it was made from: names of other blocks, or whatever its maker tells apart by.
    pub sources: Vec<String>,
    /// Length of the index file.
    pub(crate) index_bytes: u64,
    /// Length of the chunks file.
    pub(crate) chunks_bytes: u64,
}

/// As it stands in the file.
#[derive(Serialize, Deserialize)]
struct Document {
    ulid: String,
    created_ms: i64,
    min_ms: i64,
    max_ms: i64,
    level: u8,
    series: u64,
    samples: u64,
    index_bytes: u64,
    chunks_bytes: u64,
    sources: Vec<String>,
}

/// A file of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockFile {
    /// The description.
    Meta,
    /// Series, labels, postings.
    Index,
    /// The samples.
    Chunks,
}

impl BlockFile {
    /// Its name in the block's directory.
    pub fn name(self) -> &'static str {
        match self {
            BlockFile::Meta => META_FILE,
            BlockFile::Index => INDEX_FILE,
            BlockFile::Chunks => CHUNKS_FILE,
        }
    }

    /// The file of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [BlockFile::Meta, BlockFile::Index, BlockFile::Chunks].into_iter().find(|file| file.name() == name)
    }
}

impl BlockMeta {
    /// The files of a block, by name; the description, without which the others mean nothing, last.
    pub const FILES: [&str; 3] = [CHUNKS_FILE, INDEX_FILE, META_FILE];

    /// The bytes of the file.
    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let document = Document {
            ulid: self.ulid.to_string(),
            created_ms: self.created_ms,
            min_ms: self.range.start_ms,
            max_ms: self.range.end_ms,
            level: self.level,
            series: self.series,
            samples: self.samples,
            index_bytes: self.index_bytes,
            chunks_bytes: self.chunks_bytes,
            sources: self.sources.clone(),
        };
        json::seal(FORMAT, VERSION, &document)
    }

    /// Reads the bytes of a `meta.json`; `what` names the file in errors.
    ///
    /// # Errors
    /// [`Error::Corrupt`], or [`Error::UnknownVersion`].
    pub fn decode(what: &str, bytes: &[u8]) -> Result<Self> {
        let document: Document = json::open(what, FORMAT, VERSION, bytes)?;
        let ulid = parse_ulid(&document.ulid).ok_or_else(|| Error::corrupt(what, "ulid: not a ULID"))?;
        let range = TimeRange { start_ms: document.min_ms, end_ms: document.max_ms };
        let size = document.index_bytes.checked_add(document.chunks_bytes);
        let size_bytes = size.ok_or_else(|| Error::corrupt(what, "the sizes overflow"))?;
        if range.is_empty() || document.series == 0 || document.samples < document.series {
            return Err(Error::corrupt(what, "it describes a block without samples"));
        }
        Ok(BlockMeta {
            ulid,
            created_ms: document.created_ms,
            range,
            level: document.level,
            series: document.series,
            samples: document.samples,
            size_bytes,
            sources: document.sources,
            index_bytes: document.index_bytes,
            chunks_bytes: document.chunks_bytes,
        })
    }
}

/// A ULID in its one canonical text.
pub(crate) fn parse_ulid(text: &str) -> Option<Ulid> {
    Ulid::from_string(text).ok().filter(|ulid| ulid.to_string() == text)
}
