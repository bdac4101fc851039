//! What the store tells of itself.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Db;
use crate::bucket::catalog::CatalogBlock;
use crate::index::Cardinality;
use crate::model::tenant::TenantId;
use crate::model::time::TimeRange;

/// Counts since the start.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) wal_bytes: AtomicU64,
    pub(super) wal_commits: AtomicU64,
    pub(super) series_created: AtomicU64,
    pub(super) blocks_sealed: AtomicU64,
    pub(super) blocks_dropped: AtomicU64,
}

/// A moment's figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DbStats {
    /// Series in the head, all tenants.
    pub head_series: u64,
    /// Samples in the head, repeated ones included.
    pub head_samples: u64,
    /// Partitions of the head.
    pub head_partitions: u64,
    /// Tenants with series or metadata.
    pub tenants: u64,
    /// Series that the head met for the first time, since the start.
    pub series_created: u64,
    /// Bytes written to the WAL, since the start.
    pub wal_bytes: u64,
    /// Commit groups (and fsyncs) of the WAL, since the start.
    pub wal_commits: u64,
    /// Segment files of the WAL.
    pub wal_segments: u64,
    /// Blocks that queries read.
    pub blocks: u64,
    /// Their size, bytes.
    pub block_bytes: u64,
    /// Their samples.
    pub block_samples: u64,
    /// Blocks sealed since the start.
    pub blocks_sealed: u64,
    /// Blocks dropped since the start: by retention, or because the bucket covers them.
    pub blocks_dropped: u64,
    /// Losses that were found and not accepted.
    pub damage: u64,
    /// Losses that were accepted.
    pub damage_accepted: u64,
    /// Number of the newest catalog.
    pub catalog_number: u64,
}

/// A tenant's part of the head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadOverview {
    /// Its series.
    pub series: u64,
    /// Chunks that take samples: one for each series and window.
    pub open_chunks: u64,
    /// First and last timestamp of the windows in which it has samples; empty without any.
    pub range: TimeRange,
    /// Which of its names and values have the most series.
    pub cardinality: Cardinality,
}

impl Db {
    /// A tenant's part of the head, with lists of at most `limit` entries. Looks at every pair of label and value.
    pub fn head_overview(&self, tenant: &TenantId, limit: usize) -> HeadOverview {
        let mut range = TimeRange::EMPTY;
        let mut open_chunks = 0;
        for partition in self.head.partitions() {
            let chunks = partition.series_of(tenant).len();
            if chunks > 0 {
                let of = partition.range();
                range = range.including(of.start_ms).including(of.end_ms);
                open_chunks += chunks;
            }
        }
        let (series, cardinality) = match self.head.tenant(tenant) {
            Some(head) => {
                let index = head.lookup();
                (index.len() as u64, index.postings().cardinality(limit))
            }
            None => (0, Cardinality::default()),
        };
        HeadOverview { series, open_chunks, range, cardinality }
    }

    /// The blocks that the newest catalog names.
    pub fn catalog_blocks(&self) -> Vec<CatalogBlock> {
        self.catalog.blocks()
    }

    /// The figures of this moment.
    pub fn stats(&self) -> DbStats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let partitions = self.head.partitions();
        let tenants = self.head.tenants();
        let blocks = self.blocks.load();
        let (accepted, open): (Vec<_>, Vec<_>) = self.damage.lock().iter().cloned().partition(|d| d.accepted);
        DbStats {
            head_series: tenants.iter().map(|(_, head)| head.lookup().len() as u64).sum(),
            head_samples: partitions.iter().map(|p| p.samples()).sum(),
            head_partitions: partitions.len() as u64,
            tenants: tenants.len() as u64,
            series_created: load(&self.counters.series_created),
            wal_bytes: load(&self.counters.wal_bytes),
            wal_commits: load(&self.counters.wal_commits),
            wal_segments: self.wal_segments.load(Ordering::Relaxed),
            blocks: blocks.len() as u64,
            block_bytes: blocks.iter().map(|b| b.meta().size_bytes).sum(),
            block_samples: blocks.iter().map(|b| b.meta().samples).sum(),
            blocks_sealed: load(&self.counters.blocks_sealed),
            blocks_dropped: load(&self.counters.blocks_dropped),
            damage: open.len() as u64,
            damage_accepted: accepted.len() as u64,
            catalog_number: self.catalog.number(),
        }
    }

    /// Why no writes are taken any more, if so: a write or fsync of the WAL failed, and only a restart recovers.
    pub fn poisoned(&self) -> Option<String> {
        self.poison.get().cloned()
    }
}
