//! How much is let in at once. Every request takes a place before it takes memory or a thread:
//!
//! 1. Queries take one of few slots; when all are taken a bounded number waits, each until its own timeout.
//! 2. Writes take a slot and, as their bytes arrive, their share of one byte budget; they never wait, because their
//!    senders keep the data and come again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Slots with a bounded queue in front.
#[derive(Debug)]
pub struct Gate {
    slots: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    slots_max: usize,
    waiting_max: usize,
}

/// Why no slot was had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The queue is full.
    QueueFull,
    /// The time passed in the queue.
    TimedOut,
}

impl Gate {
    /// So many at once, and so many waiting.
    pub fn new(slots: usize, waiting: usize) -> Self {
        let (slots_max, waiting_max) = (slots.min(Semaphore::MAX_PERMITS), waiting.min(Semaphore::MAX_PERMITS));
        let semaphore = |n: usize| Arc::new(Semaphore::new(n));
        Gate { slots: semaphore(slots_max), waiting: semaphore(waiting_max), slots_max, waiting_max }
    }

    /// Slots that are taken now.
    pub fn running(&self) -> usize {
        self.slots_max.saturating_sub(self.slots.available_permits())
    }

    /// How many wait now.
    pub fn waiting(&self) -> usize {
        self.waiting_max.saturating_sub(self.waiting.available_permits())
    }

    /// Waits for a slot; it is given back when the permit is dropped.
    ///
    /// # Errors
    /// [`Refused`] says why not.
    pub async fn enter(&self, timeout: Duration) -> Result<OwnedSemaphorePermit, Refused> {
        if let Ok(permit) = Arc::clone(&self.slots).try_acquire_owned() {
            return Ok(permit);
        }
        let _place = self.waiting.try_acquire().map_err(|_| Refused::QueueFull)?;
        match tokio::time::timeout(timeout, Arc::clone(&self.slots).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(Refused::QueueFull),
            Err(_) => Err(Refused::TimedOut),
        }
    }

    /// A slot, if one is free now.
    pub fn try_enter(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots).try_acquire_owned().ok()
    }
}

/// Bytes that all write requests together may hold.
#[derive(Debug)]
pub struct ByteBudget {
    /// In KiB, so that budgets of many gigabytes fit the semaphore's permits.
    kib: Arc<Semaphore>,
}

/// A request's share of a [`ByteBudget`]; given back on drop.
#[derive(Debug)]
pub struct Share {
    kib: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
    held_kib: usize,
}

impl ByteBudget {
    /// A budget of so many bytes.
    pub fn new(bytes: usize) -> Self {
        ByteBudget { kib: Arc::new(Semaphore::new((bytes >> 10).clamp(1, Semaphore::MAX_PERMITS))) }
    }

    /// A share that holds nothing yet.
    pub fn share(&self) -> Share {
        Share { kib: Arc::clone(&self.kib), held: None, held_kib: 0 }
    }
}

impl Share {
    /// Grows the share to `bytes`; `false`, and unchanged, if the budget does not have them.
    pub fn grow_to(&mut self, bytes: usize) -> bool {
        let wanted = bytes.div_ceil(1024).saturating_sub(self.held_kib);
        let Ok(count) = u32::try_from(wanted) else { return false };
        let Ok(permit) = Arc::clone(&self.kib).try_acquire_many_owned(count) else { return false };
        match &mut self.held {
            Some(held) => held.merge(permit),
            None => self.held = Some(permit),
        }
        self.held_kib += wanted;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_given_back() {
        let budget = ByteBudget::new(10 << 10);
        let mut a = budget.share();
        assert!(a.grow_to(1) && a.grow_to(6 << 10));
        let mut b = budget.share();
        assert!(!b.grow_to(5 << 10) && b.grow_to(4 << 10));
        drop(a);
        assert!(b.grow_to(10 << 10));
        assert!(!b.grow_to(usize::MAX));
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_impatient() {
        let gate = Gate::new(1, 1);
        let held = gate.enter(Duration::ZERO).await.unwrap();
        assert_eq!(gate.enter(Duration::ZERO).await.unwrap_err(), Refused::TimedOut);
        assert!(gate.try_enter().is_none());
        assert_eq!((gate.running(), gate.waiting()), (1, 0));
        assert_eq!(Gate::new(0, 0).enter(Duration::MAX).await.unwrap_err(), Refused::QueueFull);
        drop(held);
        assert!(gate.enter(Duration::ZERO).await.is_ok());
    }
}
