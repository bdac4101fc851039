//! What a listing of series, names or values has found: each once, in order, counted against the query's budget.

use std::collections::BTreeSet;

use crate::context::{Context, Reservation};
use crate::error::Result;

/// Memory is reserved in steps of this size.
const RESERVE_STEP_BYTES: usize = 64 << 10;
/// About what an entry of the set takes beside its text.
const ENTRY_BYTES: usize = 64;

/// The items found so far.
pub(crate) struct Found<'a, T> {
    context: &'a Context,
    items: BTreeSet<T>,
    unreserved_bytes: usize,
    reservations: Vec<Reservation>,
}

impl<'a, T: Ord> Found<'a, T> {
    /// Nothing yet.
    pub(crate) fn new(context: &'a Context) -> Self {
        Found { context, items: BTreeSet::new(), unreserved_bytes: 0, reservations: Vec::new() }
    }

    /// Adds an item whose text takes so many bytes.
    pub(crate) fn add(&mut self, item: T, text_bytes: usize) -> Result<()> {
        if self.items.insert(item) {
            self.unreserved_bytes += text_bytes + ENTRY_BYTES;
        }
        if self.unreserved_bytes >= RESERVE_STEP_BYTES {
            self.context.check()?;
            self.reservations.push(self.context.reserve(std::mem::take(&mut self.unreserved_bytes) as u64)?);
        }
        Ok(())
    }

    /// The first `limit` items (0: all) in order.
    pub(crate) fn into_sorted(self, limit: usize) -> Vec<T> {
        let limit = if limit == 0 { usize::MAX } else { limit };
        self.items.into_iter().take(limit).collect()
    }
}

impl Found<'_, String> {
    /// Adds texts.
    pub(crate) fn extend(&mut self, texts: impl IntoIterator<Item = String>) -> Result<()> {
        for text in texts {
            let bytes = text.len();
            self.add(text, bytes)?;
        }
        Ok(())
    }
}
