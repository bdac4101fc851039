//! What must be known of a block before anything of it is read: its `meta.json` and its index's directory.

use bytes::Bytes;

use super::Shared;
use crate::block::{BlockMeta, INDEX_FILE, META_FILE};
use crate::bucket::block_key;
use crate::bucket::catalog::CatalogBlock;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::format::binary::HEADER_BYTES;
use crate::index::{IndexDirectory, TenantIndex};

/// The end of an index is fetched with so many bytes, in the hope that the directory lies within.
const TAIL_BYTES: u64 = 64 << 10;
/// A `meta.json` that is longer is none.
const META_BYTES_MAX: u64 = 16 << 20;

/// A block in a bucket.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) meta: BlockMeta,
    pub(super) directory: IndexDirectory,
}

impl Shared {
    /// The layout of a block.
    pub(super) fn layout(&self, context: &Context, block: &CatalogBlock) -> Result<std::sync::Arc<Layout>> {
        self.cache.layout(block.ulid, context, || {
            let meta = self.fetch_meta(context, block)?;
            let directory = self.fetch_directory(context, &meta)?;
            Ok(Layout { meta, directory })
        })
    }

    fn fetch_meta(&self, context: &Context, block: &CatalogBlock) -> Result<BlockMeta> {
        let key = block_key(block.ulid, META_FILE);
        context.check()?;
        self.counters.count_requests(1);
        let whole = 0..META_BYTES_MAX;
        let fetched = self.bucket.get_ranges(&key, std::slice::from_ref(&whole), context.time_left())?;
        let bytes: Bytes = fetched.and_then(|fetched| fetched.into_iter().next()).ok_or_else(|| missing(&key))?;
        self.counters.count_fetched(bytes.len());
        let meta = BlockMeta::decode(&key, &bytes)?;
        if (meta.ulid, meta.range, meta.size_bytes) != (block.ulid, block.range, block.size_bytes) {
            return Err(Error::corrupt(key, "it describes another block than the catalog names"));
        }
        Ok(meta)
    }

    fn fetch_directory(&self, context: &Context, meta: &BlockMeta) -> Result<IndexDirectory> {
        let key = block_key(meta.ulid, INDEX_FILE);
        let file_bytes = meta.index_bytes;
        if file_bytes < HEADER_BYTES as u64 {
            return Err(Error::corrupt(key, "meta.json describes an index without a header"));
        }
        let header = 0..HEADER_BYTES as u64;
        let tail = file_bytes.saturating_sub(TAIL_BYTES)..file_bytes;
        let fetched = self.fetch(context, &key, &[header, tail.clone()])?;
        let [header, end] = &fetched[..] else { return Err(missing(&key)) };
        let version = IndexDirectory::check_header(&key, header)?;
        let place = IndexDirectory::place(&key, file_bytes, end)?;
        let section = match place.start.checked_sub(tail.start) {
            Some(start) => end.slice(start as usize..(place.end - tail.start) as usize),
            None => self.fetch_one(context, &key, place.clone())?,
        };
        IndexDirectory::open(&key, version, place.start, &section)
    }
}

impl Layout {
    /// Checks a tenant's index against the whole block.
    pub(super) fn check(&self, what: &str, index: &TenantIndex) -> Result<()> {
        let range = index.range();
        let within = self.meta.range.start_ms <= range.start_ms && range.end_ms <= self.meta.range.end_ms;
        match within && u64::from(index.series_count()) <= self.meta.series {
            true => Ok(()),
            false => Err(Error::corrupt(what, "its series and times are not those that meta.json describes")),
        }
    }

    /// About what it takes in memory.
    pub(super) fn memory_bytes(&self) -> usize {
        let sources = self.meta.sources.iter().map(|source| source.len() + size_of::<String>()).sum::<usize>();
        size_of::<Layout>() + sources + self.directory.memory_bytes()
    }
}

fn missing(key: &str) -> Error {
    Error::MissingObject(key.to_owned())
}
