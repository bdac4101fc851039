//! What has changed in old data, told to whoever keeps answers that were made of it.
//!
//! 1. Before it reads, a keeper of answers *settles* the time up to which it wants to keep them ([`Changes::settle`]), and is told the
//!    number of the newest change. From then on every change of samples up to there is noted, with the next number.
//! 2. A write that reaches into settled time is noted twice: before it can be seen, so that nobody is given an older answer than
//!    somebody else may have seen; and again when all of it can be seen, so that no answer lasts that was made in between.
//! 3. An answer is as good as a new one unless a change with a greater number than that of its reading touches what it was made of.
//!
//! Who reads settles first and reads then; who writes is seen first and looks at the mark then. So either the reader finds the samples,
//! or the writer finds the mark: no clock has a part in it. Where nobody settles anything, a write costs a fence and a comparison.
//!
//! Only so many changes of a tenant are remembered. Beyond that the two oldest become one that spans both: more is then taken for changed,
//! never less.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering, fence};

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::Db;
use crate::model::tenant::TenantId;
use crate::model::time::TimeRange;

/// Changes that are remembered one by one, for a tenant and for all together.
const REMEMBERED_MAX: usize = 64;

/// A change of settled data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Changes are counted from 1.
    pub number: u64,
    /// No sample beyond it has changed.
    pub range: TimeRange,
}

/// What a keeper of answers is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Changes of samples up to here are noted. It may be later than what was asked for, and never falls.
    pub up_to_ms: i64,
    /// The number of the newest change: what is read from now on has this one and all before it.
    pub number: u64,
    /// The changes that concern the tenant.
    changes: Vec<Change>,
}

impl Settled {
    /// A keeper of answers is told this by whoever counts changes by themselves.
    pub fn new(up_to_ms: i64, number: u64, changes: Vec<Change>) -> Self {
        Settled { up_to_ms, number, changes }
    }

    /// Where samples have changed since this number was the newest.
    pub fn since(&self, number: u64) -> impl Iterator<Item = TimeRange> + '_ {
        self.changes.iter().filter(move |change| change.number > number).map(|change| change.range)
    }

    /// The changes that concern the tenant, with their numbers.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }
}

/// The changes of a store's settled data.
#[derive(Debug)]
pub(super) struct Changes {
    /// A copy of the mark for those who write; it changes only under the lock.
    up_to_ms: AtomicI64,
    noted: Mutex<Noted>,
}

#[derive(Debug, Default)]
struct Noted {
    number: u64,
    of_tenants: HashMap<TenantId, Recent>,
    of_all: Recent,
}

/// The newest changes, the oldest first. Those that are too many are made one with others.
#[derive(Debug, Default)]
pub struct Recent(VecDeque<Change>);

impl Recent {
    /// The changes, as far as they are told apart.
    pub fn changes(&self) -> impl Iterator<Item = Change> + '_ {
        self.0.iter().copied()
    }

    /// Takes in one whose number is greater than all before.
    pub fn push(&mut self, change: Change) {
        if let Some(newest) = self.0.back_mut()
            && newest.range == change.range
        {
            newest.number = change.number;
            return;
        }
        if self.0.len() == REMEMBERED_MAX
            && let Some(oldest) = self.0.pop_front()
            && let Some(next) = self.0.front_mut()
        {
            next.range = next.range.union(oldest.range);
        }
        self.0.push_back(change);
    }
}

impl Default for Changes {
    fn default() -> Self {
        Changes { up_to_ms: AtomicI64::new(i64::MIN), noted: Mutex::default() }
    }
}

impl Changes {
    /// See [`Db::settle`].
    fn settle(&self, tenant: &TenantId, up_to_ms: i64) -> Settled {
        let noted = self.noted.lock();
        let up_to_ms = self.up_to_ms.fetch_max(up_to_ms, Ordering::Relaxed).max(up_to_ms);
        fence(Ordering::SeqCst);
        let of_tenant = noted.of_tenants.get(tenant).into_iter().flat_map(Recent::changes);
        Settled { up_to_ms, number: noted.number, changes: of_tenant.chain(noted.of_all.changes()).collect() }
    }

    /// Notes samples of `range` that are about to be seen, or are seen now.
    #[inline]
    pub(super) fn note(&self, tenant: &TenantId, range: TimeRange) {
        fence(Ordering::SeqCst);
        let up_to_ms = self.up_to_ms.load(Ordering::Relaxed);
        if range.start_ms <= up_to_ms {
            self.note_settled(Some(tenant), TimeRange { end_ms: range.end_ms.min(up_to_ms), ..range });
        }
    }

    /// Notes that samples of `range` go, of whatever tenant.
    pub(super) fn note_all(&self, range: TimeRange) {
        self.note_settled(None, range);
    }

    #[cold]
    fn note_settled(&self, tenant: Option<&TenantId>, range: TimeRange) {
        if range.is_empty() {
            return;
        }
        let noted = &mut *self.noted.lock();
        noted.number += 1;
        let recent = match tenant {
            Some(tenant) => noted.of_tenants.entry_ref(tenant).or_default(),
            None => &mut noted.of_all,
        };
        recent.push(Change { number: noted.number, range });
    }
}

impl Db {
    /// Has changes of samples up to this time noted from now on, and tells of those so far: see the module. To be called before the
    /// reading that an answer is made of.
    pub fn settle(&self, tenant: &TenantId, up_to_ms: i64) -> Settled {
        self.changes.settle(tenant, up_to_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    fn range(start_ms: i64, end_ms: i64) -> TimeRange {
        TimeRange { start_ms, end_ms }
    }

    #[test]
    fn only_what_reaches_into_settled_time_is_noted() {
        let changes = Changes::default();
        let a = tenant("a");
        changes.note(&a, range(0, 10));
        assert_eq!(changes.settle(&a, 100), Settled { up_to_ms: 100, number: 0, changes: vec![] });
        changes.note(&a, range(101, 200));
        assert_eq!(changes.settle(&a, 50), Settled { up_to_ms: 100, number: 0, changes: vec![] });
        changes.note(&a, range(90, 200));
        changes.note(&a, TimeRange::EMPTY);
        let settled = changes.settle(&a, 50);
        assert_eq!(settled.since(0).collect::<Vec<_>>(), [range(90, 100)]);
        assert_eq!((settled.number, settled.since(1).count()), (1, 0));
    }

    #[test]
    fn a_tenant_hears_of_its_own_changes_and_of_those_of_all() {
        let changes = Changes::default();
        let (a, b) = (tenant("a"), tenant("b"));
        changes.settle(&a, 100);
        changes.note(&a, range(1, 2));
        changes.note_all(range(500, 600));
        assert_eq!(changes.settle(&a, 0).since(0).collect::<Vec<_>>(), [range(1, 2), range(500, 600)]);
        assert_eq!(changes.settle(&b, 0).since(0).collect::<Vec<_>>(), [range(500, 600)]);
    }

    proptest! {
        #[test]
        fn no_change_is_forgotten(times in proptest::collection::vec((0i64..1000, 0i64..30), 1..300), seen in 0usize..300) {
            let changes = Changes::default();
            let a = tenant("a");
            changes.settle(&a, 1000);
            let mut number = 0;
            for (at, (start_ms, length_ms)) in times.iter().enumerate() {
                if at == seen {
                    number = changes.settle(&a, 0).number;
                }
                changes.note(&a, range(*start_ms, start_ms + length_ms));
            }
            let settled = changes.settle(&a, 0);
            prop_assert!(settled.changes.len() <= REMEMBERED_MAX);
            for (start_ms, length_ms) in times.iter().skip(if seen < times.len() { seen } else { 0 }) {
                let end_ms = (start_ms + length_ms).min(1000);
                prop_assert!(settled.since(number).any(|r| r.start_ms <= *start_ms && end_ms <= r.end_ms));
            }
        }
    }
}
