//! Memory for writes whose copies are still being delivered.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Bounds the bytes of all writes under way, those included that are answered already and still have a copy to deliver.
#[derive(Debug)]
pub struct DeliveryBudget {
    bytes_max: usize,
    used: Mutex<usize>,
    changed: Condvar,
}

impl DeliveryBudget {
    /// At most `bytes_max`; one write that is larger passes when it is alone, so that none is put off for ever.
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(DeliveryBudget { bytes_max, used: Mutex::new(0), changed: Condvar::new() })
    }

    /// Takes `bytes` until the share is dropped; `None` where they are not free.
    pub fn take(self: &Arc<Self>, bytes: usize) -> Option<DeliveryShare> {
        let mut used = self.used.lock();
        let after = used.saturating_add(bytes);
        if after > self.bytes_max && *used > 0 {
            return None;
        }
        *used = after;
        Some(DeliveryShare { budget: Arc::clone(self), bytes })
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        *self.used.lock()
    }

    /// Bytes that may be in use.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Waits until nothing is under way; `false` if that takes longer than `timeout`.
    pub fn wait_idle(&self, timeout: Duration) -> bool {
        let mut used = self.used.lock();
        !self.changed.wait_while_for(&mut used, |used| *used > 0, timeout).timed_out()
    }
}

/// Bytes of one write.
#[derive(Debug)]
pub struct DeliveryShare {
    budget: Arc<DeliveryBudget>,
    bytes: usize,
}

impl Drop for DeliveryShare {
    fn drop(&mut self) {
        *self.budget.used.lock() -= self.bytes;
        self.budget.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_holds_and_a_large_write_passes_alone() {
        let budget = DeliveryBudget::new(100);
        let share = budget.take(60).unwrap();
        assert!(budget.take(41).is_none());
        let other = budget.take(40).unwrap();
        assert_eq!(budget.used(), 100);
        assert!(!budget.wait_idle(Duration::ZERO));
        drop((share, other));
        let large = budget.take(1000).unwrap();
        assert!(budget.take(1).is_none());
        drop(large);
        assert!(budget.wait_idle(Duration::ZERO) && budget.used() == 0);
    }
}
