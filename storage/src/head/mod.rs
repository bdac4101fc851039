//! The head: everything that is acknowledged and not yet in a block.
//!
//! Per tenant one index ([`tenant`]: labels, postings, dense numbers) over several partitions ([`partition`]): one for
//! each open 2 h window, and a late one for everything older. A partition is sealed as a whole; while its block is written
//! and until that is visible it stays in the list, frozen, and goes on answering.

mod partition;
mod series;
mod slab;
mod spill;
mod table;
mod taken;
mod tenant;

pub use partition::{Partition, PartitionId, PartitionKind, TenantChunks};
pub use spill::{SpillDir, SpillMemory};
pub use taken::TakenChunks;
pub use tenant::{TenantHead, TenantIndex};

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::RwLock;
use roaring::RoaringBitmap;

use crate::model::tenant::TenantId;
use crate::model::time::{TimeRange, WINDOW_GRACE_MS, WINDOW_MS, window_start};

/// Series that are forgotten while nothing else may be written: a millisecond or two.
const IDLE_AT_ONCE: usize = 2048;

/// All partitions and indexes.
#[derive(Default)]
pub struct Head {
    tenants: RwLock<HashMap<TenantId, Arc<TenantHead>>>,
    partitions: RwLock<Vec<Arc<Partition>>>,
}

impl Head {
    /// A tenant's index, if the tenant has one.
    pub fn tenant(&self, tenant: &TenantId) -> Option<Arc<TenantHead>> {
        self.tenants.read().get(tenant).cloned()
    }

    /// A tenant's index, made if absent; `None` when that would be more than `tenants_max` tenants.
    pub fn tenant_or_insert(&self, tenant: &TenantId, tenants_max: usize) -> Option<Arc<TenantHead>> {
        if let Some(found) = self.tenant(tenant) {
            return Some(found);
        }
        let mut tenants = self.tenants.write();
        if tenants.len() >= tenants_max && !tenants.contains_key(tenant) {
            return None;
        }
        Some(Arc::clone(tenants.entry(tenant.clone()).or_default()))
    }

    /// All tenants, in ascending order.
    pub fn tenants(&self) -> Vec<(TenantId, Arc<TenantHead>)> {
        let mut tenants: Vec<_> = self.tenants.read().iter().map(|(id, head)| (id.clone(), Arc::clone(head))).collect();
        tenants.sort_by(|a, b| a.0.cmp(&b.0));
        tenants
    }

    /// All partitions, sealed ones included until their block is visible.
    pub fn partitions(&self) -> Vec<Arc<Partition>> {
        self.partitions.read().clone()
    }

    /// The partitions that may hold samples of `range`.
    pub fn partitions_in(&self, range: TimeRange) -> Vec<Arc<Partition>> {
        self.partitions.read().iter().filter(|p| p.range().overlaps(range)).cloned().collect()
    }

    /// The partition that takes writes of this kind, made if there is none.
    pub fn open_partition_or_insert(&self, kind: PartitionKind, make: impl FnOnce() -> Partition) -> Arc<Partition> {
        let open =
            |partitions: &[Arc<Partition>]| partitions.iter().find(|p| p.kind() == kind && !p.is_frozen()).cloned();
        if let Some(found) = open(&self.partitions.read()) {
            return found;
        }
        let mut partitions = self.partitions.write();
        open(&partitions).unwrap_or_else(|| {
            let partition = Arc::new(make());
            partitions.push(Arc::clone(&partition));
            partition
        })
    }

    /// Adds a partition.
    pub fn add_partition(&self, partition: Partition) -> Arc<Partition> {
        let partition = Arc::new(partition);
        self.partitions.write().push(Arc::clone(&partition));
        partition
    }

    /// Takes a partition out, once its data is visible elsewhere.
    pub fn remove_partition(&self, id: PartitionId) {
        self.partitions.write().retain(|p| p.id() != id);
    }

    /// Forgets the series that no partition holds samples of, a few at a time: `closed` is called for each few, and must run
    /// what it is given while nothing is being appended. Answers how many were forgotten.
    pub fn drop_idle_series(&self, mut closed: impl FnMut(&mut dyn FnMut())) -> usize {
        let mut dropped = 0;
        for (tenant, head) in self.tenants() {
            let mut idle = head.lookup().postings().all_series().clone();
            for partition in self.partitions() {
                idle -= partition.series_of(&tenant);
            }
            let mut idle = idle.into_iter().peekable();
            while idle.peek().is_some() {
                let mut few: RoaringBitmap = idle.by_ref().take(IDLE_AT_ONCE).collect();
                closed(&mut || {
                    // Some may have got samples since.
                    for partition in self.partitions() {
                        few = few.iter().filter(|dense| !partition.holds(&tenant, *dense)).collect();
                    }
                    head.forget(&few);
                    dropped += few.len() as usize;
                });
            }
        }
        dropped
    }
}

/// Which partition takes a sample: its own window while that is open, else the late partition. A window is open until
/// [`WINDOW_GRACE_MS`] after its end. Of windows that have not begun only the next one is kept apart, so that strange
/// timestamps cannot make ever more partitions.
pub fn partition_kind(timestamp_ms: i64, now_ms: i64) -> PartitionKind {
    let start_ms = window_start(timestamp_ms);
    let open_from = window_start(now_ms.saturating_sub(WINDOW_GRACE_MS));
    let open_to = window_start(now_ms).saturating_add(WINDOW_MS);
    if (open_from..=open_to).contains(&start_ms) { PartitionKind::Window { start_ms } } else { PartitionKind::Late }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_open_until_fifteen_minutes_after_its_end() {
        let window = PartitionKind::Window { start_ms: 0 };
        assert_eq!(partition_kind(5, 10), window);
        assert_eq!(partition_kind(5, WINDOW_MS + WINDOW_GRACE_MS - 1), window);
        assert_eq!(partition_kind(5, WINDOW_MS + WINDOW_GRACE_MS), PartitionKind::Late);
        assert_eq!(partition_kind(WINDOW_MS, 10), PartitionKind::Window { start_ms: WINDOW_MS });
        assert_eq!(partition_kind(2 * WINDOW_MS, 10), PartitionKind::Late);
        assert_eq!(partition_kind(-1, 10), PartitionKind::Window { start_ms: -WINDOW_MS });
        assert_eq!(partition_kind(i64::MIN, 10), PartitionKind::Late);
    }
}
