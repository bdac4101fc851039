//! Which series a storage node is believed to know, so that labels are sent to it once.
//!
//! 1. Per disk a table of 64-bit fingerprints (of tenant and series id) in sets of 8, which grows up to a bound; in a full
//!    set a new fingerprint replaces an old one.
//! 2. A wrong belief is harmless: the node answers that it does not know the series, and gets the labels. So the table needs
//!    no lock where it is read and written, and a table lives as long as its disk is listed: a node that starts again has recovered
//!    its series from its log.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use marigram_storage::model::labels::SeriesId;
use marigram_storage::model::member::Member;
use marigram_storage::model::tenant::TenantId;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use xxhash_rust::xxh3::xxh3_64;

/// Fingerprints of one set: 64 bytes, a cache line.
const WAYS: usize = 8;
/// Sets of a new table.
const SETS_MIN: usize = 128;
/// Sets of the largest table: 8 Mi fingerprints, 64 MiB for each storage node.
const SETS_MAX: usize = 1 << 20;

/// The tables of all storage nodes, by disk id.
#[derive(Debug, Default)]
pub struct KnownSeries {
    tables: Mutex<HashMap<u128, Arc<KnownTable>>>,
}

impl KnownSeries {
    /// The tables of the members, in their order.
    pub fn tables(&self, members: &[Member]) -> Vec<Arc<KnownTable>> {
        let mut tables = self.tables.lock();
        members.iter().map(|member| Arc::clone(tables.entry(member.disk_id).or_default())).collect()
    }

    /// Forgets the tables of disks that are not listed any more.
    pub fn retain(&self, members: &[Member]) {
        self.tables.lock().retain(|disk_id, _| members.iter().any(|member| member.disk_id == *disk_id));
    }
}

/// What one disk is believed to know.
#[derive(Debug)]
pub struct KnownTable {
    slots: RwLock<Box<[AtomicU64]>>,
    /// Slots in use, about: two writers of one slot may both count.
    used: AtomicUsize,
}

impl Default for KnownTable {
    fn default() -> Self {
        KnownTable { slots: RwLock::new(slots(SETS_MIN)), used: AtomicUsize::new(0) }
    }
}

/// Makes fingerprints of one tenant's series.
#[derive(Clone, Copy, Debug)]
pub struct Fingerprints {
    tenant: u64,
}

impl Fingerprints {
    /// Of this tenant.
    pub fn of(tenant: &TenantId) -> Self {
        Fingerprints { tenant: xxh3_64(tenant.as_str().as_bytes()) }
    }

    /// Not 0, which marks an empty slot.
    #[inline]
    pub fn series(self, id: SeriesId) -> u64 {
        ((id.0 >> 64) as u64 ^ id.0 as u64 ^ self.tenant).max(1)
    }
}

impl KnownTable {
    /// For many look-ups in a row.
    pub fn read(&self) -> KnownRead<'_> {
        KnownRead { table: self, slots: self.slots.read() }
    }

    /// Makes room for so many more, as far as the bound lets: at most a quarter of the slots is to be in use,
    /// since few sets overflow then.
    pub fn reserve(&self, more: usize) {
        let needed = |used: usize| (4 * (used + more) / WAYS).next_power_of_two().clamp(SETS_MIN, SETS_MAX);
        if needed(self.len()) * WAYS <= self.slots.read().len() {
            return;
        }
        let mut slots_now = self.slots.write();
        let sets = needed(self.len());
        if sets * WAYS <= slots_now.len() {
            return;
        }
        let larger = slots(sets);
        let mut used = 0;
        for fingerprint in slots_now.iter().map(|slot| slot.load(Ordering::Relaxed)).filter(|slot| *slot != 0) {
            used += usize::from(put(&larger, fingerprint));
        }
        *slots_now = larger;
        self.used.store(used, Ordering::Relaxed);
    }

    /// Fingerprints that it holds, about.
    pub fn len(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A table, held for reading and for changing single slots.
#[derive(Debug)]
pub struct KnownRead<'a> {
    table: &'a KnownTable,
    slots: RwLockReadGuard<'a, Box<[AtomicU64]>>,
}

impl KnownRead<'_> {
    /// Whether the node is believed to know the series.
    #[inline]
    pub fn contains(&self, fingerprint: u64) -> bool {
        set_of(&self.slots, fingerprint).iter().any(|slot| slot.load(Ordering::Relaxed) == fingerprint)
    }

    /// Notes that the node knows the series.
    #[inline]
    pub fn insert(&self, fingerprint: u64) {
        if put(&self.slots, fingerprint) {
            self.table.used.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes that it does not.
    pub fn remove(&self, fingerprint: u64) {
        for slot in set_of(&self.slots, fingerprint) {
            if slot.compare_exchange(fingerprint, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                self.table.used.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

fn slots(sets: usize) -> Box<[AtomicU64]> {
    (0..sets * WAYS).map(|_| AtomicU64::new(0)).collect()
}

/// The number of sets is a power of two; the upper bits choose, since the lower ones are free to tell apart.
#[inline]
fn set_of(slots: &[AtomicU64], fingerprint: u64) -> &[AtomicU64] {
    let sets = slots.len() / WAYS;
    let set = (fingerprint >> 32) as usize & (sets - 1);
    slots.get(set * WAYS..(set + 1) * WAYS).unwrap_or_default()
}

/// Whether a slot more is in use now.
#[inline]
fn put(slots: &[AtomicU64], fingerprint: u64) -> bool {
    let set = set_of(slots, fingerprint);
    let mut empty = None;
    for slot in set {
        match slot.load(Ordering::Relaxed) {
            0 => empty = empty.or(Some(slot)),
            held if held == fingerprint => return false,
            _ => {}
        }
    }
    match empty {
        Some(slot) => slot.swap(fingerprint, Ordering::Relaxed) == 0,
        None => {
            // Any slot is as good as another: the one that the fingerprint names.
            if let Some(slot) = set.get(fingerprint as usize % WAYS) {
                slot.store(fingerprint, Ordering::Relaxed);
            }
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(count: u32) -> impl Iterator<Item = u64> {
        let fingerprints = Fingerprints::of(&TenantId::default());
        (0..count).map(move |n| fingerprints.series(SeriesId::of(&n.to_le_bytes())))
    }

    #[test]
    fn what_was_noted_is_known_while_the_table_grows() {
        let table = KnownTable::default();
        for fingerprint in series(100_000) {
            table.reserve(1);
            let read = table.read();
            assert!(!read.contains(fingerprint));
            read.insert(fingerprint);
        }
        let kept = series(100_000).filter(|fingerprint| table.read().contains(*fingerprint)).count();
        // A set overflows now and then; what is lost is sent with labels once more.
        assert!(kept > 99_900, "{kept}");
        assert!(table.len() >= kept && table.len() <= 100_000, "{} for {kept}", table.len());
        let read = table.read();
        series(100_000).for_each(|fingerprint| read.remove(fingerprint));
        assert!(read.table.is_empty());
    }

    #[test]
    fn a_table_stays_within_its_bound() {
        let table = KnownTable::default();
        for chunk in 0..6 {
            table.reserve(1_000_000);
            let read = table.read();
            (1..=1_000_000u64).for_each(|n| read.insert(xxh3_64(&(n + chunk * 1_000_000).to_le_bytes()).max(1)));
        }
        assert!(table.slots.read().len() <= SETS_MAX * WAYS);
        assert!(table.len() <= SETS_MAX * WAYS);
    }

    #[test]
    fn tenants_do_not_share_what_is_known() {
        let id = SeriesId::of(b"x");
        let (one, two) = (TenantId::parse("one").unwrap(), TenantId::parse("two").unwrap());
        assert_ne!(Fingerprints::of(&one).series(id), Fingerprints::of(&two).series(id));
    }

    #[test]
    fn the_table_of_a_disk_that_went_is_forgotten() {
        let member = |disk_id| Member { node_name: format!("n{disk_id}"), disk_id, zone: String::new() };
        let known = KnownSeries::default();
        known.tables(&[member(1), member(2)])[0].read().insert(7);
        known.retain(&[member(2)]);
        assert!(!known.tables(&[member(1)])[0].read().contains(7));
    }
}
