//! Where extents are kept: so many bytes in all, by tenant and query, the least recently used of the largest tenant first to go.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use marigram_storage::model::tenant::TenantId;

use super::extent::{Extent, Ruler};

/// What an answer at a step depends on besides the tenant's data.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// The text as it came: remarks tell places in it.
    pub(super) query: Arc<str>,
    pub(super) ruler: Ruler,
    pub(super) lookback_ms: i64,
}

/// What is kept of a query: few extents, ascending, that share no step.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    pub(super) extents: Vec<Arc<Extent>>,
    /// How many steps are worth keeping in one piece: about as many as are asked for at a time.
    pub(super) span: i64,
}

#[derive(Debug)]
struct Entry {
    kept: Kept,
    bytes: usize,
    used: u64,
}

#[derive(Debug, Default)]
struct OfTenant {
    entries: HashMap<Key, Entry>,
    /// By when they were used last.
    order: BTreeMap<u64, Key>,
    bytes: usize,
}

/// All that is kept.
#[derive(Debug)]
pub(super) struct Shelf {
    bytes_max: usize,
    bytes: usize,
    tenants: HashMap<TenantId, OfTenant>,
    /// Counts uses.
    used: u64,
    evicted: u64,
}

/// What an entry takes besides its text and its extents: its places in two maps, the lists, a share of its tenant's.
const ENTRY_BYTES: usize = 512;

impl Shelf {
    pub(super) fn new(bytes_max: usize) -> Self {
        Shelf { bytes_max, bytes: 0, tenants: HashMap::new(), used: 0, evicted: 0 }
    }

    /// Bytes that are taken.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many queries something is kept of.
    pub(super) fn entries(&self) -> usize {
        self.tenants.values().map(|tenant| tenant.entries.len()).sum()
    }

    /// How many were pushed out by others.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// What is kept of a query, which is thereby used.
    pub(super) fn get(&mut self, tenant: &TenantId, key: &Key) -> Kept {
        let Some(of_tenant) = self.tenants.get_mut(tenant) else { return Kept::default() };
        let Some(entry) = of_tenant.entries.get_mut(key) else { return Kept::default() };
        self.used += 1;
        if let Some(key) = of_tenant.order.remove(&entry.used) {
            of_tenant.order.insert(self.used, key);
        }
        entry.used = self.used;
        entry.kept.clone()
    }

    /// Keeps this of a query instead of what was kept before. Answers what goes, so that it is given back to the heap when nobody waits.
    pub(super) fn put(&mut self, tenant: &TenantId, key: Key, kept: Kept) -> Vec<Kept> {
        let mut gone: Vec<Kept> = self.remove(tenant, &key).into_iter().collect();
        let extents: usize = kept.extents.iter().map(|extent| extent.bytes).sum();
        let bytes = ENTRY_BYTES + key.query.len() + extents;
        if kept.extents.is_empty() || bytes > self.bytes_max {
            return gone;
        }
        while self.bytes + bytes > self.bytes_max
            && let Some(evicted) = self.evict()
        {
            gone.push(evicted);
        }
        self.used += 1;
        self.bytes += bytes;
        let of_tenant = self.tenants.entry_ref(tenant).or_default();
        of_tenant.bytes += bytes;
        of_tenant.order.insert(self.used, key.clone());
        of_tenant.entries.insert(key, Entry { kept, bytes, used: self.used });
        gone
    }

    fn remove(&mut self, tenant: &TenantId, key: &Key) -> Option<Kept> {
        let of_tenant = self.tenants.get_mut(tenant)?;
        let entry = of_tenant.entries.remove(key)?;
        of_tenant.order.remove(&entry.used);
        of_tenant.bytes -= entry.bytes;
        self.bytes -= entry.bytes;
        if of_tenant.entries.is_empty() {
            self.tenants.remove(tenant);
        }
        Some(entry.kept)
    }

    /// Lets the least recently used entry of the tenant go that takes most.
    fn evict(&mut self) -> Option<Kept> {
        let (tenant, largest) = self.tenants.iter().max_by_key(|(_, of_tenant)| of_tenant.bytes)?;
        let (tenant, key) = (tenant.clone(), largest.order.values().next().cloned()?);
        self.evicted += 1;
        self.remove(&tenant, &key)
    }
}

#[cfg(test)]
mod tests {
    use super::super::extent::{Part, Piece, extent};
    use super::*;
    use crate::annotations::Remarks;
    use crate::value::Series;

    const RULER: Ruler = Ruler { step_ms: 1, phase_ms: 0 };

    fn key(name: &str) -> Key {
        Key { query: name.into(), ruler: RULER, lookback_ms: 1 }
    }

    /// One extent with so many samples.
    fn kept(samples: i64) -> Kept {
        let series =
            [Series { times_ms: (0..samples).collect(), values: vec![0.5; samples as usize], ..Series::default() }];
        let piece = Piece { steps: 0..samples, part: Part::Evaluated(&series) };
        let extent = extent(&[piece], RULER, 0, Remarks::default(), usize::MAX).unwrap();
        assert!(extent.bytes >= 8 * samples as usize && extent.bytes <= 8 * samples as usize + 400, "{extent:?}");
        Kept { extents: vec![Arc::new(extent)], span: samples }
    }

    fn holds(shelf: &mut Shelf, tenant: &TenantId, name: &str) -> bool {
        !shelf.get(tenant, &key(name)).extents.is_empty()
    }

    #[test]
    fn what_was_used_longest_ago_goes_first_and_the_bound_holds() {
        let (mut shelf, tenant) = (Shelf::new(10_000), TenantId::default());
        for name in ["a", "b", "c"] {
            shelf.put(&tenant, key(name), kept(300));
        }
        assert!(holds(&mut shelf, &tenant, "a"));
        shelf.put(&tenant, key("d"), kept(300));
        let held: Vec<bool> = ["a", "b", "c", "d"].map(|name| holds(&mut shelf, &tenant, name)).into();
        assert_eq!((held, shelf.evicted(), shelf.entries()), (vec![true, false, true, true], 1, 3));
        shelf.put(&tenant, key("large"), kept(2000));
        assert!(
            !holds(&mut shelf, &tenant, "large") && shelf.entries() == 3,
            "what is larger than all is not taken in"
        );
        assert!(shelf.bytes() <= 10_000);
        for name in ["a", "c", "d"] {
            shelf.put(&tenant, key(name), Kept::default());
        }
        assert_eq!((shelf.bytes(), shelf.tenants.len()), (0, 0));
    }

    #[test]
    fn a_small_tenant_is_left_alone() {
        let (mut shelf, small, large) = (Shelf::new(20_000), TenantId::default(), TenantId::parse("large").unwrap());
        shelf.put(&small, key("mine"), kept(100));
        for i in 0..50 {
            shelf.put(&large, key(&i.to_string()), kept(300));
            assert!(shelf.bytes() <= 20_000);
        }
        assert!(
            holds(&mut shelf, &small, "mine") && holds(&mut shelf, &large, "49") && !holds(&mut shelf, &large, "1")
        );
    }
}
