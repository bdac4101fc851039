//! What a query carries through every layer: who asks, until when, and how much memory it may hold.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::env::Clock;
use crate::error::{Error, Result};
use crate::model::tenant::TenantId;

/// Carried by every call of a query. Cheap to clone; clones share the cancel flag, the budget, the tally and the warnings.
#[derive(Clone, Debug)]
pub struct Context {
    tenant: TenantId,
    clock: Arc<dyn Clock>,
    deadline: Option<Duration>,
    cancelled: Arc<CancelFlag>,
    budget: Arc<Budget>,
    partial: bool,
    warnings: Arc<Mutex<BTreeSet<String>>>,
    tally: Arc<Tally>,
}

/// Set once work is to stop.
#[derive(Debug, Default)]
struct CancelFlag {
    set: AtomicBool,
    /// That of the work which this is a part of.
    whole: Option<Arc<CancelFlag>>,
}

impl CancelFlag {
    fn is_set(&self) -> bool {
        self.set.load(Ordering::Relaxed) || self.whole.as_ref().is_some_and(|whole| whole.is_set())
    }
}

/// What a query has read and holds, for whoever watches it.
#[derive(Debug, Default)]
pub struct Tally {
    /// Samples that steps looked at; one that lies in the windows of several steps counts for each.
    pub samples_queryable: AtomicU64,
    /// The same, but in overlapping windows counted once.
    pub samples_read: AtomicU64,
    /// Samples that are held now.
    pub samples_held: AtomicU64,
    /// Most samples that were held at once.
    pub samples_peak: AtomicU64,
    /// Time that sorting the answer took, ns.
    pub sorting_ns: AtomicU64,
}

impl Tally {
    /// Counts samples that were looked at, and those of them that are new.
    pub fn add(&self, queryable: u64, read: u64) {
        self.samples_queryable.fetch_add(queryable, Ordering::Relaxed);
        self.samples_read.fetch_add(read, Ordering::Relaxed);
    }
}

impl Context {
    /// A context that ends `timeout` from now (`None`: never) and may hold `budget_bytes` of fetched data at once.
    pub fn new(tenant: TenantId, clock: Arc<dyn Clock>, timeout: Option<Duration>, budget_bytes: u64) -> Self {
        let deadline = timeout.map(|t| clock.monotonic().saturating_add(t));
        let budget = Arc::new(Budget { limit_bytes: budget_bytes, used_bytes: AtomicU64::new(0) });
        Context {
            tenant,
            clock,
            deadline,
            cancelled: Arc::default(),
            budget,
            partial: false,
            warnings: Arc::default(),
            tally: Arc::default(),
        }
    }

    /// Lets an answer be short: what is missing becomes a warning instead of an error.
    #[must_use]
    pub fn allow_partial(self) -> Self {
        Context { partial: true, ..self }
    }

    /// A context for a part of the work: it can be cancelled alone, and is cancelled with the whole. All else is shared.
    #[must_use]
    pub fn part(&self) -> Self {
        let whole = Some(Arc::clone(&self.cancelled));
        Context { cancelled: Arc::new(CancelFlag { set: AtomicBool::new(false), whole }), ..self.clone() }
    }

    /// An answer that would be short for this reason: a warning where that is allowed.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where it is not.
    pub fn incomplete(&self, reason: impl Into<String>) -> Result<()> {
        let reason = reason.into();
        if !self.partial {
            return Err(Error::Unavailable(reason));
        }
        self.warnings.lock().insert(reason);
        Ok(())
    }

    /// What was missing so far, each reason once.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.lock().iter().cloned().collect()
    }

    /// Time that is left; `None`: for ever.
    pub fn time_left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_sub(self.clock.monotonic()))
    }

    /// Bytes of the budget that are not reserved.
    pub fn budget_left(&self) -> u64 {
        self.budget.limit_bytes.saturating_sub(self.budget.used_bytes.load(Ordering::Relaxed))
    }

    /// Bytes of the budget that are reserved.
    pub fn budget_used(&self) -> u64 {
        self.budget.used_bytes.load(Ordering::Relaxed)
    }

    /// What the query has read and holds.
    pub fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// Whose data is asked for.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Sorts the answer, or a part of it, and counts how long that takes.
    pub fn sorting<T>(&self, sort: impl FnOnce() -> T) -> T {
        let started = self.clock.monotonic();
        let sorted = sort();
        let took = self.clock.monotonic().saturating_sub(started);
        self.tally.sorting_ns.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        sorted
    }

    /// Asks all work under this context to stop at its next check.
    pub fn cancel(&self) {
        self.cancelled.set.store(true, Ordering::Relaxed);
    }

    /// To be called at least once per series or batch.
    ///
    /// # Errors
    /// [`Error::Cancelled`] or [`Error::Timeout`].
    pub fn check(&self) -> Result<()> {
        if self.cancelled.is_set() {
            return Err(Error::Cancelled);
        }
        match self.deadline {
            Some(deadline) if self.clock.monotonic() >= deadline => Err(Error::Timeout),
            _ => Ok(()),
        }
    }

    /// Reserves memory for fetched data until the reservation is dropped.
    ///
    /// # Errors
    /// [`Error::Limit`] when the query would hold more than its budget.
    pub fn reserve(&self, bytes: u64) -> Result<Reservation> {
        let before = self.budget.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        let reservation = Reservation { budget: Arc::clone(&self.budget), bytes };
        if before.saturating_add(bytes) > self.budget.limit_bytes {
            return Err(Error::Limit(format!(
                "the query needs more than its memory budget of {} bytes",
                self.budget.limit_bytes
            )));
        }
        Ok(reservation)
    }
}

#[derive(Debug)]
struct Budget {
    limit_bytes: u64,
    used_bytes: AtomicU64,
}

/// Memory of a query's budget; given back on drop.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Reservation {
    /// Moves `bytes` of it, or all that is left, into a reservation of its own.
    #[must_use]
    pub fn split(&mut self, bytes: u64) -> Reservation {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Reservation { budget: Arc::clone(&self.budget), bytes }
    }

    /// Takes over what another one of the same query holds.
    pub fn absorb(&mut self, mut other: Reservation) {
        if Arc::ptr_eq(&self.budget, &other.budget) {
            self.bytes += std::mem::take(&mut other.bytes);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.used_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::ManualClock;

    #[test]
    fn a_part_ends_alone_or_with_the_whole() {
        let whole = Context::new(TenantId::default(), Arc::new(ManualClock::default()), None, 100);
        let (first, second) = (whole.part(), whole.part());
        first.cancel();
        assert!(matches!(first.check(), Err(Error::Cancelled)));
        assert!(whole.check().is_ok() && second.check().is_ok());
        assert!(first.part().check().is_err(), "a part of what was cancelled");
        whole.cancel();
        assert!(matches!(second.check(), Err(Error::Cancelled)));
    }

    #[test]
    fn parts_share_the_budget() {
        let whole = Context::new(TenantId::default(), Arc::new(ManualClock::default()), None, 100);
        let _held = whole.part().reserve(60).unwrap();
        assert!(whole.reserve(60).is_err());
    }
}
