//! A partition of the head: the samples of one window, or the late ones, of all tenants.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use hashbrown::HashMap;
use parking_lot::RwLock;
use roaring::RoaringBitmap;

use super::table::SeriesTable;
use crate::model::sample::Sample;
use crate::model::tenant::TenantId;
use crate::model::time::TimeRange;
use crate::select::EncodedChunk;

/// A random id, written with every sample in the WAL and into the block that the partition becomes: it tells recovery
/// which samples are in a block already.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(pub u128);

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for PartitionId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u128::from_str_radix(text, 16).map(PartitionId)
    }
}

/// What a partition is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionKind {
    /// The 2 h window that begins here.
    Window {
        /// Start of the window, ms.
        start_ms: i64,
    },
    /// Everything that came after its window was sealed.
    Late,
}

/// Samples of all tenants, by the dense number of the series.
pub struct Partition {
    id: PartitionId,
    kind: PartitionKind,
    created_ms: i64,
    last_write_ms: AtomicI64,
    samples: AtomicU64,
    frozen: AtomicBool,
    data: RwLock<PartitionData>,
}

#[derive(Default)]
struct PartitionData {
    range: Option<TimeRange>,
    tenants: HashMap<TenantId, TenantPart>,
}

#[derive(Default)]
struct TenantPart {
    ids: RoaringBitmap,
    series: SeriesTable,
}

impl Partition {
    /// An empty partition.
    pub fn new(id: PartitionId, kind: PartitionKind, now_ms: i64) -> Self {
        Partition {
            id,
            kind,
            created_ms: now_ms,
            last_write_ms: AtomicI64::new(now_ms),
            samples: AtomicU64::new(0),
            frozen: AtomicBool::new(false),
            data: RwLock::default(),
        }
    }

    /// Its id.
    pub fn id(&self) -> PartitionId {
        self.id
    }

    /// What it is for.
    pub fn kind(&self) -> PartitionKind {
        self.kind
    }

    /// When it was made, ms.
    pub fn created_ms(&self) -> i64 {
        self.created_ms
    }

    /// When it last took a sample, ms.
    pub fn last_write_ms(&self) -> i64 {
        self.last_write_ms.load(Ordering::Relaxed)
    }

    /// How many samples it took, repeated ones included.
    pub fn samples(&self) -> u64 {
        self.samples.load(Ordering::Relaxed)
    }

    /// Lets it take no more writes; it is about to be sealed.
    pub fn freeze(&self) {
        self.frozen.store(true, Ordering::Release);
    }

    /// Lets it take writes again, after a seal that failed.
    pub fn thaw(&self) {
        self.frozen.store(false, Ordering::Release);
    }

    /// Whether it takes no more writes.
    pub fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::Acquire)
    }

    /// Time range of its samples; empty without any.
    pub fn range(&self) -> TimeRange {
        self.data.read().range.unwrap_or(TimeRange::EMPTY)
    }

    /// Adds samples of one tenant: dense numbers and their samples; a number may come more than once.
    pub fn append<'a>(&self, tenant: &TenantId, series: impl Iterator<Item = (u32, &'a [Sample])>, now_ms: i64) {
        let mut data = self.data.write();
        let PartitionData { range, tenants } = &mut *data;
        let part = tenants.entry_ref(tenant).or_default();
        let mut bounds = range.unwrap_or(TimeRange::EMPTY);
        let mut count = 0;
        for (dense, samples) in series {
            let chunks = part.series.get_or_insert(dense, || {
                part.ids.insert(dense);
            });
            count += samples.len() as u64;
            for sample in samples {
                bounds = bounds.including(sample.timestamp_ms);
                chunks.push(*sample);
            }
        }
        *range = Some(bounds).filter(|bounds| !bounds.is_empty());
        self.samples.fetch_add(count, Ordering::Relaxed);
        self.last_write_ms.fetch_max(now_ms, Ordering::Relaxed);
    }

    /// The tenants that have samples here.
    pub fn tenants(&self) -> Vec<TenantId> {
        let mut tenants: Vec<_> = self.data.read().tenants.keys().cloned().collect();
        tenants.sort();
        tenants
    }

    /// Dense numbers of a tenant's series that have samples here.
    pub fn series_of(&self, tenant: &TenantId) -> RoaringBitmap {
        self.data.read().tenants.get(tenant).map(|part| part.ids.clone()).unwrap_or_default()
    }

    /// Keeps of `candidates` those with a chunk that overlaps `range`.
    pub fn overlapping(&self, tenant: &TenantId, candidates: &RoaringBitmap, range: TimeRange) -> RoaringBitmap {
        let data = self.data.read();
        let Some(part) = data.tenants.get(tenant) else { return RoaringBitmap::new() };
        let present = candidates & &part.ids;
        if data.range.is_some_and(|all| range.start_ms <= all.start_ms && all.end_ms <= range.end_ms) {
            return present;
        }
        present.iter().filter(|dense| part.series.get(*dense).is_some_and(|series| series.overlaps(range))).collect()
    }

    /// The chunks of one series that overlap `range`.
    pub fn chunks(&self, tenant: &TenantId, dense: u32, range: TimeRange) -> Vec<EncodedChunk> {
        let data = self.data.read();
        let series = data.tenants.get(tenant).and_then(|part| part.series.get(dense));
        series.map(|series| series.chunks(range)).unwrap_or_default()
    }
}
