//! A tenant's index over all partitions: which series there are, and their dense numbers.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use parking_lot::{RwLock, RwLockReadGuard};
use roaring::RoaringBitmap;

use crate::index::PostingsIndex;
use crate::model::labels::{Labels, SeriesId};
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
    by_id: HashMap<SeriesId, u32>,
    labels: HashMap<u32, Labels>,
    postings: PostingsIndex,
    next: u32,
}

impl TenantIndex {
    /// The dense number of a series.
    pub fn find(&self, id: SeriesId) -> Option<u32> {
        self.by_id.get(&id).copied()
    }

    /// The labels of a dense number.
    pub fn labels(&self, dense: u32) -> Option<&Labels> {
        self.labels.get(&dense)
    }

    /// The postings.
    pub fn postings(&self) -> &PostingsIndex {
        &self.postings
    }

    /// How many series there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

impl TenantHead {
    /// Reads the index.
    pub fn index(&self) -> RwLockReadGuard<'_, TenantIndex> {
        self.index.read()
    }

    /// Adds a series that [`TenantIndex::find`] does not know. Dense numbers are never used again; `None` when all four
    /// billion are used up.
    pub fn insert(&self, id: SeriesId, labels: Labels) -> Option<u32> {
        let mut index = self.index.write();
        let dense = index.next;
        index.next = dense.checked_add(1)?;
        index.by_id.insert(id, dense);
        index.postings.add(dense, &labels);
        index.labels.insert(dense, labels);
        Some(dense)
    }

    /// Forgets all series but `live`.
    pub fn retain(&self, live: &RoaringBitmap) {
        let mut index = self.index.write();
        let dead: RoaringBitmap = index.labels.keys().copied().filter(|dense| !live.contains(*dense)).collect();
        if dead.is_empty() {
            return;
        }
        let TenantIndex { by_id, labels, postings, .. } = &mut *index;
        by_id.retain(|_, dense| live.contains(*dense));
        postings.remove(&dead);
        labels.retain(|dense, _| live.contains(*dense));
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
