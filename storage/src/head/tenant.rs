//! A tenant's index over all partitions: which series there are, and their dense numbers.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use roaring::RoaringBitmap;

use crate::index::PostingsIndex;
use crate::model::labels::{Labels, SeriesId};
use crate::rooms::Rooms;
use crate::striped::Striped;
use crate::write::{FamilyMetadata, MetadataEntry};

/// Most entries kept of one metric family.
pub(super) const METADATA_ENTRIES_MAX: usize = 10;
/// Most metric families of one tenant with metadata.
pub(super) const METADATA_FAMILIES_MAX: usize = 100_000;

/// A tenant's series and metadata.
#[derive(Default)]
pub struct TenantHead {
    index: RwLock<TenantIndex>,
    metadata: RwLock<BTreeMap<String, BTreeSet<MetadataEntry>>>,
}

/// Series by id, by dense number, and by label.
#[derive(Default)]
pub struct TenantIndex {
    by_id: Striped,
    /// Ids by dense number; 0 where there is no series.
    ids: Rooms<u128>,
    postings: PostingsIndex,
    next: u32,
}

/// An id is a hash already.
#[inline]
fn hash_of(id: u128) -> u64 {
    id as u64
}

impl TenantIndex {
    /// The dense number of a series.
    #[inline]
    pub fn find(&self, id: SeriesId) -> Option<u32> {
        self.by_id.find(hash_of(id.0), |dense| self.ids.get(dense) == id.0)
    }

    /// Whether the series has this dense number.
    #[inline]
    pub fn is(&self, dense: u32, id: SeriesId) -> bool {
        self.ids.get(dense) == id.0 && id.0 != 0
    }

    /// The dense number of a series that is likely to be `guess`: senders repeat their series in the order in which they
    /// first came, so the next one mostly has the next number, which is found without a search.
    #[inline]
    pub fn find_near(&self, id: SeriesId, guess: u32) -> Option<u32> {
        if self.is(guess, id) { Some(guess) } else { self.find(id) }
    }

    /// The id of a dense number.
    pub fn id(&self, dense: u32) -> Option<SeriesId> {
        Some(self.ids.get(dense)).filter(|id| *id != 0).map(SeriesId)
    }

    /// The labels of a dense number.
    pub fn labels(&self, dense: u32) -> Option<Labels> {
        self.postings.labels(dense)
    }

    /// The postings.
    pub fn postings(&self) -> &PostingsIndex {
        &self.postings
    }

    /// How many series there are.
    pub fn len(&self) -> usize {
        self.postings.len() as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.postings.is_empty()
    }

    /// Adds a series, with its canonical label bytes, that [`TenantIndex::find`] does not know. Dense numbers are never used
    /// again; `None` when all four billion are used up, or its labels are too many.
    pub fn insert(&mut self, id: SeriesId, canonical: &[u8]) -> Option<u32> {
        let dense = self.next;
        let next = dense.checked_add(1)?;
        if !self.postings.add(dense, canonical) {
            return None;
        }
        self.next = next;
        let TenantIndex { by_id, ids, .. } = self;
        ids.set(dense, id.0);
        by_id.insert(hash_of(id.0), dense, |dense| hash_of(ids.get(dense)));
        Some(dense)
    }

    fn remove(&mut self, dead: &RoaringBitmap) {
        for dense in dead {
            let id = self.ids.get(dense);
            if id != 0 {
                self.by_id.remove(hash_of(id), dense);
                self.ids.set(dense, 0);
            }
        }
        self.postings.remove(dead);
        let TenantIndex { by_id, ids, .. } = self;
        by_id.shrink(|dense| hash_of(ids.get(dense)));
    }
}

impl TenantHead {
    /// Looks series up in the index.
    pub fn lookup(&self) -> RwLockReadGuard<'_, TenantIndex> {
        self.index.read()
    }

    /// Reads the index, its postings in order.
    pub fn index(&self) -> RwLockReadGuard<'_, TenantIndex> {
        let index = self.index.read();
        if index.postings.is_prepared() {
            return index;
        }
        drop(index);
        let mut index = self.index.write();
        index.postings.prepare();
        RwLockWriteGuard::downgrade(index)
    }

    /// Changes the index.
    pub fn change<T>(&self, change: impl FnOnce(&mut TenantIndex) -> T) -> T {
        change(&mut self.index.write())
    }

    /// Forgets series.
    pub fn forget(&self, dead: &RoaringBitmap) {
        self.index.write().remove(dead);
    }

    /// Joins metadata of a family into what is known; `false` if it was known or is more than is kept.
    pub fn add_metadata(&self, metadata: &FamilyMetadata) -> bool {
        let mut families = self.metadata.write();
        if families.len() >= METADATA_FAMILIES_MAX && !families.contains_key(&metadata.family) {
            return false;
        }
        let entries = families.entry(metadata.family.clone()).or_default();
        entries.len() < METADATA_ENTRIES_MAX && entries.insert(metadata.entry.clone())
    }

    /// Whether this is known already, or more than is kept.
    pub fn knows_metadata(&self, metadata: &FamilyMetadata) -> bool {
        let families = self.metadata.read();
        match families.get(&metadata.family) {
            Some(entries) => entries.len() >= METADATA_ENTRIES_MAX || entries.contains(&metadata.entry),
            None => families.len() >= METADATA_FAMILIES_MAX,
        }
    }

    /// All metadata, by family.
    pub fn metadata(&self) -> BTreeMap<String, Vec<MetadataEntry>> {
        let families = self.metadata.read();
        families.iter().map(|(family, entries)| (family.clone(), entries.iter().cloned().collect())).collect()
    }
}
