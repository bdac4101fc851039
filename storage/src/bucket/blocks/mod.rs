//! Reads blocks where they lie in a bucket, by few range requests.
//!
//! A select:
//! 1. Of every block that overlaps the range, the layout (`meta.json` and the index's directory) is fetched, then the
//!    tenant's part of the index, in one request; both are kept in the cache. Blocks are looked at in parallel.
//! 2. Matchers are resolved, and of every series its labels and the places of its chunks are noted; the index is let go.
//! 3. The series are sorted by (id, replica), and taken in windows whose chunks fit into a part of the query's budget.
//! 4. A window's chunks are read in the order in which they lie in their files: pages that the cache has not are fetched
//!    in few large ranges, neighbours in one. Every chunk is checked against its checksum, and copied out of the pages.
//! 5. The window's series are yielded in order.
//!
//! Nothing that is read changes: an object that a catalog names is there until long after a later one no longer names
//! it. So a missing object means that the catalog is old ([`Error::MissingObject`]).

mod cache;
mod layout;
mod parallel;
mod plan;
mod stats;
mod stream;
mod window;

pub use stats::BucketStats;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use ulid::Ulid;

use super::catalog::CatalogBlock;
use super::{Bucket, block_key};
use crate::block::INDEX_FILE;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::index::TenantIndex;
use crate::model::labels::Labels;
use crate::model::matcher::Matcher;
use crate::model::time::TimeRange;
use crate::select::{Found, FoundHere, SelectRequest, SeriesStream};
use cache::Cache;
use layout::Layout;
use parallel::in_parallel;
use stats::Counters;

/// Blocks that are looked at, or read from, at the same time.
const BLOCKS_AT_ONCE: usize = 8;

/// The blocks of a bucket, read in place through one cache. Cheap to clone.
#[derive(Clone)]
pub struct BucketBlocks {
    shared: Arc<Shared>,
}

struct Shared {
    bucket: Arc<dyn Bucket>,
    cache: Cache,
    counters: Counters,
}

/// A block in which a query's tenant has series.
struct Part {
    ulid: Ulid,
    layout: Arc<Layout>,
    /// Where the tenant's sections lie in the index.
    sections: Range<u64>,
}

impl fmt::Debug for BucketBlocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BucketBlocks").field("bucket", &self.shared.bucket).finish_non_exhaustive()
    }
}

impl BucketBlocks {
    /// Reads from `bucket`, and keeps up to `cache_bytes` of what was read.
    pub fn new(bucket: Arc<dyn Bucket>, cache_bytes: u64) -> Self {
        let shared = Shared { bucket, cache: Cache::new(cache_bytes), counters: Counters::default() };
        BucketBlocks { shared: Arc::new(shared) }
    }

    /// What was asked of the bucket and of the cache so far.
    pub fn stats(&self) -> BucketStats {
        self.shared.counters.stats(&self.shared.cache)
    }

    /// The series of `blocks` that match, with all chunks that overlap the range. See [`SeriesStream`].
    ///
    /// # Errors
    /// The context's; the bucket's; [`Error::MissingObject`]; [`Error::Corrupt`].
    pub fn select(
        &self,
        context: &Context,
        request: SelectRequest<'_>,
        blocks: &[CatalogBlock],
    ) -> Result<Box<dyn SeriesStream>> {
        let parts = self.shared.parts(context, request.range, blocks)?;
        Ok(Box::new(stream::open(&self.shared, context, request, parts)?))
    }

    /// Label sets of the series of `blocks` that match any of `selectors` (none: all series) and have samples near
    /// `range`: sorted, without duplicates, at most `limit` (0: all).
    ///
    /// # Errors
    /// As for [`BucketBlocks::select`].
    pub fn series(
        &self,
        context: &Context,
        blocks: &[CatalogBlock],
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<Labels>> {
        let found = Mutex::new(Found::default());
        self.shared.visit(context, blocks, selectors, range, |index, matchers| {
            let (mut here, mut cursor) = (FoundHere::new(context)?, index.cursor());
            for series in &index.select(matchers, range)? {
                cursor.seek(series)?;
                here.push(cursor.labels()?.0)?;
            }
            found.lock().add(here)
        })?;
        Ok(found.into_inner().into_sorted(limit))
    }

    /// Names of the labels of those series, sorted.
    ///
    /// # Errors
    /// As for [`BucketBlocks::select`].
    pub fn label_names(
        &self,
        context: &Context,
        blocks: &[CatalogBlock],
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>> {
        let found = Mutex::new(Found::default());
        self.shared.visit(context, blocks, selectors, range, |index, matchers| {
            let names = index.label_names(matchers, range)?;
            found.lock().add(FoundHere::of(context, names)?)
        })?;
        Ok(found.into_inner().into_sorted(limit))
    }

    /// Values of the label `name` of those series, sorted.
    ///
    /// # Errors
    /// As for [`BucketBlocks::select`].
    pub fn label_values(
        &self,
        context: &Context,
        blocks: &[CatalogBlock],
        name: &str,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>> {
        let found = Mutex::new(Found::default());
        self.shared.visit(context, blocks, selectors, range, |index, matchers| {
            let values = index.label_values(name, matchers, range)?;
            found.lock().add(FoundHere::of(context, values)?)
        })?;
        Ok(found.into_inner().into_sorted(limit))
    }
}

impl Shared {
    /// The blocks that overlap the range and hold series of the tenant.
    fn parts(&self, context: &Context, range: TimeRange, blocks: &[CatalogBlock]) -> Result<Vec<Part>> {
        context.check()?;
        let blocks: Vec<&CatalogBlock> = blocks.iter().filter(|block| block.range.overlaps(range)).collect();
        let parts = in_parallel(&blocks, BLOCKS_AT_ONCE, |block| {
            let layout = self.layout(context, block)?;
            let sections = layout.directory.sections(context.tenant());
            Ok(sections.map(|sections| Part { ulid: block.ulid, layout, sections }))
        })?;
        Ok(parts.into_iter().flatten().collect())
    }

    /// Calls `visit` with the tenant's index of each block and each selector.
    fn visit(
        &self,
        context: &Context,
        blocks: &[CatalogBlock],
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        visit: impl Fn(&TenantIndex, &[Matcher]) -> Result<()> + Sync,
    ) -> Result<()> {
        let everything = [Vec::new()];
        let selectors = if selectors.is_empty() { &everything[..] } else { selectors };
        let parts = self.parts(context, range, blocks)?;
        in_parallel(&parts, index_threads(context, &parts), |part| {
            let _held = context.reserve(part.index_bytes())?;
            let index = self.index(context, part)?;
            for matchers in selectors {
                context.check()?;
                visit(&index, matchers)?;
            }
            Ok(())
        })?;
        Ok(())
    }

    /// The tenant's index of a block.
    fn index(&self, context: &Context, part: &Part) -> Result<Arc<TenantIndex>> {
        self.cache.index(part.ulid, context, || {
            let key = block_key(part.ulid, INDEX_FILE);
            let sections = self.fetch_one(context, &key, part.sections.clone())?;
            let chunks_bytes = part.layout.meta.chunks_bytes;
            let index = part.layout.directory.open_tenant(&key, context.tenant(), &sections, chunks_bytes)?;
            part.layout.check(&key, &index)?;
            Ok((index, part.index_bytes()))
        })
    }

    /// The bytes of some ranges of an object.
    fn fetch(&self, context: &Context, key: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        context.check()?;
        self.counters.count_requests(ranges.len());
        let fetched = self.bucket.get_ranges(key, ranges, context.time_left())?;
        let fetched = fetched.ok_or_else(|| Error::MissingObject(key.to_owned()))?;
        self.counters.count_fetched(fetched.iter().map(Bytes::len).sum());
        let short = |(range, bytes): (&Range<u64>, &Bytes)| bytes.len() as u64 != range.end - range.start;
        match fetched.len() != ranges.len() || ranges.iter().zip(&fetched).any(short) {
            true => Err(Error::corrupt(key, "it is shorter than its block's meta.json describes")),
            false => Ok(fetched),
        }
    }

    /// The bytes of one range of an object.
    fn fetch_one(&self, context: &Context, key: &str, range: Range<u64>) -> Result<Bytes> {
        let fetched = self.fetch(context, key, std::slice::from_ref(&range))?;
        Ok(fetched.into_iter().next().unwrap_or_default())
    }
}

impl Part {
    fn index_bytes(&self) -> u64 {
        self.sections.end - self.sections.start
    }
}

/// How many indexes may be open at once so that they fit into half of what the query may still hold.
fn index_threads(context: &Context, parts: &[Part]) -> usize {
    let largest = parts.iter().map(Part::index_bytes).max().unwrap_or(0).max(1);
    usize::try_from(context.budget_left() / 2 / largest).unwrap_or(usize::MAX).clamp(1, BLOCKS_AT_ONCE)
}

#[cfg(test)]
mod tests;
