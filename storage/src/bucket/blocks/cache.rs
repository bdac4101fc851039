//! What was read of a bucket, up to so many bytes in all: layouts and indexes of blocks, and pages of their chunks.
//!
//! Whoever finds a thing missing gets a guard, and fetches it; others who want the same thing wait for him, each until its
//! own deadline. If he fails, the next one gets the guard. Several guards are taken in ascending order of pages, of one
//! block at a time, so that nobody waits in a circle.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use quick_cache::sync::{DefaultLifecycle, GuardResult, PlaceholderGuard};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use ulid::Ulid;

use super::layout::Layout;
use super::stats::BucketStats;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::index::TenantIndex;
use crate::model::tenant::TenantId;

/// Length of a page of a chunks file; the last one may be shorter.
pub(super) const PAGE_BYTES: u64 = 64 << 10;
/// About what an entry takes beside its bytes.
const ENTRY_BYTES: u64 = 128;
/// About how large an entry is on average, from which the cache's tables are sized.
const ENTRY_BYTES_EXPECTED: u64 = 32 << 10;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Layout(Ulid),
    Index(Ulid, TenantId),
    Page(Ulid, u32),
}

#[derive(Clone)]
enum Value {
    Layout(Arc<Layout>),
    Index { index: Arc<TenantIndex>, bytes: u64 },
    Page(Bytes),
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, Value> for ByBytes {
    fn weight(&self, _key: &Key, value: &Value) -> u64 {
        let bytes = match value {
            Value::Layout(layout) => layout.memory_bytes() as u64,
            Value::Index { bytes, .. } => *bytes,
            Value::Page(page) => page.len() as u64,
        };
        bytes + ENTRY_BYTES
    }
}

type Lifecycle = DefaultLifecycle<Key, Value>;
type Inner = quick_cache::sync::Cache<Key, Value, ByBytes, DefaultHashBuilder, Lifecycle>;

pub(super) struct Cache {
    inner: Inner,
    page_hits: AtomicU64,
    page_misses: AtomicU64,
    index_hits: AtomicU64,
    index_misses: AtomicU64,
}

/// A page, or the duty to fetch it.
pub(super) enum Page<'a> {
    Found(Bytes),
    ToFetch(PageGuard<'a>),
}

/// Whoever holds it fetches the page. Dropped without that, it passes on to the next who wants it.
pub(super) struct PageGuard<'a>(PlaceholderGuard<'a, Key, Value, ByBytes, DefaultHashBuilder, Lifecycle>);

impl PageGuard<'_> {
    /// The page has come.
    pub(super) fn fill(self, page: Bytes) {
        // It fails where the entry was removed meanwhile, which nobody does.
        let _ = self.0.insert(Value::Page(page));
    }
}

impl Cache {
    /// A cache of so many bytes.
    pub(super) fn new(capacity_bytes: u64) -> Self {
        let expected = usize::try_from(capacity_bytes / ENTRY_BYTES_EXPECTED).unwrap_or(usize::MAX).clamp(16, 1 << 20);
        // One shard: what is larger than a shard would never be kept, and indexes may be large.
        let options =
            OptionsBuilder::new().shards(1).estimated_items_capacity(expected).weight_capacity(capacity_bytes).build();
        let inner = match options {
            Ok(options) => Inner::with_options(options, ByBytes, DefaultHashBuilder::default(), Lifecycle::default()),
            // Not reached: all options are given.
            Err(_) => {
                Inner::with(expected, capacity_bytes, ByBytes, DefaultHashBuilder::default(), Lifecycle::default())
            }
        };
        let zero = AtomicU64::default;
        Cache { inner, page_hits: zero(), page_misses: zero(), index_hits: zero(), index_misses: zero() }
    }

    /// The layout of a block; `load` fetches it.
    pub(super) fn layout(
        &self,
        ulid: Ulid,
        context: &Context,
        load: impl FnOnce() -> Result<Layout>,
    ) -> Result<Arc<Layout>> {
        let loaded = self.get_or_load(Key::Layout(ulid), context, || Ok(Value::Layout(Arc::new(load()?))))?;
        match loaded {
            Value::Layout(layout) => Ok(layout),
            Value::Index { .. } | Value::Page(_) => Err(another_kind()),
        }
    }

    /// The index of the context's tenant in a block; `load` fetches it and says how many bytes it holds.
    pub(super) fn index(
        &self,
        ulid: Ulid,
        context: &Context,
        load: impl FnOnce() -> Result<(TenantIndex, u64)>,
    ) -> Result<Arc<TenantIndex>> {
        let loaded = self.get_or_load(Key::Index(ulid, context.tenant().clone()), context, || {
            let (index, bytes) = load()?;
            Ok(Value::Index { index: Arc::new(index), bytes })
        })?;
        match loaded {
            Value::Index { index, .. } => Ok(index),
            Value::Layout(_) | Value::Page(_) => Err(another_kind()),
        }
    }

    fn get_or_load(&self, key: Key, context: &Context, load: impl FnOnce() -> Result<Value>) -> Result<Value> {
        match self.inner.get_value_or_guard(&key, context.time_left()) {
            GuardResult::Value(value) => {
                self.index_hits.fetch_add(1, Ordering::Relaxed);
                Ok(value)
            }
            GuardResult::Guard(guard) => {
                self.index_misses.fetch_add(1, Ordering::Relaxed);
                let value = load()?;
                let _ = guard.insert(value.clone());
                Ok(value)
            }
            GuardResult::Timeout => Err(Error::Timeout),
        }
    }

    /// A page of a block's chunks file.
    pub(super) fn page(&self, ulid: Ulid, page: u32, context: &Context) -> Result<Page<'_>> {
        match self.inner.get_value_or_guard(&Key::Page(ulid, page), context.time_left()) {
            GuardResult::Value(Value::Page(bytes)) => {
                self.page_hits.fetch_add(1, Ordering::Relaxed);
                Ok(Page::Found(bytes))
            }
            GuardResult::Value(_) => Err(another_kind()),
            GuardResult::Guard(guard) => {
                self.page_misses.fetch_add(1, Ordering::Relaxed);
                Ok(Page::ToFetch(PageGuard(guard)))
            }
            GuardResult::Timeout => Err(Error::Timeout),
        }
    }

    pub(super) fn stats(&self) -> BucketStats {
        BucketStats {
            page_hits: self.page_hits.load(Ordering::Relaxed),
            page_misses: self.page_misses.load(Ordering::Relaxed),
            index_hits: self.index_hits.load(Ordering::Relaxed),
            index_misses: self.index_misses.load(Ordering::Relaxed),
            cached_bytes: self.inner.weight(),
            ..BucketStats::default()
        }
    }
}

#[cold]
fn another_kind() -> Error {
    Error::corrupt("the cache of the bucket", "a key holds a value of another kind")
}
