//! What a listing of series, names or values has found: each once, in order, counted against the query's budget.
//!
//! Every place (the head, a block) yields a list that mostly is in order already. Lists are joined when one has grown to half of
//! the one before it, so that however many come, an item is moved once per doubling.

use crate::context::{Context, Reservation};
use crate::error::Result;
use crate::model::labels::Labels;

/// Memory is reserved in steps of this size.
const RESERVE_STEP_BYTES: usize = 64 << 10;
/// About what an item takes beside its text.
const ITEM_BYTES: usize = 64;

/// What is listed.
pub(crate) trait Item: Ord {
    /// About what it takes in memory until it is written.
    fn held_bytes(&self) -> usize;
}

impl Item for String {
    fn held_bytes(&self) -> usize {
        self.len() + ITEM_BYTES
    }
}

impl Item for Labels {
    fn held_bytes(&self) -> usize {
        2 * self.as_bytes().len() + ITEM_BYTES
    }
}

/// The items of one place.
pub(crate) struct FoundHere<'a, T> {
    context: &'a Context,
    items: Vec<T>,
    unreserved_bytes: usize,
    reservation: Reservation,
}

impl<'a, T: Item> FoundHere<'a, T> {
    /// Nothing yet.
    pub(crate) fn new(context: &'a Context) -> Result<Self> {
        Ok(FoundHere { context, items: Vec::new(), unreserved_bytes: 0, reservation: context.reserve(0)? })
    }

    /// A list that is whole.
    pub(crate) fn of(context: &'a Context, items: Vec<T>) -> Result<Self> {
        let bytes: usize = items.iter().map(T::held_bytes).sum();
        Ok(FoundHere { context, items, unreserved_bytes: 0, reservation: context.reserve(bytes as u64)? })
    }

    /// Adds an item, best in ascending order.
    pub(crate) fn push(&mut self, item: T) -> Result<()> {
        self.unreserved_bytes += item.held_bytes();
        self.items.push(item);
        if self.unreserved_bytes >= RESERVE_STEP_BYTES {
            self.context.check()?;
            self.reserve()?;
        }
        Ok(())
    }

    fn reserve(&mut self) -> Result<()> {
        self.reservation.absorb(self.context.reserve(std::mem::take(&mut self.unreserved_bytes) as u64)?);
        Ok(())
    }
}

/// Items in ascending order, each once, and the memory that they take.
struct List<T> {
    items: Vec<T>,
    reservation: Reservation,
}

/// The items found so far.
pub(crate) struct Found<T> {
    /// Each is less than half as long as the one before it.
    lists: Vec<List<T>>,
}

impl<T> Default for Found<T> {
    fn default() -> Self {
        Found { lists: Vec::new() }
    }
}

impl<T: Item> Found<T> {
    /// Adds what a place has.
    pub(crate) fn add(&mut self, mut here: FoundHere<'_, T>) -> Result<()> {
        here.reserve()?;
        let FoundHere { mut items, reservation, .. } = here;
        if !items.is_sorted_by(|a, b| a < b) {
            items.sort_unstable();
            items.dedup();
        }
        self.lists.push(List { items, reservation });
        while let [.., before, last] = &self.lists[..]
            && before.items.len() <= last.items.len().saturating_mul(2)
        {
            self.join_last();
        }
        Ok(())
    }

    fn join_last(&mut self) {
        let Some(last) = self.lists.pop() else { return };
        if let Some(before) = self.lists.last_mut() {
            before.join(last);
        }
    }

    /// The first `limit` items (0: all) in order.
    pub(crate) fn into_sorted(mut self, limit: usize) -> Vec<T> {
        while self.lists.len() > 1 {
            self.join_last();
        }
        let mut items = self.lists.pop().map(|list| list.items).unwrap_or_default();
        if limit > 0 {
            items.truncate(limit);
        }
        items
    }
}

impl<T: Item> List<T> {
    /// Takes the items of another list in, and gives back the memory of those that both have.
    fn join(&mut self, other: List<T>) {
        self.reservation.absorb(other.reservation);
        if self.items.is_empty() {
            self.items = other.items;
            return;
        }
        let mut others = other.items.into_iter().peekable();
        let mut joined = Vec::with_capacity(self.items.len() + others.len());
        let mut twice_bytes = 0;
        for item in std::mem::take(&mut self.items) {
            while let Some(less) = others.next_if(|other| *other < item) {
                joined.push(less);
            }
            if others.next_if(|other| *other == item).is_some() {
                twice_bytes += item.held_bytes();
            }
            joined.push(item);
        }
        joined.extend(others);
        self.items = joined;
        drop(self.reservation.split(twice_bytes as u64));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::env::ManualClock;
    use crate::model::tenant::TenantId;

    fn context(budget_bytes: u64) -> Context {
        Context::new(TenantId::default(), Arc::new(ManualClock::new(0)), None, budget_bytes)
    }

    proptest! {
        #[test]
        fn each_item_is_listed_once_and_in_order(
            places in proptest::collection::vec(proptest::collection::vec("[a-c]{0,3}", 0..30), 0..12),
            one_by_one in any::<bool>(),
            limit in 0usize..20,
        ) {
            let context = context(1 << 30);
            let mut found = Found::default();
            for place in &places {
                let mut here = FoundHere::new(&context).unwrap();
                if one_by_one {
                    place.iter().for_each(|text| here.push(text.clone()).unwrap());
                } else {
                    here = FoundHere::of(&context, place.clone()).unwrap();
                }
                found.add(here).unwrap();
            }
            let mut expected: Vec<String> = places.concat();
            expected.sort();
            expected.dedup();
            expected.truncate(if limit == 0 { usize::MAX } else { limit });
            prop_assert_eq!(found.into_sorted(limit), expected);
            prop_assert_eq!(context.budget_used(), 0);
        }
    }

    #[test]
    fn what_every_place_has_is_held_once() {
        let context = context(1 << 30);
        let texts: Vec<String> = (0..1000).map(|i| format!("pod-{i:04}")).collect();
        let mut found = Found::default();
        let mut held = Vec::new();
        for _ in 0..20 {
            found.add(FoundHere::of(&context, texts.clone()).unwrap()).unwrap();
            held.push(context.budget_used());
        }
        assert!(held[0] >= 72_000 && held.iter().all(|bytes| *bytes == held[0]), "{held:?}");
        assert_eq!(found.into_sorted(0), texts);
    }

    #[test]
    fn a_listing_keeps_to_the_budget() {
        let context = context(100_000);
        let mut here = FoundHere::new(&context).unwrap();
        let texts = || (0..10_000).map(|i| format!("pod-{i:04}"));
        let refused = texts().find_map(|text| here.push(text).err());
        assert!(matches!(refused, Some(crate::error::Error::Limit(_))));
        drop(here);
        assert!(FoundHere::of(&context, texts().collect()).is_err());
        assert_eq!(context.budget_used(), 0);
    }
}
