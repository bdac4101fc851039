//! What a query carries through every layer: who asks, until when, and how much memory it may hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::env::Clock;
use crate::error::{Error, Result};
use crate::model::tenant::TenantId;

/// Carried by every call of a query. Cheap to clone; clones share the cancel flag and the budget.
#[derive(Clone, Debug)]
pub struct Context {
    tenant: TenantId,
    clock: Arc<dyn Clock>,
    deadline: Option<Duration>,
    cancelled: Arc<AtomicBool>,
    budget: Arc<Budget>,
}

impl Context {
    /// A context that ends `timeout` from now (`None`: never) and may hold `budget_bytes` of fetched data at once.
    pub fn new(tenant: TenantId, clock: Arc<dyn Clock>, timeout: Option<Duration>, budget_bytes: u64) -> Self {
        let deadline = timeout.map(|t| clock.monotonic().saturating_add(t));
        let budget = Arc::new(Budget { limit_bytes: budget_bytes, used_bytes: AtomicU64::new(0) });
        Context { tenant, clock, deadline, cancelled: Arc::new(AtomicBool::new(false)), budget }
    }

    /// Whose data is asked for.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Asks all work under this context to stop at its next check.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// To be called at least once per series or batch.
    ///
    /// # Errors
    /// [`Error::Cancelled`] or [`Error::Timeout`].
    pub fn check(&self) -> Result<()> {
        if self.cancelled.load(Ordering::Relaxed) {
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

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.used_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
