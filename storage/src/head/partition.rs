//! A partition of the head: the samples of one window, or the late ones, of all tenants.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use hashbrown::HashMap;
use parking_lot::{RwLock, RwLockWriteGuard};
use roaring::RoaringBitmap;

use super::series::{Bytes, SeriesState, first_chunk_samples};
use super::slab::Slabs;
use super::spill::{Spill, SpillDir};
use super::table::{PAGE, SeriesTable};
use super::taken::TakenChunks;
use crate::model::histogram::HistogramSample;
use crate::model::sample::Sample;
use crate::model::start::StartTime;
use crate::model::tenant::TenantId;
use crate::model::time::TimeRange;

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
    min_ms: AtomicI64,
    max_ms: AtomicI64,
    spill: SpillDir,
    tenants: RwLock<HashMap<TenantId, Arc<TenantPart>>>,
}

/// Shards of a tenant in a partition: writers of different series meet less often.
const SHARDS: usize = 8;

/// Series that are looked at before writers have their turn.
const SERIES_AT_ONCE: usize = 256;

struct TenantPart {
    shards: [RwLock<Shard>; SHARDS],
}

struct Shard {
    ids: RoaringBitmap,
    series: SeriesTable,
    bytes: Bytes,
}

/// Neighbouring numbers lie in one shard, page by page: shard, page in the shard, place in the page.
#[inline]
fn place_of(dense: u32) -> (usize, usize, usize) {
    let page = dense as usize / PAGE;
    (page % SHARDS, page / SHARDS, dense as usize % PAGE)
}

impl TenantPart {
    fn new(spill: &SpillDir, name: &str) -> Self {
        let shard = |number| {
            let spill = Spill::new(spill.clone(), format!("{name}-{number}"));
            let bytes = Bytes { slabs: Slabs::default(), spill, scratch: Vec::new() };
            RwLock::new(Shard { ids: RoaringBitmap::new(), series: SeriesTable::default(), bytes })
        };
        TenantPart { shards: std::array::from_fn(shard) }
    }
}

impl Shard {
    #[inline]
    fn push(&mut self, dense: u32, samples: &[Sample]) {
        let (series, bytes) = self.series(dense);
        for sample in samples {
            series.push(*sample, first_chunk_samples(dense), bytes);
        }
    }

    fn push_histograms(&mut self, dense: u32, samples: &[HistogramSample]) {
        let (series, bytes) = self.series(dense);
        for sample in samples {
            series.push_histogram(sample, bytes);
        }
    }

    /// Where the series is not here, the log has lost its samples.
    fn push_start(&mut self, dense: u32, start: StartTime) {
        if self.get(dense).is_some() {
            let (series, bytes) = self.series(dense);
            series.push_start(start, bytes);
        }
    }

    /// A series, made if it is not here, and where its bytes are.
    #[inline]
    fn series(&mut self, dense: u32) -> (&mut SeriesState, &mut Bytes) {
        let (_, page, place) = place_of(dense);
        let (series, made) = self.series.get_or_insert(page, place);
        if made {
            self.ids.insert(dense);
        }
        (series, &mut self.bytes)
    }

    fn get(&self, dense: u32) -> Option<&SeriesState> {
        let (_, page, place) = place_of(dense);
        self.series.get(page, place)
    }
}

impl Partition {
    /// An empty partition, whose full chunks go to `spill`.
    pub fn new(id: PartitionId, kind: PartitionKind, now_ms: i64, spill: &SpillDir) -> Self {
        Partition {
            id,
            kind,
            created_ms: now_ms,
            last_write_ms: AtomicI64::new(now_ms),
            samples: AtomicU64::new(0),
            frozen: AtomicBool::new(false),
            min_ms: AtomicI64::new(TimeRange::EMPTY.start_ms),
            max_ms: AtomicI64::new(TimeRange::EMPTY.end_ms),
            spill: spill.clone(),
            tenants: RwLock::default(),
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
        TimeRange { start_ms: self.min_ms.load(Ordering::Acquire), end_ms: self.max_ms.load(Ordering::Acquire) }
    }

    /// Adds samples of one tenant: dense numbers and their samples; a number may come more than once.
    pub fn append<'a>(&self, tenant: &TenantId, series: impl Iterator<Item = (u32, &'a [Sample])>, now_ms: i64) {
        self.append_share(tenant, series, now_ms, (0, 1));
    }

    /// Adds the samples of those series that lie in a share of the shards: this number, of so many.
    pub fn append_share<'a>(
        &self,
        tenant: &TenantId,
        series: impl Iterator<Item = (u32, &'a [Sample])>,
        now_ms: i64,
        share: (usize, usize),
    ) {
        self.append_with(tenant, series, now_ms, share, |sample| sample.timestamp_ms, Shard::push);
    }

    /// Adds the histograms of those series that lie in a share of the shards.
    pub fn append_histograms<'a>(
        &self,
        tenant: &TenantId,
        series: impl Iterator<Item = (u32, &'a [HistogramSample])>,
        now_ms: i64,
        share: (usize, usize),
    ) {
        self.append_with(tenant, series, now_ms, share, |sample| sample.timestamp_ms, Shard::push_histograms);
    }

    /// Adds the start timestamps of those series that lie in a share of the shards; their samples were added before.
    pub fn append_starts(
        &self,
        tenant: &TenantId,
        starts: impl Iterator<Item = (u32, StartTime)>,
        (number, shares): (usize, usize),
    ) {
        let part = self.part_or_insert(tenant);
        for (dense, start) in starts {
            let shard_number = place_of(dense).0;
            if shares == 1 || shard_number % shares == number {
                part.shards[shard_number].write().push_start(dense, start);
            }
        }
    }

    #[inline]
    fn append_with<'a, T: 'a>(
        &self,
        tenant: &TenantId,
        series: impl Iterator<Item = (u32, &'a [T])>,
        now_ms: i64,
        (number, shares): (usize, usize),
        time_ms: impl Fn(&T) -> i64,
        push: impl Fn(&mut Shard, u32, &[T]),
    ) {
        let part = self.part_or_insert(tenant);
        let mut bounds = TimeRange::EMPTY;
        let mut count = 0;
        let mut held: Option<(usize, RwLockWriteGuard<'_, Shard>)> = None;
        series.for_each(|(dense, samples)| {
            let shard_number = place_of(dense).0;
            if shares > 1 && shard_number % shares != number {
                return;
            }
            let shard = match &mut held {
                Some((held, shard)) if *held == shard_number => shard,
                other => {
                    // Given back before the next is taken.
                    *other = None;
                    &mut other.insert((shard_number, part.shards[shard_number].write())).1
                }
            };
            count += samples.len() as u64;
            for sample in samples {
                bounds = bounds.including(time_ms(sample));
            }
            push(shard, dense, samples);
        });
        drop(held);
        if !bounds.is_empty() {
            self.min_ms.fetch_min(bounds.start_ms, Ordering::AcqRel);
            self.max_ms.fetch_max(bounds.end_ms, Ordering::AcqRel);
        }
        self.samples.fetch_add(count, Ordering::Relaxed);
        self.last_write_ms.fetch_max(now_ms, Ordering::Relaxed);
    }

    fn part(&self, tenant: &TenantId) -> Option<Arc<TenantPart>> {
        self.tenants.read().get(tenant).cloned()
    }

    fn part_or_insert(&self, tenant: &TenantId) -> Arc<TenantPart> {
        self.part(tenant).unwrap_or_else(|| {
            let mut tenants = self.tenants.write();
            let name = format!("{}-{}", self.id, tenants.len());
            Arc::clone(tenants.entry_ref(tenant).or_insert_with(|| Arc::new(TenantPart::new(&self.spill, &name))))
        })
    }

    /// The tenants that have samples here.
    pub fn tenants(&self) -> Vec<TenantId> {
        let mut tenants: Vec<_> = self.tenants.read().keys().cloned().collect();
        tenants.sort();
        tenants
    }

    /// Dense numbers of a tenant's series that have samples here.
    pub fn series_of(&self, tenant: &TenantId) -> RoaringBitmap {
        let mut ids = RoaringBitmap::new();
        for shard in self.part(tenant).iter().flat_map(|part| &part.shards) {
            ids |= &shard.read().ids;
        }
        ids
    }

    /// Whether a series has samples here.
    pub fn holds(&self, tenant: &TenantId, dense: u32) -> bool {
        let part = self.part(tenant);
        part.is_some_and(|part| part.shards[place_of(dense).0].read().get(dense).is_some())
    }

    /// Keeps of `candidates` those with a chunk that overlaps `range`.
    pub fn overlapping(&self, tenant: &TenantId, candidates: &RoaringBitmap, range: TimeRange) -> RoaringBitmap {
        let Some(part) = self.part(tenant) else { return RoaringBitmap::new() };
        let all = self.range();
        let covered = range.start_ms <= all.start_ms && all.end_ms <= range.end_ms;
        let mut found = RoaringBitmap::new();
        for shard in &part.shards {
            let present = candidates & &shard.read().ids;
            if covered {
                found |= present;
                continue;
            }
            let present: Vec<u32> = present.iter().collect();
            for few in present.chunks(SERIES_AT_ONCE) {
                let shard = shard.read();
                let overlaps = |dense: u32| shard.get(dense).is_some_and(|series| series.overlaps(&shard.bytes, range));
                found.extend(few.iter().copied().filter(|dense| overlaps(*dense)));
            }
        }
        found
    }

    /// What it holds of a tenant's series, if it holds any.
    pub fn of_tenant(&self, tenant: &TenantId) -> Option<TenantChunks> {
        self.part(tenant).map(TenantChunks)
    }
}

/// What a partition holds of a tenant's series; stays readable whatever becomes of the partition.
#[derive(Clone)]
pub struct TenantChunks(Arc<TenantPart>);

impl TenantChunks {
    /// Takes the chunks of one series that overlap `range`, in no order.
    pub fn take(&self, dense: u32, range: TimeRange, out: &mut TakenChunks) {
        out.make_room();
        let shard = self.0.shards[place_of(dense).0].read();
        if let Some(series) = shard.get(dense) {
            series.take(&shard.bytes, range, out);
        }
    }
}
