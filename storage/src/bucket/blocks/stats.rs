//! What reading the bucket costs.

use std::sync::atomic::{AtomicU64, Ordering};

use super::cache::Cache;

/// What was asked of the bucket and of the cache, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BucketStats {
    /// Ranges asked for.
    pub requests: u64,
    /// Bytes that came.
    pub fetched_bytes: u64,
    /// Pages of chunks that the cache had.
    pub page_hits: u64,
    /// Pages of chunks that it had not.
    pub page_misses: u64,
    /// Indexes and layouts that the cache had.
    pub index_hits: u64,
    /// Indexes and layouts that it had not.
    pub index_misses: u64,
    /// Bytes in the cache now.
    pub cached_bytes: u64,
}

#[derive(Default)]
pub(super) struct Counters {
    requests: AtomicU64,
    fetched_bytes: AtomicU64,
}

impl Counters {
    pub(super) fn count_requests(&self, requests: usize) {
        self.requests.fetch_add(requests as u64, Ordering::Relaxed);
    }

    pub(super) fn count_fetched(&self, bytes: usize) {
        self.fetched_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn stats(&self, cache: &Cache) -> BucketStats {
        BucketStats {
            requests: self.requests.load(Ordering::Relaxed),
            fetched_bytes: self.fetched_bytes.load(Ordering::Relaxed),
            ..cache.stats()
        }
    }
}
